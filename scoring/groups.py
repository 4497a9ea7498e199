"""Which prompts belong together, so that no split tears them: what an import groups by, for pairs in memory.

Prompts are one group that are one text, near-duplicates (see scoring.likeness), turns of one conversation
(the same system's and first user's turn, of five words or more, or the same tree by a column of the file), or
of one group by the file's own `group`. Nothing here imports torch or Django.
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
"""Texts that a text is compared with for each run of words in common: thousands may be of one template."""


_AFTER_ALL = "\U0010ffff"
"""What is no group of a file begins so: it is greater than any group, and never the name of one."""


class _Sets:
    """Things that are joined to sets, whose name is the smallest of them."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def of(self, thing: str) -> str:
        above = self._above
        while (up := above.setdefault(thing, thing)) != thing:
            above[thing] = above[up]
            thing = up
        return thing

    def join(self, one: str, other: str) -> None:
        one, other = sorted((self.of(one), self.of(other)))
        self._above[other] = one


def grouped(pairs: Sequence[LabelledPair]) -> list[LabelledPair]:
    """The pairs, those that belong together under one `group`, whatever their order."""
    sets = _Sets()
    texts = {prompt: Text.of(prompt) for prompt in dict.fromkeys(pair.prompt for pair in pairs)}
    for pair in pairs:
        for key in (*texts[pair.prompt].digests, *([f"tree:{pair.tree}"] if pair.tree else [])):
            sets.join(f"{_AFTER_ALL}{key}", pair.group)
    group_of = {pair.prompt: pair.group for pair in pairs}
    for one, other in _near_duplicates({prompt: text.runs for prompt, text in texts.items()}):
        sets.join(group_of[one], group_of[other])
    return [
        pair if (own := sets.of(pair.group)) == pair.group else replace(pair, group=own) for pair in pairs
    ]


def _near_duplicates(runs: dict[str, NDArray[np.uint32] | None]) -> Iterator[tuple[str, str]]:
    """Pairs of prompts that are near-duplicates. Two such have a run in common among the rarest of each, as
    many as may be lacking and one: these alone are looked up."""
    import numpy as np

    long = {prompt: of for prompt, of in runs.items() if of is not None}
    if not long:
        return
    known, counts = np.unique(np.concatenate(list(long.values())), return_counts=True)
    having: dict[int, list[str]] = {}
    for prompt, own in long.items():
        rarest = own[np.lexsort((own, counts[np.searchsorted(known, own)]))]
        met: dict[str, None] = {}
        for run in rarest[: len(own) - math.ceil(ALIKE * len(own)) + 1].tolist():
            before = having.setdefault(run, [])
            met.update(dict.fromkeys(before))
            if len(before) < MOST_COMPARED:
                before.append(prompt)
        for other in met:
            if likeness(own, long[other]) >= ALIKE:
                yield prompt, other
