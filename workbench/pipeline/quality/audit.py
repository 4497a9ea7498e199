"""What sways a choice besides quality: length, markdown and side, in people and in a model.

A logistic regression of "a is chosen" on differences between a and b, without a constant, as the name of a
completion (a or b) says nothing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from workbench.pipeline.quality.columns import MARKDOWN
from workbench.pipeline.quality.figures import ENOUGH, Figure, Index, Mask, Matrix, Vector, unknown
from workbench.pipeline.quality.reports import Audit, StoredFigure

MOST_ANSWERS = 100_000
ENOUGH_ANSWERS = 100
ENOUGH_PROMPTS = 20
"""With fewer clusters, the sandwich estimator understates the error."""

STYLE = ("length", *MARKDOWN)
_DECIDES_ALONE = 12.0


@dataclass(frozen=True)
class Choices:
    """One entry an answer for a or b. chose: 1 = a, 0 = b; margin: the model's; style: (answers, STYLE),
    differences a - b; side: 1 where a was on the left, -1 where b was, 0 where sides play no part."""

    prompt: Index
    chose: Vector
    margin: Vector
    style: Matrix
    side: Vector


def style_of(length: tuple[Vector, Vector], markdown: tuple[Matrix, Matrix]) -> Matrix:
    """Differences of a and b in doublings: log2((1 + length a) / (1 + length b)), so that 1 = twice as long,
    and the same of the number of each kind of markdown."""
    longer = np.log2((1 + length[0]) / (1 + length[1]))
    marked = np.log2((1 + markdown[0]) / (1 + markdown[1]))
    return np.concatenate([longer[:, None], marked], axis=1)


def audit(choices: Choices) -> Audit:
    """Log-odds by name of feature.

    people: that people choose a, per doubling of the feature; `side`: that they choose the completion on the
    left. model: the same for the model's picks on the same pairs. excess: model - people, above 0 where the
    feature sways the model more than people. people_given_margin: people again, with the model's margin (per
    root mean square) as a further feature; shows what people follow and the model does not.
    Intervals: Wald's, with the sandwich clustered by prompt (Liang and Zeger, 1986), for people and model in
    one regression, as both answer the same pairs. Above 100,000 answers: of whole prompts drawn at random."""
    choices = _sample(choices)
    n, prompts = len(choices.chose), len(np.unique(choices.prompt))
    size, side = len(STYLE), choices.side[:, None]
    if n < ENOUGH_ANSWERS or prompts < ENOUGH_PROMPTS:
        both = given_margin = Fit.unknown(2 * size + 2)
    else:
        blank, none = np.zeros_like(choices.style), np.zeros_like(side)
        stacked = np.block([[choices.style, side, blank], [blank, none, choices.style]])
        chose = np.concatenate([choices.chose, choices.margin > 0])
        both = fit(chose, stacked, np.tile(choices.prompt, 2))
        typical = float(np.sqrt(np.mean(choices.margin**2))) or 1.0
        beside = np.concatenate([choices.style, side, choices.margin[:, None] / typical], axis=1)
        given_margin = fit(choices.chose, beside, choices.prompt)
    unit = np.eye(2 * size + 1)
    people, model = unit[:size], unit[size + 1 :]
    return {
        "n": n,
        "prompts": prompts,
        "people": both.figures([*STYLE, "side"], unit[: size + 1], n, prompts),
        "model": both.figures(STYLE, model, n, prompts),
        "excess": both.figures(STYLE, model - people, n, prompts),
        "people_given_margin": given_margin.figures([*STYLE, "side", "margin"], np.eye(size + 2), n, prompts),
    }


@dataclass(frozen=True)
class Fit:
    """A logistic regression: coefficients (K,) and their covariance (K, K). idle (K,): features that hardly
    ever differ; alone (K,): features that decide the choice alone, so that their coefficients grow without
    end."""

    coefficients: Vector
    covariance: Matrix
    idle: Mask
    alone: Mask

    @classmethod
    def unknown(cls, size: int) -> Fit:
        """A fit of K features without data."""
        return cls(
            np.zeros(size), np.zeros((size, size)), np.ones(size, dtype=bool), np.zeros(size, dtype=bool)
        )

    def figures(
        self, names: Sequence[str], contrasts: Matrix, n: int, prompts: int
    ) -> dict[str, StoredFigure]:
        """A Figure for each contrast (row) of the coefficients, by name."""
        stored = {}
        for name, contrast in zip(names, contrasts, strict=True):
            used = contrast != 0
            if (self.idle[: len(contrast)] & used).any():
                figure = unknown(n, prompts)
            elif (self.alone & used).any():
                figure = unknown(n, prompts, "not defined: the choice follows from these features alone")
            else:
                figure = self._figure(contrast, n, prompts)
            stored[name] = figure.as_json()
        return stored

    def _figure(self, contrast: Vector, n: int, prompts: int) -> Figure:
        value = float(contrast @ self.coefficients)
        variance = float(contrast @ self.covariance @ contrast)
        # Features that nearly follow from each other can't be told apart, and rounding may leave any number.
        if not (np.isfinite(value) and np.isfinite(variance) and variance >= 0):
            return unknown(n, prompts, "not defined: it can't be told apart from the other features")
        reach = 1.959964 * float(np.sqrt(variance))
        return Figure(value, value - reach, value + reach, n, prompts)


def fit(chose: Vector, features: Matrix, prompt: Index) -> Fit:
    """Maximum likelihood by statsmodels, the covariance clustered by prompt.

    Where one feature decides the choice, its coefficient grows without end. The other features are then
    fitted to the answers in which that feature does not differ."""
    from statsmodels.api import GLM  # slow to import, and never in a web process
    from statsmodels.genmod.families import Binomial

    size = features.shape[1]
    coefficients, covariance = np.zeros(size), np.zeros((size, size))
    alone, use = np.zeros(size, dtype=bool), np.ones(len(chose), dtype=bool)
    while True:
        idle = ~alone & (np.count_nonzero(features[use], axis=0) < ENOUGH)
        kept = np.flatnonzero(~idle & ~alone)
        if not len(kept):
            return Fit(coefficients, covariance, idle, alone)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of separation, which the lines below detect
            fitted = GLM(chose[use], features[np.ix_(use, kept)], family=Binomial()).fit(
                maxiter=30, cov_type="cluster", cov_kwds={"groups": prompt[use]}
            )
        endless = ~(np.abs(fitted.params) <= _DECIDES_ALONE)
        if not endless.any():
            break
        alone[kept[endless]] = True
        use &= (features[:, kept[endless]] == 0).all(axis=1)
    coefficients[kept] = fitted.params
    covariance[np.ix_(kept, kept)] = fitted.cov_params()
    return Fit(coefficients, covariance, idle, alone)


def _sample(choices: Choices) -> Choices:
    """All choices, or those of whole prompts drawn at random, up to MOST_ANSWERS."""
    n = len(choices.chose)
    if n <= MOST_ANSWERS:
        return choices
    prompts, place = np.unique(choices.prompt, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(prompts))
    kept = np.cumsum(np.bincount(place)[order]) <= MOST_ANSWERS
    use = np.isin(place, order[kept])
    return Choices(*(getattr(choices, column.name)[use] for column in fields(Choices)))
