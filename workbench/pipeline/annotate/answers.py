"""The annotation stage: who is handed which Comparison, and what becomes of the answer.

A Comparison has as many places as its Dataset's overlap, or its own number of them. A Claim holds one of
them while it is live or done, and `Comparison.claimed` counts the places held; both are written in one
transaction, under a lock on the annotator and on the Comparison. Locks are taken in the order annotator,
Claim, Comparison.

Among the work come gold (Comparisons with a known answer) and repeats (what the annotator has judged, with
sides swapped), at random and at the Dataset's rates. They hold no place and give no vote.

Nobody who annotates can tell which they are, nor what others, the model or the answer key said, by anything
that comes from here: an answer is taken alike whatever it was to and however it counts, what was put off
comes back alike, and no figure for annotators counts but what they did themselves."""

import hashlib
import random
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import count
from typing import Any, TypeVar
from uuid import UUID, uuid5

from django.conf import settings
from django.db import transaction
from django.db.models import (
    BigAutoField,
    Count,
    DateTimeField,
    Exists,
    F,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    UUIDField,
)
from django.db.models.functions import Coalesce, TruncDate
from django.utils import timezone

from workbench.db.compiled import Compiled, Given, GivenMany
from workbench.models import (
    Annotator,
    Claim,
    Comparison,
    Completion,
    Dataset,
    Flag,
    Guidelines,
    Judgment,
    Outcome,
    Purpose,
    Ranking,
    Strategy,
    Suggestion,
    User,
)
from workbench.models.counts import count_of
from workbench.pipeline.annotate import queue
from workbench.pipeline.annotate.queue import ANNOTATOR, DATASET
from workbench.pipeline.runs.progress import Refused

# What one annotator may hold at once: the Comparison on screen, those fetched ahead, answers on their way.
HOLD = 6
BLOCK = 4
Row = TypeVar("Row", bound=Model)

# A repeat comes when at least so many others have come in between.
REPEAT_AFTER = 20
# How likely gold or a repeat whose lease ran out is to come next: about as soon as work comes back.
COMES_BACK = 0.1
DAYS = 14

SIDES = ("left", "right")

COMPARISON: Any = Given("comparison", BigAutoField())
COMPARISONS: Any = GivenMany("comparisons", BigAutoField())
CLAIM: Any = Given("claim", BigAutoField())
NOW: Any = Given("now", DateTimeField())


class AnsweredBefore(Refused):
    """Another window of the same person has answered meanwhile: `current` is the answer that stands."""

    def __init__(self, current: Judgment) -> None:
        super().__init__("You voted on this pair in another window. That vote counts; press u to change it.")
        self.current = current


@dataclass(frozen=True)
class Answer:
    """One person's answer. `outcome` is one of Outcome, or "left" or "right" as the annotator saw them; `key`
    makes sending it twice harmless; `supersedes` is the key of the Judgment it changes; `strength` is 1
    (better) or 2 (much better); `seconds` runs from shown to answered; `facts` are kept with it."""

    outcome: str
    key: UUID
    strength: int | None = None
    comment: str = ""
    seconds: float | None = None
    supersedes: UUID | None = None
    guidelines: Guidelines | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """What one annotator has answered, gold and repeats among it: in all, today, in the last sixty
    minutes."""

    mine: int
    today: int
    hour: int


@dataclass(frozen=True)
class Left:
    """What an annotator is told when nothing is open to them: whether there is anything to judge at all, and
    how much they skipped. Not what others hold or where others are needed: that depends on what people
    said."""

    is_empty: bool
    skipped: int


