"""Calibration: P(a preferred) = s(margin / T), with s the logistic function and one temperature T.

T is fitted on people's judgments (Guo and others, On Calibration of Modern Neural Networks, 2017). Swapping a
and b (margin -> -margin, outcome -> 1 - outcome) changes no figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Numbers = Sequence[float] | Vector

NEEDED = 100
BINS = 10
EDGES = np.linspace(0.5, 1, BINS + 1)
BOUNDS = (0.05, 1000.0)  # times the root mean square of the margins


class NotEnoughData(ValueError):
    """Too few judgments to fit a temperature."""

    def __init__(self, have: int) -> None:
        super().__init__(f"not enough data: {have} votes, calibration needs {NEEDED}")
        self.have = have


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature in logits, fitted on `n` judgments; log-loss and ECE of `measured_on` judgments.

    "Before" is at temperature 1. Log-loss is in nats a judgment; a tie adds at least log 2. ECE, the expected
    calibration error, is from 0 to 0.5.
    """

    temperature: float
    n: int
    measured_on: int
    log_loss_before: float
    log_loss_after: float
    ece_before: float
    ece_after: float


@dataclass(frozen=True, slots=True)
class Bin:
    """Judgments with the model's probability of its own choice between `lower` and `upper`.

    `predicted` is the mean probability, `observed` the share of people with the same choice (a tie counts
    one half), `low` and `high` its 95 % Wilson interval. An empty bin has NaN for all four.
    """

    lower: float
    upper: float
    n: int
    predicted: float
    observed: float
    low: float
    high: float


def fit_temperature(
    margins: Numbers, outcomes: Numbers, *, held_out: tuple[Numbers, Numbers] | None = None
) -> Calibration:
    """argmin over T of log_loss(margins, outcomes, T), and log-loss and ECE before and after.

    `margins`: (N,) score of a - score of b. `outcomes`: (N,) 1 where people preferred a, 0 for b, 0.5 for a
    tie. `held_out`: (margins, outcomes) of other judgments to measure on. T is between 0.05 and 1,000 times
    sqrt(mean(margins^2)); a model that people mostly contradict gets the upper bound, where every
    probability is about one half. Raises NotEnoughData for fewer than 100 judgments or none held out,
    ValueError for numbers out of range.
    """
    margin, outcome = checked(margins, outcomes)
    if len(margin) < NEEDED:
        raise NotEnoughData(len(margin))
    measured = checked(*held_out) if held_out is not None else (margin, outcome)
    if not len(measured[0]):
        raise NotEnoughData(0)
    temperature = _least_loss(margin, outcome)
    return Calibration(
        temperature=temperature,
        n=len(margin),
        measured_on=len(measured[0]),
        log_loss_before=log_loss(*measured, 1.0),
        log_loss_after=log_loss(*measured, temperature),
        ece_before=expected_calibration_error(*measured, 1.0),
        ece_after=expected_calibration_error(*measured, temperature),
    )


def log_loss(
    margins: Numbers, outcomes: Numbers, temperature: float, weights: Numbers | None = None
) -> float:
    """Weighted mean of `losses` at margin / temperature, in nats. All arrays: (N,)."""
    margin, outcome = checked(margins, outcomes)
    return float(np.average(losses(margin / temperature, outcome), weights=weights))


def losses(logit: Vector, outcome: Vector) -> Vector:
    """(N,) -[y log p + (1 - y) log(1 - p)] = log(1 + e^x) - y x in nats, with p = s(x), x the logit."""
    return np.logaddexp(0, logit) - outcome * logit


def calibrated_losses(margins: Numbers, outcomes: Numbers) -> Vector:
    """(N,) losses in nats at the temperature at which these margins have the least: what the order of their
    probabilities is worth, whatever their scale."""
    margin, outcome = checked(margins, outcomes)
    return losses(margin / _least_loss(margin, outcome), outcome)


def expected_calibration_error(
    margins: Numbers, outcomes: Numbers, temperature: float, weights: Numbers | None = None
) -> float:
    """sum over bins of w_bin |predicted - observed| / sum of w_bin, with the bins of `reliability`."""
    margin, outcome = checked(margins, outcomes)
    weight = np.ones(len(margin)) if weights is None else np.asarray(weights, dtype=np.float64)
    confidence, agreed, place = _confidence(margin, outcome, temperature)
    gaps = np.bincount(place, weight * (confidence - agreed), BINS)
    return float(np.abs(gaps).sum() / weight.sum())


def reliability(margins: Numbers, outcomes: Numbers, temperature: float) -> list[Bin]:
    """The reliability diagram: ten equal bins of the probability of the model's choice, from 0.5 to 1."""
    confidence, agreed, place = _confidence(*checked(margins, outcomes), temperature)
    return [
        _bin(EDGES[number], EDGES[number + 1], confidence[place == number], agreed[place == number])
        for number in range(BINS)
    ]


def _confidence(
    margin: Vector, outcome: Vector, temperature: float
) -> tuple[Vector, Vector, npt.NDArray[np.intp]]:
    """(N,) each: probability of the model's choice, share of people with the same choice, and bin."""
    confidence = 1 / (1 + np.exp(-np.abs(margin) / temperature))
    # Without a margin there is no choice to agree with, and swapping must not matter.
    agreed = np.where(margin > 0, outcome, np.where(margin < 0, 1 - outcome, 0.5))
    return confidence, agreed, np.minimum(np.searchsorted(EDGES, confidence, side="right") - 1, BINS - 1)


def _bin(lower: float, upper: float, confidence: Vector, agreed: Vector) -> Bin:
    if not len(agreed):
        return Bin(float(lower), float(upper), 0, math.nan, math.nan, math.nan, math.nan)
    observed = float(agreed.mean())
    low, high = wilson(observed, len(agreed))
    return Bin(float(lower), float(upper), len(agreed), float(confidence.mean()), observed, low, high)


def wilson(share: float, n: float, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson (1927) interval of a share seen in n draws, 95 % with z = 1.96."""
    middle = share + z**2 / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At the ends the bound is the end itself; rounding would leave it a hair inside.
    low = (middle - reach) / (1 + z**2 / n) if share > 0 else 0.0
    return low, (middle + reach) / (1 + z**2 / n) if share < 1 else 1.0


def _least_loss(margin: Vector, outcome: Vector) -> float:
    """T by bisection on the slope of log-loss over 1 / T, which rises; at most the bounds."""
    scale = float(np.sqrt(np.mean(margin**2)))
    if scale == 0:
        return 1.0  # every temperature fits margins of zero

    def slope(inverse: float) -> float:
        logit = np.clip(margin * inverse, -500, 500)
        return float(np.mean(margin * (1 / (1 + np.exp(-logit)) - outcome)))

    low, high = 1 / (BOUNDS[1] * scale), 1 / (BOUNDS[0] * scale)
    while high / low > 1 + 1e-9:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / math.sqrt(low * high)


def checked(margins: Numbers, outcomes: Numbers) -> tuple[Vector, Vector]:
    """Margins and outcomes as (N,) arrays. Raises ValueError for other shapes and numbers out of range."""
    margin, outcome = np.asarray(margins, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if margin.shape != outcome.shape or margin.ndim != 1:
        raise ValueError(f"{margin.shape} margins don't match {outcome.shape} outcomes")
    if not np.isfinite(margin).all():
        raise ValueError(f"margin {int(np.flatnonzero(~np.isfinite(margin))[0])} is not a number")
    if not ((outcome >= 0) & (outcome <= 1)).all():
        raise ValueError("an outcome is 1, 0 or 0.5")
    return margin, outcome
