"""The order of the annotators' queue: which Comparison comes next, and how likely that was.

Two keys are stored on each Comparison, the least of each first, so that finding the first is a read of an
index however many there are:

- `uncertainty_rank`: how sure the Suggestion is, in rounds of at most so many of one prompt group;
- `disagreement_rank`: votes or labels that differ, else how sure the model is against the one there is.

They are written with what they rest on: Suggestions, votes, a Decision. What has been begun is finished
first; of the rest each Claim draws a strategy (see `Dataset.strategies`), and the strategy a Comparison.
The probability that it was this one is kept on the Claim: estimates over a queue that asks for some sooner
than others are unbiased when weighted by it (the q of Farquhar, Gal and Rainforth 2021, "On statistical bias
in active learning")."""

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations, islice
from typing import Any

from django.core.cache import cache
from django.db import connection, transaction
from django.db.models import (
    BigAutoField,
    Exists,
    F,
    FloatField,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)

from workbench.db.compiled import Compiled, Given, GivenMany
from workbench.models import (
    Annotator,
    Claim,
    Comparison,
    Completion,
    Dataset,
    Decision,
    Judgment,
    ModelVersion,
    Outcome,
    Prompt,
    Strategy,
    Suggestion,
)
from workbench.models.annotation import ComparisonQuerySet

# How far each part of the queue is read for one that this annotator has not had, and how far when there was
# none: bounded, however much they have done.
WINDOW = 32
FAR = 512
LEVELS = 4  # how many counts of places taken are told apart
TRIED = 16  # until one is found that nobody else holds locked
# So many that nobody has begun are counted each time; of more, the count of ten seconds ago does.
COUNTED = 1000
WRITTEN = 1000  # in one statement
GROUPS = 250  # at once, so that few Comparisons are locked against annotators meanwhile

KEYS = {Strategy.UNCERTAIN: "uncertainty_rank", Strategy.DISAGREEMENT: "disagreement_rank"}


RANKED = range(3, 10)  # how many Completions can be ranked at once: each has a digit


@dataclass(frozen=True)
class Drawn:
    """A locked Comparison to hand out. `shares` of the strategies, the first of each strategy but the random
    one, and how many nobody had begun; all empty where it was not drawn from those."""

    comparison: Comparison
    strategy: Strategy = Strategy.RANDOM
    shares: dict[Strategy, float] = field(default_factory=dict)
    firsts: dict[Strategy, int] = field(default_factory=dict)
    how_many: int = 0

    def chance_of(self, together: Collection[int]) -> float | None:
        """How likely it was that one of these, by primary key, was drawn; None where nothing was."""
        if not self.shares:
            return None
        chance = sum(self.shares[strategy] for strategy, first in self.firsts.items() if first in together)
        if self.how_many:
            chance += self.shares[Strategy.RANDOM] * len(together) / self.how_many
        return min(1.0, chance)


# --- the keys -----------------------------------------------------------------------------------------------


def renew_all(dataset: Dataset) -> None:
    """Write the keys of the whole Dataset anew, in small transactions: annotators go on meanwhile. Safe to
    repeat; what comes while it runs asks for another."""
    version, wanted_at = ModelVersion.objects.active(), dataset.queue_stale_since
    groups = Prompt.objects.of(dataset).order_by("group").values_list("group", flat=True).distinct()
    remaining = iter(list(groups))
    while chunk := list(islice(remaining, GROUPS)):
        renew(dataset, chunk)
    same = Dataset.objects.filter(pk=dataset.pk)
    same.update(queue_version=version)
    same.filter(queue_stale_since=wanted_at).update(queue_stale_since=None)


def renew(dataset: Dataset, groups: Collection[str]) -> None:
    """Write the keys of all Comparisons of these prompt groups anew."""
    comparisons = _of_groups(dataset, Q(group__in=groups))
    with transaction.atomic():
        # Locked in one order: two workers that renew the same group would deadlock otherwise.
        list(comparisons.select_for_update(of=("self",), no_key=True).order_by("pk").only("pk"))
        _write(_keys(comparisons, dataset.max_per_group))


