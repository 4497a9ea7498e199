"""Leakage: prompts of a Dataset that are like test prompts of the Dataset, of another or of a benchmark.

Two prompts are alike when their normalised texts share 13 words in a row (as in the contamination analysis of
Brown et al. 2020, arXiv:2005.14165, appendix C). Shorter prompts are alike when all their words are the same;
so are long prompts in languages without spaces between words."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import IO, BinaryIO, cast
from uuid import uuid4

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from scoring.formats import BadLine, prompt_text, read_rows
from scoring.messages import message_reading
from scoring.normalise import shingles_in, words_in
from workbench.db.storage import stored
from workbench.models import Dataset, Prompt, Run, User
from workbench.models.dataset import Message
from workbench.models.runs import LeakFacts
from workbench.pipeline.history.recording import record_run
from workbench.pipeline.runs.lifecycle import is_called_off
from workbench.pipeline.runs.progress import Cancelled, Refused
from workbench.pipeline.text.splits import SPLITS, Split, split_of

WORDS = 13
EXAMPLES = 5
CHUNK = 2_000
PROMPT = "prompt"

Tick = Callable[[int], None]
"""Takes the number of prompts read since the last call; raises to stop the work."""


class BadReference(Refused):
    """A file of prompts that cannot be read; the message names the line."""


def _no_tick(read: int) -> None:
    pass


@dataclass
class Alike:
    """Prompts of one split that are like some prompt of a reference; `examples` has primary keys of the first
    few."""

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
    """Prompts of a Dataset, by its splits, that are like prompts of a reference; `size` counts the prompts of
    the reference."""

    reference: str
    size: int
    by_split: dict[Split, Alike]

    @property
    def facts(self) -> LeakFacts:
        return {
            "reference": self.reference,
            "size": self.size,
            "alike": {split: alike.prompts for split, alike in self.by_split.items()},
            "examples": {split: alike.examples for split, alike in self.by_split.items()},
        }


def shingles(text: str) -> set[bytes]:
    """8-byte digests of each 13 words in a row of the normalised text; of all words where there are fewer."""
    words = words_in(text)
    if not words:
        return set()
    runs = shingles_in(words, min(len(words), WORDS))
    return {hashlib.blake2b(run, digest_size=8).digest() for run in runs}


def text_of(messages: Iterable[Message]) -> str:
    return " ".join(map(message_reading, messages))


def within(dataset: Dataset, tick: Tick = _no_tick) -> Leak:
    """Training and validation prompts of the dataset that are like its test prompts. Memory: a digest of 8
    bytes for each word of the test prompts, and the set."""
    digests, size = _reference(dataset, ("test",), tick)
    return Leak("its own test split", size, _alike(dataset, digests, ("train", "validation"), tick))


def with_other(dataset: Dataset, other_dataset: Dataset, tick: Tick = _no_tick) -> Leak:
    """Training and validation prompts of the dataset that are like test prompts of the other; where the other
    is frozen, prompts of any split that are like any prompt of the other."""
    if other_dataset.frozen:
        digests, size = _reference(other_dataset, SPLITS, tick)
        return Leak(f"all of {other_dataset}", size, _alike(dataset, digests, SPLITS, tick))
    digests, size = _reference(other_dataset, ("test",), tick)
    return Leak(
        f"the test split of {other_dataset}", size, _alike(dataset, digests, ("train", "validation"), tick)
    )


def with_texts(dataset: Dataset, name: str, texts: Iterable[str], tick: Tick = _no_tick) -> Leak:
    """Prompts of any split of the dataset that are like the texts, the prompts of a benchmark."""
    digests: set[bytes] = set()
    size = 0
    for text in texts:
        digests |= shingles(text)
        size += 1
        if size % CHUNK == 0:
            tick(0)
    return Leak(name, size, _alike(dataset, digests, SPLITS, tick))


def _prompts(dataset: Dataset, tick: Tick) -> Iterator[tuple[int, list[Message], str]]:
    rows = Prompt.objects.filter(dataset=dataset).order_by("pk").values_list("pk", "messages", "group")
    for number, row in enumerate(rows.iterator(chunk_size=CHUNK)):
        if number % CHUNK == 0:
            tick(CHUNK)
        yield row


def _reference(dataset: Dataset, splits: Sequence[Split], tick: Tick) -> tuple[set[bytes], int]:
    """(digests of the prompts in the splits, number of these prompts)."""
    digests: set[bytes] = set()
    size = 0
    for _, messages, group in _prompts(dataset, tick):
        if split_of(group) in splits:
            digests |= shingles(text_of(messages))
            size += 1
    return digests, size


def _alike(dataset: Dataset, digests: set[bytes], splits: Iterable[Split], tick: Tick) -> dict[Split, Alike]:
    by_split = {split: Alike() for split in splits}
    for key, messages, group in _prompts(dataset, tick):
        alike = by_split.get(split_of(group))
        if alike is not None and not digests.isdisjoint(shingles(text_of(messages))):
            alike.add(key, group)
    return by_split


def texts_in(file: BinaryIO, name: str, column: str = PROMPT) -> Iterator[str]:
    """The prompts of a benchmark. A .jsonl file has them in a column, as text or messages; any other file
    has one a line. Raises BadReference."""
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
                columns = ", ".join(row) or "none"
                raise BadReference(f'{name}, line {number}: no column "{column}". Columns: {columns}.')
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
    """The groups of all prompts with a leak, sorted; a Release can leave them out."""
    return sorted({group for leak in leaks for alike in leak.by_split.values() for group in alike.groups})


# --- as a Run -----------------------------------------------------------------------------------------------


def begin(
    dataset: Dataset, files: Sequence[tuple[str, IO[bytes]]] = (), column: str = "", by: User | None = None
) -> Run | None:
    """A new Run, to be enqueued, that compares the dataset with all other datasets and with `files`: (name to
    show, file); None while such a Run is open. The files stay in storage until the Run is done."""
    if Run.objects.of(dataset).of_kind(Run.Kind.LEAKAGE).open().exists():
        return None
    params = {"column": column or PROMPT, "files": []}
    run = Run(kind=Run.Kind.LEAKAGE, dataset=dataset, params=params, created_by=by)
    with ExitStack() as stack:
        for name, file in files:
            path = stack.enter_context(stored(f"leakage/benchmark-{uuid4()}", file))
            run.params["files"].append({"name": name, "path": path})
        with transaction.atomic():
            run.save()
            record_run(run)
    return run


def carry_out(run: Run) -> None:
    """Write the report of a started Run, and finish the Run. Raises Cancelled and BadReference."""
    dataset = run.dataset
    if dataset is None:
        raise Refused("The dataset is gone.")
    other_datasets = list(Dataset.objects.not_deleted().exclude(pk=dataset.pk).order_by("name"))
    files = run.params["files"]
    passes = 2 + len(other_datasets) + len(files)  # the test split, then one for each reference
    total = dataset.prompts.count() * passes + Prompt.objects.exclude(dataset=dataset).count()
    done = 0

    def tick(read: int) -> None:
        nonlocal done
        done = min(done + read, total)
        if not run.update_progress(done, total):
            raise Cancelled

    leaks = [within(dataset, tick), *(with_other(dataset, other, tick) for other in other_datasets)]
    for sent in files:
        with default_storage.open(sent["path"]) as file:
            texts = texts_in(cast("BinaryIO", file), sent["name"], run.params["column"])
            leaks.append(with_texts(dataset, sent["name"], texts, tick))
    groups = groups_of(leaks)
    default_storage.delete(_groups_path(run))  # of an attempt that was killed here
    default_storage.save(_groups_path(run), ContentFile("\n".join(groups).encode()))
    if not run.finish(groups=len(groups), references=[leak.facts for leak in leaks]):
        if is_called_off(run):
            default_storage.delete(_groups_path(run))
        return
    for sent in files:
        default_storage.delete(sent["path"])


def delete_files(run: Run) -> None:
    """Delete the files of the Run of a report."""
    for sent in run.params.get("files", []):
        default_storage.delete(sent["path"])
    default_storage.delete(_groups_path(run))


def _groups_path(run: Run) -> str:
    return f"leakage/groups-{run.pk}"


def latest(dataset: Dataset) -> Run | None:
    """The newest report that is done."""
    return dataset.runs.filter(kind=Run.Kind.LEAKAGE, state=Run.State.DONE).order_by("-pk").first()


def groups_found(run: Run) -> tuple[str, ...]:
    """The groups with a leak, by the report of a Run that is done."""
    with default_storage.open(_groups_path(run)) as file:
        return tuple(file.read().decode().split())
