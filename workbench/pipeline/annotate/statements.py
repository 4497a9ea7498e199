"""The statements that run for every pair that is handed out and for every answer, compiled once a process.

Arguments are primary keys. All other queries of the stage are ordinary querysets."""

from collections.abc import Collection
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Value

from workbench.db.compiled import Compiled
from workbench.models import (
    Annotator,
    Claim,
    Comparison,
    Dataset,
    Judgment,
    Member,
    Purpose,
    QualificationGrant,
    QualificationTry,
    Requirement,
    Strategy,
    Suggestion,
    Told,
)
from workbench.models.annotation import ComparisonQuerySet

LEVELS = 4
"""Begun Comparisons are read by the number of their claimed places, the fullest first: this many numbers."""
MOST_UNTOUCHED_COUNTED = 1000
RANK_FIELDS = {Strategy.UNCERTAIN: "uncertainty_rank", Strategy.DISAGREEMENT: "disagreement_rank"}
WINDOWS_OF_THEIR_OWN = 8
"""Requirements that each have windows of their own in one statement."""
CONTROLS = ~Q(purpose=Purpose.WORK)


# --- who asks -----------------------------------------------------------------------------------------------


@Compiled
def dataset_of_staff(pk: int) -> QuerySet[Dataset]:
    asked_nothing = {"has_agreed": Value(True)}
    return Dataset.objects.filter(pk=pk).with_role_of_staff().with_is_busy().annotate(**asked_nothing)


@Compiled
def dataset_of_member(pk: int, user: int) -> QuerySet[Dataset]:
    return Dataset.objects.filter(pk=pk).with_role_of_member(user).with_has_agreed(user).with_is_busy()


@Compiled
def annotator_in(dataset: int, user: int) -> QuerySet[Annotator]:
    return Annotator.objects.filter(user=user).with_pause_in(dataset, user)


@Compiled
def member_in(dataset: int, user: int) -> QuerySet[Member]:
    return Member.objects.filter(dataset=dataset, user=user).select_related("user")


@Compiled
def requirements_of(dataset: int) -> QuerySet[Requirement]:
    return Requirement.objects.filter(dataset=dataset).order_by("pk")


@Compiled
def has_qualified(dataset: int, annotator: int) -> QuerySet[Annotator, tuple[int]]:
    """The annotator, if they have passed or need not qualify: an admin says so, or they have voted here and
    no admin says otherwise."""
    attempts = QualificationTry.objects.filter(dataset=dataset, annotator=annotator, passed=True)
    grants = QualificationGrant.objects.filter(dataset=dataset, annotator=annotator)
    needed = grants.filter(kind=QualificationGrant.Kind.NEEDED)
    votes = Judgment.objects.filter(annotator=annotator, comparison__dataset=dataset)
    qualified = Q(Exists(attempts)) | Q(Exists(grants.standing_waivers())) | Q(Exists(votes), ~Exists(needed))
    return Annotator.objects.filter(qualified, pk=annotator).values_list("pk")


@Compiled
def lock(annotator: int) -> QuerySet[Annotator, tuple[int]]:
    """Requests of one annotator take turns: two tabs, or a double submit, cannot interleave."""
    return Annotator.objects.select_for_update(no_key=True).filter(pk=annotator).values_list("pk")


@Compiled
def lock_and_count(
    annotator: int, dataset: int, now: datetime
) -> QuerySet[Annotator, tuple[int | None, bool, bool, bool]]:
    """As `lock`: the number of the annotator's last Claim, whether any lease has expired (of anybody),
    whether this annotator has put off gold or a repeat, and whether they are given a saved view of the
    Dataset."""
    claims = Claim.objects.filter(annotator=OuterRef("pk"))
    given = Member.views.through.objects.filter(member__user=OuterRef("user"), member__dataset=dataset)
    put_off = claims.filter(CONTROLS, state__in=[Claim.State.EXPIRED, Claim.State.SKIPPED])
    annotators = Annotator.objects.select_for_update(no_key=True).filter(pk=annotator)
    return annotators.values_list(
        Subquery(claims.order_by("-number").values("number")[:1]),
        Exists(Claim.objects.filter(state=Claim.State.LIVE, expires_at__lt=now)),
        Exists(put_off),
        Exists(given),
    )


