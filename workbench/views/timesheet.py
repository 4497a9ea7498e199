"""The time sheet of a dataset, as a page and as CSV."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from workbench import access
from workbench.forms.timesheet import CorrectionForm, PeriodForm
from workbench.models import Role
from workbench.pipeline.history.recording import File
from workbench.pipeline.people import timesheet
from workbench.pipeline.people.timesheet import Line, Period, Total
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.text.spreadsheets import csv_lines
from workbench.views import orders
from workbench.views.files import note_download
from workbench.views.pictures import Bars

MOST_LINES = 400
"""Lines that a page shows; the CSV has all."""


@dataclass(frozen=True)
class Hours:
    """Someone's or everybody's time in a period: the sums, and a bar a day or, in a long period, a month."""

    name: str
    total: Total
    bars: Bars


SORTS: dict[str, tuple[str, Callable[[Hours], Any]]] = {
    "name": ("By name", lambda hours: hours.name.casefold()),
    "time": ("Most time", lambda hours: -hours.total.seconds),
    "votes": ("Most votes", lambda hours: -hours.total.votes),
}


@require_http_methods(["GET", "HEAD", "POST"])
def time_sheet(request: HttpRequest, pk: int) -> HttpResponse:
    """Hours and pay by person and day; a form that corrects them."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN, even_archived=True)
    chosen = PeriodForm.of(request.GET)
    period = chosen.period
    lines = timesheet.lines([dataset], period)
    form = CorrectionForm(request.POST or None, dataset=dataset, people={line.user for line in lines})
    if form.is_valid():
        try:
            stored = form.correct(access.person(request.user))
        except Refused as refused:
            form.add_error("seconds", str(refused))
        else:
            messages.info(request, f"Corrected {stored.user} on {stored.day} by {stored.seconds:+} seconds.")
            return redirect(request.get_full_path())
    people = hours_of([(name, of) for name, _, of in timesheet.by_person(lines)], period)
    sort = orders.chosen(request, SORTS)
    context = {
        "dataset": dataset,
        "tab": "people",
        **shown(chosen, lines),
        "people": sorted(people, key=SORTS[sort][1]),
        **orders.links(SORTS, sort),
        "everybody": hours_of([("Everybody", lines)], period)[0],
        "query": request.GET.urlencode(),
        "form": form,
    }
    return render(request, "people/time.html", context, status=400 if form.errors else 200)


def shown(chosen: PeriodForm, lines: Sequence[Line]) -> dict[str, object]:
    """For people/months.html and people/time_lines.html: the chosen months, and the lines that fit on
    a page."""
    return {
        "chosen": chosen,
        "period": chosen.period,
        "lines": lines[:MOST_LINES],
        "hidden": max(0, len(lines) - MOST_LINES),
        "is_paid": any(line.pay is not None for line in lines),
        "is_corrected": any(line.reason for line in lines),
    }


def hours_of(groups: Sequence[tuple[str, Sequence[Line]]], period: Period) -> list[Hours]:
    """The hours of each (name, Lines), with bars on one scale."""
    is_long = len(period.days) > 62

    def place(day: date) -> date:
        return day.replace(day=1) if is_long else day

    places = {day: n for n, day in enumerate(dict.fromkeys(map(place, period.days)))}
    drawn = []
    for _, lines in groups:
        numbers = [0] * len(places)
        for line in lines:
            numbers[places[place(line.day)]] += line.hundredths
        drawn.append(numbers)
    most = max((n for numbers in drawn for n in numbers), default=0)
    return [
        Hours(name, Total.of(lines), Bars.of(numbers, most))
        for (name, lines), numbers in zip(groups, drawn, strict=True)
    ]


@require_safe
def time_sheet_csv(request: HttpRequest, pk: int) -> HttpResponseBase:
    """All lines of the chosen months, streamed."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    period = PeriodForm.of(request.GET).period
    note_download(request, dataset, File.TIME_SHEET)
    name = timesheet.name_of_file(dataset, period)
    return StreamingHttpResponse(
        csv_lines(timesheet.rows_of_file(dataset, period)),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "X-Content-Type-Options": "nosniff",
        },
    )
