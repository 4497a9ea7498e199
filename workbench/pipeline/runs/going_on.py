"""A Run that ended too early goes on."""

from workbench.models import Run, User
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.scoring import batches


def go_on(run: Run, by: User) -> Run | None:
    """The Run that goes on: the same Run, or a new one for a score Run that was cancelled or failed as a
    whole. None when nothing is left to do."""
    if run.kind != Run.Kind.SCORE:
        return run if lifecycle.retry(run, by) else None
    if batches.retry_failed(run, by):
        return run
    if run.is_open or run.dataset is None or run.version is None:
        return None
    return batches.plan(run.dataset, run.version, by)
