"""Figures of a report in words."""

from __future__ import annotations

from scoring import shares
from workbench.pipeline.quality.panels.panel import Kind
from workbench.pipeline.quality.reports import AnyFigure, Data, Goal, Report


def in_words(figure: AnyFigure | None, kind: Kind = "share") -> str:
    """ "64 % (61 to 67)", or why there is no figure."""
    if figure is None:
        return shares.UNKNOWN
    if figure["value"] is None:
        return figure.get("why", shares.UNKNOWN)
    if kind == "share":
        return shares.with_interval(figure["value"], bounds(figure))
    if figure["low"] is None or figure["high"] is None:
        return _number(figure["value"], kind)
    low, high = _number(figure["low"], kind), _number(figure["high"], kind)
    return f"{_number(figure['value'], kind)} ({low.removesuffix(' s')} to {high})"


def _number(value: float, kind: Kind) -> str:
    if kind == "seconds":
        return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
    return f"{value:+.2f}" if kind == "log_odds" else f"{value:.2f}"


def bounds(figure: AnyFigure) -> tuple[float, float] | None:
    if figure["low"] is None or figure["high"] is None:
        return None
    return figure["low"], figure["high"]


def count(n: float, singular: str, plural: str = "") -> str:
    """ "1 vote", "1,200 votes"."""
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def votes_and_labels(votes: int, labels: int) -> str:
    """ "2 votes and 1 imported label", "no votes"."""
    counts = [(votes, "vote"), (labels, "imported label")]
    return " and ".join(count(n, name) for n, name in counts if n) or "no votes"


def hours_of_work(hours: float) -> str:
    """ "20 minutes", "1.5 hours", "120 hours"."""
    if hours < 1:
        return count(round(hours * 60), "minute")
    return f"{hours:,.0f} hours" if hours >= 10 else f"{hours:.1f} hours"


def data_in_words(data: Data) -> str:
    """What the figures of a report are of: "120 votes and 2,589 imported labels on 9 pairs"."""
    return f"{votes_and_labels(data['votes'], data['labels'])} on {count(data['comparisons'], 'pair')}"


def plan(report: Report) -> list[str]:
    """What it takes to know more, a sentence a goal."""
    return [_goal(goal) for goal in report["plan"]]


def _goal(goal: Goal) -> str:
    if goal["goal"] == "accuracy":
        figure, within = f"the accuracy of {goal['version']}", shares.size(goal["within"])
        now = None if goal["now"] is None else shares.size(goal["now"])
    else:
        figure, within = "agreement (Krippendorff’s alpha)", f"{goal['within']:.2f}"
        now = None if goal["now"] is None else f"{goal['now']:.2f}"
    if goal["judgments"] is None:
        return f"Not enough data to say how many more votes would narrow {figure} to ± {within}."
    if not goal["judgments"]:
        return f"No more votes are needed for {figure}: the margin of error is ± {now}."
    hours = "" if goal["hours"] is None else f", about {hours_of_work(goal['hours'])} of work,"
    today = f" The margin of error is ± {now} now." if now else ""
    return f"{count(goal['judgments'], 'more vote')}{hours} would narrow {figure} to ± {within}.{today}"
