"""What a worker does when a message arrives: ids in, fetch the row, call the pipeline. A row that is gone or
taken is no error, since a message may come late or twice."""

import json
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from celery import Task, shared_task
from celery.signals import worker_ready, worker_shutdown
from celery.worker import state as worker_state
from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection
from django.utils import timezone

from scoring.baselines import BASELINES
from scoring.config import Report, TrainConfig
from scoring.formats import Pair, Scored, Scorer, prompt_text
from workbench.models import Dataset, Evaluation, ModelVersion, Release, Run, ScoreBatch, Worker
from workbench.pipeline import imports, quality, releases
from workbench.pipeline.annotate import queue
from workbench.pipeline.datasets import deleting
from workbench.pipeline.decisions import deciding
from workbench.pipeline.model import evaluation, registry, training
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.runs.progress import Cancelled, Refused
from workbench.pipeline.scoring import batches
from workbench.pipeline.text import leakage
from workbench.worker import enqueue

if TYPE_CHECKING:
    from scoring.engine import Engine

log = logging.getLogger(__name__)

WORKER = f"{socket.gethostname()}:{os.getpid()}"


# --- scoring ------------------------------------------------------------------------------------------------


def load_scorer(version: ModelVersion) -> Scorer:
    """The version's Scorer. Raises ValueError when this is not the model that was registered, and whatever
    the storage raises when it cannot be had at all."""
    if version.kind == ModelVersion.Kind.BASELINE:
        return BASELINES[version.name]
    return load_engine(version.pk)


@lru_cache(maxsize=1)
def load_engine(version_id: int) -> Scorer:
    """A model, loaded once per process and held to its known answers. Baselines stay out of this cache: they
    are scored in turn with the model and would push it out each time."""
    from scoring.engine import load  # slow: torch comes with it

    version = ModelVersion.objects.get(pk=version_id)
    folder = registry.local_checkpoint(version, settings.DATA_DIR / "cache" / "checkpoints")
    engine = load(
        folder,
        max_length=version.max_length,
        template=version.template,
        precision=version.precision,
        guard=version.guard,
        device=settings.DEVICE,
    )
    for part in ("weights", "tokenizer"):
        if getattr(engine.checkpoint, f"{part}_sha256") != getattr(version, f"{part}_sha256"):
            raise ValueError(f"the {part} in {folder.name} are not what was registered")
    registry.check_known_answers(version, engine.alone)
    if engine.note:
        log.info("%s: %s", version, engine.note)
    for heartbeat in _heartbeats:
        heartbeat.device = engine.device
    return engine


def alone(score: Scorer) -> Scorer:
    """The same model for completions whose siblings are in another call (see `Engine.alone`)."""
    without_siblings: Scorer = getattr(score, "alone", score)
    return without_siblings


def sharing_guard(version: ModelVersion, score: Scorer) -> Scorer:
    """The same scorer, with the widest guard that any worker found the version to need: what one has scored
    in bf16 another compares with what comes later."""
    if not getattr(score, "exact_order", False):
        return score
    engine = cast("Engine", score)
    if version.guard is not None:
        engine.guard = max(version.guard, engine.guard or 0.0)

    def call(pairs: Sequence[Pair]) -> list[Scored]:
        scored = engine(pairs)
        if engine.guard is not None and engine.guard != version.guard:
            version.widen_guard(engine.guard)
        return scored

    return call


