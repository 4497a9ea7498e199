"""The review queue: which Comparisons need a reviewer, why, and in which order, page by page.

Each page reads anew which Comparisons are in the queue. Their order must not change from page to page,
although its figures move while people work. So the caller pins the ModelVersion and the moment (`as_of`) of
people's reliability, and the limits of the queue's bands do not depend on what is settled."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

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
from django.db.models.functions import Abs, Coalesce, Greatest, JSONObject, Least
from django.utils import timezone

from workbench.models import (
    Comparison,
    Dataset,
    Decision,
    Flag,
    Judgment,
    ModelVersion,
    OpinionSource,
    Outcome,
    Prompt,
    Suggestion,
)
from workbench.models.annotation import ComparisonQuerySet

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
    unsettled: bool = False  # leaves out what a reviewer has settled; a queue of flips keeps these cases
    order: str = Order.VALUE
    as_of: datetime = field(default_factory=timezone.now)  # reviews after this do not move the order


@dataclass(frozen=True)
class QueueCase:
    """A Comparison in the queue. votes: current Judgments by outcome; margin: the version's score of a minus
    its score of b; since: the latest Judgment or Flag; excerpt: how the last message of the Prompt begins.
    The texts are read when the case is opened: the texts of a page may be gigabytes."""

    comparison: Comparison
    why: tuple[Why, ...]
    votes: dict[str, int]
    margin: float | None
    since: datetime | None
    decision: Decision | None
    excerpt: str


@dataclass(frozen=True)
class Page:
    """after: the cursor of the next page, "" on the last. opened: the case to show beside the page."""

    cases: list[QueueCase]
    after: str
    opened: QueueCase | None


def page(
    dataset: Dataset,
    version: ModelVersion | None,
    filters: Filters,
    after: str = "",
    size: int = PAGE_SIZE,
    opened: int | None = None,
) -> Page:
    """The page of the queue after the cursor `after`, and the opened case: the Comparison with the primary
    key `opened`, wherever it stands, else the first of the page. Four queries for any number of cases; where
    the first band of the queue has been worked off, one more, and one for each further band.

    A page begins after the sort key of the last row seen, not after a count of rows. So cases settled
    meanwhile leave no gap, and with the same version and filters no case comes twice. ValueError for a
    malformed cursor."""
    start = _Place.at(after) if after else None
    places = list(islice(_places(_Walk(dataset, version, filters), start), size + 1))
    pks = [place.pk for place in places[:size]]
    case_of = cases([*pks, *([opened] if opened else [])], version, filters.old)
    on_page = [case_of[pk] for pk in pks if pk in case_of]
    opened_case = case_of.get(opened) if opened else next(iter(on_page), None)
    if opened_case:
        _read_texts(opened_case)
    cursor = places[size - 1].cursor if len(places) > size else ""
    return Page(cases=on_page, after=cursor, opened=opened_case)


def case(pk: int, version: ModelVersion | None, old: ModelVersion | None = None) -> QueueCase:
    """The case of one Comparison, with its texts."""
    queue_case = cases([pk], version, old)[pk]
    _read_texts(queue_case)
    return queue_case


def _read_texts(queue_case: QueueCase) -> None:
    whole = Comparison.objects.select_related("prompt", "a", "b").get(pk=queue_case.comparison.pk)
    for name in ("prompt", "a", "b"):
        setattr(queue_case.comparison, name, getattr(whole, name))


_RELATED = ["prompt", "a", "b", "current"]
_TEXTS = [
    *(f"prompt__{name}" for name in ("messages", "tools", "reading", "metadata")),
    *(f"{side}__{name}" for side in "ab" for name in ("text", "conversation", "metadata")),
]


def cases(
    ids: Sequence[int], version: ModelVersion | None, old: ModelVersion | None = None
) -> dict[int, QueueCase]:
    """The cases of the Comparisons of these primary keys, by primary key."""
    reasons = [why for why in Why if old or why not in FLIPS]
    same = Comparison.objects.filter(pk=OuterRef("pk"))
    margin = Suggestion.objects.filter(version=version, comparison=OuterRef("pk"))
    raised = Flag.objects.open().filter(comparison=OuterRef("pk")).order_by("-created_at")
    current = Judgment.objects.current().filter(comparison=OuterRef("pk")).order_by().values("comparison")
    by_outcome = {outcome: Count("pk", filter=Q(outcome=outcome)) for outcome in Outcome.values}
    annotated = Comparison.objects.annotate(
        current=FilteredRelation("decisions", condition=Q(decisions__is_current=True)),
        margin=Subquery(margin.values("margin")),
        votes=Subquery(current.annotate(votes=JSONObject(**by_outcome)).values("votes")),
        judged=Subquery(current.annotate(latest=Max("created_at")).values("latest")),
        raised=Subquery(raised.values("created_at")[:1]),
        **{f"is_{why}": Exists(_because(same, why, version, old)) for why in reasons},
    )
    comparisons = annotated.select_related(*_RELATED).defer(*_TEXTS).in_bulk(ids)
    prompts = {comparison.prompt_id for comparison in comparisons.values()}
    excerpts = Prompt.objects.filter(pk__in=prompts).excerpts()
    by_pk = {}
    for pk, comparison in comparisons.items():
        facts = vars(comparison)
        by_pk[pk] = QueueCase(
            comparison=comparison,
            why=tuple(why for why in reasons if facts[f"is_{why}"]),
            votes={outcome: n for outcome, n in (facts["votes"] or {}).items() if n},
            margin=facts["margin"],
            since=max(filter(None, [facts["raised"], facts["judged"]]), default=None),
            decision=facts.get("current"),
            excerpt=excerpts[comparison.prompt_id],
        )
    return by_pk


def _because(
    comparisons: ComparisonQuerySet, why: str, version: ModelVersion | None, old: ModelVersion | None
) -> ComparisonQuerySet:
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
    if filters.group:
        waiting = waiting.filter(prompt__group=filters.group)
    if filters.lengths:
        texts = Bytes("a__text"), Bytes("b__text")
        waiting = waiting.alias(longer=Greatest(*texts), shorter=Least(*texts))
        alike, apart = Q(longer__lte=F("shorter") * 1.25), Q(longer__gte=F("shorter") * 2)
        waiting = waiting.filter(alike if filters.lengths == Lengths.ALIKE else apart)
    return waiting


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
        suggested = Suggestion.objects.filter(version=self.version, comparison__dataset=self.dataset)
        surest_first = suggested.order_by(Abs("margin").desc(), "comparison").values("comparison")
        flagged = Flag.objects.open().filter(comparison__dataset=self.dataset).values("comparison")
        beyond = slice(FIRST_BAND, FIRST_BAND + 1)
        is_large, many_suggested = (
            Dataset.objects.filter(pk=self.dataset.pk)
            .values_list(Exists(comparisons[beyond]), Exists(surest_first[beyond]))
            .get()
        )
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
            band = _because(band, self.filters.why, self.version, self.filters.old)
        if self.filters.old:
            return flips(band, self.version, self.filters.old)
        if self.filters.queue:
            return band.in_queue(self.filters.queue, self.version)
        return band.in_disagreement(self.version)

    def places(self, band: int, comparisons: ComparisonQuerySet) -> list[_Place]:
        """The places of these Comparisons of the band, in order. One query."""
        if self._by_age:
            sign = 1.0 if self.filters.order == Order.OLDEST else -1.0
            keys = comparisons.values_list("pk", flat=True)
            return sorted(_Place(band, _Tier.REST, sign * pk, pk) for pk in keys)
        margin = Suggestion.objects.filter(version=self.version, comparison=OuterRef("pk")).values("margin")
        reliabilities = [When(annotator=pk, then=Value(r)) for pk, r in self._reliability.items()]
        voters = Judgment.objects.current().opinions().filter(comparison=OuterRef("pk")).order_by()
        mean = Avg(Case(*reliabilities, default=Value(PRIOR_RELIABILITY), output_field=FloatField()))
        figures = comparisons.order_by().values(
            "pk",
            flagged=Exists(Flag.objects.open().filter(comparison=OuterRef("pk"))),
            margin=Subquery(margin),
            reliability=Coalesce(
                Subquery(voters.values("comparison").annotate(mean=mean).values("mean")), PRIOR_RELIABILITY
            ),
            length=Bytes("a__text") + Bytes("b__text"),
        )
        return sorted(self._place(band, **row) for row in figures)

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
    walk = _Walk(comparison.dataset, version, filters)
    for number, band in enumerate(walk.bands()):
        for place in walk.places(number, band.filter(pk=comparison.pk)):
            return place.cursor
    raise ValueError(f"{comparison} does not exist any more.")
