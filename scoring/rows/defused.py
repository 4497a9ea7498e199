"""CSV files of Releases: a cell that a spreadsheet would run as a formula has one ' in front.

A CSV file is one of a Release if its header is one of RELEASE_COLUMNS, each name in quotes, and every cell is
written as a Release would write it. The ' is then removed, and a note names the lines.
"""

import re
from collections.abc import Callable

from scoring.rows.rows import FileFault

FORMULA_STARTS = (*"=+-@|%", *"\t\r\n", *"＝＋－＠", "'")
"""A cell with one of these beginnings gets one ' in front. Spreadsheets run such cells as formulas, or strip
white space and then run them. A leading ' gets another, so removing one ' always restores the text."""

_COLUMNS = """
prompt preferred rejected
prompt chosen rejected
prompt prefered_completions rejected_completions
instruction chosen_response rejected_response
chosen rejected
prompt chosen rejected margin
prompt completion label
prompt completion_a completion_b p_a p_tie n method strength group
pair_id prompt completion_a completion_b outcome strength comment annotator imported stage mode left \
suggested current seconds guidelines judged_at vote_metadata decided method reason note flags id prompt_id \
source_a source_b messages tools messages_a messages_b prompt_metadata metadata_a metadata_b pair_metadata
id prompt chosen chosen_model rejected rejected_model subset
"""
RELEASE_COLUMNS = frozenset(tuple(line.split()) for line in _COLUMNS.strip().split("\n"))
"""The columns of each profile of a Release that a CSV can hold, in their order."""

REMOVED = "the leading ' that a release adds against spreadsheet formulas is removed"

_NUMBER = re.compile(r"-\d+(\.\d+)?(e[+-]?\d+)?")
"""A Release writes numbers without a '."""

Note = Callable[[str, int], None]


def is_of_release(header: str) -> bool:
    """Whether the first line of a CSV file is the header of a Release."""
    line = header.rstrip("\n")
    return any(line == ",".join(f'"{name}"' for name in columns) for columns in RELEASE_COLUMNS)


def restored(cells: list[str]) -> list[str]:
    """The texts behind the cells of a Release: one leading ' less."""
    return [cell.removeprefix("'") for cell in cells]


class ReleaseCells:
    """The cells of a file with the header of a Release, row by row.

    The ' is removed until a cell shows that the file is none of a Release; cells then stay as they are.
    """

    def __init__(self, note: Note) -> None:
        self._note = note
        self._first_restored: int | None = None
        self._is_other = False

    def texts(self, line: int, cells: list[str]) -> list[str]:
        """The texts of one row. Raises FileFault if the ' was removed before and this row is none of a
        Release."""
        if self._is_other:
            return cells
        for cell in cells:
            if _is_other(cell):
                if self._first_restored is not None:
                    raise FileFault("defused", _MIXED.format(self._first_restored), line, cell)
                self._is_other = True
                return cells
        if not any(cell.startswith("'") for cell in cells):
            return cells
        if self._first_restored is None:
            self._first_restored = line
        self._note(REMOVED, line)
        return restored(cells)


_MIXED = (
    "a release would write this cell differently, but the leading ' in line {} is as in a release; if the "
    "file is a release, choose to remove the ' (--formula-safe), else save the file as JSONL"
)


def _is_other(cell: str) -> bool:
    """Whether no Release writes such a cell."""
    if cell.startswith("'"):
        return not cell[1:].startswith(FORMULA_STARTS)
    return cell.startswith(FORMULA_STARTS) and not _NUMBER.fullmatch(cell)
