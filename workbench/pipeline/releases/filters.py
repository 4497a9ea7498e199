"""The filters of a Release, as a build asks the database; `counting` asks the columns for the same."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any, get_args, get_type_hints

from django.db.models import Exists, F, FloatField, Max, OuterRef, Q, Subquery
from django.db.models.functions import Abs, Cast, Length
from django.db.models.lookups import GreaterThanOrEqual, LessThanOrEqual

from scoring import shares
from workbench.models import Dataset, Decision, Judgment, ModelVersion, SavedView, Suggestion
from workbench.models.annotation import ComparisonQuerySet
from workbench.pipeline.data.fields import BadSelection
from workbench.pipeline.data.finding import Selection, metadata_keys


class BadFilter(ValueError):
    """An unknown filter, or a bad value. The message is a sentence for people."""


FilterValue = str | int | float | Sequence[str] | Mapping[str, str]

NAMES_SHOWN = 10
_LABELS = {
    "method": "final label by",
    "min_votes": "minimum votes and labels per pair",
    "max_votes": "maximum votes and labels per pair",
    "min_agreement": "minimum agreement",
    "max_agreement": "maximum agreement",
    "min_posterior": "minimum probability by aggregation",
    "source": "both answers written by",
    "judged_from": "last vote or label from (UTC)",
    "judged_until": "last vote or label until (UTC)",
    "min_length": "shortest answer (characters)",
    "max_length": "longest answer (characters)",
    "min_confidence": "minimum model confidence",
    "max_confidence": "maximum model confidence",
    "without_groups": "without prompt groups",
    "view": "in the saved view",
}
IN_PER_CENT = ("min_agreement", "max_agreement", "min_posterior", "min_confidence", "max_confidence")
"""Filters from 0 to 1, which people read in per cent."""


@dataclass(frozen=True)
class View:
    """A saved view as it was when somebody chose it. query: its selection, as in the address of the Data
    page. A Release keeps both, as the view may be changed or deleted later."""

    name: str
    query: str

    @classmethod
    def of(cls, saved: SavedView, facet_keys: Sequence[str]) -> "View":
        """Raises BadFilter for a view that can't be read any more, as of a metadata key that is no filter
        now."""
        try:
            return cls(saved.name, Selection.parse(saved.query, facet_keys).query)
        except BadSelection as error:
            raise BadFilter(f"The view {saved.name} cannot be used. {error}") from None

    @property
    def in_words(self) -> str:
        selection = Selection.parse(self.query, metadata_keys(self.query))
        return f"{self.name} ({selection.in_words or 'all prompts'})"


def view_named(dataset: Dataset, name: str) -> View:
    """The saved view of this name; a shared one where several people have one. Raises BadFilter."""
    views = SavedView.objects.filter(dataset=dataset, name=name).order_by("-shared", "pk")
    found = list(views.filter(shared=True)) or list(views)
    if len({view.query for view in found}) > 1:
        raise BadFilter(f'{len(found)} people have a view called "{name}". Give one of them another name.')
    if not found:
        names = SavedView.objects.filter(dataset=dataset).values_list("name", flat=True).distinct()
        known = ", ".join(names) or "none yet"
        raise BadFilter(f'There is no saved view called "{name}". The views of {dataset}: {known}.')
    return View.of(found[0], dataset.facet_keys)


@dataclass(frozen=True)
class Filters:
    """All filters; None or an empty tuple lets every Comparison pass.

    Days are whole days in UTC, both included. Lengths are in characters. `min_posterior` is a probability by
    aggregation; Decisions by a reviewer always pass. `min_confidence` and `max_confidence`, 0.5 to 1, are the
    calibrated probability of the side that the active model prefers. `view`: what a selection of the Data
    page finds."""

    method: tuple[str, ...] = ()
    min_votes: int | None = None
    max_votes: int | None = None
    min_agreement: float | None = None
    max_agreement: float | None = None
    min_posterior: float | None = None
    source: tuple[str, ...] = ()
    judged_from: date | None = None
    judged_until: date | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    without_groups: tuple[str, ...] = ()
    view: View | None = None

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> "Filters":
        """Filters from a command line, a form or stored JSON. Raises BadFilter."""
        kinds = get_type_hints(cls)
        for name in values:
            if name not in kinds:
                raise BadFilter(f'There is no filter "{name}"; there are {", ".join(kinds)}.')
        return cls(**{name: _parsed(name, kinds[name], value) for name, value in values.items() if value})

    def as_json(self) -> dict[str, FilterValue]:
        """The filters that are set, as `parse` reads them from JSON."""
        values = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        return {
            name: value.isoformat() if isinstance(value, date) else value for name, value in values.items()
        }

    def in_words(self) -> dict[str, str]:
        """Label and value of each filter that is set. The card of a Release has these, so they stay: an older
        Release, built again, is the same to the byte."""
        words = {_LABELS[name]: _value_in_words(value) for name, value in self.as_json().items()}
        return words | ({_LABELS["view"]: self.view.in_words} if self.view else {})

    def on_page(self) -> dict[str, str]:
        """The same with shares in per cent."""
        chosen = {name: value for name, value in self.as_json().items() if name in IN_PER_CENT}
        return self.in_words() | {_LABELS[name]: shares.limit(value) for name, value in chosen.items()}  # type: ignore[arg-type]  # numbers all

    @property
    def asks_nothing_but_a_view(self) -> bool:
        return replace(self, view=None) == Filters()


def _value_in_words(value: FilterValue) -> str:
    if not isinstance(value, tuple | list):
        return str(value)
    if len(value) > NAMES_SHOWN:
        return f"({len(value):,}, named in manifest.json)"
    return ", ".join(value)


def _parsed(name: str, kind: object, value: Any) -> Any:
    if kind == tuple[str, ...]:
        values = (value,) if isinstance(value, str) else tuple(value)
        if name == "method" and (unknown := set(values) - set(Decision.Method.values)):
            methods = ", ".join(Decision.Method.values)
            raise BadFilter(f'method is one of {methods}, not "{unknown.pop()}".')
        return values
    (number_or_day,) = set(get_args(kind)) - {type(None)}
    if number_or_day is View:
        return _parsed_view(value)
    try:
        if number_or_day is date:
            return value if isinstance(value, date) else date.fromisoformat(value)
        return number_or_day(value)
    except (TypeError, ValueError):
        words = {date: "a day like 2026-05-31", int: "a whole number", float: "a number"}[number_or_day]
        raise BadFilter(f'{name} takes {words}, not "{value}".') from None


def _parsed_view(value: Any) -> View:
    if isinstance(value, View):
        return value
    try:
        view = View(str(value["name"]), str(value["query"]))
        Selection.parse(view.query, metadata_keys(view.query))
    except (TypeError, KeyError):
        raise BadFilter(f'view takes the name of a saved view, not "{value}".') from None
    except BadSelection as error:
        raise BadFilter(f"The view {view.name} cannot be used. {error}") from None
    return view


def passing(
    comparisons: ComparisonQuerySet, filters: Filters, version: ModelVersion | None
) -> ComparisonQuerySet:
    """The comparisons whose current Decision, texts and Suggestion pass every filter but the view, which
    reads the Dataset at once (finding.pairs_at). Raises BadFilter for a filter by confidence without an
    active model that is calibrated."""
    decisions = Decision.objects.current().filter(_decision_passes(filters), comparison=OuterRef("pk"))
    passed = comparisons.filter(Exists(decisions), _texts_pass(filters))
    if filters.without_groups:
        passed = passed.exclude(prompt__group__in=filters.without_groups)
    if filters.judged_from or filters.judged_until:
        judgments = Judgment.objects.current().filter(comparison=OuterRef("pk")).order_by()
        last = judgments.values("comparison").annotate(last=Max("created_at")).values("last")
        passed = passed.annotate(last_judged=Subquery(last)).filter(_days_pass(filters))
    if filters.min_confidence is not None or filters.max_confidence is not None:
        passed = passed.filter(_confidence_passes(filters, version))
    return passed


def _decision_passes(filters: Filters) -> Q:
    condition = Q()
    if filters.method:
        condition &= Q(method__in=filters.method)
    if filters.min_votes is not None:
        condition &= Q(votes__gte=filters.min_votes)
    if filters.max_votes is not None:
        condition &= Q(votes__lte=filters.max_votes)
    votes = Cast(F("votes"), FloatField())
    if filters.min_agreement is not None:
        condition &= Q(votes__gt=0, votes_for__gte=votes * filters.min_agreement)
    if filters.max_agreement is not None:
        condition &= Q(votes__gt=0, votes_for__lte=votes * filters.max_agreement)
    if filters.min_posterior is not None:
        condition &= Q(method=Decision.Method.REVIEWER) | Q(probability__gte=filters.min_posterior)
    return condition


def _texts_pass(filters: Filters) -> Q:
    condition = Q()
    for side in ("a", "b"):
        if filters.source:
            condition &= Q(**{f"{side}__source__in": filters.source})
        length = Length(f"{side}__text")
        if filters.min_length is not None:
            condition &= Q(GreaterThanOrEqual(length, filters.min_length))
        if filters.max_length is not None:
            condition &= Q(LessThanOrEqual(length, filters.max_length))
    return condition


def _days_pass(filters: Filters) -> Q:
    condition = Q()
    if filters.judged_from:
        condition &= Q(last_judged__gte=datetime.combine(filters.judged_from, time.min, UTC))
    if filters.judged_until:
        condition &= Q(last_judged__lte=datetime.combine(filters.judged_until, time.max, UTC))
    return condition


def margins_of(filters: Filters, version: ModelVersion | None) -> tuple[float, float]:
    """The least and the largest |margin| that pass. Raises BadFilter without an active model that is
    calibrated, and for a confidence that is no such probability."""
    if version is None or version.temperature is None:
        raise BadFilter(
            "min_confidence needs an active model that is calibrated; a raw margin is no probability."
        )
    least, most = filters.min_confidence, filters.max_confidence
    if not all(0.5 <= confidence < 1 for confidence in (least, most) if confidence is not None):
        raise BadFilter("min_confidence is a probability from 0.5 to less than 1.")
    return (
        0.0 if least is None else version.temperature * math.log(least / (1 - least)),
        math.inf if most is None else version.temperature * math.log(most / (1 - most)),
    )


def _confidence_passes(filters: Filters, version: ModelVersion | None) -> Exists:
    least, most = margins_of(filters, version)
    suggestions = Suggestion.objects.annotate(size=Abs("margin")).filter(size__gte=least)
    if most < math.inf:
        suggestions = suggestions.filter(size__lte=most)
    return Exists(suggestions.filter(comparison=OuterRef("pk"), version=version))
