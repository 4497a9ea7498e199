"""A figure with its interval, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scoring.calibrate import wilson
from scoring.evaluate import percentile_interval, resample

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ENOUGH = 10
"""Under so many units an interval is wider than half of the scale: nothing is said."""

ENOUGH_PROMPTS = 5
"""Under so many prompts nothing is known of how prompts differ."""

REPLICATES = 1_000


@dataclass(frozen=True)
class Figure:
    """`value` with its 95 % interval from `low` to `high`, from `n` units under `prompts` prompts (0 where
    prompts play no part). All three are None where there is not enough data, or where the figure is not
    defined (everybody always says the same); `why` says which."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    prompts: int = 0
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """Rounded to six places, which no interval here is good for."""
        rounded = {name: round(x, 6) if isinstance(x, float) else x for name, x in asdict(self).items()}
        return {name: x for name, x in rounded.items() if name != "why" or x}


def known(figure: Mapping[str, Any] | None) -> bool:
    """Whether a Figure, as a report stores it, has a value."""
    return figure is not None and figure["value"] is not None


def unknown(n: int, prompts: int = 0, why: str = "not enough data") -> Figure:
    """A figure that cannot be given."""
    return Figure(None, None, None, n, prompts, why)


def summed(values: Matrix, cluster: Index) -> Matrix:
    """Rows of `values` (N, S) added up by cluster (N, any numbers): one row a cluster that occurs."""
    if not len(values):
        return np.zeros((0, values.shape[1]))
    _, place = np.unique(cluster, return_inverse=True)
    size = int(place.max()) + 1
    return np.stack([np.bincount(place, values[:, s], size) for s in range(values.shape[1])], axis=1)


def bootstrap(
    sums: Matrix, statistics: Sequence[Callable[[Matrix], Vector]], *, n: int, prompts: int | None = None
) -> list[Figure]:
    """Statistics of sums over prompts, with the intervals of one bootstrap that draws whole prompts (see
    `scoring.evaluate.resample`): opinions under one prompt are not independent.

    sums: (prompts, S), what each prompt adds; a statistic: (..., S) -> (...), of the added sums; n: units
    that they came from; prompts: how many of them say anything, where that is not all. Always the same
    numbers for the same sums.
    """
    known = len(sums) if prompts is None else prompts
    if n < ENOUGH or known < ENOUGH_PROMPTS:
        return [unknown(n, known)] * len(statistics)
    drawn = resample(sums, resamples=REPLICATES)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = [(float(statistic(sums.sum(axis=0))), statistic(drawn)) for statistic in statistics]
    return [_bounded(value, replicates, n, known) for value, replicates in found]


def _bounded(value: float, replicates: Vector, n: int, prompts: int) -> Figure:
    interval = percentile_interval(replicates, prompts)
    if not np.isfinite(value) or interval is None:
        return unknown(n, prompts, "not defined: all votes are the same")
    return Figure(value, *interval, n, prompts)


def ratio(sums: Matrix) -> Vector:
    """First column by the second: a share or a mean, as `bootstrap` wants it."""
    found: Vector = sums[..., 0] / sums[..., 1]
    return found


def wilson_share(k: float, n: int) -> Figure:
    """A share k of n independent answers, of one annotator for one."""
    if n < ENOUGH:
        return unknown(n)
    low, high = wilson(k / n, n)
    return Figure(k / n, low, high, n)


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
