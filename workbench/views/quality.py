"""The Quality pages: a stored report, in panels. Nothing is computed or drawn here."""

from collections.abc import Mapping
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
from workbench.pipeline.quality.panels import Column, Panel, in_words, panels_seen, questions
from workbench.pipeline.quality.reports import SOURCE_NAMES, Report, StoredFigure, has_value, label_sources
from workbench.views import STOP_POLLING, Request
from workbench.views.figures import as_of, computing
from workbench.views.files import chart_file, note_download, table_file

ROWS_SHOWN = 60
NO_FIGURE = "–"


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
    def notes(self) -> list[str]:
        return [_unbroken(note) for note in self.panel.notes]

    @property
    def cells(self) -> list[list[tuple[Column, str]]]:
        return [
            [(column, _cell(column, row.get(column.key))) for column in self.panel.columns]
            for row in self.panel.rows[:ROWS_SHOWN]
        ]

    @property
    def has_gaps(self) -> bool:
        """Whether a cell lacks its figure."""
        return any(text == NO_FIGURE for cells in self.cells for _, text in cells)

    @property
    def rows_left_out(self) -> int:
        return max(0, len(self.panel.rows) - ROWS_SHOWN)

    @property
    def not_drawn(self) -> int:
        return len(self.panel.rows) - len(self.panel.shown_in_chart)


@dataclass(frozen=True)
class Asked:
    """A question on the page, with the panel that answers it and those behind it."""

    title: str
    answer: Shown
    more: list[Shown]

    @property
    def all(self) -> list[Shown]:
        return [self.answer, *self.more]


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
        figure = cast("StoredFigure", value)
        return in_words(figure, column.kind) if has_value(figure) else NO_FIGURE
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
    visible = _panels(dataset, report, label_source)
    shown = {panel.name: _shown(dataset, stored, label_source, panel) for panel in visible}
    return {
        "label_source": label_source,
        "label_sources": [(name, SOURCE_NAMES[name]) for name in label_sources(report)],
        "questions": [
            Asked(asked.title, shown[asked.answer.name], [shown[panel.name] for panel in asked.more])
            for asked in questions(visible, label_source)
        ],
        "not_yet": [_unbroken(panel.lacks) for panel in visible if panel.lacks],
        "one_vote_a_pair": (
            dataset.role == Role.ADMIN
            and dataset.overlap == 1
            and any(panel.name == "agreement" and panel.lacks for panel in visible)
        ),
    }


def _label_source(report: Report, chosen: str) -> str:
    """The chosen label source, else the first with opinions; "" where there are none."""
    sources = label_sources(report)
    return chosen if chosen in sources else next(iter(sources), "")


def _panels(dataset: Dataset, report: Report, label_source: str) -> list[Panel]:
    return panels_seen(report, label_source, by_admin=access.may(dataset, Role.ADMIN))


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
    dataset, stored = access.statistics_for(request.user, pk)
    path = f"{charts.folder(dataset)}/{name}"
    drawn = {
        _path(stored, charts.chart_name(panel, label_source, theme))
        for label_source in label_sources(stored.report)
        for panel in _panels(dataset, stored.report, label_source)
        for theme in charts.THEMES
    }
    if path not in drawn or not default_storage.exists(path):
        raise Http404
    return chart_file(path)


@require_safe
def quality_table(request: HttpRequest, pk: int, label_source: str, name: str) -> HttpResponse:
    """All rows of one panel as CSV: each figure with its value, 95 % interval and n."""
    dataset, stored = access.statistics_for(request.user, pk)
    visible = _panels(dataset, stored.report, label_source)
    panel = next((panel for panel in visible if panel.name == name), None)
    if panel is None:
        raise Http404
    note_download(request, dataset)
    return table_file(panel, f"{slugify(dataset.name) or 'dataset'}-{name}-{label_source}.csv")


@require_safe
def quality_report(request: HttpRequest, pk: int) -> HttpResponse:
    """The stored report; for admins, as it has figures of single annotators."""
    dataset, stored = access.statistics_for(request.user, pk, Role.ADMIN)
    note_download(request, dataset)
    filename = f"{slugify(dataset.name) or 'dataset'}-statistics.json"
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return JsonResponse(stored.report, headers=headers)
