"""One moment of the database, for what reads much of it and takes its time."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

ALIAS = "snapshot"


@contextmanager
def snapshot() -> Iterator[str]:
    """Alias of a database connection whose reads all see one moment, while others go on writing.

    A second connection, as progress is committed on the first meanwhile: REPEATABLE READ and read only on
    PostgreSQL; on SQLite a plain BEGIN, which in WAL mode keeps its view and takes no write lock (the
    project's IMMEDIATE would stop every annotator until the build ends). Inside a caller's transaction
    the caller's connection is used, as no other could see what it has not committed."""
    if connection.in_atomic_block:
        yield DEFAULT_DB_ALIAS
        return
    second = connection.copy(alias=ALIAS)
    if second.vendor == "sqlite":
        second.settings_dict["OPTIONS"] = {**second.settings_dict["OPTIONS"], "transaction_mode": "DEFERRED"}
    connections[ALIAS] = second
    try:
        with transaction.atomic(using=ALIAS):
            if second.vendor == "postgresql":
                second.cursor().execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield ALIAS
    finally:
        second.close()
        del connections[ALIAS]
