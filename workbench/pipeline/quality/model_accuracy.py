"""The accuracy of a model as every page shows it, from the stored report: on pairs that the model has not
learnt.

`accuracies` reads a report. `in_report` reads a few cells of it in the database, for pages that list Datasets
or only have to know whether to point at the model's disagreements."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class ModelAccuracy:
    """What a report says of a version against one label source. Figures beside the accuracy are None where
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
    def beats_rule(self) -> bool | None:
        """See accuracy.beats_rule."""
        return accuracy.beats_rule(self.over_rule["low"], self.over_rule["high"]) if self.over_rule else None

    @property
    def warning(self) -> str:
        """A sentence where the accuracy is above the human ceiling, else ""."""
        return above_ceiling(self.accuracy["value"], self.ceiling["value"], self.ceiling["n"])

    @property
    def left_out(self) -> str:
        """Which pairs and votes the accuracy is not of, in a sentence; "" where nothing is left out."""
        if self.sample is None:
            return accuracy.left_out_in_words(self.learnt, {})
        aside = {
            "led": self.sample["led"],
            "picked": self.sample["picked"],
            "asked_after": self.sample["asked_after"],
        }
        return accuracy.left_out_in_words(self.learnt, aside)

    @property
    def unknown(self) -> str:
        """A sentence where it is not known what the version has learnt, else ""."""
        return learnt.warning(self.known)


def _figures(
    rule: str, every: SliceRow
) -> tuple[StoredFigure, StoredFigure, str, StoredFigure | None, StoredFigure | None]:
    return every["accuracy"], every["ceiling"], rule, every.get("by_rule"), every.get("over_rule")


def accuracies(report: Report, version: ModelVersion | None) -> list[ModelAccuracy]:
    """Of the version against people, imported labels and both together, as far as each has pairs that the
    version has scored."""
    rows = [
        ModelAccuracy.of(label_source, row, report)
        for label_source in SOURCE_NAMES
        for row in report["against"].get(label_source, [])
        if version is not None and row["pk"] == version.pk
    ]
    return [row for row in rows if row.accuracy["n"] or row.learnt]


def overall(report: Report, version: ModelVersion) -> ModelAccuracy | None:
    """The version against all label sources together; None where the report has no accuracy of it."""
    together = next(reversed(accuracies(report, version)), None)
    return together if together and has_value(together.accuracy) else None


# --- a few cells of the report ------------------------------------------------------------------------------

_PATHS = {name: f"report__against__{name}__0" for name in ("people", "imported")}
"""Votes say more of a model than imported labels, where there are enough."""


def in_report(version: ModelVersion | None, dataset: str = "pk") -> Subquery:
    """Cells of the report of the Dataset that the outer query is of, as JSON, for `from_cells`: a page that
    reads the Dataset anyway gets them along."""
    stored = Statistics.objects.filter(dataset=OuterRef(dataset), version=version, report__format=FORMAT)
    cells = {
        f"{name}_{key}": KT(f"{path}__{key}" if key != "row" else f"{path}__slices__0")
        for name, path in _PATHS.items()
        for key in ("rule", "row")
    }
    return Subquery(stored.values(told=JSONObject(**cells)))


def from_cells(cells: Mapping[str, Any] | None) -> ModelAccuracy | None:
    """The accuracy of the version that serves; None where no report of the version is stored, or none with
    enough data."""
    for label_source in _PATHS:
        row = (cells or {}).get(f"{label_source}_row")
        every = json.loads(row) if isinstance(row, str) else row
        if every and has_value(every["accuracy"]):
            rule = (cells or {}).get(f"{label_source}_rule") or ""
            return ModelAccuracy(label_source, *_figures(rule, every), learnt=0, known="yes")
    return None
