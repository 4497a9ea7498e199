"""What the stored reports say of a model on pairs that it has not learnt, without reading all of them: pages
that only have to know whether to point at its disagreements ask here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import OuterRef, Subquery
from django.db.models.fields.json import KT
from django.db.models.functions import JSONObject

from scoring.evaluate import above_ceiling
from workbench.models import ModelVersion, SaidBy, Statistics
from workbench.pipeline.quality.figures import known
from workbench.pipeline.quality.report import FORMAT

_SAID_BY = {"people": SaidBy.PEOPLE, "imported": SaidBy.LABELS}
"""People's votes say more of a model than imported labels, where there are enough."""


@dataclass(frozen=True)
class Unseen:
    """The accuracy of the active version in a Dataset's last report, against what `said_by` says; Figures
    as the report has them. over_rule: how much better it is than the length rule, paired."""

    said_by: SaidBy
    accuracy: Mapping[str, Any]
    rule: str = ""
    by_rule: Mapping[str, Any] = field(default_factory=dict)
    over_rule: Mapping[str, Any] = field(default_factory=dict)
    ceiling: Mapping[str, Any] = field(default_factory=dict)

    @property
    def warning(self) -> str:
        """A sentence where the accuracy is above the human ceiling, else ""."""
        return above_ceiling(self.accuracy["value"], self.ceiling.get("value"), self.ceiling.get("n", 0))

    @property
    def beats_rule(self) -> bool:
        """Whether the whole paired interval is above zero."""
        low = self.over_rule.get("low")
        return low is not None and low > 0


_PATHS = {name: f"report__against__{name}__0" for name in _SAID_BY}


def told(version: ModelVersion | None, dataset: str = "pk") -> Subquery:
    """A row of the report of the Dataset that the outer query is of, as JSON, for `unseen`: a page that reads
    the Dataset anyway gets it along."""
    stored = Statistics.objects.filter(dataset=OuterRef(dataset), version=version, report__format=FORMAT)
    cells = {
        f"{name}_{key}": KT(f"{path}__{key}" if key != "row" else f"{path}__slices__0")
        for name, path in _PATHS.items()
        for key in ("rule", "row")
    }
    return Subquery(stored.values(told=JSONObject(**cells)))


def unseen(told: Mapping[str, Any] | None) -> Unseen | None:
    """What `told` has brought; None where no report of the version is stored, or none with enough data."""
    for name, said_by in _SAID_BY.items():
        rule, row = ((told or {}).get(f"{name}_{key}") for key in ("rule", "row"))
        row = (json.loads(row) if isinstance(row, str) else row) or {}
        if known(row.get("accuracy")):
            figures = {key: row.get(key) or {} for key in ("accuracy", "by_rule", "over_rule", "ceiling")}
            return Unseen(said_by, rule=rule or "", **figures)
    return None
