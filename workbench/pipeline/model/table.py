"""The versions beside each other: the accuracy of each on each Dataset, as the Model page shows it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.models import Dataset, Evaluation, ModelVersion, Statistics
from workbench.pipeline import quality
from workbench.pipeline.model import evaluation
from workbench.pipeline.quality.accuracy import beats_rule
from workbench.pipeline.quality.reports import has_value


@dataclass(frozen=True)
class Cell:
    """A version's accuracy on one Dataset, beside that of the length rule; None = unknown."""

    evaluation: Evaluation | None = None
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    decided: int = 0
    rule: str = ""
    by_rule: float | None = None
    beats_rule: bool | None = None
    ece: float | None = None
    warning: str = ""
    remarks: Sequence[str] = ()
    ceiling: tuple[float, float] | None = None
    rests_on: str = ""

    @classmethod
    def of(cls, evaluation: Evaluation | None, stored: quality.ModelAccuracy | None = None) -> "Cell":
        """By the stored report, which is renewed by itself, else by the evaluation."""
        return cls.of_report(stored, evaluation) if stored else cls.of_evaluation(evaluation)

    @classmethod
    def of_report(cls, stored: quality.ModelAccuracy, evaluation: Evaluation | None) -> "Cell":
        low, high = stored.accuracy["low"], stored.accuracy["high"]
        return cls(
            evaluation,
            stored.accuracy["value"],
            None if low is None or high is None else (low, high),
            stored.accuracy["n"],
            stored.rule,
            stored.by_rule["value"] if stored.by_rule else None,
            stored.beats_rule,
            stored.ece["value"] if stored.ece else None,
            stored.warning,
            [sentence for sentence in (stored.left_out, stored.unknown) if sentence],
            (stored.ceiling["low"], stored.ceiling["high"]) if has_value(stored.ceiling) else None,
            stored.rests_on,
        )

    @classmethod
    def of_evaluation(cls, measured: Evaluation | None) -> "Cell":
        if measured is None or measured.model_figures["accuracy"] is None:
            return cls(measured)
        figures, rule = measured.model_figures, measured.figures["rule"]
        return cls(
            measured,
            figures["accuracy"],
            figures["clustered"] or figures["wilson"],
            figures["decided"],
            rule["rule"],
            rule["rule_share"]["value"],
            beats_rule(rule["over_rule"]["low"], rule["over_rule"]["high"]),
            figures["calibrated_ece"],
            evaluation.warning(measured),
            evaluation.remarks(measured),
        )


@dataclass(frozen=True)
class VersionRow:
    """A row of the table: a version, with a Cell for each Dataset that versions are measured on."""

    version: ModelVersion
    cells: list[Cell]

    @property
    def rate(self) -> float | None:
        """Texts a second in the last evaluation."""
        rates = (cell.evaluation.figures.get("texts_per_second") for cell in self.cells if cell.evaluation)
        return next((rate for rate in rates if rate), None)


SORTS: dict[str, tuple[str, Callable[[VersionRow], Any]]] = {
    "newest": ("Newest", lambda row: -row.version.created_at.timestamp()),
    "name": ("By name", lambda row: row.version.name.casefold()),
    "accuracy": ("Most often right here", lambda row: -(row.cells[0].accuracy or 0)),
    "fastest": ("Fastest", lambda row: -(row.rate or 0)),
}
"""The orders of the rows: in words, with the key of a row. What has no such figure comes last."""


def rows(measured_on: list[Dataset], reports: Mapping[int, Statistics]) -> list[VersionRow]:
    """All versions in use, each measured on these Datasets. reports: stored ones, by primary key of their
    Dataset."""
    newest = evaluation.latest(measured_on)
    versions = (
        ModelVersion.objects.models()
        .exclude(state=ModelVersion.State.RETIRED)
        .select_related("base", "release__dataset")
    )

    def cell(version: ModelVersion, on: Dataset) -> Cell:
        stored = reports.get(on.pk)
        figures = quality.overall(stored.report, version) if stored else None
        return Cell.of(newest.get(version.pk, {}).get(on.pk), figures)

    return [VersionRow(version, [cell(version, on) for on in measured_on]) for version in versions]


def bases_of(version: ModelVersion) -> list[ModelVersion]:
    """The bases of the version, the nearest first. One query, however many there are."""
    versions = ModelVersion.objects.in_bulk()
    bases: list[ModelVersion] = []
    while version.base_id is not None and versions[version.base_id] not in bases:
        version = versions[version.base_id]
        bases.append(version)
    return bases
