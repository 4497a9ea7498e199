"""Many primary keys as one parameter of a statement."""

from collections.abc import Iterable
from typing import Any

import orjson
from django.db import connections
from django.db.models.expressions import RawSQL


def keys_in(keys: Iterable[int], using: str = "default") -> Any:
    """What a column is compared with: `filter(pk__in=keys_in(keys))`. As thousands of placeholders, SQLite
    would refuse the keys, and PostgreSQL's driver would take longer than the look-up."""
    listed = orjson.dumps(list(keys)).decode()
    if connections[using].vendor == "sqlite":
        return RawSQL("SELECT value FROM json_each(%s)", [listed])
    return RawSQL("SELECT value::bigint FROM json_array_elements_text(%s::json)", [listed])