# --- what is handed out -------------------------------------------------------------------------------------


@Compiled
def live_claims(annotator: int, dataset: int) -> QuerySet[Claim]:
    """Unsorted: to sort them, SQLite would read all Claims that the annotator ever had."""
    claims = Claim.objects.filter(annotator=annotator, state=Claim.State.LIVE, comparison__dataset=dataset)
    return claims.select_related("suggestion__version")


@Compiled
def work_on(comparisons: Collection[int]) -> QuerySet[Claim]:
    return Claim.objects.filter(comparison__in=comparisons, purpose=Purpose.WORK).order_by("pk")


@Compiled
def suggestions_to_show(comparisons: Collection[int]) -> QuerySet[Suggestion]:
    return Suggestion.objects.filter(comparison__in=comparisons).to_show()


@Compiled
def comparison_with_texts(comparison: int) -> QuerySet[Comparison]:
    """With `has_suggestion`: whether there is a Suggestion to show."""
    suggestions = Suggestion.objects.filter(comparison=OuterRef("pk")).to_show()
    comparisons = Comparison.objects.filter(pk=comparison).select_related("prompt", "a", "b")
    facts = {"has_suggestion": Exists(suggestions)}
    return comparisons.annotate(**facts)


# --- the answer ---------------------------------------------------------------------------------------------


@Compiled
def comparison_in(dataset: int, comparison: int) -> QuerySet[Comparison]:
    return Comparison.objects.filter(dataset=dataset, pk=comparison)


@Compiled
def lock_claim(annotator: int, comparison: int, claim: int) -> QuerySet[Claim]:
    return _locked(Claim.objects.filter(annotator=annotator, comparison=comparison, pk=claim))


@Compiled
def lock_first_claim(annotator: int, comparison: int) -> QuerySet[Claim]:
    """The annotator's Claim that is no repeat."""
    claims = Claim.objects.filter(annotator=annotator, comparison=comparison)
    return _locked(claims.exclude(purpose=Purpose.REPEAT))


def _locked(claims: QuerySet[Claim]) -> QuerySet[Claim]:
    claims = claims.select_for_update(of=("self",)).annotate(**with_is_told())
    return claims.select_related("suggestion__version", "ranking")


def with_is_told() -> dict[str, Exists]:
    """The column `is_told` of Claims: whether their annotator was told what became of the Comparison."""
    told = Told.objects.filter(annotator=OuterRef("annotator"), comparison=OuterRef("comparison"))
    return {"is_told": Exists(told)}


@Compiled
def sent_before(keys: Collection[UUID]) -> QuerySet[Judgment]:
    """The Judgments with these idempotency keys."""
    return Judgment.objects.filter(idempotency_key__in=keys).order_by()


@Compiled
def answers_of(annotator: int, comparisons: Collection[int]) -> QuerySet[Judgment]:
    """The annotator's latest answers to these Comparisons, in work, gold and repeats."""
    unchanged = Judgment.objects.unchanged()
    return unchanged.filter(annotator=annotator, comparison__in=comparisons).order_by()


# --- the queue ----------------------------------------------------------------------------------------------


def read_windows(
    dataset: Dataset, start: float, size: int, needs: tuple[int, ...] | None = None
) -> tuple[list[tuple[Strategy | None, int]], int]:
    """The first `size` primary keys of each window of the queue, in order, each with the strategy that draws
    from the window; None for begun Comparisons. Then the number of Comparisons that nobody has begun, at most
    MOST_UNTOUCHED_COUNTED.

    start: where in the random order to begin, in [0, 1).
    needs: only Comparisons with one of these Requirements (primary keys); None = all. Each of a few has a
    window of its own, which an index begins with, so that a rare language is found as soon as a frequent one;
    where somebody meets many, one window is read for all of them."""
    if needs is not None and len(needs) <= WINDOWS_OF_THEIR_OWN:
        return _read_windows_by_needs(dataset, start, size, needs)
    windows = _windows(tuple(dataset.strategies), dataset.initial_overlap, size, needs)
    parts = [window.sql(dataset.pk, start) for _, window in windows]
    untouched_sql, untouched_params = _untouched(needs).sql(dataset.pk)
    selects = [
        f"SELECT {n}, part{n}.* FROM ({sql}) part{n}"  # noqa: S608 - the ORM's own SQL
        for n, (sql, _) in enumerate(parts)
    ]
    selects.append(f"SELECT {len(windows)}, COUNT(*) FROM ({untouched_sql}) untouched")  # noqa: S608
    params = [param for _, part_params in parts for param in part_params]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(selects), [*params, *untouched_params])
        rows: list[tuple[int, int]] = sorted(cursor.fetchall(), key=lambda row: row[0])
    _, untouched = rows.pop()
    return [(windows[n][0], pk) for n, pk in rows], untouched


