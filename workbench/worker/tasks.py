"""The tasks of workers: fetch the row of a message, and call the pipeline. A row that is deleted or taken is
no error, since a message may come late or twice."""

import logging
import time
from collections.abc import Callable
from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from workbench.db.away import is_disk_full
from workbench.models import (
    Act,
    Dataset,
    Event,
    KeptAnswer,
    ModelVersion,
    PromptChange,
    Run,
    ScoreBatch,
    ServerError,
)
from workbench.pipeline import backup, imports, quality, releases
from workbench.pipeline.annotate import queue, requirements
from workbench.pipeline.data import search_index, viewed
from workbench.pipeline.datasets import deleting
from workbench.pipeline.decisions import deciding
from workbench.pipeline.hub import fetching, pushing
from workbench.pipeline.model import adding, evaluation, plan, training
from workbench.pipeline.people import invitations, pausing
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.runs.progress import Refused, is_for_people
from workbench.pipeline.scoring import batches
from workbench.pipeline.text import leakage
from workbench.pipeline.topics import figures as topic_figures
from workbench.pipeline.topics import run as topics
from workbench.pipeline.topics.placing import place_new
from workbench.pipeline.vectors import run as vectors
from workbench.worker import encoders, enqueue, mails, scorers
from workbench.worker.heartbeat import WORKER, Heartbeat, is_stopping
from workbench.worker.training import register_here, train_here, trainer

log = logging.getLogger(__name__)

INDEXING = timedelta(seconds=5)
"""Time of one task that makes texts findable: other work gets its turn in between."""

# --- scoring ------------------------------------------------------------------------------------------------


@shared_task
def score_batch(batch_id: int) -> None:
    while True:
        try:
            return _score_batch(batch_id)
        except (OperationalError, InterfaceError) as error:
            # Without this wait, the worker would use up all messages. They are sent again only after half a
            # lease, and another worker takes the batch only after a whole lease.
            is_full = is_disk_full(error)
            why, every = (batches.DISK_IS_FULL, 10.0) if is_full else ("The database went away.", 1.0)
            log.warning("%s %s waits for it", why, WORKER, exc_info=not is_full)
            if not hand_back_when_database_is_back(batch_id, why, every):
                raise


def hand_back_when_database_is_back(batch_id: int, why: str, every: float) -> bool:
    """Wait until the database can be written, and hand the batch back; False when the worker should end."""
    while not is_stopping():
        time.sleep(every)
        connection.close()
        try:
            batches.hand_back(ScoreBatch(pk=batch_id), WORKER, why, is_counted=False)
        except (OperationalError, InterfaceError):
            continue
        return True
    return False


def _score_batch(batch_id: int) -> None:
    batch = ScoreBatch.objects.select_related("run", "version").filter(pk=batch_id).first()
    if batch is None or not batch.run.is_open:
        return
    try:
        score = scorers.load_scorer(batch.version)
    except Exception as error:
        log.warning("%s could not be loaded", batch.version, exc_info=True)
        why = str(error) if is_for_people(error) else type(error).__name__
        if isinstance(error, ValueError):
            batch.run.fail(f"{WORKER} could not load {batch.version}: {why}")
        else:  # any error of a storage: the storage comes back, and the message is sent again
            batch.run.hold_up(f"{WORKER} could not load {batch.version} and tries again: {why}")
        return
    seconds = settings.LEASE_SECONDS
    together = scorers.bounded(scorers.sharing_guard(batch.version, score), seconds)
    alone = scorers.bounded(scorers.alone(score), seconds)
    is_ours = batches.work(batch, together, WORKER, seconds, alone)
    if is_ours and batch.version.kind == ModelVersion.Kind.TRANSFORMER:
        Heartbeat.texts_scored += batch.size
    enqueue_batches()


@shared_task
def score_missing(dataset_id: int) -> None:
    """Plan and enqueue batches for the Scores that the active version and the baselines lack."""
    dataset = Dataset.objects.in_use().filter(pk=dataset_id).first()
    if dataset is not None:
        batches.plan_missing(dataset)
        enqueue_batches()


def enqueue_scoring() -> None:
    """Have every Dataset in use scored by the active version, the newest Dataset first."""
    for dataset_id in Dataset.objects.in_use().order_by("-created_at", "-pk").values_list("pk", flat=True):
        enqueue.enqueue(score_missing, dataset_id)


def enqueue_after(act: Act) -> None:
    """Tell the workers what an act on prompts has left to them."""
    if act.kind == Act.Kind.RESCORE:
        enqueue.enqueue(enqueue_batches)
    elif act.kind == Act.Kind.COPY:
        enqueue.enqueue(score_missing, act.details["to"])
        enqueue.enqueue(index_texts, act.details["to"])


@shared_task
def order_queue(dataset_id: int) -> None:
    dataset = queue.stale_datasets().filter(pk=dataset_id).first()
    if dataset is not None:
        requirements.renew(dataset)  # first, as nobody gets a pair without
        viewed.put_view_first(dataset)
        viewed.renew_given(dataset)
        queue.renew_all(dataset)


@shared_task
def enqueue_batches() -> None:
    """Send the messages of due batches. A message expires when the next one for its batch is sent."""
    enqueue_again = settings.LEASE_SECONDS / 2
    due = batches.due(timedelta(seconds=enqueue_again))
    batches.not_enqueued([pk for pk in due if not enqueue.send(score_batch, pk, expires=enqueue_again)])


# --- search -------------------------------------------------------------------------------------------------


@shared_task
def index_texts(dataset_id: int) -> None:
    """Make new texts of a Dataset findable, some at a time. Imports into it that wait go first."""
    if Run.objects.open().of_kind(Run.Kind.IMPORT).filter(dataset=dataset_id).exists():
        return
    until = timezone.now() + INDEXING
    if not search_index.index_waiting(dataset_id, lambda: timezone.now() < until and not is_stopping()):
        enqueue.send(index_texts, dataset_id)


