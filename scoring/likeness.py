"""Near-duplicate prompts: two texts whose runs of 3 words have a Jaccard index of 0.7 or more.

Texts of fewer than 20 words are never near-duplicates: a single word can change a short question. Words are
runs of letters and digits in the normalised text; in scripts without spaces each character is a word.
Nothing here imports torch."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

from scoring.normalise import normalise, shingles_in

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Shingles = NDArray[np.uint32]

LEAST_WORDS = 20
RUN = 3
ALIKE = 0.7
MOST_CHARACTERS = 100_000
"""Only the first characters of a longer text are compared, which bounds memory."""

_SPACELESS = r"\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\W_{_SPACELESS}]+")
_ASCII_WORD = re.compile(r"[^\W_]+")
_ASCII_LONG = re.compile(rf"[\W_]*+(?:[^\W_]++[\W_]++){{{LEAST_WORDS - 1}}}[^\W_]")


def _words_of_long(text: str) -> list[str]:
    """The words of a text; [] for a text that certainly has fewer than 20."""
    text = text[:MOST_CHARACTERS]
    if text.isascii():
        return _ASCII_WORD.findall(text.lower()) if _ASCII_LONG.match(text) else []
    return _WORD.findall(normalise(text))


def signature(text: str) -> Shingles | None:
    """Hashes of the runs of 3 words, sorted, each once; None for a text of fewer than 20 words."""
    words = _words_of_long(text)
    if len(words) < LEAST_WORDS:
        return None
    import numpy as np

    hashes = map(zlib.crc32, shingles_in(words, RUN))
    return np.unique(np.fromiter(hashes, dtype=np.uint32, count=len(words) - RUN + 1))


def likeness(first: Shingles, second: Shingles) -> float:
    """Jaccard index of two texts' shingles."""
    import numpy as np

    common = len(np.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)
