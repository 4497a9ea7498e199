"""An open file to Drafts: recognises the Shape, runs the Shape's adapter, and collects problems."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from scoring.rows.checks import TOKEN_LIMIT, observe
from scoring.rows.columns import Columns, ColumnUse
from scoring.rows.context import prepared
from scoring.rows.drafts import Draft, ImportOptions
from scoring.rows.formats import Entry, Reading, open_rows
from scoring.rows.rows import BadRow, FileFault, Problem, Row, escaped
from scoring.rows.shapes import COLUMNS, mapped, recognise
from scoring.rows.shapes.shape import Shape

SAMPLE_ROWS = 100
SAMPLE_BYTES = 4 * 2**20
LIMIT_BYTES = 8 * 2**20
"""Of the rows of a preview, as adapters take time for long rows as well."""
TICK_SECONDS = 0.5
SHOWN_LINES = 10
MAX_COMPLETIONS = 256
"""Of one prompt in one row; pairs are bounded by the import's options."""
PLAIN = ImportOptions()


class Sink(Protocol):
    """Where Drafts and Problems go. `add` raises BadRow for a Draft that can't be stored."""

    def add(self, draft: Draft) -> None: ...

    def refuse(self, problem: Problem) -> None: ...


class _Late(Exception):
    """The limit is reached; the rest of the file is left unread."""


