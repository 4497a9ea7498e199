"""Normalised prompt texts: prompts that differ only in width of characters, case or white space are equal.

Every comparison of two prompts normalises here.

Nothing here imports torch or Django."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence

_WORD = re.compile(r"[^\W_]+")


def normalise(text: str) -> str:
    """The text in Unicode's form NFKC, case folded."""
    return unicodedata.normalize("NFKC", text).casefold()


def normalised_digest(text: str) -> str:
    """sha256 in hex of the normalised text with white space collapsed. Prompts with the same digest are of
    one group."""
    return hashlib.sha256(" ".join(normalise(text).split()).encode()).hexdigest()


def words_in(text: str) -> list[str]:
    """The runs of letters and digits in the normalised text."""
    return _WORD.findall(normalise(text))


def shingles_in(words: Sequence[str], size: int) -> Iterator[bytes]:
    """Each run of `size` words, joined by blanks, as UTF-8; nothing for fewer words."""
    return (" ".join(words[start : start + size]).encode() for start in range(len(words) - size + 1))
