"""A figure with its interval, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scoring.evaluate import percentile_interval, resample
from workbench.pipeline.quality.reports import StoredFigure
from workbench.pipeline.quality.shares import Share

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ENOUGH = 10
"""With fewer units, an interval is wider than half of the scale."""

ENOUGH_PROMPTS = 5
"""With fewer prompts, nothing is known of how prompts differ."""

REPLICATES = 1_000


@dataclass(frozen=True)
class Figure:
    """`value` with its 95 % interval from `low` to `high`, from `n` units under `prompts` prompts (0 where
    prompts play no part). All three are None where there is not enough data, or where the figure is not
    defined, as all opinions are the same; `why` gives the reason."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    prompts: int = 0
    why: str = ""

    def as_json(self) -> StoredFigure:
        """Rounded to six places, more than any interval here is good for."""
        value, low, high = (None if x is None else round(x, 6) for x in (self.value, self.low, self.high))
        stored: StoredFigure = {
            "value": value,
            "low": low,
            "high": high,
            "n": self.n,
            "prompts": self.prompts,
        }
        return {**stored, "why": self.why} if self.why else stored


def unknown(n: int, prompts: int = 0, why: str = "not enough data") -> Figure:
    """A figure without a value."""
    return Figure(None, None, None, n, prompts, why)


def summed(values: Matrix, cluster: Index) -> Matrix:
    """Sums of `values` (N, S) by cluster (N,): one row a cluster."""
    if not len(values):
        return np.zeros((0, values.shape[1]))
    _, place = np.unique(cluster, return_inverse=True)
    size = int(place.max()) + 1
    return np.stack([np.bincount(place, values[:, s], size) for s in range(values.shape[1])], axis=1)


def bootstrap(
    sums: Matrix, statistics: Sequence[Callable[[Matrix], Vector]], *, n: int, prompts: int | None = None
) -> list[Figure]:
    """Statistics of sums over prompts, with the intervals of one bootstrap. The bootstrap draws whole prompts
    (see `scoring.evaluate.resample`), as opinions under one prompt are not independent.

    sums: (prompts, S), the terms of each prompt; a statistic: (..., S) -> (...), of the sums of these; n:
    units behind the sums; prompts: the number with data, if not all. Deterministic."""
    with_data = len(sums) if prompts is None else prompts
    if n < ENOUGH or with_data < ENOUGH_PROMPTS:
        return [unknown(n, with_data)] * len(statistics)
    drawn = resample(sums, resamples=REPLICATES)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = [(float(statistic(sums.sum(axis=0))), statistic(drawn)) for statistic in statistics]
    return [_bounded(value, replicates, n, with_data) for value, replicates in values]


def _bounded(value: float, replicates: Vector, n: int, prompts: int) -> Figure:
    interval = percentile_interval(replicates, prompts)
    if not np.isfinite(value) or interval is None:
        return unknown(n, prompts, "not defined: all votes are the same")
    return Figure(value, *interval, n, prompts)


def ratio(sums: Matrix) -> Vector:
    """First column / second column, a statistic for `bootstrap`."""
    quotient: Vector = sums[..., 0] / sums[..., 1]
    return quotient


def wilson_share(share: Share) -> Figure:
    """A share of independent answers, such as the answers of one annotator."""
    if share.n < ENOUGH:
        return unknown(share.n)
    return Figure(share.value, share.low, share.high, share.n)


def median(values: Vector) -> Figure:
    """The median with the interval of its order statistics, free of any distribution (Conover, Practical
    Nonparametric Statistics, 1999, section 3.2; normal approximation of the ranks)."""
    n = len(values)
    if n < ENOUGH:
        return unknown(n)
    reach = 1.959964 * np.sqrt(n) / 2
    low, high = max(0, int(np.floor(n / 2 - reach))), min(n - 1, int(np.ceil(n / 2 + reach)))
    ordered = np.partition(values, [low, high])
    return Figure(float(np.median(values)), float(ordered[low]), float(ordered[high]), n)
