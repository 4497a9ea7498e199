"""Prompts that training and evaluation share: between the splits of a Dataset, with other Datasets, and with
the prompts of a benchmark.

Two prompts are called alike when they have 13 words in a row in common after normalising (as in the
contamination analysis of Brown et al. 2020, arXiv:2005.14165, appendix C), or are the same as a whole, which
is all that can be asked of shorter ones and of languages that put no space between words."""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from workbench.models import Dataset, Prompt
from workbench.models.dataset import Message
from workbench.pipeline.release.splits import SPLITS, Split, split_of

WORDS = 13
EXAMPLES = 5
CHUNK = 2_000


@dataclass
class Alike:
    """Prompts of one split that are like some of a reference: how many, their groups, and the keys of the
    first few."""

    prompts: int = 0
    groups: set[str] = field(default_factory=set)
    examples: list[int] = field(default_factory=list)

    def add(self, key: int, group: str) -> None:
        self.prompts += 1
        self.groups.add(group)
        if len(self.examples) < EXAMPLES:
            self.examples.append(key)


@dataclass(frozen=True)
class Leak:
    """What a Dataset shares with one reference, by the Dataset's splits. For a reference within the Dataset
    or in another Dataset only what crosses splits is a leak: training prompts like theirs for testing."""

    reference: str
    size: int
    by_split: dict[Split, Alike]


def shingles(text: str) -> set[bytes]:
    """8-byte digests of every 13 words in a row of the normalised text; of the whole when it is shorter.
    Normalised: NFKC, case folded, all but letters and digits taken for white space."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(c if c.isalnum() else " " for c in folded).split()
    if len(words) < WORDS:
        return {_digest(words)} if words else set()
    return {_digest(words[start : start + WORDS]) for start in range(len(words) - WORDS + 1)}


def _digest(words: list[str]) -> bytes:
    return hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest()


def text_of(messages: Iterable[Message]) -> str:
    return " ".join(message["content"] for message in messages)


def within(dataset: Dataset) -> Leak:
    """Training and validation prompts of the dataset that are like its own test prompts. Holds the digests
    of the test prompts alone: some 8 bytes a word and more for the set."""
    test, size = _reference(dataset, "test")
    return Leak("its own test split", size, _alike(dataset, test, ("train", "validation")))


def with_other(dataset: Dataset, other: Dataset) -> Leak:
    """Training and validation prompts of the dataset that are like the test prompts of the other."""
    test, size = _reference(other, "test")
    return Leak(f"the test split of {other}", size, _alike(dataset, test, ("train", "validation")))


def with_texts(dataset: Dataset, name: str, texts: Iterable[str]) -> Leak:
    """Prompts of any split of the dataset that are like the given texts, the prompts of a benchmark."""
    known: set[bytes] = set()
    size = 0
    for text in texts:
        known |= shingles(text)
        size += 1
    return Leak(name, size, _alike(dataset, known, SPLITS))


def _prompts(dataset: Dataset) -> Iterator[tuple[int, list[Message], str]]:
    rows = Prompt.objects.filter(dataset=dataset).order_by("pk").values_list("pk", "messages", "group")
    return rows.iterator(chunk_size=CHUNK)


def _reference(dataset: Dataset, split: Split) -> tuple[set[bytes], int]:
    known: set[bytes] = set()
    size = 0
    for _, messages, group in _prompts(dataset):
        if split_of(group) == split:
            known |= shingles(text_of(messages))
            size += 1
    return known, size


def _alike(dataset: Dataset, known: set[bytes], splits: Iterable[Split]) -> dict[Split, Alike]:
    found = {split: Alike() for split in splits}
    for key, messages, group in _prompts(dataset):
        alike = found.get(split_of(group))
        if alike is not None and not known.isdisjoint(shingles(text_of(messages))):
            alike.add(key, group)
    return found
