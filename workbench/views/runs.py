from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from workbench import access, tasks
from workbench.models import Completion, Role, Run, ScoreBatch, Worker
from workbench.pipeline import scoring
from workbench.views import Request

# htmx stops polling when it is answered with this status.
STOP_POLLING = 286
POLL_SECONDS = 2
RUNS_A_PAGE = 50
BATCHES_SHOWN = 100
STUCK_SHOWN = 5
WORKER_REMEMBERED = timedelta(days=1)


@dataclass(frozen=True)
class Unserved:
    """A queue that open Runs wait in while no worker that serves it is alive; `last_seen` is when one was."""

    queue: str
    runs: int
    last_seen: datetime | None


@dataclass(frozen=True)
class Stuck:
    """A worker that holds a batch and has not been heard of on it since `heard`: stuck or dead."""

    worker: str
    completions: int
    heard: datetime


@dataclass(frozen=True)
class Workforce:
    """The workers as they last reported, the latest first, and what they leave undone."""

    workers: list[Worker]
    unserved: list[Unserved]
    stuck: list[Stuck]


@dataclass(frozen=True)
class FailedBatch:
    """A ScoreBatch that failed, and its completions: one, unless a model could not be loaded at all."""

    batch: ScoreBatch
    completions: list[Completion]


def workforce(runs: Collection[Run]) -> Workforce:
    """The state of the workers for these Runs. Two queries at most."""
    workers = list(Worker.objects.all())
    waiting = Counter(run.queue for run in runs if run.is_open)
    served = {queue for worker in workers if worker.is_alive for queue in worker.queues.split(", ")}
    unserved = [
        Unserved(queue, count, next((w.last_seen for w in workers if w.serves(queue)), None))
        for queue, count in sorted(waiting.items())
        if queue not in served
    ]
    recently = timezone.now() - WORKER_REMEMBERED
    scoring_now = [run for run in runs if run.kind == Run.Kind.SCORE and run.state == Run.State.RUNNING]
    stuck = _stuck(scoring_now) if scoring_now else []
    return Workforce([worker for worker in workers if worker.last_seen > recently], unserved, stuck)


def _stuck(runs: Iterable[Run]) -> list[Stuck]:
    lease = settings.LEASE_SECONDS
    held = ScoreBatch.objects.stuck(lease).filter(run__in=runs).values_list("worker", "size", "lease_until")
    return [
        Stuck(worker, size, until - timedelta(seconds=lease))
        for worker, size, until in held[:STUCK_SHOWN]
        if until is not None
    ]


@require_safe
@vary_on_headers("HX-Request")
def runs(request: Request, pk: int) -> HttpResponse:
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    page = Paginator(Run.objects.of(dataset).for_list(), RUNS_A_PAGE).get_page(request.GET.get("page"))
    runs = list(page.object_list)
    context = {"dataset": dataset, "tab": "runs", "page": page, "runs": runs, "workforce": workforce(runs)}
    return _polled(request, "runs/runs.html", "runs/table.html", context, any(run.is_open for run in runs))


@require_safe
@vary_on_headers("HX-Request")
def run(request: Request, pk: int) -> HttpResponse:
    run = access.run_for(request.user, pk)
    context = {
        "dataset": run.dataset,
        "tab": "runs",
        "run": run,
        "workforce": workforce([run]),
        "failed": _with_completions(run.batches.failed().order_by("pk")[:BATCHES_SHOWN]),
        "failed_count": run.batches.failed().count(),
        "by_worker": run.batches.by_worker(),
        "outcome": [
            (name.replace("_", " "), v) for name, v in run.result.items() if isinstance(v, int | str)
        ],
    }
    return _polled(request, "runs/run.html", "runs/progress.html", context, run.is_open)


def _with_completions(batches: Iterable[ScoreBatch]) -> list[FailedBatch]:
    """Each batch with the completions that it could not score. One query for all of them."""
    listed = list(batches)
    found = Completion.objects.in_bulk([pk for batch in listed for pk in batch.completion_ids])
    return [FailedBatch(batch, [found[pk] for pk in batch.completion_ids if pk in found]) for batch in listed]


def _polled(
    request: Request, page: str, part: str, context: Mapping[str, object], going: bool
) -> HttpResponse:
    """The page, or for htmx the part of it that changes; htmx is told to stop asking when nothing is open."""
    if not request.htmx:
        return render(request, page, {**context, "going": going})
    return render(request, part, {**context, "going": going}, status=200 if going else STOP_POLLING)


@require_POST
def run_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    run = access.run_for(request.user, pk)
    cancelled = scoring.cancel(run) if run.kind == Run.Kind.SCORE else run.cancel()
    if not cancelled:
        messages.warning(request, f"{run} had ended before it could be cancelled.")
    return redirect("run", pk=run.pk)


@require_POST
def run_retry(request: HttpRequest, pk: int) -> HttpResponse:
    run = access.run_for(request.user, pk)
    again = _retry(run, request)
    if again is None:
        messages.warning(request, f"{run} has nothing to try again.")
        return redirect("run", pk=run.pk)
    tasks.ring_run.delay_on_commit(again.pk)
    return redirect("run", pk=again.pk)


def _retry(run: Run, request: HttpRequest) -> Run | None:
    """The Run that carries on: the same one, or for a score Run that was cancelled or failed as a whole a new
    one over what lacks a Score. None when nothing is left to do."""
    if run.kind != Run.Kind.SCORE:
        return run if run.retry() else None
    if scoring.retry_failed(run):
        return run
    if run.is_open or run.dataset is None or run.version is None:
        return None
    return scoring.plan(run.dataset, run.version, access.person(request.user))