def renew_some(pks: Collection[int], dataset: Dataset) -> None:
    """Write the keys of Comparisons of one prompt group anew: after votes or a Decision."""
    group = Prompt.objects.filter(comparisons=min(pks)).values("group")
    siblings = _of_groups(dataset, Q(group=Subquery(group)))
    _write([each for each in _keys(siblings, dataset.max_per_group) if each.pk in pks])


def _of_groups(dataset: Dataset, groups: Q) -> ComparisonQuerySet:
    # By way of their Prompts: asked for the Dataset's Comparisons of a group, SQLite reads all it has.
    return Comparison.objects.filter(prompt__in=Prompt.objects.of(dataset).filter(groups))


def _write(comparisons: list[Comparison]) -> None:
    # As one list of values: bulk_update's CASE with a line for each row took three times as long.
    table = connection.ops.quote_name(Comparison._meta.db_table)
    with connection.cursor() as cursor:
        for start in range(0, len(comparisons), WRITTEN):
            some = comparisons[start : start + WRITTEN]
            cursor.execute(
                f"UPDATE {table} SET uncertainty_rank = CAST(v.column2 AS double precision), "  # noqa: S608 - no text of others
                "disagreement_rank = CAST(v.column3 AS double precision) "
                f"FROM (VALUES {', '.join(['(%s, %s, %s)'] * len(some))}) AS v WHERE {table}.id = v.column1",
                [
                    value
                    for each in some
                    for value in (each.pk, each.uncertainty_rank, each.disagreement_rank)
                ],
            )


def _keys(comparisons: ComparisonQuerySet, max_per_group: int) -> list[Comparison]:
    """Those of whole prompt groups whose keys are not as they should be, with their keys as they should."""
    reviewed = Decision.objects.current().filter(method=Decision.Method.REVIEWER, comparison=OuterRef("pk"))
    suggestions = Suggestion.objects.filter(comparison=OuterRef("pk")).to_show()
    facts = comparisons.order_by("pk").annotate(
        margin=Subquery(suggestions.values("margin")[:1]), settled=Exists(reviewed)
    )
    rows = list(
        facts.values_list("pk", "prompt__group", "margin", "settled", "uncertainty_rank", "disagreement_rank")
    )
    said = _opinions([pk for pk, *_ in rows])
    margins = [(group, abs(margin), pk) for pk, group, margin, *_ in rows if margin is not None]
    uncertainty_ranks = _uncertainty_ranks(margins, max_per_group)
    changed = []
    for pk, _, margin, settled, *before in rows:
        wanted = Comparison(pk=pk)
        if not settled:
            wanted.uncertainty_rank, wanted.disagreement_rank = (
                uncertainty_ranks.get(pk),
                disagreement_rank(margin, said[pk]),
            )
        if [wanted.uncertainty_rank, wanted.disagreement_rank] != before:
            changed.append(wanted)
    return changed


def _opinions(pks: Sequence[int]) -> defaultdict[int, set[str]]:
    """Which outcomes people and imported labels prefer now, by Comparison."""
    said: defaultdict[int, set[str]] = defaultdict(set)
    current = Judgment.objects.current().opinions().filter(comparison__in=pks)
    for pk, outcome in current.order_by().values_list("comparison", "outcome").distinct():
        said[pk].add(outcome)
    return said


def _uncertainty_ranks(margins: Iterable[tuple[str, float, int]], max_per_group: int) -> dict[int, float]:
    """Of (group, size of the margin, primary key): the round that each comes in, plus its margin squeezed
    into [0, 1)."""
    by_group: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for group, margin, pk in margins:
        by_group[group].append((margin, pk))
    return {
        pk: place // max_per_group + _squeezed(margin)
        for members in by_group.values()
        for place, (margin, pk) in enumerate(sorted(members))
    }


