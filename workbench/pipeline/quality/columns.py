"""A Dataset as columns: one moment of the database, read in streams into arrays of a few bytes a row.

The arrays are sorted here: the database would write every row to a file to sort."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from django.db.models import Model, QuerySet

from workbench.db.bulk import in_chunks
from workbench.models import (
    Annotator,
    Comparison,
    Completion,
    Dataset,
    Judgment,
    ModelVersion,
    Outcome,
    Prompt,
    Score,
    Suggestion,
)
from workbench.pipeline.quality.figures import Index, Mask, Vector

CHUNK = 10_000
OUTCOMES = (Outcome.A, Outcome.B, Outcome.TIE, Outcome.BOTH_BAD)
"""An opinion is a place in this tuple. "Cannot judge" is no opinion: -1."""

ORDINAL = np.array([2, 0, 1, 1])
"""Their places on the scale b < neither < a."""

MARKDOWN = ("headers", "list items", "bold", "code")
_HEADER = re.compile(r"^#{1,6} ", re.MULTILINE)
_ITEM = re.compile(r"^[ \t]*(?:[-*+]|\d+[.)]) ", re.MULTILINE)
_TOPICS = ("topic", "category", "subset", "task")

M = TypeVar("M", bound=Model)
T = TypeVar("T")

Step = Callable[[int], None]
"""Called with the number of rows read since the last call; raises to stop."""


@dataclass(frozen=True)
class Pairs:
    """pk, prompt, topic, a and b: one entry a Comparison; source, length and markdown: one a Completion.
    prompt, a, b: places from 0 on. groups: the prompt group of each prompt. topic, source: places in `topics`
    and `sources` (topic -1 = none). markdown: counts by MARKDOWN; length: characters."""

    pk: Index
    prompt: Index
    groups: list[str]
    topic: Index
    topics: list[str]
    a: Index
    b: Index
    completions: Index
    source: Index
    sources: list[str]
    length: Vector
    markdown: Vector


@dataclass(frozen=True)
class Answers:
    """One entry a Judgment: superseded ones, gold and repeats too.

    pair: place of the Comparison; annotator: place of the annotator among `annotators` (primary keys);
    outcome: place in OUTCOMES; side: 1 where a was on the left, -1 where b was, 0 where sides play no part;
    guidelines: primary key or 0; seconds: NaN where not measured; at: seconds since 1970.
    current: stands as a vote. first: supersedes no other Judgment."""

    annotators: Index
    person: Mask
    pk: Index
    pair: Index
    annotator: Index
    outcome: Index
    side: Index
    guidelines: Index
    seconds: Vector
    at: Index
    imported: Mask
    current: Mask
    first: Mask
    last: int

    def __len__(self) -> int:
        return len(self.pair)


def pairs_of(dataset: Dataset, using: str, step: Step) -> Pairs:
    """All Comparisons of the dataset, by primary key. Texts are read in a stream and measured, not kept."""
    rows = Comparison.objects.using(using).filter(dataset=dataset).order_by()
    pk, prompt, a, b = _integers(rows.values_list("pk", "prompt_id", "a_id", "b_id"), 4, step)
    prompts, prompt = np.unique(prompt, return_inverse=True)
    completions, side = np.unique(np.concatenate([a, b]), return_inverse=True)
    topics, topic = _topics(dataset, using, prompts)
    groups = Prompt.objects.using(using).filter(dataset=dataset).order_by().values_list("pk", "group")
    group_of = dict(groups.iterator(chunk_size=CHUNK))
    sources: dict[str, int] = {}
    source = np.zeros(len(completions), dtype=np.int64)
    length = np.zeros(len(completions))
    markdown = np.zeros((len(completions), len(MARKDOWN)))
    texts = Completion.objects.using(using).filter(prompt__dataset=dataset).order_by()
    for chunk in _chunks(texts.values_list("pk", "source", "text"), step):
        places = np.searchsorted(completions, [row[0] for row in chunk])
        for place, (key, name, text) in zip(places.tolist(), chunk, strict=True):
            if place < len(completions) and completions[place] == key:
                source[place] = sources.setdefault(name, len(sources))
                length[place] = len(text)
                markdown[place] = _markdown(text)
    # In the order of names: the rows come in any order.
    names = sorted(sources)
    source = np.argsort([sources[name] for name in names])[source]
    return Pairs(
        pk, prompt, [group_of[key] for key in prompts.tolist()], topic[prompt], topics, side[: len(a)],
        side[len(a) :], completions, source, names, length, markdown,
    )  # fmt: skip


def independent_of(dataset: Dataset, answers: Answers, using: str) -> Mask:
    """The answers of people that count in figures (see Judgment.independent)."""
    return _mask(Judgment.objects.using(using).independent(dataset), answers)


def blind_of(dataset: Dataset, answers: Answers, using: str) -> Mask:
    """The opinions of people before any Suggestion (see Judgment.blind)."""
    return _mask(Judgment.objects.using(using).of(dataset).blind(), answers)


def _mask(rows: QuerySet[Judgment], answers: Answers) -> Mask:
    keys = np.fromiter(
        rows.order_by().values_list("pk", flat=True).iterator(chunk_size=CHUNK), dtype=np.int64
    )
    among: Mask = np.isin(answers.pk, keys)
    return among


def _markdown(text: str) -> tuple[int, int, int, int]:
    bold = text.count("**") // 2 if "**" in text else 0
    return len(_HEADER.findall(text)), len(_ITEM.findall(text)), bold, text.count("```") // 2


def _topics(dataset: Dataset, using: str, prompts: Index) -> tuple[list[str], Index]:
    """Names of topics, and the place of each prompt's topic: by the first of _TOPICS in its metadata."""
    rows = Prompt.objects.using(using).filter(dataset=dataset).exclude(metadata={}).order_by()
    topic_of: dict[int, str] = {}
    for key, metadata in rows.values_list("pk", "metadata").iterator(chunk_size=CHUNK):
        topic_of[key] = next((metadata[name] for name in _TOPICS if isinstance(metadata.get(name), str)), "")
    topics = [topic_of.get(key, "") for key in prompts.tolist()]
    names = sorted(set(topics) - {""})
    places = {name: place for place, name in enumerate(names)}
    return names, np.array([places.get(name, -1) for name in topics], dtype=np.int64)


