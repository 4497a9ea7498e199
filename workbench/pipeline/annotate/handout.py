"""Handing out: which Comparison an annotator gets next, and the Claim that holds it.

A Comparison has as many places as its Dataset's overlap, or its own number of them. A Claim holds a place
while it is live or done, and `Comparison.claimed` counts the places held. One transaction writes both, under
a lock on the annotator and on the Comparison. Locks are taken in the order annotator, Claim, Comparison.

Gold (Comparisons with a known answer) and repeats (Comparisons that the annotator has judged, with sides
swapped) come among the work, at random and at the Dataset's rates. They hold no place and give no vote.

No annotator learns which pairs are checks, nor what others, the model or the answer key said: every answer is
stored alike, what was put off comes back alike, and figures for annotators count only their own work."""

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import combinations, count
from typing import TypeVar

from django.db import transaction
from django.db.models import Count, Exists, F, Model, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from workbench.models import (
    Annotator,
    Claim,
    Comparison,
    Completion,
    Dataset,
    Prompt,
    PromptChange,
    Purpose,
    Ranking,
    Strategy,
    Told,
)
from workbench.models.dataset import OUT_OF_QUEUE
from workbench.pipeline.annotate import queue, requirements, statements
from workbench.pipeline.annotate.queue import Drawn, Needs

# How many items one annotator may hold: the pair on screen, pairs fetched ahead, answers on their way.
HOLD = 6
# How many more one may take along to where there is no connection, of at least so many times as many that are
# open: whoever is away for two hours must not keep the rest from working.
ALONG = 40
OPEN_FOR_ONE_ALONG = 10
ALONG_FOR = timedelta(hours=2)
ATTEMPTS = 5
BLOCK = 4
RANKED = range(3, 10)  # how many Completions can be ranked at once: each has a digit
REPEAT_AFTER = 20  # least number of Claims between a Comparison and its repeat
# Probability that gold or a repeat with an expired lease comes next: about as soon as work comes back.
COMES_BACK = 0.1
WHOLE_QUEUE = 10  # every so many pairs of somebody with views of their own come from the whole queue
MOST_GIVEN_BACK = 500  # expired leases at once

Row = TypeVar("Row", bound=Model)


