"""How many more Judgments a figure needs to be as sure as one wants it, and how long people take for them."""

from __future__ import annotations

import math

from workbench.pipeline.quality.figures import Figure
from workbench.pipeline.quality.reports import Goal

ACCURACY_WITHIN = 0.02
ALPHA_WITHIN = 0.05
_Z = 1.959964


def for_accuracy(name: str, accuracy: Figure, seconds: float | None, within: float = ACCURACY_WITHIN) -> Goal:
    """To know a model's accuracy within ± `within`.

    An interval narrows with the root of what it is made of, so half its width now, squared, over `within`
    squared, times the Judgments now: how prompts cluster is in it. Where there is no interval yet, as many as
    independent answers at an accuracy of one half would take."""
    half = _half(accuracy)
    n = accuracy.n
    wanted = (_Z / within) ** 2 / 4 if half is None else n * (half / within) ** 2
    return _plan(
        "accuracy", name, within, half, max(0, math.ceil(wanted) - n), seconds, measured=half is not None
    )


def for_alpha(alpha: Figure, opinions: int, seconds: float | None, within: float = ALPHA_WITHIN) -> Goal:
    """To bring Krippendorff's alpha within ± `within`, when it is of `opinions` opinions now and as many
    people go on judging each Comparison. Not known before there is an interval."""
    half = _half(alpha)
    more = None if half is None else max(0, math.ceil(opinions * ((half / within) ** 2 - 1)))
    return _plan("alpha", "", within, half, more, seconds, measured=half is not None)


def _half(figure: Figure) -> float | None:
    if figure.low is None or figure.high is None:
        return None
    return (figure.high - figure.low) / 2


def _plan(
    goal: str,
    version: str,
    within: float,
    now: float | None,
    more: int | None,
    seconds: float | None,
    *,
    measured: bool,
) -> Goal:
    hours = None if more is None or seconds is None else round(more * seconds / 3600, 1)
    return {
        "goal": goal,
        "version": version,
        "within": within,
        "now": None if now is None else round(now, 6),
        "judgments": more,
        "seconds": None if seconds is None else round(seconds, 2),
        "hours": hours,
        "measured": measured,
    }