def _read_windows_by_needs(
    dataset: Dataset, start: float, size: int, needs: Collection[int]
) -> tuple[list[tuple[Strategy | None, int]], int]:
    """As read_windows: the windows of each Requirement, put together in the order of each window."""
    windows = _windows_of_needs(tuple(dataset.strategies), dataset.initial_overlap, size)
    counted = len(windows)
    parts = [
        (n, window.sql(dataset.pk, start, one)) for n, (_, window) in enumerate(windows) for one in needs
    ]
    most = MOST_UNTOUCHED_COUNTED // max(1, len(needs))
    parts += [(counted, _untouched_of_needs(most).sql(dataset.pk, one)) for one in needs]
    selects = [
        f"SELECT {n}, {'COUNT(*), 0' if n == counted else 'part.*'} FROM ({sql}) part"  # noqa: S608 - the ORM's own SQL
        for n, (sql, _) in parts
    ]
    params = [param for _, (_, part_params) in parts for param in part_params]
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(selects), params)
        rows: list[tuple[int, int, float]] = cursor.fetchall()
    found: list[tuple[Strategy | None, int]] = []
    for n, (strategy, _) in enumerate(windows):
        in_order = sorted((key, pk) for part, pk, key in rows if part == n)
        found += [(strategy, pk) for _, pk in in_order[:size]]
    counts = [number for part, number, _ in rows if part == counted]
    return found, MOST_UNTOUCHED_COUNTED if most in counts else sum(counts)


@Compiled
def open_among(annotator: int, pks: Collection[int]) -> QuerySet[Comparison, tuple[int]]:
    """Which of these Comparisons are open to the annotator."""
    comparisons = Comparison.objects.filter(pk__in=pks).open_to(annotator)
    return comparisons.order_by().values_list("pk")


@Compiled
def lock_open(annotator: int, pk: int, initial_overlap: int) -> QuerySet[Comparison]:
    """The Comparison, locked, if nobody else holds it locked and it is still open to the annotator."""
    comparisons = Comparison.objects.filter(pk=pk).unfilled(initial_overlap).open_to(annotator)
    return comparisons.select_for_update(of=("self",), skip_locked=True)


@Compiled
def lock_open_needing(
    annotator: int, pk: int, initial_overlap: int, needs: Collection[int]
) -> QuerySet[Comparison]:
    """As `lock_open`, if the Comparison has one of these Requirements."""
    comparisons = Comparison.objects.filter(pk=pk).unfilled(initial_overlap).open_to(annotator)
    return comparisons.needing(needs).select_for_update(of=("self",), skip_locked=True)


@lru_cache(maxsize=512)
def _untouched(needs: tuple[int, ...] | None) -> Compiled[[int], tuple[int]]:
    def pks(dataset: int) -> QuerySet[Comparison, tuple[int]]:
        untouched = Comparison.objects.filter(dataset=dataset).needing(needs).claimed_by(0)
        return untouched.order_by().values_list("pk")[:MOST_UNTOUCHED_COUNTED]

    return Compiled(pks)


@lru_cache
def _untouched_of_needs(most: int) -> Compiled[[int, int], tuple[float]]:
    def ranks(dataset: int, needs: int) -> QuerySet[Comparison, tuple[float]]:
        untouched = Comparison.objects.filter(dataset=dataset, needs=needs).claimed_by(0)
        # In the order of the index: PostgreSQL would else take one of the Dataset alone.
        return untouched.order_by("random_rank").values_list("random_rank")[:most]

    return Compiled(ranks)


