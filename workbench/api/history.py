"""History: what admins, reviewers and commands did, of one dataset or of the installation."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from ninja import Field, Query, Router, Schema

from workbench import access
from workbench.api.sending import NDJSON, form_data, stream, valid
from workbench.forms.history import HistoryForm
from workbench.models import Dataset, Role
from workbench.pipeline.history import finding
from workbench.pipeline.history.recording import File, record_download

router = Router(tags=["history"])
_LINES = {"responses": {200: {"description": "JSON lines", "content": {NDJSON: {}}}}}


class HistoryOfDataset(Schema):
    """What to find. person: in the name of who did it, or to whom it was done; kind: of the rows; first,
    last: days, as in 2026-11-29."""

    person: str = ""
    kind: str = ""
    first: str = ""
    last: str = ""


class HistoryOfAll(HistoryOfDataset):
    dataset: int | None = None


class Before(Schema):
    """Only rows before this one."""

    before: int | None = Field(None, ge=1, lt=2**63)


class HistoryRow(Schema):
    """An act. says: the kind in words; who: in words; object: what it was done to; word: of a fixed list, as
    a role; count: of how many things; fields: the names of what was changed."""

    id: int
    at: datetime
    kind: str
    says: str
    who: str
    user: int | None
    command: str
    dataset: str
    dataset_id: int | None
    object: str
    object_id: str
    word: str
    count: int | None
    fields: list[str]
    request: str


class HistoryRows(Schema):
    """Newest first. next_before: what to ask for next; null at the end."""

    items: list[HistoryRow]
    next_before: int | None


@router.get("/history", response=HistoryRows)
def list_history(request: HttpRequest, chosen: Query[HistoryOfAll], at: Query[Before]) -> HistoryRows:
    """All that was done here, newest first. For staff."""
    access.staff_only(request.user)
    return _page(_form(chosen), at.before)


@router.get("/datasets/{id:pk}/history", response=HistoryRows)
def list_dataset_history(
    request: HttpRequest, pk: int, chosen: Query[HistoryOfDataset], at: Query[Before]
) -> HistoryRows:
    """What was done to one dataset, newest first."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    return _page(_form(chosen, dataset), at.before)


@router.get("/history/rows", openapi_extra=_LINES)
def stream_history(request: HttpRequest, chosen: Query[HistoryOfAll]) -> HttpResponseBase:
    """All rows as JSON lines, newest first. The download stands in history itself. For staff."""
    person = access.staff_only(request.user)
    form = _form(chosen)
    record_download(File.HISTORY, by=person, dataset=None, target=None)
    return stream(request, _lines(form))


@router.get("/datasets/{id:pk}/history/rows", openapi_extra=_LINES)
def stream_dataset_history(
    request: HttpRequest, pk: int, chosen: Query[HistoryOfDataset]
) -> HttpResponseBase:
    """All rows of one dataset as JSON lines, newest first. The download stands in history itself."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = _form(chosen, dataset)
    record_download(File.HISTORY, by=access.person(request.user), dataset=dataset, target=dataset)
    return stream(request, _lines(form))


def _form(chosen: HistoryOfDataset, dataset: Dataset | None = None) -> HistoryForm:
    """Raises Invalid for a filter that is none."""
    return valid(HistoryForm(form_data(HistoryForm, chosen.model_dump()), dataset=dataset))


def _page(form: HistoryForm, before: int | None) -> HistoryRows:
    events, next_before = finding.page(form.found(), before)
    rows = [_row(entry) for entry in finding.entries(events)]
    return HistoryRows(items=rows, next_before=next_before)


def _row(entry: finding.Entry) -> HistoryRow:
    event = entry.event
    return HistoryRow(
        id=event.pk,
        at=event.at,
        kind=event.kind,
        says=event.says,
        who=entry.who,
        user=event.actor_id,
        command=event.command,
        dataset=entry.dataset,
        dataset_id=event.dataset_id,
        object=event.target,
        object_id=event.target_id,
        word=event.word,
        count=event.count,
        fields=event.fields,
        request=event.request_id,
    )


def _lines(form: HistoryForm) -> Iterator[dict[str, Any]]:
    return (_row(entry).model_dump(mode="json") for entry in finding.all_entries(form.found()))
