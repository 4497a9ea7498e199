"""Datasets: create, settings, guidelines, clone, archive, delete."""

from datetime import datetime

from django.http import Http404, HttpRequest, HttpResponse
from ninja import ModelSchema, Query, Router, Schema
from pydantic import ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from workbench import access
from workbench.api.refusals import Invalid
from workbench.api.requests import unless_stale
from workbench.api.runs import RunOut, accepted
from workbench.api.sending import After, Body, created, etag_of, form_data, page_of, patched, valid
from workbench.forms.datasets import SETTINGS as GROUPS
from workbench.forms.datasets import CloneForm, DatasetForm, DeleteForm, GuidelinesForm, NewDatasetForm
from workbench.models import Dataset, Guidelines, Role
from workbench.pipeline.datasets import archiving, deleting
from workbench.worker import enqueue, tasks

router = Router(tags=["datasets"])
_SETTINGS = [name for names in GROUPS.values() for name in names if name not in ("first_view", "facet_keys")]


class Settings(ModelSchema):
    """The settings of a dataset, as on its Settings page."""

    first_view: int | None
    facet_keys: list[str]

    class Meta:
        model = Dataset
        fields = _SETTINGS

    @staticmethod
    def resolve_first_view(dataset: Dataset) -> int | None:
        return dataset.first_view_id


class SettingsChange(ModelSchema, Body):
    """The settings to change; the others stay."""

    model_config = ConfigDict(strict=False)  # days and amounts come as texts

    first_view: int | None = None
    facet_keys: list[str] | None = None

    class Meta:
        model = Dataset
        fields = _SETTINGS
        fields_optional = "__all__"

    @field_validator("*", mode="before")
    @classmethod
    def take_no_number_or_word_for_true_or_false(cls, value: object, info: ValidationInfo) -> object:
        kind = cls.model_fields[info.field_name or ""].annotation
        if kind in (bool, bool | None) and not isinstance(value, bool | None):
            raise PydanticCustomError("bool_type", "Input should be a valid boolean")
        return value


class DatasetOut(Schema):
    """A dataset. role: what the token may do in it, at most."""

    id: int
    name: str
    description: str
    licence: str
    role: Role
    created_at: datetime
    archived_at: datetime | None


class Datasets(Schema):
    items: list[DatasetOut]
    next_after: int | None


class NewDataset(SettingsChange):
    """A new dataset, with whichever settings differ from the usual."""

    name: str


class GuidelinesOut(Schema):
    """A version of the guidelines. number 0 = there is none yet."""

    number: int
    text: str
    created_at: datetime | None


class GuidelinesText(Body):
    """The next version. based_on: the number of the version that was read before; 0 = there was none."""

    text: str
    based_on: int


class Name(Body):
    name: str


class Confirmed(Body):
    """The name of the dataset, to confirm."""

    name: str


@router.get("", response=Datasets)
def list_datasets(request: HttpRequest, after: Query[After]) -> dict[str, object]:
    """The datasets that the token reaches, archived ones too."""
    return page_of(access.datasets_of(request.user), after, lambda dataset: dataset)


@router.post("", response={201: DatasetOut})
def create_dataset(request: HttpRequest, body: NewDataset) -> HttpResponse:
    """Create a dataset; the account of the token is its admin. Needs staff, and a token for all datasets."""
    person = access.staff_only(request.user)
    sent = body.model_dump(exclude_unset=True)
    dataset = _stored(NewDatasetForm(form_data(NewDatasetForm, sent), by=person))
    dataset.role = Role.ADMIN
    unsent = DatasetForm(instance=dataset)
    _stored(DatasetForm.sent(patched(unsent, sent), dataset, person))
    return created(DatasetOut.from_orm(dataset), f"{request.path}/{dataset.pk}")


@router.get("/{id:pk}", response=DatasetOut)
def read_dataset(request: HttpRequest, pk: int) -> Dataset:
    """One dataset."""
    return access.dataset_for(request.user, pk)


