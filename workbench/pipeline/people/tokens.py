"""Tokens and service accounts: how they are made, and how a token ends."""

from collections.abc import Collection
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from workbench.models import Dataset, Role, Token, User
from workbench.pipeline.history.recording import Kind, record, record_own
from workbench.pipeline.people import members
from workbench.pipeline.runs.progress import Refused

MOST_TOKENS = 50
"""Usable tokens of one account."""


@transaction.atomic
def make(
    user: User,
    name: str,
    scope: Token.Scope,
    *,
    datasets: Collection[Dataset] | None,
    days: int,
    by: User,
) -> tuple[Token, str]:
    """A new token for `user`, and its secret, which is stored nowhere.

    datasets: None = all that the account may open, now and later. Raises Refused for a service account that
    would vote, and for more than MOST_TOKENS usable tokens."""
    now = timezone.now()
    if user.is_service and scope == Token.Scope.ANNOTATE:
        raise Refused("A service account does not vote. Make this token for a person.")
    if user.tokens.filter(revoked_at=None, expires_at__gt=now).count() >= MOST_TOKENS:
        raise Refused(f"{user} has {MOST_TOKENS} tokens. Revoke one first.")
    secret = Token.new_secret()
    token = Token.objects.create(
        user=user,
        name=name,
        prefix=secret[: Token.SHOWN],
        digest=Token.digest_of(secret),
        scope=scope,
        is_for_all=datasets is None,
        created_by=by,
        expires_at=now + timedelta(days=days),
    )
    token.datasets.set(datasets or ())
    _record(Kind.TOKEN_MADE, token, by)
    return token, secret


@transaction.atomic
def revoke(token: Token, by: User) -> None:
    """End the token: its next request is refused. One that has ended stays as it is."""
    if Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
        _record(Kind.TOKEN_REVOKED, token, by)


def _record(kind: Kind, token: Token, by: User) -> None:
    """A row for each dataset that the token names; of one's own token, a row of the account."""
    if token.user == by:
        record_own(kind, by)
        return
    for dataset in token.datasets.values_list("pk", flat=True) or (None,):
        record(kind, by=by, dataset=dataset, target=token.user)


@transaction.atomic
def add_service_account(dataset: Dataset, name: str, role: Role, by: User) -> User:
    """An account for programs, as a member of the dataset. It has no password and no mail address, so nobody
    logs in with it. Raises Refused for a name that is taken, and for the role of an annotator."""
    if role == Role.ANNOTATOR:
        raise Refused("A service account does not vote. Choose another role.")
    if User.objects.filter(username__iexact=name).exists():
        raise Refused(f"Another account is named {name}. Choose a different name.")
    user = User(username=name, is_service=True)
    user.set_unusable_password()
    user.save()
    record(Kind.SERVICE_ACCOUNT, by=by, dataset=dataset, target=user)
    members.add(dataset, user, role, by)
    return user