# --- mails --------------------------------------------------------------------------------------------------


@shared_task
def send_invitations(dataset_id: int) -> None:
    """Send the mails of a Dataset that are due, some at a time."""
    if mails.send_some(dataset_id):
        enqueue.send(send_invitations, dataset_id)


# --- Runs ---------------------------------------------------------------------------------------------------


def enqueue_run(run: Run) -> None:
    """Tell the workers of the Run's queue, once the transaction is committed, that the Run waits."""
    if run.kind == Run.Kind.SCORE:
        enqueue.enqueue(enqueue_batches)
    else:
        enqueue.enqueue(carry_out, run.pk, queue=run.queue)


@shared_task
def carry_out(run_id: int) -> None:
    """Carry out a Run of any kind but Score, unless another worker has taken it."""
    related = "dataset", "version", "upload", "release__dataset"
    run = Run.objects.select_related(*related).filter(pk=run_id).first()
    if run is not None and run.start():
        log.info("%s begins", run)
        lifecycle.carry_out(run, ACTS[run.kind], is_stopping)


def _import(run: Run) -> None:
    if imports.carry_out(run):
        enqueue.enqueue(score_missing, run.dataset_id)
        enqueue.enqueue(index_texts, run.dataset_id)


def _train(run: Run) -> None:
    train_here(run, trainer(plan.config_of_run(run)), is_stopping)


def _register(run: Run) -> None:
    register_here(run, is_stopping)
    if run.result.get("serves"):
        enqueue_scoring()


def _evaluate(run: Run) -> None:
    evaluation.carry_out(run, scorers.scorer_of, lambda *_: not is_stopping())


def _delete(run: Run) -> None:
    deleting.carry_out(run, is_stopping)
    training.sweep(settings.DATA_DIR / "training")


def _vectors(run: Run) -> None:
    if not vectors.carry_out(run, encoders.load_encoder, is_stopping):
        enqueue.enqueue(carry_out, run.pk, queue=run.queue)
    elif run.dataset:
        place_new(run.dataset)
        if due := topics.begin_if_due(run.dataset):
            enqueue_run(due)


def _statistics(run: Run) -> None:
    if quality.carry_out(run) and run.dataset:
        topic_figures.measure(run.dataset)


def _fetch(run: Run) -> None:
    fetching.carry_out(run, is_stopping)


def _push(run: Run) -> None:
    pushing.carry_out(run, is_stopping)


def _backup(run: Run) -> None:
    target = backup.open_target(settings.BACKUP_TARGET, settings.S3_ENDPOINT, settings.S3_REGION)
    backup.carry_out(run, target, settings.DATA_DIR, settings.BACKUP_KEEP)


ACTS: dict[str, Callable[[Run], object]] = {
    Run.Kind.IMPORT: _import,
    Run.Kind.RELEASE: releases.carry_out,
    Run.Kind.LEAKAGE: leakage.carry_out,
    Run.Kind.STATISTICS: _statistics,
    Run.Kind.DECIDE: deciding.carry_out,
    Run.Kind.TRAIN: _train,
    Run.Kind.EVALUATE: _evaluate,
    Run.Kind.REGISTER: _register,
    Run.Kind.DELETE: _delete,
    Run.Kind.VECTORS: _vectors,
    Run.Kind.TOPICS: topics.carry_out,
    Run.Kind.FETCH: _fetch,
    Run.Kind.PUSH: _push,
    Run.Kind.BACKUP: _backup,
}
"""The function that carries out and finishes a started Run, by kind."""


def _begin_vectors() -> None:
    """Begin the vectors that Datasets lack, where an encoder is installed."""
    try:
        encoder = encoders.opened().sha256
    except Refused as refused:
        log.debug("No vectors: %s", refused)
        return
    for dataset in Dataset.objects.in_use():
        vectors.begin_if_stale(dataset, encoder)


@shared_task
def reconcile() -> None:
    """Enqueue again all work that no worker has taken: messages are lost with a broker, and workers die."""
    for dataset in Dataset.objects.needing_scores():
        batches.plan_missing(dataset)
    for batch_id in batches.out_of_attempts():
        batches.split(batch_id)
    enqueue_batches()
    for dataset in Dataset.objects.needing_words(timezone.now() - 2 * INDEXING):
        enqueue.send(index_texts, dataset.pk, expires=settings.RECONCILE_SECONDS)
    for dataset in queue.stale_datasets():
        enqueue.send(order_queue, dataset.pk)
    for dataset in Dataset.objects.in_use().exclude(first_view=None):
        viewed.put_view_first(dataset)  # what a view finds changes with every vote
    for dataset in Dataset.objects.in_use().filter(members__views__isnull=False).distinct():
        viewed.renew_given(dataset)
    for dataset in Dataset.objects.in_use():
        quality.begin_if_stale(dataset)
        pausing.look_at_latest(dataset)
    _begin_vectors()
    adding.sweep()
    PromptChange.objects.forget_old()
    ServerError.objects.forget_old()
    KeptAnswer.objects.forget_old(timezone.now())
    Event.objects.forget_old()
    invitations.note_lost()
    for dataset_id in invitations.datasets_to_send():
        enqueue.send(send_invitations, dataset_id, expires=settings.RECONCILE_SECONDS)
    if settings.BACKUP_TARGET:
        backup.begin_if_due(timedelta(hours=settings.BACKUP_HOURS))
    lifecycle.not_enqueued(
        [run.pk for run in lifecycle.due() if not enqueue.send(carry_out, run.pk, queue=run.queue)]
    )
