"""An open file to Drafts: recognises the Shape, runs the Shape's adapter, and collects problems."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from scoring.rows.rows import BadRow, FileFault, Problem, Row, Values, escaped
from scoring.rows.shapes import COLUMNS, mapped, recognise, takes_names
from scoring.rows.shapes.guesses import paths_of
from scoring.rows.shapes.shape import Shape

SAMPLE_ROWS = 100
SAMPLE_BYTES = 4 * 2**20
LIMIT_BYTES = 8 * 2**20
"""A preview reads at most so many bytes of rows: adapters take time for long rows."""
FIRST_ROWS = 10
TICK_SECONDS = 0.5
SHOWN_LINES = 10
MAX_COMPLETIONS = 256
"""Of one prompt in one row. The options of the import bound its pairs."""
PLAIN = ImportOptions()


class Sink(Protocol):
    """Where Drafts and Problems go. `add` raises BadRow for a Draft that can't be stored."""

    def add(self, draft: Draft) -> None: ...

    def refuse(self, problem: Problem) -> None: ...


class _Late(Exception):
    """The limit of a preview is reached; the file is read no further."""


class Reader:
    """Reads one file into a sink.

    `tick` is called twice a second with (rows read, estimate of all rows); an exception of `tick` ends the
    reading. `saved`: the column mapping of earlier tables (see shapes.mapped). `limit`: (rows, seconds) after
    which reading stops. `tokens`: the token limit of the model, for a dry run's estimate of cut pairs.
    """

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
        self.first_rows: tuple[Values, ...] = ()
        """The values of the first rows, as they are in the file."""
        self.spelled: dict[str, str] = {}
        """The columns as the file writes them, by their known names."""
        self.cut = False
        """True if the limit ended the reading."""
        self._limit = limit
        self._tokens = tokens
        self.observed: Counter[str] = Counter()
        self._sink = sink
        self._options = options
        self._tick = tick
        self._bad_rows = 0
        self._saved = saved or {}
        self._note_lines: dict[str, list[int]] = {}
        self._note_counts: Counter[str] = Counter()
        self.pairs_left_out = 0
        self._columns = Columns()

    def read(self, reading: Reading) -> None:
        """Raises FileFault; the contents of the sink are then of no use."""
        rows = self._rows(self._counted(reading))
        sample = _sample(rows)
        if not sample:
            if self._bad_rows:
                return
            if self.cut:
                raise FileFault("no_rows_yet", "no row was found in the first second of reading the file")
            raise FileFault("empty", "the file has no rows")
        self.spelled = reading.watch.spelled
        self.columns = tuple(dict.fromkeys(column for row in sample for column in row.values))
        self.first_rows = tuple(row.values for row in sample[:FIRST_ROWS])
        self.shape = self._shape(sample, reading.header_line)
        _refuse_wrong_types(self.shape, reading.schema)
        for draft in self.shape.drafts(self._prepared(chain(sample, rows), self.shape), self._options):
            self._take(draft)
        self._refuse_unfilled(self.shape)

    def _prepared(self, rows: Iterable[Row], shape: Shape) -> Iterator[Row]:
        shape_columns = shape.columns
        for row in rows:
            self._columns.count_row(row)
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
        """The Shape by the column mapping, else by a saved mapping that fits, else by recognition."""
        named: Mapping[str, str] = self._options.columns
        if not named and self._options.format == "auto" and self._saved_fits(sample):
            named = self._saved
        if named and (shape := takes_names(named, sample, self._options.format)):
            self._options = replace(self._options, columns=dict(named))
            return shape
        if named:
            return mapped.mapped(named, self.columns)
        return recognise(sample, self._options.format, header_line)

    def _saved_fits(self, sample: Sequence[Row]) -> bool:
        """Whether the file has all columns of the saved mapping; in an export of another tool, all names."""
        names = [*self.columns]
        if self._saved and (shape := takes_names(self._saved, sample)) and shape.by_name:
            names += [name for row in sample for name in shape.by_name(row.values)]
        return mapped.fits(self._saved, names)

    @property
    def by_name(self) -> tuple[Values, ...]:
        """The first rows by the names that a column mapping may use."""
        flat = self.shape.by_name if self.shape else None
        return tuple(flat(row) for row in self.first_rows) if flat else self.first_rows

    @property
    def format(self) -> str:
        """Name of the Shape, "" while it is unknown."""
        return self.shape.name if self.shape else ""

    def column_uses(self) -> tuple[ColumnUse, ...]:
        """The use of each column in the rows read so far."""
        uses = self._columns.uses(self.shape)
        return tuple(replace(use, name=self.spelled.get(use.name, use.name)) for use in uses)

    def notes(self) -> tuple[str, ...]:
        """Sentences on odd rows that were read, with their lines."""
        return tuple(
            f"{note} ({_in_rows(self._note_counts[note])} {', '.join(map(str, lines))}"
            f"{', …' if self._note_counts[note] > SHOWN_LINES else ''})"
            for note, lines in self._note_lines.items()
        )

    def _counted(self, reading: Reading) -> Iterator[Entry]:
        ticked = time.monotonic()
        began = ticked
        count = size = 0

        def look() -> None:
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
                # An adapter may hold rows back on disk, and then nothing else looks at the clock.
                if self._limit and (count > self._limit[0] or size > LIMIT_BYTES):
                    raise _Late
                look()
                size += len(entry.raw)
                yield entry
        except _Late:
            self.cut = True

    def _rows(self, entries: Iterable[Entry]) -> Iterator[Row]:
        for entry in entries:
            if isinstance(entry, Row):
                yield entry
            else:
                self._refuse(entry)

    def _refuse(self, problem: Problem) -> None:
        self._bad_rows += 1
        self._sink.refuse(problem)

    def _note(self, note: str, line: int) -> None:
        self._note_counts[note] += 1
        lines = self._note_lines.setdefault(note, [])
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
        self._columns.count_draft(draft)
        try:
            self._sink.add(draft)
        except BadRow as bad:
            self._refuse(bad.at(Row(draft.line, {})))


