"""Lines of the log without the text of any item: where an error was, and never the words that it says.

The message of an error may hold a text: a value that could not be read, PostgreSQL's "Key (...)=(...)"."""

import copy
import logging
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any


class LineFormatter(logging.Formatter):
    """Writes tracebacks by their files, lines of code and types of errors."""

    def format(self, record: logging.LogRecord) -> str:
        record = copy.copy(record)
        record.exc_text = None  # another formatter's, with the message
        if record.name.startswith(("celery", "gunicorn")):
            record.args = _without_texts(record)
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802  logging's name
        _, error, trace = ei
        return "".join(_lines(error, trace, set())).rstrip("\n") if error else ""


def _without_texts(record: logging.LogRecord) -> Any:
    """The arguments of a line of Celery's, which repeats the message of an error, or of gunicorn's, which
    writes an address with its query."""
    args = record.args
    if isinstance(args, Mapping):
        error = record.exc_info[1] if record.exc_info else None
        return {**args, "exc": _named(error) if error else "an error"} if "exc" in args else args
    return tuple(_without_text(one) for one in args or ())


def _without_text(one: object) -> object:
    if isinstance(one, BaseException):
        return _named(one)
    return one.partition("?")[0] if isinstance(one, str) and one.startswith("/") else one


def _lines(error: BaseException, trace: TracebackType | None, seen: set[int]) -> Iterator[str]:
    """The traceback of the error, after that of the error that led to it."""
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before and id(before) not in seen:
        yield from _lines(before, before.__traceback__, seen)
        yield "\nwhich led to:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(trace)
    yield f"{_named(error)}\n"


def _named(error: BaseException) -> str:
    """The type of the error, and of an error of the system its words, as "No space left on device"."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if isinstance(error, OSError) and isinstance(error.errno, int) and error.strerror:
        return f"{name}: {error.strerror}"
    return name
