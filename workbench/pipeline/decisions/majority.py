"""Judgments -> Decisions by agreement or majority."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from django.db import connection, transaction
from django.db.models import (
    BooleanField,
    Case,
    CharField,
    DateTimeField,
    F,
    FilteredRelation,
    Model,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.functions import Greatest
from django.utils import timezone

from workbench.models import (
    Comparison,
    Dataset,
    Decision,
    Outcome,
    PromptChange,
)
from workbench.models.annotation import ComparisonQuerySet
from workbench.pipeline.webhooks import outbox

CHUNK = 1_000
PASSES = 3
_OPINIONS = [Outcome.A, Outcome.B, Outcome.TIE, Outcome.BOTH_BAD]
Tallied = QuerySet[Model, object]


@dataclass(frozen=True)
class Derived:
    """What `derive` wrote: Decisions made, and Decisions that are no longer current."""

    decided: int
    withdrawn: int


def derive(dataset: Dataset, rule: str | None = None) -> Derived:
    """Bring the derived Decisions of the dataset in line with its current Judgments.

    - All opinions the same: method "agreement". More than half the same: "majority". Otherwise no Decision.
      "Cannot judge" is no opinion; imported labels are opinions.
    - A Comparison with an open Flag stays undecided until the Flag is closed.
    - A derived Decision is no longer current where it no longer follows, or where its numbers of votes have
      changed. Other derived Decisions are left alone, so a second call writes nothing.
    - rule: None = the Dataset's own rule. By skill, a Decision by aggregation stays while its votes stay the
      same. Aggregation takes too long for a page (see pipeline/decisions/aggregation), so the majority stands
      in meanwhile.
    - A reviewer's current Decision is never touched, and nothing is derived beside it.

    Rows are read without a lock and then written in chunks, each a transaction that reads again: with a lock,
    nobody could judge on SQLite while 200,000 rows are read. As people go on judging meanwhile, a long pass
    is followed by a short one. The number of statements for each chunk is constant."""
    rule = rule or dataset.aggregation
    decided = withdrawn = 0
    for _ in range(PASSES):
        out_of_date = list(_out_of_date(dataset, rule))
        for start in range(0, len(out_of_date), CHUNK):
            written = _derive(dataset, rule, out_of_date[start : start + CHUNK])
            decided, withdrawn = decided + written.decided, withdrawn + written.withdrawn
        if len(out_of_date) <= CHUNK:
            break
    return Derived(decided, withdrawn)


def _out_of_date(dataset: Dataset, rule: str) -> Iterator[int]:
    """Comparisons whose derived Decision is to be withdrawn or made."""
    comparisons = Comparison.objects.filter(dataset=dataset)
    derived = Decision.objects.current().of(dataset).exclude(method=Decision.Method.REVIEWER)
    flagged = comparisons.flagged().values("pk")
    yield from derived.filter(comparison__in=flagged).values_list("comparison", flat=True)
    yield from _no_longer_following(comparisons, rule).values_list("pk", flat=True).iterator()
    yield from _undecided(comparisons).values_list("pk", flat=True).iterator()


@transaction.atomic
def _derive(dataset: Dataset, rule: str, keys: Sequence[int]) -> Derived:
    with outbox.noting_decisions(dataset, keys):
        derived = _derive_some(dataset, rule, keys)
    PromptChange.objects.note_pairs(keys)
    return derived


def _derive_some(dataset: Dataset, rule: str, keys: Sequence[int]) -> Derived:
    comparisons = Comparison.objects.filter(dataset=dataset, pk__in=keys)
    derived = Decision.objects.current().filter(comparison__in=keys).exclude(method=Decision.Method.REVIEWER)
    withdrawn = derived.filter(comparison__in=comparisons.flagged().values("pk")).update(is_current=False)
    not_following = _no_longer_following(comparisons, rule).values("current__pk")
    withdrawn += derived.filter(pk__in=not_following).update(is_current=False)
    return Derived(decided=_insert(_undecided(comparisons)), withdrawn=withdrawn)


def _undecided(comparisons: ComparisonQuerySet) -> Tallied:
    """Tallied Comparisons without a current Decision, whose opinions give an outcome."""
    flagged = comparisons.flagged().values("pk")
    undecided = _tallied(comparisons).filter(current__isnull=True).exclude(pk__in=flagged)
    return undecided.exclude(derived_outcome="")


def _tallied(comparisons: ComparisonQuerySet) -> Tallied:
    """The comparisons with their current Decision (`current__*`) and the result of their opinions: opinions,
    leading (votes of the most frequent outcome), derived_method, derived_outcome ("" = none)."""
    leading = Greatest(*(f"votes_{outcome}" for outcome in _OPINIONS))
    majority = [
        When(**{f"votes_{outcome}": F("leading")}, leading__gt=F("opinions") / 2.0, then=Value(outcome.value))
        for outcome in _OPINIONS
    ]
    all_the_same = When(leading=F("opinions"), then=Value(Decision.Method.AGREEMENT.value))
    current = FilteredRelation("decisions", condition=Q(decisions__is_current=True))
    fields = ("pk", "outcome", "method", "votes", "votes_for")
    # values() comes before the votes, so that rows are grouped by these columns, not by all of Comparison.
    grouped = (
        comparisons.order_by()
        .annotate(current=current)
        .values("pk", *(f"current__{field}" for field in fields))
    )
    return (
        cast("ComparisonQuerySet", grouped)
        .with_votes()
        .annotate(opinions=F("votes") - F("votes_cannot_judge"), leading=leading)
        .annotate(
            derived_outcome=Case(*majority, default=Value(""), output_field=CharField()),
            derived_method=Case(all_the_same, default=Value(Decision.Method.MAJORITY.value)),
        )
    )


def _no_longer_following(comparisons: ComparisonQuerySet, rule: str) -> Tallied:
    """Tallied Comparisons whose current Decision was derived and no longer follows from the Judgments."""
    follows = Q(
        derived_outcome=F("current__outcome"),
        derived_method=F("current__method"),
        opinions=F("current__votes"),
        leading=F("current__votes_for"),
    )
    tallied = _tallied(comparisons).filter(current__isnull=False)
    tallied = tallied.exclude(current__method=Decision.Method.REVIEWER)
    if rule == Dataset.Aggregation.SKILL:
        votes = [When(current__outcome=outcome, then=F(f"votes_{outcome}")) for outcome in _OPINIONS]
        tallied = tallied.annotate(votes_for_current=Case(*votes, default=Value(0)))
        follows |= Q(
            current__method=Decision.Method.AGGREGATION,
            opinions=F("current__votes"),
            votes_for_current=F("current__votes_for"),
        )
    return tallied.exclude(follows)


def _insert(decided: Tallied) -> int:
    """Write a Decision for each tallied Comparison in one INSERT ... SELECT, and return the number of rows.

    The database makes the rows, as Python would take longer. A reviewer who settles one of these Comparisons
    at this moment wins: ON CONFLICT leaves the derived Decision out."""
    columns = {
        "comparison_id": F("pk"),
        "outcome": F("derived_outcome"),
        "method": F("derived_method"),
        "votes": F("opinions"),
        "votes_for": F("leading"),
        "is_current": Value(True, output_field=BooleanField()),
        "created_at": Value(timezone.now(), output_field=DateTimeField()),
        **{name: Value("", output_field=CharField()) for name in ("reason", "note", "blind_outcome")},
    }
    selected = {f"new_{name}": expression for name, expression in columns.items()}
    select, params = decided.annotate(**selected).values_list(*selected).query.sql_with_params()
    table = connection.ops.quote_name(Decision._meta.db_table)
    with connection.cursor() as cursor:
        into = f"INSERT INTO {table} ({', '.join(columns)})"
        cursor.execute(f"{into} {select} ON CONFLICT DO NOTHING", params)
        return int(cursor.rowcount)
