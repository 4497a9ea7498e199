"""Celery carries the work and keeps no state of ours: the database is the queue of record, and a message
only says "look at this row" (see models/runs.py). So results are off and a lost message is harmless."""

import os

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workbench.settings")

TRANSPORT_ALIASES["filesystem"] = "workbench.broker:Transport"

app = Celery("workbench")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["workbench"])
