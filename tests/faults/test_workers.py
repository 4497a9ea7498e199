"""Real worker processes on a real broker, killed, starved and cut off.

Small by default; `make faults` sets FAULT_COMPLETIONS and FAULT_KILLS to the full size."""

import os
import random
import signal
import time

import psycopg
import pytest
import redis
from django.db import connection, connections

from scoring.checkpoint import files_of, open_checkpoint
from tests import services
from tests.factories import CompletionFactory, DatasetFactory, ModelVersionFactory, PromptFactory
from tests.faults.remote_storage import RemoteStorage
from tests.processes import Processes, wait_until
from tests.scoring.models import save_bert
from workbench.models import Completion, Dataset, ModelVersion, Prompt, Run, Score, ScoreBatch, Worker
from workbench.pipeline.model import registry
from workbench.pipeline.scoring import batches

COMPLETIONS = int(os.environ.get("FAULT_COMPLETIONS", "200"))
KILLS = int(os.environ.get("FAULT_KILLS", "3"))
FULL = KILLS >= 20
CUTS = 5 if FULL else 1  # how often the database goes away
RESTARTS = 5 if FULL else 2  # how often it crashes
SLOWNESS = "0.6" if FULL else "0.3"  # seconds for at most 64 texts: enough work for every kill to hit

POISON = {
    "exits": "No worker finished it in 3 attempts: each died or ran out of time.",
    "hangs": "no answer within 2 s",
    "nan": "the model's output is nan",
    "short": "the model gave 0 scores for 1 texts",
}

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def version(transactional_db) -> ModelVersion:
    return ModelVersionFactory.create()


