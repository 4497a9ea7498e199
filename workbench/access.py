"""Who may see or change what. Only this module answers 404 (the user may not know of it), 403 (the user may
see it, but not do this) or 423 (archived: nobody may change it). A view gets its object from these functions
alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model, OuterRef, QuerySet, Subquery
from django.http import Http404

from workbench.models import (
    Act,
    Annotator,
    Comparison,
    Dataset,
    Example,
    Invitation,
    Login,
    Member,
    ModelVersion,
    Prompt,
    Release,
    Reply,
    Role,
    Run,
    SavedView,
    Statistics,
    Token,
    Upload,
    User,
    Webhook,
)
from workbench.models.dataset import DatasetQuerySet
from workbench.pipeline import quality
from workbench.pipeline.annotate import statements
from workbench.pipeline.data import acts
from workbench.pipeline.people import qualifying
from workbench.pipeline.people.members import former_member

_RANK = {Role.ANNOTATOR: 1, Role.REVIEWER: 2, Role.ADMIN: 3}

Visitor = User | AnonymousUser

SAFE = {"GET", "HEAD", "OPTIONS", "TRACE"}
_changes: ContextVar[bool] = ContextVar("changes", default=False)

Written = TypeVar("Written", Reply, Example)


@dataclass(frozen=True)
class Limits:
    """What a token lets its account do. datasets: primary keys; None = every one."""

    scope: Token.Scope
    datasets: frozenset[int] | None = None

    @classmethod
    def of(cls, token: Token) -> "Limits":
        named = None if token.is_for_all else frozenset(token.datasets.values_list("pk", flat=True))
        return cls(Token.Scope(token.scope), named)

    def include(self, dataset: int) -> bool:
        return self.datasets is None or dataset in self.datasets


_HIGHEST = {Token.Scope.ANNOTATE: Role.ANNOTATOR, Token.Scope.REVIEW: Role.REVIEWER}
"""The highest role that a token of a scope gives."""
_limits: ContextVar[Limits | None] = ContextVar("limits", default=None)


class OutOfScope(PermissionDenied):
    """The account may do this, but the token of the request may not."""


class Archived(PermissionDenied):
    """An archived Dataset was to be changed."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(archived_sentence(dataset))


class NoVoter(PermissionDenied):
    """A service account was to vote, or to do what only voters do."""

    def __init__(self) -> None:
        super().__init__("A service account does not vote. Use the token of a person.")


