"""Metrics for Prometheus: requests of all web processes of this machine, and what the database says of
queues, workers, votes and backups. They hold no text and no name of a person."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

SHARED = "PROMETHEUS_MULTIPROC_DIR"


def _shared_folder() -> Path:
    """The folder in which the web processes of one gunicorn keep their counts, made anew; folders of
    processes that have ended are removed."""
    root = settings.DATA_DIR / "metrics"
    folder = root / str(os.getppid())
    folder.mkdir(parents=True, exist_ok=True)
    for other in root.iterdir():
        if other.name.isdigit() and not Path(f"/proc/{other.name}").exists() and Path("/proc").exists():
            shutil.rmtree(other, ignore_errors=True)
    return folder


# Before the import: the library looks for it once.
if settings.METRICS_TOKEN:
    os.environ.setdefault(SHARED, str(_shared_folder()))

from prometheus_client import CollectorRegistry, Histogram, generate_latest  # noqa: E402
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: E402
from prometheus_client.metrics_core import Metric  # noqa: E402
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402
from prometheus_client.registry import Collector  # noqa: E402

from workbench.models import Claim, Delivery, Judgment, Run  # noqa: E402
from workbench.pipeline import backup  # noqa: E402
from workbench.worker import workforce  # noqa: E402

_SECONDS = (0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
REQUESTS = Histogram(
    "workbench_request_seconds",
    "Seconds to answer a request, by the name of its view",
    ["view", "method", "status"],
    buckets=_SECONDS,
)


class Measure:
    """Counts each request, and how long its answer took."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not settings.METRICS_TOKEN:
            return self.get_response(request)
        start = time.perf_counter()
        response = self.get_response(request)
        # An address that leads nowhere has no view: its text would be a label of its own each time.
        view = request.resolver_match.view_name if request.resolver_match else ""
        method = request.method if request.method in {"GET", "HEAD", "POST"} else "other"
        status = f"{response.status_code // 100}xx"
        REQUESTS.labels(view or "none", method, status).observe(time.perf_counter() - start)
        return response


def _claims() -> int:
    return Claim.objects.filter(state=Claim.State.LIVE, expires_at__gt=timezone.now()).count()


class Stored(Collector):
    """What the database says now."""

    def collect(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("workbench_queue_waiting", "Runs and batches that wait", labels=["queue"])
        running = GaugeMetricFamily("workbench_queue_running", "Runs and batches in work", labels=["queue"])
        oldest = GaugeMetricFamily("workbench_queue_age_seconds", "Age of the oldest", labels=["queue"])
        alive = GaugeMetricFamily("workbench_workers_alive", "Workers that report", labels=["queue"])
        for queue in workforce.queues():
            waiting.add_metric([queue.name], queue.waiting)
            running.add_metric([queue.name], queue.running)
            oldest.add_metric([queue.name], queue.age.total_seconds())
            alive.add_metric([queue.name], queue.workers)
        yield from (waiting, running, oldest, alive)
        yield GaugeMetricFamily("workbench_claims", "Pairs that people hold now", _claims())
        votes = Judgment.objects.for_votes().by_people().count()
        yield CounterMetricFamily("workbench_votes", "Votes of people", votes)
        scored = CounterMetricFamily("workbench_texts_scored", "Texts scored by models", labels=["worker"])
        # Each start of a worker has a name of its own: all of them would be labels without end.
        for name, texts in workforce.remembered().values_list("name", "texts_scored"):
            scored.add_metric([name], texts)
        yield scored
        deliveries = GaugeMetricFamily("workbench_webhooks", "Events for webhooks", labels=["state"])
        for state, count in Delivery.objects.unfinished_by_state():
            deliveries.add_metric([state], count)
        yield deliveries
        failed = GaugeMetricFamily("workbench_runs_failed", "Runs that failed", labels=["kind"])
        for kind, runs in Run.objects.failed_by_kind():
            failed.add_metric([kind], runs)
        yield failed
        if last := backup.latest():
            age = (timezone.now() - backup.made_at(last)).total_seconds()
            yield GaugeMetricFamily("workbench_backup_age_seconds", "Age of the last backup", age)


def exposition() -> bytes:
    """All metrics in the text form of Prometheus."""
    registry = CollectorRegistry()
    if SHARED in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REQUESTS)
    registry.register(Stored())
    return generate_latest(registry)
