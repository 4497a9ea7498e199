"""Models that are scored elsewhere: register one, ask which answers lack a score, and send scores."""

import gzip
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from ninja import Field, Query, Router, Schema

from workbench import access
from workbench.api.items import COMPLETION, CompletionRows, listed
from workbench.api.requests import ApiRequest, receives
from workbench.api.sending import After, Body, created
from workbench.api.versions import ModelOut
from workbench.models import Completion, ModelVersion, Role
from workbench.pipeline.scoring import external
from workbench.upload_handlers import ReceivedFile

router = Router(tags=["models"])

_LONGEST = 1_000
"""Bytes of a line: an id and a number."""
_ROWS = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class ExternalModel(Body):
    """revision: the hash of the weights, in hexadecimal digits. notice: a sentence beside its picks."""

    name: str = Field(min_length=1, max_length=80)
    revision: str = Field(pattern="^[0-9a-f]{7,64}$")
    notice: str = Field("", max_length=500)


class PushedScores(Schema):
    """known: scores that were there already, with the same value."""

    stored: int
    known: int


def _may_send(request: HttpRequest, pk: int) -> ModelVersion:
    return access.version_for(request.user, pk)


@router.post("/models/external", response={201: ModelOut})
def register_external_model(request: HttpRequest, body: ExternalModel) -> HttpResponse:
    """Register a model that is scored elsewhere. Its scores are sent; then it is calibrated, evaluated,
    compared and promoted like any other. Needs staff."""
    version = external.register(**body.model_dump(), by=access.staff_only(request.user))
    return created(ModelOut.from_orm(version), f"/api/v1/models/{version.pk}")


@router.post("/models/{id:pk}/scores", response=PushedScores, openapi_extra=_ROWS)
@receives(_may_send)
def push_scores(request: ApiRequest, pk: int) -> dict[str, int]:
    """Store scores of a model that is scored elsewhere, all of them or none. Body: a line
    {"completion": 7, "score": 0.5} for each. A score is never overwritten; the same again is fine. Needs
    staff."""
    version = _may_send(request, pk)
    return asdict(external.push(version, _lines(request.received), access.person(request.user)))


@router.get("/datasets/{id:pk}/models/{id:version_pk}/unscored", response=CompletionRows)
def list_unscored(request: HttpRequest, pk: int, version_pk: int, after: Query[After]) -> HttpResponseBase:
    """The answers that lack a score of this model, by id; all after one as NDJSON, where accepted."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    rows = Completion.objects.of(dataset).exclude(scores__version=version_pk)
    return listed(request, dataset, rows, COMPLETION, after)


def _lines(file: ReceivedFile) -> Iterator[bytes]:
    """The lines, none longer than any that is right."""
    packed = (file.name or "").endswith(".gz")
    rows: Any = gzip.GzipFile(fileobj=file.file) if packed else file.file
    while line := rows.readline(_LONGEST):
        yield line