@router.get("/{id:pk}/settings", response=Settings)
def read_settings(request: HttpRequest, response: HttpResponse, pk: int) -> Dataset:
    """The settings. The ETag of the answer, sent with If-Match, makes a change safe."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    response["ETag"] = _etag(dataset)
    return dataset


@router.patch("/{id:pk}/settings", response=Settings)
def change_settings(request: HttpRequest, response: HttpResponse, pk: int, body: SettingsChange) -> Dataset:
    """Change the settings that are sent."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    sent = body.model_dump(exclude_unset=True)
    with unless_stale(request, dataset, _etag):
        whole = patched(DatasetForm(instance=dataset), sent)
        changed = _stored(DatasetForm.sent(whole, dataset, access.person(request.user)))
    if changed.queue_stale_since:
        enqueue.enqueue(tasks.order_queue, pk)
    response["ETag"] = _etag(changed)
    return changed


@router.get("/{id:pk}/guidelines", response=GuidelinesOut)
def read_guidelines(request: HttpRequest, pk: int) -> GuidelinesOut:
    """The version of the guidelines that annotators see."""
    current = access.dataset_for(request.user, pk).current_guidelines
    return _guidelines(current)


@router.post("/{id:pk}/guidelines", response=GuidelinesOut)
def revise_guidelines(request: HttpRequest, pk: int, body: GuidelinesText) -> GuidelinesOut:
    """Store the text as the next version, unless somebody stored another meanwhile."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    form = valid(GuidelinesForm(form_data(GuidelinesForm, body.model_dump())))
    stored = form.revise(dataset, access.person(request.user))
    if stored is None:
        raise Invalid(form)
    return _guidelines(stored)


@router.post("/{id:pk}/clone", response={201: DatasetOut})
def clone_dataset(request: HttpRequest, pk: int, body: Name) -> HttpResponse:
    """Create a dataset with the settings, guidelines and people of this one, and none of its data."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    access.refuse_named_datasets_alone()
    unsent = CloneForm(source=dataset)
    sent = form_data(unsent, body.model_dump())
    clone = _stored(CloneForm(sent, source=dataset, by=access.person(request.user)))
    clone.role = Role.ADMIN
    return created(DatasetOut.from_orm(clone), f"/api/v1/datasets/{clone.pk}")


@router.post("/{id:pk}/archive", response={204: None})
def archive_dataset(request: HttpRequest, pk: int) -> HttpResponse:
    """Nobody votes in, imports into or changes an archived dataset; it can be read and brought back."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    archiving.archive(dataset, access.person(request.user))
    return HttpResponse(status=204)


@router.post("/{id:pk}/bring-back", response={204: None})
def bring_back_dataset(request: HttpRequest, pk: int) -> HttpResponse:
    """Use an archived dataset again."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    archiving.bring_back(dataset, access.person(request.user))
    enqueue.enqueue(tasks.score_missing, dataset.pk)
    return HttpResponse(status=204)


@router.post("/{id:pk}/delete", response={202: RunOut})
def delete_dataset(request: HttpRequest, pk: int, body: Confirmed) -> HttpResponse:
    """Delete the dataset and all that is in it, by a Run. There is no undo."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    valid(DeleteForm(form_data(DeleteForm, body.model_dump()), dataset=dataset))
    run = deleting.begin(dataset, access.person(request.user))
    if run is None:
        raise Http404
    tasks.enqueue_run(run)
    return accepted(run)


def _stored(form: NewDatasetForm | DatasetForm | CloneForm) -> Dataset:
    """Raises Invalid, also where somebody took the name a moment ago."""
    stored = valid(form).stored()
    if stored is None:
        raise Invalid(form)
    return stored


def _etag(dataset: Dataset) -> str:
    return etag_of(Settings.from_orm(dataset).model_dump(mode="json"))


def _guidelines(version: Guidelines | None) -> GuidelinesOut:
    if version is None:
        return GuidelinesOut(number=0, text="", created_at=None)
    return GuidelinesOut(number=version.number, text=version.text, created_at=version.created_at)
