"""How far people agree on the better answer: raw, Krippendorff's alpha, Gwet's AC1; and the human ceiling.

Counts are by completion (a, b) in canonical order, never by the side on which a completion was shown: by
random sides, any two people would seem to toss coins."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median_low

import numpy as np

from scoring.evaluate import human_ceiling
from workbench.pipeline.quality.figures import (
    Figure,
    Index,
    Mask,
    Matrix,
    Vector,
    bootstrap,
    ratio,
    summed,
    unknown,
)


@dataclass(frozen=True)
class Agreement:
    """units: the number of Comparisons with two opinions or more, which is n of each figure; opinions: their
    number on these Comparisons.

    raw: mean over units of the share of pairs of opinions that are the same; alpha: Krippendorff's, nominal;
    alpha_ordinal: Krippendorff's, with b < neither < a; ac1: Gwet's."""

    units: int
    opinions: int
    raw: Figure
    alpha: Figure
    alpha_ordinal: Figure
    ac1: Figure


def agreement(counts: Matrix, prompt: Index, scale: Index) -> Agreement:
    """counts: (units, K), opinions by outcome; prompt: (units,), drawn whole by the bootstrap; scale: (K,),
    the place of each outcome on the ordinal scale, from 0 on. Outcomes at one place of the scale are equal.
    """
    categories = int((counts.sum(axis=0) > 0).sum())
    sums = summed(unit_sums(counts), prompt)
    size = counts.shape[1]
    shared = counts[counts.sum(axis=1) >= 2]

    def coincidences(added: Matrix) -> Matrix:
        return added[..., 3 + size :].reshape(*added.shape[:-1], size, size)

    def ordinal(added: Matrix) -> Vector:
        merge = np.eye(int(scale.max()) + 1)[scale]
        return alpha_of(merge.T @ coincidences(added) @ merge, ordinal=True)

    statistics = [
        ratio,
        lambda added: alpha_of(coincidences(added)),
        ordinal,
        lambda added: _ac1(added, size, categories),
    ]
    prompts = int((sums[:, 1] > 0).sum())
    figures = bootstrap(sums, statistics, n=len(shared), prompts=prompts)
    return Agreement(len(shared), int(shared.sum()), *figures)


def unit_sums(counts: Matrix) -> Matrix:
    """(units, 3 + K + K * K), the terms of each unit: share of pairs of opinions that agree, 1 for two
    opinions or more, 1 for one opinion or more, share of each outcome, and coincidences of outcomes."""
    size = counts.shape[1]
    opinions = counts.sum(axis=1)
    two_or_more, one_or_more = opinions >= 2, opinions >= 1
    per_pair = np.where(two_or_more, 1 / np.maximum(opinions * (opinions - 1), 1), 0)
    agree = (counts * (counts - 1)).sum(axis=1) * per_pair
    shares = counts / np.maximum(opinions, 1)[:, None]
    pairs = counts[:, :, None] * counts[:, None, :]
    diagonal = np.arange(size)
    pairs[:, diagonal, diagonal] -= counts
    pairs *= np.where(two_or_more, 1 / np.maximum(opinions - 1, 1), 0)[:, None, None]
    columns = np.stack([agree, two_or_more, one_or_more], axis=1)
    return np.concatenate([columns, shares, pairs.reshape(-1, size**2)], axis=1)


def alpha_of(coincidences: Matrix, *, ordinal: bool = False) -> Vector:
    """Krippendorff's alpha, 1 - observed / expected disagreement, of coincidence matrices (..., K, K);
    NaN where only one outcome occurs (Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011). The
    ordinal distance of outcomes c < k is (n_c / 2 + n_c+1 + ... + n_k / 2)², with n opinions of an outcome.
    """
    totals = coincidences.sum(axis=-1)
    n = totals.sum(axis=-1)
    size = totals.shape[-1]
    if ordinal:
        middle = np.cumsum(totals, axis=-1) - totals / 2
        distance = (middle[..., :, None] - middle[..., None, :]) ** 2
    else:
        distance = 1.0 - np.eye(size)
    observed = (coincidences * distance).sum(axis=(-2, -1))
    expected = (totals[..., :, None] * totals[..., None, :] * distance).sum(axis=(-2, -1))
    alpha: Vector = 1 - (n - 1) * observed / np.where(expected > 0, expected, np.nan)
    return alpha


def _ac1(added: Matrix, size: int, categories: int) -> Vector:
    """Gwet's AC1 (Computing inter-rater reliability and its variance in the presence of high agreement,
    2008). categories: the number of outcomes in use; NaN for one."""
    observed = added[..., 0] / added[..., 1]
    share = added[..., 3 : 3 + size] / added[..., 2, None]
    expected = (share * (1 - share)).sum(axis=-1) / (categories - 1 if categories > 1 else np.nan)
    ac1: Vector = (observed - expected) / (1 - expected)
    return ac1


def raw_agreement(counts: Matrix, prompt: Index) -> Figure:
    """`raw` of `agreement`, alone."""
    sums = summed(unit_sums(counts)[:, :2], prompt)
    units = int((counts.sum(axis=1) >= 2).sum())
    [figure] = bootstrap(sums, [ratio], n=units, prompts=int((sums[:, 1] > 0).sum()))
    return figure


@dataclass(frozen=True)
class Ceiling:
    """The share that a model without any error would reach against labels by majority of `votes`, from
    people's agreement."""

    share: Figure
    agreement: Figure
    votes: int


def ceiling(sides: Matrix, decided: Mask, prompt: Index) -> Ceiling:
    """sides: (pairs, 2), opinions for a and b; decided: (pairs,), whether the pair has a label; prompt: as
    for `agreement`.

    People's agreement is of all pairs, as people agreed on the pairs with a label. Each person errs with
    chance q, independently: agreement = q² + (1 - q)², so q = (1 - √(2 agreement - 1)) / 2. Not defined where
    agreement is one half or less."""
    agree, votes = raw_agreement(sides, prompt), votes_behind(sides[decided])
    if agree.value is None or agree.low is None or agree.high is None:
        return Ceiling(agree, agree, votes)
    if agree.value <= 0.5:
        why = "not defined: people agree no more often than by chance"
        return Ceiling(unknown(agree.n, agree.prompts, why), agree, votes)
    value, low, high = (human_ceiling(share, votes) for share in (agree.value, agree.low, agree.high))
    return Ceiling(Figure(value, low, high, agree.n, agree.prompts), agree, votes)


def votes_behind(sides: Matrix) -> int:
    """The median number of votes behind a label, made odd, from votes for a and b (pairs, 2)."""
    total = sides.sum(axis=1)
    votes = int(median_low(total[total > 0].astype(int).tolist() or [1]))
    return max(1, votes if votes % 2 else votes - 1)
