"""A model against people: accuracy by slice beside the rules and the ceiling, and what the margins tell.

Pure numpy. `scoring.evaluate` has the figures that the evaluation of a checkpoint needs too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from scoring.calibrate import Bin, reliability, wilson
from scoring.evaluate import auc, right_shares
from workbench.pipeline.quality.figures import Figure, Index, Mask, Matrix, Vector, bootstrap, summed, unknown
from workbench.pipeline.quality.reports import BinRow, Histogram, SliceRow, StoredFigure

BINS = 10
LEVELS = 200
HISTOGRAM_BINS = 20


@dataclass(frozen=True)
class Slice:
    """Part of the answers: chosen is (answers,). ceiling: what a perfect model would reach there."""

    kind: str
    label: str
    chosen: Mask
    ceiling: Figure


@dataclass(frozen=True)
class Trial:
    """An entry an answer for a, b or tie: target 1, 0 or 0.5; margin of the version (NaN = none); longest and
    random: the margins of the rules."""

    prompt: Index
    target: Vector
    margin: Vector
    longest: Vector
    random: Vector


class Calibration(TypedDict):
    """See ModelRow."""

    ece: StoredFigure
    bins: list[BinRow]


def accuracies(trial: Trial, slices: Sequence[Slice]) -> list[SliceRow]:
    """A row for each slice.

    accuracy: share of answers for a or b that the sign of the margin predicts (a margin of 0 counts half),
    with the interval of the bootstrap over prompts; wilson: [low, high] as if answers were independent;
    longest, random: the rules on the same answers; over_longest: accuracy - longest, on the same draws of
    prompts."""
    use = np.isfinite(trial.margin) & (trial.target != 0.5)
    columns = [right_shares(margin, trial.target) for margin in (trial.margin, trial.longest, trial.random)]
    values = np.stack([*columns, np.isfinite(columns[2]), np.ones(len(use))], axis=1)
    values[~np.isfinite(values)] = 0.0
    return [_accuracy(part, values[use & part.chosen], trial.prompt[use & part.chosen]) for part in slices]


def _accuracy(part: Slice, values: Matrix, prompt: Index) -> SliceRow:
    n = len(values)
    statistics = [
        lambda added: added[..., 0] / added[..., 4],
        lambda added: added[..., 1] / added[..., 4],
        lambda added: added[..., 2] / added[..., 3],
        lambda added: (added[..., 0] - added[..., 1]) / added[..., 4],
    ]
    accuracy, longest, random, over = bootstrap(summed(values, prompt), statistics, n=n)
    return {
        "kind": part.kind,
        "label": part.label,
        "accuracy": accuracy.as_json(),
        "wilson": None if accuracy.value is None else [round(x, 6) for x in wilson(accuracy.value, n)],
        "longest": longest.as_json(),
        "random": random.as_json(),
        "over_longest": over.as_json(),
        "ceiling": part.ceiling.as_json(),
    }


def confidence_auc(trial: Trial) -> Figure:
    """AUC of |margin| for "the model is right": how often the model is surer of a right pick than of a wrong
    pick. The interval is of |margin| in 200 levels, which moves the AUC by less than 0.001."""
    use = np.isfinite(trial.margin) & (trial.target != 0.5)
    size, right = np.abs(trial.margin[use]), right_shares(trial.margin[use], trial.target[use])
    n = int(use.sum())
    exact = auc(size, right) if n else None
    if exact is None:
        return unknown(n)
    levels = np.unique(np.quantile(size, np.linspace(0, 1, LEVELS + 1)[1:-1]))
    level, count = np.searchsorted(levels, size), len(levels) + 1
    prompts, place = np.unique(trial.prompt[use], return_inverse=True)
    cell, cells = place * count + level, len(prompts) * count
    up, down = (np.bincount(cell, weight, cells).reshape(-1, count) for weight in (right, 1 - right))

    def binned(added: Matrix) -> Vector:
        above, below = added[..., :count], added[..., count:]
        under = np.cumsum(below, axis=-1) - below / 2
        area: Vector = (above * under).sum(-1) / (above.sum(-1) * below.sum(-1))
        return area

    [figure] = bootstrap(np.concatenate([up, down], axis=1), [binned], n=n)
    if figure.value is None or figure.low is None or figure.high is None:
        return figure
    moved = exact - figure.value
    return Figure(exact, figure.low + moved, figure.high + moved, n, figure.prompts)


def calibration(trial: Trial, temperature: float | None) -> Calibration:
    """The expected calibration error in ten bins of the calibrated probability, and the bins of the
    reliability diagram with answers. An uncalibrated version has neither."""
    use = np.isfinite(trial.margin)
    n = int(use.sum())
    if temperature is None:
        return {"ece": unknown(n, why="uncalibrated").as_json(), "bins": []}
    if not n:
        return {"ece": unknown(n).as_json(), "bins": []}
    margin, target = trial.margin[use], trial.target[use]
    bins = [_as_json(a_bin) for a_bin in reliability(margin, target, temperature) if a_bin.n]
    confidence = 1 / (1 + np.exp(-np.abs(margin) / temperature))
    place = np.minimum(((confidence - 0.5) * 2 * BINS).astype(np.int64), BINS - 1)
    agreed = np.where(margin > 0, target, np.where(margin < 0, 1 - target, 0.5))
    gap = confidence - agreed
    prompts, prompt = np.unique(trial.prompt[use], return_inverse=True)
    cell, cells = prompt * BINS + place, len(prompts) * BINS
    sums = np.concatenate(
        [
            np.bincount(cell, gap, cells).reshape(-1, BINS),
            np.bincount(prompt, minlength=len(prompts))[:, None],
        ],
        axis=1,
    )
    [ece] = bootstrap(sums, [lambda added: np.abs(added[..., :BINS]).sum(-1) / added[..., BINS]], n=n)
    return {"ece": ece.as_json(), "bins": bins}


def _as_json(a_bin: Bin) -> BinRow:
    return {
        "lower": round(a_bin.lower, 6),
        "upper": round(a_bin.upper, 6),
        "n": a_bin.n,
        "predicted": round(a_bin.predicted, 6),
        "observed": round(a_bin.observed, 6),
        "low": round(a_bin.low, 6),
        "high": round(a_bin.high, 6),
    }


def histogram(trial: Trial) -> Histogram:
    """Answers by outcome and by margin in 20 bins. The edges reach to the 99th percentile of |margin|; the
    outermost bins include all answers beyond."""
    use = np.isfinite(trial.margin)
    margin, target = trial.margin[use], trial.target[use]
    reach = float(np.quantile(np.abs(margin), 0.99)) if len(margin) else 0.0
    edges = np.linspace(-reach or -1.0, reach or 1.0, HISTOGRAM_BINS + 1)
    place = np.clip(np.searchsorted(edges, margin, side="right") - 1, 0, HISTOGRAM_BINS - 1)
    counts = {
        name: np.bincount(place[target == value], minlength=HISTOGRAM_BINS).tolist()
        for name, value in (("a", 1.0), ("tie", 0.5), ("b", 0.0))
    }
    rounded = [round(edge, 6) for edge in edges.tolist()]
    return {"edges": rounded, "a": counts["a"], "tie": counts["tie"], "b": counts["b"]}
