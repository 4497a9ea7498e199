"""Erasing a person: name, mail and sessions go, and the votes stay under the pseudonym that Releases use."""

import secrets

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from workbench.models import Annotator, Dataset, Invitation, Judgment, Member, Role, SavedView, Told, User
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.people import accounts
from workbench.pipeline.runs.progress import Refused

LOGIN_APPS = ("account", "mfa", "socialaccount")
"""The apps of django-allauth, whose tables hold addresses, second steps and accounts elsewhere."""


@transaction.atomic
def erase(user: User, by: User | None = None) -> str:
    """Erase the person, and return the new name of the account, which can't log in. In one transaction:

    - name, mail addresses, password, groups and sessions go, the log of logins by them, and invitations;
    - roles, visits, pauses, qualifications, tokens and views of one's own go;
    - the names in the journal of *Accounts* become the new one;
    - what they were told of pairs goes: the account can vote no more;
    - votes, flags, comments, final labels, replies, examples and time corrections stay, under the new name;
    - history stays as it is: its rows hold the key of the account, and no name.

    Raises Refused for the own account, the only admin of a Dataset, the only staff, and somebody erased
    before."""
    if why := why_not(user, by):
        raise Refused(f"Nobody was erased: {why}")
    names = {user.username, user.email, *user.emailaddress_set.values_list("email", flat=True)} - {""}
    annotator = Annotator.objects.filter(user=user).first()
    # A part of the pseudonym, so that who reads a Release finds the votes here.
    new_name = User.ERASED + (annotator.pseudonym.hex[:12] if annotator else secrets.token_hex(6))
    _forget_logins(user, names)
    for rows in (user.logins, user.memberships, user.visits, user.pauses, user.tokens):
        rows.all().delete()
    if annotator:
        annotator.qualification_tries.all().delete()
        annotator.qualification_grants.all().delete()
    SavedView.objects.filter(owner=user, shared=False).delete()
    Told.objects.filter(annotator__user=user).delete()
    accounts.replace_in_journal(user, new_name)
    user.username, user.first_name, user.last_name, user.email = new_name, "", "", ""
    user.languages = []
    user.set_unusable_password()
    user.is_active = user.is_staff = user.is_superuser = False
    user.last_login = None
    user.save()
    user.groups.clear()
    user.user_permissions.clear()
    user.end_sessions()
    record(Kind.ERASED, by=by, target=user)
    return new_name


@transaction.atomic
def why_not(user: User, by: User | None = None) -> str:
    """Why the person can't be erased, and what to do first; "" where they can."""
    staff = accounts.staff_now()
    if user.is_erased:
        return f"{user} is erased already."
    if by == user:
        return "this is your own account. Ask other staff."
    if by and by.pk not in staff:
        return "you are no longer staff."
    admins = Member.objects.select_for_update().filter(role=Role.ADMIN, dataset__deleted_at=None)
    mine = [member.dataset_id for member in admins.filter(user=user)]
    shared = {member.dataset_id for member in admins.filter(dataset__in=mine).exclude(user=user)}
    if alone := sorted(Dataset.objects.filter(pk__in=set(mine) - shared).values_list("name", flat=True)):
        return f"{user} is the only admin of {', '.join(alone)}. Make somebody else an admin first."
    if user.is_staff and not staff - {user.pk}:
        return f"{user} is the only staff account. Create another first."
    return ""


def _forget_logins(user: User, names: set[str]) -> None:
    """Delete the sessions, what django-axes noted of logins by these names,
    what they log in with, and invitations to them."""
    for session in Session.objects.filter(expire_date__gt=timezone.now()).iterator():
        if session.get_decoded().get("_auth_user_id") == str(user.pk):
            session.delete()
    by_address = Q()
    for name in names:
        by_address |= Q(address__iexact=name)
    Invitation.objects.filter(by_address).delete()
    for relation in User._meta.related_objects:
        field = relation.field
        if field.model._meta.app_label in LOGIN_APPS:
            field.model._default_manager.filter(**{field.name: user}).delete()
    accounts.forget_attempts(names)


def kept(user: User) -> tuple[int, int]:
    """How many votes of the person stay, old ones and checks too, and how many of them have a comment."""
    votes = Judgment.objects.filter(annotator__user=user)
    return votes.count(), votes.exclude(comment="").count()
