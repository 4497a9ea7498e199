"""Baselines: scorers that do not read the text. A model must beat these to be of use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from scoring.formats import Pair, Scored, Scorer, refuse_bad_pairs


def _by_rule(pairs: Sequence[Pair], rule: Callable[[str, str], float]) -> list[Scored]:
    refuse_bad_pairs(pairs)
    return [
        Scored(rule(prompt, completion), len(prompt), len(completion), 0, 0, "exact")
        for prompt, completion in pairs
    ]


def longest(pairs: Sequence[Pair]) -> list[Scored]:
    """The length of the completion in characters; token counts are in characters too."""
    return _by_rule(pairs, lambda _prompt, completion: float(len(completion)))


def shortest(pairs: Sequence[Pair]) -> list[Scored]:
    """Minus the length of the completion in characters."""
    return _by_rule(pairs, lambda _prompt, completion: -float(len(completion)))


def random(pairs: Sequence[Pair]) -> list[Scored]:
    """A number in [0, 1) from the sha256 of the pair: equal pairs have equal scores."""
    return _by_rule(pairs, _draw)


def _draw(prompt: str, completion: str) -> float:
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    digest = hashlib.sha256(f"{len(prompt)}:{prompt}{completion}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


BASELINES: Mapping[str, Scorer] = MappingProxyType(
    {"longest": longest, "shortest": shortest, "random": random}
)