def answers_of(dataset: Dataset, pairs: Pairs, using: str, step: Step) -> Answers:
    """All Judgments of the dataset, by primary key."""
    rows = Judgment.objects.using(using).of(dataset).order_by()
    values = rows.values_list(
        "pk", "comparison_id", "annotator_id", "outcome", "left", "guidelines_id", "seconds", "created_at",
        "stage", "is_current", "supersedes_id",
    )  # fmt: skip
    chunks = [
        np.array(
            [
                (pk, pair, annotator, _PLACE.get(outcome, -1), _SIDE.get(left, 0), guidelines or 0, seconds,
                 int(at.timestamp()), stage == Judgment.Stage.IMPORTED, current, supersedes is None)
                for pk, pair, annotator, outcome, left, guidelines, seconds, at, stage, current, supersedes
                in chunk
            ],
            _JUDGMENT,
        )
        for chunk in _chunks(values, step)
    ]  # fmt: skip
    table = np.concatenate(chunks) if chunks else np.zeros(0, _JUDGMENT)
    table = table[np.argsort(table["pk"])]
    columns = {name: np.ascontiguousarray(table[name]) for name in _JUDGMENT.fields or ()}
    annotators, columns["annotator"] = np.unique(columns["annotator"], return_inverse=True)
    columns["pair"] = np.searchsorted(pairs.pk, columns["pair"])
    people = Annotator.objects.using(using).filter(user__isnull=False).values_list("pk", flat=True)
    person = np.isin(annotators, np.fromiter(people, dtype=np.int64))
    return Answers(annotators=annotators, person=person, last=int(table["pk"].max(initial=0)), **columns)


