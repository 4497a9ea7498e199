"""The words of a text as search knows them: without case and accents, the same on both databases.

A word is a run of letters and digits. In scripts that are written without spaces (Chinese, Japanese, Thai,
Lao, Khmer, Burmese) each letter with its marks is a word, and so is each symbol outside ASCII, as emoji are.
Compatibility forms are folded: "ﬁ" is "fi", "Ａ" is "a", "ß" is "ss"."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache

LONGEST = 64
"""Letters of one word. A longer run, such as a checksum or an address in base64, is several words."""

BLOCK = 100_000
"""Letters of a text after which a list of its words ends at the next blank."""

_ASCII = re.compile(rf"[a-z0-9]{{1,{LONGEST}}}")
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
)
_SYMBOLS = "\u2190-\u2bff\U0001f000-\U0001fbff"
_TATWEEL = "\u0640"


@cache
def _word() -> re.Pattern[str]:
    """Made when a text is first not ASCII: looking all characters through takes 30 ms."""
    marks = "".join(c for c in map(chr, range(0x300, 0x20000)) if unicodedata.category(c)[0] == "M")
    marks = f"[{_ranges(marks)}\uff9e\uff9f]"
    letter = rf"(?:[^\W_{_UNSPACED}{_SYMBOLS}]|{marks})"
    return re.compile(rf"[{_UNSPACED}]{marks}*|[{_SYMBOLS}]|{letter}{{1,{LONGEST}}}")


def _ranges(characters: str) -> str:
    """Sorted characters as the inside of a character class."""
    parts, start = [], 0
    for at in range(1, len(characters) + 1):
        if at == len(characters) or ord(characters[at]) != ord(characters[at - 1]) + 1:
            parts.append(f"{characters[start]}-{characters[at - 1]}")
            start = at
    return "".join(parts)


def words(text: str) -> list[str]:
    """The folded words of the text, in order."""
    if text.isascii():
        return _ASCII.findall(text.lower())
    return [folded for found in _word().findall(text) for folded in _folded(found)]


def word_lists(text: str) -> Iterator[list[str]]:
    """The same words in several lists: one list takes ten times the memory of a text of megabytes."""
    start = 0
    while len(text) - start > BLOCK and (end := text.find(" ", start + BLOCK)) > 0:
        yield words(text[start:end])
        start = end
    yield words(text[start:])


def placed_words(text: str) -> Iterator[tuple[str, int, int]]:
    """(folded word, start, end) for each word of the text. A word that folds into two has its place twice."""
    for found in _word().finditer(text):
        for folded in _folded(found[0]):
            yield folded, found.start(), found.end()


@lru_cache(maxsize=50_000)
def _folded(word: str) -> tuple[str, ...]:
    if word.isascii():
        return (word.lower(),)
    plain = "".join(
        filter(_is_kept, unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", word).casefold()))
    )
    return tuple(_word().findall(unicodedata.normalize("NFC", plain)))


def _is_kept(character: str) -> bool:
    """False for accents and vowel points. Marks without which a letter is another letter have other classes:
    the voicing of kana (8), viramas (9), and the vowel signs of Thai (103)."""
    of = unicodedata.combining(character)
    return not (10 <= of <= 35 or 200 <= of <= 240) and character != _TATWEEL
