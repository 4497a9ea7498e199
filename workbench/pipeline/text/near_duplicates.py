"""Near-duplicate prompts, and the keys that find them among millions.

The text of a prompt is all its messages but those of the system, normalised (scoring.normalise). Two prompts
of 20 words or more are near-duplicates when the Jaccard index of their runs of 3 words is at least 0.7.
Shorter prompts never are: a single word changes the question.

MinHash (Broder 1997) finds the candidates: 8 bands of 4 minima. Of the pairs with an index of 0.7, 89 % share
a band; with 0.8, 98.5 %. `likeness` then decides. The keys are stored, so a change of the numbers or hashes
below takes a migration that computes them again.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from scoring.likeness import ALIKE, likeness, signature
from scoring.messages import Message, message_reading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Shingles = NDArray[np.uint32]

__all__ = ["ALIKE", "keys_of", "likeness", "minima_of", "shingles_of"]

BANDS, MINIMA = 8, 4


def shingles_of(messages: Sequence[Message]) -> "Shingles | None":
    """Sorted, distinct hashes of the runs of 3 words; None for a prompt of fewer than 20 words."""
    return signature(" ".join(message_reading(turn) for turn in messages if turn["role"] != "system"))


def minima_of(prompts: Sequence["Shingles"]) -> "NDArray[np.uint32]":
    """(prompts, 32) minima of one prompt or more, as by datasketch's MinHash with the scheme affine32:
    MurmurHash3's finalizer, then a * hash + b modulo 2**32. datasketch takes one prompt at a time, and 15
    times as long."""
    import numpy as np

    permutations, *_ = _signer()
    mixed = np.concatenate(prompts)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    mixed ^= mixed >> np.uint32(16)
    begins = np.cumsum([0, *(len(shingles) for shingles in prompts[:-1])])
    return np.stack([np.minimum.reduceat(mixed * a + b, begins) for a, b in permutations], axis=1)


def keys_of(prompts: Sequence["Shingles"]) -> "NDArray[np.int64]":
    """(prompts, 8) keys of one prompt or more; two prompts that share a key are candidates. By chance, one of
    some 8,000 million pairs of different bands shares a key."""
    import numpy as np

    _, factors, starts = _signer()
    minima = minima_of(prompts).astype(np.uint64).reshape(-1, BANDS, MINIMA)
    keys = (minima * factors).sum(axis=2, dtype=np.uint64) + starts
    keys ^= keys >> np.uint64(32)
    keys *= np.uint64(0x9E3779B97F4A7C15)
    signed: NDArray[np.int64] = keys.view(np.int64)
    return signed


@lru_cache(maxsize=1)
def _signer() -> tuple["NDArray[np.uint32]", "NDArray[np.uint64]", "NDArray[np.uint64]"]:
    """(a and b of each permutation, odd factors that hash a band to one number, an offset for each band)."""
    import numpy as np
    from datasketch import MinHash  # slow: scipy comes with it

    draw = np.random.RandomState(1)
    numbers = draw.randint(0, 2**63, size=2 * BANDS * MINIMA, dtype=np.int64).astype(np.uint64)
    factors = (numbers[: BANDS * MINIMA] * np.uint64(2) + np.uint64(1)).reshape(BANDS, MINIMA)
    permutations = MinHash(num_perm=BANDS * MINIMA, seed=1, scheme="affine32").permutations.T
    return permutations, factors, numbers[BANDS * MINIMA : BANDS * MINIMA + BANDS]
