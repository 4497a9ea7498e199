"""The order of the annotators' queue: which Comparison comes next, and how likely that was.

Each Comparison stores two ranks. The smallest comes first, and an index finds it, however many there are:

- `uncertainty_rank`: how sure the Suggestion is, in rounds of at most `max_per_group` of one prompt group;
- `disagreement_rank`: 0 where votes or labels differ, else how sure the model is against the one opinion.

Suggestions, votes and Decisions change the ranks, and whoever writes one of these writes the ranks too. The
queue first finishes what has been begun, and then what an admin put first. Otherwise each Claim draws a
strategy (see `Dataset.strategies`), and the strategy a Comparison. The Claim keeps the probability of the
draw. An estimate weighted by this probability is unbiased, although the queue serves some Comparisons sooner
(q of Farquhar, Gal and Rainforth 2021, "On statistical bias in active learning")."""

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from workbench.db.bulk import in_chunks
from workbench.models import (
    Annotator,
    Claim,
    Comparison,
    Dataset,
    Decision,
    Judgment,
    ModelVersion,
    Outcome,
    Prompt,
    Strategy,
    Suggestion,
    ViewPair,
)
from workbench.models.annotation import ComparisonQuerySet
from workbench.models.dataset import DatasetQuerySet
from workbench.pipeline.annotate import statements

# How many Comparisons of each window of the queue are read to find one that the annotator has not had: at
# first, and where none was found.
WINDOW = 32
FAR = 512
MOST_TRIED = 16  # Comparisons that others may hold locked
ROWS_A_STATEMENT = 1000
GROUPS_AT_ONCE = 250  # so that few Comparisons are locked against annotators meanwhile


# --- the ranks ----------------------------------------------------------------------------------------------


def stale_datasets() -> DatasetQuerySet:
    """Datasets whose ranks do not follow from the active version and the newest rows; newest first."""
    version = ModelVersion.objects.active()
    stale = Q(queue_stale_since__isnull=False)
    if version:
        stale |= Q(queue_version=None) | ~Q(queue_version=version)
    return Dataset.objects.in_use().filter(stale).order_by("-pk")


def renew_all(dataset: Dataset) -> None:
    """Write the ranks of the whole Dataset again, in small transactions, as annotators go on meanwhile. Safe
    to repeat. The queue stays stale if something makes it stale again meanwhile."""
    version, stale_since = ModelVersion.objects.active(), dataset.queue_stale_since
    groups = Prompt.objects.of(dataset).order_by("group").values_list("group", flat=True).distinct()
    for chunk in in_chunks(list(groups), GROUPS_AT_ONCE):
        renew(dataset, chunk)
    row = Dataset.objects.filter(pk=dataset.pk)
    row.update(queue_version=version)
    row.filter(queue_stale_since=stale_since).update(queue_stale_since=None)


def renew(dataset: Dataset, groups: Collection[str]) -> None:
    """Write the ranks of all Comparisons of these prompt groups again."""
    comparisons = _of_groups(dataset, Q(group__in=groups))
    with transaction.atomic():
        # Locked in one order: otherwise two workers that renew the same group would deadlock.
        list(comparisons.select_for_update(of=("self",), no_key=True).order_by("pk").only("pk"))
        _write(_changed_ranks(comparisons, dataset.max_per_group))


def renew_or_put_off(dataset: Dataset, pks: Collection[int]) -> None:
    """Write the ranks of the prompt groups of these Comparisons again; of many groups later, as the ranks of
    many Comparisons are not to be locked against annotators at once."""
    groups: set[str] = set()
    for chunk in in_chunks(pks, ROWS_A_STATEMENT):
        groups |= set(Prompt.objects.filter(comparisons__in=chunk).values_list("group", flat=True))
        if len(groups) > GROUPS_AT_ONCE:
            Dataset.objects.filter(pk=dataset.pk).update(queue_stale_since=timezone.now())
            return
    renew(dataset, groups)


