"""How people work: seconds a Judgment, pace by the hour and by the week."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from workbench.pipeline.quality.columns import Answers, Pairs
from workbench.pipeline.quality.figures import Figure, Index, Mask, Vector, median, unknown
from workbench.pipeline.quality.reports import Pace, Seconds, SecondsRow, Week

BREAK_SECONDS = 600
"""A longer time between two answers is a break, not work."""

_DAY = 86_400


def week_of(at: Index) -> Index:
    """The Monday 00:00 UTC of each moment, in seconds since 1970 (which began on a Thursday)."""
    days = at // _DAY
    return (days - (days + 3) % 7) * _DAY


def week_name(monday: int) -> str:
    """The week by its Monday, as 2026-11-23."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=monday)).date().isoformat()


def working_seconds(answers: Answers, chosen: Mask) -> tuple[Index, Vector]:
    """(place in `answers`, seconds since the answer before) of each chosen answer within BREAK_SECONDS of the
    same annotator's answer before."""
    place = np.flatnonzero(chosen)
    place = place[np.lexsort((answers.at[place], answers.annotator[place]))]
    gap = np.diff(answers.at[place])
    same = np.diff(answers.annotator[place]) == 0
    use = same & (gap <= BREAK_SECONDS)
    return place[1:][use], gap[use].astype(np.float64)


def pace(answers: Answers) -> tuple[Pace, dict[int, float], float | None]:
    """(pace by week, {place of annotator: Judgments an hour of work}, mean seconds a Judgment or None)."""
    chosen = answers.first & ~answers.imported
    place, seconds = working_seconds(answers, chosen)
    annotator = answers.annotator[place]
    n = np.bincount(annotator, minlength=len(answers.annotators))
    spent = np.bincount(annotator, seconds, len(answers.annotators))
    enough = np.flatnonzero((n >= 10) & (spent > 0))
    by_annotator = {int(place): float(3600 * n[place] / spent[place]) for place in enough}
    monday = week_of(answers.at)
    weeks: list[Week] = []
    for start in np.unique(monday[chosen]).tolist()[-52:]:
        of_week = chosen & (monday == start)
        weeks.append(
            {
                "week": week_name(start),
                "judgments": int(of_week.sum()),
                "annotators": len(np.unique(answers.annotator[of_week])),
                "hours": round(float(seconds[monday[place] == start].sum()) / 3600, 2),
            }
        )
    mean = float(seconds.mean()) if len(seconds) >= 10 else None
    return {"per_hour": _per_hour(median(seconds)).as_json(), "by_week": weeks}, by_annotator, mean


def _per_hour(seconds: Figure) -> Figure:
    """Judgments an hour, from seconds a Judgment."""
    if not seconds.value or not seconds.low or not seconds.high:
        return unknown(seconds.n)
    return Figure(3600 / seconds.value, 3600 / seconds.high, 3600 / seconds.low, seconds.n)


def reading(answers: Answers, pairs: Pairs) -> Seconds:
    """Median seconds from shown to answered, as the page measured them: of first answers, and of thirds by
    the characters of both texts."""
    chosen = answers.first & ~answers.imported & np.isfinite(answers.seconds)
    seconds, pair = answers.seconds[chosen], answers.pair[chosen]
    length = (pairs.length[pairs.a] + pairs.length[pairs.b])[pair]
    rows: list[SecondsRow] = []
    if len(length):
        low, high = (int(edge) for edge in np.quantile(length, [1 / 3, 2 / 3]))
        thirds = [
            (f"up to {low:,} characters", length <= low),
            (f"{low + 1:,} to {high:,} characters", (length > low) & (length <= high)),
            (f"over {high:,} characters", length > high),
        ]
        rows = [{"label": label, "seconds": median(seconds[third]).as_json()} for label, third in thirds]
    return {"all": median(seconds).as_json(), "by_length": rows}
