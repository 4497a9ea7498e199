"""Import: send a file or rows, preview, import, fetch the refused rows, and fetch files from the hub."""

from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile
from django.db.models import Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.datastructures import MultiValueDict
from ninja import Field, Query, Router, Schema
from pydantic import ConfigDict

from workbench import access, downloads
from workbench.api.refusals import Invalid
from workbench.api.requests import ApiRequest, receives
from workbench.api.runs import RunOut, accepted
from workbench.api.sending import Asked, Body, created, form_data, named, valid
from workbench.forms.hub import FetchForm
from workbench.forms.imports import ImportForm, SampleForm, UploadForm
from workbench.models import Dataset, Role, Upload
from workbench.pipeline import imports as pipeline
from workbench.pipeline.hub import fetching
from workbench.pipeline.runs.progress import Refused
from workbench.worker import tasks

router = Router(tags=["imports"])

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILE = {"requestBody": {"required": True, "content": {"application/octet-stream": _BINARY}}}
_ROWS = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "array", "items": {"type": "object"}}},
            "application/x-ndjson": _BINARY,
        },
    }
}
_LINES = {"responses": {200: {"description": "The rows", "content": {"application/x-ndjson": _BINARY}}}}


class UploadOut(Schema):
    """An uploaded file. latest_run: the id of the latest Run that checked or imported it."""

    id: UUID
    dataset_id: int
    name: str = Field(alias="shown_name")
    size: int
    sha256: str
    created_at: datetime
    latest_run: int | None

    @staticmethod
    def resolve_latest_run(upload: Upload) -> int | None:
        run = upload.latest_run
        return run.pk if run else None


class Uploads(Schema):
    """The latest first. next_before: what to ask for next; null at the end."""

    items: list[UploadOut]
    next_before: str | None


_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class UploadsBefore(Schema):
    """Which rows of a list: those after the last one of a page, by its `next_before`, at most `limit`."""

    before: str = Field("", pattern=f"^([0-9]{{1,16}}_{_UUID})?$")
    limit: int = Field(100, ge=1, le=1_000)


class SampleName(Body):
    name: str


class Samples(Schema):
    """Files to try the import with: what is in each, by name."""

    items: dict[str, str]


class RowsOptions(Asked):
    """How to import. Each has the meaning and the default of the page."""

    format: str = "auto"
    pairs: str = "all"
    minimum_gap: float | None = None
    max_pairs: int | None = None
    source: str = ""
    licence: str = ""
    no_labels: bool = False
    formula_safe: bool = False
    strip_citations: bool = False
    no_near_duplicates: bool = False
    lenient: bool = False


class ImportWanted(RowsOptions):
    """How to import. columns: the column of each use, as in {"prompt": "question", "a": "first answer"}.
    dry_run: check the whole file, and store nothing."""

    model_config = ConfigDict(strict=True)

    columns: dict[str, str] = {}
    dry_run: bool = False


class RowProblem(Schema):
    """What is wrong with a row. line: null for the file as a whole. excerpt: of the value."""

    line: int | None
    field: str
    code: str
    message: str
    excerpt: str


class ExampleRow(Schema):
    """A pair as an annotator would see it. more: the further pairs of its prompt."""

    line: int
    messages: list[Any]
    left: str
    right: str
    labels: str
    more: int


class PreviewOut(Schema):
    """The first rows of a file: the recognised format ("" = none), and what an import of these rows would
    store. whole: there are no further rows. paths: the columns. guesses: a column for each use whose name
    says so; send them as `columns` if they are right. counts: as in the result of an import."""

    title: str
    format: str
    read_as: list[str]
    read: int
    whole: bool
    accepted: bool
    counts: dict[str, int]
    problem_count: int
    problems: list[RowProblem]
    notes: list[str]
    paths: list[str]
    guesses: dict[str, str]
    examples: list[ExampleRow]


class FetchWanted(Body):
    """repository: owner/name on the hub. revision: "" = main. wanted: the path of a file or the name of a
    split; "" only lists the files, in the result of the Run."""

    repository: str
    revision: str = ""
    wanted: str = ""


def _may_import(request: HttpRequest, pk: int) -> Dataset:
    return access.dataset_for(request.user, pk, Role.ADMIN)


@router.post("/datasets/{id:pk}/uploads", response={201: UploadOut}, openapi_extra=_FILE)
@receives(_may_import)
def upload_file(request: ApiRequest, pk: int, name: str) -> HttpResponse:
    """Send a file as the body; its name says the format. Nothing is imported yet."""
    dataset = _may_import(request, pk)
    files = MultiValueDict[str, UploadedFile]({"file": [named(request.received, name)]})
    form = valid(UploadForm({}, files))
    upload = pipeline.keep(form.cleaned_data["file"], dataset, access.person(request.user))
    return created(UploadOut.from_orm(upload), f"/api/v1/uploads/{upload.pk}")


@router.post("/datasets/{id:pk}/rows", response={202: RunOut}, openapi_extra=_ROWS)
@receives(_may_import)
def push_rows(request: ApiRequest, pk: int, options: Query[RowsOptions]) -> HttpResponse:
    """Import the rows of the body, NDJSON or a JSON array, by a Run: all of them or none, unless lenient."""
    dataset = _may_import(request, pk)
    wanted = _options(options, {})
    name = "rows.json" if request.content_type == "application/json" else "rows.jsonl"
    rows = named(request.received, name)
    run = pipeline.begin_with(rows, dataset, wanted, access.person(request.user))
    tasks.enqueue_run(run)
    return accepted(run)