def draw(*seed: object) -> float:
    """A number in [0, 1) that is the same for the same seed on every machine."""
    digest = hashlib.sha256("/".join(map(str, seed)).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def side_at(number: int, annotator: Annotator) -> str:
    """Which completion ("a" or "b") the annotator's Comparison of this number has on the left. In permuted
    blocks of four, so that each side is on the left equally often, and nobody can tell the next."""
    block, position = divmod(number, BLOCK)
    places = sorted(range(BLOCK), key=lambda place: draw("left", annotator.pk, block, place))
    return "a" if places.index(position) < BLOCK // 2 else "b"


def outcome_of(shown: str, left: str) -> str:
    """The outcome of an answer given as seen: "left" and "right" become "a" or "b", others stay."""
    if shown not in SIDES:
        return shown
    return left if shown == "left" else _other(left)


def seen_as(outcome: str, left: str) -> str:
    """The opposite of `outcome_of`: "a" and "b" become "left" or "right"."""
    if outcome not in (Outcome.A, Outcome.B):
        return outcome
    return "left" if outcome == left else "right"


def _other(side: str) -> str:
    return "b" if side == "a" else "a"


def next_claim(
    dataset: Dataset, annotator: Annotator, have: Collection[int] = (), again: bool = False
) -> Claim | None:
    """Lease a Comparison to the annotator: one that they hold and the page does not have, else a new one.

    Nobody gets a Comparison twice, and no more people than the overlap hold one at any time. Comparisons that
    others have begun come first, so that agreement can be told early; what is begun next is for the Dataset's
    order to say.

    have: primary keys of the Comparisons that the page has.
    again: also hand out those that the annotator skipped.
    None: nothing is open to them (`what_is_left` says why), or HOLD of theirs wait for an answer."""
    for _ in range(5):
        with transaction.atomic():
            number, is_any_over, is_put_off = _lock_and_count(annotator)
            if is_any_over:
                give_back_expired()
            # Sorted here: asked to sort, SQLite would read all Claims the annotator ever had.
            live = _LIVE.objects(dataset=dataset.pk, annotator=annotator.pk)
            held = _in_groups(sorted(live, key=lambda claim: (claim.number, claim.pk)))
            if missing := next((each for each in held if not _is_among(each, have)), None):
                return _extend(missing, dataset)
            if len(held) >= HOLD:
                return None
            if control := _control(dataset, annotator, number):
                control.save()
                return control
            drawn = queue.lock_next(dataset, annotator, again, start=draw("queue", annotator.pk, number))
            if is_put_off and (control := _put_off(dataset, annotator, again, drawn)):
                return _extend([control], dataset)
            if drawn and (claim := _lease(drawn, dataset, annotator, number)):
                return claim
        # Whatever others hold locked was passed over: it may still have a free place when they are done.
        parts = queue.unfilled(dataset.comparisons.all(), dataset.initial_overlap)
        if not any(queue.open_to(annotator, some, again).exists() for some in parts):
            break
        time.sleep(0.02)
    return None


def _in_groups(claims: Iterable[Claim]) -> list[list[Claim]]:
    """Those of one ranking together, in the order of their first."""
    groups: dict[tuple[str, int], list[Claim]] = {}
    for claim in claims:
        key = ("ranking", claim.ranking_id) if claim.ranking_id else ("claim", claim.pk)
        groups.setdefault(key, []).append(claim)
    return list(groups.values())


def _is_among(claims: Iterable[Claim], have: Collection[int]) -> bool:
    return any(claim.comparison_id in have for claim in claims)


def _locked(pk: int) -> QuerySet[Annotator]:
    return Annotator.objects.select_for_update(no_key=True).filter(pk=pk)


_CONTROLS = ~Q(purpose=Purpose.WORK)


def _over(now: datetime) -> QuerySet[Claim]:
    return Claim.objects.filter(state=Claim.State.LIVE, expires_at__lt=now)


_LOCK = Compiled(lambda: _locked(ANNOTATOR).values_list("pk"))
_LOCK_AND_COUNT = Compiled(
    lambda: _locked(ANNOTATOR).values_list(
        Subquery(Claim.objects.filter(annotator=OuterRef("pk")).order_by("-number").values("number")[:1]),
        Exists(_over(NOW)),
        Exists(
            Claim.objects.filter(
                _CONTROLS, annotator=OuterRef("pk"), state__in=[Claim.State.EXPIRED, Claim.State.SKIPPED]
            )
        ),
    )
)
_LIVE = Compiled(
    lambda: Claim.objects.filter(
        annotator=ANNOTATOR, state=Claim.State.LIVE, comparison__dataset=DATASET
    ).select_related("suggestion__version")
)


def _lock(annotator: Annotator) -> None:
    """One annotator's requests come one after the other: two tabs, or a double submit, cannot interleave."""
    _LOCK.rows(annotator=annotator.pk)


def _lock_and_count(annotator: Annotator) -> tuple[int, bool, bool]:
    """As `_lock`; the number of the annotator's next Claim, whether anybody's lease has run out, and whether
    gold or repeats of this annotator were put off."""
    ((last, is_any_over, is_put_off),) = _LOCK_AND_COUNT.rows(annotator=annotator.pk, now=timezone.now())
    return (0 if last is None else last + 1), is_any_over, is_put_off


def _expiry(dataset: Dataset) -> datetime:
    return timezone.now() + timedelta(minutes=dataset.lease_minutes)


def _extend(claims: list[Claim], dataset: Dataset) -> Claim:
    expires_at = _expiry(dataset)
    claims[0].expires_at, claims[0].state = expires_at, Claim.State.LIVE
    same = Claim.objects.filter(pk__in=[claim.pk for claim in claims])
    same.update(expires_at=expires_at, state=Claim.State.LIVE)
    return claims[0]


def _control(dataset: Dataset, annotator: Annotator, number: int) -> Claim | None:
    """An unsaved Claim on gold or on a repeat, when the dice say so and there is one."""
    # True chance: of what is drawn from a seed, an annotator could tell beforehand which it will be.
    dice = random.random()
    if dice < dataset.gold_share:
        had = Claim.objects.filter(annotator=annotator, comparison=OuterRef("pk"))
        golds = dataset.comparisons.gold().filter(_comes_as_a_pair(dataset)).exclude(Exists(had))
        if comparison := _some(golds, "random_rank", random.random()):
            claim = _new_claim(comparison, dataset, annotator, number)
            claim.purpose = Purpose.GOLD
            return claim
    elif dice < dataset.gold_share + dataset.repeat_share:
        claims = Claim.objects.filter(annotator=annotator, comparison__dataset=dataset)
        asked_again = claims.filter(purpose=Purpose.REPEAT, comparison=OuterRef("comparison"))
        done = claims.filter(purpose=Purpose.WORK, state=Claim.State.DONE, number__lte=number - REPEAT_AFTER)
        done = done.filter(_comes_as_a_pair(dataset, "comparison__"))
        before = _some(done.exclude(Exists(asked_again)), "number", number * random.random())
        if before:
            claim = _new_claim(before.comparison, dataset, annotator, number)
            claim.purpose, claim.left = Purpose.REPEAT, _other(before.left)
            return claim
    return None


def _comes_as_a_pair(dataset: Dataset, path: str = "") -> Q:
    """Where completions are ranked, a pair from among three or more would be known for gold or a repeat."""
    if not dataset.allows_ranking:
        return Q()
    siblings = Completion.objects.filter(prompt__dataset=dataset).order_by().values("prompt")
    ranked = siblings.annotate(n=Count("pk")).filter(n__in=queue.RANKED).values("prompt")
    return ~Q(**{f"{path}prompt__in": ranked})


def _put_off(dataset: Dataset, annotator: Annotator, again: bool, drawn: queue.Drawn | None) -> Claim | None:
    """Gold or a repeat that this annotator let run out, or with `again` skipped, when it is its turn: with
    work that was skipped in the order of the skips, else at random, and last when there is no work left."""
    put_off = [Claim.State.EXPIRED, Claim.State.SKIPPED] if again else [Claim.State.EXPIRED]
    own = Claim.objects.filter(annotator=annotator, comparison__dataset=dataset, state__in=put_off)
    controls = own.filter(_CONTROLS).exclude(purpose=Purpose.GOLD, comparison__gold_outcome="")
    control = controls.select_related("suggestion__version").order_by("expires_at", "pk").first()
    if control is None or drawn is None:
        return control
    before = own.filter(comparison=drawn.comparison, state=Claim.State.SKIPPED).first()
    if before:
        return control if control.expires_at < before.expires_at else None
    is_over = control.state == Claim.State.EXPIRED
    return control if is_over and random.random() < COMES_BACK else None


def _some(rows: QuerySet[Row], field: str, start: float) -> Row | None:
    """The first row from `start` on in the order of `field`, else the first of all; one query, found or
    not."""
    pks = rows.order_by(field).values("pk")
    from_start = pks.filter(**{f"{field}__gte": start})
    return rows.filter(pk=Coalesce(Subquery(from_start[:1]), Subquery(pks[:1]))).first()


def _free_slot(claims: Iterable[Claim]) -> int:
    """The lowest place that nobody holds."""
    held = {claim.slot for claim in claims}
    return next(slot for slot in count() if slot not in held)


def _lease(drawn: queue.Drawn, dataset: Dataset, annotator: Annotator, number: int) -> Claim | None:
    """The Claim on what was drawn; with it, where Completions are ranked, those on the other Comparisons of
    its Prompt. None when somebody else is being handed that Prompt."""
    first = drawn.comparison
    together = queue.lock_ranking(dataset, annotator, first) if dataset.allows_ranking else [first]
    if together is None:
        return None
    ranking = _new_ranking(annotator, together, number) if len(together) > 1 else None
    others: dict[int, list[Claim]] = {comparison.pk: [] for comparison in together}
    for claim in _WORK_ON.objects(comparisons=others):
        others[claim.comparison_id].append(claim)
    chance = drawn.chance_of([comparison.pk for comparison in together if not comparison.claimed])
    new = [each for each in together if all(claim.annotator_id != annotator.pk for claim in others[each.pk])]
    made = {each.comparison_id: each for each in _new_claims(new, dataset, annotator, number, of=first)}
    claims = []
    for comparison in together:
        own = next((claim for claim in others[comparison.pk] if claim.annotator_id == annotator.pk), None)
        claim = own or made[comparison.pk]
        if ranking:
            claim.ranking, claim.left = ranking, left_in(ranking.shown, comparison)
        begun = next((other for other in others[comparison.pk] if other.slot is not None), None)
        if begun:
            claim.strategy, claim.propensity = begun.strategy, begun.propensity
        elif chance:
            claim.strategy, claim.propensity = drawn.strategy, chance
        claim.slot = _free_slot(others[comparison.pk])
        claim.state = Claim.State.LIVE
        claim.expires_at = _expiry(dataset)
        claims.append(claim)
    Claim.objects.bulk_create(made.values())
    again = [claim for claim in claims if claim.comparison_id not in made]
    Claim.objects.bulk_update(
        again, ["ranking", "left", "strategy", "propensity", "slot", "state", "expires_at"]
    )
    Comparison.objects.filter(pk__in=others).update(claimed=F("claimed") + 1)
    return claims[0]


_WORK_ON = Compiled(
    lambda: Claim.objects.filter(comparison__in=COMPARISONS, purpose=Purpose.WORK).order_by("pk")
)


def _new_ranking(annotator: Annotator, together: Iterable[Comparison], number: int) -> Ranking:
    """Positions are drawn by lot, and turned round for every second one: so each of two Completions is before
    the other equally often."""
    prompt = next(iter(together)).prompt_id
    completions = {pk for comparison in together for pk in (comparison.a_id, comparison.b_id)}
    pair, is_second = divmod(number, 2)
    lots = [draw("positions", annotator.pk, pair, place) for place in range(len(completions))]
    by_lot = [pk for _, pk in sorted(zip(lots, sorted(completions), strict=True))]
    return Ranking.objects.create(
        annotator=annotator, prompt_id=prompt, shown=by_lot[::-1] if is_second else by_lot
    )


def left_in(shown: Sequence[int], comparison: Comparison) -> str:
    """Which completion of the Comparison ("a" or "b") comes before the other in a ranking."""
    return "a" if shown.index(comparison.a_id) < shown.index(comparison.b_id) else "b"


def _new_claim(comparison: Comparison, dataset: Dataset, annotator: Annotator, number: int) -> Claim:
    return _new_claims([comparison], dataset, annotator, number, of=comparison)[0]


def _new_claims(
    comparisons: Sequence[Comparison], dataset: Dataset, annotator: Annotator, number: int, of: Comparison
) -> list[Claim]:
    """Unsaved Claims, all of one mode, which is drawn by `of`: of a ranking, its first Comparison."""
    blind = draw("mode", annotator.pk, of.pk) < dataset.blind_share
    suggestions = {} if blind else _suggestions([comparison.pk for comparison in comparisons])
    return [
        Claim(
            comparison=comparison,
            annotator=annotator,
            number=number,
            left=side_at(number, annotator),
            mode=Claim.Mode.BLIND if blind else Claim.Mode.ASSISTED,
            suggestion=suggestions.get(comparison.pk),
            expires_at=_expiry(dataset),
        )
        for comparison in comparisons
    ]


def _suggestions(comparison_ids: Collection[int]) -> dict[int, Suggestion]:
    """What to show of each of these Comparisons."""
    if not comparison_ids:
        return {}
    return {each.comparison_id: each for each in _SHOWN.objects(comparisons=comparison_ids)}


_SHOWN = Compiled(lambda: Suggestion.objects.filter(comparison__in=COMPARISONS).to_show())


def _give_back(claims: Collection[Claim], **changes: object) -> None:
    """Free the places of these Claims, with these changes of them."""
    freed = Counter(claim.comparison_id for claim in claims if claim.slot is not None)
    Claim.objects.filter(pk__in=[claim.pk for claim in claims]).update(slot=None, **changes)
    for places in set(freed.values()):
        same = [pk for pk, n in freed.items() if n == places]
        Comparison.objects.filter(pk__in=same).update(claimed=F("claimed") - places)


def give_back_expired() -> None:
    """Free the places of leases that have run out, in all Datasets: people who went away keep nothing from
    the others."""
    with transaction.atomic():
        # The Comparison is locked along, in one statement: two of these at once would deadlock otherwise.
        locked = (
            _over(timezone.now())
            .select_related("comparison")
            .select_for_update(of=("self", "comparison"), skip_locked=True, no_key=True)
        )
        if claims := list(locked[:500]):
            _give_back(claims, state=Claim.State.EXPIRED)


def extend_claims(dataset: Dataset, annotator: Annotator, have: Collection[int]) -> list[int]:
    """Renew the leases on these Comparisons. Returns those that the annotator does hold: the others have
    gone to somebody else meanwhile."""
    groups = _in_groups(_LIVE.objects(dataset=dataset.pk, annotator=annotator.pk))
    held = [claim for claims in groups if _is_among(claims, have) for claim in claims]
    Claim.objects.filter(pk__in=[claim.pk for claim in held]).update(expires_at=_expiry(dataset))
    return [claim.comparison_id for claim in held if claim.comparison_id in have]


def record_judgment(
    annotator: Annotator, comparison: Comparison, answer: Answer, claim_pk: int | None = None
) -> Judgment:
    """Store the answer to two completions and return its Judgment: `record` without a ranking."""
    return record(annotator, comparison, answer, (), claim_pk)[0]


def record(
    annotator: Annotator,
    comparison: Comparison,
    answer: Answer,
    ranks: Sequence[int] = (),
    claim_pk: int | None = None,
) -> list[Judgment]:
    """Store the answer and return its Judgments: one, or of a ranking all that it implies. The same `key`
    again returns the same rows. `claim_pk` says which of the annotator's Claims on the Comparison is
    answered: without it, the one that is no repeat.

    ranks: of a ranking, 1 = best, in the order shown; the smaller rank is preferred, equal ranks are a tie.
    Empty = `answer.outcome` holds, of a ranking ("both_bad" or "cannot_judge") for each two.

    A first answer makes the Claim done. An answer that names the current Judgment in `supersedes` supersedes
    it; after a Suggestion was revealed (blind mode) its stage is `revealed`. An answer that comes after its
    lease has gone to somebody else takes any free place; where there is none it is stored but not current,
    and `is_surplus` tells the pipeline, not the annotator: gold and repeats can lose no place.

    Raises Refused, and stores nothing, when the Comparison was never handed to the annotator, when they have
    answered it in another window meanwhile (AnsweredBefore), when the key belongs to somebody else's answer,
    or when it is no answer to what was shown."""
    with transaction.atomic():
        _lock(annotator)
        claim = _locked_claim(annotator, comparison, claim_pk)
        if claim.ranking:
            return _record(comparison.dataset, annotator, _implied_by(claim.ranking, answer, ranks))
        if ranks:
            raise Refused("This pair is not part of a ranking. Reload the page to vote on the pair.")
        claim.comparison = comparison
        return _record(comparison.dataset, annotator, [(claim, answer)])


def _record(dataset: Dataset, annotator: Annotator, given: Sequence[tuple[Claim, Answer]]) -> list[Judgment]:
    """The Judgments of these answers, in their order; as many statements for all as for one."""
    keys = [answer.key for _, answer in given]
    stored = {judgment.idempotency_key: judgment for judgment in _SENT_BEFORE.objects(keys=keys)}
    for claim, answer in given:
        if known := stored.get(answer.key):
            _check_same(known, annotator, claim)
            known.comparison, known.ranking = claim.comparison, claim.ranking
    new = [(claim, answer) for claim, answer in given if answer.key not in stored]
    if new:
        stored |= {judgment.idempotency_key: judgment for judgment in _store(dataset, annotator, new)}
    return [stored[key] for key in keys]


_SENT_BEFORE = Compiled(
    lambda: Judgment.objects.filter(idempotency_key__in=GivenMany("keys", UUIDField())).order_by()
)
_SAID = Compiled(
    lambda: Judgment.objects.unchanged().filter(annotator=ANNOTATOR, comparison__in=COMPARISONS).order_by()
)


def _store(dataset: Dataset, annotator: Annotator, given: Sequence[tuple[Claim, Answer]]) -> list[Judgment]:
    claims = [claim for claim, _ in given]
    said = _SAID.objects(annotator=annotator.pk, comparisons={claim.comparison_id for claim in claims})
    by_claim = {(judgment.comparison_id, judgment.purpose): judgment for judgment in said}
    before = {claim.pk: by_claim.get((claim.comparison_id, claim.purpose)) for claim in claims}
    for claim, answer in given:
        one = before[claim.pk]
        if one and one.idempotency_key != answer.supersedes:
            raise AnsweredBefore(one)
    surplus = _take_places(claims)
    answered = [claim.pk for claim in claims if claim.state != Claim.State.DONE]
    if answered:
        Claim.objects.filter(pk__in=answered).update(state=Claim.State.DONE)
    blind = [claim for claim in claims if claim.mode == Claim.Mode.BLIND and not before[claim.pk]]
    shown = _suggestions([claim.comparison_id for claim in blind])
    shown |= {claim.comparison_id: claim.suggestion for claim in claims if claim.suggestion}
    judgments = [
        _judgment(claim, answer, before[claim.pk], shown.get(claim.comparison_id), claim.pk in surplus)
        for claim, answer in given
    ]
    if superseded := [judgment.supersedes_id for judgment in judgments if judgment.supersedes_id]:
        # The database allows one current Judgment: the old one steps back first.
        Judgment.objects.filter(pk__in=superseded).update(is_current=False)
    Judgment.objects.bulk_create(judgments)
    if votes := [judgment for judgment in judgments if judgment.is_current]:
        _call_more(dataset, votes)
        if Strategy.DISAGREEMENT in dataset.strategies and dataset.overlap > 1:
            queue.renew_some([judgment.comparison_id for judgment in votes], dataset)
    return judgments


def _implied_by(ranking: Ranking, answer: Answer, ranks: Sequence[int]) -> list[tuple[Claim, Answer]]:
    """What a ranking says of each of its Comparisons."""
    if not ranks and answer.outcome not in (Outcome.BOTH_BAD, Outcome.CANNOT_JUDGE):
        raise Refused("These answers need a ranking. Reload the page to see all of them.")
    if ranks and len(ranks) != len(ranking.shown):
        raise Refused("The answers to rank have changed. Reload the page to see them.")
    rank_of = dict(zip(ranking.shown, ranks, strict=False))
    claims = ranking.claims.select_for_update(of=("self",)).order_by("pk")
    loaded = claims.select_related("comparison", "suggestion__version", "ranking")
    return [(claim, _implied(claim.comparison, answer, rank_of)) for claim in loaded]


def _implied(comparison: Comparison, answer: Answer, rank_of: Mapping[int, int]) -> Answer:
    """What a ranking says of one Comparison. Its key is made of the whole's, so that sending it twice is
    harmless here as well."""
    outcome = answer.outcome
    if rank_of:
        a, b = rank_of[comparison.a_id], rank_of[comparison.b_id]
        outcome = Outcome.TIE if a == b else Outcome.A if a < b else Outcome.B
    return replace(
        answer,
        outcome=outcome,
        key=uuid5(answer.key, str(comparison.pk)),
        supersedes=uuid5(answer.supersedes, str(comparison.pk)) if answer.supersedes else None,
        facts={"ranks": list(rank_of.values()), "key": str(answer.key)},
    )


def _call_more(dataset: Dataset, judgments: Sequence[Judgment]) -> None:
    """Set how many places the Comparison of each vote has from now on, where its votes ask for more than it
    began with: the full overlap, when one vote is not enough; one more than there are votes, while people
    disagree.

    It never has fewer afterwards: a place that somebody was called to is theirs."""
    if dataset.single_vote_threshold is None and dataset.max_overlap <= dataset.overlap:
        return
    judged = {judgment.comparison_id: judgment for judgment in judgments}
    locked = Comparison.objects.select_for_update(of=("self",), no_key=True).order_by("pk")
    comparisons = [comparison for comparison in locked.filter(pk__in=judged) if not comparison.gold_outcome]
    current = Judgment.objects.current().by_people().filter(comparison__in=judged).order_by()
    votes: dict[int, list[str]] = {pk: [] for pk in judged}
    for pk, outcome in current.values_list("comparison", "outcome"):
        votes[pk].append(outcome)
    called = []
    for comparison in comparisons:
        before = dataset.initial_overlap if comparison.required is None else comparison.required
        places = before
        if dataset.single_vote_threshold is not None and comparison.required is None:
            enough = _is_enough(dataset.single_vote_threshold, judged[comparison.pk])
            lot = draw("audit", settings.SECRET_KEY, comparison.pk)
            comparison.audited = enough and lot < dataset.audit_share
            if not enough or comparison.audited:
                places = max(places, dataset.overlap)
        if dataset.overlap <= places <= len(votes[comparison.pk]) and _is_split(votes[comparison.pk]):
            places = max(places, min(places + 1, dataset.max_overlap))
        if places != before:
            comparison.required = places
            called.append(comparison)
    if called:
        Comparison.objects.bulk_update(called, ["required", "audited"])


def _is_enough(at: float, judgment: Judgment) -> bool:
    """Whether the calibrated model gives the outcome at least this probability, as it was suggested then."""
    if judgment.probability is None or judgment.outcome not in (Outcome.A, Outcome.B):
        return False
    given = judgment.probability if judgment.outcome == Outcome.A else 1 - judgment.probability
    return given >= at


def _is_split(votes: list[str]) -> bool:
    """Of the opinions, no outcome has more than half: nothing could be derived from them."""
    opinions = [outcome for outcome in votes if outcome != Outcome.CANNOT_JUDGE]
    return len(opinions) > 1 and max(Counter(opinions).values()) * 2 <= len(opinions)


def _check_same(known: Judgment, annotator: Annotator, claim: Claim) -> None:
    if (known.annotator_id, known.comparison_id) != (annotator.pk, claim.comparison_id):
        raise Refused("This vote has the key of another vote. Reload the page and vote again.")


def comparison_in(dataset: Dataset, pk: int) -> Comparison | None:
    """The Dataset's Comparison of this primary key."""
    comparison = _IN_DATASET.first(dataset=dataset.pk, comparison=pk)
    if comparison:
        comparison.dataset = dataset
    return comparison


def texts_of(claim: Claim) -> tuple[Comparison, bool]:
    """What is to be judged, with its Prompt and Completions, and whether there is a Suggestion to show."""
    comparison: Any = _WITH_TEXTS.first(comparison=claim.comparison_id)
    return comparison, bool(comparison.has_suggestion)


_IN_DATASET = Compiled(lambda: Comparison.objects.filter(dataset=DATASET, pk=COMPARISON))
_WITH_TEXTS = Compiled(
    lambda: (
        Comparison.objects.filter(pk=COMPARISON)
        .select_related("prompt", "a", "b")
        .annotate(has_suggestion=Exists(Suggestion.objects.filter(comparison=OuterRef("pk")).to_show()))
    )
)


def claim_of(annotator: Annotator, comparison: Comparison, claim_pk: int | None) -> QuerySet[Claim]:
    """The Claim of this primary key; without one that which is no repeat. Empty when it is not theirs."""
    claims = Claim.objects.filter(annotator=annotator, comparison=comparison)
    return claims.filter(pk=claim_pk) if claim_pk else claims.exclude(purpose=Purpose.REPEAT)


def _locking(claim: int | None) -> Compiled[Claim]:
    return Compiled(
        lambda: (
            claim_of(ANNOTATOR, COMPARISON, claim)
            .select_for_update(of=("self",))
            .select_related("suggestion__version", "ranking")
        )
    )


_LOCK_CLAIM = _locking(CLAIM)
_LOCK_CLAIM_NO_REPEAT = _locking(None)


def _locked_claim(annotator: Annotator, comparison: Comparison, claim_pk: int | None = None) -> Claim:
    locking = _LOCK_CLAIM if claim_pk else _LOCK_CLAIM_NO_REPEAT
    claim = locking.first(annotator=annotator.pk, comparison=comparison.pk, claim=claim_pk)
    if claim is None:
        raise Refused("This pair was not given to you. Reload the page to get the next pair.")
    return claim


def _take_places(claims: Iterable[Claim]) -> set[int]:
    """Give a place that is still free to each Claim that has lost its own. Primary keys of those for which
    there is none."""
    lacking = [claim for claim in claims if claim.slot is None and claim.purpose == Purpose.WORK]
    if not lacking:
        return set()
    pks = [claim.comparison_id for claim in lacking]
    locked = Comparison.objects.select_for_update(of=("self",)).select_related("dataset").order_by("pk")
    comparisons = {comparison.pk: comparison for comparison in locked.filter(pk__in=pks)}
    held: dict[int, list[Claim]] = {pk: [] for pk in pks}
    for claim in Claim.objects.filter(comparison__in=pks):
        held[claim.comparison_id].append(claim)
    placed = []
    for claim in lacking:
        comparison = comparisons[claim.comparison_id]
        places = comparison.dataset.initial_overlap if comparison.required is None else comparison.required
        if comparison.claimed < places:
            claim.slot = _free_slot(held[comparison.pk])
            claim.state = Claim.State.DONE
            placed.append(claim)
    if placed:
        Claim.objects.bulk_update(placed, ["slot", "state"])
        taken = Comparison.objects.filter(pk__in=[claim.comparison_id for claim in placed])
        taken.update(claimed=F("claimed") + 1)
    return {claim.pk for claim in lacking if claim.slot is None}


def _judgment(
    claim: Claim, answer: Answer, before: Judgment | None, shown: Suggestion | None, surplus: bool
) -> Judgment:
    """Unsaved."""
    outcome = outcome_of(answer.outcome, claim.left)
    revealed = before is not None and claim.mode == Claim.Mode.BLIND and before.suggested != ""
    return Judgment(
        comparison=claim.comparison,
        annotator_id=claim.annotator_id,
        purpose=claim.purpose,
        outcome=outcome,
        strength=answer.strength if outcome in (Outcome.A, Outcome.B) else None,
        comment=answer.comment,
        seconds=answer.seconds,
        stage=Judgment.Stage.REVEALED if revealed else Judgment.Stage.FIRST,
        mode=claim.mode,
        left=claim.left,
        guidelines=answer.guidelines,
        idempotency_key=answer.key,
        supersedes=before,
        is_current=claim.purpose == Purpose.WORK and not surplus,
        ranking=claim.ranking,
        metadata={**answer.facts, **({"surplus": "every place was taken"} if surplus else {})},
        **(_as_shown_before(before) if before else _as_suggested(shown)),
    )


def _as_shown_before(before: Judgment) -> dict[str, object]:
    """A change is made in view of what was shown with the first answer, whatever is active by now."""
    return {
        "suggested": before.suggested,
        "margin": before.margin,
        "probability": before.probability,
        "version_id": before.version_id,
    }


def _as_suggested(suggestion: Suggestion | None) -> dict[str, object]:
    if suggestion is None:
        return {}
    return {
        "suggested": suggestion.outcome,
        "margin": suggestion.margin,
        "probability": suggestion.probability,
        "version": suggestion.version,
    }


def skip(annotator: Annotator, comparison: Comparison, claim_pk: int | None = None) -> None:
    """Give the place back, of a ranking all its places: the Comparison comes to others first. Skipping what
    is not held changes nothing.

    Raises Refused when the Comparison was never handed to the annotator."""
    with transaction.atomic():
        _lock(annotator)
        claim = _locked_claim(annotator, comparison, claim_pk)
        together = Claim.objects.select_for_update(of=("self",)).filter(ranking=claim.ranking).order_by("pk")
        live = [each for each in (together if claim.ranking else [claim]) if each.state == Claim.State.LIVE]
        if live:
            _give_back(live, state=Claim.State.SKIPPED, expires_at=timezone.now())


def flag(
    annotator: Annotator, comparison: Comparison, reason: str, note: str, claim_pk: int | None = None
) -> list[Flag]:
    """Flag the Comparison, of a ranking all of its Comparisons, as they were seen as one; a second flag of
    the same annotator corrects the first while it is open. Returns the open Flags.

    Raises Refused when the Comparison was never handed to the annotator."""
    with transaction.atomic():
        _lock(annotator)
        claim = claim_of(annotator, comparison, claim_pk).first()
        if claim is None:
            raise Refused("This pair was not given to you. Reload the page to get the next pair.")
        together = Claim.objects.filter(annotator=annotator, ranking=claim.ranking_id)
        pks = together.values_list("comparison", flat=True) if claim.ranking_id else [comparison.pk]
        own = Flag.objects.open().filter(annotator=annotator, comparison__in=list(pks))
        own.update(reason=reason, note=note)
        flagged = set(own.values_list("comparison", flat=True))
        Flag.objects.bulk_create(
            Flag(comparison_id=pk, annotator=annotator, reason=reason, note=note)
            for pk in pks
            if pk not in flagged
        )
        return list(own)


def ranks_of(outcomes: Mapping[tuple[int, int], str], shown: Sequence[int]) -> list[int]:
    """Ranks (1 = best, equal = tie) in the order shown, from outcomes "a", "b" or "tie" by (a, b): by how
    many others each is better than."""
    wins = dict.fromkeys(shown, 0)
    for (a, b), outcome in outcomes.items():
        if outcome in (Outcome.A, Outcome.B):
            wins[a if outcome == Outcome.A else b] += 1
    return [1 + sum(other > wins[pk] for other in wins.values()) for pk in shown]


def last_answered(dataset: Dataset, annotator: Annotator, before: int | None = None) -> Judgment | None:
    """The annotator's newest Judgment in the dataset that they have not changed since; with `before`, the
    newest older than it."""
    own = Judgment.objects.unchanged().of(dataset).filter(annotator=annotator)
    if before is not None:
        own = own.filter(pk__lt=before)
    return own.order_by("-pk").first()


def progress(dataset: Dataset, annotator: Annotator) -> Progress:
    """Gold and repeats are in all of it: a figure that stood still after an answer would tell which kind it
    was."""
    now = timezone.now()
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    first = Judgment.objects.of(dataset).filter(annotator=annotator, supersedes=None)
    # Each a subquery of its own, as each has its index: counted together they read every Claim there is.
    claims = Claim.objects.filter(comparison__dataset=dataset, annotator=annotator, state=Claim.State.DONE)
    counted = {
        "mine": count_of(claims, "annotator"),
        "today": count_of(first.filter(created_at__gte=midnight), "annotator"),
        "hour": count_of(first.filter(created_at__gte=now - timedelta(hours=1)), "annotator"),
    }
    asked = Annotator.objects.filter(pk=annotator.pk).values_list(*counted.values())
    return Progress(**dict(zip(counted, asked.get(), strict=True)))


def progress_in(datasets: Collection[Dataset], user: User) -> dict[int, Progress]:
    """As `progress`, of one person in each of these Datasets, by primary key. Two queries."""
    now = timezone.now()
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    own = {"annotator__user": user, "comparison__dataset__in": [dataset.pk for dataset in datasets]}
    done = Claim.objects.filter(**own, state=Claim.State.DONE).values_list("comparison__dataset")
    since = min(midnight, now - timedelta(hours=1))
    first = Judgment.objects.filter(**own, supersedes=None, created_at__gte=since).order_by()
    recent = first.values_list("comparison__dataset").annotate(
        today=Count("pk", filter=Q(created_at__gte=midnight)),
        hour=Count("pk", filter=Q(created_at__gte=now - timedelta(hours=1))),
    )
    mine = dict(done.annotate(n=Count("pk")))
    lately = {pk: (today, hour) for pk, today, hour in recent}
    return {
        dataset.pk: Progress(mine.get(dataset.pk, 0), *lately.get(dataset.pk, (0, 0))) for dataset in datasets
    }


def what_is_left(dataset: Dataset, annotator: Annotator) -> Left:
    """What to say when `next_claim` had nothing. What was skipped counts until it is answered, whatever has
    become of it."""
    skipped = Claim.objects.filter(
        annotator=annotator, comparison__dataset=dataset, state=Claim.State.SKIPPED
    )
    return Left(is_empty=not dataset.comparisons.exists(), skipped=skipped.count())


@dataclass(frozen=True)
class Day:
    """How much one annotator answered on one day."""

    date: date
    answers: int


def days(dataset: Dataset, annotator: Annotator) -> list[Day]:
    """The last DAYS on which the annotator answered, newest first; gold and repeats are in it."""
    first = Judgment.objects.of(dataset).filter(annotator=annotator, supersedes=None).order_by()
    by_day = first.annotate(day=TruncDate("created_at")).values("day").annotate(n=Count("pk"))
    return [Day(row["day"], row["n"]) for row in by_day.order_by("-day")[:DAYS]]
