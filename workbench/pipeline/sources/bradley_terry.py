"""Bradley-Terry strengths of sources, from votes on pairs of their answers, on arrays alone.

The chance that source i wins against j is 1 / (1 + exp(-(strength i - strength j))) (Bradley and Terry,
"Rank analysis of incomplete block designs", Biometrika 39, 1952). A tie counts as half a win for each. With
controls, the log-odds also have a term for the side on which an answer was shown and a term for its length,
so that strengths hold between answers of one length, on no side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MOST_STEPS = 100
_CLOSE = 1e-9
_SINGULAR = 1e12
_ENDLESS = 15.0
"""A coefficient beyond this grows without end: its features decide the votes alone."""


@dataclass(frozen=True)
class Votes:
    """One entry a vote. a, b: places of the two sources; won: 1 where a was preferred, 0 where b was, 0.5 for
    a tie; controls (votes, K): differences of a and b besides the source; group: the prompt group."""

    a: Index
    b: Index
    won: Vector
    controls: Matrix
    group: Index

    def __len__(self) -> int:
        return len(self.a)

    def among(self, chosen: Mask) -> Votes:
        """The votes on pairs of two chosen sources, numbered among the chosen."""
        place = np.cumsum(chosen) - 1
        use = chosen[self.a] & chosen[self.b]
        a, b = place[self.a[use]], place[self.b[use]]
        return Votes(a, b, self.won[use], self.controls[use], self.group[use])


@dataclass(frozen=True)
class Strengths:
    """values (S + K,): the strength of each source, whose mean is 0, then the coefficient of each control.
    covariance (S + K, S + K): clustered by prompt group. groups (S + K,): the number of prompt groups behind
    each value."""

    values: Vector
    covariance: Matrix
    groups: Index

    def interval(self, contrast: Vector, level: float = 0.95) -> tuple[float, float, float]:
        """(value, low, high) of a weighted sum of the values. Student's t with one degree of freedom less
        than the prompt groups behind the least known value, as a sandwich of few clusters is too narrow
        (Cameron and Miller, "A practitioner's guide to cluster-robust inference", 2015, section VI)."""
        from scipy.stats import t  # takes a second to import, and no web process needs it

        value = float(contrast @ self.values)
        error = max(0.0, float(contrast @ self.covariance @ contrast)) ** 0.5
        freedom = max(1, int(self.groups[contrast != 0].min()) - 1)
        reach = float(t.ppf((1 + level) / 2, freedom)) * error
        return value, value - reach, value + reach

    def of(self, place: int) -> tuple[float, float, float]:
        """(value, low, high) of one value."""
        return self.interval(np.eye(len(self.values))[place])


def wins(votes: Votes, sources: int) -> Matrix:
    """(sources, sources): wins of the row over the column; a tie is half a win for each."""
    table = np.zeros((sources, sources))
    np.add.at(table, (votes.a, votes.b), votes.won)
    np.add.at(table, (votes.b, votes.a), 1 - votes.won)
    return table


def linked(table: Matrix) -> Index:
    """(sources,): the number of each source's part. Two sources are in one part where a chain of wins leads
    from each to the other: exactly then the votes give both a finite strength (Ford, "Solution of a ranking
    problem from binary comparisons", 1957)."""
    from scipy.sparse.csgraph import connected_components

    parts: Index = connected_components(table > 0, directed=True, connection="strong")[1].astype(np.int64)
    return parts


def met(table: Matrix) -> Index:
    """(sources,): the number of each source's part, where a vote joins its two sources."""
    from scipy.sparse.csgraph import connected_components

    parts: Index = connected_components(table > 0, directed=False)[1].astype(np.int64)
    return parts


def strengths(votes: Votes, sources: int, controls: Sequence[int] = ()) -> Strengths | None:
    """Maximum likelihood of the strengths and of these columns of the controls, by Newton's method, with the
    sandwich clustered by prompt group (Liang and Zeger, "Longitudinal data analysis using generalized linear
    models", Biometrika 73, 1986) and the factor G / (G - 1) * (N - 1) / (N - P) for G groups, N votes and P
    coefficients.

    None where the votes follow from the features alone, where features can't be told apart, and for a single
    prompt group. Without controls, the sources have to be one part of `linked`."""
    from scipy.sparse import csr_matrix, hstack

    n, free = len(votes), sources - 1  # the last source has strength 0 until all are centred
    groups, group = np.unique(votes.group, return_inverse=True)
    rows = np.arange(n)
    places = np.concatenate([votes.a, votes.b])
    signs = np.repeat([1.0, -1.0], n)
    of_source = csr_matrix((signs, (np.tile(rows, 2), places)), shape=(n, sources))
    chosen = votes.controls[:, list(controls)]
    features = hstack([of_source[:, :free], csr_matrix(chosen)], format="csr")
    size = features.shape[1]
    if sources < 2 or n <= size or len(groups) < 2:
        return None
    values = np.zeros(size)
    for _ in range(MOST_STEPS):
        chance = 1 / (1 + np.exp(-(features @ values)))
        information = (features.multiply((chance * (1 - chance))[:, None]).T @ features).toarray()
        if np.linalg.cond(information) > _SINGULAR:
            return None
        step = np.linalg.solve(information, features.T @ (votes.won - chance))
        values = values + step / max(1.0, float(np.abs(step).max()))  # a longer step may pass the maximum
        if np.abs(values).max() > _ENDLESS:
            return None
        if np.abs(step).max() < _CLOSE:
            break
    else:
        return None
    residual = votes.won - 1 / (1 + np.exp(-(features @ values)))
    scores = (csr_matrix((residual, (group, rows)), shape=(len(groups), n)) @ features).toarray()
    bread = np.linalg.inv(information)
    factor = len(groups) / (len(groups) - 1) * (n - 1) / (n - size)
    covariance = factor * bread @ (scores.T @ scores) @ bread
    centred = np.zeros((sources + len(controls), size))
    centred[:free, :free] = np.eye(free)
    centred[:sources, :free] -= 1 / sources
    centred[sources:, free:] = np.eye(len(controls))
    behind = [
        *(len(np.unique(group[(votes.a == place) | (votes.b == place)])) for place in range(sources)),
        *(len(np.unique(group[column != 0])) for column in chosen.T),
    ]
    return Strengths(centred @ values, centred @ covariance @ centred.T, np.array(behind, dtype=np.int64))
