"""A file into a Dataset: read and check all of it first, then store it in one transaction."""

import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from django.db import transaction
from django.utils import timezone

from scoring.rows.columns import ColumnUse
from scoring.rows.drafts import Draft, ImportOptions
from scoring.rows.files import open_rows
from scoring.rows.reading import Reader
from scoring.rows.rows import FileFault, Problem
from scoring.rows.shapes import COLUMNS
from workbench.models import Dataset, ModelVersion, Outcome
from workbench.pipeline.imports.groups import Groups, LinkedText
from workbench.pipeline.imports.spool import Packed, Spool, labels_in, pack
from workbench.pipeline.imports.store import CHUNK_ROWS, Store, are_stored
from workbench.pipeline.runs.progress import Cancelled
from workbench.pipeline.scoring.cuts import estimate_in_words, limit_of
from workbench.pipeline.text import learnt

SHOWN_PROBLEMS = 100
SHOWN_EXAMPLES = 5
PREVIEW_ROWS = 1000
PREVIEW_SECONDS = 1.0
PREVIEW_PAIRS = 20_000
PLAIN = ImportOptions()

Progress = Callable[[str, int, int], bool]
"""Called with ("reading", "grouping" or "storing", done, in all); these are rows, an estimate of all while
reading, and while grouping steps of no fixed size. False cancels."""


@dataclass(frozen=True)
class ImportResult:
    """What came of an import.

    `rows` are the good rows of the file without exact repeats; of these `already_there` were stored before.
    `prompts` to `superseded` (votes that no longer stand) count what was new; `near_duplicates` are new texts
    of prompts that joined the group of another; `labels_of_repeats` are in exact repeats. When `accepted` is
    False nothing was stored, and `problems` says why (the first 100 of `problem_count`). `empty_completions`
    are without a text; Releases and trainings leave them out. `over_token_limit` (more than the `token_limit`
    that the model reads), `names_a_model` and `cut_off` count completions, by estimate; only a dry run and a
    preview fill them. `columns` says what each column became.
    """

    accepted: bool
    format: str = ""
    rows: int = 0
    prompts: int = 0
    completions: int = 0
    comparisons: int = 0
    judgments: int = 0
    ties: int = 0
    superseded: int = 0
    near_duplicates: int = 0
    pairs_left_out: int = 0
    already_there: int = 0
    duplicates: int = 0
    identical: int = 0
    repeated_judgments: int = 0
    labels_of_repeats: int = 0
    contradictions: int = 0
    rejected: int = 0
    problem_count: int = 0
    empty_completions: int = 0
    over_token_limit: int = 0
    token_limit: int = 0
    names_a_model: int = 0
    cut_off: int = 0
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    columns: tuple[ColumnUse, ...] = ()
    dry_run: bool = False

    @property
    def labels(self) -> str:
        """How many imported labels count, and why others do not: "2,589 labels, 12 of them
        ties (left out: 400 duplicates, 8 contradictions)"; each is of labels of one source."""
        ties = f", {self.ties:,} of them {_many(self.ties, 'tie', 'ties')}" if self.ties else ""
        left_out = [
            f"{count:,} {_many(count, one, many)}"
            for count, one, many in (
                (
                    self.repeated_judgments + self.labels_of_repeats,
                    "duplicate",
                    "duplicates",
                ),
                (
                    self.contradictions,
                    "contradiction",
                    "contradictions",
                ),
                (self.superseded, "replaced label", "replaced labels"),
            )
            if count
        ]
        why = f" (left out: {', '.join(left_out)})" if left_out else ""
        return f"{self.judgments:,} {_many(self.judgments, 'label', 'labels')}{ties}{why}"

    @property
    def cuts(self) -> str:
        """How many completions the model would cut, by estimate; "" for none."""
        said = self.over_token_limit and estimate_in_words(self.over_token_limit, self.token_limit)
        return said or ""

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return values | {
            "labels": self.labels,
            "cuts": self.cuts,
            "problems": [problem.as_dict() for problem in self.problems],
            "notes": list(self.notes),
            "columns": [asdict(column) for column in self.columns],
        }


def _many(n: int, one: str, many: str) -> str:
    return one if n == 1 else many


@dataclass(frozen=True)
class Preview:
    """What a file looks like, from its first rows; `whole` when these are all of it. `result` counts what an
    import of these `read` rows would find and add; `title` says in words what was recognised, "" for nothing;
    `columns` are those of the first rows; `ranked` when the pairs policy matters."""

    title: str
    columns: tuple[str, ...]
    ranked: bool
    result: ImportResult
    read: int
    examples: tuple[Draft, ...]
    whole: bool


def _go_on(phase: str, done: int, total: int) -> bool:
    return True


def _accept(result: ImportResult) -> bool:
    return True


