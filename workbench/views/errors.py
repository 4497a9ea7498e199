"""The answer where an error ends a request: 503 while the database is away, else 500."""

import logging
import sqlite3
import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.views.defaults import server_error

RETRY_SECONDS = 10

# Locked, unreadable, full. OperationalError is also what SQLite calls a table that is not there.
_SQLITE_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
}


def is_database_away(error: BaseException | None) -> bool:
    """Whether the database cannot answer now: not there, out of connections or disk, locked."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _SQLITE_AWAY
    return True


def failed(request: HttpRequest) -> HttpResponse:
    """The answer to a request that ended in an exception; Django calls it while handling the exception."""
    if not is_database_away(sys.exception()):
        return server_error(request)
    # Rendered without the request: session and account cannot be read.
    page = render_to_string("503.html", {"seconds": RETRY_SECONDS, "stylesheet": _stylesheet()})
    headers = {"Retry-After": str(RETRY_SECONDS), "Cache-Control": "no-store"}
    return HttpResponse(page, status=503, headers=headers)


def _stylesheet() -> str:
    """The URL of the stylesheet; "" where collectstatic has not run."""
    try:
        return static("workbench/base.css")
    except ValueError:
        return ""


class OneLineForTheDatabase(logging.Filter):
    """Cuts the traceback from the log of a request that found the database away: hundreds of tracebacks would
    say one thing."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if is_database_away(error):
            reason = str(error).split("\n", 1)[0]
            record.msg, record.args = "%s: the database is away: %s", (record.getMessage(), reason)
            record.exc_info = record.exc_text = None
        return True