def renew_some(pks: Collection[int], dataset: Dataset) -> None:
    """Write the ranks of Comparisons of one prompt group again: after votes or a Decision."""
    group = Prompt.objects.filter(comparisons=min(pks)).values("group")
    siblings = _of_groups(dataset, Q(group=Subquery(group)))
    changed = _changed_ranks(siblings, dataset.max_per_group)
    _write([comparison for comparison in changed if comparison.pk in pks])


def _of_groups(dataset: Dataset, groups: Q) -> ComparisonQuerySet:
    # By way of the Prompts: SQLite would read all Comparisons of the Dataset to find those of a group.
    return Comparison.objects.filter(prompt__in=Prompt.objects.of(dataset).filter(groups))


def _write(comparisons: list[Comparison]) -> None:
    # One list of values, as bulk_update with its CASE for each row took three times as long.
    table = connection.ops.quote_name(Comparison._meta.db_table)
    with connection.cursor() as cursor:
        for start in range(0, len(comparisons), ROWS_A_STATEMENT):
            chunk = comparisons[start : start + ROWS_A_STATEMENT]
            rows = [(row.pk, row.uncertainty_rank, row.disagreement_rank) for row in chunk]
            cursor.execute(
                f"UPDATE {table} SET uncertainty_rank = CAST(v.column2 AS double precision), "  # noqa: S608 - no text of others
                "disagreement_rank = CAST(v.column3 AS double precision) "
                f"FROM (VALUES {', '.join(['(%s, %s, %s)'] * len(chunk))}) AS v WHERE {table}.id = v.column1",
                [value for row in rows for value in row],
            )


def _changed_ranks(comparisons: ComparisonQuerySet, max_per_group: int) -> list[Comparison]:
    """Comparisons whose stored ranks are wrong, each with its right ranks. `comparisons` are whole groups."""
    reviewed = Decision.objects.current().filter(method=Decision.Method.REVIEWER, comparison=OuterRef("pk"))
    suggestions = Suggestion.objects.filter(comparison=OuterRef("pk")).to_show()
    facts = comparisons.order_by("pk").annotate(
        margin=Subquery(suggestions.values("margin")[:1]), settled=Exists(reviewed)
    )
    rows = list(
        facts.values_list("pk", "prompt__group", "margin", "settled", "uncertainty_rank", "disagreement_rank")
    )
    opinions = _opinions([pk for pk, *_ in rows])
    margins = [(group, abs(margin), pk) for pk, group, margin, *_ in rows if margin is not None]
    uncertainty_ranks = _uncertainty_ranks(margins, max_per_group)
    changed = []
    for pk, _, margin, settled, *stored in rows:
        comparison = Comparison(pk=pk)
        if not settled:
            comparison.uncertainty_rank = uncertainty_ranks.get(pk)
            comparison.disagreement_rank = disagreement_rank(margin, opinions[pk])
        if [comparison.uncertainty_rank, comparison.disagreement_rank] != stored:
            changed.append(comparison)
    return changed


def _opinions(pks: Sequence[int]) -> defaultdict[int, set[str]]:
    """The outcomes of current opinions, by Comparison."""
    opinions: defaultdict[int, set[str]] = defaultdict(set)
    current = Judgment.objects.current().opinions().filter(comparison__in=pks)
    for pk, outcome in current.order_by().values_list("comparison", "outcome").distinct():
        opinions[pk].add(outcome)
    return opinions


def _uncertainty_ranks(margins: Iterable[tuple[str, float, int]], max_per_group: int) -> dict[int, float]:
    """rank = round + squeezed margin, by primary key; from (group, |margin|, primary key)."""
    by_group: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for group, margin, pk in margins:
        by_group[group].append((margin, pk))
    return {
        pk: place // max_per_group + _squeezed(margin)
        for members in by_group.values()
        for place, (margin, pk) in enumerate(sorted(members))
    }