def _in_rows(count: int) -> str:
    return "1 row: line" if count == 1 else f"{count:,} rows: lines"


def _sample(rows: Iterator[Row]) -> list[Row]:
    """The rows by which the Shape is recognised: the first 100, or 4 MiB."""
    sample: list[Row] = []
    size = 0
    for row in rows:
        sample.append(row)
        size += len(row.raw)
        if len(sample) == SAMPLE_ROWS or size > SAMPLE_BYTES:
            break
    return sample


def _refuse_wrong_types(shape: Shape, schema: pa.Schema | None) -> None:
    """Refuse a wrong type once for the file, where the schema shows it, and not once a row."""
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
    types = pa.types
    texts = (types.is_string, types.is_large_string, types.is_string_view, types.is_struct, types.is_null)
    return any(is_kind(kind) for is_kind in texts)


def paths_in(path: Path) -> tuple[str, ...]:
    """The columns of a file and the paths into them (see mapped), by its first rows. Raises FileFault."""
    with ExitStack() as stack:
        reading = open_rows(path, "", stack, COLUMNS)
        return paths_of(row.values for row in _sample(row for row in reading.rows if isinstance(row, Row)))


def read_file(path: Path, options: ImportOptions = PLAIN) -> tuple[list[Draft], list[Problem]]:
    """(Drafts, Problems) of a whole file, in memory."""
    contents = read_whole(path, options)
    return contents.drafts, contents.problems


def read_whole(path: Path, options: ImportOptions = PLAIN) -> "Everything":
    """The contents of a file, in memory. A fault of the file is its first Problem."""
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
    """A sink that keeps all. `format` is the name of the Shape, "" for none."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.problems: list[Problem] = []
        self.format = ""

    def add(self, draft: Draft) -> None:
        self.drafts.append(draft)

    def refuse(self, problem: Problem) -> None:
        self.problems.append(problem)
