"""How many more Judgments narrow a figure to a wanted interval, and how long people take to give them."""

from __future__ import annotations

import math

from workbench.pipeline.quality.figures import Figure
from workbench.pipeline.quality.reports import Goal

ACCURACY_WITHIN = 0.02
ALPHA_WITHIN = 0.05
_Z = 1.959964


def for_accuracy(name: str, accuracy: Figure, seconds: float | None, within: float = ACCURACY_WITHIN) -> Goal:
    """To know a model's accuracy within ± `within`.

    wanted = n (half width now / within)², as an interval narrows with the root of n; clustering by prompt is
    in the width. Without an interval yet: what independent answers at an accuracy of one half would take."""
    half = _half(accuracy)
    n = accuracy.n
    wanted = (_Z / within) ** 2 / 4 if half is None else n * (half / within) ** 2
    return _plan(
        "accuracy", name, within, half, max(0, math.ceil(wanted) - n), seconds, measured=half is not None
    )


def for_alpha(alpha: Figure, opinions: int, seconds: float | None, within: float = ALPHA_WITHIN) -> Goal:
    """To know Krippendorff's alpha within ± `within`. opinions: what alpha is of now. As many people are
    taken to judge each Comparison as before. Not known before there is an interval."""
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
