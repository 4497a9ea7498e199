"""Accounts, for staff: how they are made, changed, closed and opened. All of it acts at the next request of
the person."""

import json

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Count, Q, QuerySet

from workbench.models import Dataset, User
from workbench.pipeline.history.recording import Change, Kind, record
from workbench.pipeline.runs.progress import Refused


def found(q: str) -> QuerySet[User]:
    """Accounts with `q` in the name or the mail address, with `datasets`, of how many Datasets each is a
    member."""
    users = User.objects.filter(Q(username__icontains=q) | Q(email__icontains=q)) if q else User.objects.all()
    in_use = Count("memberships", filter=Q(memberships__dataset__deleted_at=None))
    return users.annotate(datasets=in_use)


def staff_now() -> set[int]:
    """Keys of the active staff accounts, locked until the transaction ends: two staff who take this from each
    other at once must not both succeed."""
    staff = User.objects.select_for_update().filter(is_staff=True, is_active=True).order_by("pk")
    return set(staff.values_list("pk", flat=True))


@transaction.atomic
def create(name: str, address: str, *, is_staff: bool, by: User) -> User:
    """A new account without a password: a link sets it. Raises IntegrityError for a name that is taken."""
    user = User.objects.create_user(name, address, is_staff=is_staff, is_superuser=is_staff)
    record(Kind.ACCOUNT, by=by, target=user, word=Change.ADDED, fields=["is_staff"] if is_staff else [])
    return user


@transaction.atomic
def make_staff(user: User, by: User) -> None:
    """Let an open account do everything."""
    _refuse_own(user, by)
    _refuse_without_login(user)
    _store(user, by, is_staff=True, is_superuser=True)


@transaction.atomic
def end_staff(user: User, by: User) -> None:
    """Leave the account with its roles in Datasets alone."""
    _refuse_own(user, by)
    _store(user, by, is_staff=False, is_superuser=False)


@transaction.atomic
def close(user: User, by: User) -> None:
    """End all access and all sessions; votes, roles and the name stay."""
    _refuse_own(user, by)
    _store(user, by, is_active=False)
    user.end_sessions()


@transaction.atomic
def reopen(user: User, by: User) -> None:
    """Give a closed account back what it had."""
    _refuse_own(user, by)
    if user.is_erased:
        raise Refused(f"Nothing was changed: {user} is erased.")
    _store(user, by, is_active=True)


@transaction.atomic
def change_name_and_address(user: User, name: str, address: str, by: User) -> None:
    """Give the account this name, and this mail address or none with "". Those before open the account no
    more, and the name before stays nowhere. Raises IntegrityError for a name that is taken."""
    _refuse_own(user, by)
    if name != user.username:
        forget_attempts({user.username})
        replace_in_journal(user, name)
    if address != user.email:
        EmailAddress.objects.filter(user=user).delete()
    _store(user, by, username=name, email=address)


def forget_attempts(names: set[str]) -> None:
    """Delete what django-axes noted of logins by these names."""
    by_name = Q()
    for name in names:
        by_name |= Q(username__iexact=name)
    for log in (AccessAttempt, AccessFailureLog, AccessLog):
        log.objects.filter(by_name).delete()


def replace_in_journal(user: User, new_name: str) -> None:
    """Replace the name of the account, and the sentences on its roles, in the log of Django's admin."""
    of_accounts = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(User))
    of_accounts.filter(object_id=str(user.pk)).update(object_repr=new_name)
    # As a Member is written, in JSON.
    of_member = f'"{json.dumps(user.username)[1:-1]} is '
    of_datasets = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(Dataset))
    of_datasets.filter(change_message__contains=of_member).update(change_message="")


@transaction.atomic
def log_out(user: User, by: User) -> None:
    """End all sessions of the person."""
    _refuse_own(user, by)
    user.end_sessions()
    record(Kind.SESSIONS_ENDED, by=by, target=user)


@transaction.atomic
def end_second_step(user: User, by: User) -> None:
    """Delete the apps, passkeys and codes of somebody who has lost them. Raises Refused where there are
    none."""
    _refuse_own(user, by)
    deleted, _ = Authenticator.objects.filter(user=user).delete()
    if not deleted:
        raise Refused(f"Nothing was changed: {user} has no second step.")
    record(Kind.SECOND_STEP, by=by, target=user)


@transaction.atomic
def unlink(user: User, by: User) -> None:
    """End the links to accounts of providers: who logs in there is looked up by mail address again. Raises
    Refused where there are none."""
    _refuse_own(user, by)
    deleted, _ = SocialAccount.objects.filter(user=user).delete()
    if not deleted:
        raise Refused(f"Nothing was changed: {user} is linked to no provider.")
    record(Kind.ACCOUNT, by=by, target=user, word=Change.CHANGED, fields=["provider"])


@transaction.atomic
def note_link(user: User, by: User) -> None:
    """Note in history that staff give the person a link to set a password. Raises Refused where it would
    open nothing."""
    _refuse_without_login(user)
    record(Kind.PASSWORD_LINK, by=by, target=user)


def note_mailed_link(user: User, by: User) -> None:
    """As `note_link`, for a link that goes to the mail address of the account."""
    if not user.email:
        raise Refused(f"Nothing was sent: {user} has no mail address.")
    note_link(user, by)


def _refuse_own(user: User, by: User) -> None:
    """So there is always staff: whoever acts is staff, and stays it."""
    if user == by:
        raise Refused("Nothing was changed: this is your own account. Ask other staff.")
    if by.pk not in staff_now():
        raise Refused("Nothing was changed: you are no longer staff.")


def _refuse_without_login(user: User) -> None:
    if not user.is_active:
        raise Refused(f"Nothing was done: the account {user} is closed. Open it first.")
    if user.is_service:
        raise Refused(f"Nothing was done: nobody logs in as {user}, as programs act for it by tokens.")


def _store(user: User, by: User, **values: bool | str) -> None:
    changed = [name for name, value in values.items() if getattr(user, name) != value]
    for name in changed:
        setattr(user, name, values[name])
    if changed:
        user.save(update_fields=changed)
        record(Kind.ACCOUNT, by=by, target=user, word=Change.CHANGED, fields=changed)
