"""An archived Dataset can be read and exported, and takes no votes, imports or Runs until it is brought back.
access.py refuses to write to it."""

from django.db import transaction
from django.utils import timezone

from workbench.models import Dataset, Run, User
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.runs import lifecycle


def archive(dataset: Dataset, by: User | None = None) -> None:
    """Archive the dataset and cancel its open Runs. An archived dataset stays as it is."""
    with transaction.atomic():
        if Dataset.objects.in_use().filter(pk=dataset.pk).update(archived_at=timezone.now()):
            record(Kind.DATASET_ARCHIVED, by=by, dataset=dataset, target=dataset)
    lifecycle.cancel_all(dataset)


@transaction.atomic
def bring_back(dataset: Dataset, by: User | None = None) -> None:
    """Put the dataset back in use, and score and sort it again: the active model may have changed."""
    is_back = (
        Dataset.objects.archived()
        .filter(pk=dataset.pk)
        .update(archived_at=None, needs_scoring=True, queue_stale_since=timezone.now())
    )
    if is_back:
        record(Kind.DATASET_BACK, by=by, dataset=dataset, target=dataset)


def open_runs(dataset: Dataset) -> int:
    """How many Runs an archiving would cancel."""
    return Run.objects.of(dataset).open().count()
