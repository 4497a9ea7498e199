"""The guard: the distance in logits below which bf16 may swap two completions of one prompt.

Nothing here imports torch: the pipeline compares stored Scores by the guard too.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

FACTOR = 5.0  # see guard_of
WIDER = 1.25  # guard / largest difference of two siblings' errors in a call


def near_siblings(prompts: Sequence[Hashable], values: Values, guard: float) -> list[int]:
    """Sorted indices of values within `guard` of another value of the same prompt."""
    siblings: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        siblings.setdefault(prompt, []).append(index)
    near: set[int] = set()
    for members in siblings.values():
        members.sort(key=lambda index: values[index])
        for lower, upper in itertools.pairwise(members):
            if values[upper] - values[lower] <= guard:
                near |= {lower, upper}
    return sorted(near)


def guard_of(errors: Values, factor: float = FACTOR) -> float:
    """factor sqrt(2 mean(errors^2)), in logits, for errors (N,) of bf16 against fp32.

    sqrt(2 mean(errors^2)) is the RMS difference of two independent errors. The largest error would be a poor
    measure: it grows with the sample. Errors are close to normal (kurtosis 3.5 on 1,501 real answers), and
    errors of siblings are correlated (0.3). So a factor of 5 is six standard deviations of a difference.
    """
    return factor * float(np.sqrt(2 * np.mean(errors**2)))


def largest_difference(prompts: Sequence[Hashable], errors: Values) -> float:
    """max |error_i - error_j| over two completions of one prompt; 0.0 without siblings. `errors`: (N,)."""
    ranges: dict[Hashable, tuple[float, float]] = {}
    for prompt, error in zip(prompts, errors.tolist(), strict=True):
        low, high = ranges.get(prompt, (error, error))
        ranges[prompt] = min(low, error), max(high, error)
    return max((high - low for low, high in ranges.values()), default=0.0)
