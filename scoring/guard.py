"""The guard: the distance in logits below which bf16 may swap two completions of one prompt.

Nothing here imports torch: the pipeline compares stored Scores by the guard too.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

BETWEEN, FACTOR, SIBLINGS = 4.5, 5.0, 50  # see guard_of
WIDER = 1.1  # guard / largest difference of two siblings' errors in a call


def _by_prompt(prompts: Sequence[Hashable]) -> list[list[int]]:
    """Indices of the completions of each prompt, in the order in which prompts appear."""
    siblings: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        siblings.setdefault(prompt, []).append(index)
    return list(siblings.values())


def near_siblings(prompts: Sequence[Hashable], values: Values, guard: float) -> list[int]:
    """Sorted indices of values within `guard` of another value of the same prompt."""
    near: set[int] = set()
    for members in _by_prompt(prompts):
        members.sort(key=lambda index: values[index])
        for lower, upper in itertools.pairwise(members):
            if values[upper] - values[lower] <= guard:
                near |= {lower, upper}
    return sorted(near)


def whole_prompts(prompts: Sequence[Hashable], count: int) -> list[int]:
    """Indices of about `count` completions or more, siblings together, of prompts that lie evenly apart."""
    groups = _by_prompt(prompts)
    wanted = max(1, round(count * len(groups) / max(1, len(prompts))))
    return [index for members in groups[:: max(1, len(groups) // wanted)] for index in members]


def guard_of(prompts: Sequence[Hashable], errors: Values) -> float:
    """The guard in logits, for errors (N,) of bf16 against fp32 of the completions of `prompts`.

    With SIBLINGS pairs of siblings or more, it is BETWEEN times the RMS difference of their errors: what all
    errors have in common, and what siblings have, moves nobody past a sibling. With fewer it is FACTOR
    sqrt(2 mean(errors^2)), as if errors were independent and had nothing in common. The largest error would
    be a poor measure: it grows with the sample. Differences are close to normal: on 1,753 real pairs of
    siblings the kurtosis was 3.2, the largest 4.2 times the RMS, and the widest gap that bf16 turned round
    2.0 times.
    """
    differences = [
        errors[one] - errors[other]
        for members in _by_prompt(prompts)
        for one, other in itertools.combinations(members, 2)
    ]
    if len(differences) >= SIBLINGS:
        return BETWEEN * float(np.sqrt(np.mean(np.square(differences))))
    return FACTOR * float(np.sqrt(2 * np.mean(errors**2)))


def largest_difference(prompts: Sequence[Hashable], errors: Values) -> float:
    """max |error_i - error_j| over two completions of one prompt; 0.0 without siblings. `errors`: (N,)."""
    ranges: dict[Hashable, tuple[float, float]] = {}
    for prompt, error in zip(prompts, errors.tolist(), strict=True):
        low, high = ranges.get(prompt, (error, error))
        ranges[prompt] = min(low, error), max(high, error)
    return max((high - low for low, high in ranges.values()), default=0.0)