def disagreement_rank(margin: float | None, outcomes: Collection[str]) -> float | None:
    """0 where opinions differ; else the less, the surer the model is against the one there is, in (0, 1];
    None where nobody disagrees. A tie disagrees with no model."""
    if len(outcomes) > 1:
        return 0.0
    if not margin or not outcomes:
        return None
    against = Outcome.B if margin > 0 else Outcome.A
    return 1 - _squeezed(abs(margin)) if against in outcomes else None


def _squeezed(margin: float) -> float:
    return margin / (1 + margin)


# --- the next -----------------------------------------------------------------------------------------------


# Any: in what is compiled they stand where otherwise a row or a number does.
DATASET: Any = Given("dataset", BigAutoField())
ANNOTATOR: Any = Given("annotator", BigAutoField())
START: Any = Given("start", FloatField())
PLACES: Any = Given("required", IntegerField())


def unfilled(
    comparisons: ComparisonQuerySet, initial_overlap: int
) -> tuple[ComparisonQuerySet, ComparisonQuerySet]:
    """Those with free places of their own number, and those with free places of the Dataset's: apart, as each
    has its index."""
    called = comparisons.filter(required__gt=F("claimed"))
    return called, comparisons.filter(required=None, claimed__lt=initial_overlap)


def _is_unfilled(initial_overlap: int) -> Q:
    return Q(required__gt=F("claimed")) | Q(required=None, claimed__lt=initial_overlap)


def open_to(annotator: Annotator, comparisons: ComparisonQuerySet, again: bool = False) -> ComparisonQuerySet:
    """Of these with free places, the Comparisons that no reviewer has settled and this annotator has not
    had."""
    had = Claim.objects.filter(annotator=annotator, comparison=OuterRef("pk"))
    had = had.exclude(state=Claim.State.EXPIRED)
    if again:
        had = had.exclude(state=Claim.State.SKIPPED)
    # Where the query locks, all is asked of the locked row again: others may have filled it meanwhile.
    return comparisons.unsettled_by_reviewer().exclude(Exists(had))


def lock_next(dataset: Dataset, annotator: Annotator, again: bool, start: float) -> Drawn | None:
    """Lock the Comparison to hand out. First those that call for one more person; then those that others have
    begun, nearly full ones first; then one that nobody has begun, by the Dataset's order; then, when what was
    read of the queue holds nothing for this annotator, all there are.

    start: where in the random order to begin, in [0, 1)."""
    for size in (WINDOW, FAR):
        queue, untouched = _read(dataset, annotator, start, size)
        if begun := _lock_first(dataset, annotator, queue[None]):
            return Drawn(begun)
        if drawn := _draw(dataset, annotator, queue, untouched):
            return drawn
    return _any(dataset, annotator, again)


Window = tuple[Strategy | None, QuerySet[Comparison]]
"""An ordered part of the queue, and the strategy that draws from it; None for what is finished first."""


@lru_cache
def _windows(
    strategies: tuple[Strategy, ...], initial_overlap: int, size: int
) -> list[tuple[Strategy | None, Compiled[Comparison]]]:
    """The parts of the queue of a Dataset with these strategies, `size` of each."""

    def compiled(part: QuerySet[Comparison]) -> Compiled[Comparison]:
        return Compiled(lambda: part.values_list("pk")[:size])

    own = Comparison.objects.filter(dataset=DATASET)
    parts = [*_begun(own, strategies, initial_overlap), *_untouched(own, strategies)]
    return [(strategy, compiled(part)) for strategy, part in parts]