@pytest.fixture
def dataset(transactional_db) -> Dataset:
    dataset = DatasetFactory.create()
    prompts = Prompt.objects.bulk_create(PromptFactory.build_batch(COMPLETIONS // 4, dataset=dataset))
    Completion.objects.bulk_create(
        completion for prompt in prompts for completion in CompletionFactory.build_batch(4, prompt=prompt)
    )
    return dataset


@pytest.fixture(autouse=True)
def twenty_batches_or_more(monkeypatch):
    monkeypatch.setattr(ScoreBatch, "MAX_SIZE", min(256, COMPLETIONS // 20))


def is_done(run: Run) -> bool:
    # The test's connection holds no snapshot between queries, as it is in autocommit.
    assert not connection.in_atomic_block
    return Run.objects.filter(pk=run.pk, state=Run.State.DONE).exists()


def ended(run: Run, within: float) -> float:
    """Wait until the Run has ended by itself; the seconds since it began."""
    wait_until(lambda: is_done(run), within)
    run.refresh_from_db()
    return run.took.total_seconds()


def test_a_worker_scores_a_dataset_and_the_clock_alone_rings_for_it(processes, dataset, version, tell):
    run = batches.plan(dataset, version)
    processes.worker()
    processes.clock()

    tell("nothing", run, ended(run, 120))

    assert Score.objects.filter(version=version).count() == COMPLETIONS
    assert Worker.objects.alive().count() == 1


def work_through(processes: Processes, run: Run, kills: int = 0) -> float:
    """Two workers do the Run, a supervisor starts the next for each that dies; kills come at random moments
    while work is left. Returns seconds."""
    drawn = random.Random(1)
    started = time.monotonic()
    workers = [processes.worker(FAKE_SECONDS=SLOWNESS) for _ in range(2)]
    while not is_done(run):
        assert time.monotonic() - started < 1200
        if kills and Score.objects.filter(version=run.version).exists():
            processes.kill(workers.pop(drawn.randrange(2)))
            assert not is_done(run), f"with {kills} kills left the work had ended"
            workers.append(processes.worker(FAKE_SECONDS=SLOWNESS))
            kills -= 1
        time.sleep(drawn.uniform(1, 2) if kills else 0.05)
    assert kills == 0, f"the work had ended with {kills} kills left"
    return time.monotonic() - started


@pytest.mark.long
def test_killed_workers_lose_nothing_and_double_nothing(processes, dataset, version, tell):
    processes.clock()
    plain = batches.plan(dataset, ModelVersionFactory.create())
    undisturbed = work_through(processes, plain)
    tell("two workers, nothing", plain, undisturbed)
    processes.stop_workers()
    run = batches.plan(dataset, version)

    disturbed = work_through(processes, run, KILLS)

    tell(f"kill -9 of a worker, {KILLS} times", run, disturbed, undisturbed)
    assert Score.objects.filter(version=version).count() == COMPLETIONS
    assert max(run.batches.values_list("attempts", flat=True)) <= 3
    if FULL:  # in a short Run the starts of workers outweigh the work
        assert disturbed <= 2 * undisturbed


def test_sigterm_finishes_or_hands_back_the_batch(processes, dataset, version, tell):
    run = batches.plan(dataset, version)
    processes.clock()
    worker = processes.worker(FAKE_SECONDS="0.2")
    wait_until(lambda: Score.objects.filter(version=version).exists())

    os.killpg(worker.pid, signal.SIGTERM)
    worker.wait(timeout=30)

    assert not run.batches.filter(state="leased").exists()
    assert not Worker.objects.alive().exists()
    assert Worker.objects.get().stopped_at

    processes.worker()
    tell("SIGTERM, then another worker", run, ended(run, 240))
    assert Score.objects.filter(version=version).count() == COMPLETIONS


@pytest.mark.long
def test_poison_texts_fail_with_a_reason_and_everything_else_is_scored(processes, dataset, version, tell):
    prompt = dataset.prompts.last()
    for text in POISON:
        CompletionFactory.create(prompt=prompt, text=text)
    run = batches.plan(dataset, version)
    processes.clock()

    def finished() -> bool:
        alive = [p for p in processes.running if p.poll() is None]
        if len(alive) < 2:  # the worker fell over a text that exits: a supervisor starts the next
            processes.worker()
        return is_done(run)

    wait_until(finished, 400)

    run.refresh_from_db()
    tell("texts that exit, hang, give nan or too few", run, run.took.total_seconds())
    assert Score.objects.filter(version=version).count() == COMPLETIONS
    failed = {Completion.objects.get(pk=b.completion_ids[0]).text: b.error for b in run.batches.failed()}
    assert failed.keys() == POISON.keys()
    for text, reason in POISON.items():
        assert reason in failed[text]


@pytest.mark.long
@pytest.mark.redis
@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_flushed_broker_costs_time_and_nothing_else(processes, dataset, version, tell):
    run = batches.plan(dataset, version)
    processes.clock()
    processes.worker(FAKE_SECONDS="0.1")
    wait_until(lambda: Score.objects.filter(version=version).exists())

    redis.Redis.from_url(services.BROKER_URL).flushdb()

    tell("broker flushed", run, ended(run, 240))
    assert Score.objects.filter(version=version).count() == COMPLETIONS


@pytest.mark.long
@pytest.mark.redis
@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_two_workers_that_share_only_database_broker_and_storage_score_together(
    processes, tmp_path, dataset, monkeypatch, tell
):
    from scoring.engine import load

    bucket = RemoteStorage(str(tmp_path / "bucket"))
    folder = save_bert(tmp_path / "model")
    checkpoint = open_checkpoint(folder)
    facts = {
        "weights_sha256": checkpoint.weights_sha256,
        "tokenizer_sha256": checkpoint.tokenizer_sha256,
        "self_test": registry.self_test(load(folder, precision="fp32")),
    }
    version, _ = registry.register(
        name="far", folder=folder, files=files_of(checkpoint), facts=facts, storage=bucket
    )
    run = batches.plan(dataset, version)
    monkeypatch.setattr(processes, "app", "workbench")
    remote = {
        "DJANGO_SETTINGS_MODULE": "tests.faults.remote_settings",
        "REMOTE_FOLDER": str(tmp_path / "bucket"),
    }

    for name in ("one", "two"):
        processes.worker(WORKBENCH_DATA=str(tmp_path / name), **remote)
    wait_until(lambda: Worker.objects.alive().count() == 2, 180)
    processes.clock()

    tell("two machines, a real model", run, ended(run, 400))
    assert Score.objects.filter(version=version).count() == COMPLETIONS
    assert run.batches.values("worker").distinct().count() == 2
    wait_until(lambda: Worker.objects.filter(device__startswith="cpu in").count() == 2)
    for name in ("one", "two"):
        assert list((tmp_path / name / "cache" / "checkpoints").iterdir())


@pytest.mark.long
@pytest.mark.redis
@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_broker_that_dies_and_comes_back_empty_holds_the_run_up_and_nothing_else(
    processes, own_redis, dataset, version, tell
):
    server = own_redis()
    processes.broker_url = server.url
    run = batches.plan(dataset, version)
    processes.clock()
    processes.worker(FAKE_SECONDS="0.1")
    wait_until(lambda: Score.objects.filter(version=version).exists())

    server.kill()
    server.wait()
    time.sleep(3)
    assert not is_done(run)
    own_redis()

    tell("broker killed, back empty after 3 s", run, ended(run, 240))
    assert Score.objects.filter(version=version).count() == COMPLETIONS


@pytest.mark.long
@pytest.mark.postgresql
@pytest.mark.parametrize("broker_url", ["filesystem"], indirect=True)
def test_a_database_that_goes_away_for_a_while_is_waited_for(processes, dataset, version, tell):
    run = batches.plan(dataset, version)
    processes.clock()
    processes.worker(FAKE_SECONDS=SLOWNESS)
    wait_until(lambda: Score.objects.filter(version=version).exists())

    name = connection.settings_dict["NAME"]
    for _ in range(CUTS):
        assert not is_done(run)
        cut_off(name, 3)
        scored = Score.objects.filter(version=version).count()
        wait_until(
            lambda before=scored: is_done(run) or Score.objects.filter(version=version).count() > before
        )

    tell(f"database gone for 3 s, {CUTS} times", run, ended(run, 400))
    assert Score.objects.filter(version=version).count() == COMPLETIONS


def scored_so_far(version: ModelVersion) -> set[tuple[int, float]]:
    return set(Score.objects.filter(version=version).values_list("completion", "value"))


@pytest.mark.long
@pytest.mark.postgresql
@pytest.mark.parametrize("broker_url", ["filesystem"], indirect=True)
def test_a_database_that_crashes_and_recovers_mid_run_loses_nothing_and_needs_nobody(
    own_postgresql, processes, dataset, version, tell
):
    run = batches.plan(dataset, version)
    # Whoever waits for a lease to end, or for messages to be sent again, waits too long.
    processes.clock(LEASE_SECONDS="1200")
    processes.worker(FAKE_SECONDS=SLOWNESS, LEASE_SECONDS="1200")

    before: set[tuple[int, float]] = set()
    for _ in range(RESTARTS):
        wait_until(lambda before=before: len(scored_so_far(version)) > len(before), 120)
        before = scored_so_far(version)
        assert not is_done(run)
        connection.close()
        own_postgresql.restart()
        assert before <= scored_so_far(version)

    tell(f"PostgreSQL crashed and recovered, {RESTARTS} times", run, ended(run, 400))
    assert own_postgresql.recoveries == RESTARTS
    assert Score.objects.filter(version=version).count() == COMPLETIONS
    assert scored_so_far(version) == {(c.pk, float(len(c.text))) for c in Completion.objects.all()}
    assert run.result == {"scored": COMPLETIONS, "failed": 0}
    assert [process.poll() for process in processes.running] == [None, None]


@pytest.mark.long
@pytest.mark.postgresql
@pytest.mark.parametrize("broker_url", ["filesystem"], indirect=True)
def test_a_worker_that_waits_for_the_database_ends_when_it_is_told_to(
    own_postgresql, processes, dataset, version
):
    batches.plan(dataset, version)
    processes.clock()
    worker = processes.worker(FAKE_SECONDS=SLOWNESS)
    wait_until(lambda: Score.objects.filter(version=version).exists())
    connection.close()
    own_postgresql.crash()
    wait_until(lambda: "waits for it" in processes.log.read_text())

    os.killpg(worker.pid, signal.SIGTERM)

    worker.wait(timeout=30)
    own_postgresql.start()


def cut_off(name: str, seconds: float) -> None:
    """To every client a restart: its connection dies, and for some seconds there is no new one."""
    connections.close_all()
    with psycopg.connect(services.DATABASE_URL, autocommit=True) as server:
        server.execute(f'alter database "{name}" allow_connections false')
        server.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])
        time.sleep(seconds)
        server.execute(f'alter database "{name}" allow_connections true')