Window = tuple[Strategy | None, Compiled[[int, float], tuple[int]]]


@lru_cache(maxsize=512)
def _windows(
    strategies: tuple[Strategy, ...], initial_overlap: int, size: int, needs: tuple[int, ...] | None
) -> list[Window]:
    """The windows of a Dataset with these strategies, `size` Comparisons of each."""

    def window(number: int) -> Compiled[[int, float], tuple[int]]:
        def pks(dataset: int, start: float) -> QuerySet[Comparison, tuple[int]]:
            comparisons = Comparison.objects.filter(dataset=dataset).needing(needs)
            _, part = window_querysets(comparisons, start, strategies, initial_overlap)[number]
            return part.values_list("pk")[:size]

        return Compiled(pks)

    parts = window_querysets(Comparison.objects.all(), 0.0, strategies, initial_overlap)
    return [(strategy, window(number)) for number, (strategy, _) in enumerate(parts)]


WindowOfNeeds = tuple[Strategy | None, Compiled[[int, float, int], tuple[int, float]]]


@lru_cache
def _windows_of_needs(
    strategies: tuple[Strategy, ...], initial_overlap: int, size: int
) -> list[WindowOfNeeds]:
    """As `_windows`, of the Comparisons with one Requirement; each comes with the number by which its window
    is in order."""

    def window(number: int) -> Compiled[[int, float, int], tuple[int, float]]:
        def rows(dataset: int, start: float, needs: int) -> QuerySet[Comparison, tuple[int, float]]:
            comparisons = Comparison.objects.filter(dataset=dataset, needs=needs)
            strategy, part = window_querysets(comparisons, start, strategies, initial_overlap)[number]
            # Whole numbers of priority, the highest first, and the random order in [0, 1) within each.
            by_priority = F("random_rank") - F("priority")
            key = by_priority if strategy == Strategy.CHOSEN else F(str(part.query.order_by[0]))
            return part.annotate(key=key).values_list("pk", "key")[:size]

        return Compiled(rows)

    parts = window_querysets(Comparison.objects.all(), 0.0, strategies, initial_overlap)
    return [(strategy, window(number)) for number, (strategy, _) in enumerate(parts)]


def window_querysets(
    comparisons: ComparisonQuerySet, start: float, strategies: Collection[Strategy], initial_overlap: int
) -> list[tuple[Strategy | None, QuerySet[Comparison]]]:
    """The windows in the order of reading: Comparisons that need one more person, begun Comparisons,
    Comparisons that nobody has begun: those put first, then the others."""
    begun = _from_start(comparisons.needing_more_people(), start)
    for people in range(initial_overlap - 1, max(0, initial_overlap - 1 - LEVELS), -1):
        # One number of people for each window: for "fewer than", SQLite would read and sort all of them.
        level = comparisons.claimed_by(people)
        if Strategy.DISAGREEMENT in strategies:
            begun.append(_by_rank(level, "disagreement_rank"))
        begun += _from_start(level, start)
    untouched = comparisons.claimed_by(0)
    first = untouched.first_of_all().order_by("-priority", "random_rank")
    return [
        *((None, part) for part in begun),
        (Strategy.CHOSEN, first),
        *((which, _by_rank(untouched, rank)) for which, rank in RANK_FIELDS.items() if which in strategies),
        *((Strategy.RANDOM, part) for part in _from_start(untouched, start)),
    ]


def _from_start(comparisons: QuerySet[Comparison], start: float) -> list[QuerySet[Comparison]]:
    """The random order: from `start` to its end, then from its beginning."""
    ordered = comparisons.order_by("random_rank")
    return [ordered.filter(random_rank__gte=start), ordered.filter(random_rank__lt=start)]


def _by_rank(comparisons: QuerySet[Comparison], rank: str) -> QuerySet[Comparison]:
    return comparisons.filter(**{f"{rank}__isnull": False}).order_by(rank)
