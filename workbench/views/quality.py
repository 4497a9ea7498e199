"""The Quality pages: a stored report, in panels. Nothing is computed or drawn here."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from django.core.files.storage import default_storage
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.text import slugify
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from workbench import access
from workbench.models import Dataset, Role, Statistics
from workbench.pipeline import quality as pipeline
from workbench.pipeline.quality import charts
from workbench.pipeline.quality.panels import Column, Panel, in_words, names_of, panels, plan
from workbench.pipeline.quality.reports import SOURCE_NAMES, Report, StoredFigure, label_sources
from workbench.pipeline.text.spreadsheets import plain_cell
from workbench.views import STOP_POLLING, Request
from workbench.views.figures import as_of, computing

ROWS_SHOWN = 60

# A browser that opens a chart by itself must treat it as shapes and text alone.
_CHART_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, max-age=31536000, immutable",
}


@dataclass(frozen=True)
class Shown:
    """A panel on the page: its cells in words, and the files of its chart by theme."""

    panel: Panel
    pictures: Mapping[str, str]
    download: str

    @property
    def says(self) -> str:
        return _unbroken(self.panel.says)

    @property
    def cells(self) -> list[list[tuple[Column, str]]]:
        return [
            [(column, _cell(column, row.get(column.key))) for column in self.panel.columns]
            for row in self.panel.rows[:ROWS_SHOWN]
        ]

    @property
    def rows_left_out(self) -> int:
        return max(0, len(self.panel.rows) - ROWS_SHOWN)

    @property
    def not_drawn(self) -> int:
        return len(self.panel.rows) - len(self.panel.shown_in_chart)


def _unbroken(sentence: str) -> str:
    """With no line break before a per cent sign."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def _cell(column: Column, value: object) -> str:
    if value is None:
        return ""
    if column.kind == "count":
        return f"{value:,}"
    if column.kind == "decimal":
        return f"{value:,.1f}"
    if column.is_figure:
        # The reason for a missing figure is a sentence, and a cell has room for its beginning.
        return in_words(cast("StoredFigure", value), column.kind).partition(":")[0]
    return str(value)


@require_safe
@vary_on_headers("HX-Request")
def quality(request: Request, pk: int) -> HttpResponse:
    """The figures of a Dataset; for htmx, the progress of their Run, and a reload at its end."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    context = {"dataset": dataset, "tab": "quality", **computing(dataset)}
    if request.htmx and not context["runs"]:
        return HttpResponse(status=STOP_POLLING, headers={"HX-Refresh": "true"})
    if request.htmx:
        return render(request, "quality/live.html", context)
    stored = pipeline.stored(dataset)
    context |= as_of(dataset, stored)
    if stored:
        context |= _figures(request, dataset, stored)
    return render(request, "quality/quality.html", context)


def _figures(request: HttpRequest, dataset: Dataset, stored: Statistics) -> dict[str, object]:
    report = stored.report
    label_source = _label_source(report, request.GET.get("label_source", ""))
    return {
        "label_source": label_source,
        "label_sources": [(name, SOURCE_NAMES[name]) for name in label_sources(report)],
        "panels": [
            _shown(dataset, stored, label_source, panel) for panel in _panels(dataset, report, label_source)
        ],
        "plan": [_unbroken(sentence) for sentence in plan(report)],
    }


def _label_source(report: Report, chosen: str) -> str:
    """The chosen label source, else the first with opinions; "" where there are none."""
    sources = label_sources(report)
    return chosen if chosen in sources else next(iter(sources), "")


def _panels(dataset: Dataset, report: Report, label_source: str) -> list[Panel]:
    """The panels for the visitor: those on single annotators are for admins."""
    if not label_source:
        return []
    is_admin = dataset.role == Role.ADMIN
    return [panel for panel in panels(report, label_source, names_of(report)) if is_admin or not panel.single]


def _shown(dataset: Dataset, stored: Statistics, label_source: str, panel: Panel) -> Shown:
    pictures = {}
    for theme in charts.THEMES:
        path = _path(stored, charts.chart_name(panel, label_source, theme)) if panel.has_chart else None
        if path:
            pictures[theme] = reverse("quality_chart", args=[dataset.pk, path.rpartition("/")[2]])
    download = reverse("quality_table", args=[dataset.pk, label_source, panel.name])
    return Shown(panel, pictures, download)


def _path(stored: Statistics, name: str) -> str | None:
    """Path in Django's storage of the chart of this name; a digest follows the name."""
    start = f"{charts.folder(stored.dataset)}/{name}-"
    return next((path for path in stored.charts if path.startswith(start)), None)


@require_safe
def quality_chart(request: HttpRequest, pk: int, name: str) -> HttpResponse:
    """One chart of the stored report, for those who may see its panel."""
    dataset, stored = _stored(request, pk)
    path = f"{charts.folder(dataset)}/{name}"
    drawn = {
        _path(stored, charts.chart_name(panel, label_source, theme))
        for label_source in label_sources(stored.report)
        for panel in _panels(dataset, stored.report, label_source)
        for theme in charts.THEMES
    }
    if path not in drawn or not default_storage.exists(path):
        raise Http404
    with default_storage.open(path) as file:
        return HttpResponse(file.read(), content_type="image/svg+xml", headers=_CHART_HEADERS)


@require_safe
def quality_table(request: HttpRequest, pk: int, label_source: str, name: str) -> HttpResponse:
    """All rows of one panel as CSV: each figure with its value, 95 % interval and n."""
    dataset, stored = _stored(request, pk)
    if label_source not in label_sources(stored.report):
        raise Http404
    panel = next((p for p in _panels(dataset, stored.report, label_source) if p.name == name), None)
    if panel is None:
        raise Http404
    filename = f"{slugify(dataset.name) or 'dataset'}-{name}-{label_source}.csv"
    response = HttpResponse(
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="{filename}"',
            "X-Content-Type-Options": "nosniff",
        },
    )
    writer = csv.writer(response)
    writer.writerow([name for column in panel.columns for name in _headings(column)])
    writer.writerows(
        [value for column in panel.columns for value in _values(column, row.get(column.key))]
        for row in panel.rows
    )
    return response


def _headings(column: Column) -> list[str]:
    ends = ("", " low", " high", " n") if column.is_figure else ("",)
    return [plain_cell(f"{column.label or column.key}{end}") for end in ends]


def _values(column: Column, value: object) -> Iterator[object]:
    if column.is_figure:
        figure = cast("Mapping[str, object]", value or {})
        yield from (figure.get(key, "") for key in ("value", "low", "high", "n"))
    else:
        cell: object = "" if value is None else value
        yield plain_cell(cell)


@require_safe
def quality_report(request: HttpRequest, pk: int) -> HttpResponse:
    """The stored report; for admins, as it has figures of single annotators."""
    dataset, stored = _stored(request, pk, Role.ADMIN)
    filename = f"{slugify(dataset.name) or 'dataset'}-statistics.json"
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return JsonResponse(stored.report, headers=headers)


def _stored(request: HttpRequest, pk: int, role: Role = Role.REVIEWER) -> tuple[Dataset, Statistics]:
    dataset = access.dataset_for(request.user, pk, role)
    stored = pipeline.stored(dataset)
    if stored is None:
        raise Http404
    return dataset, stored
