"""Cells of CSV files as Releases write them: a text that a spreadsheet would run has one ' before it.

Whether a CSV is such a file is told by the file: its columns are those of a Release, each name in quotes, and
each cell that begins with ' goes on as a defused text does. What is taken away is told with its lines.
"""

import re
from collections.abc import Callable

from scoring.rows.rows import FileFault

FORMULA_STARTS = (*"=+-@|%", *"\t\r\n", *"＝＋－＠", "'")
"""A cell that begins so gets one ' in front: spreadsheets run the others as formulas, or strip them and run
what follows, and the last is escaped so that taking one ' away always gives the text back."""

_COLUMNS = """
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

TAKEN = "the leading ' that a release adds against spreadsheet formulas is removed"

_NUMBER = re.compile(r"-\d+(\.\d+)?(e[+-]?\d+)?")
"""A number is written bare: as a text it would have a ' before it."""

Note = Callable[[str, int], None]


def is_of_release(header: str) -> bool:
    """Whether the first line of a CSV is one that a Release begins with."""
    line = header.rstrip("\n")
    return any(line == ",".join(f'"{name}"' for name in columns) for columns in RELEASE_COLUMNS)


def as_written(cells: list[str]) -> list[str]:
    """The cells of a row of a Release as their texts were."""
    return [cell.removeprefix("'") for cell in cells]


class Telling:
    """Tells, row by row, whether a file that begins as one of a Release is one, and takes the ' away where it
    is. Another file's cells stay as they are; raises FileFault where some rows say that it is one, and others
    that it is none."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._defused: int | None = None
        self._is_none = False

    def plain(self, line: int, cells: list[str]) -> list[str]:
        if self._is_none:
            return cells
        for cell in cells:
            if _is_no_release(cell):
                if self._defused is not None:
                    raise FileFault("defused", _MIXED.format(self._defused), line, cell)
                self._is_none = True
                return cells
        if not any(cell.startswith("'") for cell in cells):
            return cells
        if self._defused is None:
            self._defused = line
        self._note(TAKEN, line)
        return as_written(cells)


_MIXED = (
    "a release would write this cell differently, but the leading ' in line {} is as in a release; if the "
    "file is a release, choose to remove the ' (--formula-safe), else save the file as JSONL"
)


def _is_no_release(cell: str) -> bool:
    """Whether a Release would have written this cell in another way."""
    if cell.startswith("'"):
        return not cell[1:].startswith(FORMULA_STARTS)
    return cell.startswith(FORMULA_STARTS) and not _NUMBER.fullmatch(cell)
