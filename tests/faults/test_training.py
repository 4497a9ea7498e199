"""A real training in real worker processes that are killed with SIGKILL half-way."""

import os
import random
import signal
import time
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from tests.factories import ComparisonFactory, DatasetFactory, JudgmentFactory, PromptFactory
from tests.processes import Processes, wait_until
from tests.scoring.models import save_bert, sentence
from workbench.models import ModelVersion, Release, Run
from workbench.pipeline import releases
from workbench.pipeline.model import training
from workbench.pipeline.runs import lifecycle
from workbench.worker import tasks

KILLS = int(os.environ.get("FAULT_KILLS", "1"))
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING")

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def base(tmp_path, transactional_db) -> ModelVersion:
    folder = save_bert(tmp_path / "tiny")
    call_command("model_add", str(folder), name="base", precision="fp32", max_length=32, activate=True)
    return ModelVersion.objects.get(name="base")


@pytest.fixture
def run(base) -> Run:
    dataset = DatasetFactory.create(name="Kitchen")
    for number in range(120):
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"{number}?"}])
        a, b = (f"{sentence(20, n)} {n}" for n in (number, -number - 1))
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt, a__text=a, b__text=b))
    release = releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))
    settings = {"steps": "4000", "batch": "4", "save_seconds": "0.1", "patience": "1000", "max_length": "32"}
    return training.begin(release, base, "recommended", settings=settings)


def trainer(processes: Processes):
    return processes.start("worker", "--pool", "solo", "--queues", "train", *QUIET)


def lost(run: Run) -> None:
    """As if two minutes had gone by since the last sign of life."""
    Run.objects.filter(pk=run.pk, state="running").update(heartbeat_at=timezone.now() - timedelta(minutes=3))
    lifecycle.due()
    tasks.enqueue_run(run)


@pytest.mark.long
@pytest.mark.parametrize("broker_url", ["filesystem"], indirect=True)
def test_a_killed_training_goes_on_in_another_worker_and_the_old_model_serves_all_the_time(
    processes, run, base, monkeypatch, record_property
):
    monkeypatch.setattr(processes, "app", "workbench")
    drawn = random.Random(1)
    reached = []
    tasks.enqueue_run(run)
    for kill in range(KILLS):
        worker = trainer(processes)
        step = drawn.randrange(3, 9) + (reached[-1] if reached else 0)
        wait_until(lambda at=step: Run.objects.filter(pk=run.pk, done__gt=at).exists(), 240)
        time.sleep(drawn.uniform(0, 0.4))
        processes.kill(worker)
        run.refresh_from_db()
        reached.append(run.done)
        assert ModelVersion.objects.active() == base, kill
        assert ModelVersion.objects.transformers().count() == 1
        lost(run)

    worker = trainer(processes)
    wait_until(lambda: Run.objects.filter(pk=run.pk, state="running").exists(), 240)
    wait_until(lambda: Run.objects.filter(pk=run.pk, done__gt=reached[-1]).exists(), 240)
    os.killpg(worker.pid, signal.SIGTERM)
    worker.wait(timeout=60)
    run.refresh_from_db()
    assert run.state == "waiting"
    assert ModelVersion.objects.active() == base
    steps = [step for step, _ in run.result["loss"]]
    assert steps == sorted(steps)
    record_property("measured", f"{KILLS} kills at steps {reached}, handed back at step {run.done}")
