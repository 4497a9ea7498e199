"""Prompts that training and evaluation share: between the splits of a Dataset, with other Datasets, and with
the prompts of a benchmark.

Two prompts are called alike when they have 13 words in a row in common after normalising (as in the
contamination analysis of Brown et al. 2020, arXiv:2005.14165, appendix C), or are the same as a whole, which
is all that can be asked of shorter ones and of languages that put no space between words."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, BinaryIO, cast
from uuid import uuid4

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from scoring.formats import BadLine, prompt_text, read_rows
from scoring.messages import said
from scoring.normalise import shingles_in, words_in
from workbench.db.storage import kept
from workbench.models import Dataset, Prompt, Run
from workbench.models.dataset import Message
from workbench.pipeline.runs.lifecycle import is_called_off
from workbench.pipeline.runs.progress import Cancelled
from workbench.pipeline.text.splits import SPLITS, Split, split_of

WORDS = 13
EXAMPLES = 5
CHUNK = 2_000
PROMPT = "prompt"

Tick = Callable[[int], None]
"""Told how many prompts were read since it was last called; what it raises stops the work."""


class BadReference(ValueError):
    """A file of prompts that cannot be read; the message is a sentence that names the line."""


def _no_tick(read: int) -> None:
    pass


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
    """8-byte digests of every 13 words in a row of the normalised text; of all its words when they are
    fewer."""
    words = words_in(text)
    if not words:
        return set()
    runs = shingles_in(words, min(len(words), WORDS))
    return {hashlib.blake2b(run, digest_size=8).digest() for run in runs}


def text_of(messages: Iterable[Message]) -> str:
    return " ".join(map(said, messages))


def within(dataset: Dataset, tick: Tick = _no_tick) -> Leak:
    """Training and validation prompts of the dataset that are like its own test prompts. Holds the digests
    of the test prompts alone: some 8 bytes a word and more for the set."""
    test, size = _reference(dataset, ("test",), tick)
    return Leak("its own test split", size, _alike(dataset, test, ("train", "validation"), tick))


def with_other(dataset: Dataset, other: Dataset, tick: Tick = _no_tick) -> Leak:
    """Training and validation prompts of the dataset that are like the test prompts of the other; where the
    other is frozen, prompts of any split that are like any of its own."""
    if other.frozen:
        known, size = _reference(other, SPLITS, tick)
        return Leak(f"all of {other}", size, _alike(dataset, known, SPLITS, tick))
    test, size = _reference(other, ("test",), tick)
    return Leak(f"the test split of {other}", size, _alike(dataset, test, ("train", "validation"), tick))


def with_texts(dataset: Dataset, name: str, texts: Iterable[str], tick: Tick = _no_tick) -> Leak:
    """Prompts of any split of the dataset that are like the given texts, the prompts of a benchmark."""
    known: set[bytes] = set()
    size = 0
    for text in texts:
        known |= shingles(text)
        size += 1
        if size % CHUNK == 0:
            tick(0)
    return Leak(name, size, _alike(dataset, known, SPLITS, tick))


def _prompts(dataset: Dataset, tick: Tick) -> Iterator[tuple[int, list[Message], str]]:
    rows = Prompt.objects.filter(dataset=dataset).order_by("pk").values_list("pk", "messages", "group")
    for number, row in enumerate(rows.iterator(chunk_size=CHUNK)):
        if number % CHUNK == 0:
            tick(CHUNK)
        yield row


def _reference(dataset: Dataset, splits: Sequence[Split], tick: Tick) -> tuple[set[bytes], int]:
    known: set[bytes] = set()
    size = 0
    for _, messages, group in _prompts(dataset, tick):
        if split_of(group) in splits:
            known |= shingles(text_of(messages))
            size += 1
    return known, size


def _alike(dataset: Dataset, known: set[bytes], splits: Iterable[Split], tick: Tick) -> dict[Split, Alike]:
    found = {split: Alike() for split in splits}
    for key, messages, group in _prompts(dataset, tick):
        alike = found.get(split_of(group))
        if alike is not None and not known.isdisjoint(shingles(text_of(messages))):
            alike.add(key, group)
    return found


def texts_in(file: BinaryIO, name: str, column: str = PROMPT) -> Iterator[str]:
    """The prompts of a benchmark: of a column of a .jsonl file, as text or as messages; of any other file one
    a line. Raises BadReference."""
    return _of_column(file, name, column) if PurePath(name).suffix == ".jsonl" else _of_lines(file, name)


def _of_lines(file: BinaryIO, name: str) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            raise BadReference(f"{name}, line {number}: not UTF-8. Is this a file of text?") from None
        if text:
            yield text


def _of_column(file: BinaryIO, name: str, column: str) -> Iterator[str]:
    try:
        for number, row in read_rows(file):
            if column not in row:
                found = ", ".join(row) or "no column"
                raise BadReference(f'{name}, line {number}: there is no column "{column}", but {found}.')
            yield _text(row[column], f"{name}, line {number}")
    except BadLine as error:
        raise BadReference(f"{name}: {error}") from None


def _text(value: object, place: str) -> str:
    try:
        if not isinstance(value, list):
            return prompt_text(value)
        if not all(isinstance(message, dict) for message in value):
            raise ValueError("a prompt that is a list holds messages, each an object")
        return text_of(value)
    except (ValueError, TypeError, KeyError) as error:
        raise BadReference(f"{place}: {error}") from None


def groups_of(leaks: Iterable[Leak]) -> list[str]:
    """The groups of all prompts that were found, sorted: what a Release can be made without."""
    return sorted({group for leak in leaks for alike in leak.by_split.values() for group in alike.groups})


# --- as a Run -----------------------------------------------------------------------------------------------


@contextmanager
def begin(dataset: Dataset, files: Sequence[tuple[str, Any]], column: str) -> Iterator[Run]:
    """A waiting Run, to be saved in the body of `with`, that compares the dataset with all others and with
    `files`, each (name as shown, file as storages take it). They are stored under names of our own until the
    Run has ended well; when the body fails, they go."""
    run = Run(kind=Run.Kind.LEAKAGE, dataset=dataset, params={"column": column or PROMPT, "files": []})
    with ExitStack() as stack:
        for name, file in files:
            path = stack.enter_context(kept(f"leakage/benchmark-{uuid4()}", file))
            run.params["files"].append({"name": name, "path": path})
        yield run


def carry_out(run: Run) -> None:
    """Make the report of the Run and end it. Raises Cancelled when somebody has cancelled it."""
    dataset = run.dataset
    if dataset is None:
        run.fail("The dataset is gone.")
        return
    others = list(Dataset.objects.there().exclude(pk=dataset.pk).order_by("name"))
    own, files = dataset.prompts.count(), run.params["files"]
    references = 1 + len(others) + len(files)
    total = own * (1 + references) + Prompt.objects.exclude(dataset=dataset).count()
    done = 0

    def tick(read: int) -> None:
        nonlocal done
        done = min(done + read, total)
        if not run.update_progress(done, total):
            raise Cancelled

    leaks = [within(dataset, tick), *(with_other(dataset, other, tick) for other in others)]
    try:
        for told in files:
            with default_storage.open(told["path"]) as file:
                texts = texts_in(cast("BinaryIO", file), told["name"], run.params["column"])
                leaks.append(with_texts(dataset, told["name"], texts, tick))
    except BadReference as error:
        run.fail(str(error))
        return
    groups = groups_of(leaks)
    default_storage.delete(_groups_path(run))  # of a try that was killed here
    default_storage.save(_groups_path(run), ContentFile("\n".join(groups).encode()))
    if not run.finish(groups=len(groups), references=[facts_of(leak) for leak in leaks]):
        if is_called_off(run):
            default_storage.delete(_groups_path(run))
        return
    for told in files:
        default_storage.delete(told["path"])


def delete_files(run: Run) -> None:
    """Delete what the Run of a report has stored or was sent."""
    for told in run.params.get("files", []):
        default_storage.delete(told["path"])
    default_storage.delete(_groups_path(run))


def _groups_path(run: Run) -> str:
    return f"leakage/groups-{run.pk}"


def facts_of(leak: Leak) -> dict[str, Any]:
    """A leak as JSON takes it."""
    return {
        "reference": leak.reference,
        "size": leak.size,
        "alike": {split: alike.prompts for split, alike in leak.by_split.items()},
        "examples": {split: alike.examples for split, alike in leak.by_split.items()},
    }


def latest(dataset: Dataset) -> Run | None:
    """The last report that is done."""
    return dataset.runs.filter(kind=Run.Kind.LEAKAGE, state=Run.State.DONE).order_by("-pk").first()


def groups_found(run: Run) -> tuple[str, ...]:
    """The groups that the report of a Run that is done found."""
    with default_storage.open(_groups_path(run)) as file:
        return tuple(file.read().decode().split())