class AgreementDue(PermissionDenied):
    """A member is to agree to the consent text of a Dataset before they open its pages."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(f"{dataset} asks you to agree to a text first.")
        self.dataset = dataset


def archived_sentence(dataset: Dataset) -> str:
    return f"{dataset} is archived: you can read and export it, but not vote, import or start runs."


@contextmanager
def limited_to(limits: Limits | None) -> Iterator[None]:
    """Answer a request by a token with these limits; None = a page, which has none."""
    before = _limits.set(limits)
    try:
        yield
    finally:
        _limits.reset(before)


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
    user: Visitor,
    pk: int,
    role: Role = Role.ANNOTATOR,
    *,
    even_archived: bool = False,
    before_agreeing: bool = False,
) -> Dataset:
    """The dataset for a member with at least `role`; `dataset.role` is the member's role. 404 for a stranger,
    403 for a member of a lower role. A change of an archived dataset gets 423, unless `even_archived`: for
    changes of its people, or of the dataset as a whole. Who has not agreed to its consent text is led there
    from each page, unless `before_agreeing`; what they send from an open page counts. Admins, who write the
    text, and service accounts are not asked."""
    if person(user).is_staff:
        dataset = statements.dataset_of_staff.first(pk)
    else:
        dataset = statements.dataset_of_member.first(pk, person(user).pk)
    if dataset is None:
        raise Http404
    dataset.role = _within_limits(dataset.pk, dataset.role)
    _require(dataset.role, role)
    if not even_archived:
        _refuse_change(dataset)
    if not before_agreeing:
        _require_agreement(user, dataset, dataset.role, dataset.has_agreed)
    return dataset


def _require_agreement(user: Visitor, dataset: Dataset, role: str | None, has_agreed: bool) -> None:
    """Raise AgreementDue for somebody who is to agree to the consent text first, as of `dataset_for`."""
    is_sent_from_a_page = _changes.get() and _limits.get() is None
    is_asked = role != Role.ADMIN and not person(user).is_service
    if is_asked and not (has_agreed or is_sent_from_a_page):
        raise AgreementDue(dataset)


def _standing(user: Visitor) -> dict[str, Subquery]:
    """To annotate rows that have a `dataset`: the role of the user there, whether they have agreed to its
    consent text, and whether work is running there."""
    datasets = Dataset.objects.with_role_of(person(user)).with_has_agreed(person(user).pk).with_is_busy()
    here: QuerySet[Model] = datasets.filter(pk=OuterRef("dataset"))
    return {name: Subquery(here.values(name)) for name in ("role", "has_agreed", "is_busy")}


def datasets_of(user: Visitor) -> DatasetQuerySet:
    """The datasets that the user may open, with `role`; archived ones too."""
    return _reached(Dataset.objects.visible_to(person(user)).with_role_of(person(user)))


def benchmarks_beside(dataset: Dataset) -> DatasetQuerySet:
    """The other benchmarks that models are measured on, whose figures each admin of `dataset` sees. A token
    that names its datasets sees those of the named ones."""
    return _reached(Dataset.objects.benchmarks().exclude(pk=dataset.pk))


def _reached(datasets: DatasetQuerySet) -> DatasetQuerySet:
    """Those that the token of the request reaches."""
    limits = _limits.get()
    return datasets if limits is None or limits.datasets is None else datasets.filter(pk__in=limits.datasets)


def dataset_and_annotator(user: Visitor, pk: int) -> tuple[Dataset, Annotator]:
    """The dataset as in `dataset_for`, and the user as an annotator, who may be paused there or must qualify
    first. Raises NoVoter for a service account."""
    dataset = dataset_for(user, pk)
    if person(user).is_service:
        raise NoVoter
    annotator = statements.annotator_in.first(pk, person(user).pk)
    if annotator is None:
        # They may be paused before their first request.
        Annotator.objects.for_user(person(user))
        annotator = Annotator.objects.with_pause_in(pk, person(user).pk).get(user=person(user))
    annotator.must_qualify = qualifying.must_qualify(dataset, annotator, dataset.role)
    return dataset, annotator


def _require(held: str | None, role: Role) -> None:
    if held is None:
        raise Http404
    if _RANK[Role(held)] < _RANK[role]:
        limits = _limits.get()
        if limits and limits.scope in _HIGHEST and _RANK[_HIGHEST[limits.scope]] < _RANK[role]:
            raise OutOfScope(
                f"A token with the scope {limits.scope} cannot do this, whatever its account may do."
            )
        raise PermissionDenied


def _within_limits(dataset: int, role: str | None) -> str | None:
    """The role that is left to the user by the token of the request; None for a dataset that the token does
    not name."""
    limits = _limits.get()
    if limits is None or role is None:
        return role
    if not limits.include(dataset):
        return None
    _refuse_change_by_reader()
    highest = _HIGHEST.get(limits.scope, Role.ADMIN)
    return min(Role(role), highest, key=lambda one: _RANK[one])


def _refuse_change(dataset: Dataset) -> None:
    if _changes.get():
        refuse_archived(dataset)


def comparison_for(user: Visitor, pk: int, role: Role = Role.ANNOTATOR) -> Comparison:
    """The comparison, for a member of its dataset as in `dataset_for`. One query."""
    comparisons = Comparison.objects.select_related("dataset").annotate(**_standing(user))
    comparison = comparisons.filter(pk=pk).first()
    if comparison is None:
        raise Http404
    comparison.role = _within_limits(comparison.dataset_id, comparison.role)
    _require(comparison.role, role)
    comparison.dataset.role, comparison.dataset.is_busy = comparison.role, vars(comparison)["is_busy"]
    _refuse_change(comparison.dataset)
    _require_agreement(user, comparison.dataset, comparison.role, vars(comparison)["has_agreed"])
    return comparison


def act_in(user: Visitor, dataset_pk: int, pk: int, role: Role = Role.REVIEWER) -> Act:
    """An act of the history of a dataset, to undo it."""
    dataset = dataset_for(user, dataset_pk, role)
    act = dataset.acts.filter(pk=pk).first()
    if act is None:
        raise Http404
    act.dataset = dataset
    return act


def prompt_for(user: Visitor, pk: int) -> Prompt:
    """The prompt without its long texts, with its size, tags, topic and import, for reviewers and admins of
    its dataset. One query."""
    related = ("dataset", "topic", "imported_by__upload", "imported_by__created_by")
    prompts = Prompt.objects.select_related(*related).annotate(**_standing(user))
    found = prompts.with_size().with_tag_names().only("group", *related)
    prompt = found.filter(pk=pk).first()
    if prompt is None:
        raise Http404
    prompt.dataset.role = _within_limits(prompt.dataset_id, vars(prompt)["role"])
    prompt.dataset.is_busy = vars(prompt)["is_busy"]
    _require(prompt.dataset.role, Role.REVIEWER)
    _refuse_change(prompt.dataset)
    _require_agreement(user, prompt.dataset, prompt.dataset.role, vars(prompt)["has_agreed"])
    return prompt


def reply_for(user: Visitor, pk: int) -> Reply:
    """A reviewer's reply, for reviewers of its dataset."""
    return _in_reviewed_dataset(user, Reply.objects.all(), pk)


