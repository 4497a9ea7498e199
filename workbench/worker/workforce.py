"""The workers as they last reported, and what open Runs wait for, for the pages of Runs."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Min
from django.utils import timezone

from workbench.models import Run, ScoreBatch, Worker
from workbench.models.runs import QUEUES, WorkerQuerySet
from workbench.templatetags.figures import duration
from workbench.worker import enqueue

STUCK_SHOWN = 5
WORKER_REMEMBERED = timedelta(days=1)


@dataclass(frozen=True)
class StalledQueue:
    """A queue with open Runs and no live worker; `last_seen` is when a worker last served it."""

    queue: str
    runs: int
    last_seen: datetime | None


@dataclass(frozen=True)
class Stuck:
    """A worker, stuck or dead, that holds a batch and has been silent since `heard`."""

    worker: str
    completions: int
    heard: datetime


@dataclass(frozen=True)
class Workforce:
    """The workers, the latest first, and what they leave undone. `broker_away`: Runs wait, and no message
    reaches a worker. `queued`: what each waiting Run waits for, by its primary key."""

    workers: list[Worker]
    stalled: list[StalledQueue]
    stuck: list[Stuck]
    broker_away: bool
    queued: dict[int, str]


def workforce(runs: Collection[Run]) -> Workforce:
    """The state of the workers for these Runs. Three queries at most."""
    workers = list(Worker.objects.all())
    alive = [worker for worker in workers if worker.is_alive]
    served = {queue for worker in alive for queue in worker.queues.split(", ")}
    stalled = [
        StalledQueue(queue, count, next((w.last_seen for w in workers if w.serves(queue)), None))
        for queue, count in sorted(Counter(run.queue for run in runs if run.is_open).items())
        if queue not in served
    ]
    scoring = [run for run in runs if run.kind == Run.Kind.SCORE and run.state == Run.State.RUNNING]
    waiting = [run for run in runs if run.state == Run.State.WAITING]
    open_runs = list(Run.objects.open().without_result().order_by("pk")) if waiting else []
    recently = timezone.now() - WORKER_REMEMBERED
    return Workforce(
        workers=[worker for worker in workers if worker.last_seen > recently],
        stalled=stalled,
        stuck=_stuck(scoring) if scoring else [],
        broker_away=bool(waiting) and not enqueue.broker_answers(),
        queued={run.pk: _waits_for(run, open_runs, alive) for run in waiting},
    )


@dataclass(frozen=True)
class Queue:
    """A Celery queue as the database knows it. waiting, running: Runs, and for "score" batches; age: of the
    oldest that waits; workers: how many live workers serve it."""

    name: str
    waiting: int
    running: int
    age: timedelta
    workers: int


def queues() -> list[Queue]:
    """All queues. Three queries."""
    now, alive = timezone.now(), list(Worker.objects.alive())
    waiting, running = Counter[str](), Counter[str]()
    since: dict[str, datetime] = {}
    runs = Run.objects.open().exclude(kind=Run.Kind.SCORE)
    for kind, state, created in runs.values_list("kind", "state", "created_at"):
        queue = QUEUES.get(kind, "work")
        if state == Run.State.RUNNING:
            running[queue] += 1
        else:
            waiting[queue] += 1
            since[queue] = min(created, since.get(queue, created))
    # A batch is as old as its Run: batches of one Run are made together.
    batches = ScoreBatch.objects.unfinished().order_by().values("state")
    for row in batches.annotate(count=Count("pk"), oldest=Min("run__created_at")):
        if row["state"] == ScoreBatch.State.LEASED:
            running["score"] += row["count"]
        else:
            waiting["score"] += row["count"]
            since["score"] = min(row["oldest"], since.get("score", row["oldest"]))
    return [
        Queue(
            name,
            waiting[name],
            running[name],
            now - since.get(name, now),
            sum(worker.serves(name) for worker in alive),
        )
        for name in ("work", "score", "train")
    ]


def remembered() -> WorkerQuerySet:
    """The workers of the last day, the latest first."""
    return Worker.objects.filter(last_seen__gt=timezone.now() - WORKER_REMEMBERED)


def is_served(queue: str) -> bool:
    """Whether a live worker serves the queue."""
    return any(worker.serves(queue) for worker in Worker.objects.alive())


def _waits_for(run: Run, open_runs: Iterable[Run], alive: Iterable[Worker]) -> str:
    """What a waiting Run waits for; with a time where every Run ahead has begun and so has a rate.
    `open_runs` come by primary key; `alive` are the live workers."""
    workers = [worker for worker in alive if worker.serves(run.queue)]
    if not workers:
        return f"Queued: no worker serves the queue “{run.queue}”."
    queues = {queue for worker in workers for queue in worker.queues.split(", ")}
    rivals = [rival for rival in open_runs if rival.queue in queues and rival.pk != run.pk]
    ahead = [rival for rival in rivals if rival.pk < run.pk or rival.state == Run.State.RUNNING]
    # All workers share the batches of one score Run, and take score Runs one after the other.
    slots = 1 if run.kind == Run.Kind.SCORE else len(workers)
    to_end = len(ahead) - slots + 1
    if to_end <= 0:
        return "Queued: starts in a moment."
    begun = [rival for rival in ahead if rival.state == Run.State.RUNNING]
    times_left = [rival.time_left for rival in begun]
    if to_end == 1 and len(begun) == len(ahead) and None not in times_left:
        first = min(begun, key=lambda rival: rival.time_left or timedelta.max)
        return f"Queued: starts when {first} is done, about {duration(first.time_left)}."
    if slots == 1:
        last = max(ahead, key=lambda rival: (rival.state == Run.State.WAITING, rival.pk))
        return f"Queued: starts when {last} is done."
    are = "is" if to_end == 1 else "are"
    return f"Queued: starts when {to_end} of {len(ahead)} earlier runs {are} done."


def _stuck(runs: Iterable[Run]) -> list[Stuck]:
    lease = settings.LEASE_SECONDS
    stuck = ScoreBatch.objects.stuck(lease).filter(run__in=runs)
    return [
        Stuck(worker, size, until - timedelta(seconds=lease))
        for worker, size, until in stuck.values_list("worker", "size", "lease_until")[:STUCK_SHOWN]
        if until is not None
    ]
