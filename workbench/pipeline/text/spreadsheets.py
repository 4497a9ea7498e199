"""CSV that no spreadsheet runs as formulas."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from scoring.rows.defused import FORMULA_STARTS

_T = TypeVar("_T")


def plain_cell(value: _T) -> _T | str:
    """The value; a text that a spreadsheet would take for a formula gets a leading apostrophe."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


class _Echo:
    """A file for csv.writer that hands each row back."""

    def write(self, row: str) -> str:
        return row


def csv_lines(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The rows as lines of CSV."""
    writer = csv.writer(_Echo())
    for row in rows:
        yield writer.writerow([plain_cell(cell) for cell in row])
