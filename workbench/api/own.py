"""One's own account: who the token acts for, what is stored of that person, and their hours."""

from copy import copy
from datetime import date, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from ninja import Query, Router, Schema

from workbench import access
from workbench.api.people import Months, TimeLine, TimeTotal, period_of, time_line, time_total
from workbench.api.requests import ApiRequest, unless_stale
from workbench.api.sending import Body, etag_of, patched, valid
from workbench.forms.people import OwnLanguagesForm
from workbench.models import Role, User
from workbench.pipeline.people import own, timesheet

router = Router(tags=["account"])


class TokenInUse(Schema):
    """The token of the request. is_for_all: for every dataset that the account may open."""

    name: str
    prefix: str
    scope: str
    is_for_all: bool
    expires_at: datetime


class OwnRole(Schema):
    """A dataset that the token reaches, and the role that is left to the account there by the token."""

    id: int
    name: str
    role: Role


class Account(Schema):
    """Who the token acts for. languages: codes, as the person says; goes_straight_on: the annotation page
    goes on to the next pair after a vote."""

    id: int
    name: str
    is_staff: bool
    is_service: bool
    languages: list[str]
    goes_straight_on: bool
    token: TokenInUse
    datasets: list[OwnRole]


class AccountChange(Body):
    """What is sent is changed. languages: names or codes."""

    languages: list[str] | None = None
    goes_straight_on: bool | None = None


class OwnLine(TimeLine):
    dataset: int


class OwnHours(Schema):
    """Hours and pay by day and dataset, and in all."""

    first: date
    last: date
    lines: list[OwnLine]
    total: TimeTotal


@router.get("/account", response=Account)
def read_account(request: ApiRequest, response: HttpResponse) -> Account:
    """Who the token acts for, and what it reaches."""
    user = access.person(request.user)
    response["ETag"] = _etag(user)
    return _account(request, user)


@router.patch("/account", response=Account)
def change_account(request: ApiRequest, response: HttpResponse, body: AccountChange) -> Account:
    """Change the languages that one reads, or whether the annotation page goes straight on after a vote.
    Needs a token for all datasets."""
    user = access.own_account(request.user)
    sent = body.model_dump(exclude_unset=True, exclude_none=True)
    with unless_stale(request, user, _etag):
        form = valid(OwnLanguagesForm(patched(OwnLanguagesForm(instance=user), sent), instance=copy(user)))
        user.languages = form.cleaned_data["languages"]
        user.goes_straight_on = sent.get("goes_straight_on", user.goes_straight_on)
        user.save(update_fields=["languages", "goes_straight_on"])
    response["ETag"] = _etag(user)
    return _account(request, user)


@router.get("/account/data", response=dict[str, Any])
def read_own_data(request: HttpRequest) -> HttpResponseBase:
    """All that is stored of the person. Needs a token for all datasets."""
    user = access.own_account(request.user)
    return StreamingHttpResponse(own.data_of(user), content_type="application/json")


@router.get("/account/hours", response=OwnHours)
def read_own_hours(request: HttpRequest, months: Query[Months]) -> OwnHours:
    """One's own hours and pay in the datasets that the token reaches."""
    user = access.person(request.user)
    period = period_of(months)
    reached = set(access.datasets_of(user).values_list("pk", flat=True))
    datasets = [dataset for dataset in own.datasets_of(user) if dataset.pk in reached]
    lines = timesheet.lines(datasets, period, user)
    return OwnHours(
        first=period.first,
        last=period.last,
        lines=[OwnLine(**time_line(line).model_dump(), dataset=line.dataset.pk) for line in lines],
        total=time_total(lines),
    )


def _account(request: ApiRequest, user: User) -> Account:
    reached = access.datasets_of(user).order_by("pk")
    return Account(
        id=user.pk,
        name=user.username,
        is_staff=user.is_staff,
        is_service=user.is_service,
        languages=user.languages,
        goes_straight_on=user.goes_straight_on,
        token=TokenInUse.from_orm(request.token),
        datasets=[
            OwnRole(id=dataset.pk, name=dataset.name, role=access.role_by_token(dataset))
            for dataset in reached
        ],
    )


def _etag(user: User) -> str:
    return etag_of({"languages": user.languages, "goes_straight_on": user.goes_straight_on})
