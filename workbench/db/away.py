"""Whether an error says that the database cannot answer now, or that a disk is full."""

import errno
import logging
import sqlite3

from django.db import InterfaceError, OperationalError

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
        return _sqlite_code(cause) in _SQLITE_AWAY
    return True


FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the system says when nothing more can be written."""
POSTGRESQL_FULL = "53100"
"""The same of PostgreSQL, as SQLSTATE. Not psycopg's class for it: on SQLite no process loads the driver."""
DISK_IS_FULL = "The disk is full, so nothing was kept. Make room and try again."


def is_disk_full(error: BaseException | None) -> bool:
    """Whether the files or the database found no room to write."""
    if isinstance(error, OperationalError):
        cause = error.__cause__
        return getattr(cause, "sqlstate", "") == POSTGRESQL_FULL or _says_full(cause)
    # Of sqlite3 itself: a backup of the database asks it without Django.
    return _says_full(error) or (isinstance(error, OSError) and error.errno in FULL_DISK)


def _says_full(error: BaseException | None) -> bool:
    """Whether SQLite found no room. With none for the 32 KB that its processes share, the first connection
    can't even read, and the words are "disk I/O error"."""
    lacks_shared = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE
    return lacks_shared or _sqlite_code(error) == sqlite3.SQLITE_FULL


def _sqlite_code(error: BaseException | None) -> int:
    """The primary result code of SQLite; 0 for another error."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF if isinstance(error, sqlite3.Error) else 0


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
