"""The review queue: which Comparisons need a reviewer, why, and in which order, page by page.

Each page reads anew which Comparisons are in the queue. Their order must not change from page to page,
although its figures move while people work. So the caller pins the ModelVersion and the moment (`as_of`) of
people's reliability, and the limits of the queue's bands do not depend on what is settled."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import models
from django.db.models import (
    Avg,
    Case,
    Count,
    Exists,
    F,
    FilteredRelation,
    FloatField,
    Func,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Abs, Coalesce, Greatest, JSONObject, Least
from django.utils import timezone

from workbench.db.keys import keys_in
from workbench.models import (
    Comparison,
    Dataset,
    Decision,
    Flag,
    Judgment,
    ModelVersion,
    OpinionSource,
    Outcome,
    ReviewQueue,
    Suggestion,
)
from workbench.models.annotation import ComparisonQuerySet
from workbench.models.dataset import excerpt_columns, excerpt_of

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler, _AsSqlType

PAGE_SIZE = 30
LONGEST_CURSOR = 200

FIRST_BAND = 2_000
BAND_GROWTH = 4

READING_BYTES_A_SECOND = 20.0
SECONDS_A_CASE = 10.0
PRIOR_RELIABILITY, PRIOR_WEIGHT = 0.8, 5
MOST_REVIEWS, MOST_ANNOTATORS = 2_000, 200
OPINIONS = [outcome for outcome in Outcome if outcome != Outcome.CANNOT_JUDGE]


class Why(models.TextChoices):
    """Why a Comparison is in the queue. There may be several reasons."""

    FLAGGED = "flagged", "flagged"
    PEOPLE = "people", "people disagree"
    MIXED = "mixed", "people against imported labels"
    LABELS = "labels", "imported labels disagree"
    MODEL = "model", "model against people"
    FILE = "file", "model against imported labels"
    CHANGED = "changed", "changed after seeing the model"
    GOLD = "gold", "known answer missed"
    REPEAT = "repeat", "repeat answered differently"
    TOWARDS = "towards", "changed pick, now right"
    AWAY = "away", "changed pick, now wrong"
    FLIPPED = "flipped", "changed pick, no preferred side"


FLIPS = (Why.TOWARDS, Why.AWAY, Why.FLIPPED)
"""Reasons that exist only between two ModelVersions."""


class Order(models.TextChoices):
    VALUE = "value", "Most useful first"
    SUREST = "surest", "Model surest first"
    OLDEST = "oldest", "Oldest first"
    NEWEST = "newest", "Newest first"


class Lengths(models.TextChoices):
    ALIKE = "alike", "within 25 % of each other"
    APART = "apart", "one at least twice as long"


@dataclass(frozen=True)
class Filters:
    """Which cases to show, and in which order. "" and None filter nothing.

    With `old`, the queue is all Comparisons on which the version prefers another side than `old`, settled or
    not: as many cases as a count of flips says."""

    queue: str = ""  # one of ReviewQueue
    why: str = ""
    old: ModelVersion | None = None
    annotator: int | None = None  # primary key of one who has judged the Comparison
    source: str = ""  # of one of the two Completions
    lengths: str = ""
    group: str = ""  # of the Prompt
    prompts: frozenset[int] | None = None  # primary keys
    pairs: frozenset[int] | None = None  # primary keys
    unsettled: bool = False  # leaves out what a reviewer has settled; a queue of flips keeps these cases
    order: str = Order.VALUE
    as_of: datetime = field(default_factory=timezone.now)  # reviews after this do not move the order

    @property
    def is_narrowed(self) -> bool:
        """Whether they leave out cases of the queue."""
        return self != Filters(self.queue, order=self.order, as_of=self.as_of)


@dataclass(frozen=True)
class QueueCase:
    """A Comparison in the queue. votes: current Judgments by outcome; margin: the version's score of a minus
    its score of b; since: the latest Judgment or Flag; excerpt: how the last message of the Prompt begins.
    Only the opened case has its texts: the texts of a page may be gigabytes."""

    comparison: Comparison
    excerpt: str
    why: tuple[Why, ...]
    votes: dict[str, int]
    margin: float | None
    since: datetime | None
    decision: Decision | None


@dataclass(frozen=True)
class Facts:
    """Why a case is in the queue, and since when, as in QueueCase."""

    why: tuple[Why, ...]
    since: datetime | None = None


@dataclass(frozen=True)
class Settled:
    """A case that a reviewer has settled: why it was in the queue, since when, and until when."""

    why: tuple[Why, ...]
    since: datetime | None
    until: datetime


@dataclass(frozen=True)
class Page:
    """after: the cursor of the next page, "" on the last. opened: the case to show beside the page. facts: of
    each case of the whole queue; None under filters, and where the queue is too long for a page."""

    cases: list[QueueCase]
    after: str
    opened: QueueCase | None
    facts: list[Facts] | None = None


Sizes = tuple[bool, bool]
"""Whether there are more Comparisons, and more with a Suggestion, than the first band has."""


def sizes(dataset: Dataset, version: ModelVersion | None) -> list[Exists]:
    """The Sizes of a dataset, as expressions of any query on Datasets."""
    comparisons = Comparison.objects.filter(dataset=dataset).order_by("pk")
    suggested = _surest_first(dataset, version)
    beyond = slice(FIRST_BAND, FIRST_BAND + 1)
    return [Exists(comparisons[beyond]), Exists(suggested[beyond])]


def _surest_first(dataset: Dataset, version: ModelVersion | None) -> QuerySet[Suggestion, Any]:
    suggested = Suggestion.objects.filter(version=version, comparison__dataset=dataset)
    return suggested.order_by(Abs("margin").desc(), "comparison").values("comparison")


def page(
    dataset: Dataset,
    version: ModelVersion | None,
    filters: Filters,
    after: str = "",
    size: int = PAGE_SIZE,
    opened: int | None = None,
    known: Sizes | None = None,
) -> Page:
    """The page of the queue after the cursor `after`, and the opened case: the Comparison with the primary
    key `opened`, wherever it stands, else the first of the page. Cases of one Prompt stand together, where
    the first of them stands. Two queries for any number of cases; where the first band of the queue has
    been worked off, one more, and one for each further band. With `known` sizes of the dataset one less, and
    without filters the page has the facts of the queue.

    A page begins after the sort key of the last row seen, not after a count of rows. So cases settled
    meanwhile leave no gap, and with the same version and filters no case comes twice. ValueError for a
    malformed cursor."""
    start = _Place.at(after) if after else None
    has_facts = known is not None and not known[0] and not filters.is_narrowed
    walk = _Walk(dataset, version, filters, known, has_facts)
    places = list(islice(_places(walk, start), size + 1))
    pks = [place.pk for place in places[:size]]
    shown = opened or next(iter(pks), None)
    case_of = cases([*pks, *([opened] if opened else [])], version, filters.old, texts_of=shown)
    on_page = _together([case_of[pk] for pk in pks if pk in case_of])
    opened_case = case_of.get(opened) if opened else next(iter(on_page), None)
    cursor = places[size - 1].cursor if len(places) > size else ""
    return Page(on_page, cursor, opened_case, walk.facts if walk.has_facts else None)


def _together(cases: Sequence[QueueCase]) -> list[QueueCase]:
    """The cases of each Prompt one after the other, in the place of the first."""
    of_prompt: dict[int, list[QueueCase]] = {}
    for queue_case in cases:
        of_prompt.setdefault(queue_case.comparison.prompt_id, []).append(queue_case)
    return [queue_case for together in of_prompt.values() for queue_case in together]


def case(pk: int, version: ModelVersion | None, old: ModelVersion | None = None) -> QueueCase:
    """The case of one Comparison, with its texts."""
    return cases([pk], version, old, texts_of=pk)[pk]


_RELATED = ["prompt", "a", "b", "current"]
_TEXTS = [
    *(f"prompt__{name}" for name in ("messages", "tools", "reading", "metadata")),
    *(f"{side}__{name}" for side in "ab" for name in ("text", "conversation", "metadata")),
]


def cases(
    ids: Sequence[int],
    version: ModelVersion | None,
    old: ModelVersion | None = None,
    texts_of: int | None = None,
) -> dict[int, QueueCase]:
    """The cases of the Comparisons of these primary keys, by primary key; the case `texts_of` has its texts.
    One query."""
    margin = Suggestion.objects.filter(version=version, comparison=OuterRef("pk"))
    current = Judgment.objects.current().filter(comparison=OuterRef("pk")).order_by().values("comparison")
    by_outcome = {outcome: Count("pk", filter=Q(outcome=outcome)) for outcome in Outcome.values}
    annotated = Comparison.objects.annotate(
        current=FilteredRelation("decisions", condition=Q(decisions__is_current=True)),
        margin=Subquery(margin.values("margin")),
        votes=Subquery(current.annotate(votes=JSONObject(**by_outcome)).values("votes")),
        **_latest(),
        **has_reasons(version, old),
        **excerpt_columns("prompt__"),
        **{f"text_{name}": Case(When(pk=texts_of, then=F(name))) for name in _TEXTS},
    )
    comparisons = annotated.select_related(*_RELATED).defer(*_TEXTS).in_bulk(ids)
    by_pk = {}
    for pk, comparison in comparisons.items():
        facts = vars(comparison)
        if pk == texts_of:
            for name in _TEXTS:
                of, column = name.split("__")
                setattr(getattr(comparison, of), column, facts[f"text_{name}"])
        by_pk[pk] = QueueCase(
            comparison=comparison,
            excerpt=excerpt_of(facts),
            why=_why(facts),
            votes={outcome: n for outcome, n in (facts["votes"] or {}).items() if n},
            margin=facts["margin"],
            since=_since(facts),
            decision=facts.get("current"),
        )
    return by_pk


def _since(row: Mapping[str, Any]) -> datetime | None:
    return max(filter(None, [row["raised"], row["judged"]]), default=None)


def _latest() -> dict[str, Subquery]:
    """When a Comparison was last judged and last flagged."""
    raised = Flag.objects.open().filter(comparison=OuterRef("pk")).order_by("-created_at")
    current = Judgment.objects.current().filter(comparison=OuterRef("pk")).order_by().values("comparison")
    return {
        "judged": Subquery(current.annotate(latest=Max("created_at")).values("latest")),
        "raised": Subquery(raised.values("created_at")[:1]),
    }


def settled_since(
    dataset: Dataset, version: ModelVersion | None, queue: str, moment: datetime
) -> list[Settled]:
    """The cases of a queue ("" for all) that reviewers have settled since the moment, and not reopened. One
    query. A pair that was in no queue when a reviewer settled it is none of them."""
    reviews = Decision.objects.current().filter(method=Decision.Method.REVIEWER, created_at__gte=moment)
    review = reviews.filter(comparison=OuterRef("pk"))
    closed = Flag.objects.filter(comparison=OuterRef("pk"), closed_by__in=reviews.values("pk"))
    columns: dict[str, Combinable] = {
        **_latest(),
        **has_reasons(version),
        "is_flagged": Exists(closed),
        "until": Subquery(review.values("created_at")[:1]),
    }
    reviewed = reviews.filter(comparison__dataset=dataset).values("comparison")
    rows: list[dict[str, Any]] = [*Comparison.objects.filter(pk__in=reviewed).values(**columns)]  # type: ignore[list-item]
    settled = [Settled(_why(row), row["judged"], row["until"]) for row in rows]
    return [case for case in settled if case.why and queue in ("", _queue_of(case.why))]


def _queue_of(why: Sequence[Why]) -> ReviewQueue:
    """The queue of a case with these reasons, as ComparisonQuerySet.in_queue says."""
    if set(why) <= {Why.MODEL, Why.FILE}:
        return ReviewQueue.MODEL
    of_labels = {Why.LABELS, Why.MODEL, Why.FILE}
    return ReviewQueue.LABELS if set(why) <= of_labels else ReviewQueue.PEOPLE


def has_reasons(version: ModelVersion | None, old: ModelVersion | None = None) -> dict[str, Combinable]:
    """Columns of Comparisons: `is_` and a reason of Why, by whether they have this reason."""
    same = Comparison.objects.filter(pk=OuterRef("pk"))
    reasons = [why for why in Why if old or why not in FLIPS]
    return {f"is_{why}": Exists(because(same, why, version, old)) for why in reasons}


def _why(row: Mapping[str, Any]) -> tuple[Why, ...]:
    """The reasons of a row with the columns of has_reasons."""
    return tuple(why for why in Why if row.get(f"is_{why}"))


def because(
    comparisons: ComparisonQuerySet, why: str, version: ModelVersion | None, old: ModelVersion | None
) -> ComparisonQuerySet:
    """The Comparisons that have this reason."""
    if why in FLIPS:
        return flips(comparisons, version, old, why)
    if why in (Why.MODEL, Why.FILE):
        return comparisons.model_disagrees(
            version, OpinionSource.PEOPLE if why == Why.MODEL else OpinionSource.LABELS
        )
    filters = {
        Why.FLAGGED: comparisons.flagged,
        Why.PEOPLE: comparisons.people_disagree,
        Why.MIXED: comparisons.people_against_labels,
        Why.LABELS: comparisons.labels_disagree,
        Why.CHANGED: comparisons.changed_after_reveal,
        Why.GOLD: comparisons.gold_missed,
        Why.REPEAT: comparisons.own_answers_differ,
    }
    return filters[Why(why)]()


def flips(
    comparisons: ComparisonQuerySet, version: ModelVersion | None, old: ModelVersion | None, why: str = ""
) -> ComparisonQuerySet:
    """Comparisons on which the version prefers another side than `old`, for one of the three reasons or for
    any. None without two versions to compare."""
    if version is None or old is None:
        return comparisons.none()
    either, towards, away = (comparisons.flipped(old, version, way) for way in (None, True, False))
    neither = either.with_lead().filter(Q(lead=0) | Q(lead=None))
    return {Why.TOWARDS: towards, Why.AWAY: away, Why.FLIPPED: neither}[Why(why)] if why else either


class Bytes(Func):
    """Length of a text in UTF-8. Bytes are nearer to tokens than characters are, and PostgreSQL knows their
    number without reading the text."""

    function = "OCTET_LENGTH"
    output_field = models.IntegerField()

    def as_sqlite(
        self, compiler: "SQLCompiler", connection: "BaseDatabaseWrapper", **_: object
    ) -> "_AsSqlType":
        return self.as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))")


def _filtered(waiting: ComparisonQuerySet, filters: Filters) -> ComparisonQuerySet:
    if filters.unsettled:
        waiting = waiting.unsettled_by_reviewer()
    if filters.annotator is not None:
        judged = Judgment.objects.current().filter(annotator=filters.annotator, comparison=OuterRef("pk"))
        waiting = waiting.filter(Exists(judged))
    if filters.source:
        waiting = waiting.filter(Q(a__source=filters.source) | Q(b__source=filters.source))
    if filters.prompts is not None and len(filters.prompts) <= SEARCHED_IN_SQL:
        waiting = waiting.filter(prompt__in=filters.prompts)
    if filters.pairs is not None:
        waiting = waiting.filter(pk__in=keys_in(filters.pairs))
    if filters.group:
        waiting = waiting.filter(prompt__group=filters.group)
    if filters.lengths:
        texts = F("a__characters"), F("b__characters")
        waiting = waiting.alias(longer=Greatest(*texts), shorter=Least(*texts))
        alike, apart = Q(longer__lte=F("shorter") * 1.25), Q(longer__gte=F("shorter") * 2)
        waiting = waiting.filter(alike if filters.lengths == Lengths.ALIKE else apart)
    return waiting


SEARCHED_IN_SQL = 500
"""Prompts that a statement names; more are compared here, as a list of 200,000 is too long for one."""


class _Tier(IntEnum):
    """The order within a band that is sorted by value or certainty."""

    FLAGGED = 0
    SUGGESTED = 1
    REST = 2


class _Place(NamedTuple):
    """Where a Comparison stands in the queue. Smaller places come first."""

    band: int
    tier: int
    rank: float
    pk: int

    @property
    def cursor(self) -> str:
        return json.dumps([self.band, self.tier, self.rank, self.pk])

    @classmethod
    def at(cls, cursor: str) -> "_Place":
        """The place in a cursor. ValueError for a malformed cursor."""
        values = json.loads(cursor) if len(cursor) < LONGEST_CURSOR else None
        if not isinstance(values, list) or [type(value) for value in values] != [int, int, float, int]:
            raise ValueError("A cursor is a band, a tier, a rank and a primary key.")
        if not all(abs(value) < 2**63 for value in values):
            raise ValueError("A number of the cursor is larger than any that a database holds.")
        return cls(*values)


def check_cursor(cursor: str) -> None:
    """ValueError for a malformed cursor."""
    _Place.at(cursor)


@dataclass(frozen=True)
class _Walk:
    """A walk through the queue of a dataset: its bands, and the places of Comparisons in them."""

    dataset: Dataset
    version: ModelVersion | None
    filters: Filters
    known: Sizes | None = None
    has_facts: bool = False
    facts: list[Facts] = field(default_factory=list)  # filled on the way

    @property
    def _by_age(self) -> bool:
        return self.filters.order in (Order.OLDEST, Order.NEWEST)

    def bands(self) -> Iterator[ComparisonQuerySet]:
        """All Comparisons of the dataset, each in one band, cut where reviews change nothing.

        By value and certainty, the first band has the flagged Comparisons, as somebody asked for a look, and
        the first 2,000 by |margin|. The second band has the next 8,000, and so on. The last band has all
        others, with those that have no Suggestion. The order within a band is exact: up to 2,000 Comparisons
        are one band, and in a larger dataset finding the first case takes no longer than a band."""
        comparisons = Comparison.objects.filter(dataset=self.dataset).order_by("pk")
        surest_first = _surest_first(self.dataset, self.version)
        flagged = Flag.objects.open().filter(comparison__dataset=self.dataset).values("comparison")
        if self.known is None:
            both = sizes(self.dataset, self.version)
            is_large, many_suggested = Dataset.objects.filter(pk=self.dataset.pk).values_list(*both).get()
        else:
            is_large, many_suggested = self.known
        if not is_large:
            yield comparisons
            return
        ahead: QuerySet[models.Model, object]
        in_order: QuerySet[models.Model, object]
        if self._by_age:
            by_age = comparisons if self.filters.order == Order.OLDEST else comparisons.reverse()
            ahead, in_order = flagged.none(), by_age.values("pk")
        elif many_suggested:
            ahead, in_order = flagged, surest_first
        else:
            ahead, in_order = flagged.union(surest_first.order_by()), comparisons.values("pk")
        first = comparisons.filter(pk__in=in_order[:FIRST_BAND]).order_by().values("pk")
        yield comparisons.filter(pk__in=ahead.union(first))
        # Counted only where the first band has been worked off: the count reads all Comparisons.
        not_ahead, size = comparisons.exclude(pk__in=ahead), comparisons.count()
        start, reach = FIRST_BAND, FIRST_BAND * BAND_GROWTH
        while start + reach < size:
            yield not_ahead.filter(pk__in=in_order[start : start + reach])
            start, reach = start + reach, reach * BAND_GROWTH
        yield not_ahead.exclude(pk__in=in_order[:start])

    def waiting(self, band: ComparisonQuerySet) -> ComparisonQuerySet:
        """The Comparisons of the band that are in the queue for the chosen reason, before other filters."""
        # The chosen reason is the rarest condition, so it comes first: the others are checked on few rows.
        if self.filters.why:
            band = because(band, self.filters.why, self.version, self.filters.old)
        if self.filters.old:
            return flips(band, self.version, self.filters.old)
        if self.filters.queue:
            return band.in_queue(self.filters.queue, self.version)
        return band.in_disagreement(self.version)

    def places(self, band: int, comparisons: ComparisonQuerySet) -> list[_Place]:
        """The places of these Comparisons of the band, in order. One query."""
        # The columns are known only here.
        rows: list[dict[str, Any]] = [*comparisons.order_by().values("pk", **self._columns())]  # type: ignore[list-item]
        if self.filters.prompts is not None and len(self.filters.prompts) > SEARCHED_IN_SQL:
            rows = [row for row in rows if row["of_prompt"] in self.filters.prompts]
        if self.has_facts:
            self.facts.extend(Facts(_why(row), _since(row)) for row in rows)
        if self._by_age:
            sign = 1.0 if self.filters.order == Order.OLDEST else -1.0
            return sorted(_Place(band, _Tier.REST, sign * row["pk"], row["pk"]) for row in rows)
        return sorted(
            self._place(band, *(row[name] for name in ("pk", "flagged", "margin", "reliability", "length")))
            for row in rows
        )

    def _columns(self) -> dict[str, Combinable]:
        """What a row needs beside its primary key."""
        columns: dict[str, Combinable] = {}
        if self.filters.prompts is not None:
            columns["of_prompt"] = F("prompt")
        if not self._by_age:
            margin = Suggestion.objects.filter(version=self.version, comparison=OuterRef("pk"))
            reliabilities = [When(annotator=pk, then=Value(r)) for pk, r in self._reliability.items()]
            voters = Judgment.objects.current().opinions().filter(comparison=OuterRef("pk")).order_by()
            mean = Avg(Case(*reliabilities, default=Value(PRIOR_RELIABILITY), output_field=FloatField()))
            columns |= {
                "flagged": Exists(Flag.objects.open().filter(comparison=OuterRef("pk"))),
                "margin": Subquery(margin.values("margin")),
                "reliability": Coalesce(
                    Subquery(voters.values("comparison").annotate(mean=mean).values("mean")),
                    PRIOR_RELIABILITY,
                ),
                "length": Bytes("a__text") + Bytes("b__text"),
            }
        if self.has_facts:
            columns |= {**_latest(), **has_reasons(self.version)}
        return columns

    def _place(
        self, band: int, pk: int, flagged: bool, margin: float | None, reliability: float, length: int
    ) -> _Place:
        tier = _Tier.FLAGGED if flagged else _Tier.REST if margin is None else _Tier.SUGGESTED
        certainty = abs(margin or 0.0)
        if self.filters.order == Order.SUREST:
            return _Place(band, tier, -certainty, pk)
        temperature = (self.version and self.version.temperature) or 1.0
        return _Place(band, tier, -review_value(certainty / temperature, reliability, length), pk)

    @cached_property
    def _reliability(self) -> dict[int, float]:
        return reliability(self.dataset, self.filters.as_of)


def review_value(certainty: float, reliability: float, length: int) -> float:
    """tanh(certainty / 2) * reliability / minutes: the value of reviewing a disagreement.

    certainty: |margin| / temperature, so that 2 sigmoid(certainty) - 1 = tanh(certainty / 2) is the model's
    calibrated confidence from 0 to 1 (temperature 1 for an uncalibrated version, which keeps its own order);
    reliability: mean over the people who gave an opinion, from 0 to 1; length: UTF-8 bytes of both texts."""
    minutes = (SECONDS_A_CASE + length / READING_BYTES_A_SECOND) / 60
    # Rounded, as a database may sum a mean in any order.
    return round(math.tanh(certainty / 2) * reliability / minutes, 9)


def reliability(dataset: Dataset, as_of: datetime) -> dict[int, float]:
    """Share of an annotator's opinions that a reviewer confirmed, by primary key of the annotator:
    (confirmed + 0.8 * 5) / (opinions + 5). Annotators without an entry count as 0.8.

    Over the newest 2,000 reviewer Decisions made by `as_of`, without dropped pairs, for the 200 annotators
    with the most opinions on them."""
    reviews = (
        Decision.objects.by_reviewers_of(dataset)
        .filter(created_at__lte=as_of)
        .exclude(outcome=Decision.DROP)
        .exclude(undone_at__lte=as_of)
    )
    later = reviews.filter(comparison=OuterRef("comparison"), pk__gt=OuterRef("pk"))
    latest = reviews.exclude(Exists(later)).order_by("-pk")[:MOST_REVIEWS]
    # The query starts from the reviews: if it started from the Judgments, SQLite would read all of them.
    opinion = "comparison__judgments"
    confirmed = Q(outcome=F(f"{opinion}__outcome"))
    counted = (
        Decision.objects.filter(
            pk__in=latest.values("pk"),
            **{f"{opinion}__is_current": True, f"{opinion}__outcome__in": OPINIONS},
        )
        .order_by()
        .values(annotator=F(f"{opinion}__annotator"))
        .annotate(n=Count("pk"), agreed=Count("pk", filter=confirmed))
        .order_by("-n", "annotator")
    )
    prior = PRIOR_RELIABILITY * PRIOR_WEIGHT
    return {
        row["annotator"]: (row["agreed"] + prior) / (row["n"] + PRIOR_WEIGHT)
        for row in counted[:MOST_ANNOTATORS]
    }


def whole(dataset: Dataset, version: ModelVersion | None, filters: Filters) -> ComparisonQuerySet:
    """All Comparisons of the queue, in no order."""
    walk = _Walk(dataset, version, filters)
    return _filtered(walk.waiting(Comparison.objects.filter(dataset=dataset)), filters)


def first_of(cursors: Sequence[str]) -> str:
    """The cursor that stands first in the queue."""
    return min(map(_Place.at, cursors)).cursor


def _places(walk: _Walk, start: _Place | None) -> Iterator[_Place]:
    """Places of the cases after `start`, in order. A band is read when the walk reaches it."""
    for number, band in enumerate(walk.bands()):
        if start and number < start.band:
            continue
        waiting = _filtered(walk.waiting(band), walk.filters)
        for place in walk.places(number, waiting):
            if start is None or place > start:
                yield place


def cursor_of(comparison: Comparison, version: ModelVersion | None, filters: Filters) -> str:
    """The cursor just after this Comparison, whether or not it is in the queue."""
    walk = _Walk(comparison.dataset, version, replace(filters, prompts=None, pairs=None))
    for number, band in enumerate(walk.bands()):
        for place in walk.places(number, band.filter(pk=comparison.pk)):
            return place.cursor
    raise ValueError(f"{comparison} does not exist any more.")
