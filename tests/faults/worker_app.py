"""The product's Celery app with a model that needs no weights: what a test's worker process runs.

A text's score is its length. FAKE_SECONDS makes each call slow, so that there is work left to be killed.
WITHOUT=reconcile takes a guard away: nothing is sent again."""

import logging
import os
import time
from collections.abc import Sequence

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workbench.settings")
django.setup()

from scoring.formats import BadText, Pair, Scored  # noqa: E402
from workbench.worker import scorers, tasks  # noqa: E402
from workbench.worker.celery import app  # noqa: E402

__all__ = ["app"]


def fake_scorer(pairs: Sequence[Pair]) -> list[Scored]:
    time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
    for index, (_, completion) in enumerate(pairs):
        if "exits" in completion:
            os._exit(1)
        if "hangs" in completion:
            time.sleep(3600)
        if "nan" in completion:
            raise BadText(index, "the model's output is nan")
    return [Scored(float(len(text)), 1, 1, 0, 0, "fp32") for _, text in pairs if "short" not in text]


scorers.load_scorer = lambda version: fake_scorer


def nothing() -> None:
    logging.getLogger(__name__).warning("reconcile is taken away")


if os.environ.get("WITHOUT") == "reconcile":
    tasks.reconcile.run = nothing
