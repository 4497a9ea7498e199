"""Who may see or change what. Only this module answers 404 (you may not know of it), 403 (you may see it, but
not do this) or 423 (it is archived, so nobody changes it). A view gets its object from these functions
alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
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
    """While a request by this HTTP method is answered. A method that may change something gets no archived
    dataset, nor anything in one."""
    before = _changes.set(method not in SAFE)
    try:
        yield
    finally:
        _changes.reset(before)


def refuse_archived(dataset: Dataset) -> None:
    """Raise Archived where the dataset takes no change."""
    if dataset.archived_at:
        raise Archived(dataset)


def person(user: Visitor) -> User:
    """The logged-in user. The login middleware guards every page: failing here means a view opted out."""
    if not isinstance(user, User):
        raise PermissionDenied
    return user


def dataset_for(
    user: Visitor, pk: int, role: Role = Role.ANNOTATOR, *, even_archived: bool = False
) -> Dataset:
    """The dataset, for a member with at least `role`, whose own role is then `dataset.role`. A stranger gets
    404, and a member with less 403. A change of an archived dataset gets 423, unless it is `even_archived`: a
    change of its people, or of the dataset as a whole."""
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
    datasets: QuerySet[Any, Any] = Dataset.objects.with_role_of(person(user)).filter(pk=OuterRef("dataset"))
    comparisons: QuerySet[Any, Any] = Comparison.objects.select_related("dataset")
    with_role = comparisons.annotate(role=Subquery(datasets.values("role")))
    comparison: Comparison | None = with_role.filter(pk=pk).first()
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
    """A Run of a dataset that the user may see. A Run of no dataset is for staff; a deletion is also for
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
    """A file sent for a dataset that the user administers."""
    upload = Upload.objects.select_related("dataset").filter(pk=pk).first()
    if upload is None:
        raise Http404
    upload.dataset = dataset_for(user, upload.dataset_id, role)
    return upload


def staff_only(user: Visitor) -> User:
    """The user, when they administer the installation: 403 for anybody else."""
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
