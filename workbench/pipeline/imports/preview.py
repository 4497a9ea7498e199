"""A preview of a file by its first rows: the format, the problems, and the rows that an import would add."""

import re
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, cast

from django.core.files.storage import default_storage

from scoring.messages import Message
from scoring.rows.checks import CHARACTERS_A_TOKEN
from scoring.rows.drafts import Draft, ImportOptions
from scoring.rows.formats import open_rows
from scoring.rows.reading import Reader
from scoring.rows.rows import FileFault, Problem, Values, escaped
from scoring.rows.shapes import COLUMNS
from scoring.rows.shapes.guesses import MOST_PATHS, Guess, guess, paths_of
from scoring.rows.shapes.shape import Shape
from workbench.models import Dataset, ModelVersion, Outcome, Upload
from workbench.pipeline.imports.groups import Groups, LinkedText
from workbench.pipeline.imports.importing import PLAIN, SHOWN_PROBLEMS, ImportResult
from workbench.pipeline.imports.packed import PackedRow, encode, pack
from workbench.pipeline.imports.store import are_stored
from workbench.pipeline.scoring.cuts import limit_of

SHOWN_EXAMPLES = 5
PREVIEW_ROWS = 1000
PREVIEW_SECONDS = 1.0
PREVIEW_PAIRS = 20_000

READ_AT_ONCE = threading.BoundedSemaphore(3)
"""A compressed file built to unfold takes tens of megabytes while its rows are read. A web process may have
500 MB, too little for such files in all threads at once."""


@dataclass(frozen=True)
class Example:
    """The first pair of a row, as an annotator would see it. `labels` is in words: "2 × left is better, 1 ×
    tie". `more` counts the further pairs of its prompt."""

    line: int
    messages: list[Message]
    left: str
    right: str
    labels: str
    more: int

    @classmethod
    def of(cls, draft: Draft) -> "Example":
        pair = draft.comparisons[0]
        left, right = draft.completions[pair.first].text, draft.completions[pair.second].text
        words = {outcome: word.lower() for outcome, word in Outcome.page_words().items()}
        words |= {"a": "left is better", "b": "right is better"}
        counts = Counter(words[judgment.outcome] for judgment in pair.judgments)
        labels = ", ".join(
            f"{count} × {word}" if len(pair.judgments) > 1 else word for word, count in counts.items()
        )
        return cls(draft.line, draft.messages, left, right, labels, more=0)


@dataclass(frozen=True)
class Preview:
    """The first `read` rows of a file. `whole`: the file has no further rows. `result`: the counts that an
    import of these rows would give. `title`: the recognised format in words, "" for none. `read_as`: what the
    bytes say of the file, beyond its name, in words. `paths`: the columns of these rows and the paths into
    them, for a mapping; in an export of another tool, the names of its columns and questions. `first_rows`:
    their values. `words`: the only words of a mapping that the format takes, None for all. `spelled`: columns
    as the file writes them, by their known names. `ranked`: the rows are ranked, so the pairs policy
    matters. `lengths`: of each answer with its prompt, in characters; `most`: how many of these the model
    reads. `pairs`: the number of pairs of each prompt. `balance`: labels by what they prefer: "longer",
    "shorter", "alike" (as long), or "tie" for ties and both bad."""

    title: str
    read_as: tuple[str, ...]
    paths: tuple[str, ...]
    first_rows: tuple[Values, ...]
    words: frozenset[str] | None
    spelled: Mapping[str, str]
    ranked: bool
    result: ImportResult
    read: int
    examples: tuple[Example, ...]
    whole: bool
    lengths: tuple[int, ...] = ()
    most: int = 0
    pairs: tuple[int, ...] = ()
    balance: Mapping[str, int] = field(default_factory=dict)


