"""The board of a Dataset: how strong each source of its answers is, by the votes on pairs of two sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scoring.shares import UNKNOWN
from workbench.pipeline.quality.columns import OUTCOMES, Answers, Pairs
from workbench.pipeline.quality.figures import (
    ENOUGH,
    ENOUGH_PROMPTS,
    Figure,
    Mask,
    Matrix,
    Vector,
    unknown,
)
from workbench.pipeline.quality.reports import Board, BoardRow, Lead, StoredFigure
from workbench.pipeline.sources.bradley_terry import Strengths, Votes, linked, met, strengths, wins

MOST_SOURCES = 50
"""The sources with most votes are compared; votes on the others are counted as left out."""

_WON = np.array([1.0, 0.0, 0.5, np.nan])
"""What an opinion is worth to a, by OUTCOMES. "Both bad" prefers neither, and is no tie of good answers."""

CONTROLS = ("left", "longer")
_NO_CONTROL = "not defined: neither side nor length differs on enough votes"
_NOT_CONTROLLED = "not defined: the votes follow from side and length alone"


def board(pairs: Pairs, answers: Answers, chosen: Mask, led: int = 0) -> Board:
    """The board of the chosen answers. led: how many opinions were left out because a Suggestion was shown
    before."""
    votes, names, left_out = _votes(pairs, answers, chosen)
    table = wins(votes, len(names))
    part, why = _compared(table, names)
    fitted = np.flatnonzero(part)
    among = votes.among(part)
    kept = _usable(among)
    raw = strengths(among, len(fitted))
    controlled = strengths(among, len(fitted), kept) if kept else None
    row_of = {place: row for row, place in enumerate(fitted.tolist())}
    rows = []
    for place, name in enumerate(names):
        of_source = (votes.a == place) | (votes.b == place)
        n, groups = int(of_source.sum()), len(np.unique(votes.group[of_source]))
        by_both, by_raw = (
            _strength(fit, row_of.get(place), n, groups, why.get(place, without))
            for fit, without in ((controlled, _NOT_CONTROLLED if kept else _NO_CONTROL), (raw, UNKNOWN))
        )
        rows.append(_row(name, n, float(table[place].sum()), by_both, by_raw))
    order = sorted(range(len(rows)), key=lambda place: _rank(rows[place]))
    counts = table + table.T
    return {
        "votes": len(votes),
        "groups": len(np.unique(votes.group)),
        "ties": int((votes.won == 0.5).sum()),
        "sources": [rows[place] for place in order],
        "wins": table[np.ix_(order, order)].tolist(),
        "pairs": counts[np.ix_(order, order)].astype(int).tolist(),
        "controlled": controlled is not None,
        "left": _control("left", kept, controlled, among.controls[:, 0]),
        "longer": _control("longer", kept, controlled, among.controls[:, 1]),
        "lead": _lead(rows, order, row_of, controlled or raw),
        "left_out": {reason: n for reason, n in (("led", led), *left_out.items()) if n},
    }


def _votes(pairs: Pairs, answers: Answers, chosen: Mask) -> tuple[Votes, list[str], dict[str, int]]:
    """(votes on two of the compared sources, their names, number of the other opinions by reason)."""
    use = np.flatnonzero(chosen & (answers.outcome >= 0))
    pair = answers.pair[use]
    a, b = pairs.source[pairs.a[pair]], pairs.source[pairs.b[pair]]
    known = np.array([bool(name) for name in pairs.sources], dtype=bool)
    both_bad = answers.outcome[use] == OUTCOMES.index("both_bad")
    not_known = ~both_bad & ~(known[a] & known[b])
    same = ~both_bad & ~not_known & (a == b)
    keep = ~both_bad & ~not_known & ~same
    size = np.bincount(a[keep], minlength=len(known)) + np.bincount(b[keep], minlength=len(known))
    most = np.argsort(-size, kind="stable")[:MOST_SOURCES]
    compared = np.sort(most[size[most] > 0])
    among = np.isin(a, compared) & np.isin(b, compared)
    rare, keep = keep & ~among, keep & among
    use, pair = use[keep], pair[keep]
    length_a, length_b = pairs.length[pairs.a[pair]], pairs.length[pairs.b[pair]]
    longer = np.log2((1 + length_a) / (1 + length_b))
    group = np.unique(pairs.groups, return_inverse=True)[1] if pairs.groups else np.zeros(0, dtype=np.int64)
    votes = Votes(
        a=np.searchsorted(compared, a[keep]),
        b=np.searchsorted(compared, b[keep]),
        won=_WON[answers.outcome[use]],
        controls=np.column_stack([answers.side[use].astype(np.float64), longer]),
        group=group[pairs.prompt[pair]],
    )
    reasons = {"both_bad": both_bad, "no_source": not_known, "same_source": same, "rare_source": rare}
    left_out = {reason: int(of.sum()) for reason, of in reasons.items()}
    return votes, [pairs.sources[place] for place in compared.tolist()], left_out


def _compared(table: Matrix, names: Sequence[str]) -> tuple[Mask, dict[int, str]]:
    """(the sources that votes give a strength beside each other, why the other sources have none)."""
    counts = table + table.T
    votes = counts.sum(axis=1)
    part = linked(table) if len(names) else np.zeros(0, dtype=np.int64)
    inside = {int(key): float(counts[np.ix_(part == key, part == key)].sum()) for key in np.unique(part)}
    largest = max(inside, key=lambda key: inside[key], default=-1)
    compared: Mask = part == largest if inside.get(largest) else np.zeros(len(names), dtype=bool)
    reached = met(table) if len(names) else part
    why = {}
    for place in np.flatnonzero(~compared).tolist():
        n, won = int(votes[place]), table[place].sum()
        if won == n:
            why[place] = (
                f"no strength: it won all {n:,} votes" if n > 1 else "no strength: it won its one vote"
            )
        elif won == 0:
            why[place] = (
                f"no strength: it lost all {n:,} votes" if n > 1 else "no strength: it lost its one vote"
            )
        elif compared.any() and not (reached[compared] == reached[place]).any():
            why[place] = "no strength: no vote compares it with the sources above"
        else:
            why[place] = "no strength: no chain of wins and losses links it with the sources above"
    return compared, why


def _usable(votes: Votes) -> list[int]:
    """The controls that differ on enough votes and prompt groups."""
    return [
        place
        for place, column in enumerate(votes.controls.T)
        if np.count_nonzero(column) >= ENOUGH and len(np.unique(votes.group[column != 0])) >= ENOUGH_PROMPTS
    ]


def _strength(fit: Strengths | None, row: int | None, n: int, groups: int, why: str) -> Figure:
    """The strength in this row of the fit. why: the reason where the fit has none."""
    if fit is None or row is None:
        return unknown(n, groups, why)
    if n < ENOUGH or groups < ENOUGH_PROMPTS:
        return unknown(n, groups, f"not enough data: {n} votes on {groups} prompts")
    return Figure(*fit.of(row), n, groups)


def _row(name: str, n: int, won: float, controlled: Figure, raw: Figure) -> BoardRow:
    return {
        "source": name,
        "votes": n,
        "wins": won,
        "strength": controlled.as_json(),
        "against_average": _as_chance(controlled).as_json(),
        "raw_strength": raw.as_json(),
        "raw_against_average": _as_chance(raw).as_json(),
    }


def _as_chance(log_odds: Figure) -> Figure:
    """The chance to win at these log-odds."""
    if log_odds.value is None or log_odds.low is None or log_odds.high is None:
        return log_odds
    value, low, high = (1 / (1 + np.exp(-x)) for x in (log_odds.value, log_odds.low, log_odds.high))
    return Figure(float(value), float(low), float(high), log_odds.n, log_odds.prompts)


def _rank(row: BoardRow) -> tuple[bool, float]:
    """The strongest first; sources without a strength come last, by their share of wins."""
    value = strength_of(row)
    return value is None, -row["wins"] / max(1, row["votes"]) if value is None else -value


def _control(name: str, kept: Sequence[int], fit: Strengths | None, column: Vector) -> StoredFigure:
    """How often the answer on the left, or the answer twice as long, wins against its equal."""
    place = CONTROLS.index(name)
    differ = int(np.count_nonzero(column))
    if fit is None or place not in kept:
        return unknown(differ, 0, UNKNOWN if place not in kept else _NOT_CONTROLLED).as_json()
    at = len(fit.values) - len(kept) + list(kept).index(place)
    return _as_chance(Figure(*fit.of(at), differ, int(fit.groups[at]))).as_json()


def _lead(
    rows: Sequence[BoardRow], order: Sequence[int], row_of: dict[int, int], fit: Strengths | None
) -> Lead | None:
    """The strongest source beside the next. It leads for sure where the interval of its difference to each
    other source is above 0, all of them together at 95 % (Bonferroni)."""
    known = [place for place in order if strength_of(rows[place]) is not None]
    if fit is None or len(known) < 2:
        return None
    first, second = known[:2]

    def ahead(place: int, level: float) -> tuple[float, float, float]:
        contrast = np.zeros(len(fit.values))
        contrast[row_of[first]], contrast[row_of[place]] = 1.0, -1.0
        return fit.interval(contrast, level)

    together = 1 - 0.05 / (len(known) - 1)
    n = min(rows[first]["votes"], rows[second]["votes"])
    by = Figure(*ahead(second, 0.95), n, int(fit.groups[[row_of[first], row_of[second]]].min()))
    return {
        "source": rows[first]["source"],
        "next": rows[second]["source"],
        "chance": _as_chance(by).as_json(),
        "sure": all(ahead(place, together)[1] > 0 for place in known[1:]),
    }


def strength_of(row: BoardRow) -> float | None:
    """The strength by which the board is ordered: the controlled one, else the raw one."""
    controlled, raw = row["strength"]["value"], row["raw_strength"]["value"]
    return raw if controlled is None else controlled
