"""How many more Judgments narrow the interval of a figure to ± `within`, and the hours of work these take."""

from __future__ import annotations

import math

from workbench.pipeline.quality.figures import Figure
from workbench.pipeline.quality.reports import Goal

ACCURACY_WITHIN = 0.02
ALPHA_WITHIN = 0.05
_Z = 1.959964


def for_accuracy(name: str, accuracy: Figure, seconds: float | None, within: float = ACCURACY_WITHIN) -> Goal:
    """The goal for a model's accuracy.

    n needed = n (half width / within)², as an interval narrows with the root of n; the width has the
    clustering by prompt in it. Where there is no interval yet: (1.96 / within)² / 4, for independent answers
    at an accuracy of one half."""
    half = _half(accuracy)
    needed = (_Z / within) ** 2 / 4 if half is None else accuracy.n * (half / within) ** 2
    more = max(0, math.ceil(needed) - accuracy.n)
    return _goal("accuracy", name, within, half, more, seconds)


def for_alpha(alpha: Figure, opinions: int, seconds: float | None, within: float = ALPHA_WITHIN) -> Goal:
    """The goal for Krippendorff's alpha of `opinions`, if as many people judge each Comparison as before:
    more = opinions ((half width / within)² - 1). Not known before there is an interval."""
    half = _half(alpha)
    more = None if half is None else max(0, math.ceil(opinions * ((half / within) ** 2 - 1)))
    return _goal("alpha", "", within, half, more, seconds)


def _half(figure: Figure) -> float | None:
    if figure.low is None or figure.high is None:
        return None
    return (figure.high - figure.low) / 2


def _goal(
    goal: str, version: str, within: float, now: float | None, more: int | None, seconds: float | None
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
        "measured": now is not None,
    }
