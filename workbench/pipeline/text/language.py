"""The language of a text, by py3langid (a fork of langid.py; Lui and Baldwin 2012, "langid.py: an
off-the-shelf language identification tool")."""

import unicodedata
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

READ = 300
"""Characters that are read: enough for a sure answer, and few enough for imports of a million rows."""

SURE = 0.8
"""Normalised probability from which an answer counts. Below it, a text is in no language that we know of."""

FEWEST_LETTERS = 3

MANY = 20
"""Texts from which they are told at once. A chunk of fewer holds texts of megabytes."""

Array = npt.NDArray[Any]


class _Identifier(Protocol):
    """What we use of the library. tk_*: an automaton over bytes that finds features of a text; nb_*: naive
    Bayes over the features."""

    nb_ptc: Array
    nb_pc: Array
    nb_classes: list[str]
    tk_nextmove: Sequence[int]
    tk_row: Sequence[int]
    tk_output: Sequence[int]

    def classify(self, text: str) -> tuple[str, float]: ...


@cache
def _identifier() -> _Identifier:
    # Imported here, as reading the model takes a second, which only workers need to spend.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

    return cast("_Identifier", LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True))


def language_of(text: str) -> str:
    """The ISO 639 code of the text's language; "" where that is not sure, as for two words or for code."""
    return _language_of(beginning_of(text))


def beginning_of(text: str) -> str:
    """The part of the text that its language is told by."""
    return " ".join(text[: 2 * READ].split())[:READ]


def _is_told(beginning: str) -> bool:
    return sum(map(str.isalpha, beginning)) >= FEWEST_LETTERS


@lru_cache(maxsize=1024)
def _language_of(beginning: str) -> str:
    if not _is_told(beginning):
        return ""
    language, probability = _identifier().classify(beginning)
    return language if probability >= SURE else ""


# --- many texts at once -------------------------------------------------------------------------------------


def languages_of(beginnings: Sequence[str]) -> list[str]:
    """The language of each beginning, as `language_of` tells it: the model of the library over all texts at
    once, which takes a third of the time. A few are told one by one: those tables take 80 MB."""
    if len(beginnings) < MANY:
        return [_language_of(beginning) for beginning in beginnings]
    told = sorted({beginning for beginning in beginnings if _is_told(beginning)}, key=len)
    language = dict(zip(told, _classified(told), strict=True)) if told else {}
    return [language.get(beginning, "") for beginning in beginnings]


@cache
def _automaton() -> tuple[Array, Array, Array]:
    """(next state by place, first place of each state, feature of each state or -1)."""
    model = _identifier()
    nextmove = np.asarray(model.tk_nextmove, dtype=np.int32)
    first = np.asarray(model.tk_row, dtype=np.int32) << 8
    return nextmove, first, np.asarray(model.tk_output, dtype=np.int32)


def _classified(texts: Sequence[str]) -> list[str]:
    from scipy.sparse import coo_array  # slow to load, and web processes tell no languages

    model = _identifier()
    encoded = [_encoded(text) for text in texts]
    sizes = np.array([len(text) for text in encoded])
    of, features = _features(encoded, sizes)
    # Of the 100,000 features, some thousands are used.
    used, column = np.unique(features, return_inverse=True)
    ones = np.ones(len(of), dtype=np.float32)
    counts = coo_array((ones, (of, column)), shape=(len(texts), len(used))).tocsr()
    counts.sum_duplicates()
    counts.data = np.log1p(counts.data)
    scores = counts @ model.nb_ptc[used].astype(np.float32) + model.nb_pc
    scores[np.bincount(of, minlength=len(texts)) == 0] = 0
    scores /= np.sqrt(np.maximum(sizes, 1))[:, None]
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    # One language may have several classes, as of two scripts.
    names = sorted(set(model.nb_classes))
    of_name = np.array([[name == of_class for name in names] for of_class in model.nb_classes], np.float32)
    shares = scores @ of_name
    best = shares.argmax(axis=1)
    return [
        names[at] if share >= SURE else ""
        for at, share in zip(best.tolist(), shares.max(axis=1).tolist(), strict=True)
    ]


def _encoded(text: str) -> bytes:
    lowered = text.lower() if text.isupper() else text
    return unicodedata.normalize("NFC", lowered).encode("utf8", errors="surrogatepass")


def _features(encoded: Sequence[bytes], sizes: Array) -> tuple[Array, Array]:
    """(text, feature) of each feature that a text has: the automaton reads the n-th byte of all texts."""
    nextmove, first, output = _automaton()
    order = np.argsort(-sizes, kind="stable")  # the longest first, so that those at work stay in front
    width = int(sizes.max())
    read = np.zeros((len(encoded), width), dtype=np.uint8)
    for row, at in enumerate(order.tolist()):
        read[row, : sizes[at]] = np.frombuffer(encoded[at], dtype=np.uint8)
    state = np.zeros(len(encoded), dtype=np.int32)
    found = np.full((width, len(encoded)), -1, dtype=np.int32)
    for at in range(width):
        active = int(np.searchsorted(-sizes[order], -at))
        state[:active] = nextmove[first[state[:active]] + read[:active, at]]
        found[at, :active] = output[state[:active]]
    steps, rows = np.nonzero(found >= 0)
    return order[rows], found[steps, rows]
