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

from workbench.models import Dataset, Run, ScoreBatch
from workbench.pipeline.runs.progress import Cancelled, Refused

MAX_ATTEMPTS = 3
LOST_AFTER = timedelta(seconds=120)
ENQUEUE_AGAIN = timedelta(seconds=60)
HEARTBEAT_SECONDS = 10.0
PATIENCE_SECONDS = 30 * 60.0
"""A worker that has got no further for this long counts as hung, although its process is alive."""

FAILED = {
    Run.Kind.IMPORT: "The import stopped at an error ({error}) and nothing was stored.",
    Run.Kind.LEAKAGE: "The report stopped at an error: {error}.",
    Run.Kind.DECIDE: "The final labels could not be updated ({error}). The earlier ones stand.",
    Run.Kind.DELETE: "The deletion stopped at an error ({error}). Try again to continue.",
}
"""What a Run of these kinds says after an unexpected error, of which it names only the type: the error's own
words may hold text of a file, paths or SQL. The log has them."""

Made = TypeVar("Made")

log = logging.getLogger(__name__)


def carry_out(
    run: Run, act: Callable[[Run], Made], is_stopping: Callable[[], bool] = lambda: False
) -> Made | None:
    """What `act` makes of a started Run, which it finishes; None when it raises Cancelled or Refused.

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
        name = type(error).__name__
        sentence = FAILED.get(Run.Kind(run.kind))
        run.fail(sentence.format(error=name) if sentence else f"{name}: {error}", **run.result)
        raise
    return None


def due() -> list[Run]:
    """Waiting Runs to enqueue now, noted as enqueued. Runs of a worker that stopped reporting are put back to
    waiting first, or failed after three attempts. Score Runs are not here: their batches carry them."""
    now = timezone.now()
    ours = Run.objects.exclude(kind=Run.Kind.SCORE)
    lost = ours.filter(state=Run.State.RUNNING, heartbeat_at__lt=now - LOST_AFTER)
    out_of_attempts = lost.filter(attempts__gte=MAX_ATTEMPTS)
    reason = f"The worker stopped responding {MAX_ATTEMPTS} times."
    failed = {"state": Run.State.FAILED, "finished_at": now}
    out_of_attempts.filter(kind=Run.Kind.DELETE).update(error=f"{reason} Try again to continue.", **failed)
    out_of_attempts.update(error=f"{reason} No partial result was stored.", **failed)
    lost.filter(attempts__lt=MAX_ATTEMPTS).update(state=Run.State.WAITING, enqueued_at=None)
    with transaction.atomic():
        stale = ours.filter(state=Run.State.WAITING).filter(
            Q(enqueued_at__isnull=True) | Q(enqueued_at__lt=now - ENQUEUE_AGAIN)
        )
        waiting = list(stale.select_for_update(skip_locked=True).order_by("pk"))
        Run.objects.filter(pk__in=[run.pk for run in waiting]).update(enqueued_at=now)
    return waiting


def cancel(run: Run) -> bool:
    """End the Run; False when it had ended. Batches that nobody works on are cancelled, a worker on one
    notices at its next slice."""
    with transaction.atomic():
        if not run.cancel():
            return False
        run.batches.unfinished().update(state=ScoreBatch.State.CANCELLED, finished_at=timezone.now())
    return True


def cancel_all(dataset: Dataset) -> None:
    """End every Run of the dataset that waits or goes on."""
    for run in Run.objects.of(dataset).open():
        cancel(run)


def is_called_off(run: Run) -> bool:
    """Whether the Run was cancelled, or is gone, so that what this worker has stored for it is nobody's. One
    that was given to another worker is not."""
    return not Run.objects.filter(pk=run.pk).exclude(state=Run.State.CANCELLED).exists()


def not_enqueued(keys: Sequence[int]) -> None:
    """Note that no message could be sent for these Runs, so that they are due at once."""
    if keys:
        Run.objects.filter(pk__in=keys).update(enqueued_at=None)


@contextmanager
def heartbeats(
    run: Run, *, every: float = HEARTBEAT_SECONDS, patience: float = PATIENCE_SECONDS
) -> Iterator[Callable[[], None]]:
    """Say from a thread that the worker is alive while one step takes long, so that nobody takes it over.

    Gives a function to call at each step: when it was not called for `patience` seconds the worker is taken
    to hang, and the thread says no more."""
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
