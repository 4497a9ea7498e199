"""A test and an interval for the difference of two models that hold however often somebody looks.

The unit is the prompt group. Group g has n_g decided pairs, on which the new model gains S_g over the old
one: 1 for each pair that the new model alone has right, -1 for each that the old one alone has right. The
difference of accuracy is d = sum S_g / sum n_g, and Z_g = S_g - d n_g has mean 0.

For normal Z_g of unknown variance, and a prior N(0, 1 / c) on mean / standard deviation,

    e = sqrt(c / (G + c)) (1 - q / (G + c)) ^ (-G / 2),   q = (sum Z_g)^2 / sum Z_g^2

is a martingale that starts at 1, so that it ever reaches 1 / level with a chance of at most `level` (Ville's
inequality). This is the sequential t-test of Lai (On confidence sequences, Annals of Statistics 4, 1976) in
the form of Wang and Ramdas (Anytime-valid t-tests and confidence sequences for Gaussian means with unknown
variance, arXiv 2310.03722). The mean of such e over several c is a martingale too. The interval is the set of
all d that it does not reject.

Z_g is no normal variable, so the level holds as the central limit theorem holds: from some hundred groups of
one pair on, or from some ten of many pairs. `make bench-statistics ARGS="--only peeking"` measures it. A
betting martingale needs no such limit, but must know the largest possible group, and a group of 500 pairs
then hides what a thousand small ones say: twelve debates could never decide.

Nothing here imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scoring.calibrate import Vector

Interval = tuple[float, float]

LEVEL = 0.05
"""The chance that the first candidate's interval ever misses the true difference. It misses to either side
alike, so half of it is the chance that a model that is no better ever passes."""
MARGIN = 0.03
"""Differences of accuracy below three points are taken to be none."""
PRIORS = ((1.0, 0.2), (10.0, 0.2), (100.0, 0.6))
"""c and its weight. One point of difference among groups of one pair is the last one's size of effect, a few
large groups that agree are the first one's."""
MOST = 1_000.0
"""Growth of the data beyond which nobody waits for a decision."""


@dataclass(frozen=True, slots=True)
class GroupTotals:
    """Sums over prompt groups, of S_g the gain and n_g the number of decided pairs of group g: all that test
    and interval need."""

    groups: int
    pairs: float
    gain: float
    gain_squared: float
    gain_by_pairs: float
    pairs_squared: float

    @classmethod
    def of(cls, gains: Vector, groups: npt.NDArray[np.intp]) -> GroupTotals:
        """Gains (N,) of decided pairs, and the number of each pair's group (N,), from 0."""
        size = np.bincount(groups).astype(np.float64)
        gain, size = np.bincount(groups, gains)[size > 0], size[size > 0]
        return cls(
            groups=len(size),
            pairs=float(size.sum()),
            gain=float(gain.sum()),
            gain_squared=float(gain @ gain),
            gain_by_pairs=float(gain @ size),
            pairs_squared=float(size @ size),
        )

    def grown(self, factor: float) -> GroupTotals:
        """As many groups more of the same kind."""
        return GroupTotals(
            round(self.groups * factor),
            self.pairs * factor,
            self.gain * factor,
            self.gain_squared * factor,
            self.gain_by_pairs * factor,
            self.pairs_squared * factor,
        )

    @property
    def difference(self) -> float:
        """New minus old accuracy."""
        return self.gain / self.pairs


def level_of(number: int) -> float:
    """The level of the interval of the kth candidate against one active model, k from 1: 2 LEVEL / (k (k +
    1)).

    The first one's is a 95 % interval. Halves of all levels sum to LEVEL: so the chance that any of however
    many candidates that are no better ever passes is at most 5 % (Bonferroni's inequality with unequal
    parts).
    """
    return 2 * LEVEL / (number * (number + 1))


def p_value(totals: GroupTotals) -> float:
    """Two-sided p of "no difference", valid however often somebody looks: 1 / e, at most 1."""
    square, squares = totals.gain**2, totals.gain_squared
    return min(1.0, math.exp(-_log_e(square / squares if squares else 0.0, totals.groups)))


