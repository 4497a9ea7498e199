"""The system page, metrics, and the ids of requests."""

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import settings as django_settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from scoring.formats import Scored
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    RunFactory,
    UserFactory,
)
from tests.processes import wait_until
from tests.web.test_access import webhook_of
from tests.webserver import ask, web_process
from workbench import __version__, request_ids
from workbench.models import Event, Run, ScoreBatch, ServerError, Worker
from workbench.pipeline.scoring import batches
from workbench.worker import enqueue, scorers, tasks, workforce

pytestmark = pytest.mark.django_db
TOKEN = "only-for-tests"


@pytest.fixture
def staff(as_user) -> Client:
    return as_user(UserFactory.create(is_staff=True))


@pytest.fixture
def system(staff):
    return lambda: staff.get(reverse("system")).content.decode()


def a_worker(**fields) -> Worker:
    now = timezone.now()
    seen = {"name": "host:1", "queues": "score, work", "started_at": now, "last_seen": now, **fields}
    return Worker.objects.create(**{"version": __version__, **seen})


# --- the page -----------------------------------------------------------------------------------------------


def test_it_says_what_needs_attention(system):
    page = system()

    assert "No worker is alive: imports, scores and releases wait." in page
    assert "There is no backup yet" in page


def test_a_worker_shows_its_device_version_and_work(system):
    a_worker(device="cuda bf16", texts_scored=1234)

    page = system()

    assert "cuda bf16" in page
    assert "1,234" in page
    assert "restart the worker" not in page


def test_a_worker_of_another_version_is_to_be_restarted(system):
    a_worker(version="0.0.9")

    assert f"host:1 runs version 0.0.9, and the pages run {__version__}: restart the worker." in system()


def test_queues_say_how_much_waits_and_for_how_long():
    now = timezone.now()
    a_worker()
    waiting = RunFactory.create(kind="import", state="waiting")
    RunFactory.create(kind="release", state="running")
    RunFactory.create(kind="statistics", state="done")
    Run.objects.filter(pk=waiting.pk).update(created_at=now - timedelta(minutes=5))
    score = RunFactory.create(kind="score", state="running", version=ModelVersionFactory.create())
    Run.objects.filter(pk=score.pk).update(created_at=now - timedelta(minutes=9))
    for state in ("waiting", "waiting", "leased", "done"):
        ScoreBatch.objects.create(run=score, version=score.version, state=state, size=1, completion_ids=[1])

    queues = {queue.name: queue for queue in workforce.queues()}

    work, scoring, train = queues["work"], queues["score"], queues["train"]
    assert (work.waiting, work.running, work.workers) == (1, 1, 1)
    assert (scoring.waiting, scoring.running, scoring.workers) == (2, 1, 1)
    assert (train.waiting, train.running, train.workers, train.age) == (0, 0, 0, timedelta())
    assert timedelta(minutes=5) <= work.age < timedelta(minutes=6)
    assert timedelta(minutes=9) <= scoring.age < timedelta(minutes=10)


def test_errors_of_the_last_day_are_listed_and_older_ones_are_not(system):
    now = timezone.now()
    RunFactory.create(kind="import", state="failed", error="Line 3 is no JSON.", finished_at=now)
    long_ago = now - timedelta(days=2)
    RunFactory.create(kind="import", state="failed", error="Long forgotten.", finished_at=long_ago)

    page = system()

    assert "Line 3 is no JSON." in page
    assert "Long forgotten." not in page


