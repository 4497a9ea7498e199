"""CSV and TSV."""

import csv
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from scoring.rows.defused import ReleaseCells, is_of_release, restored
from scoring.rows.formats.base import MAX_LINE_BYTES, Entry, Watch, numbered_lines, refuse_columns
from scoring.rows.rows import BadRow, FileFault, Problem, Row, refuse_bad_text

if TYPE_CHECKING:
    from _csv import Reader

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""What may separate the cells of a table, in words."""
SAMPLE_LINES = 64
SAMPLE_CHARACTERS = 2**20


def table_rows(
    file: BinaryIO, delimiter: str, columns: Mapping[str, str], formula_safe: bool, watch: Watch
) -> Iterator[Entry]:
    """The rows of a CSV or TSV file. A quoted cell may hold line ends; the `line` of a row is its first.

    `delimiter`: that of the file's ending. The first lines may show that it is another of DELIMITERS.
    """
    csv.field_size_limit(MAX_LINE_BYTES)
    # Bytes that are not UTF-8 become lone surrogates here, and an error with its line below.
    lines = (line.decode("utf-8", "surrogateescape") for _, line in numbered_lines(file))
    first_lines, cut = _first(lines)
    header_text = first_lines[0] if first_lines else ""
    delimiter, usual = _delimiter_of(first_lines, delimiter, cut=cut), delimiter
    if delimiter != usual:
        watch.read_as.append(f"columns separated by {DELIMITERS[delimiter]}")
    records = _records(csv.reader(chain(first_lines, lines), delimiter=delimiter, strict=True))
    header: list[str] | None = None
    is_release = is_of_release(header_text)
    release_cells = ReleaseCells(lambda note, line: watch.note(note, line)) if is_release else None
    for line, cells in records:
        if isinstance(cells, Problem):
            if header is None:
                raise FileFault("bad_header", f"the header can't be read: {cells.message}", line)
            yield cells
        elif header is None:
            header = _header(cells, columns)
            watch.spelled.update(zip(header, (cell.strip() for cell in cells), strict=True))
        else:
            if formula_safe:
                cells = restored(cells)
            elif release_cells:
                cells = release_cells.texts(line, cells)
            yield _record_row(line, header, cells, delimiter)


def _first(lines: Iterator[str]) -> tuple[list[str], bool]:
    """(the first lines of the file, whether there may be more): 64 lines, or those of 1 MiB."""
    first: list[str] = []
    size = 0
    for line in lines:
        first.append(line)
        size += len(line)
        if len(first) == SAMPLE_LINES or size > SAMPLE_CHARACTERS:
            return first, True
    return first, False


def _delimiter_of(lines: list[str], usual: str, *, cut: bool) -> str:
    """The delimiter by which all records of the first lines have as many cells as the header: `usual`, or the
    one that makes the most cells.

    Where no delimiter does so, a row is bad, and will have its own error. Then `usual` is kept if it splits
    the header, or if nothing splits both the header and a record; else another one is taken that does.
    """
    candidates = [usual, *(candidate for candidate in DELIMITERS if candidate != usual)]
    sizes = {candidate: _record_sizes(lines, candidate, cut=cut) for candidate in candidates}
    agreed = [
        candidate for candidate, (header, *rows) in sizes.items() if header > 1 and set(rows) <= {header}
    ]
    if agreed:
        return usual if usual in agreed else max(agreed, key=lambda candidate: sizes[candidate][0])
    if sizes[usual][0] > 1:
        return usual
    splitting = [
        candidate for candidate, (header, *rows) in sizes.items() if header > 1 < max(rows, default=0)
    ]
    return splitting[0] if splitting else usual


def _record_sizes(lines: list[str], delimiter: str, *, cut: bool) -> list[int]:
    """The number of cells of the header and of each record; 0 for a record that is not CSV. With `cut`, the
    end of the last record may be missing."""
    sizes: list[int] = []
    try:
        # A record that is not CSV ends this; the sizes before it stay.
        sizes.extend(len(cells) for cells in csv.reader(lines, delimiter=delimiter, strict=True) if cells)
    except csv.Error as error:
        if not (cut and "unexpected end of data" in str(error)):
            sizes.append(0)
    return sizes or [0]


def _records(reader: "Reader") -> Iterator[tuple[int, list[str] | Problem]]:
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise FileFault("open_quote", "a quote opens in this row and is never closed", line) from None
            message = "a bare carriage return" if "new-line character" in str(error) else str(error)
            yield line, Problem(line, "", "not_csv", f"not CSV: {message}")
            continue
        if cells:
            yield line, cells


def _header(cells: list[str], columns: Mapping[str, str]) -> list[str]:
    names = [columns.get(cell.strip().lower(), cell.strip()) for cell in cells]
    refuse_columns(names, 1)
    return names


def _record_row(line: int, header: list[str], cells: list[str], delimiter: str) -> Entry:
    values = dict(zip(header, cells, strict=False))
    row = Row(line, values)
    try:
        if len(cells) != len(header):
            name = DELIMITERS[delimiter].removesuffix("s")
            hint = f"; is a {name} outside quotes?" if len(cells) > len(header) else ""
            raise BadRow(
                "",
                "cell_count",
                f"the row has {len(cells)} cells, the header has {len(header)}{hint}",
                str(cells),
            )
        for name, cell in values.items():
            if not cell.isascii() and any("\udc80" <= c <= "\udcff" for c in cell):
                raise BadRow(name, "not_utf8", f"{name} is not valid UTF-8; save the file as UTF-8", cell)
            if "\0" in cell:
                refuse_bad_text(cell, name)
    except BadRow as bad:
        return bad.at(row)
    return row
