"""The charts of panels as Vega-Lite specifications.

This module imports altair, which no web process needs: `charts` imports the module where it draws."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import cast

import altair as alt  # noqa: TID253 - see above

from workbench.pipeline.quality.charts import Theme
from workbench.pipeline.quality.panels import Panel
from workbench.pipeline.quality.panels.panel import Row
from workbench.pipeline.quality.reports import KnownFigure, StoredFigure, has_value

# vl_convert measures text with Liberation Sans, which is as wide as Arial: other fonts would overlap.
FONT = 'Arial, "Liberation Sans", Arimo, Helvetica, sans-serif'
WIDTH = 480
LABELS = 150
"""Room for labels of rows, in pixels. A longer label ends in "…", and the table has all of it."""

Spec = dict[str, object]


def _spec(chart: alt.TopLevelMixin, theme: Theme, height: int) -> Spec:
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
    spec: Spec = (
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


def _chart(rows: Iterable[Mapping[str, object]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def _figure(row: Row, key: str) -> KnownFigure | None:
    """The figure in a cell; None where it has no value."""
    figure = cast("StoredFigure | None", row[key])
    return figure if has_value(figure) else None


def _span(figure: KnownFigure) -> dict[str, float]:
    return {"value": figure["value"], "low": figure["low"], "high": figure["high"]}


def _agreement(panel: Panel, theme: Theme) -> Spec:
    weeks = [(str(row["label"]), agreement) for row in panel.rows if (agreement := _figure(row, "raw"))]
    base = _chart({"week": week, **_span(agreement)} for week, agreement in weeks)
    base = base.encode(x=_weeks("week", [week for week, _ in weeks]))
    y = alt.Y("low:Q", title="votes that agree", axis=_shares(), scale=alt.Scale(domain=[0, 1]))
    band = base.mark_area(color=theme.model, opacity=0.14).encode(y=y, y2="high:Q")
    bars = base.mark_rule(color=theme.model, strokeWidth=1.5).encode(y=y, y2="high:Q")
    line = base.mark_line(color=theme.model, strokeWidth=2).encode(y="value:Q")
    dots = base.mark_point(color=theme.model, filled=True, size=45, opacity=1).encode(y="value:Q")
    return _spec(alt.layer(band, bars, line, dots), theme, 190)


def _weeks(field: str, mondays: Sequence[str]) -> alt.X:
    """A time axis in UTC with ticks at some six of the weeks."""
    days = [date.fromisoformat(monday) for monday in mondays[:: -(-len(mondays) // 6)]]
    ticks = [alt.DateTime(year=day.year, month=day.month, date=day.day, utc=True) for day in days]
    axis = alt.Axis(format="%-d %b", grid=False, values=ticks)
    return alt.X(f"{field}:T", title=None, axis=axis, scale=alt.Scale(type="utc"))


def _shares() -> alt.Axis:
    return alt.Axis(labelExpr="format(datum.value * 100, '.0f') + ' %'", tickCount=5)


def _left(panel: Panel, theme: Theme) -> Spec:
    shares = [
        (str(row["annotator"]), share) for row in panel.shown_in_chart if (share := _figure(row, "left"))
    ]
    shares.sort(key=lambda row: row[1]["value"])
    annotators = alt.Y("annotator:N", sort=[name for name, _ in shares], title=None, axis=_row_labels())
    base = _chart({"annotator": name, **_span(share), "leans": _leans(share)} for name, share in shares)
    base = base.encode(y=annotators)
    colour = alt.Color("leans:N", scale=alt.Scale(domain=_LEANING, range=[theme.model, theme.rule]))
    shape = alt.Shape("leans:N", scale=alt.Scale(domain=_LEANING, range=["circle", "triangle-up"]))
    scale = alt.Scale(domain=_around([share for _, share in shares], 0.5), zero=False)
    half = _chart([{"half": 0.5}]).mark_rule(color=theme.soft, strokeDash=[3, 3])
    half = half.encode(x=alt.X("half:Q", scale=scale))
    x = alt.X("low:Q", title="left chosen", axis=_shares(), scale=scale)
    bars = base.mark_rule(strokeWidth=1.5).encode(x=x, x2="high:Q", color=colour)
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(x="value:Q", color=colour, shape=shape)
    return _spec(alt.layer(half, bars, dots), theme, _height(len(shares)))


_LEANING = ["within chance", "favours a side"]


def _leans(figure: KnownFigure) -> str:
    return _LEANING[int(figure["low"] > 0.5 or figure["high"] < 0.5)]


def _around(shares: Sequence[KnownFigure], middle: float) -> list[float]:
    """As far to both sides of the middle as an interval reaches, in steps of 0.1 from 0.2 on."""
    reach = max((max(middle - share["low"], share["high"] - middle) for share in shares), default=0.2)
    reach = min(middle, max(0.2, -(-reach * 10 // 1) / 10))
    return [middle - reach, middle + reach]


def _row_labels() -> alt.Axis:
    return alt.Axis(domain=False, ticks=False, labelPadding=8, grid=False)


def _height(rows: int) -> int:
    return 22 * rows + 12


def _reliability(panel: Panel, theme: Theme) -> Spec:
    rows = [
        {"predicted": predicted["value"], **_span(observed), "n": row["n"]}
        for row in panel.rows
        if (predicted := _figure(row, "predicted")) and (observed := _figure(row, "observed"))
    ]
    x = alt.X(
        "predicted:Q",
        title="how sure the model was",
        axis=_shares(),
        scale=alt.Scale(domain=[0.5, 1], nice=False),
    )
    y = alt.Y("low:Q", title="how often people agreed", axis=_shares(), scale=alt.Scale(domain=[0, 1]))
    ideal = (
        _chart([{"predicted": 0.5, "at": 0.5}, {"predicted": 1.0, "at": 1.0}])
        .mark_line(color=theme.soft, strokeDash=[4, 4], strokeWidth=1)
        .encode(x=x, y=alt.Y("at:Q"))
    )
    base = _chart(rows).encode(x=x)
    bars = base.mark_rule(color=theme.model, strokeWidth=1.5).encode(y=y, y2="high:Q")
    size = alt.Size("n:Q", scale=alt.Scale(range=[30, 200], domainMin=0), legend=None)
    dots = base.mark_point(color=theme.model, filled=True, opacity=1).encode(y="value:Q", size=size)
    return _spec(alt.layer(ideal, bars, dots), theme, 230)


def _accuracy(panel: Panel, theme: Theme) -> Spec:
    kinds = [panel.context["model"], "longest", "ceiling"]
    figures: list[tuple[str, str, KnownFigure]] = []
    for row in panel.shown_in_chart:
        if not _figure(row, "accuracy"):
            continue
        for kind, key in zip(kinds, ("accuracy", "longest", "ceiling"), strict=True):
            figure = _figure(row, key)
            # There `longest` is always right or always wrong: its dot would only stretch the axis.
            if figure and not (key == "longest" and row["kind"] == "preferred"):
                figures.append((_slice_name(row), kind, figure))
    colours = alt.Scale(domain=kinds, range=[theme.model, theme.rule, theme.ceiling])
    shapes = alt.Scale(domain=kinds, range=["circle", "diamond", "cross"])
    names = [name for name, kind, _ in figures if kind == kinds[0]]
    slices = alt.Y("slice:N", sort=names, title=None, axis=_row_labels())
    base = _chart({"slice": name, "kind": kind, **_span(figure)} for name, kind, figure in figures)
    base = base.encode(y=slices, color=alt.Color("kind:N", scale=colours))
    ends = [end for _, _, figure in figures for end in _span(figure).values()]
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
    return _spec(alt.layer(bars, dots), theme, _height(len(names)))


def _slice_name(row: Row) -> str:
    """ "Length: similar" for a slice that the table describes at length."""
    label = str(row["label"])
    label = label.partition(":")[0] if row["kind"] == "length" else label
    return f"{row['of']}: {label}" if label else str(row["of"])


def _margins(panel: Panel, theme: Theme) -> Spec:
    outcomes = {"b": "b preferred", "tie": "tie", "a": "a preferred"}
    rows = []
    for row in panel.rows:
        below = 0
        for key, words in outcomes.items():
            above = below + cast("int", row[key])
            bar = {"from": row["from"], "to": row["to"], "below": below, "above": above}
            rows.append({**bar, "outcome": words})
            below = above
    colours = alt.Scale(domain=list(outcomes.values()), range=[theme.rule, theme.tie, theme.model])
    bars = (
        _chart(rows)
        .mark_rect(stroke=None)
        .encode(
            x=alt.X("from:Q", title="score of a minus score of b", axis=alt.Axis(grid=False, tickCount=7)),
            x2="to:Q",
            y=alt.Y("below:Q", title="votes", axis=alt.Axis(tickCount=4)),
            y2="above:Q",
            color=alt.Color("outcome:N", scale=colours),
        )
    )
    zero = _chart([{"zero": 0}]).mark_rule(color=theme.ink, strokeWidth=1).encode(x="zero:Q")
    return _spec(alt.layer(bars, zero), theme, 190)


def _pace(panel: Panel, theme: Theme) -> Spec:
    mondays = [str(row["week"]) for row in panel.rows]
    sundays = [(date.fromisoformat(monday) + timedelta(days=6)).isoformat() for monday in mondays]
    rows = [
        {"from": monday, "to": sunday, "none": 0, "judgments": row["judgments"]}
        for monday, sunday, row in zip(mondays, sundays, panel.rows, strict=True)
    ]
    bars = (
        _chart(rows)
        .mark_rect(color=theme.model, stroke=None)
        .encode(
            x=_weeks("from", mondays),
            x2="to:T",
            y=alt.Y("none:Q", title="votes per week", axis=alt.Axis(tickCount=4)),
            y2="judgments:Q",
        )
    )
    return _spec(bars, theme, 190)


CHARTS: dict[str, Callable[[Panel, Theme], Spec]] = {
    "agreement": _agreement,
    "left": _left,
    "reliability": _reliability,
    "accuracy": _accuracy,
    "margins": _margins,
    "pace": _pace,
}
