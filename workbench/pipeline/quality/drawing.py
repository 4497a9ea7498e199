"""The charts of panels as Vega-Lite specifications.

This module imports altair, which no web process needs: `charts` imports the module where it draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import cast

import altair as alt  # noqa: TID253 - see above

from workbench.pipeline.quality.charts import Theme
from workbench.pipeline.quality.panels import Panel
from workbench.pipeline.quality.panels.panel import Row
from workbench.pipeline.quality.panels.people import STRIPS, strips_of
from workbench.pipeline.quality.reports import KnownFigure, StoredFigure, has_value

# vl_convert measures text with Liberation Sans, which is as wide as Arial: other fonts would overlap. Where a
# browser has none of these, its font is up to a sixth wider, and the padding on the left has room for that.
FONT = 'Arial, "Liberation Sans", Arimo, Helvetica, sans-serif'
WIDTH = 372
HEIGHT = 150
LABELS = 118
"""Room for labels of rows, in pixels. A longer label ends in "…", and the table has all of it."""
LEGEND = WIDTH - LABELS - 34
"""Room for a legend, which begins where the labels of rows end."""
SYMBOL, LETTER, PADDING = 16, 6.2, 16
"""The widths in a legend, in pixels: of a symbol, a letter on average, and between columns."""

Spec = dict[str, object]


def _spec(
    chart: alt.TopLevelMixin, theme: Theme, height: int, kinds: Sequence[str] = (), room: int = LEGEND
) -> Spec:
    """kinds: the entries of the legend, in as many columns as have room."""
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
        "labelLimit": room - SYMBOL,
        "columnPadding": PADDING,
        "columns": _columns(kinds, room),
        "offset": 8,
    }
    sized: alt.TopLevelMixin = chart
    if not isinstance(chart, alt.HConcatChart):  # whose parts have sizes of their own
        sized = chart.properties(
            width=WIDTH, height=height, autosize={"type": "fit-x", "contains": "padding"}
        )
    spec: Spec = (
        sized.properties(background="transparent", padding={"left": 22, "right": 12, "top": 4, "bottom": 4})
        .configure(font=FONT)
        .configure_axis(**axis)
        .configure_legend(**legend)
        .configure_view(stroke=None)
        .to_dict()
    )
    return spec


def _columns(kinds: Sequence[str], room: int) -> int:
    """The most columns of a legend that fit: what is wider than the picture is cut off."""
    for columns in range(len(kinds), 1, -1):
        letters = sum(max(len(kind) for kind in kinds[n::columns]) for n in range(columns))
        if LETTER * letters + SYMBOL * columns + PADDING * (columns - 1) <= room:
            return columns
    return 1


def _chart(rows: Iterable[Mapping[str, object]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def _figure(row: Row, key: str) -> KnownFigure | None:
    """The figure in a cell; None where it has no value."""
    figure = cast("StoredFigure | None", row[key])
    return figure if has_value(figure) else None


def _span(figure: KnownFigure) -> dict[str, float]:
    return {"value": figure["value"], "low": figure["low"], "high": figure["high"]}


def _agreement(panel: Panel, theme: Theme) -> Spec:
    every = _figure(panel.rows[0], "raw")
    weeks = [(str(row["label"]), agreement) for row in panel.rows[1:] if (agreement := _figure(row, "raw"))]
    if every is None:
        raise ValueError("An agreement panel begins with the figure of all weeks.")
    ends = [end for figure in (every, *(figure for _, figure in weeks)) for end in _span(figure).values()]
    scale = alt.Scale(domain=[min(0.5, *ends), 1], nice=True, zero=False)
    y = alt.Y("low:Q", title=f"{panel.context['opinions']} that agree", axis=_shares(), scale=scale)
    if len(weeks) < 2:
        return _single(every, theme, scale, panel.context["opinions"])
    x = _weeks("week", [week for week, _ in weeks])
    whole = _chart([_span(every)])
    band = whole.mark_rect(color=theme.tie, opacity=0.18).encode(y=y, y2="high:Q")
    middle = whole.mark_rule(color=theme.soft, strokeDash=[4, 4]).encode(y=alt.Y("value:Q", scale=scale))
    base = _chart({"week": week, **_span(agreement)} for week, agreement in weeks).encode(x=x)
    bars = base.mark_rule(color=theme.model, strokeWidth=1.5).encode(y=y, y2="high:Q")
    line = base.mark_line(color=theme.model, strokeWidth=2).encode(y="value:Q")
    dots = base.mark_point(color=theme.model, filled=True, size=45, opacity=1).encode(y="value:Q")
    return _spec(alt.layer(band, middle, bars, line, dots), theme, HEIGHT)


def _single(figure: KnownFigure, theme: Theme, scale: alt.Scale, opinions: str) -> Spec:
    """One dot with its interval on a line."""
    base = _chart([_span(figure)])
    x = alt.X("low:Q", title=f"{opinions} that agree", axis=_shares(), scale=scale)
    bar = base.mark_rule(color=theme.model, strokeWidth=2).encode(x=x, x2="high:Q")
    dot = base.mark_point(color=theme.model, filled=True, size=90, opacity=1).encode(x="value:Q")
    return _spec(alt.layer(bar, dot), theme, 40)


def _weeks(field: str, mondays: Sequence[str]) -> alt.X:
    """A time axis in UTC with ticks at some four of the weeks."""
    days = [date.fromisoformat(monday) for monday in mondays[:: -(-len(mondays) // 4)]]
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
    return _spec(alt.layer(half, bars, dots), theme, _height(len(shares)), _LEANING)


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
    y = alt.Y(
        "low:Q",
        title=f"{panel.context['source']} agreed",
        axis=_shares(),
        scale=alt.Scale(domain=[0, 1]),
    )
    ideal = (
        _chart([{"predicted": 0.5, "at": 0.5}, {"predicted": 1.0, "at": 1.0}])
        .mark_line(color=theme.soft, strokeDash=[4, 4], strokeWidth=1)
        .encode(x=x, y=alt.Y("at:Q"))
    )
    base = _chart(rows).encode(x=x)
    bars = base.mark_rule(color=theme.model, strokeWidth=1.5).encode(y=y, y2="high:Q")
    size = alt.Size("n:Q", scale=alt.Scale(range=[30, 200], domainMin=0), legend=None)
    dots = base.mark_point(color=theme.model, filled=True, opacity=1).encode(y="value:Q", size=size)
    return _spec(alt.layer(ideal, bars, dots), theme, HEIGHT)


def _accuracy(panel: Panel, theme: Theme) -> Spec:
    every_kind = [panel.context["model"], "longest", "ceiling"]
    figures: list[tuple[str, str, KnownFigure]] = []
    for row in panel.shown_in_chart:
        if not _figure(row, "accuracy"):
            continue
        for kind, key in zip(every_kind, ("accuracy", "longest", "ceiling"), strict=True):
            figure = _figure(row, key)
            # There `longest` is always right or always wrong: its dot would only stretch the axis.
            if figure and not (key == "longest" and row["kind"] == "preferred"):
                figures.append((_slice_name(row), kind, figure))
    kinds = [kind for kind in every_kind if any(kind == drawn for _, drawn, _ in figures)]
    of_kind = {"longest": (theme.rule, "diamond"), "ceiling": (theme.ceiling, "cross")}
    looks = [(theme.model, "circle"), *(of_kind[kind] for kind in kinds[1:])]
    colours = alt.Scale(domain=kinds, range=[colour for colour, _ in looks])
    shapes = alt.Scale(domain=kinds, range=[shape for _, shape in looks])
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
    return _spec(alt.layer(bars, dots), theme, _height(len(names)), kinds)


def _slice_name(row: Row) -> str:
    """ "Length: similar" for a slice that the table describes at length."""
    label = str(row["label"])
    if row["kind"] == "preferred":
        return f"{label.partition(' ')[0].capitalize()} preferred"
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
            y=alt.Y("below:Q", title=panel.context["opinions"], axis=alt.Axis(tickCount=4)),
            y2="above:Q",
            color=alt.Color("outcome:N", scale=colours),
        )
    )
    zero = _chart([{"zero": 0}]).mark_rule(color=theme.ink, strokeWidth=1).encode(x="zero:Q")
    return _spec(alt.layer(bars, zero), theme, HEIGHT, list(outcomes.values()), room=LEGEND + LABELS // 2)


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
    return _spec(bars, theme, HEIGHT)


def _audit(panel: Panel, theme: Theme) -> Spec:
    voices = {"people": panel.context["source"], "model": panel.context["model"]}
    figures = [
        (str(row["feature"]), voice, figure)
        for row in panel.rows
        for key, voice in voices.items()
        if (figure := _figure(row, key))
    ]
    features = list(dict.fromkeys(feature for feature, _, _ in figures))
    names = list(voices.values())
    colour = alt.Color("voice:N", scale=alt.Scale(domain=names, range=[theme.rule, theme.model]))
    shape = alt.Shape("voice:N", scale=alt.Scale(domain=names, range=["circle", "diamond"]))
    base = _chart({"feature": feature, "voice": voice, **_span(figure)} for feature, voice, figure in figures)
    base = base.encode(
        y=alt.Y("feature:N", sort=features, title=None, axis=_row_labels()),
        yOffset=alt.YOffset("voice:N", sort=names),
        color=colour,
    )
    times = "'× ' + format(exp(datum.value), '.2~r')"
    axis = alt.Axis(values=_doublings([figure for _, _, figure in figures]), labelExpr=times)
    x = alt.X("low:Q", title="odds of being preferred", axis=axis)
    none = _chart([{"none": 0}]).mark_rule(color=theme.soft, strokeDash=[3, 3]).encode(x="none:Q")
    bars = base.mark_rule(strokeWidth=1.5).encode(x=x, x2="high:Q")
    dots = base.mark_point(filled=True, size=55, opacity=1).encode(x="value:Q", shape=shape)
    return _spec(alt.layer(none, bars, dots), theme, 32 * len(features), names)


def _doublings(figures: Sequence[KnownFigure]) -> list[float]:
    """Ticks on a scale of log-odds: at most some seven powers of two about 1."""
    reach = max((abs(end) for figure in figures for end in (figure["low"], figure["high"])), default=0.7)
    most = max(1, round(reach / math.log(2)))
    step = -(-most // 3)
    return [power * math.log(2) for power in range(-3 * step, 3 * step + 1, step)]


def _annotators(panel: Panel, theme: Theme) -> Spec:
    """A strip a person, with a column a figure; the dashed line is one half for the left side."""
    rows = panel.shown_in_chart
    keys = strips_of(rows, "gold" in {column.key for column in panel.columns})
    names = [str(row["name"]) for row in rows]
    width = (WIDTH - LABELS - 24 - 16 * len(keys)) // len(keys)
    parts = [
        _strip(
            key, [(str(row["name"]), _figure(row, key)) for row in rows], names, theme, number == 0
        ).properties(width=width, height=_height(len(names)))
        for number, key in enumerate(keys)
    ]
    return _spec(alt.hconcat(*parts, spacing=16), theme, 0)


def _strip(
    key: str,
    figures: Sequence[tuple[str, KnownFigure | None]],
    names: Sequence[str],
    theme: Theme,
    is_first: bool,
) -> alt.LayerChart | alt.FacetChart:
    axis = alt.Axis(domain=False, ticks=False, grid=True, labelPadding=8, labels=is_first)
    y = alt.Y("name:N", sort=list(names), title=None, axis=axis, scale=alt.Scale(domain=list(names)))
    known = [(name, figure) for name, figure in figures if figure]
    base = _chart({"name": name, **_span(figure)} for name, figure in known).encode(y=y)
    if key == "seconds":
        scale, x_axis = alt.Scale(zero=True), alt.Axis(tickCount=3, grid=False)
    else:
        domain = _around([figure for _, figure in known], 0.5) if key == "left" else [0, 1]
        scale, x_axis = alt.Scale(domain=domain), _shares().copy()
        x_axis.tickCount, x_axis.grid = 2, False
    x = alt.X("low:Q", title=STRIPS[key], axis=x_axis, scale=scale)
    bars = base.mark_rule(color=theme.model, strokeWidth=1.5).encode(x=x, x2="high:Q")
    dots = base.mark_point(color=theme.model, filled=True, size=50, opacity=1).encode(x="value:Q")
    if key != "left":
        return alt.layer(bars, dots)
    half = _chart([{"half": 0.5}]).mark_rule(color=theme.soft, strokeDash=[3, 3])
    return alt.layer(half.encode(x=alt.X("half:Q", scale=scale)), bars, dots)


def _plan(panel: Panel, theme: Theme) -> Spec:
    rows = [
        {"votes": cast("int", row["votes"]), "within": cast("float", row["within"])}
        for row in panel.shown_in_chart
    ]
    n, now, most = int(panel.context["n"]), rows[0]["within"], 1.15 * rows[-1]["votes"]
    curve = [{"votes": more, "within": now * math.sqrt(n / (n + more))} for more in _even(most, 60)]
    x = alt.X("votes:Q", title="more votes", axis=alt.Axis(tickCount=4, format=",.0f", grid=False))
    points = "'± ' + format(datum.value * 100, '.0f')"
    y = alt.Y(
        "within:Q",
        title="margin of error, points",
        axis=alt.Axis(labelExpr=points, tickCount=4),
        scale=alt.Scale(domainMin=0),
    )
    line = _chart(curve).mark_line(color=theme.model, strokeWidth=2).encode(x=x, y=y)
    words = ["you are here", *(f"{row['votes']:,.0f} votes" for row in rows[1:])]
    marks = _chart({**row, "words": said} for row, said in zip(rows, words, strict=True)).encode(x=x, y=y)
    dots = marks.mark_point(color=theme.rule, filled=True, size=70, opacity=1, shape="diamond")
    # Near the right edge, words beside their point would be cut off, so they end below it.
    is_near, words_of = alt.datum.votes > 0.6 * most, marks.encode(text="words:N")
    beside = words_of.transform_filter(~is_near).mark_text(color=theme.ink, align="left", dx=8, dy=-8)
    below = words_of.transform_filter(is_near).mark_text(color=theme.ink, align="right", dx=6, dy=16)
    return _spec(alt.layer(line, dots, beside, below), theme, HEIGHT)


def _even(most: float, steps: int) -> list[float]:
    return [most * step / steps for step in range(steps + 1)]


def _sources(panel: Panel, theme: Theme) -> Spec:
    figures = [
        (str(row["source"]), kind, figure)
        for row in panel.shown_in_chart
        for kind, key in (("at equal length and side", "controlled"), ("as judged", "raw"))
        if (figure := _figure(row, key))
    ]
    kinds = list(dict.fromkeys(kind for _, kind, _ in figures))
    names = list(dict.fromkeys(name for name, _, _ in figures))
    base = _chart({"source": name, "kind": kind, **_span(figure)} for name, kind, figure in figures)
    base = base.encode(y=alt.Y("source:N", sort=names, title=None, axis=_row_labels()))
    scale = alt.Scale(domain=_around([figure for _, _, figure in figures], 0.5), zero=False)
    half = _chart([{"half": 0.5}]).mark_rule(color=theme.soft, strokeDash=[3, 3])
    half = half.encode(x=alt.X("half:Q", scale=scale))
    colours = alt.Scale(domain=kinds, range=[theme.model, theme.rule][: len(kinds)])
    shapes = alt.Scale(domain=kinds, range=["circle", "diamond"][: len(kinds)])
    colour = alt.Color("kind:N", scale=colours)
    x = alt.X("low:Q", title="wins against the average source", axis=_shares(), scale=scale)
    bars = (
        base.transform_filter(alt.FieldEqualPredicate(field="kind", equal=kinds[0]))
        .mark_rule(strokeWidth=1.5)
        .encode(x=x, x2="high:Q", color=colour)
    )
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(
        x="value:Q", color=colour, shape=alt.Shape("kind:N", scale=shapes)
    )
    return _spec(alt.layer(half, bars, dots), theme, _height(len(names)), kinds)


CHARTS: dict[str, Callable[[Panel, Theme], Spec]] = {
    "agreement": _agreement,
    "annotators": _annotators,
    "audit": _audit,
    "left": _left,
    "plan": _plan,
    "reliability": _reliability,
    "accuracy": _accuracy,
    "margins": _margins,
    "pace": _pace,
    "sources": _sources,
}
