"""This worker process: its name, its row in the table of workers, and whether it was told to end."""

import logging
import os
import socket
import threading

from celery.signals import worker_ready, worker_shutdown
from celery.worker import state as worker_state
from django.db import close_old_connections
from django.utils import timezone

from workbench import __version__
from workbench.models import Worker

log = logging.getLogger(__name__)

WORKER = f"{socket.gethostname()}:{os.getpid()}"


def is_stopping() -> bool:
    """Whether this worker should end, and hand its work back for another worker."""
    return worker_state.should_stop is not None or worker_state.should_terminate is not None


class Heartbeat(threading.Thread):
    """Writes "I am alive" to this worker's row while the main thread works."""

    SECONDS = 5.0
    device = ""
    """Device and precision of the loaded model; "" before a model is loaded."""
    texts_scored = 0
    """Texts that this process has given to models."""

    def __init__(self, queues: str) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self.queues = queues
        self.stopped = threading.Event()
        self.started_at = timezone.now()

    def run(self) -> None:
        while not self.stopped.wait(self.SECONDS):
            self.beat()

    def beat(self) -> None:
        now = timezone.now()
        seen = {
            "queues": self.queues,
            "device": self.device,
            "version": __version__,
            "texts_scored": self.texts_scored,
            "started_at": self.started_at,
            "last_seen": now,
        }
        try:
            Worker.objects.update_or_create(name=WORKER, defaults=seen)
        except Exception:
            # The database is away; the page says since when, and the next beat tries again.
            log.warning("This worker could not report that it is alive", exc_info=True)
        finally:
            close_old_connections()


_heartbeats: list[Heartbeat] = []


@worker_ready.connect
def start_heartbeat(sender: object, **_: object) -> None:
    queues = ", ".join(sorted(q.name for q in sender.app.amqp.queues.consume_from.values()))  # type: ignore[attr-defined]
    heartbeat = Heartbeat(queues)
    heartbeat.beat()
    heartbeat.start()
    _heartbeats.append(heartbeat)


@worker_shutdown.connect
def stop_heartbeat(**_: object) -> None:
    for heartbeat in _heartbeats:
        heartbeat.stopped.set()
    Worker.objects.filter(name=WORKER).update(stopped_at=timezone.now())
