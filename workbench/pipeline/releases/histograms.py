"""Small histograms of what a Release can be narrowed by, with the values that a slider over them has."""

import math
from dataclasses import dataclass
from datetime import date

import numpy as np

from workbench.pipeline.data.columns import Array
from workbench.pipeline.releases.counting import Counted

MOST_BARS = 24
WIDE, TALL = 240, 40
STEPS = (1, 1.5, 2, 3, 4, 5, 7)
"""Limits of lengths in each power of ten: small differences matter among short texts alone."""


@dataclass(frozen=True)
class Bar:
    """One bar of the picture: `kept` is the part of it that passes all filters."""

    x: float
    width: float
    height: float
    kept: float

    @property
    def y(self) -> float:
        return TALL - self.height

    @property
    def kept_y(self) -> float:
        return TALL - self.kept


@dataclass(frozen=True)
class Histogram:
    """lows, highs: the least and the largest value of each bar, as the form takes them; total, kept: how many
    each bar has, and how many of them pass all filters."""

    lows: list[str]
    highs: list[str]
    total: list[int]
    kept: list[int]

    @property
    def bars(self) -> list[Bar]:
        most = max(self.total)
        width = WIDE / len(self.total)
        return [
            Bar(
                round(place * width + 0.5, 2),
                round(width - 1, 2),
                *(round(TALL * n / most, 2) for n in (total, kept)),
            )
            for place, (total, kept) in enumerate(zip(self.total, self.kept, strict=True))
        ]

    @property
    def in_words(self) -> str:
        """The picture as one sentence."""
        fullest = max(range(len(self.total)), key=self.total.__getitem__)
        share = round(100 * self.total[fullest] / sum(self.total))
        low, high = self.lows[fullest], self.highs[fullest]
        where = low if low == high else f"{low} to {high}"
        return f"{self.lows[0]} to {self.highs[-1]}; most often {where}, {share} % of all"


def histograms(found: Counted) -> dict[str, Histogram]:
    """By the name of the filter. Without those of which nothing is known."""
    pairs, decided = found.columns.pairs, found.decided
    kept = found.passing[decided]
    votes = pairs["label_votes"].astype(np.float64)
    votes[votes == 0] = np.nan
    numbers = {
        "votes": votes,
        "agreement": 100 * pairs["label_votes_for"] / votes,
        "posterior": 100 * pairs["probability"],
        "confidence": _confidence(found),
        "days": np.where(pairs["last"] > 0, pairs["last"], np.nan),
    }
    found_histograms = {}
    for name, column in numbers.items():
        if histogram := _drawn(name, column[decided], kept):
            found_histograms[name] = histogram
    # Both answers of a pair count: the shorter one must be long enough, and the longer one short enough.
    lengths = np.concatenate([pairs["shorter"][decided], pairs["longer"][decided]]).astype(np.float64)
    if histogram := _drawn("length", lengths, np.concatenate([kept, kept])):
        found_histograms["length"] = histogram
    return found_histograms


def _confidence(found: Counted) -> Array:
    margins = np.abs(found.columns.pairs["margin"].astype(np.float64))
    if found.version is None or found.version.temperature is None:
        return np.full(len(margins), np.nan)
    return np.asarray(100 / (1 + np.exp(-margins / found.version.temperature)))


def _drawn(name: str, numbers: Array, kept: Array) -> Histogram | None:
    known = ~np.isnan(numbers)
    numbers, kept = numbers[known], kept[known]
    if not len(numbers):
        return None
    limits = _limits(name, float(numbers.min()), float(numbers.max()))
    at = np.searchsorted(limits, numbers, side="right") - 1
    at = at.clip(0, len(limits) - 2)  # 100 % belongs to the last bar
    lows, ends = limits[:-1], limits[1:]
    highs = ends if name in ("agreement", "posterior", "confidence") else [end - 1 for end in ends]
    return Histogram(
        lows=[_said(name, value) for value in lows],
        highs=[_said(name, value) for value in highs],
        total=np.bincount(at, minlength=len(lows)).tolist(),
        kept=np.bincount(at[kept], minlength=len(lows)).tolist(),
    )


def _limits(name: str, least: float, most: float) -> list[float]:
    """The least value of each bar, and the end of the last one."""
    if name == "length":
        powers = range(max(len(str(int(most))), 1))
        steps = sorted({0.0, *(math.ceil(step * 10**power) for power in powers for step in STEPS)})
        lowest = max(limit for limit in steps if limit <= least)
        return [*(limit for limit in steps if lowest <= limit <= most), most + 1]
    if name in ("agreement", "posterior", "confidence"):
        step = 2 if name == "confidence" else 5
        first = int(min(least, 95)) // step * step
        return [float(limit) for limit in range(first, 100 + step, step)]
    width = math.ceil((most - least + 1) / MOST_BARS)
    bars = math.ceil((most - least + 1) / width)
    return [least + width * place for place in range(bars + 1)]


def _said(name: str, value: float) -> str:
    return date.fromordinal(int(value)).isoformat() if name == "days" else f"{value:g}"