def bounded(score: Scorer, seconds: float) -> Scorer:
    """The same scorer, raising TimeoutError when one call takes longer than `seconds`, so that a text on
    which the model hangs counts as an attempt instead of holding the worker for ever. Works in the main
    thread, where the solo pool runs its tasks; elsewhere only the lease ends."""

    def expire(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer within {seconds:g} s")

    def call(pairs: Sequence[Pair]) -> list[Scored]:
        if threading.current_thread() is not threading.main_thread():
            return score(pairs)
        before = signal.signal(signal.SIGALRM, expire)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return score(pairs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return call


@shared_task
def score_batch(batch_id: int) -> None:
    while True:
        try:
            return _score_batch(batch_id)
        except (OperationalError, InterfaceError):
            # A worker that went on would use up every message there is, and have them sent again and its
            # batch taken over only when half a lease, or all of it, is over.
            log.warning("The database is away; %s waits for it", WORKER, exc_info=True)
            if not hand_back_when_database_is_back(batch_id):
                raise


def hand_back_when_database_is_back(batch_id: int, every: float = 1.0) -> bool:
    """Wait until the database answers, and give back what this worker had of it; False when the worker was
    told to end meanwhile."""
    while not is_stopping():
        time.sleep(every)
        connection.close()
        try:
            batches.hand_back(ScoreBatch(pk=batch_id), WORKER, "The database went away.", is_counted=False)
        except (OperationalError, InterfaceError):
            continue
        return True
    return False


def _score_batch(batch_id: int) -> None:
    batch = ScoreBatch.objects.select_related("run", "version").filter(pk=batch_id).first()
    if batch is None or not batch.run.is_open:
        return
    try:
        score = load_scorer(batch.version)
    except ValueError as error:
        batch.run.fail(f"{WORKER} could not load {batch.version}: {error}")
        return
    except Exception as error:
        # Whatever a storage raises: it comes back, and so does the message.
        log.warning("%s could not be loaded", batch.version, exc_info=True)
        batch.run.hold_up(f"{WORKER} could not load {batch.version} and tries again: {error}")
        return
    if batch.run.error:
        batch.run.hold_up("")
    seconds = settings.LEASE_SECONDS
    together = bounded(sharing_guard(batch.version, score), seconds)
    batches.work(batch, together, WORKER, seconds, bounded(alone(score), seconds))
    enqueue_batches()


@shared_task
def score_missing(dataset_id: int) -> None:
    """Plan what the active version and the baselines have not scored of the dataset, and ring for it."""
    dataset = Dataset.objects.in_use().filter(pk=dataset_id).first()
    if dataset is not None:
        batches.plan_wanted(dataset)
        enqueue_batches()


@shared_task
def order_queue(dataset_id: int) -> None:
    dataset = queue.stale_datasets().filter(pk=dataset_id).first()
    if dataset is not None:
        queue.renew_all(dataset)


def enqueue_batches() -> None:
    """Send the messages that are due. One that nobody takes in time expires, as it is sent again then."""
    enqueue_again = settings.LEASE_SECONDS / 2
    due = batches.due(timedelta(seconds=enqueue_again))
    batches.not_enqueued([pk for pk in due if not enqueue.send(score_batch, pk, expires=enqueue_again)])


# --- Runs ---------------------------------------------------------------------------------------------------


@shared_task
def enqueue_run(run_id: int) -> None:
    """Send whatever message the Run waits for."""
    run = Run.objects.filter(pk=run_id).first()
    if run is None or not run.is_open:
        return
    if run.kind == Run.Kind.SCORE:
        enqueue_batches()
    else:
        enqueue.send(RUN_TASKS[run.kind], run.pk)


@shared_task
def reconcile() -> None:
    """Enqueue again whatever no worker has taken: messages are lost with a broker, workers die."""
    for dataset in Dataset.objects.needing_scores():
        batches.plan_wanted(dataset)
    for batch_id in batches.out_of_attempts():
        batches.split(batch_id)
    enqueue_batches()
    for dataset in queue.stale_datasets():
        enqueue.send(order_queue, dataset.pk)
    for dataset in Dataset.objects.in_use():
        quality.begin_if_stale(dataset)
    lifecycle.not_enqueued(
        [run.pk for run in lifecycle.due() if not enqueue.send(RUN_TASKS[run.kind], run.pk)]
    )


@shared_task
def build_release(run_id: int) -> None:
    run = Run.objects.select_related("release__dataset").filter(pk=run_id).first()
    if run is None or not run.start():
        return
    try:
        release = releases.build(run.release, run.update_progress)
    except Cancelled:
        return
    except releases.ReleaseError as error:
        run.fail(str(error))
    except Exception as error:
        run.fail(f"{type(error).__name__}: {error}")
        raise
    else:
        run.finish(number=release.number, rows=release.rows)


@shared_task
def report_leakage(run_id: int) -> None:
    run = Run.objects.select_related("dataset").filter(pk=run_id).first()
    if run is None or not run.start():
        return
    try:
        leakage.carry_out(run)
    except Cancelled:
        return
    except Exception as error:
        run.fail(f"The report stopped at an error: {type(error).__name__}.")
        raise


@shared_task
def import_file(run_id: int) -> None:
    run = Run.objects.select_related("dataset", "upload").filter(pk=run_id).first()
    if run is None or not run.start():
        return
    try:
        stored = imports.carry_out(run)
    except Exception as error:
        # Not the error's own words: they may hold text of the file, paths or SQL. The log has them.
        run.fail(f"The import stopped at an error ({type(error).__name__}) and nothing was stored.")
        raise
    if stored:
        enqueue.enqueue(score_missing, run.dataset_id)


@shared_task
def compute_statistics(run_id: int) -> None:
    run = Run.objects.select_related("dataset").filter(pk=run_id).first()
    if run is None or not run.start():
        return
    try:
        quality.carry_out(run)
    except Cancelled:
        return
    except Exception as error:
        run.fail(f"{type(error).__name__}: {error}")
        raise


@shared_task
def train_model(run_id: int) -> None:
    run = Run.objects.select_related("dataset").filter(pk=run_id).first()
    if run is None or not run.start():
        return
    try:
        train_here(run, trainer(training.config_of_run(run)), is_stopping)
    except Exception as error:
        run.fail(f"{type(error).__name__}: {error}", **run.result)
        raise


@shared_task
def evaluate_version(run_id: int) -> None:
    run = Run.objects.select_related("dataset", "version").filter(pk=run_id).first()
    if run is None or not run.start():
        return
    try:
        evaluation.carry_out(run, scorer_of, stopping=is_stopping)
    except Exception as error:
        run.fail(f"{type(error).__name__}: {error}")
        raise


@shared_task
def decide(run_id: int) -> None:
    run = Run.objects.select_related("dataset").filter(pk=run_id).first()
    if run is None or not run.start():
        return
    try:
        deciding.carry_out(run)
    except Exception as error:
        run.fail(f"The final labels could not be updated ({type(error).__name__}). The earlier ones stand.")
        raise


@shared_task
def delete_dataset(run_id: int) -> None:
    run = Run.objects.filter(pk=run_id).first()
    if run is None or not run.start():
        return
    try:
        deleting.carry_out(run, is_stopping)
    except Exception as error:
        run.fail(f"The deletion stopped at an error ({type(error).__name__}). Try again to continue.")
        raise
    training.sweep(settings.DATA_DIR / "training")


RUN_TASKS: dict[str, Task] = {
    Run.Kind.DELETE: delete_dataset,
    Run.Kind.RELEASE: build_release,
    Run.Kind.IMPORT: import_file,
    Run.Kind.LEAKAGE: report_leakage,
    Run.Kind.STATISTICS: compute_statistics,
    Run.Kind.DECIDE: decide,
    Run.Kind.TRAIN: train_model,
    Run.Kind.EVALUATE: evaluate_version,
}


# --- training and evaluating --------------------------------------------------------------------------------


def is_stopping() -> bool:
    """Whether this worker was told to end: what it does is handed back, for the next one to go on with."""
    return worker_state.should_stop is not None or worker_state.should_terminate is not None


def scorer_of(version: ModelVersion) -> Scorer:
    """For completions of which not every sibling is evaluated."""
    return alone(load_scorer(version))


def train_here(
    run: Run, train: training.Train, stopping: Callable[[], bool] = lambda: False
) -> ModelVersion | None:
    """Carry a started training out in this process."""
    config = training.config_of_run(run)

    def look(model: Path, pairs: Path) -> dict[str, Any]:
        return look_over(model, pairs, config)

    def inspect_trained(folder: Path, base: ModelVersion, max_length: int) -> training.Checkpoint:
        return inspect(folder, max_length, base.precision)

    tools = training.Tools(look, train, inspect_trained, scorer_of)
    return training.carry_out(run, tools, settings.DATA_DIR / "training", stopping)


def evaluate_here(run: Run, progress: Callable[[int, int], object]) -> Evaluation | None:
    """Carry a started evaluation out in this process."""

    def going_on(done: int, total: int) -> bool:
        progress(done, total)
        return True

    return evaluation.carry_out(run, scorer_of, going_on)


def trainer(config: TrainConfig) -> training.Train:
    """The training of scoring with these settings. A folder that is there already was trained to its end by a
    worker that died before it could say so."""

    def train(model: Path, pairs: Path, out: Path, report: Report) -> dict[str, Any]:
        from scoring.train import train as train_model  # slow: torch

        if not out.is_dir():
            load_engine.cache_clear()  # the memory of a loaded model is wanted now
            train_model(model, pairs, out, config, report=report, device=settings.DEVICE)
        manifest, metrics = (
            json.loads((out / f"{name}.json").read_text()) for name in ("training", "metrics")
        )
        return {**manifest, "metrics": metrics}

    return train


def look_over(model: Path, pairs: Path, config: TrainConfig) -> dict[str, Any]:
    """The preflight of scoring: every pair tokenised, nothing trained."""
    from scoring import preflight
    from scoring.pairs import read_training_data

    return asdict(preflight.look_over(model, read_training_data(pairs), config))


def preflight(release: Release, base: ModelVersion, config: TrainConfig) -> dict[str, Any]:
    """What `look_over` says of a release and a base. Raises Refused."""
    model = registry.local_checkpoint(base, settings.DATA_DIR / "cache" / "checkpoints")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            releases.copy_to(release, Path(scratch) / "release")
            return look_over(model, Path(scratch) / "release", config)
        except (ValueError, releases.ReleaseError) as error:
            raise Refused(str(error)) from error


def inspect(
    folder: Path,
    max_length: int,
    precision: str,
    check: Callable[[Scorer], None] | None = None,
    token_types: str | None = None,
) -> training.Checkpoint:
    """Compare a model folder with plain `transformers` and load it: what pins it, its known answers, how far
    its bf16 strays from fp32 on real texts. Raises ValueError, or what `check` raises of the loaded model."""
    from scoring.checkpoint import files_of
    from scoring.engine import load
    from scoring.proof import prove

    checkpoint = prove(folder, max_length, token_types=token_types, device=settings.DEVICE)
    engine = load(folder, max_length=max_length, precision=precision, device=settings.DEVICE)
    if engine.note:
        log.info("%s: %s", folder.name, engine.note)
    if check is not None:
        check(engine)
    facts = {
        "architecture": checkpoint.architecture,
        "parameters": checkpoint.parameters,
        "weights_sha256": checkpoint.weights_sha256,
        "tokenizer_sha256": checkpoint.tokenizer_sha256,
        "max_length": max_length,
        "precision": precision,
        "guard": _guard(engine),
        "self_test": registry.known_answers(engine.alone),
    }
    return training.Checkpoint(files_of(checkpoint), facts)


def _guard(engine: "Engine") -> float | None:
    """How far bf16 strays from fp32 on real texts, with room to spare; None where bf16 is not used."""
    from scoring.engine import measure_guard

    return measure_guard(engine, _sample()) if engine.exact_order else None


def _sample() -> list[Pair]:
    """Texts of many lengths and scripts that are always there: the demo's."""
    path = settings.BASE_DIR / "demo" / "prompts.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    return [(prompt_text(row["prompt"]), c["text"]) for row in rows for c in row["completions"]]


# --- the worker itself --------------------------------------------------------------------------------------


class Heartbeat(threading.Thread):
    """Writes "I am alive" to this worker's row while the main thread works."""

    SECONDS = 5.0

    def __init__(self, queues: str) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self.queues = queues
        self.device = ""  # known once a model is loaded
        self.stopped = threading.Event()
        self.started_at = timezone.now()

    def run(self) -> None:
        while not self.stopped.wait(self.SECONDS):
            self.beat()

    def beat(self) -> None:
        now = timezone.now()
        seen = {"queues": self.queues, "device": self.device, "started_at": self.started_at, "last_seen": now}
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