def import_file(
    source: Path | BinaryIO,
    dataset: Dataset,
    options: ImportOptions = PLAIN,
    progress: Progress = _go_on,
    *,
    name: str = "",
    rejects: BinaryIO | None = None,
    last_step: Callable[[ImportResult], bool] = _accept,
) -> ImportResult:
    """Read `source` and store what it holds in `dataset`: all of it, or nothing.

    `source` is a path, or a seekable file open for reading bytes; `name` is what its sender called it (the
    ending says what kind of file it claims to be), needed unless `source` is a path. An unsaved `dataset` is
    created together with its first rows. Bad rows are written to `rejects` as JSON lines. `last_step` is
    called in the transaction, after the rows: False rolls it back.
    A file that is refused raises nothing: the result is not `accepted`. Raises Cancelled when `progress` or
    `last_step` says so, then nothing is stored.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-import-") as folder, ExitStack() as stack:
        spool = Spool(Path(folder), options.near_duplicates)
        stack.callback(spool.close)

        def tick(done: int, total: int) -> None:
            if not progress("reading", done, total):
                raise Cancelled

        tokens = limit_of(ModelVersion.objects.serving(dataset))
        reader = Reader(spool, options, tick, dataset.columns, tokens=tokens)
        faulty = False
        try:
            rows = open_rows(source, name, stack, COLUMNS, formula_safe=options.formula_safe)
            reader.read(rows)
        except FileFault as fault:
            spool.refuse(fault.problem)
            faulty = True
        spool.refuse_contradicting_ids()
        duplicates, labels_of_repeats = spool.skip_duplicates()
        if rejects is not None:
            rejects.writelines(_rejected_line(problem) for problem in spool.problems())
        found = ImportResult(
            accepted=False,
            format=reader.format,
            rejected=spool.bad_rows(),
            problem_count=spool.problem_count(),
            problems=tuple(spool.problems(SHOWN_PROBLEMS)),
            notes=reader.notes(),
            columns=reader.column_uses(),
            pairs_left_out=reader.pairs_left_out,
            duplicates=duplicates,
            labels_of_repeats=labels_of_repeats,
            dry_run=options.dry_run,
            token_limit=tokens,
            **reader.observed,
        )
        if faulty or not spool.count() or (found.problem_count and not options.lenient):
            return found
        return _store(spool, dataset, found, options, progress, last_step)


def _rejected_line(problem: Problem) -> bytes:
    return orjson.dumps(problem.as_dict() | {"row": problem.raw}) + b"\n"


def _store(
    spool: Spool,
    dataset: Dataset,
    found: ImportResult,
    options: ImportOptions,
    progress: Progress,
    last_step: Callable[[ImportResult], bool],
) -> ImportResult:
    total, done = spool.count(), 0

    def go_on(phase: str, done: int, total: int) -> None:
        if not progress(phase, done, total):
            raise Cancelled

    go_on("storing", 0, total)
    with transaction.atomic():
        if dataset.pk is None:
            new = {"licence": dataset.licence}
            dataset.pk = Dataset.objects.get_or_create(name=dataset.name, defaults=new)[0].pk
        # Of two imports into one Dataset the second waits here, and then finds the rows of the first.
        if not Dataset.objects.there().select_for_update().filter(pk=dataset.pk).first():
            raise Cancelled
        spool.groups.assign(dataset, partial(go_on, "grouping"))
        known = Dataset.objects.values_list("licence", flat=True).get(pk=dataset.pk)
        licence = options.licence if options.licence != known else ""
        store = Store(dataset, options.source or found.format, spool.groups, licence)
        for chunk in spool.chunks(CHUNK_ROWS):
            store.add(chunk)
            done += len(chunk)
            go_on("storing", done, total)
        for _ in store.keep_keys():
            go_on("storing", done, total)
        learnt.look_through(dataset, partial(go_on, "storing", done, total))
        # In the same transaction: a message that asks for Scores may be lost, this is not.
        Dataset.objects.filter(pk=dataset.pk).update(needs_scoring=True, queue_stale_since=timezone.now())
        if options.columns:
            Dataset.objects.filter(pk=dataset.pk).update(columns=options.columns)
        counts = {**store.counts, "duplicates": found.duplicates + store.counts["duplicates"]}
        counts["near_duplicates"] = spool.groups.near_duplicates()
        result = replace(found, accepted=True, rows=total, **counts)  # type: ignore[arg-type]
        if not last_step(result):
            raise Cancelled
        transaction.set_rollback(options.dry_run)
    return result


def preview(
    source: Path | BinaryIO, dataset: Dataset, options: ImportOptions = PLAIN, *, name: str = ""
) -> Preview:
    """What an import of `source` would find, from its first 1,000 rows or what can be read in a second.
    Reads only."""
    options = replace(options, dry_run=True)
    prefix = _Prefix()
    limit = PREVIEW_ROWS, PREVIEW_SECONDS
    tokens = limit_of(ModelVersion.objects.serving(dataset))
    reader = Reader(prefix, options, lambda *_: None, dataset.columns, limit, tokens)
    whole, faulty = True, False
    with ExitStack() as stack:
        try:
            rows = open_rows(source, name, stack, COLUMNS, formula_safe=options.formula_safe)
            reader.read(rows)
        except FileFault as fault:
            prefix.problems.insert(0, fault.problem)
            faulty = True
        except _Enough:
            whole = False
    result = ImportResult(
        accepted=bool(prefix.packed) and not faulty and (options.lenient or not prefix.problems),
        format=reader.format,
        rejected=len({problem.line for problem in prefix.problems}),
        problem_count=len(prefix.problems),
        problems=tuple(sorted(prefix.problems, key=lambda problem: problem.line or 0)[:SHOWN_PROBLEMS]),
        notes=reader.notes(),
        columns=reader.column_uses(),
        pairs_left_out=reader.pairs_left_out,
        dry_run=True,
        token_limit=tokens,
        near_duplicates=_near_duplicates(dataset, prefix.texts) if options.near_duplicates else 0,
        **_counts(dataset, prefix.packed),
        **reader.observed,
    )
    shape = reader.shape
    return Preview(
        title=shape.title if shape else "",
        columns=reader.columns,
        ranked=bool(shape and shape.ranked),
        result=result,
        read=len(prefix.packed) + result.rejected,
        examples=tuple(prefix.examples),
        whole=whole and not reader.cut,
    )


class _Enough(Exception):
    """The preview has seen enough rows."""


class _Prefix:
    """The sink of a preview."""

    def __init__(self) -> None:
        self.examples: list[Draft] = []
        self.packed: list[Packed] = []
        self.texts: list[LinkedText | None] = []
        self.problems: list[Problem] = []
        self._until = time.monotonic() + PREVIEW_SECONDS
        self._pairs = 0

    def add(self, draft: Draft) -> None:
        row = pack(draft)
        self.packed.append(row)
        self._pairs += len(draft.comparisons)
        self.texts.append(LinkedText.of(row[0], row[1], draft, near_duplicates=True))
        if len(self.examples) < SHOWN_EXAMPLES and draft.comparisons:
            self.examples.append(draft)
        self._stop_when_enough()

    def refuse(self, problem: Problem) -> None:
        self.problems.append(problem)
        self._stop_when_enough()

    def _stop_when_enough(self) -> None:
        rows = len(self.packed) + len(self.problems)
        if rows >= PREVIEW_ROWS or self._pairs >= PREVIEW_PAIRS or time.monotonic() > self._until:
            raise _Enough


def _near_duplicates(dataset: Dataset, texts: list[LinkedText | None]) -> int:
    """How many of the texts would join the group of another."""
    with tempfile.TemporaryDirectory(prefix="workbench-preview-") as folder, ExitStack() as stack:
        db = sqlite3.connect(":memory:", isolation_level=None)
        stack.callback(db.close)
        groups = Groups(db, Path(folder))
        groups.number(texts)
        groups.assign(dataset, lambda *_: None)
        return groups.near_duplicates()


def _counts(dataset: Dataset, packed: list[Packed]) -> dict[str, int]:
    """What an import of the rows counts of them, as Store does, but for what is stored already: `rows`
    without exact repeats, distinct Prompts, Completions and Comparisons, and the labels that would stand."""
    distinct = list({orjson.dumps(row): row for row in packed}.values())
    counts = Counter(
        duplicates=len(packed) - len(distinct),
        rows=len(distinct),
        labels_of_repeats=sum(map(labels_in, packed)) - sum(map(labels_in, distinct)),
    )
    seen: set[Any] = set()
    said: dict[Any, str] = {}

    def add(name: str, key: Any) -> None:
        if (name, key) not in seen:
            seen.add((name, key))
            counts[name] += 1

    for row, stored in zip(distinct, are_stored(dataset, distinct), strict=True):
        size = len(seen) + len(said)
        add("prompts", row[0])
        for completion in row[5]:
            add("completions", (row[0], completion[0]))
        for a, b, *_, votes in row[6]:
            pair = (row[0], row[5][a][0], row[5][b][0])
            if pair[1] == pair[2]:
                counts["identical"] += 1
                continue
            add("comparisons", pair)
            for annotator, outcome, *_, superseded, stands in votes:
                if (earlier := said.get((pair, annotator))) is not None:
                    counts["repeated_judgments" if earlier == outcome else "contradictions"] += 1
                    continue
                said[pair, annotator] = outcome
                counts["superseded"] += len(superseded) + (not stands)
                counts["judgments"] += stands
                counts["ties"] += stands and outcome == Outcome.TIE
        counts["already_there"] += stored
        counts["duplicates"] += not stored and len(seen) + len(said) == size
    return dict(counts)
