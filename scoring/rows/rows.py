"""One row of a file, and what can be wrong with it."""

from dataclasses import dataclass, field
from typing import Any

Values = dict[str, Any]

MAX_DEPTH = 64
EXCERPT = 80


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a file. `line` is the physical line on which the object begins (for Parquet the row
    number), from 1. `raw` is the unchanged line, where the file has lines. `context` holds the values of
    columns that belong to the conversation (see rows.context)."""

    line: int
    values: Values
    raw: bytes = b""
    context: Values = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where. `line` is None for a fault of the whole file; `excerpt` is escaped and at
    most 80 characters; `raw` is the bad row, for handing back."""

    line: int | None
    field: str
    code: str
    message: str
    excerpt: str = ""
    raw: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "line": self.line,
            "field": self.field,
            "code": self.code,
            "message": self.message,
            "excerpt": self.excerpt,
        }


class BadRow(ValueError):
    """One row that can't be taken, while other rows can. `at` makes a Problem with the line of the row."""

    def __init__(self, field: str, code: str, message: str, value: object = "") -> None:
        super().__init__(message)
        self.field = field
        self.code = code
        self.message = message
        self.value = value

    def at(self, row: Row) -> Problem:
        return Problem(
            row.line, self.field, self.code, self.message, escaped(self.value or row.raw), row_text(row)
        )


class FileFault(ValueError):
    """The file can't be read to its end, or is not what its name says: no row of the file is taken."""

    def __init__(self, code: str, message: str, line: int | None = None, excerpt: object = "") -> None:
        super().__init__(message)
        self.problem = Problem(line, "", code, message, escaped(excerpt))


def escaped(value: object, limit: int = EXCERPT) -> str:
    """The value as one printable line of at most `limit` characters: control, bidi and other invisible
    characters become escapes, so that nothing in a file can play tricks on a terminal, log or page."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    text = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1]
    )
    return text if len(text) <= limit else text[: limit - 1] + "…"


def row_text(row: Row) -> str:
    """The row for a download of bad rows: its line where it had one, else its values."""
    if row.raw:
        return row.raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
    return str(row.values)


def refuse_bad_text(values: object, field: str = "", depth: int = 0) -> None:
    """Raise BadRow for text that no database, page or file can hold (U+0000, half a surrogate pair) and for
    values nested deeper than 64."""
    if depth > MAX_DEPTH:
        raise BadRow(field, "too_deep", f"the row is nested deeper than {MAX_DEPTH} levels")
    if isinstance(values, str):
        _refuse_bad_string(values, field)
    elif isinstance(values, dict):
        for key, value in values.items():
            _refuse_bad_string(key, field)
            refuse_bad_text(value, field or key, depth + 1)
    elif isinstance(values, list):
        for value in values:
            refuse_bad_text(value, field, depth + 1)


def _refuse_bad_string(text: str, field: str) -> None:
    if "\0" in text:
        raise BadRow(field, "nul", "the text holds U+0000, which can't be stored; remove it", text)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRow(
            field,
            "lone_surrogate",
            f"the text holds half a character (a lone surrogate) at position {error.start + 1}; remove it",
            text[error.start :],
        ) from None