def evidence(totals: GroupTotals, difference: float) -> float:
    """log e against "the difference is `difference`", where the observed one is above it; otherwise -inf. The
    whole interval at a level is above `difference` where this is more than -log(level)."""
    gain = totals.gain - difference * totals.pairs
    squares = (
        totals.gain_squared - 2 * difference * totals.gain_by_pairs + difference**2 * totals.pairs_squared
    )
    return _log_e(gain**2 / squares, totals.groups) if gain > 0 and squares > 0 else -math.inf


def interval(totals: GroupTotals, level: float = LEVEL) -> Interval | None:
    """All differences that are not rejected at `level`, between -1 and 1. None where so few groups can reject
    none."""
    limit = _limit(totals.groups, level)
    if limit is None:
        return None
    # (gain - d pairs)^2 < limit · sum (S_g - d n_g)^2, a quadratic in d.
    square = totals.pairs**2 - limit * totals.pairs_squared
    if square <= 0:
        return None
    middle = (totals.gain * totals.pairs - limit * totals.gain_by_pairs) / square
    rest = (totals.gain**2 - limit * totals.gain_squared) / square
    half = math.sqrt(max(0.0, middle**2 - rest))
    return max(-1.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Weighed:
    """Whether the difference of two models on `pairs` decided pairs of `groups` prompt groups is decided.

    `at_least`: the difference to be shown: 0 for "better", -MARGIN for "no worse". `met`: True where the
    whole interval is above it; False where the whole interval is below `at_least` + MARGIN; None otherwise.
    `level`: of the interval, corrected for several candidates. `more_pairs`: how many more would decide, if
    more of the same kind come; None where it is decided, or where that cannot be told.
    """

    pairs: int
    groups: int
    difference: float
    interval: Interval | None
    level: float
    at_least: float
    margin: float
    met: bool | None
    more_pairs: int | None


def weigh(totals: GroupTotals, at_least: float, level: float, needed: int = 0) -> Weighed:
    """The difference against `at_least`; nothing is decided below `needed` pairs."""
    pairs = round(totals.pairs)
    bounds = interval(totals, level)
    met = _met(bounds, at_least) if pairs >= needed else None
    return Weighed(
        pairs=pairs,
        groups=totals.groups,
        difference=totals.difference,
        interval=bounds,
        level=level,
        at_least=at_least,
        margin=MARGIN,
        met=met,
        more_pairs=_more(totals, at_least, level, needed) if met is None else None,
    )


def _met(bounds: Interval | None, at_least: float) -> bool | None:
    if bounds is None:
        return None
    if bounds[0] > at_least:
        return True
    return False if bounds[1] < at_least + MARGIN else None


def _more(totals: GroupTotals, at_least: float, level: float, needed: int) -> int | None:
    def decides(factor: float) -> bool:
        more = totals.grown(factor)
        return more.pairs >= needed and _met(interval(more, level), at_least) is not None

    high = 1.0
    while not decides(high):
        if high > MOST:
            return None
        high *= 2
    low = high / 2
    while (high - low) * totals.pairs > max(1.0, 0.01 * low * totals.pairs):
        middle = (low + high) / 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return max(1, math.ceil(high * totals.pairs - totals.pairs))


def _log_e(q: float, groups: int) -> float:
    """log e for q = (sum Z)^2 / sum Z^2, which is at most the number of groups."""
    terms = [
        math.log(weight)
        + 0.5 * math.log(c / (groups + c))
        - groups / 2 * math.log1p(-min(q, groups) / (groups + c))
        for c, weight in PRIORS
    ]
    highest = max(terms)
    return highest + math.log(sum(math.exp(term - highest) for term in terms))


def _limit(groups: int, level: float) -> float | None:
    """The q at which e = 1 / level; None where no q of so many groups reaches it."""
    needed, low, high = -math.log(level), 0.0, float(groups)
    if not groups or _log_e(high, groups) <= needed:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _log_e(middle, groups) > needed else (middle, high)
    return high