def test_a_page_that_fails_is_listed_without_the_text_of_its_error(staff, system, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise ValueError("the text of an answer")

    monkeypatch.setattr("workbench.access.staff_only", fail)
    staff.raise_request_exception = False
    answer = staff.get(reverse("versions"))
    monkeypatch.undo()

    (error,) = ServerError.objects.all()
    assert answer.status_code == 500
    assert error.view == "versions"
    assert error.error.startswith("ValueError at views/versions.py:")
    assert error.request_id == answer["X-Request-ID"]
    page = system()
    assert "ValueError at views/versions.py:" in page
    assert "the text of an answer" not in page


def test_errors_are_kept_for_a_month(db):
    ServerError.objects.create(view="data", error="ValueError", request_id="x")
    old = ServerError.objects.create(view="data", error="KeyError", request_id="x")
    ServerError.objects.filter(pk=old.pk).update(at=timezone.now() - timedelta(days=31))

    ServerError.objects.forget_old()

    assert [error.error for error in ServerError.objects.all()] == ["ValueError"]


GIB = 2**30


def test_it_says_how_full_the_disk_is(system, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=100 * GIB, free=25 * GIB))

    page = system()

    assert 'value="75"' in page
    assert "75 % of the disk is used; 25.0\xa0GB of 100.0\xa0GB are free." in page
    assert "in the data folder" not in page


