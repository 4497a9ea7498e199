"""An archived Dataset can be read and exported, and takes no votes, imports or Runs until it is brought back.
access.py refuses to write to it."""

from django.utils import timezone

from workbench.models import Dataset, Run
from workbench.pipeline.runs import lifecycle


def archive(dataset: Dataset) -> None:
    """Archive the dataset and cancel its open Runs. An archived dataset stays as it is."""
    Dataset.objects.in_use().filter(pk=dataset.pk).update(archived_at=timezone.now())
    lifecycle.cancel_all(dataset)


def bring_back(dataset: Dataset) -> None:
    """Put the dataset back in use, and score and sort it again: the active model may have changed."""
    Dataset.objects.archived().filter(pk=dataset.pk).update(
        archived_at=None, needs_scoring=True, queue_stale_since=timezone.now()
    )


def open_runs(dataset: Dataset) -> int:
    """How many Runs an archiving would cancel."""
    return Run.objects.of(dataset).open().count()
