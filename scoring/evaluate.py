"""Accuracy and calibration of a model against people, and the comparison of two models.

All figures are computed from three arrays of N pairs:
- `margins`: score of a - score of b, in logits;
- `outcomes`: 1 where people preferred a, 0 for b, 0.5 for a tie; a value in between counts for the likelier
  side;
- `groups`: the prompt group.

Swapping a and b (margin -> -margin, outcome -> 1 - outcome) changes no figure. Pairs of one prompt are not
independent, so intervals resample whole prompt groups (Field and Welsh, Bootstrapping clustered data, 2007).
Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from scoring import shares
from scoring.anytime import GroupTotals, p_value
from scoring.calibrate import Numbers, Vector, checked, expected_calibration_error, log_loss, losses, wilson

Labels = Sequence[Any] | npt.NDArray[Any]
Interval = tuple[float, float]

NEEDED_IN_SLICE = 30  # decided pairs in a slice; with fewer, "not enough data"
CLUSTERS = 4096  # more prompt groups are resampled in bundles
ALIKE = 0.1  # |a - b| / max(a, b) below which two lengths are alike


@dataclass(frozen=True, slots=True)
class Slice:
    """The pairs with the label `label` of `name`.

    `n` counts decided pairs. With fewer than 30, all figures are None: not enough data.
    """

    name: str
    label: str
    n: int
    ties: int
    accuracy: float | None
    wilson: Interval | None
    clustered: Interval | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model against people. None: not enough data, or no temperature was given.

    `n` = `ties` + `decided`. Accuracy is over decided pairs; the `equal` pairs have equal scores and count
    one half each. `wilson` and `clustered` are 95 % intervals of the accuracy, for independent pairs and for
    independent groups. Log-loss (nats a pair), Brier score and ECE are over all pairs, at temperature 1, and
    at `temperature` as `calibrated_...`. With m = |margin|, `auc_right` = P(m of a right pair > m of a wrong
    pair) and `auc_decided` = P(m of a decided pair > m of a tie).
    """

    n: int
    ties: int
    decided: int
    equal: int
    groups: int
    accuracy: float | None
    wilson: Interval | None
    clustered: Interval | None
    log_loss: float | None
    brier: float | None
    ece: float | None
    temperature: float | None
    calibrated_log_loss: float | None
    calibrated_brier: float | None
    calibrated_ece: float | None
    auc_right: float | None
    auc_decided: float | None
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class SliceDifference:
    """New minus old accuracy on one slice. `p` is scoring.anytime's, by prompt group and valid however often
    somebody looks; `holm_p` is corrected for all slices."""

    name: str
    label: str
    n: int
    n01: int
    n10: int
    difference: float | None
    clustered: Interval | None
    p: float | None
    holm_p: float | None


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Two models on the same pairs; differences are new - old.

    `n` counts decided pairs; the new model is better on `n01` of these and worse on `n10`, and both are
    right on `both_right`. `p` is the two-sided exact McNemar test for independent pairs. `accuracy_interval`
    and `log_loss_interval` are 95 % paired bootstraps over prompt groups. A better model has a positive
    difference of accuracy and a negative difference of log-loss. `totals` are the sums over prompt groups
    that scoring.anytime weighs; None without decided pairs.
    """

    n: int
    ties: int
    groups: int
    new_accuracy: float | None
    old_accuracy: float | None
    n01: int
    n10: int
    both_right: int
    p: float | None
    accuracy_difference: float | None
    accuracy_interval: Interval | None
    log_loss_difference: float | None
    log_loss_interval: Interval | None
    slices: tuple[SliceDifference, ...]
    totals: GroupTotals | None = None


def evaluate(
    margins: Numbers,
    outcomes: Numbers,
    groups: Labels,
    *,
    temperature: float | None = None,
    slices: Mapping[str, Labels] | None = None,
    weights: Numbers | None = None,
    seed: int = 0,
) -> Evaluation:
    """All figures of one model against people.

    `slices`: name -> (N,) labels; a pair with the label None is in no slice of that name. `weights` (N,):
    inverse chances of being sampled; Wilson's n is then Kish's effective n. Raises ValueError for arrays of
    different lengths and numbers out of range.
    """
    margin, outcome = checked(margins, outcomes)
    weight = _weights(weights, len(margin))
    group = _codes(groups, len(margin))
    ties = outcome == 0.5
    decided = ~ties
    right = right_shares(margin, outcome)
    parts = [("", "", np.ones(len(margin), dtype=bool)), *_parts(slices, len(margin))]
    # All slices share one set of resamples, so a hundred slices cost little more than one.
    part_weights = [weight * (part & decided) for _, _, part in parts]
    sums = _group_sums([column for w in part_weights for column in (right * w, w)], group)
    totals = resample(sums, seed=seed)  # (R, 2 x slices)
    rows = []
    for place, (name, label, part) in enumerate(parts):
        chosen = part & decided
        enough = chosen.sum() >= (NEEDED_IN_SLICE if place else 1)
        accuracy = _mean(right[chosen], weight[chosen]) if enough else None
        groups_in_part = len(np.unique(group[chosen]))
        rows.append(
            Slice(
                name=name,
                label=label,
                n=int(chosen.sum()),
                ties=int((part & ties).sum()),
                accuracy=accuracy,
                wilson=None if accuracy is None else wilson(accuracy, effective_n(weight[chosen])),
                clustered=_ratio_interval(totals[:, 2 * place : 2 * place + 2], groups_in_part)
                if enough
                else None,
            )
        )
    whole, *slice_rows = rows
    figures = _probabilities(margin, outcome, weight, 1.0)
    calibrated = _probabilities(margin, outcome, weight, temperature)
    size = np.abs(margin)
    return Evaluation(
        n=len(margin),
        ties=whole.ties,
        decided=whole.n,
        equal=int((margin[decided] == 0).sum()),
        groups=len(np.unique(group)),
        accuracy=whole.accuracy,
        wilson=whole.wilson,
        clustered=whole.clustered,
        log_loss=figures[0],
        brier=figures[1],
        ece=figures[2],
        temperature=temperature,
        calibrated_log_loss=calibrated[0],
        calibrated_brier=calibrated[1],
        calibrated_ece=calibrated[2],
        auc_right=auc(size[decided], right[decided], weight[decided]),
        auc_decided=auc(size, decided.astype(np.float64), weight),
        slices=tuple(slice_rows),
    )


def compare(
    new: Numbers,
    old: Numbers,
    outcomes: Numbers,
    groups: Labels,
    *,
    temperatures: tuple[float, float] = (1.0, 1.0),
    slices: Mapping[str, Labels] | None = None,
    seed: int = 0,
) -> PairedComparison:
    """Compare the margins of two models, `new` and `old`, both (N,), on the same pairs.

    `temperatures` (new, old) change the log-loss alone. Accuracy and the tests are over decided pairs.
    Equal scores count as half right, so such a pair is discordant with right and with wrong.
    """
    newer, outcome = checked(new, outcomes)
    older, _ = checked(old, outcomes)
    group = _codes(groups, len(newer))
    decided = outcome != 0.5
    right, was_right = right_shares(newer, outcome), right_shares(older, outcome)
    gain = right - was_right
    loss_change = losses(newer / temperatures[0], outcome) - losses(older / temperatures[1], outcome)
    parts = [("", "", np.ones(len(newer), dtype=bool)), *_parts(slices, len(newer))]
    columns = [loss_change, np.ones(len(newer))]
    for _, _, part in parts:
        columns += [gain * (part & decided), (part & decided).astype(np.float64)]
    totals = resample(_group_sums(columns, group), seed=seed)
    rows = []
    for place, (name, label, part) in enumerate(parts):
        chosen = part & decided
        enough = chosen.sum() >= (NEEDED_IN_SLICE if place else 1)
        n01, n10 = int((gain[chosen] > 0).sum()), int((gain[chosen] < 0).sum())
        pair = totals[:, 2 * place + 2 : 2 * place + 4]
        rows.append(
            SliceDifference(
                name=name,
                label=label,
                n=int(chosen.sum()),
                n01=n01,
                n10=n10,
                difference=float(gain[chosen].mean()) if enough else None,
                clustered=_ratio_interval(pair, len(np.unique(group[chosen]))) if enough else None,
                p=p_value(GroupTotals.of(gain[chosen], group[chosen])) if enough else None,
                holm_p=None,
            )
        )
    whole, *slice_rows = rows
    count = len(np.unique(group))
    return PairedComparison(
        n=whole.n,
        ties=len(newer) - whole.n,
        groups=count,
        new_accuracy=float(right[decided].mean()) if whole.n else None,
        old_accuracy=float(was_right[decided].mean()) if whole.n else None,
        n01=whole.n01,
        n10=whole.n10,
        both_right=int(((right == 1) & (was_right == 1) & decided).sum()),
        p=mcnemar(whole.n01, whole.n10) if whole.n else None,
        accuracy_difference=whole.difference,
        accuracy_interval=whole.clustered,
        log_loss_difference=float(loss_change.mean()) if len(newer) else None,
        log_loss_interval=_ratio_interval(totals[:, :2], count),
        slices=_holm_corrected(slice_rows),
        totals=GroupTotals.of(gain[decided], group[decided]) if whole.n else None,
    )


def resample(sums: Vector, *, resamples: int = 2000, seed: int = 0) -> Vector:
    """Totals over groups drawn with replacement: (G, K) sums per group -> (R, K), one row a resample.

    A function of sums over pairs can be computed on each row; `percentile_interval` bounds the results. More
    than 4,096 groups are first put at random into 4,096 bundles, which are independent too.
    """
    draw = np.random.default_rng(seed)
    if len(sums) > CLUSTERS:
        bundle = draw.permutation(len(sums)) % CLUSTERS
        sums = np.stack([np.bincount(bundle, column, CLUSTERS) for column in sums.T], axis=1)
    groups = len(sums)
    totals = np.empty((resamples, sums.shape[1]))
    step = max(1, 2**20 // max(1, groups))
    for start in range(0, resamples if groups else 0, step):
        rows = min(step, resamples - start)
        drawn = draw.integers(0, groups, (rows, groups)) + np.arange(rows)[:, None] * groups
        times = np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups)
        totals[start : start + rows] = times.astype(np.float64) @ sums
    return totals if groups else np.full_like(totals, np.nan)


def percentile_interval(replicates: Vector, groups: int) -> Interval | None:
    """95 % interval of a statistic from its (R,) values on resamples of `groups` groups; None below two.

    Plain percentiles are too narrow for few groups. Here tail = ndtr(sqrt(G / (G - 1)) t(0.025, G - 1)), the
    expanded percentile interval of Hesterberg (What Teachers Should Know About the Bootstrap, 2015).
    """
    from scipy.special import ndtr, stdtrit  # takes a second to import; many callers need no interval

    finite = replicates[np.isfinite(replicates)]
    if groups < 2 or not len(finite):
        return None
    tail = float(ndtr(math.sqrt(groups / (groups - 1)) * stdtrit(groups - 1, 0.025)))
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def mcnemar(n01: int, n10: int) -> float:
    """Exact two-sided p of McNemar's test: binomial test of n01 in n01 + n10 at 1/2."""
    from scipy.stats import binomtest

    return float(binomtest(n01, n01 + n10).pvalue) if n01 + n10 else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down correction, in the order given."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def auc(values: Numbers, positive: Numbers, weights: Numbers | None = None) -> float | None:
    """P(value of a positive > value of a negative) + P(equal) / 2.

    `positive` (N,) is 1, 0, or a share in between. None without positives or without negatives.
    """
    value, yes = np.asarray(values, dtype=np.float64), np.asarray(positive, dtype=np.float64)
    weight = _weights(weights, len(value))
    levels, place = np.unique(value, return_inverse=True)
    up = np.bincount(place, weight * yes, len(levels))
    down = np.bincount(place, weight * (1 - yes), len(levels))
    if not up.sum() or not down.sum():
        return None
    below = np.cumsum(down) - down / 2
    return float((up * below).sum() / (up.sum() * down.sum()))


