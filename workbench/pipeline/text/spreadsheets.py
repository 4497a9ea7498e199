"""Cells of CSV files as spreadsheets take them: no text is run."""

from typing import Any

from scoring.rows.defused import FORMULA_STARTS


def plain_cell(value: Any) -> Any:
    """The value as a cell that no spreadsheet computes; what is no text stays as it is."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value
