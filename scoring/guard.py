"""The distance in logits below which bf16 leaves the order of two siblings open. No torch: whoever stores
Scores compares by it as well."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

# From how much two errors differ, as a root mean square, to the guard; and from the largest difference that a
# call has seen. See guard_of.
FACTOR = 5.0
WIDER = 1.25


def near_siblings(prompts: Sequence[Hashable], values: Values, guard: float) -> list[int]:
    """Indices of values that stand within `guard` of another value of the same prompt, sorted."""
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
    """By how much two of these errors, (N,), differ as a root mean square, were they independent, times a
    factor.

    Not from the largest error: that grows with the sample, and two siblings seldom have it both, in opposite
    directions. Errors are close to normal (a kurtosis of 3.5 was measured on 1,501 real answers) and those of
    siblings correlated (0.3 there), so that a factor of 5 is six standard deviations of what can turn two of
    them round.
    """
    return factor * float(np.sqrt(2 * np.mean(errors**2)))


def largest_difference(prompts: Sequence[Hashable], errors: Values) -> float:
    """By how much the errors, (N,), of two completions of one prompt differ at most; 0.0 without siblings."""
    reach: dict[Hashable, tuple[float, float]] = {}
    for prompt, error in zip(prompts, errors.tolist(), strict=True):
        low, high = reach.get(prompt, (error, error))
        reach[prompt] = min(low, error), max(high, error)
    return max((high - low for low, high in reach.values()), default=0.0)
