from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from workbench.models import Dataset, Token, User

Make = Callable[..., Client]


def token_of(
    user: User,
    scope: str = "manage",
    datasets: Iterable[Dataset] | None = None,
    *,
    days: float = 30,
    revoked: bool = False,
) -> str:
    """The secret of a new token. datasets: None = all."""
    secret = Token.new_secret()
    now = timezone.now()
    token = Token.objects.create(
        user=user,
        name="job",
        prefix=secret[: Token.SHOWN],
        digest=Token.digest_of(secret),
        scope=scope,
        is_for_all=datasets is None,
        expires_at=now + timedelta(days=days),
        revoked_at=now if revoked else None,
    )
    token.datasets.set(datasets or ())
    return secret


def program_with(secret: str) -> Client:
    """A client that sends this token."""
    return Client(headers={"authorization": f"Bearer {secret}"})


@pytest.fixture
def program() -> Make:
    """program(user, scope, datasets): a client with a new token."""

    def make(user: User, scope: str = "manage", datasets: Iterable[Dataset] | None = None) -> Client:
        return program_with(token_of(user, scope, datasets))

    return make
