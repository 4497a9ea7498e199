"""One-coin Dawid-Skene: from votes alone, how often each annotator is right, and each Comparison's
outcome."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workbench.pipeline.quality.figures import Index, Matrix, Vector

VOTES_NEEDED = 20
"""Votes an annotator, on average. With fewer, skills are guesses, and the majority is as good."""

_PRIOR_VOTES = 4.0
_ROUNDS = 200
_CLOSE = 1e-6


@dataclass(frozen=True)
class Skills:
    """posterior: (items, K), each row adds up to 1; skill: (annotators,), the chance that a vote is right,
    with its 95 % interval `low` to `high`; votes: (annotators,), the number that each skill is learned from;
    prior: (K,)."""

    posterior: Matrix
    skill: Vector
    low: Vector
    high: Vector
    votes: Vector
    prior: Vector

    @property
    def enough(self) -> bool:
        """Whether annotators share so many votes that their skills are more than guesses."""
        return self.votes_each >= VOTES_NEEDED

    @property
    def votes_each(self) -> float:
        """Mean shared votes of the annotators who have any."""
        return float(self.votes.sum() / max(1, (self.votes > 0).sum()))


def one_coin(item: Index, annotator: Index, vote: Index, shape: tuple[int, int, int]) -> Skills:
    """EM for the one-coin model (Dawid and Skene, Maximum likelihood estimation of observer error-rates using
    the EM algorithm, 1979, with one parameter an annotator, as in Zhang et al., Spectral methods meet EM,
    2016): an annotator says the truth with a chance of their own, else another outcome, in proportion to its
    overall share. (With equal shares, as usually written, a vote for the rarer tie would count no more than a
    vote for a: 0.37 of ukpconvarg's gold ties are then found, and 0.63 with overall shares.)

    item, annotator, vote: (votes,), from 0 on; shape: (items, annotators, K). Outcomes 0 and 1 are a and b,
    with the same prior and share, as the name of a completion says nothing. An outcome without a vote has
    probability 0. Each annotator starts with four votes of the average skill, so that one lucky vote makes
    nobody perfect, and no skill is worse than chance. Skills are learned on items with two votes or more, as
    a single vote would only confirm itself. An item with no votes gets the prior. Deterministic.

    The interval of a skill is Wald's on the logit scale, from the observed information of the annotator's
    votes given the votes of all others, whose skills are fixed."""
    items, annotators, outcomes = shape
    seen = np.union1d([0, 1], vote).astype(np.int64)
    vote, size = np.searchsorted(seen, vote), len(seen)
    voted = np.bincount(item, minlength=items)
    shared = (voted[item] >= 2).astype(np.float64)
    votes = np.bincount(annotator, shared, annotators).astype(np.float64)
    cell = item * size + vote
    share = np.bincount(vote, minlength=size).astype(np.float64) + 1
    share[:2] = share[:2].mean()
    share /= share.sum()
    surprise = np.log((1 - share) / share)
    logs = np.bincount(cell, minlength=items * size).reshape(items, size).astype(np.float64)
    posterior, skill = _softmax(logs), np.full(annotators, 0.5)
    for _ in range(_ROUNDS):
        right = posterior.ravel()[cell] * shared
        mean = float(np.clip(right.sum() / max(1.0, shared.sum()), 1 / size, 1 - 1e-6))
        before = skill
        skill = (np.bincount(annotator, right, annotators) + _PRIOR_VOTES * mean) / (votes + _PRIOR_VOTES)
        skill = np.clip(skill, share.max(), 1 - 1e-6)
        prior = posterior[voted > 0].sum(axis=0) + 1.0
        prior[:2] = prior[:2].mean()
        prior /= prior.sum()
        # Up to a constant over outcomes, a vote adds `weight` to its outcome and takes log(1 - share) from
        # every outcome.
        weight = np.log(skill / (1 - skill))[annotator] + surprise[vote]
        logs = np.log(prior) + np.bincount(cell, weight, items * size).reshape(items, size)
        logs -= voted[:, None] * np.log(1 - share)
        posterior = _softmax(logs)
        if np.abs(skill - before).max(initial=0) < _CLOSE:
            break
    error = _error(skill, mean, share, item, annotator, vote, shared, logs, weight)
    logit, reach = np.log(skill / (1 - skill)), 1.959964 * error / (skill * (1 - skill))
    low, high = (1 / (1 + np.exp(-np.clip(logit + side * reach, -50, 50))) for side in (-1, 1))
    full, prior_of = np.zeros((items, outcomes)), np.zeros(outcomes)
    full[:, seen], prior_of[seen] = posterior, prior
    return Skills(full, skill, low, high, votes, prior_of)


def _error(
    skill: Vector,
    mean: float,
    share: Vector,
    item: Index,
    annotator: Index,
    vote: Index,
    shared: Vector,
    logs: Matrix,
    weight: Vector,
) -> Vector:
    """Standard error of each skill."""
    place = np.arange(len(vote))
    without_vote = logs[item] + np.log(1 - share)
    without_vote[place, vote] -= weight
    posterior = _softmax(without_vote)
    true = posterior[place, vote]
    wrong = share[vote] * ((posterior / (1 - share)).sum(axis=1) - true / (1 - share[vote]))
    p = skill[annotator]
    slope = (true - wrong) / (p * true + (1 - p) * wrong)
    information = np.bincount(annotator, shared * slope**2, len(skill))
    error: Vector = 1 / np.sqrt(information + _PRIOR_VOTES / (mean * (1 - mean)))
    return error


def _softmax(logs: Matrix) -> Matrix:
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares: Matrix = odds / odds.sum(axis=1, keepdims=True)
    return shares
