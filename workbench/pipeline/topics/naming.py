"""Names of clusters of texts, by the words that distinguish them: in any language, without word lists."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from math import log

WORD = re.compile(r"[^\W\d_]{2,}")
UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Scripts in which no blank separates words: pairs of characters stand for words."""
WORDS = 3
MOST_SHARED = 0.5
"""A word that is in use in this share of the clusters is a stop word, as are short words that are frequent
in one cluster: those of a language with a cluster of its own."""
IN_USE = 0.04
SHORT, OFTEN = 3, 0.25
BEGINNING = 400
"""Characters of a text that count: what somebody asks for stands at the beginning."""


class Words:
    """The words of the texts of K clusters, added text by text."""

    def __init__(self, clusters: int) -> None:
        self.counts: list[Counter[str]] = [Counter() for _ in range(clusters)]
        self.texts = [0] * clusters

    def add(self, cluster: int, text: str) -> None:
        """Each text counts a word once, so that a long text weighs no more than a short one."""
        self.texts[cluster] += 1
        self.counts[cluster].update(set(words_of(text)))

    def names(self) -> list[str]:
        """A name for each cluster: its two or three words of the highest class-based TF-IDF,
        share(word, cluster) * log(1 + mean words of a cluster / frequency of the word) (Grootendorst,
        BERTopic: Neural topic modeling with a class-based TF-IDF procedure, 2022)."""
        every: Counter[str] = Counter()
        for counts in self.counts:
            every.update(counts)
        mean = sum(every.values()) / max(1, len(self.counts))
        stop = self._stop_words()
        names: list[str] = []
        for place, counts in enumerate(self.counts):
            size = max(1, self.texts[place])
            weights = {
                word: n / size * log(1 + mean / every[word])
                for word, n in counts.items()
                if word not in stop and not (len(word) <= SHORT and n > OFTEN * size and word.islower())
            }
            # A word of one text names nothing, unless the cluster has no other.
            common = {word: weight for word, weight in weights.items() if counts[word] > 1}
            ranked = sorted(common or weights, key=lambda word: (-weights[word], word))
            names.append(_distinct(_apart(ranked), names))
        return names

    def _stop_words(self) -> set[str]:
        in_use: Counter[str] = Counter()
        for counts, size in zip(self.counts, self.texts, strict=True):
            in_use.update(word for word, n in counts.items() if n >= max(1, IN_USE * size))
        least = max(2, MOST_SHARED * len(self.counts))
        return {word for word, n in in_use.items() if n >= least}


def words_of(text: str) -> Iterable[str]:
    for word in WORD.findall(text[:BEGINNING].lower()):
        if UNSPACED.search(word):
            yield from (word[at : at + 2] for at in range(len(word) - 1))
        else:
            yield word


def _apart(ranked: Sequence[str]) -> list[str]:
    """Without words that begin like an earlier one: "cakes" after "cake" says nothing new."""
    kept: list[str] = []
    for word in ranked:
        stem = word[:4]
        if not any(len(stem) == 4 and other.startswith(stem) for other in kept):
            kept.append(word)
        if len(kept) == 2 * WORDS:
            break
    return kept


def _distinct(words: Sequence[str], taken: Sequence[str]) -> str:
    """The first words as a name; with more words where another cluster has the name."""
    if not words:
        return "Other"
    for size in range(WORDS, len(words) + 1):
        if (name := ", ".join(words[:size])) not in taken:
            return name[:200]
    return ", ".join(words[:WORDS])[:200]
