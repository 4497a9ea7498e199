"""While the broker is away, pages answer as always: Runs wait, and the reconciler enqueues them later."""

import logging
import socket
import time
from collections.abc import Callable

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.urls import reverse

from tests.factories import (
    ComparisonFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    RunFactory,
    ScoreFactory,
    UserFactory,
)
from workbench.models import Dataset, ModelVersion, Release, Run, ScoreBatch, Upload
from workbench.pipeline import releases
from workbench.pipeline.model.promotion import activate
from workbench.pipeline.scoring import batches
from workbench.worker import celery, enqueue, tasks
from workbench.worker.celery import app

pytestmark = pytest.mark.django_db

UNTOLD = "The message broker does not answer"
SECONDS = 3.0
"""Longer than a request waits for the broker here, two tries of 0.2 s, on a busy machine."""


class Switch:
    """Takes the broker away, and brings it back with the messages that it then is sent."""

    def __init__(self, monkeypatch, settings) -> None:
        self.monkeypatch, self.settings = monkeypatch, settings

    def away(self, port: int) -> None:
        url = f"redis://127.0.0.1:{port}/0"
        self.settings.CELERY_BROKER_URL = url
        self.monkeypatch.setattr(celery, "BROKER_SECONDS", 0.2)
        self.monkeypatch.setattr(app.conf, "broker_url", url)
        self.monkeypatch.setattr(app.conf, "broker_write_url", url)
        self.monkeypatch.setattr(app, "_pool", None)
        self.monkeypatch.setattr(app.amqp, "_producer_pool", None)

    def back(self) -> list[tuple[str, int]]:
        """(Name of the task, id) of each message from now on."""
        sent: list[tuple[str, int]] = []

        def note(task):
            self.monkeypatch.setattr(
                task, "apply_async", lambda args, *_, **__: sent.append((task.name, *args))
            )

        for task in (tasks.carry_out, tasks.score_batch, tasks.order_queue, tasks.score_missing):
            note(task)
        self.monkeypatch.setattr(enqueue._LastLook, "at", None)
        return sent


@pytest.fixture
def broker(monkeypatch, settings) -> Switch:
    monkeypatch.setattr(enqueue._LastLook, "at", None)
    monkeypatch.setattr(enqueue._LastLook, "answered", True)
    return Switch(monkeypatch, settings)


