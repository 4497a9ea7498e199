"""Prompt groups of pairs in memory, by the rules of an import: a split never divides a group.

Two prompts are of one group in any of these cases:
- their texts are equal or near-duplicates (see scoring.likeness);
- their conversations begin alike: the same system turn and first user turn, of five words or more;
- the file gives them the same tree or the same `group`.

Nothing here imports torch or Django.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from scoring.learnt import Text
from scoring.likeness import ALIKE, likeness

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scoring.pairs import LabelledPair

MOST_COMPARED = 64
"""At most this many texts are compared for one run of words: thousands may share a template."""

_AFTER_GROUPS = "\U0010ffff"
"""Prefix of keys that are not groups of a file. It sorts after every group, so no key names a set."""


class _Sets:
    """Disjoint sets (union-find); the smallest member names its set."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def name_of(self, member: str) -> str:
        parents = self._parents
        while (parent := parents.setdefault(member, member)) != member:
            parents[member] = parents[parent]
            member = parent
        return member

    def join(self, first: str, second: str) -> None:
        smaller, larger = sorted((self.name_of(first), self.name_of(second)))
        self._parents[larger] = smaller


def grouped(pairs: Sequence[LabelledPair]) -> list[LabelledPair]:
    """The same pairs, with one `group` for all prompts that belong together, in any order of pairs."""
    sets = _Sets()
    texts = {prompt: Text.of(prompt) for prompt in dict.fromkeys(pair.prompt for pair in pairs)}
    for pair in pairs:
        for key in (*texts[pair.prompt].digests, *([f"tree:{pair.tree}"] if pair.tree else [])):
            sets.join(f"{_AFTER_GROUPS}{key}", pair.group)
    group_of = {pair.prompt: pair.group for pair in pairs}
    for first, second in _near_duplicates({prompt: text.runs for prompt, text in texts.items()}):
        sets.join(group_of[first], group_of[second])
    names = [sets.name_of(pair.group) for pair in pairs]
    return [
        pair if name == pair.group else replace(pair, group=name)
        for pair, name in zip(pairs, names, strict=True)
    ]


def _near_duplicates(runs_of: dict[str, NDArray[np.uint32] | None]) -> Iterator[tuple[str, str]]:
    """Pairs of prompts that are near-duplicates.

    Of two near-duplicates with n runs each, at most n - ceil(ALIKE n) runs of either are not shared. So one
    of its n - ceil(ALIKE n) + 1 rarest runs is shared, and only these are looked up.
    """
    import numpy as np

    long_prompts = {prompt: runs for prompt, runs in runs_of.items() if runs is not None}
    if not long_prompts:
        return
    all_runs, counts = np.unique(np.concatenate(list(long_prompts.values())), return_counts=True)
    prompts_with: dict[int, list[str]] = {}
    for prompt, runs in long_prompts.items():
        rarest = runs[np.lexsort((runs, counts[np.searchsorted(all_runs, runs)]))]
        candidates: dict[str, None] = {}
        for run in rarest[: len(runs) - math.ceil(ALIKE * len(runs)) + 1].tolist():
            earlier = prompts_with.setdefault(run, [])
            candidates.update(dict.fromkeys(earlier))
            if len(earlier) < MOST_COMPARED:
                earlier.append(prompt)
        for candidate in candidates:
            if likeness(runs, long_prompts[candidate]) >= ALIKE:
                yield prompt, candidate
