"""Cells of a CSV that no spreadsheet runs as formulas."""

from typing import TypeVar

from scoring.rows.defused import FORMULA_STARTS

_T = TypeVar("_T")


def plain_cell(value: _T) -> _T | str:
    """The value; a text that a spreadsheet would take for a formula gets a leading apostrophe."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value
