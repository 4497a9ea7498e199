"""Messages to workers. The database is the queue of record: while the broker is away, Runs are stored
without a message, and the reconciler sends the messages when the broker is back."""

import logging
import time
from functools import partial

from celery import Task
from django.conf import settings
from django.db import transaction

from workbench import request_ids
from workbench.worker.celery import BROKER_SECONDS, app

LOOK_AGAIN_SECONDS = 10.0
"""For this long a broker counts as away after it did not answer: a page that rings for forty Datasets waits
for it once."""

log = logging.getLogger(__name__)


class _LastLook:
    """What this process last knew of the broker, and when (of time.monotonic; None = never looked)."""

    at: float | None = None
    answered = True

    @classmethod
    def is_recent(cls) -> bool:
        return cls.at is not None and time.monotonic() - cls.at < LOOK_AGAIN_SECONDS

    @classmethod
    def note(cls, answered: bool, why: Exception | None = None) -> None:
        if cls.answered and not answered:
            log.warning("The broker does not answer; what is stored waits until it does: %s", why)
        elif answered and not cls.answered:
            log.warning("The broker answers again")
        cls.at, cls.answered = time.monotonic(), answered


def enqueue(task: Task, *args: object, **options: object) -> None:
    """Send the task to a worker once the transaction is committed. Never raises, never takes long."""
    transaction.on_commit(partial(send, task, *args, **options))


def send(task: Task, *args: object, **options: object) -> bool:
    """Send the task now; False when the broker does not take it. Never raises, never takes long."""
    if not _LastLook.answered and _LastLook.is_recent():
        return False
    try:
        task.apply_async(args, headers=request_ids.headers(), **options)
    except Exception as error:  # noqa: BLE001  transports raise what their libraries raise
        _LastLook.note(False, error)
        return False
    _LastLook.note(True)
    return True


def broker_answers() -> bool:
    """Whether the broker answers, from a look at most ten seconds old."""
    return _LastLook.answered if _LastLook.is_recent() else reach_broker()


def reach_broker() -> bool:
    """Whether the broker answers now, within a second or two."""
    if settings.CELERY_BROKER_URL == "filesystem://":
        return True
    try:
        with app.connection_for_write(connect_timeout=BROKER_SECONDS) as broker:
            broker.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_SECONDS)
    except Exception as error:  # noqa: BLE001  transports raise what their libraries raise
        _LastLook.note(False, error)
        return False
    _LastLook.note(True)
    return True
