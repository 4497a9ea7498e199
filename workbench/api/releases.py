"""Releases: what they can hold, count, build, files, comparison, check, the hub, and leakage."""

from dataclasses import asdict
from datetime import datetime
from typing import IO, Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from ninja import Query, Router, Schema

from workbench import access, downloads
from workbench.api.requests import ApiRequest, receives
from workbench.api.runs import RunOut, accepted
from workbench.api.sending import After, AfterEitherWay, Asked, Body, form_data, page_of, valid
from workbench.forms.hub import PushForm
from workbench.forms.releases import LeakageForm, ReleaseForm
from workbench.models import Dataset, Release, Role
from workbench.pipeline import releases as pipeline
from workbench.pipeline.decisions import deciding
from workbench.pipeline.hub import pushing
from workbench.pipeline.imports import printable_name
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.text import leakage
from workbench.worker import tasks

router = Router(tags=["releases"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FILE = {
    "responses": {
        200: {"description": "The file", "content": {"application/octet-stream": _BINARY}},
        206: {"description": "The range", "content": {"application/octet-stream": _BINARY}},
        416: {"description": "The file has no such bytes"},
    }
}
_BENCHMARK = {"requestBody": {"required": True, "content": {"application/octet-stream": _BINARY}}}
_ZIP = {"responses": {200: {"description": "The zip", "content": {"application/zip": _BINARY}}}}


class ReleasePurpose(Schema):
    """What a release is for: it picks a profile and a format."""

    name: str
    title: str
    hint: str
    profile: str
    format: str


class ReleaseProfile(Schema):
    """The columns of a file with their types, and what becomes of each final label. is_flat: whether a CSV
    can hold it."""

    name: str
    title: str
    purpose: str
    reads: str
    columns: dict[str, str]
    rule: dict[str, str]
    is_flat: bool


class ReleaseKinds(Schema):
    purposes: list[ReleasePurpose]
    profiles: list[ReleaseProfile]
    formats: list[str]


class ReleaseWanted(Body):
    """What to release. purpose: a name that picks profile and format; without one, name both. The filters
    are those of the page: agreement, probability and confidence in per cent, lengths in characters, days in
    UTC. view: the id of a saved view. without_leaked: without the prompts of the newest leakage report."""

    purpose: str = ""
    profiles: list[str] = []
    formats: list[str] = ["jsonl"]
    method: list[str] = []
    min_votes: int | None = None
    max_votes: int | None = None
    min_agreement: float | None = None
    max_agreement: float | None = None
    min_posterior: float | None = None
    source: list[str] = []
    judged_from: str | None = None
    judged_until: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    view: int | None = None
    without_leaked: bool = False


class ReleaseCount(Schema):
    """What a build would write by the current final labels. decided: pairs with a preferred side; passing:
    those of them that pass the filters. rows: by split. left_out: pairs by reason. first: the first lines of
    `file`. as_of: when the final labels last followed from the votes. is_stale: whether there are newer
    votes. run: the Run that derives final labels from them; count again when it is done."""

    total: int
    decided: int
    passing: int
    rows: dict[str, int]
    left_out: dict[str, int]
    file: str
    first: list[str]
    as_of: datetime | None
    is_stale: bool
    run: RunOut | None


class ReleaseOut(Schema):
    """A release. It is ready once its Run is done, and never changes after that."""

    id: UUID
    number: int
    dataset_id: int
    is_ready: bool
    profiles: list[str]
    formats: list[str]
    filters: dict[str, Any]
    rows: int
    run_id: int | None
    created_at: datetime


class Releases(Schema):
    items: list[ReleaseOut]
    next_after: int | None


class ReleaseWithManifest(ReleaseOut):
    """A release with its manifest: the rule, counts and `load` call of each profile, and each file with its
    rows, bytes and sha256. Empty until the release is ready."""

    manifest: dict[str, Any]


class DownloadOut(Schema):
    """One request for a file of a release. first_byte: where a resumed download went on."""

    id: int
    file: str
    first_byte: int
    username: str
    created_at: datetime

    @staticmethod
    def resolve_username(download: Any) -> str:
        return str(download.user.username)


class Downloads(Schema):
    items: list[DownloadOut]
    next_after: int | None


class ProfileChange(Schema):
    """Rows of one profile. flipped: the other answer is preferred now. moved: in another split."""

    added: int
    removed: int
    flipped: int
    moved: int


class ReleaseChange(Schema):
    """What changed from one release to another. settings, outcomes: before and after, where they differ.
    missing: profiles that only one of the two has."""

    profiles: dict[str, ProfileChange]
    missing: dict[str, str]
    settings: dict[str, tuple[Any, Any]]
    outcomes: dict[str, tuple[int, int]]


class ReleaseCheck(Schema):
    """damaged: what is wrong with each file that is not as it was released."""

    is_whole: bool
    damaged: dict[str, str]


class PushWanted(Body):
    """repository: owner/name on the hub; it is created if it is missing."""

    repository: str
    private: bool = True


class Pushes(Schema):
    items: list[RunOut]


class LeakageWanted(Asked):
    """column: the one of the prompt, in benchmarks that are JSON lines."""

    column: str = ""


class LeakOut(Schema):
    """What is like one reference, which has `size` prompts. alike: prompts of the dataset by split; examples:
    the ids of the first of them."""

    reference: str
    size: int
    alike: dict[str, int]
    examples: dict[str, list[int]]


class LeakageReport(Schema):
    """The newest report that is done. groups: groups of prompts with a leak."""

    run_id: int
    finished_at: datetime
    groups: int
    references: list[LeakOut]


@router.get("/releases/kinds", response=ReleaseKinds)
def list_release_kinds(request: HttpRequest) -> dict[str, object]:
    """The purposes, profiles and formats of releases."""
    return {
        "purposes": list(pipeline.PURPOSES.values()),
        "profiles": list(pipeline.PROFILES.values()),
        "formats": list(pipeline.FORMATS),
    }


@router.post("/datasets/{id:pk}/releases/count", response=ReleaseCount)
def count_release(request: HttpRequest, pk: int, body: ReleaseWanted) -> dict[str, object]:
    """Count what a release would hold, and what it would leave out and why. Builds nothing."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    preview = pipeline.preview(dataset, pipeline.Recipe.of(_wanted(request, dataset, body)))
    if run := deciding.begin_if_stale(dataset, access.person(request.user)):
        tasks.enqueue_run(run)
    freshness = deciding.freshness(dataset)
    return {
        "total": preview.total,
        "decided": preview.decided,
        "passing": preview.passing,
        "rows": preview.rows,
        "left_out": preview.left_out,
        "file": preview.file,
        "first": preview.first,
        "as_of": freshness.as_of,
        "is_stale": freshness.is_stale,
        "run": freshness.run if freshness.has_open_run else None,
    }


@router.post("/datasets/{id:pk}/releases", response={202: RunOut})
def build_release(request: HttpRequest, pk: int, body: ReleaseWanted) -> HttpResponse:
    """Build a release of today's final labels, by a Run. The Run names the release: `release_id`."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    run = pipeline.begin(_wanted(request, dataset, body), access.person(request.user))
    tasks.enqueue_run(run)
    return accepted(run)


@router.get("/datasets/{id:pk}/releases", response=Releases)
def list_releases(request: HttpRequest, pk: int, after: Query[AfterEitherWay]) -> dict[str, object]:
    """The releases of a dataset by number, also those that are being built. after: a number."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    return page_of(dataset.releases.defer("manifest"), after, lambda release: release, key="number")


@router.get("/releases/{uuid:pk}", response=ReleaseWithManifest)
def read_release(request: HttpRequest, pk: UUID) -> Release:
    """One release with its manifest."""
    return access.release_for(request.user, pk)


@router.api_operation(["HEAD"], "/releases/{uuid:pk}/files/{name}", include_in_schema=False)
@router.get("/releases/{uuid:pk}/files/{name}", openapi_extra=_FILE)
def download_release_file(request: HttpRequest, pk: UUID, name: str) -> HttpResponseBase:
    """A file of a ready release. Its ETag is its sha256; Range and If-Range resume a download."""
    return downloads.file_answer(request, access.release_for(request.user, pk), name)


@router.api_operation(["HEAD"], "/releases/{uuid:pk}/files.zip", include_in_schema=False)
@router.get("/releases/{uuid:pk}/files.zip", openapi_extra=_ZIP)
def download_release(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """All files of a ready release as one zip, the same bytes each time."""
    return downloads.zip_answer(request, access.release_for(request.user, pk))


@router.get("/releases/{uuid:pk}/downloads", response=Downloads)
def list_downloads(request: HttpRequest, pk: UUID, after: Query[After]) -> dict[str, object]:
    """Who downloaded which file of a release, and when."""
    release = access.release_for(request.user, pk)
    return page_of(release.downloads.select_related("user"), after, lambda download: download)


@router.get("/releases/{uuid:pk}/changes-since/{uuid:other}", response=ReleaseChange)
def diff_releases(request: HttpRequest, pk: UUID, other: UUID) -> dict[str, object]:
    """What changed since another release of the dataset: rows, final labels and settings. Reads the files of
    both: some seconds for 100,000 rows."""
    release, before = access.release_for(request.user, pk), access.release_for(request.user, other)
    if release.dataset_id != before.dataset_id:
        raise Refused("The two releases are of different datasets.")
    return asdict(pipeline.diff(before, release))


@router.get("/releases/{uuid:pk}/check", response=ReleaseCheck)
def verify_release(request: HttpRequest, pk: UUID) -> dict[str, object]:
    """Compare the stored files of a release with the hashes of its manifest. Reads all of them."""
    checked = pipeline.verify(access.release_for(request.user, pk), rebuild=False)
    return {"is_whole": not checked.damaged, "damaged": checked.damaged}


@router.post("/releases/{uuid:pk}/pushes", response={202: RunOut})
def push_release(request: HttpRequest, pk: UUID, body: PushWanted) -> HttpResponse:
    """Push a ready release to a repository on the hub, by a Run. While one is open, that is the answer."""
    release = _ready(request, pk)
    wanted = valid(PushForm(form_data(PushForm, body.model_dump()))).cleaned_data
    person = access.person(request.user)
    run = pushing.begin(release, wanted["repository"], person, private=wanted["private"])
    tasks.enqueue_run(run)
    return accepted(run)


@router.get("/releases/{uuid:pk}/pushes", response=Pushes)
def list_pushes(request: HttpRequest, pk: UUID) -> dict[str, object]:
    """The pushes of a release to the hub, the latest first. Their `result` names repository and commit."""
    return {"items": pushing.pushes_of(_ready(request, pk))}


@router.post("/datasets/{id:pk}/leakage", response={202: RunOut})
def begin_leakage_report(request: HttpRequest, pk: int, body: LeakageWanted) -> HttpResponse:
    """Look for prompts that are like test prompts, of this dataset or of others, by a Run."""
    return _report(request, access.dataset_for(request.user, pk, Role.ADMIN), body, [])


def _may_report(request: HttpRequest, pk: int) -> Dataset:
    return access.dataset_for(request.user, pk, Role.ADMIN)


@router.post("/datasets/{id:pk}/leakage/benchmark", response={202: RunOut}, openapi_extra=_BENCHMARK)
@receives(_may_report)
def begin_leakage_report_against(
    request: ApiRequest, pk: int, name: str, wanted: Query[LeakageWanted]
) -> HttpResponse:
    """Look for prompts that are like those of a benchmark too, by a Run. Body: the benchmark, as JSON
    lines or with a prompt a line; its name says which."""
    return _report(request, _may_report(request, pk), wanted, [(printable_name(name), request.received)])


@router.get("/datasets/{id:pk}/leakage", response=LeakageReport)
def read_leakage_report(request: HttpRequest, pk: int) -> dict[str, object]:
    """The newest leakage report of a dataset; 404 while there is none."""
    run = leakage.latest(access.dataset_for(request.user, pk, Role.ADMIN))
    if run is None:
        raise Http404
    found = run.result
    return {
        "run_id": run.pk,
        "finished_at": run.finished_at,
        "groups": found["groups"],
        "references": found["references"],
    }


def _wanted(request: HttpRequest, dataset: Dataset, body: ReleaseWanted) -> Release:
    """The unsaved row of what was asked for. Raises Invalid."""
    data = form_data(ReleaseForm, body.model_dump())
    return valid(ReleaseForm.of(dataset, access.person(request.user), data)).release(dataset)


def _report(
    request: HttpRequest, dataset: Dataset, wanted: LeakageWanted, files: list[tuple[str, IO[bytes]]]
) -> HttpResponse:
    chosen = valid(LeakageForm(form_data(LeakageForm, wanted.model_dump()))).cleaned_data
    run = leakage.begin(dataset, files, chosen["column"], access.person(request.user))
    if run is None:
        raise Refused("A leakage report of this dataset is running already.")
    tasks.enqueue_run(run)
    return accepted(run)


def _ready(request: HttpRequest, pk: UUID) -> Release:
    release = access.release_for(request.user, pk)
    if not release.is_ready:
        raise Http404
    return release