def example_for(user: Visitor, pk: int) -> Example:
    """An example in the guidelines, for reviewers of its dataset."""
    return _in_reviewed_dataset(user, Example.objects.all(), pk)


def _in_reviewed_dataset(user: Visitor, rows: QuerySet[Written], pk: int) -> Written:
    row = rows.select_related("comparison", "supersedes").filter(pk=pk).first()
    if row is None:
        raise Http404
    row.comparison = comparison_for(user, row.comparison_id, Role.REVIEWER)
    return row


def act_for(user: Visitor, pk: int) -> Act:
    """An act to undo: for those who may do it, also in the other dataset where that is undone."""
    act = Act.objects.filter(pk=pk).first()
    if act is None:
        raise Http404
    act.dataset = dataset_for(user, act.dataset_id, acts.role_for(act))
    if there := acts.undone_in(act):
        dataset_for(user, there, acts.role_for(act))
    return act


def may(dataset: Dataset, role: Role) -> bool:
    """Whether the user for whom `dataset` was got has at least this role."""
    return dataset.role is not None and _RANK[Role(dataset.role)] >= _RANK[role]


def member_for(user: Visitor, dataset_pk: int, pk: int) -> Member:
    """A membership to change or end: for the Dataset's admins."""
    dataset = dataset_for(user, dataset_pk, Role.ADMIN, even_archived=True)
    member = dataset.members.select_related("user").filter(pk=pk).first()
    if member is None:
        raise Http404
    return member


def former_member_for(user: Visitor, dataset_pk: int, annotator: int) -> Member:
    """Somebody who was a member, by the primary key as an Annotator: for the Dataset's admins. Not stored."""
    dataset = dataset_for(user, dataset_pk, Role.ADMIN, even_archived=True)
    member = former_member(dataset, annotator)
    if member is None:
        raise Http404
    return member


def invitation_for(user: Visitor, pk: int, *, even_archived: bool = False) -> Invitation:
    """An invitation to send again or to end: for the Dataset's admins."""
    invitation = Invitation.objects.filter(pk=pk).first()
    if invitation is None:
        raise Http404
    invitation.dataset = dataset_for(user, invitation.dataset_id, Role.ADMIN, even_archived=even_archived)
    return invitation


def webhook_for(user: Visitor, pk: int, *, even_archived: bool = False) -> Webhook:
    """A webhook, for the Dataset's admins."""
    webhook = Webhook.objects.filter(pk=pk).first()
    if webhook is None:
        raise Http404
    webhook.dataset = dataset_for(user, webhook.dataset_id, Role.ADMIN, even_archived=even_archived)
    return webhook


def run_for(user: Visitor, pk: int, role: Role = Role.ADMIN) -> Run:
    """A Run of a dataset that the user may see. A Run without a dataset is for staff, and a deletion also for
    the person who ordered it."""
    run = Run.objects.select_related("dataset", "version", "upload").filter(pk=pk).first()
    if run is None:
        raise Http404
    ordered_deletion = run.kind == Run.Kind.DELETE and run.created_by_id == user.pk
    if run.dataset_id is None and not ordered_deletion:
        if not person(user).is_staff:
            raise Http404
        staff_only(user)
    if run.dataset_id is not None:
        run.dataset = dataset_for(user, run.dataset_id, role)
    return run