@router.get("/datasets/{id:pk}/uploads", response=Uploads)
def list_uploads(request: HttpRequest, pk: int, which: Query[UploadsBefore]) -> dict[str, object]:
    """The uploaded files, latest first."""
    uploads = _may_import(request, pk).uploads.order_by("-created_at", "-pk")
    if which.before:
        written, _, key = which.before.partition("_")
        moment = EPOCH + timedelta(microseconds=int(written))
        # Several files may be of one moment.
        uploads = uploads.filter(Q(created_at__lt=moment) | Q(created_at=moment, pk__lt=UUID(key)))
    found = list(uploads[: which.limit + 1])
    shown = found[: which.limit]
    return {"items": shown, "next_before": _cursor(shown[-1]) if len(found) > len(shown) else None}


def _cursor(upload: Upload) -> str:
    return f"{(upload.created_at - EPOCH) // timedelta(microseconds=1)}_{upload.pk}"


@router.get("/imports/samples", response=Samples)
def list_samples(request: HttpRequest) -> dict[str, object]:
    """Files to try the import with."""
    return {"items": pipeline.SAMPLES}


@router.post("/datasets/{id:pk}/uploads/sample", response={201: UploadOut})
def upload_sample(request: HttpRequest, pk: int, body: SampleName) -> HttpResponse:
    """Upload one of the samples, as if it was sent."""
    dataset = _may_import(request, pk)
    name = valid(SampleForm(body.model_dump())).cleaned_data["name"]
    upload = pipeline.keep_sample(name, dataset, access.person(request.user))
    return created(UploadOut.from_orm(upload), f"/api/v1/uploads/{upload.pk}")


@router.get("/uploads/{uuid:pk}", response=UploadOut)
def read_upload(request: HttpRequest, pk: UUID) -> Upload:
    """One uploaded file."""
    return access.upload_for(request.user, pk)


@router.delete("/uploads/{uuid:pk}", response={204: None})
def delete_upload(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Delete the file and its refused rows; what was imported stays. 409 while a Run reads it."""
    pipeline.remove(access.upload_for(request.user, pk), access.person(request.user))
    return HttpResponse(status=204)


@router.post("/uploads/{uuid:pk}/preview", response=PreviewOut)
def preview_upload(request: HttpRequest, pk: UUID, body: ImportWanted) -> dict[str, object]:
    """Read the first 1,000 rows with these options, and say what an import of them would do. Stores
    nothing."""
    upload = access.upload_for(request.user, pk)
    preview = pipeline.preview_upload(upload, _options(body, body.columns))
    result = preview.result.as_dict()
    counts = {name: value for name, value in result.items() if type(value) is int}
    return {
        **{name: result[name] for name in ("format", "accepted", "problem_count", "problems", "notes")},
        "title": preview.title,
        "read_as": preview.read_as,
        "read": preview.read,
        "whole": preview.whole,
        "counts": counts,
        "paths": preview.paths,
        "guesses": pipeline.as_mapping(pipeline.guesses_of(preview)),
        "examples": [asdict(example) for example in preview.examples],
    }


@router.post("/uploads/{uuid:pk}/import", response={202: RunOut})
def import_upload(request: HttpRequest, pk: UUID, body: ImportWanted) -> HttpResponse:
    """Import the file by a Run: all of it or nothing, unless lenient. The Run's `result` has the counts, and
    the first 100 problems."""
    upload = access.upload_for(request.user, pk)
    options = replace(_options(body, body.columns), dry_run=body.dry_run)
    run = pipeline.begin(upload, options, access.person(request.user))
    if run is None:
        raise Refused("This file is being imported already.")
    tasks.enqueue_run(run)
    return accepted(run)


@router.api_operation(["HEAD"], "/runs/{id:pk}/refused-rows", include_in_schema=False)
@router.get("/runs/{id:pk}/refused-rows", openapi_extra=_LINES)
def download_refused_rows(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The rows that an import refused, as NDJSON: line, field, code, message, excerpt and the row. 404 where
    it refused none."""
    return downloads.rejects_answer(request, access.run_for(request.user, pk))


@router.post("/datasets/{id:pk}/fetches", response={202: RunOut})
def fetch_from_hub(request: HttpRequest, pk: int, body: FetchWanted) -> HttpResponse:
    """Fetch files of a data set on the hub as uploads, by a Run: its `result` names them."""
    dataset = _may_import(request, pk)
    form = valid(FetchForm(form_data(FetchForm, body.model_dump())))
    run = fetching.begin(dataset, fetching.Order(**form.cleaned_data), access.person(request.user))
    tasks.enqueue_run(run)
    return accepted(run)


def _options(body: RowsOptions, columns: dict[str, str]) -> pipeline.ImportOptions:
    """Raises Invalid."""
    form = valid(ImportForm.sent(body.model_dump(exclude={"columns", "dry_run"}), columns))
    if form.asks_for_columns:
        form.add_error("format", "Choose the column of the prompt, and the columns of the answers.")
        raise Invalid(form)
    return form.options()
