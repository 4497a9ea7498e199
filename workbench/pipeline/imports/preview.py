"""A preview of a file by its first rows: the format, the problems, and the rows that an import would add."""

import sqlite3
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from scoring.messages import Message
from scoring.rows.drafts import Draft, ImportOptions
from scoring.rows.formats import open_rows
from scoring.rows.reading import Reader
from scoring.rows.rows import FileFault, Problem, Values
from scoring.rows.shapes import COLUMNS
from scoring.rows.shapes.guesses import paths_of
from workbench.models import Dataset, ModelVersion, Outcome
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
    tie". `more` counts the further pairs of the row."""

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
        return cls(draft.line, draft.messages, left, right, labels, len(draft.comparisons) - 1)


@dataclass(frozen=True)
class Preview:
    """The first `read` rows of a file. `whole`: the file has no further rows. `result`: the counts that an
    import of these rows would give. `title`: the recognised format in words, "" for none. `read_as`: what the
    bytes say of the file, beyond its name, in words. `paths`: the columns of these rows and the paths into
    them, for a mapping. `first_rows`: their values. `ranked`: the rows are ranked, so the pairs policy
    matters."""

    title: str
    read_as: tuple[str, ...]
    paths: tuple[str, ...]
    first_rows: tuple[Values, ...]
    ranked: bool
    result: ImportResult
    read: int
    examples: tuple[Example, ...]
    whole: bool


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
        **_count_new(dataset, rows.packed),
        **reader.observed,
    )
    shape = reader.shape
    return Preview(
        title=shape.title if shape else "",
        read_as=tuple(read_as),
        paths=paths_of((*reader.first_rows, dict.fromkeys(reader.columns))),
        first_rows=reader.first_rows,
        ranked=bool(shape and shape.ranked),
        result=result,
        read=len(rows.packed) + result.rejected,
        examples=tuple(rows.examples),
        whole=whole and not reader.cut,
    )


class _Enough(Exception):
    """Raised after the last row that the preview needs."""


class _FirstRows:
    """The sink of a preview. Raises _Enough."""

    def __init__(self) -> None:
        self.examples: list[Example] = []
        self.packed: list[PackedRow] = []
        self.texts: list[LinkedText | None] = []
        self.problems: list[Problem] = []
        self._until = time.monotonic() + PREVIEW_SECONDS
        self._pairs = 0

    def add(self, draft: Draft) -> None:
        row = pack(draft)
        self.packed.append(row)
        self._pairs += len(draft.comparisons)
        self.texts.append(LinkedText.of(row.sha256, row.group, draft, near_duplicates=True))
        if len(self.examples) < SHOWN_EXAMPLES and draft.comparisons:
            self.examples.append(Example.of(draft))
        self._stop_when_enough()

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


def _count_new(dataset: Dataset, packed: list[PackedRow]) -> dict[str, int]:
    """The counts of Store for these rows, as if none of their Prompts, Completions and Comparisons was
    stored: `rows` without exact repeats, distinct Prompts, Completions and Comparisons, and the labels that
    stand."""
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
    return dict(counts) | {name: len(keys) for name, keys in seen.items()}
