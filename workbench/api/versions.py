"""ModelVersions: list, one, register, calibrate, activate, retire, go back, delete."""

from copy import copy
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema

from workbench import access
from workbench.api.requests import ApiRequest, receives, unless_stale
from workbench.api.runs import RunOut, accepted
from workbench.api.sending import (
    After,
    AfterEitherWay,
    Asked,
    Body,
    etag_of,
    form_data,
    page_of,
    patched,
    valid,
)
from workbench.forms.model import PromoteForm
from workbench.forms.versions import AddModelForm, CalibrateForm, NameForm, RegisterForm
from workbench.models import ModelVersion, Promotion, Release
from workbench.pipeline.model import adding, calibration, promotion, registry
from workbench.pipeline.runs.progress import Refused
from workbench.worker import tasks

router = Router(tags=["models"])

_TAR = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class ModelOut(Schema):
    """A model, pinned: the same id gives the same score for the same text. origin: a repository on the hub,
    or a folder. learnt: whether the prompts that it was trained on are on record. base_id: the model that its
    training started from; release_id: the release that it was trained on."""

    id: int
    name: str
    kind: str
    state: str
    origin: str
    revision: str
    notice: str
    parameters: int | None
    weights_sha256: str
    tokenizer_sha256: str
    template: str
    max_length: int
    precision: str
    temperature: float | None
    learnt: str
    base_id: int | None
    release_id: UUID | None
    created_at: datetime
    activated_at: datetime | None


class PromotionOut(Schema):
    """A change of the active model. kind: first, earned, override or rollback."""

    id: int
    version_id: int
    version: str
    supersedes_id: int | None
    kind: str
    reason: str
    by: str | None
    created_at: datetime

    @staticmethod
    def resolve_version(row: Promotion) -> str:
        return row.version.name

    @staticmethod
    def resolve_by(row: Promotion) -> str | None:
        return row.by.username if row.by else None


class Models(Schema):
    items: list[ModelOut]
    next_after: int | None


class ModelInFull(ModelOut):
    """A model with all that is known of it. calibration: the data that its temperature was fitted on, and how
    well it fits. guard: answers that score closer than this are scored again in fp32."""

    architecture: str
    guard: float | None
    calibration: dict[str, Any]
    training: dict[str, Any]


class Promotions(Schema):
    items: list[PromotionOut]
    next_after: int | None


class CalibrateWanted(Body):
    """dataset: whose votes to fit on; null = of all datasets. labels: imported labels too."""

    dataset: int | None = None
    labels: bool = False


class ModelChange(Body):
    """What is sent is changed. notice: a sentence to show beside its picks; "" = none."""

    name: str | None = None
    notice: str | None = None


class RegisterWanted(Asked):
    """How a checkpoint is called and read. max_length: tokens that a text is cut to; null = the usual number
    of its template. precision: exact-order, fp32 or bf16. template: bert-pair, pair or chat; empty = as the
    checkpoint tells, or the Run fails and its result has the `choices`. token_types: "zero" = the template
    bert-pair. notice: a sentence to show beside its picks. base: the model that its training started from.
    settings: of the training, as a JSON object, to be shown."""

    name: str
    max_length: int | None = None
    precision: str = "exact-order"
    template: str = ""
    token_types: str = ""
    notice: str = ""
    base: int | None = None
    settings: str = "{}"


class NamedModel(Body):
    """A model on the hub (repository, with a revision whose commit is pinned), or in a folder that workers
    can read (its whole path). name: here; empty = its own name. template and max_length: as of
    `register_model`. activate: have it serve if no model is active."""

    repository: str = ""
    revision: str = ""
    folder: str = ""
    name: str = ""
    template: str = ""
    max_length: int | None = None
    precision: str = "exact-order"
    notice: str = ""
    activate: bool = False


class WhyActive(Body):
    """Why: it is kept with the promotion."""

    reason: str = ""


@router.get("/models", response=Models)
def list_models(request: HttpRequest, after: Query[AfterEitherWay]) -> dict[str, object]:
    """The models of the installation, also baselines and retired ones. Needs staff."""
    access.staff_only(request.user)
    return page_of(ModelVersion.objects.all(), after, lambda version: version)


def _may_register(request: HttpRequest) -> None:
    access.staff_only(request.user)


def _may_register_trained(request: HttpRequest, pk: UUID) -> Release:
    return access.release_for(request.user, pk)


@router.post("/models", response={202: RunOut}, openapi_extra=_TAR)
@receives(_may_register)
def register_model(request: ApiRequest, wanted: Query[RegisterWanted]) -> HttpResponse:
    """Register a checkpoint, by a Run. Body: a tar, not compressed, with config.json, safetensors and
    tokenizer files at its top. The training data of the model counts as unknown. Needs staff."""
    _may_register(request)
    return _registering(request, wanted, None)


