"""Runs whose worker died, or whose message was lost, are put back or ended; nothing waits for ever."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from django.db import close_old_connections, connection, transaction
from django.db.models import Q
from django.utils import timezone

from workbench.db.away import DISK_IS_FULL, is_disk_full
from workbench.models import Dataset, Run, ScoreBatch, User
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.runs.progress import Cancelled, Refused

MAX_ATTEMPTS = 3
LOST_AFTER = timedelta(seconds=120)
ENQUEUE_AGAIN = timedelta(seconds=60)
HEARTBEAT_SECONDS = 10.0
PATIENCE_SECONDS = 30 * 60.0
"""A worker that has got no further for this long counts as hung, although its process is alive."""

FAILED = {
    Run.Kind.IMPORT: "The import stopped at an error ({error}) and nothing was stored.",
    Run.Kind.SCORE: "The model stopped at an error ({error}).",
    Run.Kind.RELEASE: "The build stopped at an error ({error}) and no file was kept. Try again.",
    Run.Kind.TRAIN: "The training stopped at an error ({error}). Try again: it continues where it stopped.",
    Run.Kind.EVALUATE: "The evaluation stopped at an error ({error}) and nothing was stored. Try again.",
    Run.Kind.STATISTICS: "The computation stopped at an error ({error}). The earlier figures stand.",
    Run.Kind.LEAKAGE: "The report stopped at an error: {error}.",
    Run.Kind.DECIDE: "The final labels could not be updated ({error}). The earlier ones stand.",
    Run.Kind.VECTORS: "The vectors stopped at an error ({error}). Those computed so far stay.",
    Run.Kind.TOPICS: "The topics could not be computed ({error}). The earlier ones stand.",
    Run.Kind.FETCH: "The fetch stopped at an error ({error}) and nothing was stored.",
    Run.Kind.PUSH: "The push stopped at an error ({error}). Try again: nothing is sent twice.",
    Run.Kind.REGISTER: "The model was not registered ({error}). Try again: a sent file is kept for a day.",
    Run.Kind.BACKUP: "The backup stopped at an error ({error}). The earlier ones stand.",
    Run.Kind.DELETE: "The deletion stopped at an error ({error}). Try again to continue.",
}
"""A sentence after an unexpected error, for each kind of Run. It names the type of the error and leaves out
its message, which may hold text of a file, paths or SQL; the log has the line that raised it."""

IN_STEPS = {Run.Kind.DELETE, Run.Kind.VECTORS}
"""Kinds that keep what they did so far, and go on from there."""
DISK_IS_FULL_IN_STEPS = "The disk is full. Make room and try again to continue."

Result = TypeVar("Result")

log = logging.getLogger(__name__)


def carry_out(
    run: Run, act: Callable[[Run], Result], is_stopping: Callable[[], bool] = lambda: False
) -> Result | None:
    """The result of `act`, which finishes the started Run; None when it raises Cancelled or Refused.

    A refusal fails the Run with its sentence. An unexpected error fails the Run as well, and is raised. A Run
    that is cancelled because its worker ends (`is_stopping`) is handed back."""
    try:
        return act(run)
    except Cancelled:
        if is_stopping():
            run.hand_back()
    except Refused as refused:
        run.fail(str(refused), **run.result)
    except Exception as error:
        if is_disk_full(error):
            run.fail(DISK_IS_FULL_IN_STEPS if run.kind in IN_STEPS else DISK_IS_FULL, **run.result)
            raise
        run.fail(FAILED[Run.Kind(run.kind)].format(error=type(error).__name__), **run.result)
        raise
    return None


def due() -> list[Run]:
    """Waiting Runs to enqueue now, noted as enqueued. First, Runs of a worker without heartbeat are put back
    to waiting, or failed after three attempts. Score Runs are left out: their batches are enqueued."""
    now = timezone.now()
    ours = Run.objects.exclude(kind=Run.Kind.SCORE)
    lost = ours.filter(state=Run.State.RUNNING, heartbeat_at__lt=now - LOST_AFTER)
    out_of_attempts = lost.filter(attempts__gte=MAX_ATTEMPTS)
    reason = f"The worker stopped responding {MAX_ATTEMPTS} times."
    for run in out_of_attempts:
        then = "Try again to continue." if run.kind in IN_STEPS else "No partial result was stored."
        run.fail(f"{reason} {then}", **run.result)
    lost.filter(attempts__lt=MAX_ATTEMPTS).update(state=Run.State.WAITING, enqueued_at=None)
    with transaction.atomic():
        stale = ours.filter(state=Run.State.WAITING).filter(
            Q(enqueued_at__isnull=True) | Q(enqueued_at__lt=now - ENQUEUE_AGAIN)
        )
        waiting = list(stale.select_for_update(skip_locked=True).order_by("pk"))
        Run.objects.filter(pk__in=[run.pk for run in waiting]).update(enqueued_at=now)
    return waiting


def cancel(run: Run, by: User | None = None) -> bool:
    """Cancel the Run and its unfinished batches; False for a Run that had ended. A worker on a batch notices
    at its next slice. by: who cancels it; None where that follows from another act."""
    with transaction.atomic():
        if not run.cancel():
            return False
        run.batches.unfinished().update(state=ScoreBatch.State.CANCELLED, finished_at=timezone.now())
        if by:
            kind = Run.Kind(run.kind)
            record(Kind.RUN_CANCELLED, by=by, dataset=run.dataset_id, target=run, word=kind)
    return True


def retry(run: Run, by: User | None = None) -> bool:
    """Put a failed or cancelled Run back to waiting; False for any other Run."""
    with transaction.atomic():
        if not run.retry():
            return False
        record(Kind.RUN_RETRIED, by=by, dataset=run.dataset_id, target=run, word=Run.Kind(run.kind))
    return True


def cancel_all(dataset: Dataset) -> None:
    """Cancel the open Runs of the dataset."""
    for run in Run.objects.of(dataset).open():
        cancel(run)


def is_called_off(run: Run) -> bool:
    """Whether the Run was cancelled or deleted, so that the rows that this worker stored for it belong to
    nobody. False for a Run that another worker has."""
    return not Run.objects.filter(pk=run.pk).exclude(state=Run.State.CANCELLED).exists()


def not_enqueued(keys: Sequence[int]) -> None:
    """Make these Runs due again at once: no message could be sent for them."""
    if keys:
        Run.objects.filter(pk__in=keys).update(enqueued_at=None)


@contextmanager
def heartbeats(
    run: Run, *, every: float = HEARTBEAT_SECONDS, patience: float = PATIENCE_SECONDS
) -> Iterator[Callable[[], None]]:
    """Send heartbeats from a thread during long steps, so that no other worker takes the Run.

    Yields a function to call at each step. After `patience` seconds without a call the worker counts as hung,
    and the heartbeats stop."""
    advanced = [time.monotonic()]
    over = threading.Event()

    def beat() -> None:
        while not over.wait(every) and time.monotonic() - advanced[0] < patience:
            try:
                run.heartbeat()
            except Exception:
                log.warning("%s could not report that it is alive", run, exc_info=True)
            finally:
                close_old_connections()
        connection.close()

    thread = threading.Thread(target=beat, name=f"run-{run.pk}", daemon=True)
    thread.start()

    def advance() -> None:
        advanced[0] = time.monotonic()

    try:
        yield advance
    finally:
        over.set()
        thread.join(timeout=5)
