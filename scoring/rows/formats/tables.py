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


def table_rows(
    file: BinaryIO, delimiter: str, columns: Mapping[str, str], formula_safe: bool, watch: Watch
) -> Iterator[Entry]:
    """The rows of a CSV or TSV file. A quoted cell may hold line ends; the `line` of a row is its first."""
    csv.field_size_limit(MAX_LINE_BYTES)
    # Bytes that are not UTF-8 become lone surrogates here, and an error with its line below.
    lines = (line.decode("utf-8", "surrogateescape") for _, line in numbered_lines(file))
    header_text = next(lines, "")
    delimiter = _delimiter_of(header_text, delimiter)
    records = _records(csv.reader(chain([header_text], lines), delimiter=delimiter, strict=True))
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
        else:
            if formula_safe:
                cells = restored(cells)
            elif release_cells:
                cells = release_cells.texts(line, cells)
            yield _record_row(line, header, cells)


def _delimiter_of(header: str, delimiter: str) -> str:
    """The delimiter of the file's ending, unless it does not split the header and another one does."""
    for candidate in (delimiter, ";", "\t", ","):
        if len(next(csv.reader([header.rstrip("\r\n")], delimiter=candidate), [])) > 1:
            return candidate
    return delimiter


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


def _record_row(line: int, header: list[str], cells: list[str]) -> Entry:
    values = dict(zip(header, cells, strict=False))
    row = Row(line, values)
    try:
        if len(cells) != len(header):
            hint = "; is a comma outside quotes?" if len(cells) > len(header) else ""
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