def preview(
    source: Path | BinaryIO, dataset: Dataset, options: ImportOptions = PLAIN, *, name: str = ""
) -> Preview:
    """Preview the first 1,000 rows of `source`, or the rows of the first second. Stores nothing."""
    options = replace(options, dry_run=True)
    rows = _FirstRows()
    tokens = limit_of(ModelVersion.objects.serving(dataset))
    limit = PREVIEW_ROWS, PREVIEW_SECONDS
    reader = Reader(rows, options, lambda *_: None, dataset.columns, limit, tokens)
    whole, faulty = True, False
    read_as: list[str] = []
    with READ_AT_ONCE, ExitStack() as stack:
        try:
            reading = open_rows(source, name, stack, COLUMNS, formula_safe=options.formula_safe)
            read_as = reading.watch.read_as
            reader.read(reading)
        except FileFault as fault:
            rows.problems.insert(0, fault.problem)
            faulty = True
        except _Enough:
            whole = False
    counts, pairs = _count_new(dataset, rows.packed)
    result = ImportResult(
        accepted=bool(rows.packed) and not faulty and (options.lenient or not rows.problems),
        format=reader.format,
        rejected=len({problem.line for problem in rows.problems}),
        problem_count=len(rows.problems),
        problems=tuple(sorted(rows.problems, key=lambda problem: problem.line or 0)[:SHOWN_PROBLEMS]),
        notes=reader.notes(),
        columns=reader.column_uses(),
        pairs_left_out=reader.pairs_left_out,
        dry_run=True,
        token_limit=tokens,
        near_duplicates=_count_near_duplicates(dataset, rows.texts) if options.near_duplicates else 0,
        **counts,
        **reader.observed,
    )
    shape = reader.shape
    names = paths_of((*reader.first_rows, dict.fromkeys(reader.columns)))
    if shape and shape.by_name:
        names = tuple(dict.fromkeys(name for row in reader.by_name for name in row))[:MOST_PATHS]
    return Preview(
        title=_as_written(shape, reader.spelled) if shape else "",
        read_as=tuple(read_as),
        paths=names,
        first_rows=reader.by_name,
        words=shape.words if shape else None,
        spelled=reader.spelled,
        ranked=bool(shape and shape.ranked),
        result=result,
        read=len(rows.packed) + result.rejected,
        examples=tuple(rows.examples(pairs)),
        whole=whole and not reader.cut,
        lengths=tuple(row.characters + len(answer.text) for row in rows.packed for answer in row.completions),
        most=tokens * CHARACTERS_A_TOKEN,
        pairs=tuple(pairs.values()),
        balance=_balance(rows.packed),
    )


def preview_upload(upload: Upload, options: ImportOptions = PLAIN) -> Preview:
    """As `preview`, of an uploaded file."""
    with default_storage.open(upload.path) as file:
        source = cast("BinaryIO", file.file)
        return preview(source, upload.dataset, options, name=upload.shown_name)


_PART_OF_EXPORT = re.compile(r"^(data|fields|annotations|responses)\.|\.responses$")
"""What stands beside the names of columns and questions in an export of another tool."""


def guesses_of(preview: Preview) -> dict[str, Guess]:
    """A use for each column whose name says one, by its path; only uses that the format takes."""
    if preview.words is None:
        return guess(preview.paths)
    paths = {_PART_OF_EXPORT.sub("", path): path for path in preview.paths}
    return {paths[name]: use for name, use in guess(tuple(paths)).items() if use.word in preview.words}


def _balance(rows: Iterable[PackedRow]) -> Counter[str]:
    """The labels of the rows by what they prefer."""
    preferred: Counter[str] = Counter()
    for row in rows:
        for pair in row.comparisons:
            ahead = len(row.completions[pair.a].text) - len(row.completions[pair.b].text)
            for outcome in (judgment.answer.outcome for judgment in pair.judgments if judgment.stands):
                if outcome in (Outcome.A, Outcome.B):
                    longer = ahead if outcome == Outcome.A else -ahead
                    preferred["longer" if longer > 0 else "shorter" if longer else "alike"] += 1
                elif outcome in (Outcome.TIE, Outcome.BOTH_BAD):
                    preferred["tie"] += 1
    return preferred


def _as_written(shape: Shape, spelled: Mapping[str, str]) -> str:
    """The title of a Shape, with the columns of a mapping as the file writes them."""
    if not shape.named:
        return shape.title
    parts = [part.partition(" = ") for part in shape.title.split(", ")]
    return ", ".join(f"{word}{mark}{escaped(spelled.get(name, name), 40)}" for word, mark, name in parts)


class _Enough(Exception):
    """Raised after the last row that the preview needs."""


