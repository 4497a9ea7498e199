"""One's own page: name, roles, hours, logins, and one's data as a file."""

from copy import copy

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from workbench import access
from workbench.forms.people import OwnLanguagesForm
from workbench.forms.timesheet import PeriodForm
from workbench.models import User
from workbench.pipeline.history.recording import Kind, record_own
from workbench.pipeline.people import logins, own, timesheet
from workbench.pipeline.people.timesheet import Total
from workbench.views.timesheet import hours_of, shown


@require_safe
def account(request: HttpRequest) -> HttpResponse:
    """Who one is here, and one's hours in the chosen months."""
    user = access.person(request.user)
    return _page(request, user, OwnLanguagesForm(instance=user))


@require_POST
def own_languages(request: HttpRequest) -> HttpResponse:
    """Store which languages one reads; it counts from the next request on."""
    user = access.person(request.user)
    form = OwnLanguagesForm(request.POST, instance=copy(user))
    if not form.is_valid():
        return _page(request, user, form)
    form.save()
    messages.info(request, "Saved which languages you read.")
    return redirect("account")


def _page(request: HttpRequest, user: User, form: OwnLanguagesForm) -> HttpResponse:
    chosen = PeriodForm.of(request.GET)
    period = chosen.period
    datasets = own.datasets_of(user)
    lines = timesheet.lines(datasets, period, user)
    of = timesheet.by_dataset(lines)
    context = {
        **shown(chosen, lines),
        "form": form,
        "logins": logins.of(user, request.session.session_key),
        "datasets": [(dataset, Total.of(of.get(dataset.pk, []))) for dataset in datasets],
        "hours": hours_of([(user.username, lines)], period)[0] if lines else None,
    }
    return render(request, "people/account.html", context, status=400 if form.errors else 200)


@require_safe
def account_data(request: HttpRequest) -> HttpResponseBase:
    """All that is stored of the person, as JSON, streamed."""
    user = access.person(request.user)
    return StreamingHttpResponse(
        own.data_of(user),
        content_type="application/json",
        headers={
            "Content-Disposition": 'attachment; filename="my-data.json"',
            "X-Content-Type-Options": "nosniff",
        },
    )


@require_POST
def log_out_elsewhere(request: HttpRequest) -> HttpResponse:
    """End all sessions of the person but this one."""
    user = access.person(request.user)
    with transaction.atomic():
        user.end_sessions()
        record_own(Kind.SESSIONS_ENDED, user)
    update_session_auth_hash(request, user)
    messages.info(request, "You are logged out everywhere else.")
    return redirect("account")


@require_POST
def login_end(request: HttpRequest, pk: int) -> HttpResponse:
    """End one login of the person, but not the one in use."""
    login = access.login_for(request.user, pk)
    if login.session_key == request.session.session_key:
        messages.error(request, "You use this login now. Press Log out to end it.")
    else:
        logins.end(login)
        messages.info(request, f"{login.browser} is logged out.")
    return redirect("account")
