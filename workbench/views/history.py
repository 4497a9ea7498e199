"""History: what admins, reviewers and commands did, as a page to search and as CSV."""

from itertools import chain

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from workbench import access
from workbench.forms.history import HistoryForm
from workbench.models import Dataset, Role
from workbench.pipeline.history import finding
from workbench.pipeline.history.recording import File
from workbench.pipeline.text.spreadsheets import csv_lines
from workbench.views.files import note_download


@require_safe
def history(request: HttpRequest) -> HttpResponse:
    """All that was done here, for staff."""
    access.staff_only(request.user)
    return _page(request, None)


@require_safe
def dataset_history(request: HttpRequest, pk: int) -> HttpResponse:
    """What was done to one dataset, for its admins."""
    return _page(request, access.dataset_for(request.user, pk, Role.ADMIN))


def _page(request: HttpRequest, dataset: Dataset | None) -> HttpResponse:
    form = HistoryForm(request.GET, dataset=dataset)
    before = request.GET.get("before", "")
    is_key = before.isascii() and before.isdigit() and len(before) < 19
    events, older = finding.page(form.found(), int(before) if is_key else None)
    query = request.GET.copy()
    query.pop("before", None)
    context = {
        "dataset": dataset,
        "tab": "settings",
        "form": form,
        "entries": finding.entries(events),
        "older": older,
        "is_first": not is_key,
        "is_filtered": any(query.values()),
        "query": query.urlencode(),
    }
    page = "history/dataset.html" if dataset else "history/history.html"
    return render(request, page, context, status=400 if form.errors else 200)


@require_safe
def history_csv(request: HttpRequest) -> HttpResponseBase:
    """The rows that the page finds, all of them, streamed. The download leaves a row itself."""
    access.staff_only(request.user)
    note_download(request, None, File.HISTORY)
    return _file(HistoryForm(request.GET), "history.csv")


@require_safe
def dataset_history_csv(request: HttpRequest, pk: int) -> HttpResponseBase:
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    note_download(request, dataset, File.HISTORY)
    return _file(HistoryForm(request.GET, dataset=dataset), f"history-{pk}.csv")


def _file(form: HistoryForm, name: str) -> HttpResponseBase:
    return StreamingHttpResponse(
        csv_lines(chain([finding.COLUMNS], finding.lines(form.found()))),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
        },
    )
