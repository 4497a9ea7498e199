"""Rows for followers: which of them can be handed out so that none is ever skipped.

A follower asks for rows after the last key that it has. On PostgreSQL a transaction with a lower key may
commit after one with a higher key, and a follower that saw the higher key first would never see the lower
one. SQLite has one writer at a time, so its keys become visible in their order."""

import time

from django.db import connection, models

PATIENCE = 0.3
"""Seconds to wait for transactions that write; a follower asks again anyway."""
_PAUSE = 0.02
_LAST = 2**63 - 1

_WRITERS = """
    SELECT pid, virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = %s::regclass AND mode = 'RowExclusiveLock' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND pid <> pg_backend_pid()
"""


def settled_up_to(model: type[models.Model]) -> int:
    """A key up to which every row is there to be read, or never will be; 0 where nobody can tell now.

    First the last key that was given, then who is writing: an INSERT takes its lock on the table before it
    takes its key, and db.bulk.NewIds too, so whoever holds no lock by then has no key up to that one."""
    if connection.vendor != "postgresql":
        return _LAST
    table = model._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_serial_sequence(%s, 'id')", [table])
        (sequence,) = cursor.fetchone()
        cursor.execute(f"SELECT last_value FROM {sequence}")  # noqa: S608 - a name of our own
        (last,) = cursor.fetchone()
        cursor.execute(_WRITERS, [table])
        writers = set(cursor.fetchall())
        until = time.monotonic() + PATIENCE
        while writers:
            if time.monotonic() > until:
                return 0
            time.sleep(_PAUSE)
            cursor.execute(_WRITERS, [table])
            writers &= set(cursor.fetchall())
    return int(last)