def _begun(
    comparisons: ComparisonQuerySet, strategies: Collection[Strategy], initial_overlap: int
) -> list[Window]:
    called, _ = unfilled(comparisons, initial_overlap)
    parts = _around(called)
    for taken in range(initial_overlap - 1, max(0, initial_overlap - 1 - LEVELS), -1):
        # Said once and not as "fewer than" besides, or SQLite reads all that have fewer to sort them.
        level = _taken_by(taken, comparisons)
        if Strategy.DISAGREEMENT in strategies:
            parts.append(_by_key(level, "disagreement_rank"))
        parts += _around(level)
    return [(None, part) for part in parts]


def _untouched(comparisons: ComparisonQuerySet, strategies: Collection[Strategy]) -> list[Window]:
    untouched = _taken_by(0, comparisons)
    by_key = [(strategy, _by_key(untouched, key)) for strategy, key in KEYS.items() if strategy in strategies]
    return [*by_key, *((Strategy.RANDOM, part) for part in _around(untouched))]


def _taken_by(people: int, comparisons: ComparisonQuerySet) -> ComparisonQuerySet:
    return comparisons.filter(required=None, claimed=people)


def _around(comparisons: QuerySet[Comparison]) -> list[QuerySet[Comparison]]:
    """The random order from where it is begun, and from its beginning."""
    ordered = comparisons.order_by("random_rank")
    return [ordered.filter(random_rank__gte=START), ordered.filter(random_rank__lt=START)]


def _by_key(comparisons: QuerySet[Comparison], key: str) -> QuerySet[Comparison]:
    return comparisons.filter(**{f"{key}__isnull": False}).order_by(key)


_FEW_UNTOUCHED = Compiled(
    lambda: _taken_by(0, Comparison.objects.filter(dataset=DATASET)).order_by().values_list("pk")[:COUNTED]
)
_OPEN = Compiled(
    lambda: (
        open_to(ANNOTATOR, Comparison.objects.filter(pk__in=GivenMany("pks", BigAutoField())))
        .order_by()
        .values_list("pk")
    )
)
_LOCK = Compiled(
    lambda: (
        open_to(ANNOTATOR, Comparison.objects.filter(_is_unfilled(PLACES)))
        .filter(pk=Given("pk", BigAutoField()))
        .select_for_update(of=("self",), skip_locked=True)
    )
)


def _read(
    dataset: Dataset, annotator: Annotator, start: float, size: int
) -> tuple[dict[Strategy | None, list[int]], int]:
    """Primary keys of what is open to the annotator in the first `size` of each window, in order, by
    strategy; and how many nobody has begun, COUNTED at most."""
    # Two statements, the second by keys that are known: nested in one, a PostgreSQL without statistics yet
    # (just after an import) and SQLite read all that is open, not the windows.
    windows = _windows(tuple(dataset.strategies), dataset.initial_overlap, size)
    parts = [part.sql(dataset=dataset.pk, start=start) for _, part in windows]
    union = " UNION ALL ".join(
        f"SELECT {n}, part{n}.* FROM ({sql}) part{n}"  # noqa: S608 - the ORM's own SQL
        for n, (sql, _) in enumerate(parts)
    )
    sql, params = _FEW_UNTOUCHED.sql(dataset=dataset.pk)
    parts.append((sql, params))
    union += f" UNION ALL SELECT {len(windows)}, COUNT(*) FROM ({sql}) untouched"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(union, [param for _, params in parts for param in params])
        read: list[tuple[int, int]] = sorted(cursor.fetchall(), key=lambda row: row[0])
    _, untouched = read.pop()
    free = {pk for (pk,) in _OPEN.rows(pks={pk for _, pk in read}, annotator=annotator.pk)} if read else set()
    queue: dict[Strategy | None, list[int]] = {strategy: [] for strategy in (None, *Strategy)}
    for n, pk in read:
        if pk in free:
            queue[windows[n][0]].append(pk)
    return queue, untouched


def _lock_first(dataset: Dataset, annotator: Annotator, pks: Sequence[int]) -> Comparison | None:
    """The first of these that nobody else holds locked and that is still open when asked again under lock."""
    for pk in pks[:TRIED]:
        if found := _LOCK.first(pk=pk, annotator=annotator.pk, required=dataset.initial_overlap):
            return found
    return None


