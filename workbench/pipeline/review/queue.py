"""The review queue: what a reviewer is needed for, why, and in which order, page by page.

Which Comparisons are in it is asked of the rows at each page. Their order must not be: a page is sorted by
figures that move while people work. So whatever the order rests on is pinned by the one who asks (the
ModelVersion, and `as_of` for the reliability of people), and the queue is cut into bands whose limits do not
depend on who has settled what."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

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
    Outcome,
    Prompt,
    SaidBy,
    Suggestion,
)
from workbench.models.annotation import ComparisonQuerySet

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
    """Why a Comparison is in the queue; it may have several reasons."""

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
    """What of the queues to show, and in which order. "" and None filter nothing.

    With `old`, the queue is another: where the version prefers another side than that one, settled or not,
    so that it has as many cases as a count of flips says."""

    queue: str = ""  # one of ReviewQueue
    why: str = ""
    old: ModelVersion | None = None
    annotator: int | None = None  # primary key of one who has judged the Comparison
    source: str = ""  # of one of the two Completions
    lengths: str = ""
    group: str = ""  # of the Prompt
    unsettled: bool = False  # without what a reviewer has settled, which a queue of flips keeps
    order: str = Order.VALUE
    as_of: datetime = field(default_factory=timezone.now)  # reviews after this do not move the order


@dataclass(frozen=True)
class QueueCase:
    """A Comparison in the queue: why it is there, current votes by outcome, the version's margin (score of a
    minus score of b), since when (its latest Judgment or Flag), the Decision that stands, and how the last
    message of its Prompt begins. Its texts are read when it is opened: a page of them may be gigabytes."""

    comparison: Comparison
    why: tuple[Why, ...]
    votes: dict[str, int]
    margin: float | None
    since: datetime | None
    decision: Decision | None
    asked: str


@dataclass(frozen=True)
class Page:
    """`after` is the cursor of the next page; "" on the last. `opened` is the case that was asked for beside
    them, else the first of them."""

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
    """A page of the queue from the cursor `after` on, and the case of the Comparison with the primary key
    `opened`, wherever that is. Four queries, however many cases there are; more only where the first band of
    the queue has been worked off: one, and one for each band after it.

    A page begins after the sort key of the last row seen, not after a count of rows: cases settled meanwhile
    leave no gap, and with the same version and filters nothing comes twice. ValueError for a cursor that is
    none."""
    found: list[_Place] = []
    start = _Place.at(after) if after else None
    for place in _places(_Walk(dataset, version, filters), start):
        found.append(place)
        if len(found) > size:
            break
    shown = [place.pk for place in found[:size]]
    told = cases([*shown, *([opened] if opened else [])], version, filters.old)
    here = [told[pk] for pk in shown if pk in told]
    beside = told.get(opened) if opened else next(iter(here), None)
    if beside:
        _read_texts(beside)
    return Page(cases=here, after=found[size - 1].cursor if len(found) > size else "", opened=beside)


def case(pk: int, version: ModelVersion | None, old: ModelVersion | None = None) -> QueueCase:
    """What the queue says of one Comparison, with its texts."""
    told = cases([pk], version, old)[pk]
    _read_texts(told)
    return told


def _read_texts(told: QueueCase) -> None:
    whole = Comparison.objects.select_related("prompt", "a", "b").get(pk=told.comparison.pk)
    for name in ("prompt", "a", "b"):
        setattr(told.comparison, name, getattr(whole, name))


_TEXTS = [
    *(f"prompt__{name}" for name in ("messages", "tools", "reading", "metadata")),
    *(f"{side}__{name}" for side in "ab" for name in ("text", "conversation", "metadata")),
]


def cases(
    ids: Sequence[int], version: ModelVersion | None, old: ModelVersion | None = None
) -> dict[int, QueueCase]:
    """What the queue says of the Comparisons of these primary keys."""
    reasons = [why for why in Why if old or why not in FLIPS]
    same = Comparison.objects.filter(pk=OuterRef("pk"))
    margin = Suggestion.objects.filter(version=version, comparison=OuterRef("pk"))
    raised = Flag.objects.open().filter(comparison=OuterRef("pk")).order_by("-created_at")
    current = Judgment.objects.current().filter(comparison=OuterRef("pk")).order_by().values("comparison")
    by_outcome = {outcome: Count("pk", filter=Q(outcome=outcome)) for outcome in Outcome.values}
    asked: QuerySet[Any, Any] = Comparison.objects.annotate(
        current=FilteredRelation("decisions", condition=Q(decisions__is_current=True)),
        margin=Subquery(margin.values("margin")),
        votes=Subquery(current.annotate(votes=JSONObject(**by_outcome)).values("votes")),
        judged=Subquery(current.annotate(latest=Max("created_at")).values("latest")),
        raised=Subquery(raised.values("created_at")[:1]),
        **{f"is_{why}": Exists(_because(same, why, version, old)) for why in reasons},
    )
    found = asked.select_related("prompt", "a", "b", "current").defer(*_TEXTS).in_bulk(ids)
    prompts = {comparison.prompt_id for comparison in found.values()}
    words = Prompt.objects.filter(pk__in=prompts).last_words()
    return {
        pk: QueueCase(
            comparison=comparison,
            why=tuple(why for why in reasons if getattr(comparison, f"is_{why}")),
            votes={outcome: n for outcome, n in (comparison.votes or {}).items() if n},
            margin=comparison.margin,
            since=max(filter(None, [comparison.raised, comparison.judged]), default=None),
            decision=getattr(comparison, "current", None),
            asked=words[comparison.prompt_id],
        )
        for pk, comparison in found.items()
    }


def _because(
    comparisons: ComparisonQuerySet, why: str, version: ModelVersion | None, old: ModelVersion | None
) -> ComparisonQuerySet:
    meaning = {
        Why.FLAGGED: comparisons.flagged,
        Why.PEOPLE: comparisons.people_disagree,
        Why.MIXED: comparisons.people_against_labels,
        Why.LABELS: comparisons.labels_disagree,
        Why.CHANGED: comparisons.changed_after_reveal,
        Why.GOLD: comparisons.gold_missed,
        Why.REPEAT: comparisons.own_answers_differ,
    }
    if why in (Why.MODEL, Why.FILE):
        return comparisons.model_disagrees(version, SaidBy.PEOPLE if why == Why.MODEL else SaidBy.LABELS)
    return flips(comparisons, version, old, why) if why in FLIPS else meaning[Why(why)]()


def flips(
    comparisons: ComparisonQuerySet, version: ModelVersion | None, old: ModelVersion | None, why: str = ""
) -> ComparisonQuerySet:
    """Where the version prefers another side than `old` did, for one of the three reasons or for any; none
    where there are no two versions to compare."""
    if version is None or old is None:
        return comparisons.none()
    either, towards, away = (comparisons.flipped(old, version, way) for way in (None, True, False))
    neither = either.with_lead().filter(Q(lead=0) | Q(lead=None))
    return {Why.TOWARDS: towards, Why.AWAY: away, Why.FLIPPED: neither}[Why(why)] if why else either


class Bytes(Func):
    """Length of a text in UTF-8: nearer to its tokens than its characters are, and in PostgreSQL known
    without reading the text."""

    function = "OCTET_LENGTH"
    output_field = models.IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="LENGTH(CAST(%(expressions)s AS BLOB))", **extra)


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
    """What comes first within a band when it is sorted by value or certainty."""

    FLAGGED = 0
    SUGGESTED = 1
    REST = 2


class _Place(NamedTuple):
    """Where a Comparison stands in the queue: in its band, and there by tier and rank, smallest first."""

    band: int
    tier: int
    rank: float
    pk: int

    @property
    def cursor(self) -> str:
        return json.dumps([self.band, self.tier, self.rank, self.pk])

    @classmethod
    def at(cls, cursor: str) -> "_Place":
        """The place in a cursor; ValueError when it is none."""
        values = json.loads(cursor) if len(cursor) < LONGEST_CURSOR else None
        if not isinstance(values, list) or [type(value) for value in values] != [int, int, float, int]:
            raise ValueError("A cursor is a band, a tier, a rank and a primary key.")
        if not all(abs(value) < 2**63 for value in values):
            raise ValueError("A number of the cursor is larger than any that a database holds.")
        return cls(*values)


def check_cursor(cursor: str) -> None:
    """ValueError when the cursor is none."""
    _Place.at(cursor)


@dataclass(frozen=True)
class _Walk:
    """One walk through the queue of a dataset: its bands, and the places of Comparisons in them."""

    dataset: Dataset
    version: ModelVersion | None
    filters: Filters

    @property
    def _by_age(self) -> bool:
        return self.filters.order in (Order.OLDEST, Order.NEWEST)

    def bands(self) -> Iterator[ComparisonQuerySet]:
        """All Comparisons of the dataset, each in one band, cut where reviews change nothing.

        By value and certainty the first band has the flagged, as somebody asked for a look, and the first
        2,000 by |margin|; the second has the next 8,000 and so on; the last has what is left, also those
        without a Suggestion. Within a band the order is exact. So it is exact throughout for 2,000
        Comparisons, which are one band, and for more it never takes longer than a band to find what comes
        first."""
        own = Comparison.objects.filter(dataset=self.dataset).order_by("pk")
        suggested = Suggestion.objects.filter(version=self.version, comparison__dataset=self.dataset)
        surest_first = suggested.order_by(Abs("margin").desc(), "comparison").values("comparison")
        flagged = Flag.objects.open().filter(comparison__dataset=self.dataset).values("comparison")
        beyond = slice(FIRST_BAND, FIRST_BAND + 1)
        is_large, many_suggested = (
            Dataset.objects.filter(pk=self.dataset.pk)
            .values_list(Exists(own[beyond]), Exists(surest_first[beyond]))
            .get()
        )
        if not is_large:
            yield own
            return
        ahead: QuerySet[Any, Any]
        walk: QuerySet[Any, Any]
        if self._by_age:
            by_age = own if self.filters.order == Order.OLDEST else own.reverse()
            ahead, walk = flagged.none(), by_age.values("pk")
        elif many_suggested:
            ahead, walk = flagged, surest_first
        else:
            ahead, walk = flagged.union(surest_first.order_by()), own.values("pk")
        first = own.filter(pk__in=walk[:FIRST_BAND]).order_by().values("pk")
        yield own.filter(pk__in=ahead.union(first))
        # Counted only where the first band has been worked off: it reads all of them.
        others, size = own.exclude(pk__in=ahead), own.count()
        start, reach = FIRST_BAND, FIRST_BAND * BAND_GROWTH
        while start + reach < size:
            yield others.filter(pk__in=walk[start : start + reach])
            start, reach = start + reach, reach * BAND_GROWTH
        yield others.exclude(pk__in=walk[:start])

    def waiting(self, band: ComparisonQuerySet) -> ComparisonQuerySet:
        """Those of the band that are in the queue for the reason asked for, before any other filter."""
        # A rare reason first: what else may be a reason is then asked of few.
        if self.filters.why:
            band = _because(band, self.filters.why, self.version, self.filters.old)
        if self.filters.old:
            return flips(band, self.version, self.filters.old)
        if self.filters.queue:
            return band.in_queue(self.filters.queue, self.version)
        return band.in_disagreement(self.version)

    def places(self, band: int, comparisons: ComparisonQuerySet) -> list[_Place]:
        """Where these Comparisons of the band stand, in order; one query."""
        if self._by_age:
            sign = 1.0 if self.filters.order == Order.OLDEST else -1.0
            keys = comparisons.values_list("pk", flat=True)
            return sorted(_Place(band, _Tier.REST, sign * pk, pk) for pk in keys)
        return sorted(self._place(band, **figures) for figures in self._figures(comparisons))

    def _figures(self, comparisons: ComparisonQuerySet) -> QuerySet[Any, Any]:
        margin = Suggestion.objects.filter(version=self.version, comparison=OuterRef("pk")).values("margin")
        known = [When(annotator=pk, then=Value(r)) for pk, r in self._reliability.items()]
        voters = Judgment.objects.current().opinions().filter(comparison=OuterRef("pk")).order_by()
        mean = Avg(Case(*known, default=Value(PRIOR_RELIABILITY), output_field=FloatField()))
        return comparisons.order_by().values(
            "pk",
            flagged=Exists(Flag.objects.open().filter(comparison=OuterRef("pk"))),
            margin=Subquery(margin),
            reliability=Coalesce(
                Subquery(voters.values("comparison").annotate(mean=mean).values("mean")), PRIOR_RELIABILITY
            ),
            length=Bytes("a__text") + Bytes("b__text"),
        )

    def _place(
        self, band: int, pk: int, flagged: bool, margin: float | None, reliability: float, length: int
    ) -> _Place:
        tier = _Tier.FLAGGED if flagged else _Tier.REST if margin is None else _Tier.SUGGESTED
        certainty = abs(margin or 0.0)
        if self.filters.order == Order.SUREST:
            return _Place(band, tier, -certainty, pk)
        temperature = self.version and self.version.temperature
        return _Place(band, tier, -review_value(certainty / (temperature or 1.0), reliability, length), pk)

    @cached_property
    def _reliability(self) -> dict[int, float]:
        return reliability(self.dataset, self.filters.as_of)


def review_value(certainty: float, reliability: float, length: int) -> float:
    """What a look at a disagreement is worth, per minute of reading.

    certainty: |margin| / temperature, so that 2 sigmoid(certainty) - 1 = tanh(certainty / 2) is the model's
    calibrated confidence from 0 to 1 (an uncalibrated version counts as temperature 1, which keeps its own
    order); reliability: mean over the people who gave an opinion, from 0 to 1; length: UTF-8 bytes of both
    texts. A sure model against reliable people tells most, whoever turns out to be wrong; a long read costs
    more."""
    minutes = (SECONDS_A_CASE + length / READING_BYTES_A_SECOND) / 60
    # Rounded, as a database may add up a mean in any order.
    return round(math.tanh(certainty / 2) * reliability / minutes, 9)


def reliability(dataset: Dataset, as_of: datetime) -> dict[int, float]:
    """Share of an annotator's opinions that are what a reviewer decided, by primary key of the annotator;
    shrunk towards 0.8 as if by five earlier opinions, which is also what anybody else counts for.

    Of the newest 2,000 reviewer Decisions made by `as_of`, drops left out, and of the 200 annotators they say
    most about."""
    reviews = (
        Decision.objects.by_reviewers_of(dataset)
        .filter(created_at__lte=as_of)
        .exclude(outcome=Decision.DROP)
        .exclude(undone_at__lte=as_of)
    )
    later = reviews.filter(comparison=OuterRef("comparison"), pk__gt=OuterRef("pk"))
    latest = reviews.exclude(Exists(later)).order_by("-pk")[:MOST_REVIEWS]
    # From the reviews to the Judgments on them: the other way round SQLite would read every Judgment.
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
    """Places of the cases that come after `start`, in order; a band is read when it is reached."""
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
    raise ValueError(f"{comparison} is in no band: it does not exist.")
