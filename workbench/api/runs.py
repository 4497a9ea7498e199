"""Runs: follow, cancel, retry."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema

from workbench import access
from workbench.api.sending import AfterEitherWay, page_of
from workbench.models import Role, Run
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.runs.going_on import go_on
from workbench.pipeline.runs.progress import Refused
from workbench.worker import tasks

router = Router(tags=["runs"])


class RunOut(Schema):
    """A long job. It has ended when `is_open` is false. total: null while nobody knows it. progress: in
    words, as on the pages. release_id: of the release that it builds. error: why it failed, or why it waits.
    result: by its kind."""

    id: int
    kind: str
    state: str
    is_open: bool
    dataset_id: int | None
    version_id: int | None
    release_id: UUID | None
    done: int
    total: int | None
    progress: str
    error: str
    result: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @staticmethod
    def resolve_release_id(run: Run) -> UUID | None:
        release = getattr(run, "release", None) if run.kind == Run.Kind.RELEASE else None
        return release.pk if release else None


class Runs(Schema):
    items: list[RunOut]
    next_after: int | None


def accepted(run: Run) -> HttpResponse:
    """202 with the Run that does the work, and where to follow it."""
    document = RunOut.from_orm(run).model_dump_json()
    headers = {"Location": f"/api/v1/runs/{run.pk}"}
    return HttpResponse(document, status=202, content_type="application/json", headers=headers)


@router.get("/datasets/{id:pk}/runs", response=Runs)
def list_runs(request: HttpRequest, pk: int, after: Query[AfterEitherWay]) -> dict[str, object]:
    """The Runs of a dataset, oldest or newest first."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    runs = Run.objects.of(dataset).select_related("release").defer("release__manifest")
    return page_of(runs, after, lambda run: run)


@router.get("/runs/{id:pk}", response=RunOut)
def read_run(request: HttpRequest, pk: int) -> Run:
    """One Run. Ask again every second or two until `is_open` is false."""
    return access.run_for(request.user, pk)


@router.post("/runs/{id:pk}/cancel", response=RunOut)
def cancel_run(request: HttpRequest, pk: int) -> Run:
    """Stop a Run. A deletion cannot be stopped; a Run that has ended stays as it is."""
    run = access.run_for(request.user, pk)
    if not run.can_be_cancelled:
        raise Refused("You cannot cancel a deletion: part of the dataset is already gone.")
    lifecycle.cancel(run, access.person(request.user))
    run.refresh_from_db()
    return run


@router.post("/runs/{id:pk}/retry", response={202: RunOut})
def retry_run(request: HttpRequest, pk: int) -> HttpResponse:
    """Have a failed or cancelled Run go on, or begin again."""
    run = access.run_for(request.user, pk)
    again = go_on(run, access.person(request.user))
    if again is None:
        raise Refused(f"{run} has nothing to retry.")
    tasks.enqueue_run(again)
    return accepted(again)
