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
    """A fault in a file. `line` is None for a fault of the whole file; `excerpt` is escaped, of at most 80
    characters; `raw` is the bad row, or its values where the file has no lines."""

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
        raw = row.raw.decode("utf-8", "backslashreplace").rstrip("\r\n") if row.raw else str(row.values)
        return Problem(row.line, self.field, self.code, self.message, escaped(self.value or row.raw), raw)


class FileFault(ValueError):
    """The file can't be read to its end, or is not what its name says: no row of the file is taken."""

    def __init__(self, code: str, message: str, line: int | None = None, excerpt: object = "") -> None:
        super().__init__(message)
        self.problem = Problem(line, "", code, message, escaped(excerpt))


def escaped(value: object, limit: int = EXCERPT) -> str:
    """The value as one printable line of at most `limit` characters.

    Control, bidi and other invisible characters become escapes: a terminal or page might obey them.
    """
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    text = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1]
    )
    return text if len(text) <= limit else text[: limit - 1] + "…"


def kind_of(value: object) -> str:
    """The JSON type of a value in words, as in "a list"."""
    names = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "text"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def refuse_bad_text(values: object, field: str = "", depth: int = 0) -> None:
    """Raise BadRow for U+0000 and lone surrogates, which databases and files can't hold, and for values
    nested deeper than MAX_DEPTH."""
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