_PLACE = {outcome.value: place for place, outcome in enumerate(OUTCOMES)}
_SIDE = {"a": 1, "b": -1}
_JUDGMENT = np.dtype(
    [
        ("pk", np.int64), ("pair", np.int64), ("annotator", np.int64), ("outcome", np.int64),
        ("side", np.int8), ("guidelines", np.int64), ("seconds", np.float32), ("at", np.int64),
        ("imported", bool), ("current", bool), ("first", bool),
    ]
)  # fmt: skip
"""The columns of Answers that have an entry a Judgment. numpy reads None as NaN."""


def votes_of(dataset: Dataset, using: str) -> tuple[Index, Index, Index]:
    """(Comparison, annotator, place in OUTCOMES) of all current opinions: primary keys, one entry a vote."""
    rows = Judgment.objects.using(using).of(dataset).current().opinions().order_by()
    chunks = [
        np.array([(pair, annotator, _PLACE[outcome]) for pair, annotator, outcome in chunk], dtype=np.int64)
        for chunk in _chunks(rows.values_list("comparison_id", "annotator_id", "outcome"), lambda _: None)
    ]
    pair, annotator, vote = np.concatenate(chunks).T if chunks else np.zeros((3, 0), dtype=np.int64)
    order = np.lexsort((annotator, pair))
    return pair[order], annotator[order], vote[order]


def margins_of(version: ModelVersion, dataset: Dataset, pairs: Pairs, using: str, step: Step) -> Vector:
    """The version's margin of each Comparison, as by `accuracy.margins`: NaN where a Score is missing,
    and 0 where both texts read the same to the version."""
    margin = np.full(len(pairs.pk), np.nan)
    scored = Comparison.objects.using(using).filter(
        prompt__dataset=dataset, a__scores__version=version, b__scores__version=version
    )
    reads_same = scored.exclude(suggestions__version=version).values_list("pk", flat=True)
    same_keys = np.fromiter(reads_same.iterator(chunk_size=CHUNK), dtype=np.int64)
    margin[np.searchsorted(pairs.pk, same_keys)] = 0
    rows = Suggestion.objects.using(using).of(dataset, version)
    for chunk in _chunks(rows.values_list("comparison_id", "margin"), step):
        keys, values = zip(*chunk, strict=True)
        margin[np.searchsorted(pairs.pk, keys)] = values
    return margin


def cut_of(version: ModelVersion, dataset: Dataset, pairs: Pairs, using: str) -> Mask:
    """Whether the version cuts a completion of the Comparison, or its prompt."""
    scores = Score.objects.using(using).filter(version=version, completion__prompt__dataset=dataset)
    keys = scores.cut().values_list("completion_id", flat=True).iterator(chunk_size=CHUNK)
    cut = np.isin(pairs.completions, np.fromiter(keys, dtype=np.int64))
    either: Mask = cut[pairs.a] | cut[pairs.b]
    return either


def _integers(rows: QuerySet[M, tuple[int, ...]], width: int, step: Step) -> Iterator[Index]:
    """Each column of whole numbers as an array, in the order of the first column."""
    chunks = [np.array(chunk, dtype=np.int64) for chunk in _chunks(rows, step)]
    table = np.concatenate(chunks) if chunks else np.zeros((0, width), dtype=np.int64)
    return iter(np.ascontiguousarray(table[np.argsort(table[:, 0])].T))


def _chunks(rows: QuerySet[M, T], step: Step) -> Iterator[list[T]]:
    for chunk in in_chunks(rows.iterator(chunk_size=CHUNK), CHUNK):
        step(len(chunk))
        yield chunk


def counted(answers: Answers, chosen: Mask, pairs: int) -> Vector:
    """(pairs, outcomes): the chosen answers by Comparison and outcome, without "cannot judge"."""
    use = chosen & (answers.outcome >= 0)
    cell = answers.pair[use] * len(OUTCOMES) + answers.outcome[use]
    counts = np.bincount(cell, minlength=pairs * len(OUTCOMES))
    return counts.reshape(pairs, len(OUTCOMES)).astype(np.float64)
