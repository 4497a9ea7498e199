"""Charts of a report as SVG, light and dark: drawn where the figures are computed, stored beside them, and
only read by the pages. altair and vl_convert are imported where they are needed, as web processes have no
use for them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from xml.etree import ElementTree as ET

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from workbench.db.storage import delete_folder
from workbench.models import Dataset, Statistics
from workbench.pipeline.quality.panels import Panel, names_of, panels
from workbench.pipeline.quality.reports import AnyFigure, KnownFigure, Report, known, label_sources

# vl_convert measures text with Liberation Sans, which is as wide as Arial: other fonts would overlap.
FONT = 'Arial, "Liberation Sans", Arimo, Helvetica, sans-serif'
WIDTH = 480
LABELS = 150
"""Room for labels of rows, in pixels; longer ones end in "…" and are whole in the table."""

# What vl_convert draws with. Anything else in a picture (script, foreignObject, links, images) is refused.
_ELEMENTS = frozenset({"svg", "g", "path", "text", "tspan", "rect", "line", "circle", "defs", "clipPath"})
_HARMFUL = re.compile(r"^on|href$|^style$", re.IGNORECASE)


@dataclass(frozen=True)
class Theme:
    """Colours on the paper of base.css; people, rule and ceiling are of the Okabe-Ito palette."""

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
    """(name, SVG) of each chart of the report in each theme; the name is that of `chart_name`."""
    for label_source in label_sources(report):
        for panel in panels(report, label_source, names):
            if panel.has_chart:
                for theme in THEMES:
                    yield chart_name(panel, label_source, theme), drawn(panel, THEMES[theme])


def chart_name(panel: Panel, label_source: str, theme: str) -> str:
    return f"{panel.name}-{label_source}-{theme}"


def drawn(panel: Panel, theme: Theme) -> bytes:
    """The panel's chart. ValueError when the picture holds more than shapes and text."""
    import vl_convert

    spec = _CHARTS[panel.name](panel, theme)
    # No URL may be read: the data is in the chart, and nothing in it comes from elsewhere.
    svg = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
    return checked(svg.encode())


def checked(svg: bytes) -> bytes:
    """The SVG, when it holds shapes and text alone. ValueError for what could run, link or load something."""
    for element in ET.fromstring(svg).iter():  # noqa: S314 - written by our own process a moment ago
        tag = str(element.tag).rpartition("}")[2]
        harmful = [name for name in element.attrib if _HARMFUL.search(name.rpartition("}")[2])]
        if tag not in _ELEMENTS or harmful:
            raise ValueError(f"A chart holds <{tag} {' '.join(harmful)}>, which is not allowed.")
    return svg


def store(dataset: Dataset, report: Report) -> list[str]:
    """Draw the report's charts into Django's storage; their paths. They are named by what is in them, so that
    what browsers keep is never of another report."""
    stored = []
    for name, svg in draw(report, names_of(report)):
        digest = hashlib.sha256(svg).hexdigest()[:16]
        path = f"{folder(dataset)}/{name}-{digest}.svg"
        if not default_storage.exists(path):
            default_storage.save(path, ContentFile(svg))
        stored.append(path)
    return stored


def tidy(statistics: Statistics) -> None:
    """Delete the charts of reports that these statistics have replaced."""
    of_dataset = folder(statistics.dataset)
    for name in default_storage.listdir(of_dataset)[1] if statistics.charts else ():
        if f"{of_dataset}/{name}" not in statistics.charts:
            default_storage.delete(f"{of_dataset}/{name}")


def discard(dataset: Dataset, drawn: Collection[str]) -> None:
    """Delete the charts of a report that is not stored, but for those that the stored one has too."""
    stored = Statistics.objects.filter(dataset=dataset).first()
    for path in set(drawn) - set(stored.charts if stored else ()):
        default_storage.delete(path)


def delete_files(dataset: Dataset) -> None:
    """Delete all charts of the dataset."""
    delete_folder(folder(dataset))


def folder(dataset: Dataset) -> str:
    """Where the charts of the dataset are in Django's storage."""
    return f"statistics/{dataset.pk}"


# --- what they have in common -------------------------------------------------------------------------------


def _spec(chart: Any, theme: Theme, height: int) -> dict[str, Any]:
    axis = {
        "labelColor": theme.soft,
        "titleColor": theme.soft,
        "titleFontWeight": "normal",
        "gridColor": theme.line,
        "domainColor": theme.line,
        "tickColor": theme.line,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelLimit": LABELS,
        "titlePadding": 8,
        "labelFlush": False,
    }
    legend = {
        "labelColor": theme.ink,
        "labelFontSize": 12,
        "title": None,
        "orient": "top",
        "symbolSize": 70,
        "labelLimit": 240,
        "columnPadding": 20,
        "offset": 8,
    }
    spec: dict[str, Any] = (
        chart.properties(
            width=WIDTH,
            height=height,
            background="transparent",
            padding={"left": 20, "right": 16, "top": 4, "bottom": 4},
            autosize={"type": "fit-x", "contains": "padding"},
        )
        .configure(font=FONT)
        .configure_axis(**axis)
        .configure_legend(**legend)
        .configure_view(stroke=None)
        .to_dict()
    )
    return spec