def _draw(
    dataset: Dataset, annotator: Annotator, queue: dict[Strategy | None, list[int]], untouched: int
) -> Drawn | None:
    """Draw a strategy, and by it one of those that nobody has begun. An strategy that has none leaves its
    share to chance."""
    shares = {Strategy.RANDOM: 0.0}
    for strategy, share in dataset.strategies.items():
        shares[strategy if queue[strategy] else Strategy.RANDOM] = (
            shares.get(strategy if queue[strategy] else Strategy.RANDOM, 0.0) + share
        )
    firsts = {strategy: queue[strategy][0] for strategy in shares if strategy in KEYS}
    strategy = random.choices(list(shares), list(shares.values()))[0]
    found = _lock_first(dataset, annotator, queue[strategy])
    if found is None:
        return None
    if found.claimed:  # somebody has begun it meanwhile
        return Drawn(found)
    if strategy in KEYS:
        firsts[strategy] = found.pk
    return Drawn(
        found, strategy, shares, firsts, _how_many(dataset, untouched) if shares[Strategy.RANDOM] else 0
    )


def _how_many(dataset: Dataset, untouched: int) -> int:
    """How many nobody has begun, at least 1; `untouched` is exact where it is less than COUNTED."""
    if untouched == COUNTED:
        every = _taken_by(0, dataset.comparisons.all()).order_by()
        untouched = cache.get_or_set(f"untouched:{dataset.pk}", every.count, 10) or untouched
    return max(1, untouched)


def _any(dataset: Dataset, annotator: Annotator, again: bool) -> Drawn | None:
    skipped = Claim.objects.filter(annotator=annotator, comparison=OuterRef("pk"), state=Claim.State.SKIPPED)
    for some in unfilled(dataset.comparisons.all(), dataset.initial_overlap):
        # What was skipped longest ago first, so that skipping again goes round all of them.
        rest = open_to(annotator, some, again).annotate(skipped_at=Subquery(skipped.values("expires_at")[:1]))
        locked = rest.select_for_update(of=("self",), skip_locked=True)
        if found := locked.order_by(F("skipped_at").asc(nulls_first=True), "-claimed", "random_rank").first():
            return Drawn(found)
    return None


def lock_ranking(dataset: Dataset, annotator: Annotator, first: Comparison) -> list[Comparison] | None:
    """Lock, with `first` (which is locked), all Comparisons of its Prompt that are open to the annotator, so
    that its Completions can be ranked at once; pairs that nobody has made yet are made. `first` alone where
    that leaves fewer than three Completions, or there are more than nine. None when somebody else is being
    handed the same Prompt at this moment."""
    prompts = Prompt.objects.filter(pk=first.prompt_id)
    if not prompts.select_for_update(of=("self",), skip_locked=True).exists():
        return None
    completions = list(Completion.objects.filter(prompt=first.prompt_id).order_by("sha256"))
    if len(completions) not in RANKED:
        return [first]
    pairs = list(combinations(completions, 2))
    if Comparison.objects.filter(prompt=first.prompt_id).count() < len(pairs):
        missing = [Comparison(dataset=dataset, prompt_id=first.prompt_id, a=a, b=b) for a, b in pairs]
        Comparison.objects.bulk_create(missing, ignore_conflicts=True)
        Dataset.objects.filter(pk=dataset.pk).update(needs_scoring=True)
    is_unfilled = _is_unfilled(dataset.initial_overlap)
    siblings = Comparison.objects.filter(is_unfilled, prompt=first.prompt_id).exclude(pk=first.pk)
    locked = open_to(annotator, siblings).select_for_update(of=("self",), skip_locked=True)
    together = [first, *locked.order_by("pk")]
    ranked = {pk for comparison in together for pk in (comparison.a_id, comparison.b_id)}
    return together if len(ranked) in RANKED else [first]