class _FirstRows:
    """The sink of a preview. Raises _Enough."""

    def __init__(self) -> None:
        self.packed: list[PackedRow] = []
        self.texts: list[LinkedText | None] = []
        self.problems: list[Problem] = []
        self._until = time.monotonic() + PREVIEW_SECONDS
        self._pairs = 0
        self._prompts: set[str] = set()
        self._examples: list[tuple[str, Example]] = []
        self._apart = 1

    def add(self, draft: Draft) -> None:
        row = pack(draft)
        self.packed.append(row)
        self._pairs += len(draft.comparisons)
        self.texts.append(LinkedText.of(row.sha256, row.group, draft, near_duplicates=True))
        if draft.comparisons and row.sha256 not in self._prompts:
            self._maybe_show(row.sha256, draft)
        self._stop_when_enough()

    def _maybe_show(self, prompt: str, draft: Draft) -> None:
        """Keep each 1st, 2nd, 4th, ... new prompt: few are held, and they stand evenly in the file."""
        if len(self._prompts) % self._apart == 0:
            self._examples.append((prompt, Example.of(draft)))
        self._prompts.add(prompt)
        if len(self._examples) == 2 * SHOWN_EXAMPLES:
            self._examples, self._apart = self._examples[::2], 2 * self._apart

    def examples(self, pairs: Mapping[str, int]) -> list[Example]:
        """At most SHOWN_EXAMPLES, each of another prompt: the first, and others evenly over the rows read.
        `pairs`: the number of pairs by digest of the prompt."""
        step = max(1.0, (len(self._examples) - 1) / (SHOWN_EXAMPLES - 1))
        places = sorted({round(step * n) for n in range(min(SHOWN_EXAMPLES, len(self._examples)))})
        return [
            replace(example, more=max(0, pairs[prompt] - 1))
            for prompt, example in (self._examples[place] for place in places)
        ]

    def refuse(self, problem: Problem) -> None:
        self.problems.append(problem)
        self._stop_when_enough()

    def _stop_when_enough(self) -> None:
        rows = len(self.packed) + len(self.problems)
        if rows >= PREVIEW_ROWS or self._pairs >= PREVIEW_PAIRS or time.monotonic() > self._until:
            raise _Enough


def _count_near_duplicates(dataset: Dataset, texts: list[LinkedText | None]) -> int:
    """How many of the texts would join the group of another."""
    with tempfile.TemporaryDirectory(prefix="workbench-preview-") as folder, ExitStack() as stack:
        db = sqlite3.connect(":memory:", isolation_level=None)
        stack.callback(db.close)
        groups = Groups(db, Path(folder))
        groups.number(texts)
        groups.assign(dataset, lambda *_: None)
        return groups.near_duplicates()


def _count_new(dataset: Dataset, packed: list[PackedRow]) -> tuple[dict[str, int], Counter[str]]:
    """(counts, pairs). The counts of Store for these rows, as if none of their Prompts, Completions and
    Comparisons was stored: `rows` without exact repeats, distinct Prompts, Completions and Comparisons, and
    the labels that stand. `pairs`: how many of these Comparisons each Prompt has, by its digest."""
    distinct = list({encode(row): row for row in packed}.values())
    counts = Counter(
        duplicates=len(packed) - len(distinct),
        rows=len(distinct),
        labels_of_repeats=sum(row.labels() for row in packed) - sum(row.labels() for row in distinct),
    )
    seen: dict[str, set[tuple[str, ...]]] = {"prompts": set(), "completions": set(), "comparisons": set()}
    outcomes: dict[tuple[tuple[str, ...], str], str] = {}

    def distinct_keys() -> int:
        return sum(map(len, seen.values())) + len(outcomes)

    for row, is_stored in zip(distinct, are_stored(dataset, distinct), strict=True):
        keys_before = distinct_keys()
        seen["prompts"].add((row.sha256,))
        seen["completions"].update((row.sha256, completion.sha256) for completion in row.completions)
        for pair in row.comparisons:
            a, b = row.completions[pair.a].sha256, row.completions[pair.b].sha256
            if a == b:
                counts["identical"] += 1
                continue
            key = (row.sha256, a, b)
            seen["comparisons"].add(key)
            for judgment in pair.judgments:
                outcome = judgment.answer.outcome
                if (first := outcomes.get((key, judgment.annotator))) is not None:
                    counts["repeated_judgments" if first == outcome else "contradictions"] += 1
                    continue
                outcomes[key, judgment.annotator] = outcome
                counts["superseded"] += len(judgment.earlier) + (not judgment.stands)
                counts["judgments"] += judgment.stands
                counts["ties"] += judgment.stands and outcome == Outcome.TIE
        counts["already_there"] += is_stored
        counts["duplicates"] += not is_stored and distinct_keys() == keys_before
    pairs = Counter({prompt: 0 for (prompt,) in seen["prompts"]})
    pairs.update(prompt for prompt, *_ in seen["comparisons"])
    return dict(counts) | {name: len(keys) for name, keys in seen.items()}, pairs
