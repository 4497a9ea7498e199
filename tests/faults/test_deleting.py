"""A worker that is killed while it deletes a Dataset: another worker continues, and no row is left."""

import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from tests.factories import ComparisonFactory
from tests.processes import ROOT, Processes
from workbench.models import Comparison, Completion, Dataset, Prompt, Run
from workbench.pipeline.datasets import deleting
from workbench.pipeline.runs import lifecycle
from workbench.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)

PAIRS = 60
WORK = (
    "import django; django.setup(); from workbench.worker import tasks; "
    "from workbench.pipeline.datasets import deleting; "
    "deleting.COMPARISONS = deleting.PROMPTS = 1; tasks.carry_out({})"
)


def test_a_worker_killed_half_way_leaves_the_rest_to_the_next(dataset, alice, tmp_path: Path):
    for _ in range(PAIRS):
        ComparisonFactory.create(prompt__dataset=dataset)
    run = deleting.begin(dataset, alice)
    log = tmp_path / "log"

    with log.open("wb") as out:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORK.format(run.pk)],
            cwd=ROOT,
            env=Processes("filesystem://", log).environment(),
            stdout=out,
            stderr=out,
        )
    while worker.poll() is None and Comparison.objects.count() > PAIRS - 5:
        time.sleep(0.001)
    worker.kill()
    assert worker.wait() == -signal.SIGKILL, log.read_text()
    assert 0 < Prompt.objects.count() <= PAIRS
    run.refresh_from_db()
    assert run.state == "running"
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))

    (lost,) = lifecycle.due()
    tasks.carry_out(lost.pk)

    run.refresh_from_db()
    assert (run.state, run.attempts, run.done) == ("done", 2, 2 * PAIRS)
    for model in (Dataset, Prompt, Completion, Comparison):
        assert not model.objects.exists()