def test_a_disk_that_is_nearly_full_needs_attention(system, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(total=100 * GIB, free=GIB // 2))

    page = system()

    assert "Only 512 MiB are free in the data folder." in page
    assert "100 % of the disk is used; 512.0\xa0MB of 100.0\xa0GB are free." in page


def backed_up(**ago: int) -> None:
    made_at = (timezone.now() - timedelta(**ago)).isoformat()
    RunFactory.create(kind="backup", dataset=None, state="done", result={"made_at": made_at})


def test_it_says_how_old_the_last_backup_is(system, settings):
    settings.BACKUP_TARGET = "/backups"
    backed_up(days=4)
    backed_up(hours=3, minutes=5)

    page = system()

    assert ", 3 h 05 min ago." in page
    assert "There is no backup yet" not in page
    assert "Set <code>BACKUP_TARGET</code>" not in page


def test_a_backup_that_is_late_needs_attention(system, settings):
    settings.BACKUP_HOURS = 24
    backed_up(days=2, minutes=1)

    page = system()

    assert "The last backup is 2 d 0 h old." in page
    assert ", 2 d 0 h ago. Set <code>BACKUP_TARGET</code> to make backups by the clock." in page


def test_the_configuration_is_checked(system, settings):
    settings.SECURE_SSL_REDIRECT = False
    settings.SILENCED_SYSTEM_CHECKS = ["security.W004"]

    page = system()

    assert "<li>Your SECURE_SSL_REDIRECT setting is not set to True (security.W008).</li>" in page
    assert "security.W004" not in page


def test_a_configuration_without_a_finding_says_so(system, monkeypatch):
    monkeypatch.setattr("django.core.checks.run_checks", lambda **_: [])

    assert "Django’s checks for a deployment find nothing." in system()


# --- metrics ------------------------------------------------------------------------------------------------


def metrics(client: Client, token: str = TOKEN) -> dict[str, float]:
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    lines = [line for line in answer.content.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_are_for_those_who_know_the_token(client, db, settings):
    assert client.get("/metrics").status_code == 404

    settings.METRICS_TOKEN = TOKEN

    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"Authorization": "Bearer other"}).status_code == 401
    assert "workbench_votes_total" in metrics(client)


def test_metrics_count_what_the_database_says(client, db, settings):
    settings.METRICS_TOKEN = TOKEN
    a_worker(texts_scored=7)
    RunFactory.create(kind="import", state="waiting")
    RunFactory.create(kind="train", state="failed")
    JudgmentFactory.create()
    label = AnnotatorFactory.create(user=None, source="file")
    JudgmentFactory.create(stage="imported", annotator=label)
    JudgmentFactory.create(purpose="gold", is_current=False)

    found = metrics(client)

    assert found['workbench_queue_waiting{queue="work"}'] == 1
    assert found['workbench_workers_alive{queue="score"}'] == 1
    assert found['workbench_texts_scored_total{worker="host:1"}'] == 7
    assert found['workbench_runs_failed{kind="train"}'] == 1
    assert found["workbench_votes_total"] == 1


def test_metrics_of_queues_have_what_runs_and_the_age_of_the_oldest_that_waits(client, settings):
    settings.METRICS_TOKEN = TOKEN
    now = timezone.now()
    for minutes in (5, 2):
        run = RunFactory.create(kind="import", state="waiting")
        Run.objects.filter(pk=run.pk).update(created_at=now - timedelta(minutes=minutes))
    for kind in ("release", "statistics", "train"):
        RunFactory.create(kind=kind, state="running")

    found = metrics(client)

    assert found['workbench_queue_running{queue="work"}'] == 2
    assert found['workbench_queue_running{queue="train"}'] == 1
    assert 300 <= found['workbench_queue_age_seconds{queue="work"}'] < 360
    assert found['workbench_queue_age_seconds{queue="train"}'] == 0


def test_metrics_count_the_pairs_that_people_hold_now(client, settings):
    settings.METRICS_TOKEN = TOKEN
    now = timezone.now()
    for slot, (state, minutes) in enumerate(
        [("live", 20), ("live", 1), ("live", -1), ("done", 20), ("skipped", 20)]
    ):
        ComparisonFactory.create().claims.create(
            annotator=AnnotatorFactory.create(),
            slot=None if state == "skipped" else slot,
            state=state,
            left="a",
            mode="blind",
            expires_at=now + timedelta(minutes=minutes),
        )

    assert metrics(client)["workbench_claims"] == 2


def test_metrics_count_the_events_that_wait_for_a_webhook_and_those_given_up(client, dataset, settings):
    settings.METRICS_TOKEN = TOKEN
    webhook = webhook_of(dataset)
    for number, state in enumerate(["waiting", "waiting", "waiting", "dead", "dead", "delivered"]):
        event = Event.objects.create(dataset=dataset, type="run.finished", number=number, facts={})
        webhook.deliveries.create(event=event, state=state)

    found = metrics(client)

    assert found['workbench_webhooks{state="waiting"}'] == 3
    assert found['workbench_webhooks{state="dead"}'] == 2
    assert 'workbench_webhooks{state="delivered"}' not in found


def test_metrics_have_the_age_of_the_last_backup_once_there_is_one(client, settings):
    settings.METRICS_TOKEN = TOKEN
    before = metrics(client)
    backed_up(days=4)
    backed_up(hours=3)

    assert "workbench_backup_age_seconds" not in before
    assert 3 * 3600 <= metrics(client)["workbench_backup_age_seconds"] < 3 * 3600 + 60


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_one_scrape_sums_the_requests_of_all_web_processes(tmp_path):
    """Of two processes of one gunicorn, whichever of them answers the scrape."""
    path, asked = reverse("login"), 0
    with web_process(tmp_path / "web.log", METRICS_TOKEN=TOKEN, WEB_CONCURRENCY="2") as (port, worker):
        gunicorn = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1]
        counts = django_settings.DATA_DIR / "metrics" / gunicorn

        def both_have_answered() -> bool:
            nonlocal asked
            with ThreadPoolExecutor(8) as browsers:
                answers = list(browsers.map(lambda _: ask(port, path)[0], range(16)))
            assert answers == [200] * 16
            asked += 16
            return len(list(counts.glob("histogram_*.db"))) == 2

        wait_until(both_have_answered)
        scraped = [ask(port, "/metrics", Authorization=f"Bearer {TOKEN}")[1].decode() for _ in range(6)]

    line = f'workbench_request_seconds_count{{method="GET",status="2xx",view="login"}} {asked}.0'
    assert [line in text for text in scraped] == [True] * 6


def test_metrics_forget_workers_that_are_long_gone(client, db, settings):
    settings.METRICS_TOKEN = TOKEN
    a_worker(name="host:2", texts_scored=3, last_seen=timezone.now() - timedelta(days=2))

    assert 'workbench_texts_scored_total{worker="host:2"}' not in metrics(client)


