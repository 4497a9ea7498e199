"""One moment of the database, for long reads."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

ALIAS = "snapshot"


@contextmanager
def snapshot() -> Iterator[str]:
    """Alias of a database connection whose reads all see one moment, while other connections write.

    The connection is a second one, as the first commits progress meanwhile. PostgreSQL: REPEATABLE READ, READ
    ONLY. SQLite: a plain BEGIN, which keeps its view in WAL mode and takes no write lock; the IMMEDIATE of
    the project would stop all annotators. Inside a transaction of the caller: the connection of the caller,
    as no other sees its uncommitted rows."""
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
