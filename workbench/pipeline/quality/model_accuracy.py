"""The accuracy of a model as every page shows it: from the stored report, on pairs that the model has not
learnt.

`accuracies` reads a report. `in_report` reads a few cells of a report in the database, for a page that lists
Datasets, or asks only whether the model beats the length rule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from django.db.models import OuterRef, Subquery
from django.db.models.fields.json import KT
from django.db.models.functions import JSONObject

from scoring.evaluate import above_ceiling
from workbench.models import ModelVersion, Statistics
from workbench.pipeline.quality import accuracy
from workbench.pipeline.quality.reports import (
    FORMAT,
    SOURCE_NAMES,
    ModelRow,
    Report,
    Sample,
    SliceRow,
    StoredFigure,
    has_value,
)
from workbench.pipeline.text import learnt

RESTS_ON = {"people": "votes", "imported": "imported labels", "all": "votes and imported labels"}
"""What the accuracy against a label source is counted on. Pages say so, as their figures differ by it."""


MISCALIBRATED = 0.1
"""An expected calibration error above this is told: nobody should rely on the percentages."""


@dataclass(frozen=True)
class ModelAccuracy:
    """The accuracy of a version against one label source, and the figures beside it. These are None where
    there is not enough data."""

    label_source: str
    accuracy: StoredFigure
    ceiling: StoredFigure
    rule: str
    by_rule: StoredFigure | None
    over_rule: StoredFigure | None
    learnt: int
    known: str
    ece: StoredFigure | None = None
    sample: Sample | None = None

    @classmethod
    def of(cls, label_source: str, row: ModelRow, report: Report) -> ModelAccuracy:
        every = row["slices"][0]
        sample = report["sample"].get("people" if label_source == "all" else label_source)
        return cls(
            label_source, *_figures(row["rule"], every), row["learnt"], row["known"], row["ece"], sample
        )

    @property
    def label(self) -> str:
        return SOURCE_NAMES[self.label_source]

    @property
    def rests_on(self) -> str:
        return RESTS_ON[self.label_source]

    @property
    def beats_rule(self) -> bool | None:
        """See accuracy.beats_rule."""
        return accuracy.beats_rule(self.over_rule["low"], self.over_rule["high"]) if self.over_rule else None

    @property
    def warning(self) -> str:
        """A sentence where the accuracy is above the human ceiling, else ""."""
        return above_ceiling(self.accuracy["value"], self.ceiling["value"], self.ceiling["n"])

    @property
    def miscalibrated(self) -> str:
        """How far the percentages of the version are off, in a phrase; "" where that is little or unknown."""
        if not self.ece or self.ece["value"] is None or self.ece["value"] <= MISCALIBRATED:
            return ""
        return f"percentages off by {100 * self.ece['value']:.0f} points"

    @property
    def left_out(self) -> str:
        """The pairs and votes that the accuracy leaves out, in a sentence; "" for none."""
        sample = self.sample
        if sample is None:
            return accuracy.left_out_in_words(self.learnt, {})
        set_aside = {"led": sample["led"], "picked": sample["picked"], "asked_after": sample["asked_after"]}
        return accuracy.left_out_in_words(self.learnt, set_aside)

    @property
    def unknown(self) -> str:
        """A sentence where the training data of the version is not known, else ""."""
        return learnt.warning(self.known)


def _figures(
    rule: str, every: SliceRow
) -> tuple[StoredFigure, StoredFigure, str, StoredFigure | None, StoredFigure | None]:
    return every["accuracy"], every["ceiling"], rule, every.get("by_rule"), every.get("over_rule")


def accuracies(report: Report, version: ModelVersion | None) -> list[ModelAccuracy]:
    """The accuracy of the version against people, imported labels and both together. A label source without a
    pair that the version has scored is left out."""
    rows = [
        ModelAccuracy.of(label_source, row, report)
        for label_source in SOURCE_NAMES
        for row in report["against"].get(label_source, [])
        if version is not None and row["pk"] == version.pk
    ]
    return [row for row in rows if row.accuracy["n"] or row.learnt]


def overall(report: Report, version: ModelVersion) -> ModelAccuracy | None:
    """The version against all label sources together; None where the report has no accuracy of it."""
    of_most = next(reversed(accuracies(report, version)), None)
    return of_most if of_most and has_value(of_most.accuracy) else None


# --- a few cells of the report ------------------------------------------------------------------------------

_PATHS = {name: f"report__against__{name}__0" for name in ("people", "imported")}
"""Votes say more of a model than imported labels, where there are enough."""


def in_report(version: ModelVersion | None, dataset: str = "pk") -> Subquery:
    """Cells of the stored report of a Dataset, as JSON for `from_cells`, for a query that reads the
    Dataset."""
    stored = Statistics.objects.filter(dataset=OuterRef(dataset), version=version, report__format=FORMAT)
    cells = {
        f"{name}_{key}": KT(f"{path}__{key}" if key != "row" else f"{path}__slices__0")
        for name, path in _PATHS.items()
        for key in ("rule", "row")
    }
    return Subquery(stored.values(cells=JSONObject(**cells)))


def from_cells(cells: Mapping[str, object] | None) -> ModelAccuracy | None:
    """The accuracy of the serving version; None where the stored report is of another version, or lacks
    data."""
    for label_source in _PATHS:
        row = (cells or {}).get(f"{label_source}_row")
        every = cast("SliceRow | None", json.loads(row) if isinstance(row, str) else row)
        if every and has_value(every["accuracy"]):
            rule = str((cells or {}).get(f"{label_source}_rule") or "")
            return ModelAccuracy(label_source, *_figures(rule, every), learnt=0, known="yes")
    return None