def release_for(user: Visitor, pk: UUID, role: Role = Role.ADMIN) -> Release:
    release = Release.objects.filter(pk=pk).first()
    if release is None:
        raise Http404
    release.dataset = dataset_for(user, release.dataset_id, role)
    return release


def token_to_revoke(user: Visitor, pk: int) -> Token:
    """A token to end: for its owner, for staff, and for admins of a dataset that it names. Admins of one
    dataset do not end a token for all of them."""
    token = Token.objects.select_related("user").filter(pk=pk).first()
    if token is None:
        raise Http404
    if token.user_id == person(user).pk or person(user).is_staff:
        return token
    administered = Member.objects.filter(user=person(user), role=Role.ADMIN).values("dataset")
    if not token.datasets.filter(pk__in=administered).exists():
        raise Http404
    return token


def view_for(user: Visitor, pk: int) -> SavedView:
    """A saved view of the Data page to change: for its owner, and a shared one also for the Dataset's
    admins."""
    view = SavedView.objects.filter(pk=pk).first()
    if view is None:
        raise Http404
    view.dataset = dataset_for(user, view.dataset_id, Role.REVIEWER)
    if view.owner_id != person(user).pk:
        if not view.shared:
            raise Http404
        _require(view.dataset.role, Role.ADMIN)
    return view


def statistics_for(user: Visitor, pk: int, role: Role = Role.REVIEWER) -> tuple[Dataset, Statistics]:
    """A dataset with its stored report; 404 where there is none yet."""
    dataset = dataset_for(user, pk, role)
    report = quality.stored(dataset)
    if report is None:
        raise Http404
    return dataset, report


def upload_for(user: Visitor, pk: UUID, role: Role = Role.ADMIN) -> Upload:
    """An uploaded file of a dataset that the user administers."""
    upload = Upload.objects.select_related("dataset").filter(pk=pk).first()
    if upload is None:
        raise Http404
    upload.dataset = dataset_for(user, upload.dataset_id, role)
    return upload


def staff_only(user: Visitor) -> User:
    """The user, if they administer the installation; else 403. Of tokens, one for all datasets that may
    manage, or that only reads."""
    if not person(user).is_staff:
        raise PermissionDenied
    limits = _limits.get()
    reads = limits is not None and limits.scope == Token.Scope.READ and not _changes.get()
    if limits and not (limits.datasets is None and (limits.scope == Token.Scope.MANAGE or reads)):
        raise OutOfScope("This needs a token for all datasets with the scope manage.")
    return person(user)


def refuse_named_datasets_alone() -> None:
    """Raise OutOfScope for a token that names its datasets: it makes no dataset that it could not reach."""
    limits = _limits.get()
    if limits is not None and limits.datasets is not None:
        raise OutOfScope("This needs a token for all datasets.")


def only_reads() -> bool:
    """Whether the token of the request changes nothing: what would let its holder in is not shown to it."""
    limits = _limits.get()
    return limits is not None and limits.scope == Token.Scope.READ


def _refuse_change_by_reader() -> None:
    if only_reads() and _changes.get():
        raise OutOfScope("A token with the scope read changes nothing.")


def own_account(user: Visitor) -> User:
    """The user, to read all that is stored of them or to change their account. Of tokens, one for all
    datasets; to change it, not one that only reads."""
    refuse_named_datasets_alone()
    _refuse_change_by_reader()
    return person(user)


def role_by_token(dataset: Dataset) -> Role:
    """The role that the token of the request leaves to the user, in a dataset of `datasets_of`."""
    return Role(_within_limits(dataset.pk, dataset.role) or Role.ANNOTATOR)


def login_for(user: Visitor, pk: int) -> Login:
    """A login of one's own, to end it."""
    login = person(user).logins.filter(pk=pk).first()
    if login is None:
        raise Http404
    return login


def account_for(user: Visitor, pk: int) -> User:
    """Anybody's account, for staff."""
    staff_only(user)
    account = User.objects.filter(pk=pk).first()
    if account is None:
        raise Http404
    return account


def version_for(user: Visitor, pk: int) -> ModelVersion:
    """A ModelVersion to change: staff only, as it serves every Dataset."""
    staff_only(user)
    version = ModelVersion.objects.filter(pk=pk).first()
    if version is None:
        raise Http404
    return version
