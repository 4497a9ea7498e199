"""What Judgments say about people and models: figures with intervals, computed by a Run and stored.

`columns` reads a Dataset into arrays; `voting` (agreement), `skill` (Dawid-Skene), `against` (a model against
people), `audit` (length, markdown, side), `work` (seconds and pace) and `planning` compute on arrays and know
no database; `report` puts all together, `updating` says when a new one is due, `panels` says it in words and
tables, and `charts` draws it.
docs/explanation/quality.md says what each figure means."""

from collections.abc import Sequence

from django.db import transaction

from workbench.models import Dataset, ModelVersion, Run, Statistics
from workbench.pipeline.quality import charts
from workbench.pipeline.quality.model_accuracy import (
    ModelAccuracy,
    accuracies,
    from_cells,
    in_report,
    overall,
)
from workbench.pipeline.quality.report import compute
from workbench.pipeline.quality.reports import FORMAT, Report
from workbench.pipeline.quality.updating import begin, begin_if_stale
from workbench.pipeline.runs.lifecycle import is_called_off
from workbench.pipeline.runs.progress import Refused

__all__ = [
    "ModelAccuracy", "Report", "accuracies", "begin", "begin_if_stale", "carry_out", "compute", "from_cells",
    "in_report", "overall", "stored", "stored_of",
]  # fmt: skip


def stored(dataset: Dataset) -> Statistics | None:
    """The last report of the dataset; None before the first, and where its format is another."""
    rows = Statistics.objects.filter(dataset=dataset, report__format=FORMAT)
    return rows.select_related("dataset", "version").first()


def stored_of(datasets: Sequence[Dataset]) -> dict[int, Statistics]:
    """`stored` of each dataset, by primary key; one query."""
    rows = Statistics.objects.filter(dataset__in=datasets, report__format=FORMAT)
    return {row.dataset_id: row for row in rows}


def carry_out(run: Run) -> Statistics | None:
    """Compute the figures of a started Run's dataset, store them in place of the last report, and finish the
    Run. When somebody cancels the Run, the last report stays: raises Cancelled, or gives None after the last
    look at the Run."""
    dataset = run.dataset
    if dataset is None:
        raise Refused("The dataset is gone.")
    report = compute(dataset, run.update_progress)
    data = report["data"]
    drawn = charts.store(dataset, report)
    with transaction.atomic():
        if not run.finish(opinions=data["opinions"], seconds=data["seconds"]):
            if is_called_off(run):
                charts.discard(dataset, drawn)
            return None
        stored, _ = Statistics.objects.update_or_create(
            dataset=dataset,
            defaults={
                "run": run,
                "version": ModelVersion.objects.filter(name=data["version"] or "").first(),
                "judgments": data["judgments"],
                "last_judgment": data["last_judgment"],
                "taken_at": data["taken_at"],
                "report": {**report, "charts": drawn},
            },
        )
    charts.tidy(stored)
    return stored
