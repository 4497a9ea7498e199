"""What a Release may be narrowed to: an allowlist, asked of the database in one way by count and by build."""

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
    """A filter that is unknown or has a value it cannot have; the message is a sentence for people."""


FEW = 10
_LABELS = {
    "method": "Final label by",
    "min_votes": "Minimum votes per pair",
    "min_agreement": "Minimum agreement",
    "min_posterior": "Minimum probability by aggregation",
    "source": "Both answers written by",
    "judged_from": "Last vote from (UTC)",
    "judged_until": "Last vote until (UTC)",
    "min_length": "Shortest answer (characters)",
    "max_length": "Longest answer (characters)",
    "min_confidence": "Minimum model confidence",
    "without_groups": "Without prompt groups",
}


@dataclass(frozen=True)
class Filters:
    """Every filter that there is; None or an empty tuple lets everything pass.

    Days are whole days in UTC, both included. Lengths are in characters. `min_posterior` lets pass what a
    reviewer decided, and else what aggregation decided with that probability. `min_confidence` is the
    calibrated probability, 0.5 to 1, that the model active at the time gives to the side it prefers."""

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
    def parse(cls, values: Mapping[str, Any]) -> "Filters":
        """From text, as a command line or stored JSON has it. Raises BadFilter."""
        kinds = get_type_hints(cls)
        for name in values:
            if name not in kinds:
                raise BadFilter(f'There is no filter "{name}"; there are {", ".join(kinds)}.')
        parsed = {name: _parsed(name, kinds[name], value) for name, value in values.items() if value}
        return cls(**parsed)

    def as_json(self) -> dict[str, Any]:
        """Those that are set, as JSON takes them and `parse` reads them."""
        shown = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        return {
            name: value.isoformat() if isinstance(value, date) else value for name, value in shown.items()
        }

    def in_words(self) -> dict[str, str]:
        """Label and value of those that are set."""
        return {
            _LABELS[name]: _few(value) if isinstance(value, tuple | list) else str(value)
            for name, value in self.as_json().items()
        }


def _few(values: Sequence[str]) -> str:
    return ", ".join(values) if len(values) <= FEW else f"({len(values):,} of them, named in manifest.json)"


def _parsed(name: str, kind: Any, value: Any) -> Any:
    if kind == tuple[str, ...]:
        values = (value,) if isinstance(value, str) else tuple(value)
        if name == "method" and (unknown := set(values) - set(Decision.Method.values)):
            known = ", ".join(Decision.Method.values)
            raise BadFilter(f'method is one of {known}, not "{unknown.pop()}".')
        return values
    wanted = next(each for each in get_args(kind) if each is not type(None))
    try:
        if wanted is date:
            return value if isinstance(value, date) else date.fromisoformat(value)
        return wanted(value)
    except (TypeError, ValueError):
        what = {date: "a day like 2026-05-31", int: "a whole number", float: "a number"}[wanted]
        raise BadFilter(f'{name} takes {what}, not "{value}".') from None


def passing(
    comparisons: ComparisonQuerySet, filters: Filters, version: ModelVersion | None
) -> ComparisonQuerySet:
    """Those whose current Decision, texts and Suggestion pass every filter. Raises BadFilter when a filter
    on the model's confidence is set and no calibrated model is active."""
    decided = Decision.objects.current().filter(_of_decision(filters), comparison=OuterRef("pk"))
    passed = comparisons.filter(Exists(decided), _of_texts(filters))
    if filters.without_groups:
        passed = passed.exclude(prompt__group__in=filters.without_groups)
    if filters.judged_from or filters.judged_until:
        passed = passed.annotate(last_judged=_last_judged()).filter(_of_days(filters))
    if filters.min_confidence is not None:
        passed = passed.filter(Exists(_confident(filters.min_confidence, version)))
    return passed


def _of_decision(filters: Filters) -> Q:
    wanted = Q()
    if filters.method:
        wanted &= Q(method__in=filters.method)
    if filters.min_votes is not None:
        wanted &= Q(votes__gte=filters.min_votes)
    if filters.min_agreement is not None:
        wanted &= Q(votes__gt=0, votes_for__gte=Cast(F("votes"), FloatField()) * filters.min_agreement)
    if filters.min_posterior is not None:
        wanted &= Q(method=Decision.Method.REVIEWER) | Q(probability__gte=filters.min_posterior)
    return wanted


def _of_texts(filters: Filters) -> Q:
    wanted = Q()
    for side in ("a", "b"):
        if filters.source:
            wanted &= Q(**{f"{side}__source__in": filters.source})
        length = Length(f"{side}__text")
        if filters.min_length is not None:
            wanted &= Q(GreaterThanOrEqual(length, filters.min_length))
        if filters.max_length is not None:
            wanted &= Q(LessThanOrEqual(length, filters.max_length))
    return wanted


def _last_judged() -> Subquery:
    current = Judgment.objects.current().filter(comparison=OuterRef("pk")).order_by()
    return Subquery(current.values("comparison").annotate(last=Max("created_at")).values("last"))


def _of_days(filters: Filters) -> Q:
    wanted = Q()
    if filters.judged_from:
        wanted &= Q(last_judged__gte=datetime.combine(filters.judged_from, time.min, UTC))
    if filters.judged_until:
        wanted &= Q(last_judged__lte=datetime.combine(filters.judged_until, time.max, UTC))
    return wanted


def _confident(share: float, version: ModelVersion | None) -> Any:
    if version is None or version.temperature is None:
        raise BadFilter(
            "min_confidence needs an active model that is calibrated; a raw margin is no probability."
        )
    if not 0.5 <= share < 1:
        raise BadFilter("min_confidence is a probability from 0.5 to less than 1.")
    margin = version.temperature * math.log(share / (1 - share))
    return Suggestion.objects.annotate(size=Abs("margin")).filter(
        comparison=OuterRef("pk"), version=version, size__gte=margin
    )


def count(dataset: Dataset, filters: Filters, version: ModelVersion | None) -> tuple[int, int]:
    """(Comparisons decided for a side that pass, all decided for a side), flagged ones in neither."""
    decided = Comparison.objects.filter(
        dataset=dataset, decisions__is_current=True, decisions__outcome__in=["a", "b"]
    ).exclude(pk__in=Comparison.objects.filter(dataset=dataset).flagged().values("pk"))
    return passing(decided, filters, version).count(), decided.count()