class Reader:
    """Reads one file into a sink. `tick` is called twice a second with (rows read, estimate of all rows); an
    exception of `tick` ends the reading. `saved` are the named columns of earlier tables (see shapes.mapped).
    `limit` is (rows, seconds) after which the rest is left unread. `tokens` is the length that the model
    reads of a pair, for a dry run's estimate of cut pairs."""

    def __init__(
        self,
        sink: Sink,
        options: ImportOptions,
        tick: Callable[[int, int], None],
        saved: Mapping[str, str] | None = None,
        limit: tuple[int, float] | None = None,
        tokens: int = TOKEN_LIMIT,
    ) -> None:
        self.shape: Shape | None = None
        self.columns: tuple[str, ...] = ()
        self.cut = False
        """True when the file goes on after the limit."""
        self._limit = limit
        self._tokens = tokens
        self.observed: Counter[str] = Counter()
        self._sink = sink
        self._options = options
        self._tick = tick
        self._bad_rows = 0
        self._saved = saved or {}
        self._lines_of_note: dict[str, list[int]] = {}
        self._noted: Counter[str] = Counter()
        self.pairs_left_out = 0
        self._seen = Columns()

    def read(self, reading: Reading) -> None:
        """Raises FileFault; the contents of the sink are then of no use."""
        rows = self._good(self._counted(reading))
        sample = _sample(rows)
        if not sample:
            if self._bad_rows:
                return
            if self.cut:
                raise FileFault("no_rows_yet", "no row was found in the first second of reading the file")
            raise FileFault("empty", "the file has no rows")
        self.columns = tuple(dict.fromkeys(column for row in sample for column in row.values))
        self.shape = self._shape(sample, reading.header_line)
        _refuse_wrong_types(self.shape, reading.schema)
        for draft in self.shape.drafts(self._prepared(chain(sample, rows), self.shape), self._options):
            self._take(draft)
        self._refuse_unfilled(self.shape)

    def _prepared(self, rows: Iterable[Row], shape: Shape) -> Iterator[Row]:
        """Rows with their context taken out of their columns."""
        shape_columns = shape.columns
        for row in rows:
            self._seen.saw(row)
            try:
                yield prepared(row, shape_columns, self._note)
            except BadRow as bad:
                self._refuse(bad.at(row))

    def _refuse_unfilled(self, shape: Shape) -> None:
        """Raise FileFault for a column that somebody named for this file and that is empty in every row."""
        for word, message in shape.unfilled().items():
            if word in self._options.columns and not self.cut:
                raise FileFault("empty_column", message)
            self._note(message, 1)

    def _shape(self, sample: list[Row], header_line: int | None) -> Shape:
        """By the named columns, else by the saved columns where the file has them, else by recognition."""
        named: Mapping[str, str] = self._options.columns
        if not named and self._options.format == "auto" and mapped.fits(self._saved, self.columns):
            named = self._saved
        if named:
            return mapped.mapped(named, self.columns)
        return recognise(sample, self._options.format, header_line)

    @property
    def format(self) -> str:
        """Name of the Shape, "" while it is not known."""
        return self.shape.name if self.shape else ""

    def column_uses(self) -> tuple[ColumnUse, ...]:
        """What became of each column of the rows read until now."""
        return self._seen.uses(self.shape)

    def notes(self) -> tuple[str, ...]:
        """What adapters did with odd values, with the lines."""
        return tuple(
            f"{note} ({_rows(self._noted[note])} {', '.join(map(str, lines))}"
            f"{', …' if self._noted[note] > SHOWN_LINES else ''})"
            for note, lines in self._lines_of_note.items()
        )

    def _counted(self, reading: Reading) -> Iterator[Entry]:
        ticked = time.monotonic()
        began = ticked
        count = size = 0

        def look() -> None:
            """Also called where the bytes that are read hold no row."""
            nonlocal ticked
            now = time.monotonic()
            if self._limit and now - began > self._limit[1]:
                raise _Late
            if now - ticked > TICK_SECONDS:
                ticked = now
                self._tick(count, max(count, count * reading.size // max(1, reading.position())))

        reading.watch.look = look
        reading.watch.note = self._note
        try:
            for count, entry in enumerate(reading.rows, start=1):
                # Rows may wait on disk for others of their prompt, where nobody looks at the clock.
                if self._limit and (count > self._limit[0] or size > LIMIT_BYTES):
                    raise _Late
                look()
                size += len(entry.raw)
                yield entry
        except _Late:
            self.cut = True

    def _good(self, entries: Iterable[Entry]) -> Iterator[Row]:
        for entry in entries:
            if isinstance(entry, Row):
                yield entry
            else:
                self._refuse(entry)

    def _refuse(self, problem: Problem) -> None:
        self._bad_rows += 1
        self._sink.refuse(problem)

    def _note(self, note: str, line: int) -> None:
        self._noted[note] += 1
        lines = self._lines_of_note.setdefault(note, [])
        if len(lines) < SHOWN_LINES:
            lines.append(line)

    def _take(self, draft: Draft | Problem) -> None:
        if isinstance(draft, Problem):
            self._refuse(draft)
            return
        for note in draft.notes:
            self._note(note, draft.line)
        if len(draft.completions) > MAX_COMPLETIONS:
            n = len(draft.completions)
            pairs = f"{n:,} answers to one prompt make {n * (n - 1) // 2:,} pairs"
            message = f"{pairs}; at most {MAX_COMPLETIONS} answers can be read"
            self._refuse(Problem(draft.line, "completions", "too_many", message))
            return
        self.pairs_left_out += getattr(draft.comparisons, "left_out", 0)
        if not self._options.labels:
            draft = replace(draft, comparisons=tuple(replace(c, judgments=()) for c in draft.comparisons))
        for completion in draft.completions:
            if not completion.text or completion.text.isspace():
                self.observed["empty_completions"] += 1
        if self._options.dry_run:
            self.observed += observe(draft, self._tokens)
        self._seen.made(draft)
        try:
            self._sink.add(draft)
        except BadRow as bad:
            self._refuse(bad.at(Row(draft.line, {})))


def _rows(count: int) -> str:
    return "1 row: line" if count == 1 else f"{count:,} rows: lines"


def _sample(rows: Iterator[Row]) -> list[Row]:
    """The first rows, by which the Shape is recognised: at most 100, or 4 MiB."""
    sample: list[Row] = []
    size = 0
    for row in rows:
        sample.append(row)
        size += len(row.raw)
        if len(sample) == SAMPLE_ROWS or size > SAMPLE_BYTES:
            break
    return sample


def _refuse_wrong_types(shape: Shape, schema: pa.Schema | None) -> None:
    """A columnar file declares its types: say once what is wrong with them, not once a row."""
    wrong = [c for c in schema or () if c.name in shape.texts and not _may_hold_text(c.type)]
    if wrong:
        named = ", ".join(f"{escaped(column.name)} is {column.type}" for column in wrong)
        raise FileFault("wrong_types", f"these columns should hold text: {named}")


def _may_hold_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
        return pa.types.is_struct(kind) or isinstance(kind, pa.JsonType)
    if isinstance(kind, pa.JsonType):
        return True
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_struct,
            pa.types.is_null,
        )
    )  # fmt: skip


def read_file(path: Path, options: ImportOptions = PLAIN) -> tuple[list[Draft], list[Problem]]:
    """(Drafts, Problems) of a whole file, held in memory; nothing is stored."""
    contents = read_whole(path, options)
    return contents.drafts, contents.problems


def read_whole(path: Path, options: ImportOptions = PLAIN) -> "Everything":
    """As `read_file`, with the name of the Shape."""
    everything = Everything()
    reader = Reader(everything, options, lambda *_: None)
    with ExitStack() as stack:
        try:
            reader.read(open_rows(path, "", stack, COLUMNS))
        except FileFault as fault:
            everything.problems.insert(0, fault.problem)
    everything.format = reader.format
    return everything


class Everything:
    """The contents of a file: the sink of `read_whole`. `format` is the name of the Shape, "" for none."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.problems: list[Problem] = []
        self.format = ""

    def add(self, draft: Draft) -> None:
        self.drafts.append(draft)

    def refuse(self, problem: Problem) -> None:
        self.problems.append(problem)
