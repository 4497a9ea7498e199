"""Cells of CSV files as spreadsheets take them: no text is run."""

from typing import Any

FORMULA_STARTS = (*"=+-@|%", *"\t\r\n", *"＝＋－＠", "'")
"""A cell that begins so gets one ' in front: spreadsheets run the others as formulas, or strip them and run
what follows, and the last is escaped so that taking one ' away always gives the text back."""


def plain_cell(value: Any) -> Any:
    """The value as a cell that no spreadsheet computes; what is no text stays as it is."""
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value
