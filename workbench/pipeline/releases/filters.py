"""The filters of a Release. The count before a build and the build ask the database in the same way."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time
from typing import Any, get_args, get_type_hints

from django.db.models import Exists, F, FloatField, Max, OuterRef, Q, Subquery
from django.db.models.functions import Abs, Cast, Length
from django.db.models.lookups import GreaterThanOrEqual, LessThanOrEqual

from workbench.models import Comparison, Dataset, Decision, Judgment, ModelVersion, Suggestion
from workbench.models.annotation import ComparisonQuerySet


class BadFilter(ValueError):
    """An unknown filter, or a bad value. The message is a sentence for people."""


FilterValue = str | int | float | Sequence[str]

NAMES_SHOWN = 10
_LABELS = {
    "method": "final label by",
    "min_votes": "minimum votes per pair",
    "min_agreement": "minimum agreement",
    "min_posterior": "minimum probability by aggregation",
    "source": "both answers written by",
    "judged_from": "last vote from (UTC)",
    "judged_until": "last vote until (UTC)",
    "min_length": "shortest answer (characters)",
    "max_length": "longest answer (characters)",
    "min_confidence": "minimum model confidence",
    "without_groups": "without prompt groups",
}


@dataclass(frozen=True)
class Filters:
    """All filters; None or an empty tuple lets every Comparison pass.

    Days are whole days in UTC, both included. Lengths are in characters. `min_posterior` is a probability by
    aggregation; Decisions by a reviewer always pass. `min_confidence`, 0.5 to 1, is the calibrated
    probability of the side that the active model prefers."""

    method: tuple[str, ...] = ()
    min_votes: int | None = None
    min_agreement: float | None = None
    min_posterior: float | None = None
    source: tuple[str, ...] = ()
    judged_from: date | None = None
    judged_until: date | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_confidence: float | None = None
    without_groups: tuple[str, ...] = ()

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
        """Label and value of each filter that is set."""
        return {_LABELS[name]: _value_in_words(value) for name, value in self.as_json().items()}


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
    try:
        if number_or_day is date:
            return value if isinstance(value, date) else date.fromisoformat(value)
        return number_or_day(value)
    except (TypeError, ValueError):
        words = {date: "a day like 2026-05-31", int: "a whole number", float: "a number"}[number_or_day]
        raise BadFilter(f'{name} takes {words}, not "{value}".') from None


def passing(
    comparisons: ComparisonQuerySet, filters: Filters, version: ModelVersion | None
) -> ComparisonQuerySet:
    """The comparisons whose current Decision, texts and Suggestion pass every filter. Raises BadFilter for
    `min_confidence` without an active model that is calibrated."""
    decisions = Decision.objects.current().filter(_decision_passes(filters), comparison=OuterRef("pk"))
    passed = comparisons.filter(Exists(decisions), _texts_pass(filters))
    if filters.without_groups:
        passed = passed.exclude(prompt__group__in=filters.without_groups)
    if filters.judged_from or filters.judged_until:
        judgments = Judgment.objects.current().filter(comparison=OuterRef("pk")).order_by()
        last = judgments.values("comparison").annotate(last=Max("created_at")).values("last")
        passed = passed.annotate(last_judged=Subquery(last)).filter(_days_pass(filters))
    if filters.min_confidence is not None:
        passed = passed.filter(_confidence_passes(filters.min_confidence, version))
    return passed


def _decision_passes(filters: Filters) -> Q:
    condition = Q()
    if filters.method:
        condition &= Q(method__in=filters.method)
    if filters.min_votes is not None:
        condition &= Q(votes__gte=filters.min_votes)
    if filters.min_agreement is not None:
        condition &= Q(votes__gt=0, votes_for__gte=Cast(F("votes"), FloatField()) * filters.min_agreement)
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


def _confidence_passes(confidence: float, version: ModelVersion | None) -> Exists:
    if version is None or version.temperature is None:
        raise BadFilter(
            "min_confidence needs an active model that is calibrated; a raw margin is no probability."
        )
    if not 0.5 <= confidence < 1:
        raise BadFilter("min_confidence is a probability from 0.5 to less than 1.")
    margin = version.temperature * math.log(confidence / (1 - confidence))
    suggestions = Suggestion.objects.annotate(size=Abs("margin"))
    return Exists(suggestions.filter(comparison=OuterRef("pk"), version=version, size__gte=margin))


def count(dataset: Dataset, filters: Filters, version: ModelVersion | None) -> tuple[int, int]:
    """(Comparisons decided for a side that pass, Comparisons decided for a side); neither counts Comparisons
    with an open flag."""
    decided = Comparison.objects.filter(
        dataset=dataset, decisions__is_current=True, decisions__outcome__in=["a", "b"]
    ).exclude(pk__in=Comparison.objects.filter(dataset=dataset).flagged().values("pk"))
    return passing(decided, filters, version).count(), decided.count()
