"""The installation, for staff: what needs attention, workers and queues, and the allowed hosts."""

import shutil
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router, Schema

from workbench import __version__, access, health
from workbench.api.runs import RunOut
from workbench.api.sending import After, Body, created, form_data, page_of, valid
from workbench.forms.hub import HostForm
from workbench.models import AllowedHost, Run, ServerError
from workbench.pipeline import backup
from workbench.pipeline.hub import hosts
from workbench.worker import workforce

router = Router(tags=["system"])

RECENT = timedelta(days=1)
LISTED = 50


class WorkerOut(Schema):
    """A worker as it last reported. queues: the names of those that it serves."""

    name: str
    is_alive: bool
    queues: str
    device: str
    version: str
    texts_scored: int
    started_at: datetime
    last_seen: datetime
    stopped_at: datetime | None


class QueueOut(Schema):
    """What waits in a queue. age: of the oldest that waits, in seconds; 0 = none waits."""

    name: str
    waiting: int
    running: int
    age: float
    workers: int

    @staticmethod
    def resolve_age(queue: Any) -> float:
        return float(queue.age.total_seconds())


class FailureOut(Schema):
    """Requests of the last day that ended in an error of the workbench."""

    view: str
    error: str
    count: int
    last: datetime


class SystemOut(Schema):
    """faults: what needs attention, in sentences. disk: in bytes. failed, errors: of the last day."""

    version: str
    faults: list[str]
    workers: list[WorkerOut]
    queues: list[QueueOut]
    disk_free: int
    disk_total: int
    backup_at: datetime | None
    failed: list[RunOut]
    errors: list[FailureOut]


class HostOut(Schema):
    """A host that workers may ask. added_by: the name of the account."""

    id: int
    name: str
    added_by: str | None
    created_at: datetime

    @staticmethod
    def resolve_added_by(host: Any) -> str | None:
        return host.added_by.username if host.added_by else None


class Hosts(Schema):
    items: list[HostOut]
    next_after: int | None


class HostWanted(Body):
    """name: as in huggingface.co; with its port unless that is 443."""

    name: str


@router.get("/system", response=SystemOut)
def read_system(request: HttpRequest) -> dict[str, object]:
    """What needs attention, and how workers, queues, disk and backups are. Needs staff."""
    access.staff_only(request.user)
    since, failures = timezone.now() - RECENT, health.failures()
    disk, latest = shutil.disk_usage(settings.DATA_DIR), backup.latest()
    return {
        "version": __version__,
        "faults": [*failures.values(), *health.warnings(failures).values()],
        "workers": list(workforce.remembered()),
        "queues": list(workforce.queues()),
        "disk_free": disk.free,
        "disk_total": disk.total,
        "backup_at": backup.made_at(latest) if latest else None,
        "failed": list(
            Run.objects.failed_since(since).select_related("release").order_by("-finished_at")[:LISTED]
        ),
        "errors": list(ServerError.objects.since(since)[:LISTED]),
    }


@router.get("/hosts", response=Hosts)
def list_hosts(request: HttpRequest, after: Query[After]) -> dict[str, object]:
    """The hosts that workers may send requests to. Needs staff."""
    access.staff_only(request.user)
    return page_of(AllowedHost.objects.select_related("added_by"), after, lambda host: host)


@router.post("/hosts", response={201: HostOut})
def allow_host(request: HttpRequest, body: HostWanted) -> HttpResponse:
    """Allow workers to send requests to a host. Needs staff."""
    person = access.staff_only(request.user)
    name = valid(HostForm(form_data(HostForm, body.model_dump()))).cleaned_data["name"]
    host = hosts.allow(name, person)
    return created(HostOut.from_orm(host), f"/api/v1/hosts/{host.pk}")


@router.delete("/hosts/{id:pk}", response={204: None})
def remove_host(request: HttpRequest, pk: int) -> HttpResponse:
    """Allow no more requests to a host. Needs staff."""
    person = access.staff_only(request.user)
    host = AllowedHost.objects.filter(pk=pk).first()
    if host is None:
        raise Http404
    hosts.remove(host, person)
    return HttpResponse(status=204)