def human_ceiling(agreement: float, votes: int = 1) -> float:
    """The accuracy of a perfect model against labels of this quality.

    `agreement` = P(two people choose the same side). People who err independently with chance q agree with
    chance 1 - 2q(1 - q), so q = (1 - sqrt(2 agreement - 1)) / 2. The ceiling is P(fewer than half of `votes`
    err), with `votes` odd; it is 0.5 for an agreement of 0.5 or less.
    """
    error = (1 - math.sqrt(max(0.0, 2 * agreement - 1))) / 2
    return sum(
        math.comb(votes, wrong) * error**wrong * (1 - error) ** (votes - wrong)
        for wrong in range((votes + 1) // 2)
    )


NEEDED_DOUBLE_VOTES = 30
"""Pairs judged by two people; with fewer, the ceiling is only a guess."""


def above_ceiling(share: float | None, ceiling: float | None, double_votes: int = NEEDED_DOUBLE_VOTES) -> str:
    """A warning for a share above the human ceiling; "" otherwise, and for too few pairs of two votes."""
    if share is None or ceiling is None or double_votes < NEEDED_DOUBLE_VOTES or share <= ceiling:
        return ""
    over = f"{shares.size(share - ceiling)} above the human ceiling of {shares.in_words(ceiling)}"
    return (
        f"{shares.in_words(share)} is {over}: people do not agree that well with each other. The model may "
        "have learnt these labels, or the labels follow the model."
    )


def by_length(a_lengths: Numbers, b_lengths: Numbers, outcomes: Numbers) -> list[str | None]:
    """Labels of the slice `length`: the preferred completion is longer, shorter or alike. None for ties.

    Lengths (N,) are in any unit; a and b are alike if |a - b| < 0.1 max(a, b).
    """
    a, b = np.asarray(a_lengths, dtype=np.float64), np.asarray(b_lengths, dtype=np.float64)
    outcome = np.asarray(outcomes, dtype=np.float64)
    difference = np.where(outcome > 0.5, a - b, b - a)
    alike = np.abs(difference) < ALIKE * np.maximum(a, b)
    names = np.where(difference > 0, "preferred is longer", "preferred is shorter")
    return [
        None if tie else "alike in length" if same or not gap else str(name)
        for tie, same, gap, name in zip(outcome == 0.5, alike, difference, names, strict=True)
    ]


def effective_n(weights: Vector) -> float:
    """Kish's effective number of draws: sum(w)^2 / sum(w^2)."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def right_shares(margin: Vector, outcome: Vector) -> Vector:
    """(N,) (sign(margin) sign(outcome - 1/2) + 1) / 2: 1 for right, 0 for wrong, 1/2 for equal scores."""
    return (np.sign(margin) * np.sign(outcome - 0.5) + 1) / 2


def _probabilities(
    margin: Vector, outcome: Vector, weight: Vector, temperature: float | None
) -> tuple[float | None, float | None, float | None]:
    """Log-loss, Brier score and ECE at a temperature."""
    if temperature is None or not len(margin):
        return None, None, None
    probability = np.exp(-np.logaddexp(0, -margin / temperature))
    return (
        log_loss(margin, outcome, temperature, weight),
        _mean((probability - outcome) ** 2, weight),
        expected_calibration_error(margin, outcome, temperature, weight),
    )


def _mean(values: Vector, weights: Vector) -> float:
    return float((values * weights).sum() / weights.sum())


def _group_sums(columns: Sequence[Vector], group: npt.NDArray[np.intp]) -> Vector:
    """K columns of (N,) -> (G, K) sums per group."""
    size = int(group.max()) + 1 if len(group) else 0
    return np.stack([np.bincount(group, column, size) for column in columns], axis=1)


def _ratio_interval(totals: Vector, groups: int) -> Interval | None:
    """Interval of totals[:, 0] / totals[:, 1], without the resamples that hold no pair of the slice."""
    filled = totals[:, 1] > 0
    return percentile_interval(totals[filled, 0] / totals[filled, 1], groups)


def _holm_corrected(rows: Sequence[SliceDifference]) -> tuple[SliceDifference, ...]:
    corrected = iter(holm([row.p for row in rows if row.p is not None]))
    return tuple(row if row.p is None else replace(row, holm_p=next(corrected)) for row in rows)


def _parts(slices: Mapping[str, Labels] | None, n: int) -> list[tuple[str, str, npt.NDArray[np.bool_]]]:
    """(name, label, membership (N,)) of every slice, labels in sorted order."""
    parts = []
    for name, labels in (slices or {}).items():
        if len(labels) != n:
            raise ValueError(f"slice {name} has {len(labels)} labels for {n} pairs")
        texts = [None if label is None else str(label) for label in labels]
        unique, place = np.unique([text or "" for text in texts], return_inverse=True)
        labelled = np.array([text is not None for text in texts], dtype=bool)
        for number, label in enumerate(unique.tolist()):
            if (member := (place == number) & labelled).any():
                parts.append((name, label, member))
    return parts


def _codes(groups: Labels, n: int) -> npt.NDArray[np.intp]:
    """Group labels as integers from 0, by sorted label: so the order of pairs changes no interval."""
    if len(groups) != n:
        raise ValueError(f"{len(groups)} group labels don't match {n} pairs")
    labels = groups.tolist() if isinstance(groups, np.ndarray) else groups
    place = {label: number for number, label in enumerate(sorted(set(labels)))}
    return np.fromiter((place[label] for label in labels), dtype=np.intp, count=n)


def _weights(weights: Numbers | None, n: int) -> Vector:
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != (n,):
        raise ValueError(f"{weight.shape} weights don't match {n} pairs")
    if not (np.isfinite(weight) & (weight > 0)).all():
        raise ValueError("a weight is a number above zero")
    return weight
