"""Charts of a report as SVG, light and dark. The Run that computes the figures draws and stores the charts;
pages only read them. `drawing` makes each chart."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from workbench.db.storage import delete_folder, stored
from workbench.models import Dataset, Statistics
from workbench.pipeline.quality.panels import Panel, names_of, panels
from workbench.pipeline.quality.reports import Report, label_sources
from workbench.pipeline.sources import panel as sources

# vl_convert draws with these. A picture with another element (script, foreignObject, image) is refused.
_ELEMENTS = frozenset({"svg", "g", "path", "text", "tspan", "rect", "line", "circle", "defs", "clipPath"})
_HARMFUL = re.compile(r"^on|href$|^style$", re.IGNORECASE)


@dataclass(frozen=True)
class Theme:
    """Colours on the paper of base.css; model, rule and ceiling are of the Okabe-Ito palette."""

    ink: str
    soft: str
    line: str
    model: str
    rule: str
    ceiling: str
    tie: str


THEMES = {
    "light": Theme("#1b1f24", "#57606a", "#d9dde3", "#1f5fcc", "#a3400b", "#006b4f", "#8b949e"),
    "dark": Theme("#e4e7eb", "#a3abb5", "#343b45", "#7fb0ff", "#f3a26d", "#5fcfa6", "#6e7783"),
}


def draw(report: Report, names: Mapping[int, str]) -> Iterator[tuple[str, bytes]]:
    """(name by `chart_name`, SVG) of each chart of the report in each theme."""
    for label_source in label_sources(report):
        for panel in panels(report, label_source, names):
            if panel.has_chart:
                for theme in THEMES:
                    yield chart_name(panel, label_source, theme), drawn(panel, THEMES[theme])
    for votes in report["boards"]:
        board = sources.strengths(report, votes)
        if board and board.has_chart:
            for theme in THEMES:
                yield chart_name(board, votes, theme), drawn(board, THEMES[theme])


def chart_name(panel: Panel, label_source: str, theme: str) -> str:
    return f"{panel.name}-{label_source}-{theme}"


def drawn(panel: Panel, theme: Theme) -> bytes:
    """The panel's chart. Raises ValueError when the picture holds more than shapes and text."""
    import vl_convert

    from workbench.pipeline.quality import drawing

    spec = drawing.CHARTS[panel.name](panel, theme)
    # The data is in the chart, so the chart may load no URL.
    svg = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    return checked(svg.encode())


def checked(svg: bytes) -> bytes:
    """The SVG, of shapes and text alone. Raises ValueError for what could run code, link or load."""
    for element in ET.fromstring(svg).iter():  # noqa: S314 - written by our own process a moment ago
        tag = str(element.tag).rpartition("}")[2]
        harmful = [name for name in element.attrib if _HARMFUL.search(name.rpartition("}")[2])]
        if tag not in _ELEMENTS or harmful:
            raise ValueError(f"A chart holds <{tag} {' '.join(harmful)}>, which is not allowed.")
    return svg


def store(dataset: Dataset, report: Report) -> list[str]:
    """Draw the report's charts into Django's storage, and give their paths. Each name has a digest of its
    chart, so that no browser shows a chart of an earlier report from its cache. Where one can't be stored,
    none is."""
    paths = []
    with ExitStack() as new:
        for name, svg in draw(report, names_of(report)):
            digest = hashlib.sha256(svg).hexdigest()[:16]
            path = f"{folder(dataset)}/{name}-{digest}.svg"
            if not default_storage.exists(path):
                new.enter_context(stored(path, ContentFile(svg)))
            paths.append(path)
    return paths


def tidy(statistics: Statistics) -> None:
    """Delete the charts of reports that these statistics have replaced."""
    charts = folder(statistics.dataset)
    for name in default_storage.listdir(charts)[1] if statistics.charts else ():
        if f"{charts}/{name}" not in statistics.charts:
            default_storage.delete(f"{charts}/{name}")


def discard(dataset: Dataset, paths: Collection[str]) -> None:
    """Delete the charts of a report that was not stored. Charts that the stored report has too stay."""
    kept = Statistics.objects.filter(dataset=dataset).first()
    for path in set(paths) - set(kept.charts if kept else ()):
        default_storage.delete(path)


def delete_files(dataset: Dataset) -> None:
    """Delete all charts of the dataset."""
    delete_folder(folder(dataset))


def folder(dataset: Dataset) -> str:
    """Where the charts of the dataset are in Django's storage."""
    return f"statistics/{dataset.pk}"