def _data(rows: Sequence[Mapping[str, Any]]) -> Any:
    import altair as alt

    return alt.InlineData(values=[dict(row) for row in rows])


def _span(figure: AnyFigure) -> dict[str, Any]:
    return {"value": figure["value"], "low": figure["low"], "high": figure["high"]}


# --- the charts ---------------------------------------------------------------------------------------------


def _agreement(panel: Panel, theme: Theme) -> dict[str, Any]:
    import altair as alt

    rows = [{"week": row["label"], **_span(row["raw"])} for row in panel.rows if known(row["raw"])]
    base = alt.Chart(_data(rows)).encode(x=_weeks("week", [row["week"] for row in rows]))
    y = alt.Y("low:Q", title="votes that agree", axis=_shares(), scale=alt.Scale(domain=[0, 1]))
    band = base.mark_area(color=theme.model, opacity=0.14).encode(y=y, y2="high:Q")
    bars = base.mark_rule(color=theme.model, strokeWidth=1.5).encode(y=y, y2="high:Q")
    line = base.mark_line(color=theme.model, strokeWidth=2).encode(y="value:Q")
    dots = base.mark_point(color=theme.model, filled=True, size=45, opacity=1).encode(y="value:Q")
    return _spec(band + bars + line + dots, theme, 190)


