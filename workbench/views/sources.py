"""The Sources page: a stored board of the sources that wrote the answers. Nothing is computed here."""

from dataclasses import dataclass

from django.core.files.storage import default_storage
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.text import slugify
from django.views.decorators.http import require_safe

from workbench import access
from workbench.models import Dataset, Role, Statistics
from workbench.pipeline import quality
from workbench.pipeline.datasets.overview import sources_of
from workbench.pipeline.quality import charts
from workbench.pipeline.quality.panels import in_words
from workbench.pipeline.quality.reports import Board, has_value
from workbench.pipeline.sources import panel as board_panel
from workbench.views.figures import as_of, computing
from workbench.views.files import chart_file, note_download, table_file


@dataclass(frozen=True)
class Line:
    """A source on the page: its chance against the average source, at equal length and side and as judged."""

    source: str
    votes: int
    wins: str
    controlled: str
    raw: str


@require_safe
def sources(request: HttpRequest, pk: int) -> HttpResponse:
    """The board of the votes that the visitor chose, else of the first board there is."""
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    stored = quality.stored(dataset)
    context = {"dataset": dataset, "tab": "data", **computing(dataset), **as_of(dataset, stored)}
    boards = stored.report["boards"] if stored else {}
    votes = request.GET.get("votes", "")
    votes = votes if votes in boards else next(iter(boards), "")
    if stored and votes:
        context |= _board(dataset, stored, votes)
        context["choices"] = [(name, board_panel.CHOICES[name]) for name in boards]
    elif stored:
        context["named"] = sources_of(dataset)
    return render(request, "sources/sources.html", context)


def _board(dataset: Dataset, stored: Statistics, votes: str) -> dict[str, object]:
    board: Board = stored.report["boards"][votes]
    panel = board_panel.strengths(stored.report, votes)
    cells = board_panel.cells_of(board)
    names = [row["source"] for row in board["sources"]]
    return {
        "votes": votes,
        "opinion": board_panel.opinion(votes)[0],
        "opinions": board_panel.opinion(votes)[1],
        "board": board,
        "panel": panel,
        "pictures": {
            theme: reverse("sources_chart", args=[dataset.pk, path.rpartition("/")[2]])
            for theme in charts.THEMES
            if (path := _path(stored, votes, theme))
        },
        "lines": [
            Line(
                row["source"],
                row["votes"],
                f"{row['wins']:g}",
                in_words(row["against_average"]) if has_value(row["against_average"]) else "–",
                in_words(row["raw_against_average"]) if has_value(row["raw_against_average"]) else "–",
            )
            for row in board["sources"]
        ],
        "unranked": list(board_panel.unranked(board)),
        "notes": list(board_panel.notes(board, votes)),
        "names": names[: len(cells)],
        "table": list(zip(names, cells, strict=False)),
        "rows_left_out": len(names) - len(cells),
    }


def _path(stored: Statistics, votes: str, theme: str) -> str | None:
    """Path in Django's storage of the board's chart."""
    panel = board_panel.strengths(stored.report, votes)
    if panel is None:
        return None
    start = f"{charts.folder(stored.dataset)}/{charts.chart_name(panel, votes, theme)}-"
    return next((path for path in stored.charts if path.startswith(start)), None)


@require_safe
def sources_chart(request: HttpRequest, pk: int, name: str) -> HttpResponse:
    """The chart of a board, in one theme."""
    dataset, stored = _stored(request, pk)
    path = f"{charts.folder(dataset)}/{name}"
    drawn = [_path(stored, votes, theme) for votes in stored.report["boards"] for theme in charts.THEMES]
    if path not in drawn or not default_storage.exists(path):
        raise Http404
    return chart_file(path)


@require_safe
def sources_table(request: HttpRequest, pk: int, votes: str, name: str) -> HttpResponse:
    """The strengths, or the wins, of a board as CSV."""
    dataset, stored = _stored(request, pk)
    strengths = board_panel.strengths(stored.report, votes)
    if strengths is None or name not in ("strengths", "wins"):
        raise Http404
    panel = strengths if name == "strengths" else board_panel.wins(stored.report["boards"][votes], votes)
    note_download(request, dataset)
    return table_file(panel, f"{slugify(dataset.name) or 'dataset'}-{name}-{votes}.csv")


@require_safe
def sources_report(request: HttpRequest, pk: int) -> HttpResponse:
    """All boards of the stored report as JSON. A board has no figure of a single annotator."""
    dataset, stored = _stored(request, pk)
    note_download(request, dataset)
    filename = f"{slugify(dataset.name) or 'dataset'}-sources.json"
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return JsonResponse(stored.report["boards"], headers=headers)


def _stored(request: HttpRequest, pk: int) -> tuple[Dataset, Statistics]:
    dataset = access.dataset_for(request.user, pk, Role.REVIEWER)
    stored = quality.stored(dataset)
    if stored is None:
        raise Http404
    return dataset, stored