@router.post("/models/named", response={202: RunOut})
def add_model(request: HttpRequest, body: NamedModel) -> HttpResponse:
    """Register a model of the hub, or of a folder that workers can read, by a Run that downloads it, compares
    its scores with plain transformers and says what is true afterwards. 409 for a name that is taken, and
    while nobody has allowed the hub's host. Needs staff."""
    by = access.staff_only(request.user)
    source = AddModelForm.FOLDER if body.folder and not body.repository else AddModelForm.HUB
    chosen = valid(AddModelForm(form_data(AddModelForm, {**body.model_dump(), "source": source})))
    run = adding.begin_named(adding.Order(**chosen.cleaned_data), by)
    tasks.enqueue_run(run)
    return accepted(run)


@router.post("/releases/{uuid:pk}/models", response={202: RunOut}, openapi_extra=_TAR)
@receives(_may_register_trained)
def register_trained_model(request: ApiRequest, pk: UUID, wanted: Query[RegisterWanted]) -> HttpResponse:
    """Register a checkpoint that was trained elsewhere on this release, by a Run that also calibrates and
    evaluates it. Body: as of `register_model`. It becomes active only by a promotion."""
    return _registering(request, wanted, _may_register_trained(request, pk))


def _registering(request: ApiRequest, wanted: RegisterWanted, release: Release | None) -> HttpResponse:
    chosen = valid(RegisterForm(form_data(RegisterForm, wanted.model_dump()))).cleaned_data
    base = chosen.pop("base")
    order = adding.Order(**chosen, base=base.pk if base else None)
    run = adding.begin(request.received, order, release, access.person(request.user))
    tasks.enqueue_run(run)
    return accepted(run)


@router.get("/models/{id:pk}", response=ModelInFull)
def read_model(request: HttpRequest, response: HttpResponse, pk: int) -> ModelVersion:
    """One model, with its checksums and its calibration. The ETag makes a change safe. Needs staff."""
    version = access.version_for(request.user, pk)
    response["ETag"] = _etag(version)
    return version


@router.patch("/models/{id:pk}", response=ModelInFull)
def change_model(request: HttpRequest, response: HttpResponse, pk: int, body: ModelChange) -> ModelVersion:
    """Another name, or another sentence beside its picks. 409 for a baseline. Needs staff."""
    version = access.version_for(request.user, pk)
    with unless_stale(request, version, _etag):
        sent = patched(NameForm(instance=version), body.model_dump(exclude_none=True))
        chosen = valid(NameForm(sent, instance=copy(version))).cleaned_data
        registry.rename(version, **chosen, by=access.person(request.user))
    response["ETag"] = _etag(version)
    return version


@router.post("/models/{id:pk}/calibrate", response=ModelInFull)
def calibrate_model(request: HttpRequest, pk: int, body: CalibrateWanted) -> ModelVersion:
    """Fit the temperature of a model on people's votes. 409, and nothing changes, where these are too few."""
    version = access.version_for(request.user, pk)
    chosen = valid(CalibrateForm(form_data(CalibrateForm, body.model_dump()))).cleaned_data
    try:
        calibration.calibrate(version, chosen["dataset"], chosen["labels"], by=access.person(request.user))
    except calibration.NotEnoughData as error:
        raise Refused(f"{version} was not calibrated: {error}.") from None
    return version


@router.post("/models/{id:pk}/activate", response=PromotionOut)
def activate_model(request: HttpRequest, pk: int, body: WhyActive) -> Promotion:
    """Make a model the active one by hand, without the gate: the first one, or for a reason that is kept."""
    version = access.version_for(request.user, pk)
    by = access.staff_only(request.user)
    promoted = promotion.put_in_place(version, by=by, reason=_reason(body))
    tasks.enqueue_scoring()
    return promoted


@router.post("/models/roll-back", response=PromotionOut)
def roll_back_model(request: HttpRequest, body: WhyActive) -> Promotion:
    """Make the model active again that the active one replaced. It serves at once."""
    restored = promotion.roll_back(by=access.staff_only(request.user), reason=_reason(body))
    tasks.enqueue_scoring()
    return restored


@router.post("/models/{id:pk}/retire", response=ModelInFull)
def retire_model(request: HttpRequest, pk: int) -> ModelVersion:
    """Take a registered model out of use. Its scores stay."""
    version = access.version_for(request.user, pk)
    registry.retire(version, access.person(request.user))
    return version


@router.delete("/models/{id:pk}", response={204: None})
def delete_model(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a model that nothing rests on, with its files. 409 where it has scores: retire it instead."""
    registry.delete_unused(access.version_for(request.user, pk), by=access.person(request.user))
    return HttpResponse(status=204)


@router.get("/promotions", response=Promotions)
def list_promotions(request: HttpRequest, after: Query[After]) -> dict[str, object]:
    """Every change of the active model, the oldest first. Needs staff."""
    access.staff_only(request.user)
    return page_of(Promotion.objects.history(), after, lambda row: row)


def _etag(version: ModelVersion) -> str:
    return etag_of({"name": version.name, "notice": version.notice})


def _reason(body: WhyActive) -> str:
    sent = form_data(PromoteForm, body.model_dump())
    return str(valid(PromoteForm(sent)).cleaned_data["reason"])
