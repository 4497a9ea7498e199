"""Tokens of programs: all of them for staff, those that reach a dataset for its admins. They are made on
pages alone: a token makes no other."""

from datetime import datetime

from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router, Schema

from workbench import access
from workbench.api.sending import After, page_of
from workbench.models import Dataset, Role, Token
from workbench.pipeline.people import tokens

router = Router(tags=["tokens"])


class TokenOut(Schema):
    """A token without its secret. account: whose it is; prefix: the first characters of the secret;
    is_for_all: for every dataset that the account may open; datasets: those that it names; last_used_at: to
    the minute; state: usable, expired or revoked."""

    id: int
    account: int
    person: str
    name: str
    prefix: str
    scope: str
    is_for_all: bool
    datasets: list[int]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    state: str


class Tokens(Schema):
    items: list[TokenOut]
    next_after: int | None


class TokensAsked(After):
    """account: tokens of this one alone."""

    account: int | None = None


@router.get("/tokens", response=Tokens)
def list_tokens(request: HttpRequest, asked: Query[TokensAsked]) -> dict[str, object]:
    """Every token of the installation, also those that have ended. Needs staff."""
    access.staff_only(request.user)
    found = Token.objects.listed()
    if asked.account is not None:
        found = found.filter(user=asked.account)
    return page_of(found, asked, _written)


@router.post("/tokens/{id:pk}/revoke", response={204: None})
def revoke_token(request: HttpRequest, pk: int) -> HttpResponse:
    """End any token: its next request is refused. Needs staff."""
    by = access.staff_only(request.user)
    tokens.revoke(_one_of(Token.objects.all(), pk), by)
    return HttpResponse(status=204)


@router.get("/datasets/{id:pk}/tokens", response=Tokens)
def list_dataset_tokens(request: HttpRequest, pk: int, after: Query[After]) -> dict[str, object]:
    """The tokens that reach a dataset, also those of members for all datasets. Of the datasets that a token
    names, it says this one."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    return page_of(Token.objects.reaching(dataset).listed(), after, lambda token: _written(token, dataset))


@router.post("/datasets/{id:pk}/tokens/{id:token_pk}/revoke", response={204: None})
def revoke_dataset_token(request: HttpRequest, pk: int, token_pk: int) -> HttpResponse:
    """End a token that names the dataset. One for all datasets is for its owner or staff to end."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    tokens.revoke(_one_of(Token.objects.filter(datasets=dataset), token_pk), access.person(request.user))
    return HttpResponse(status=204)


def _one_of(found: QuerySet[Token], pk: int) -> Token:
    token = found.select_related("user").filter(pk=pk).first()
    if token is None:
        raise Http404
    return token


def _written(token: Token, only: Dataset | None = None) -> TokenOut:
    named = sorted(dataset.pk for dataset in token.datasets.all())
    return TokenOut(
        id=token.pk,
        account=token.user_id,
        person=str(token.user),
        name=token.name,
        prefix=token.prefix,
        scope=token.scope,
        is_for_all=token.is_for_all,
        datasets=[pk for pk in named if only is None or pk == only.pk],
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        state=token.state,
    )
