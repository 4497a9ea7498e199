"""Who may see or change what. Only this module answers 404 (the user may not know of it), 403 (the user may
see it, but not do this) or 423 (archived: nobody may change it). A view gets its object from these functions
alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.http import Http404

from workbench.models import (
    Annotator,
    Comparison,
    Dataset,
    Member,
    ModelVersion,
    Release,
    Role,
    Run,
    Upload,
    User,
)
from workbench.pipeline.annotate import statements

_RANK = {Role.ANNOTATOR: 1, Role.REVIEWER: 2, Role.ADMIN: 3}

Visitor = User | AnonymousUser

SAFE = {"GET", "HEAD", "OPTIONS", "TRACE"}
_changes: ContextVar[bool] = ContextVar("changes", default=False)


class Archived(PermissionDenied):
    """An archived Dataset was to be changed."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(archived_sentence(dataset))


def archived_sentence(dataset: Dataset) -> str:
    return f"{dataset} is archived: you can read and export it, but not vote, import or start runs."


@contextmanager
def request_by(method: str | None) -> Iterator[None]:
    """Answer a request by this HTTP method: a method that may change data gets no archived dataset, and no
    object in one."""
    before = _changes.set(method not in SAFE)
    try:
        yield
    finally:
        _changes.reset(before)


def refuse_archived(dataset: Dataset) -> None:
    """Raise Archived for an archived dataset."""
    if dataset.archived_at:
        raise Archived(dataset)


def person(user: Visitor) -> User:
    """The logged-in user. The login middleware guards every page: an error here means a view opted out."""
    if not isinstance(user, User):
        raise PermissionDenied
    return user


def dataset_for(
    user: Visitor, pk: int, role: Role = Role.ANNOTATOR, *, even_archived: bool = False
) -> Dataset:
    """The dataset for a member with at least `role`; `dataset.role` is the member's role. 404 for a stranger,
    403 for a member of a lower role. A change of an archived dataset gets 423, unless `even_archived`: for
    changes of its people, or of the dataset as a whole."""
    if person(user).is_staff:
        dataset = statements.dataset_of_staff.first(pk)
    else:
        dataset = statements.dataset_of_member.first(pk, person(user).pk)
    if dataset is None:
        raise Http404
    _require(dataset.role, role)
    if not even_archived:
        _refuse_change(dataset)
    return dataset


def dataset_and_annotator(user: Visitor, pk: int) -> tuple[Dataset, Annotator]:
    """The dataset as in `dataset_for`, and the user as an annotator."""
    dataset = dataset_for(user, pk)
    annotator = statements.annotator_of.first(person(user).pk)
    return dataset, annotator or Annotator.objects.for_user(person(user))


def _require(held: str | None, role: Role) -> None:
    if held is None:
        raise Http404
    if _RANK[Role(held)] < _RANK[role]:
        raise PermissionDenied


def _refuse_change(dataset: Dataset) -> None:
    if _changes.get():
        refuse_archived(dataset)


def comparison_for(user: Visitor, pk: int, role: Role = Role.ANNOTATOR) -> Comparison:
    """The comparison, for a member of its dataset as in `dataset_for`. One query."""
    datasets: QuerySet[Model] = Dataset.objects.with_role_of(person(user)).filter(pk=OuterRef("dataset"))
    role_of_user = {"role": Subquery(datasets.values("role"))}
    comparisons = Comparison.objects.select_related("dataset").annotate(**role_of_user)
    comparison = comparisons.filter(pk=pk).first()
    if comparison is None:
        raise Http404
    _require(comparison.role, role)
    _refuse_change(comparison.dataset)
    return comparison


def member_for(user: Visitor, dataset_pk: int, pk: int) -> Member:
    """A membership to change or end: for the Dataset's admins."""
    dataset = dataset_for(user, dataset_pk, Role.ADMIN, even_archived=True)
    member = dataset.members.select_related("user").filter(pk=pk).first()
    if member is None:
        raise Http404
    return member


def run_for(user: Visitor, pk: int, role: Role = Role.ADMIN) -> Run:
    """A Run of a dataset that the user may see. A Run without a dataset is for staff, and a deletion also for
    the person who ordered it."""
    run = Run.objects.select_related("dataset", "version", "upload").filter(pk=pk).first()
    if run is None:
        raise Http404
    ordered_deletion = run.kind == Run.Kind.DELETE and run.created_by_id == user.pk
    if run.dataset_id is None and not (ordered_deletion or person(user).is_staff):
        raise Http404
    if run.dataset_id is not None:
        run.dataset = dataset_for(user, run.dataset_id, role)
    return run


def release_for(user: Visitor, pk: UUID, role: Role = Role.ADMIN) -> Release:
    release = Release.objects.filter(pk=pk).first()
    if release is None:
        raise Http404
    release.dataset = dataset_for(user, release.dataset_id, role)
    return release


def upload_for(user: Visitor, pk: UUID, role: Role = Role.ADMIN) -> Upload:
    """An uploaded file of a dataset that the user administers."""
    upload = Upload.objects.select_related("dataset").filter(pk=pk).first()
    if upload is None:
        raise Http404
    upload.dataset = dataset_for(user, upload.dataset_id, role)
    return upload


def staff_only(user: Visitor) -> User:
    """The user, if they administer the installation; else 403."""
    if not person(user).is_staff:
        raise PermissionDenied
    return person(user)


def version_for(user: Visitor, pk: int) -> ModelVersion:
    """A ModelVersion to change: staff only, as it serves every Dataset."""
    staff_only(user)
    version = ModelVersion.objects.filter(pk=pk).first()
    if version is None:
        raise Http404
    return version
