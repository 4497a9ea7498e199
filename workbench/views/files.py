"""Stored figures as files, a chart and a table as CSV, and the row in history of who took a file."""

import csv
from collections.abc import Iterator, Mapping
from typing import cast

from django.core.files.storage import default_storage
from django.http import HttpRequest, HttpResponse

from workbench import access
from workbench.models import Dataset
from workbench.pipeline.history.recording import File, record_download
from workbench.pipeline.quality.panels import Column, Panel
from workbench.pipeline.text.spreadsheets import plain_cell

# A browser that opens a chart by itself must treat it as shapes and text alone.
_CHART_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, max-age=31536000, immutable",
}


def note_download(request: HttpRequest, dataset: Dataset | None, file: File = File.FIGURES) -> None:
    """Write the row of a file that the person gets, of the dataset or of all; none for HEAD, which gets no
    file."""
    if request.method == "GET":
        record_download(file, by=access.person(request.user), dataset=dataset, target=dataset)


def chart_file(path: str) -> HttpResponse:
    """The chart at this path of Django's storage."""
    with default_storage.open(path) as file:
        return HttpResponse(file.read(), content_type="image/svg+xml", headers=_CHART_HEADERS)


def table_file(panel: Panel, filename: str) -> HttpResponse:
    """All rows of the panel as CSV: each figure with its value, 95 % interval and n."""
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