def test_metrics_measure_requests_by_view_and_not_by_address(client, db, settings):
    settings.METRICS_TOKEN = TOKEN
    before = metrics(client)
    client.get("/no/such/page")
    client.get("/another/one")

    after = metrics(client)

    name = 'workbench_request_seconds_count{method="GET",status="4xx",view="none"}'
    assert after[name] - before.get(name, 0) == 2
    assert not [key for key in after if "such" in key]


# --- ids of requests ----------------------------------------------------------------------------------------


def test_each_answer_has_an_id_and_keeps_the_one_of_a_proxy(client):
    one, other = client.get("/healthz"), client.get("/healthz")
    given = client.get("/healthz", headers={"X-Request-ID": "from-a-proxy-1"})

    assert len(one["X-Request-ID"]) == 32
    assert one["X-Request-ID"] != other["X-Request-ID"]
    assert given["X-Request-ID"] == "from-a-proxy-1"


@pytest.mark.parametrize("forged", ["short", "a" * 65, "two words here", "line\u2028break", "x=1; y=2 ..."])
def test_an_id_that_could_forge_a_line_of_the_log_is_replaced(client, forged):
    assert client.get("/healthz", headers={"X-Request-ID": forged})["X-Request-ID"] != forged


def test_lines_of_the_log_name_the_request(staff, monkeypatch, settings):
    form = settings.LOGGING["formatters"]["line"]

    def line() -> str:
        record = logging.LogRecord("workbench", logging.INFO, __file__, 1, "a line", (), None)
        request_ids.WithRequestId().filter(record)
        return logging.Formatter(form["format"], style=form["style"]).format(record).partition("INFO ")[2]

    lines = []
    monkeypatch.setattr("workbench.access.staff_only", lambda user: lines.append(line()) or user)
    staff.get(reverse("versions"), headers={"X-Request-ID": "from-a-proxy-1"})

    assert [*lines, line()] == ["workbench [from-a-proxy-1] a line", "workbench [-] a line"]


def test_a_worker_knows_the_request_that_sent_the_work(staff, monkeypatch):
    seen, sent = [], []
    monkeypatch.setattr(tasks.lifecycle, "carry_out", lambda *_: seen.append(request_ids.current()))
    monkeypatch.setattr(tasks.carry_out, "apply_async", lambda args, **options: sent.append((args, options)))
    run = RunFactory.create(kind="statistics", state="waiting")
    send = partial(enqueue.send, tasks.carry_out, run.pk)
    monkeypatch.setattr("workbench.access.staff_only", lambda user: send() and user)

    staff.get(reverse("versions"), headers={"X-Request-ID": "from-a-proxy-1"})
    ((args, options),) = sent
    monkeypatch.undo()
    monkeypatch.setattr(tasks.lifecycle, "carry_out", lambda *_: seen.append(request_ids.current()))
    tasks.carry_out.apply(args, headers=options["headers"])

    assert seen == ["from-a-proxy-1"]
    assert request_ids.current() == ""


def test_texts_that_a_worker_gives_to_a_model_are_counted(monkeypatch):
    prompt = PromptFactory.create()
    CompletionFactory.create_batch(2, prompt=prompt)
    run = batches.plan(prompt.dataset, ModelVersionFactory.create())
    one = Scored(1.0, 1, 1, 0, 0, "fp32")
    monkeypatch.setattr(scorers, "load_scorer", lambda _: lambda pairs: [one] * len(pairs))
    before = tasks.Heartbeat.texts_scored

    for batch in run.batches.all():
        tasks.score_batch(batch.pk)

    assert tasks.Heartbeat.texts_scored - before == 2


def test_texts_of_a_batch_that_another_worker_has_are_not_counted(monkeypatch):
    prompt = PromptFactory.create()
    CompletionFactory.create(prompt=prompt)
    run = batches.plan(prompt.dataset, ModelVersionFactory.create())
    (batch,) = run.batches.all()
    batch.lease("another", 3600)
    monkeypatch.setattr(scorers, "load_scorer", lambda _: lambda pairs: [])
    before = tasks.Heartbeat.texts_scored

    tasks.score_batch(batch.pk)

    assert tasks.Heartbeat.texts_scored == before