def draw(*seed: object) -> float:
    """A number in [0, 1) that is the same for the same seed on every machine."""
    digest = hashlib.sha256("/".join(map(str, seed)).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def side_at(number: int, annotator: Annotator) -> str:
    """Which completion ("a" or "b") the annotator's Comparison of this number has on the left. Permuted
    blocks of four put each side on the left equally often, and nobody can guess the next side."""
    block, position = divmod(number, BLOCK)
    places = sorted(range(BLOCK), key=lambda place: draw("left", annotator.pk, block, place))
    return "a" if places.index(position) < BLOCK // 2 else "b"


def left_in(shown: Sequence[int], comparison: Comparison) -> str:
    """Which completion of the Comparison ("a" or "b") comes before the other in a ranking."""
    return "a" if shown.index(comparison.a_id) < shown.index(comparison.b_id) else "b"


def next_claim(
    dataset: Dataset,
    annotator: Annotator,
    have: Collection[int] = (),
    again: bool = False,
    along: bool = False,
) -> Claim | None:
    """Lease a Comparison to the annotator: a held one that the page does not have, else a new one.

    Nobody gets a Comparison twice, and no more people than the overlap hold one at any time. In order:
    1. lock the annotator, and free the places of expired leases;
    2. hand out again what the annotator holds and the page lacks; nothing new to an annotator who holds HOLD;
    3. by chance, gold or a repeat; like all that follows, only where the annotator meets what is required;
    4. the next of the saved views that are given to the annotator, else of the queue; or gold or a repeat
       that was put off, if its turn comes first. Every tenth comes from the whole queue in any case: a view
       that grows with each import would keep its people from the rest for ever.

    have: primary keys of the Comparisons that the page has.
    again: also hand out what the annotator skipped.
    along: the annotator takes pairs along, so they may hold ALONG more, and leases run for ALONG_FOR.
    None: nothing is open (`progress.what_is_left` says why), the annotator holds as many Comparisons as one
    may, is paused, must qualify first, or lacks what the Dataset requires of everybody."""
    if annotator.paused_for is not None or annotator.must_qualify:
        return None
    for _ in range(ATTEMPTS):
        with transaction.atomic():
            expires_at = _expiry(dataset, along)
            ((last, is_any_expired, is_control_put_off, has_views),) = statements.lock_and_count(
                annotator.pk, dataset.pk, timezone.now()
            )
            number = 0 if last is None else last + 1
            if is_any_expired:
                give_back_expired()
            items = _items(statements.live_claims(annotator.pk, dataset.pk))
            if missing := next((claims for claims in items if not _is_on_page(claims, have)), None):
                return _extend(missing, expires_at)
            needs = requirements.met_by(dataset, annotator.user_id)
            open_parts = partial(queue.open_parts, dataset, annotator, again, needs)
            if needs == () or not _may_hold_more(len(items), open_parts if along else None):
                return None
            if control := _new_control(dataset, annotator, number, needs, expires_at):
                return control
            start = draw("queue", annotator.pk, number)
            views_first = has_views and (number + 1) % WHOLE_QUEUE != 0
            drawn = queue.lock_next(dataset, annotator, again, start, needs, views_first)
            if is_control_put_off and (control := _control_put_off(dataset, annotator, again, drawn, needs)):
                return _extend([control], expires_at)
            if drawn and (claim := _lease(drawn, dataset, annotator, number, needs, expires_at)):
                return claim
        # Comparisons that others hold locked were passed over: they may have a free place in a moment.
        if not any(part.exists() for part in open_parts()):
            break
        time.sleep(0.02)
    return None


def _items(claims: Iterable[Claim]) -> list[list[Claim]]:
    """The Claims in order, grouped by ranking."""
    items: dict[tuple[str, int], list[Claim]] = {}
    for claim in sorted(claims, key=lambda claim: (claim.number, claim.pk)):
        key = ("ranking", claim.ranking_id) if claim.ranking_id else ("claim", claim.pk)
        items.setdefault(key, []).append(claim)
    return list(items.values())


def _is_on_page(claims: Iterable[Claim], have: Collection[int]) -> bool:
    return any(claim.comparison_id in have for claim in claims)


def _expiry(dataset: Dataset, along: bool = False) -> datetime:
    lease = timedelta(minutes=dataset.lease_minutes)
    return timezone.now() + (max(lease, ALONG_FOR) if along else lease)


def _may_hold_more(held: int, parts: Callable[[], list[QuerySet[Comparison]]] | None) -> bool:
    """parts: of the open Comparisons, for an annotator who takes some along."""
    if held < HOLD or parts is None:
        return held < HOLD
    most = ALONG * OPEN_FOR_ONE_ALONG
    are_open = sum(part[:most].count() for part in parts())
    return held < HOLD + min(are_open, most) // OPEN_FOR_ONE_ALONG


def _extend(claims: list[Claim], expires_at: datetime) -> Claim:
    claims[0].expires_at, claims[0].state = max(claims[0].expires_at, expires_at), Claim.State.LIVE
    rows = Claim.objects.filter(pk__in=[claim.pk for claim in claims])
    rows.update(expires_at=Greatest("expires_at", expires_at), state=Claim.State.LIVE)
    return claims[0]


# --- gold and repeats ---------------------------------------------------------------------------------------


def _new_control(
    dataset: Dataset, annotator: Annotator, number: int, needs: Needs, expires_at: datetime
) -> Claim | None:
    """By chance, a Claim on gold or on a repeat, where there is one."""
    # True chance, as an annotator could compute a draw from a seed.
    chance = random.random()
    if chance < dataset.gold_share:
        had = Claim.objects.filter(annotator=annotator, comparison=OuterRef("pk"))
        golds = dataset.comparisons.gold().handed_out().needing(needs).not_told(annotator.pk)
        golds = golds.filter(_is_shown_as_pair(dataset)).exclude(Exists(had))
        if comparison := _first_from(golds, "random_rank", random.random()):
            (claim,) = _new_claims([comparison], dataset, annotator, number, comparison, expires_at)
            claim.purpose = Purpose.GOLD
            claim.save()
            return claim
    elif chance < dataset.gold_share + dataset.repeat_share:
        claims = Claim.objects.filter(annotator=annotator, comparison__dataset=dataset)
        repeats = claims.filter(purpose=Purpose.REPEAT, comparison=OuterRef("comparison"))
        done = claims.filter(purpose=Purpose.WORK, state=Claim.State.DONE, number__lte=number - REPEAT_AFTER)
        done = done.filter(_is_met(needs)).exclude(comparison__prompt__excluded_from__in=OUT_OF_QUEUE)
        told = Told.objects.filter(annotator=annotator, comparison=OuterRef("comparison"))
        done = done.filter(_is_shown_as_pair(dataset, "comparison__")).exclude(Exists(repeats) | Exists(told))
        if first_claim := _first_from(done, "number", number * random.random()):
            comparison = first_claim.comparison
            (claim,) = _new_claims([comparison], dataset, annotator, number, comparison, expires_at)
            claim.purpose, claim.left = Purpose.REPEAT, "b" if first_claim.left == "a" else "a"
            claim.save()
            return claim
    return None


def _is_met(needs: Needs) -> Q:
    """Claims on Comparisons with one of these Requirements."""
    return Q() if needs is None else Q(comparison__needs__in=needs)


def _is_shown_as_pair(dataset: Dataset, path: str = "") -> Q:
    """All Comparisons, but where completions are ranked only those shown as a pair: a pair out of three or
    more completions would give itself away as gold or a repeat."""
    if not dataset.allows_ranking:
        return Q()
    siblings = Completion.objects.filter(prompt__dataset=dataset).order_by().values("prompt")
    ranked = siblings.annotate(n=Count("pk")).filter(n__in=RANKED).values("prompt")
    return ~Q(**{f"{path}prompt__in": ranked})


def _first_from(rows: QuerySet[Row], field: str, start: float) -> Row | None:
    """The first row from `start` on in the order of `field`, else the first of all; one query in any case."""
    pks = rows.order_by(field).values("pk")
    from_start = pks.filter(**{f"{field}__gte": start})
    return rows.filter(pk=Coalesce(Subquery(from_start[:1]), Subquery(pks[:1]))).first()


def _control_put_off(
    dataset: Dataset, annotator: Annotator, again: bool, drawn: Drawn | None, needs: Needs
) -> Claim | None:
    """The annotator's gold or repeat that expired, or with `again` was skipped, when its turn has come: with
    skipped work in the order of the skips, else at random, and at once when no work is left."""
    states = [Claim.State.EXPIRED, Claim.State.SKIPPED] if again else [Claim.State.EXPIRED]
    claims = Claim.objects.filter(annotator=annotator, comparison__dataset=dataset, state__in=states)
    controls = claims.filter(statements.CONTROLS, _is_met(needs))
    controls = controls.exclude(purpose=Purpose.GOLD, comparison__gold_outcome="")
    controls = controls.exclude(comparison__prompt__excluded_from__in=OUT_OF_QUEUE)
    told = Told.objects.filter(annotator=annotator, comparison=OuterRef("comparison"))
    controls = controls.exclude(Exists(told))
    control = controls.select_related("suggestion__version").order_by("expires_at", "pk").first()
    if control is None or drawn is None:
        return control
    skipped = claims.filter(comparison=drawn.comparison, state=Claim.State.SKIPPED).first()
    if skipped:
        return control if control.expires_at < skipped.expires_at else None
    is_expired = control.state == Claim.State.EXPIRED
    return control if is_expired and random.random() < COMES_BACK else None


# --- work ---------------------------------------------------------------------------------------------------


def _lease(
    drawn: Drawn, dataset: Dataset, annotator: Annotator, number: int, needs: Needs, expires_at: datetime
) -> Claim | None:
    """The Claim on the drawn Comparison. Where Completions are ranked, the other Comparisons of its Prompt
    are claimed too. None when somebody else is getting the same Prompt at this moment."""
    first = drawn.comparison
    comparisons = _lock_siblings(dataset, annotator, first, needs) if dataset.allows_ranking else [first]
    if comparisons is None:
        return None
    ranking = _new_ranking(annotator, comparisons, number) if len(comparisons) > 1 else None
    claims_on: dict[int, list[Claim]] = {comparison.pk: [] for comparison in comparisons}
    had: dict[int, Claim] = {}
    for claim in statements.work_on(claims_on):
        claims_on[claim.comparison_id].append(claim)
        if claim.annotator_id == annotator.pk:
            had[claim.comparison_id] = claim
    untouched = [comparison.pk for comparison in comparisons if not comparison.claimed]
    chance = drawn.chance_of(untouched)
    never_had = [comparison for comparison in comparisons if comparison.pk not in had]
    new = _new_claims(never_had, dataset, annotator, number, first, expires_at)
    by_comparison = had | {claim.comparison_id: claim for claim in new}
    claims = [by_comparison[comparison.pk] for comparison in comparisons]
    for comparison, claim in zip(comparisons, claims, strict=True):
        if ranking:
            claim.ranking, claim.left = ranking, left_in(ranking.shown, comparison)
        begun = next((earlier for earlier in claims_on[comparison.pk] if earlier.slot is not None), None)
        if begun:
            claim.strategy, claim.propensity = begun.strategy, begun.propensity
        elif comparison.strategy != Strategy.RANDOM:
            # Made because it is hard: whoever draws it by lot draws no random pair.
            claim.strategy, claim.propensity = Strategy(comparison.strategy), None
        elif chance or drawn.strategy == Strategy.CHOSEN:
            claim.strategy, claim.propensity = drawn.strategy, chance
        claim.slot = free_slot(claims_on[comparison.pk])
        claim.state = Claim.State.LIVE
        claim.expires_at = expires_at
    Claim.objects.bulk_create(new)
    Claim.objects.bulk_update(
        had.values(), ["ranking", "left", "strategy", "propensity", "slot", "state", "expires_at"]
    )
    Comparison.objects.filter(pk__in=claims_on).update(claimed=F("claimed") + 1)
    return claims[0]


def free_slot(claims: Iterable[Claim]) -> int:
    """The lowest place that none of these Claims holds."""
    held = {claim.slot for claim in claims}
    return next(slot for slot in count() if slot not in held)


def _lock_siblings(
    dataset: Dataset, annotator: Annotator, first: Comparison, needs: Needs
) -> list[Comparison] | None:
    """Lock, with the locked `first`, all Comparisons of its Prompt that are open to the annotator, so that
    its Completions can be ranked at once. Missing pairs are created. `first` alone where fewer than three
    Completions are left, or more than nine. None when somebody else is getting the same Prompt."""
    prompts = Prompt.objects.filter(pk=first.prompt_id)
    if not prompts.select_for_update(of=("self",), skip_locked=True).exists():
        return None
    completions = list(Completion.objects.filter(prompt=first.prompt_id).order_by("sha256"))
    if len(completions) not in RANKED:
        return [first]
    pairs = list(combinations(completions, 2))
    if Comparison.objects.filter(prompt=first.prompt_id).count() < len(pairs):
        missing = [
            Comparison(dataset=dataset, prompt_id=first.prompt_id, a=a, b=b, needs_id=first.needs_id)
            for a, b in pairs
        ]
        Comparison.objects.bulk_create(missing, ignore_conflicts=True)
        PromptChange.objects.note(dataset.pk, [first.prompt_id])
        Dataset.objects.filter(pk=dataset.pk).update(needs_scoring=True)
    siblings = Comparison.objects.filter(prompt=first.prompt_id).exclude(pk=first.pk)
    open_siblings = siblings.needing(needs).unfilled(dataset.initial_overlap).open_to(annotator.pk)
    locked = open_siblings.select_for_update(of=("self",), skip_locked=True)
    comparisons = [first, *locked.order_by("pk")]
    ranked = {pk for comparison in comparisons for pk in (comparison.a_id, comparison.b_id)}
    return comparisons if len(ranked) in RANKED else [first]


def _new_ranking(annotator: Annotator, comparisons: Sequence[Comparison], number: int) -> Ranking:
    """Positions are drawn by lot, and reversed for every second ranking, so that each of two Completions
    comes first equally often."""
    completions = {pk for comparison in comparisons for pk in (comparison.a_id, comparison.b_id)}
    pair, is_second = divmod(number, 2)
    lots = [draw("positions", annotator.pk, pair, place) for place in range(len(completions))]
    by_lot = [pk for _, pk in sorted(zip(lots, sorted(completions), strict=True))]
    return Ranking.objects.create(
        annotator=annotator,
        prompt_id=comparisons[0].prompt_id,
        shown=by_lot[::-1] if is_second else by_lot,
    )


def _new_claims(
    comparisons: Sequence[Comparison],
    dataset: Dataset,
    annotator: Annotator,
    number: int,
    mode_of: Comparison,
    expires_at: datetime,
) -> list[Claim]:
    """Unsaved Claims, all of one mode, drawn for `mode_of`: in a ranking, the first Comparison."""
    blind = draw("mode", annotator.pk, mode_of.pk) < dataset.blind_share
    pks = [] if blind else [comparison.pk for comparison in comparisons]
    suggestions = {
        suggestion.comparison_id: suggestion
        for suggestion in (statements.suggestions_to_show(pks) if pks else ())
    }
    return [
        Claim(
            comparison=comparison,
            annotator=annotator,
            number=number,
            left=side_at(number, annotator),
            mode=Claim.Mode.BLIND if blind else Claim.Mode.ASSISTED,
            suggestion=suggestions.get(comparison.pk),
            expires_at=expires_at,
        )
        for comparison in comparisons
    ]


# --- leases -------------------------------------------------------------------------------------------------


def give_back(claims: Collection[Claim], **changes: object) -> None:
    """Free the places of these Claims, and update the Claims with `changes`."""
    freed = Counter(claim.comparison_id for claim in claims if claim.slot is not None)
    Claim.objects.filter(pk__in=[claim.pk for claim in claims]).update(slot=None, **changes)
    for places in set(freed.values()):
        pks = [pk for pk, number in freed.items() if number == places]
        Comparison.objects.filter(pk__in=pks).update(claimed=F("claimed") - places)


def give_back_expired() -> None:
    """Free the places of expired leases in all Datasets."""
    expired = Claim.objects.filter(state=Claim.State.LIVE, expires_at__lt=timezone.now())
    with transaction.atomic():
        # One statement locks the Comparison too: otherwise two calls at once would deadlock.
        locked = expired.select_related("comparison").select_for_update(
            of=("self", "comparison"), skip_locked=True, no_key=True
        )
        if claims := list(locked[:MOST_GIVEN_BACK]):
            give_back(claims, state=Claim.State.EXPIRED)


def extend_claims(dataset: Dataset, annotator: Annotator, have: Collection[int]) -> list[int]:
    """Renew the leases on these Comparisons. Returns those that the annotator still holds: the others have
    gone to somebody else. Somebody who must qualify first holds none for longer."""
    if annotator.must_qualify:
        return []
    items = _items(statements.live_claims(annotator.pk, dataset.pk))
    held = [claim for claims in items if _is_on_page(claims, have) for claim in claims]
    # Never sooner: what was taken along is held for longer than an open page holds its pairs.
    held_until = Greatest("expires_at", _expiry(dataset))
    Claim.objects.filter(pk__in=[claim.pk for claim in held]).update(expires_at=held_until)
    return [claim.comparison_id for claim in held if claim.comparison_id in have]