def disagreement_rank(margin: float | None, outcomes: Collection[str]) -> float | None:
    """0 where opinions differ; in (0, 1] where the model is against the one opinion, smaller for a surer
    model; None where nobody disagrees. A tie disagrees with no model."""
    if len(outcomes) > 1:
        return 0.0
    if not margin or not outcomes:
        return None
    against = Outcome.B if margin > 0 else Outcome.A
    return 1 - _squeezed(abs(margin)) if against in outcomes else None


def _squeezed(margin: float) -> float:
    """[0, infinity) to [0, 1)."""
    return margin / (1 + margin)


# --- the next -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """A locked Comparison to hand out, and how it was drawn: the shares of the strategies, the first
    Comparison of each strategy but the random one, and the number of Comparisons that nobody had begun. All
    three are empty for a Comparison that was not drawn."""

    comparison: Comparison
    strategy: Strategy = Strategy.RANDOM
    shares: dict[Strategy, float] = field(default_factory=dict)
    firsts: dict[Strategy, int] = field(default_factory=dict)
    untouched: int = 0

    def chance_of(self, pks: Collection[int]) -> float | None:
        """The probability that one of these Comparisons was drawn; None where nothing was drawn."""
        if not self.shares:
            return None
        chance = sum(self.shares[strategy] for strategy, first in self.firsts.items() if first in pks)
        if self.untouched:
            chance += self.shares[Strategy.RANDOM] * len(pks) / self.untouched
        return min(1.0, chance)


Needs = tuple[int, ...] | None
"""The Requirements that an annotator meets, as requirements.met_by gives them; None = all Comparisons."""


def lock_next(
    dataset: Dataset,
    annotator: Annotator,
    again: bool,
    start: float,
    needs: Needs,
    views_first: bool = False,
) -> Drawn | None:
    """Lock the Comparison to hand out. With `views_first`, saved views that are given to the annotator come
    before all else. Then come Comparisons that need one more person; then those that others have begun,
    nearly full ones first; then those that an admin put first; then those that nobody has begun, by the
    Dataset's order. Where the windows hold nothing for this annotator, the whole Dataset is searched. The
    chance of a draw is that among the Comparisons whose Requirement the annotator meets.

    start: where in the random order to begin, in [0, 1)."""
    if views_first and (of_views := _lock_of_views(dataset, annotator, needs)):
        return of_views
    for size in (WINDOW, FAR):
        # Two statements, the second by primary keys. In one nested statement, SQLite reads all open
        # Comparisons instead of the windows; so does PostgreSQL without statistics, just after an import.
        window_rows, untouched = statements.read_windows(dataset, start, size, needs)
        pks = {pk for _, pk in window_rows}
        open_pks = {pk for (pk,) in statements.open_among(annotator.pk, pks)} if pks else set()
        queue: dict[Strategy | None, list[int]] = {strategy: [] for strategy in (None, *Strategy)}
        for strategy, pk in window_rows:
            if pk in open_pks:
                queue[strategy].append(pk)
        if begun := _lock_first(dataset, annotator, queue[None], needs):
            return _not_drawn(begun)
        if chosen := _lock_first(dataset, annotator, queue[Strategy.CHOSEN], needs):
            return _not_drawn(chosen)
        if drawn := _draw(dataset, annotator, queue, untouched, needs):
            return drawn
    return _lock_any(dataset, annotator, again, needs)


def _lock_of_views(dataset: Dataset, annotator: Annotator, needs: Needs) -> Drawn | None:
    """Lock a Comparison of the saved views that are given to the annotator; None where none is open."""
    of_person = {"view__given_to__user": annotator.user_id, "view__given_to__dataset": dataset}
    comparisons = dataset.comparisons.unfilled(dataset.initial_overlap).needing(needs).open_to(annotator.pk)
    pairs = ViewPair.objects.filter(**of_person, comparison__in=comparisons.order_by()).order_by("view", "pk")
    comparison = _lock_first(
        dataset, annotator, list(pairs.values_list("comparison", flat=True)[:WINDOW]), needs
    )
    if comparison is None:
        return None
    # Picked by an admin: no sample of chance counts it, where nobody has begun it before.
    return Drawn(comparison, Strategy.RANDOM if comparison.claimed else Strategy.CHOSEN)


def _lock_first(
    dataset: Dataset, annotator: Annotator, pks: Sequence[int], needs: Needs
) -> Comparison | None:
    """The first of these Comparisons that nobody else holds locked and that is open under the lock, with one
    of these Requirements: a worker may have given it another meanwhile."""
    for pk in pks[:MOST_TRIED]:
        if needs is None:
            comparison = statements.lock_open.first(annotator.pk, pk, dataset.initial_overlap)
        else:
            comparison = statements.lock_open_needing.first(annotator.pk, pk, dataset.initial_overlap, needs)
        if comparison:
            return comparison
    return None


def _draw(
    dataset: Dataset,
    annotator: Annotator,
    queue: dict[Strategy | None, list[int]],
    untouched: int,
    needs: Needs,
) -> Drawn | None:
    """Draw a strategy, and lock its first Comparison. A strategy without one leaves its share to chance."""
    shares = {Strategy.RANDOM: 0.0}
    for strategy, share in dataset.strategies.items():
        taker = strategy if queue[strategy] else Strategy.RANDOM
        shares[taker] = shares.get(taker, 0.0) + share
    firsts = {strategy: queue[strategy][0] for strategy in shares if strategy in statements.RANK_FIELDS}
    strategy = random.choices(list(shares), list(shares.values()))[0]
    comparison = _lock_first(dataset, annotator, queue[strategy], needs)
    if comparison is None:
        return None
    if comparison.claimed or comparison.priority:  # somebody has begun it or put it first meanwhile
        return _not_drawn(comparison)
    if strategy in statements.RANK_FIELDS:
        firsts[strategy] = comparison.pk
    if not shares[Strategy.RANDOM]:
        return Drawn(comparison, strategy, shares, firsts)
    if untouched == statements.MOST_UNTOUCHED_COUNTED:
        # A count of ten seconds ago will do for a large number.
        rows = dataset.comparisons.needing(needs).claimed_by(0).order_by()
        of_whom = f":{needs}".replace(" ", "") if needs is not None else ""
        untouched = cache.get_or_set(f"untouched:{dataset.pk}{of_whom}", rows.count, 10) or untouched
    return Drawn(comparison, strategy, shares, firsts, max(1, untouched))


def _lock_any(dataset: Dataset, annotator: Annotator, again: bool, needs: Needs) -> Drawn | None:
    skipped = Claim.objects.filter(annotator=annotator, comparison=OuterRef("pk"), state=Claim.State.SKIPPED)
    for comparisons in open_parts(dataset, annotator, again, needs):
        # The longest skipped comes first, so that skipping again goes round all of them.
        annotated = comparisons.annotate(skipped_at=Subquery(skipped.values("expires_at")[:1]))
        locked = annotated.select_for_update(of=("self",), skip_locked=True)
        in_order = locked.order_by(F("skipped_at").asc(nulls_first=True), "-claimed", "random_rank")
        if comparison := in_order.first():
            return _not_drawn(comparison)
    return None


def _not_drawn(comparison: Comparison) -> Drawn:
    """A Comparison that comes by its place in the queue. Where nobody has begun it, an admin put it there, or
    gave it a number of places of its own: no sample of chance counts it."""
    chosen = not comparison.claimed and (comparison.priority or comparison.required is not None)
    return Drawn(comparison, Strategy.CHOSEN if chosen else Strategy.RANDOM)


def open_parts(
    dataset: Dataset, annotator: Annotator, again: bool, needs: Needs
) -> list[QuerySet[Comparison]]:
    """All Comparisons open to the annotator, in two parts with an index each: those with a number of places
    of their own, and the others."""
    below_overlap = dataset.comparisons.filter(required=None, claimed__lt=dataset.initial_overlap)
    parts: list[ComparisonQuerySet] = [dataset.comparisons.needing_more_people(), below_overlap]
    return [comparisons.needing(needs).open_to(annotator.pk, again) for comparisons in parts]
