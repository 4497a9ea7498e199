"""Celery carries the work and keeps no state of ours: the database is the queue of record, and a message
only says "look at this row" (see models/runs.py). So results are off and a lost message is harmless."""

import os
import warnings
from typing import Any

from celery import Celery
from celery.platforms import SecurityWarning  # type: ignore[attr-defined]
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workbench.settings")

# The warning is about workers run by root. Messages are JSON with the key of a row, so they run no code.
warnings.filterwarnings("ignore", category=SecurityWarning)

TRANSPORT_ALIASES["filesystem"] = "workbench.worker.broker:Transport"

BROKER_SECONDS = 1.0
"""A sender's limit for the broker to connect, and to answer, at each of two tries."""


class Workbench(Celery):
    """A Celery app with short limits for sending: a request would hang for ever on a broker that accepts a
    connection and never answers. Workers listen through `connection_for_read`, without a limit."""

    def connection_for_write(self, url: str | None = None, **kwargs: Any) -> Any:
        limits = {"socket_connect_timeout": BROKER_SECONDS, "socket_timeout": BROKER_SECONDS}
        options = limits | (kwargs.pop("transport_options", None) or {})
        write = super().connection_for_write
        return write(url, transport_options=options, **kwargs)


app: Celery = Workbench("workbench")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["workbench.worker"])
app.autodiscover_tasks(["workbench.worker"], related_name="webhooks")  # no task: it begins with the worker
