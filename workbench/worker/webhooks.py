"""Sending webhooks from a worker, in threads beside its tasks: a receiver that hangs holds a thread for ten
seconds and no task, and a long import holds up no webhook."""

import logging
import threading
import time

from celery.signals import worker_ready, worker_shutdown
from django.db import close_old_connections, connection
from django.utils import timezone

from workbench.pipeline.webhooks import posting, sending
from workbench.worker.heartbeat import is_stopping

QUEUE = "work"
"""The workers of this queue send webhooks."""
LOOK_SECONDS = 1.0
MOST_THREADS = 16
MOST_FAILING = 8
"""Threads for receivers whose last request failed; the others are for those that work."""

log = logging.getLogger(__name__)


class Sender(threading.Thread):
    """Looks every second for what is to be sent, and gives each webhook that is due a thread for one turn."""

    def __init__(self) -> None:
        super().__init__(daemon=True, name="webhooks")
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._serving: dict[int, bool] = {}
        """Webhooks that a thread serves now, and whether their last request had failed."""

    def run(self) -> None:
        while not self.stopped.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception:
                # The database is away, or full: the rows wait, and the next look finds them.
                log.warning("Webhooks could not be sent", exc_info=True)
            finally:
                close_old_connections()

    def look(self) -> None:
        """Fan out what is new, and begin turns."""
        for dataset in sending.datasets_with_news():
            while sending.fan_out(dataset) == sending.FANNED_OUT:
                pass
        for pk, is_failing in sending.due(timezone.now()):
            if self._begin(pk, is_failing):
                name = f"webhook {pk}"
                threading.Thread(target=self._turn, args=[pk], name=name, daemon=True).start()

    def _begin(self, pk: int, is_failing: bool) -> bool:
        with self._lock:
            failing = sum(self._serving.values())
            is_full = len(self._serving) >= MOST_THREADS or (is_failing and failing >= MOST_FAILING)
            if pk in self._serving or is_full:
                return False
            self._serving[pk] = is_failing
            return True

    def _turn(self, pk: int) -> None:
        try:
            with posting.opened() as post:
                sending.turn(pk, post, self._is_ending)
        except Exception:
            log.warning("The turn of webhook %s broke off", pk, exc_info=True)
        finally:
            connection.close()
            with self._lock:
                del self._serving[pk]

    def _is_ending(self) -> bool:
        return self.stopped.is_set() or is_stopping()

    def end(self) -> None:
        """Let the requests under way end, so that none is sent twice for a restart."""
        self.stopped.set()
        until = time.monotonic() + posting.SECONDS
        while self._serving and time.monotonic() < until:
            time.sleep(0.05)


_senders: list[Sender] = []


@worker_ready.connect
def start_sender(sender: object, **_: object) -> None:
    if QUEUE in sender.app.amqp.queues.consume_from:  # type: ignore[attr-defined]
        started = Sender()
        started.start()
        _senders.append(started)


@worker_shutdown.connect
def stop_sender(**_: object) -> None:
    for started in _senders:
        started.end()
