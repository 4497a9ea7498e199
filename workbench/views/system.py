"""The system page, for staff: what needs attention, workers, queues, disk, backups and recent errors; and the
metrics, for Prometheus."""

import shutil
from datetime import timedelta
from hmac import compare_digest

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core import checks
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from workbench import __version__, access, health
from workbench.metrics import exposition
from workbench.models import Run, ServerError
from workbench.pipeline import backup
from workbench.pipeline.webhooks.managing import unfinished
from workbench.views import Request
from workbench.worker import workforce

POLL_SECONDS = 10
RECENT = timedelta(days=1)
SHOWN = 50
"""Failed runs, and errors of pages, that are listed at most."""


@require_safe
def system(request: Request) -> HttpResponse:
    """The page, or for a poll of it the part that changes."""
    access.staff_only(request.user)
    since = timezone.now() - RECENT
    failures = health.failures()
    disk = shutil.disk_usage(settings.DATA_DIR)
    workers = list(workforce.remembered())
    backup_at = backup.made_at(latest) if (latest := backup.latest()) else None
    failed = Run.objects.failed_since(since).for_list().without_result()
    context = {
        "poll_seconds": POLL_SECONDS,
        "faults": [*failures.values(), *health.warnings(failures).values()],
        "old_workers": [w for w in workers if w.is_alive and w.version != __version__],
        "version": __version__,
        "workers": workers,
        "queues": workforce.queues(),
        "free": disk.free,
        "whole": disk.total,
        "used_percent": round(100 * (1 - disk.free / disk.total)),
        "backup_at": backup_at,
        "backup_age": timezone.now() - backup_at if backup_at else None,
        "backup_target": settings.BACKUP_TARGET,
        "webhooks": unfinished(),
        "failed": failed.order_by("-finished_at")[:SHOWN],
        "errors": ServerError.objects.since(since)[:SHOWN],
        "has_metrics": bool(settings.METRICS_TOKEN),
        "checks": [] if request.htmx else _configuration(),
    }
    return render(request, "system/now.html" if request.htmx else "system/system.html", context)


def _configuration() -> list[str]:
    """What Django's own checks for a deployment find, as sentences."""
    found = checks.run_checks(include_deployment_checks=True)
    return [f"{one.msg.partition('. ')[0].rstrip('.')} ({one.id})." for one in found if not one.is_silenced()]


@require_safe
@login_not_required
def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics, for whoever sends METRICS_TOKEN as a bearer token; 404 while no token is set."""
    if not settings.METRICS_TOKEN:
        raise Http404
    given = request.headers.get("Authorization", "")
    if not compare_digest(given.encode(), f"Bearer {settings.METRICS_TOKEN}".encode()):
        return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(exposition(), content_type=CONTENT_TYPE_LATEST)