def _weeks(field: str, mondays: Sequence[str]) -> Any:
    """A time axis in UTC with ticks at some six of the weeks."""
    import altair as alt

    days = [date.fromisoformat(monday) for monday in mondays[:: -(-len(mondays) // 6)]]
    ticks = [alt.DateTime(year=day.year, month=day.month, date=day.day, utc=True) for day in days]
    axis = alt.Axis(format="%-d %b", grid=False, values=ticks)
    return alt.X(f"{field}:T", title=None, axis=axis, scale=alt.Scale(type="utc"))


def _shares() -> Any:
    import altair as alt

    return alt.Axis(labelExpr="format(datum.value * 100, '.0f') + ' %'", tickCount=5)


def _left(panel: Panel, theme: Theme) -> dict[str, Any]:
    import altair as alt

    rows = [
        {"annotator": row["annotator"], **_span(row["left"]), "leans": _leans(row["left"])}
        for row in sorted(panel.shown_in_chart, key=lambda row: float(row["left"]["value"]))
    ]
    named = alt.Y("annotator:N", sort=[row["annotator"] for row in rows], title=None, axis=_row_labels())
    base = alt.Chart(_data(rows)).encode(y=named)
    colour = alt.Color("leans:N", scale=alt.Scale(domain=_LEANING, range=[theme.model, theme.rule]))
    shape = alt.Shape("leans:N", scale=alt.Scale(domain=_LEANING, range=["circle", "triangle-up"]))
    scale = alt.Scale(domain=_around(rows, 0.5), zero=False)
    half = alt.Chart(_data([{"half": 0.5}])).mark_rule(color=theme.soft, strokeDash=[3, 3])
    half = half.encode(x=alt.X("half:Q", scale=scale))
    x = alt.X("low:Q", title="left chosen", axis=_shares(), scale=scale)
    bars = base.mark_rule(strokeWidth=1.5).encode(x=x, x2="high:Q", color=colour)
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(x="value:Q", color=colour, shape=shape)
    return _spec(half + bars + dots, theme, _rows_high(rows))


_LEANING = ["within chance", "favours a side"]


def _leans(figure: KnownFigure) -> str:
    return _LEANING[int(figure["low"] > 0.5 or figure["high"] < 0.5)]


def _around(rows: Sequence[Mapping[str, Any]], middle: float) -> list[float]:
    """As far to both sides of the middle as an interval reaches, in steps of 0.1 from 0.2 on."""
    reach = max((max(middle - row["low"], row["high"] - middle) for row in rows), default=0.2)
    reach = min(middle, max(0.2, -(-reach * 10 // 1) / 10))
    return [middle - reach, middle + reach]


def _row_labels() -> Any:
    import altair as alt

    return alt.Axis(domain=False, ticks=False, labelPadding=8, grid=False)


def _rows_high(rows: Sequence[Any]) -> int:
    return 22 * len(rows) + 12


def _reliability(panel: Panel, theme: Theme) -> dict[str, Any]:
    import altair as alt

    rows = [
        {"predicted": row["predicted"]["value"], **_span(row["observed"]), "n": row["n"]}
        for row in panel.rows
    ]
    x = alt.X(
        "predicted:Q",
        title="how sure the model was",
        axis=_shares(),
        scale=alt.Scale(domain=[0.5, 1], nice=False),
    )
    y = alt.Y("low:Q", title="how often people agreed", axis=_shares(), scale=alt.Scale(domain=[0, 1]))
    ideal = (
        alt.Chart(_data([{"predicted": 0.5, "at": 0.5}, {"predicted": 1.0, "at": 1.0}]))
        .mark_line(color=theme.soft, strokeDash=[4, 4], strokeWidth=1)
        .encode(x=x, y=alt.Y("at:Q"))
    )
    base = alt.Chart(_data(rows)).encode(x=x)
    bars = base.mark_rule(color=theme.model, strokeWidth=1.5).encode(y=y, y2="high:Q")
    size = alt.Size("n:Q", scale=alt.Scale(range=[30, 200], domainMin=0), legend=None)
    dots = base.mark_point(color=theme.model, filled=True, opacity=1).encode(y="value:Q", size=size)
    return _spec(ideal + bars + dots, theme, 230)


def _accuracy(panel: Panel, theme: Theme) -> dict[str, Any]:
    import altair as alt

    kinds = [panel.context["model"], "longest", "ceiling"]
    rows, names = [], []
    for row in panel.shown_in_chart:
        if not known(row["accuracy"]):
            continue
        names.append(_slice_name(row))
        for kind, key in zip(kinds, ("accuracy", "longest", "ceiling"), strict=True):
            # By what was preferred the rule is always right or always wrong: it would only stretch the axis.
            if known(row[key]) and not (key == "longest" and row["kind"] == "preferred"):
                rows.append({"slice": names[-1], "kind": kind, **_span(row[key])})
    colours = alt.Scale(domain=kinds, range=[theme.model, theme.rule, theme.ceiling])
    shapes = alt.Scale(domain=kinds, range=["circle", "diamond", "cross"])
    named = alt.Y("slice:N", sort=names, title=None, axis=_row_labels())
    base = alt.Chart(_data(rows)).encode(y=named, color=alt.Color("kind:N", scale=colours))
    ends = [row[end] for row in rows for end in ("low", "high", "value")]
    domain = alt.Scale(domain=[min(0.5, *ends), max(0.8, *ends)], nice=True, zero=False)
    x = alt.X("low:Q", title="agrees with the preferred answer", axis=_shares(), scale=domain)
    bars = (
        base.transform_filter(alt.FieldEqualPredicate(field="kind", equal=kinds[0]))
        .mark_rule(strokeWidth=1.5)
        .encode(x=x, x2="high:Q")
    )
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(
        x="value:Q", shape=alt.Shape("kind:N", scale=shapes)
    )
    return _spec(bars + dots, theme, _rows_high(names))


def _slice_name(row: Mapping[str, Any]) -> str:
    """ "Length: similar" for a slice that the table describes at length."""
    label = str(row["label"])
    label = label.partition(":")[0] if row["kind"] == "length" else label
    return f"{row['of']}: {label}" if label else str(row["of"])


def _margins(panel: Panel, theme: Theme) -> dict[str, Any]:
    import altair as alt

    outcomes = {"b": "b preferred", "tie": "tie", "a": "a preferred"}
    rows = []
    for row in panel.rows:
        below = 0
        for key, words in outcomes.items():
            span = {"below": below, "above": below + row[key]}
            rows.append({"from": row["from"], "to": row["to"], "outcome": words, **span})
            below += row[key]
    colours = alt.Scale(domain=list(outcomes.values()), range=[theme.rule, theme.tie, theme.model])
    bars = (
        alt.Chart(_data(rows))
        .mark_rect(stroke=None)
        .encode(
            x=alt.X("from:Q", title="score of a minus score of b", axis=alt.Axis(grid=False, tickCount=7)),
            x2="to:Q",
            y=alt.Y("below:Q", title="votes", axis=alt.Axis(tickCount=4)),
            y2="above:Q",
            color=alt.Color("outcome:N", scale=colours),
        )
    )
    zero = alt.Chart(_data([{"zero": 0}])).mark_rule(color=theme.ink, strokeWidth=1).encode(x="zero:Q")
    return _spec(bars + zero, theme, 190)


def _pace(panel: Panel, theme: Theme) -> dict[str, Any]:
    import altair as alt

    mondays = [row["week"] for row in panel.rows]
    rows = [
        {
            "from": row["week"],
            "to": (date.fromisoformat(row["week"]) + timedelta(days=6)).isoformat(),
            "none": 0,
            "judgments": row["judgments"],
        }
        for row in panel.rows
    ]
    bars = (
        alt.Chart(_data(rows))
        .mark_rect(color=theme.model, stroke=None)
        .encode(
            x=_weeks("from", mondays),
            x2="to:T",
            y=alt.Y("none:Q", title="votes per week", axis=alt.Axis(tickCount=4)),
            y2="judgments:Q",
        )
    )
    return _spec(bars, theme, 190)


_CHARTS: dict[str, Callable[[Panel, Theme], dict[str, Any]]] = {
    "agreement": _agreement,
    "left": _left,
    "reliability": _reliability,
    "accuracy": _accuracy,
    "margins": _margins,
    "pace": _pace,
}
