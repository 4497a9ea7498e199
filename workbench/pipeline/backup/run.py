"""Backups as Runs of no Dataset, so that pages know how old the latest is."""

from datetime import datetime, timedelta
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from workbench.models import Run
from workbench.models.runs import RunResult
from workbench.pipeline.backup.taking import forget_old, take
from workbench.pipeline.backup.target import Backup, Target
from workbench.pipeline.history import recording as history
from workbench.pipeline.runs.lifecycle import heartbeats


def begin_if_due(every: timedelta) -> Run | None:
    """A new Run, to be enqueued, where the latest backup was begun `every` ago or earlier and none is under
    way. After a failure it is tried again as late."""
    with transaction.atomic():
        last = Run.objects.of_kind(Run.Kind.BACKUP).select_for_update().order_by("-pk").first()
        if last is not None and (last.is_open or timezone.now() - last.created_at < every):
            return None
        return Run.objects.create(kind=Run.Kind.BACKUP)


def carry_out(run: Run, target: Target, scratch: Path, keep: int) -> None:
    """Take a backup, delete all but the `keep` latest, and finish the Run. Raises Refused and Cancelled."""
    with heartbeats(run) as advance:

        def progress(done: int, total: int) -> bool:
            advance()
            return run.update_progress(done, total)

        backup = take(target, scratch, progress)
        run.finish(**_result(backup))
        forget_old(target, keep)


def record(backup: Backup, started_at: datetime) -> Run:
    """Note a backup that a command has taken, so that pages know of it."""
    files = len(backup.files)
    with transaction.atomic():
        run = Run.objects.create(
            kind=Run.Kind.BACKUP, state=Run.State.DONE, result=_result(backup), done=files, total=files,
            started_at=started_at, finished_at=timezone.now(),
        )  # fmt: skip
        history.record(history.Kind.BACKED_UP, by=None, target=run)
    return run


def latest() -> Run | None:
    """The Run of the latest backup that there is."""
    return Run.objects.of_kind(Run.Kind.BACKUP).filter(state=Run.State.DONE).order_by("-pk").first()


def made_at(run: Run) -> datetime:
    """The moment that the Run's backup is of."""
    return datetime.fromisoformat(run.result["made_at"])


def _result(backup: Backup) -> RunResult:
    return {"backup": backup.name, "made_at": backup.made_at, "bytes": backup.bytes}