@pytest.fixture(params=["closed", "never answers"])
def dead(request, broker) -> Switch:
    """The broker's port is closed, or takes the connection and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        if request.param == "never answers":
            listener.listen(100)
        broker.away(port)
        yield broker


@pytest.fixture
def model() -> ModelVersion:
    version = ModelVersionFactory.create(name="old", temperature=1.0)
    activate(version)
    return version


@pytest.fixture
def release(dataset) -> Release:
    for number in range(30):
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"{number}?"}])
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt))
    return releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))


def pressed_import(client, dataset: Dataset, *_: object):
    rows = b'{"prompt": "Why?", "chosen": "So.", "rejected": "No."}\n'
    client.post(reverse("import", args=[dataset.pk]), {"file": SimpleUploadedFile("rows.jsonl", rows)})
    return client.post(reverse("import_preview", args=[Upload.objects.latest("created_at").pk]))


def pressed_release(client, dataset: Dataset, *_: object):
    order = {"profiles": ["preference"], "formats": ["jsonl"]}
    return client.post(reverse("releases", args=[dataset.pk]), order)


def pressed_evaluate(client, dataset: Dataset, model: ModelVersion, *_: object):
    return client.post(reverse("model_evaluate", args=[dataset.pk]), {"version": model.pk})


def pressed_train(client, dataset: Dataset, model: ModelVersion, release: Release):
    chosen = {"release": release.pk, "base": model.pk, "preset": "seed", "name": "mine"}
    return client.post(reverse("model", args=[dataset.pk]), chosen)


def pressed_leakage(client, dataset: Dataset, *_: object):
    return client.post(reverse("release_leakage", args=[dataset.pk]))


def pressed_retry(client, dataset: Dataset, *_: object):
    run = RunFactory.create(dataset=dataset, kind="statistics", state="failed")
    return client.post(reverse("run_retry", args=[run.pk]))


BUTTONS: list[Callable] = [
    pressed_import, pressed_release, pressed_evaluate, pressed_train, pressed_leakage,
    pressed_retry,
]  # fmt: skip


@pytest.mark.parametrize("press", BUTTONS)
def test_a_button_answers_as_always_and_its_run_starts_once_the_broker_is_back(
    press, dead, dataset, alice, as_user, model, release, django_capture_on_commit_callbacks
):
    client = as_user(alice)
    began = time.monotonic()

    with django_capture_on_commit_callbacks(execute=True):
        answer = press(client, dataset, model, release)
    page = client.get(answer.headers["Location"]).content.decode()
    took = time.monotonic() - began
    run = Run.objects.latest("pk")
    sent = dead.back()
    tasks.reconcile()

    assert answer.status_code == 302
    assert run.state == "waiting"
    assert UNTOLD in page
    assert took < SECONDS
    assert (tasks.carry_out.name, run.pk) in sent


@pytest.mark.parametrize("kind", [kind for kind in Run.Kind if kind != Run.Kind.SCORE])
def test_the_reconciler_rings_for_each_kind_of_run(kind, broker, dataset):
    run = RunFactory.create(dataset=dataset, kind=kind)
    sent = broker.back()

    tasks.reconcile()

    assert (tasks.carry_out.name, run.pk) in sent


def test_the_page_says_no_more_of_it_once_the_broker_answers(dead, broker, dataset, alice, as_user, settings):
    run = RunFactory.create(dataset=dataset, kind="statistics")
    client = as_user(alice)

    before = client.get(reverse("run", args=[run.pk])).content.decode()
    settings.CELERY_BROKER_URL = "filesystem://"
    enqueue._LastLook.at = None
    after = client.get(reverse("run", args=[run.pk])).content.decode()

    assert UNTOLD in before
    assert UNTOLD not in after


def test_retrying_what_could_not_be_scored_waits_for_the_broker_too(
    dead, dataset, alice, as_user, model, django_capture_on_commit_callbacks
):
    completion = ComparisonFactory.create(dataset=dataset, prompt__dataset=dataset).a
    through = {"through": completion.pk}
    run = RunFactory.create(dataset=dataset, version=model, state="failed", params=through)
    ScoreBatch.objects.create(
        run=run, version=model, completion_ids=[completion.pk], size=1, state="failed", attempts=3
    )

    with django_capture_on_commit_callbacks(execute=True):
        answer = as_user(alice).post(reverse("run_retry", args=[run.pk]))
    sent = dead.back()
    tasks.reconcile()

    assert answer.status_code == 302
    unfinished = ScoreBatch.objects.unfinished().count()
    assert [name for name, _ in sent].count(tasks.score_batch.name) == unfinished > 0


def test_forty_datasets_to_score_wait_for_the_broker_once(
    dead, as_user, caplog, django_capture_on_commit_callbacks
):
    version = ModelVersionFactory.create()
    DatasetFactory.create_batch(40)
    client = as_user(UserFactory.create(is_staff=True))
    began = time.monotonic()

    with django_capture_on_commit_callbacks(execute=True):
        answer = client.post(reverse("version_activate", args=[version.pk]), {"reason": "Better."})

    assert answer.status_code == 302
    assert time.monotonic() - began < SECONDS
    records = [record for record in caplog.records if record.name == enqueue.__name__]
    assert [(r.levelno, r.exc_info) for r in records] == [(logging.WARNING, None)]


@pytest.mark.parametrize("command", ["statistics", "evaluate", "score"])
def test_a_command_that_leaves_the_work_to_workers_ends_well(command, dead, dataset, model, capsys):
    ScoreFactory.create(completion=ComparisonFactory.create(dataset=dataset, prompt__dataset=dataset).a)
    words = {"evaluate": ["old", "--on", "Kitchen"], "score": ["Kitchen"], "statistics": ["Kitchen"]}

    call_command(command, *words[command], "--queue")

    assert Run.objects.filter(state="waiting").exists()


def test_batches_that_no_message_could_be_sent_for_are_due_at_once(dead, dataset, model):
    ComparisonFactory.create(dataset=dataset, prompt__dataset=dataset)
    batches.plan_missing(dataset)
    waiting = ScoreBatch.objects.filter(state="waiting")

    tasks.enqueue_batches()

    assert waiting.exists()
    assert not waiting.filter(enqueued_at__isnull=False).exists()
    sent = dead.back()
    tasks.enqueue_batches()
    assert len(sent) == waiting.count()


def test_a_broker_that_takes_connections_and_never_answers_does_not_hold_up_the_health_check(dead, client):
    began = time.monotonic()

    report = client.get("/readyz").json()

    assert time.monotonic() - began < SECONDS
    assert "does not answer" in report["warnings"]["broker"]
