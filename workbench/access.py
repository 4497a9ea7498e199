"""Who may see or change what: the only place that answers 404 (you may not know of it), 403 (you may see it,
but not do this) or 423 (it is archived: nobody changes it). A view that skips these functions cannot get its
object."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import BigAutoField, OuterRef, QuerySet, Subquery
from django.http import Http404

from workbench.db.compiled import Compiled, Given
from workbench.models import Comparison, Dataset, Member, ModelVersion, Release, Role, Run, Upload, User

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
    """For as long as a request by this HTTP method is answered: one that is not safe gets no archived
    Dataset, nor anything of one."""
    before = _changes.set(method not in SAFE)
    try:
        yield
    finally:
        _changes.reset(before)


def refuse_archived(dataset: Dataset) -> None:
    """Raise Archived where the dataset takes no change."""
    if dataset.archived_at:
        raise Archived(dataset)


def role_in(user: User, dataset: Dataset) -> Role | None:
    """The user's role in the dataset; staff are admins everywhere; None for a stranger."""
    if user.is_staff:
        return Role.ADMIN
    member = dataset.members.filter(user=user).first()
    return Role(member.role) if member else None


def has_role(user: User, dataset: Dataset, role: Role) -> bool:
    """True when the user's role in the dataset is `role` or one that includes it."""
    held = role_in(user, dataset)
    return held is not None and _RANK[held] >= _RANK[role]


def person(user: Visitor) -> User:
    """The logged-in user. The login middleware guards every page: failing here means a view opted out."""
    if not isinstance(user, User):
        raise PermissionDenied
    return user


def dataset_for(
    user: Visitor, pk: int, role: Role = Role.ANNOTATOR, *, even_archived: bool = False
) -> Dataset:
    """The dataset, for a member with at least `role`, who finds their own as `dataset.role`. A stranger gets
    404, a member with less 403; whoever is about to change an archived one 423. `even_archived` is for what
    changes nothing that is archived: people, and what becomes of the Dataset as a whole."""
    roles = _AS_STAFF if person(user).is_staff else _AS_MEMBER
    dataset = roles.first(pk=pk, user=user.pk)
    if dataset is None:
        raise Http404
    _require(dataset.role, role)
    if not even_archived:
        _refuse_change(dataset)
    return dataset


_PK = Given("pk", BigAutoField())
_USER: Any = Given("user", BigAutoField())
_AS_STAFF = Compiled(lambda: Dataset.objects.filter(pk=_PK).with_role_of_staff())
_AS_MEMBER = Compiled(lambda: Dataset.objects.filter(pk=_PK).with_role_of_member(_USER))


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
    own: QuerySet[Any, Any] = Dataset.objects.with_role_of(person(user))
    held = Subquery(own.filter(pk=OuterRef("dataset")).values("role"))
    known: QuerySet[Any, Any] = Comparison.objects.select_related("dataset")
    comparison: Comparison | None = known.annotate(role=held).filter(pk=pk).first()
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
    """A Run of a dataset the user may see; a Run of no dataset is for staff, and a deletion also for whoever
    ordered it."""
    run = Run.objects.select_related("dataset", "version", "upload").filter(pk=pk).first()
    if run is None:
        raise Http404
    own = run.kind == Run.Kind.DELETE and run.created_by_id == user.pk
    if run.dataset_id is None and not (own or person(user).is_staff):
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
