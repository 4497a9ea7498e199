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

__all__ = [
    "ModelAccuracy", "Report", "accuracies", "begin", "begin_if_stale", "carry_out", "compute", "from_cells",
    "in_report", "overall", "stored", "stored_of",
]  # fmt: skip


def stored(dataset: Dataset) -> Statistics | None:
    """What a Run has last computed of the dataset; None before that, and where it is of another format."""
    found = Statistics.objects.filter(dataset=dataset).select_related("dataset", "version").first()
    return found if found and found.report.get("format") == FORMAT else None


def stored_of(datasets: Sequence[Dataset]) -> dict[int, Statistics]:
    """What `stored` gives for each of them, by primary key; one query."""
    rows = Statistics.objects.filter(dataset__in=datasets, report__format=FORMAT)
    return {row.dataset_id: row for row in rows}


def carry_out(run: Run) -> Statistics | None:
    """Compute what a started Run was ordered for, store it in the place of what was there, and finish the
    Run. Raises Cancelled, and keeps what was there, when somebody cancels it meanwhile; None when that
    happened after the last look."""
    dataset = run.dataset
    if dataset is None:
        raise ValueError(f"{run} has no dataset.")
    report = compute(dataset, run.update_progress)
    told = report["data"]
    drawn = charts.store(dataset, report)
    with transaction.atomic():
        if not run.finish(opinions=told["opinions"], seconds=told["seconds"]):
            if is_called_off(run):
                charts.discard(dataset, drawn)
            return None
        stored, _ = Statistics.objects.update_or_create(
            dataset=dataset,
            defaults={
                "run": run,
                "version": ModelVersion.objects.filter(name=told["version"] or "").first(),
                "judgments": told["judgments"],
                "last_judgment": told["last_judgment"],
                "taken_at": told["taken_at"],
                "report": {**report, "charts": drawn},
            },
        )
    charts.tidy(stored)
    return stored
