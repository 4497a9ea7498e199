"""Many rows at once: ids reserved beforehand, look-ups by pairs of values, and inserts by COPY or in a few
statements. For use in a transaction that alone writes these rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from typing import Any, TypeVar

import orjson
from django.db import connection, models
from django.db.backends.utils import CursorWrapper
from django.db.models import Max
from django.db.models.expressions import RawSQL

LOOKUP_KEYS = 5000
LEAST_GROWN = 1000
"""Rows that make PostgreSQL look at the smallest table anew."""
INSERT_ROWS = 100
"""Rows of one statement on SQLite, where a statement a row takes three times as long."""

Pair = tuple[int, int | str]
Value = int | float | str | bytes | None
RowValues = tuple[Value, ...]
_T = TypeVar("_T")


def in_chunks(values: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def given(keys: Iterable[int]) -> RawSQL:
    """Primary keys for a condition `pk__in`, as one parameter: thousands of placeholders take the driver
    longer than the look-up takes."""
    values = "SELECT value FROM json_each(%s)"
    if connection.vendor == "postgresql":
        values = "SELECT value::bigint FROM json_array_elements_text(%s::json)"
    return RawSQL(values, [orjson.dumps(list(keys)).decode()])  # noqa: S611 - no text of others


def digest_key(digest: str) -> int:
    """The first 8 bytes of a digest as a signed integer, as the database stores one."""
    return int.from_bytes(bytes.fromhex(digest)[:8], "big", signed=True)


class NewIds:
    """Reserved ids for new rows of a model. `last_before` is the highest id before them."""

    BLOCK = 1000

    def __init__(self, model: type[models.Model]) -> None:
        self._table = model._meta.db_table
        self.last_before: int = model._default_manager.aggregate(last=Max("pk"))["last"] or 0
        self._block: Iterator[int] = iter(())

    def take(self) -> int:
        pk = next(self._block, None)
        if pk is None:
            self._block = self._next_block()
            pk = next(self._block)
        return pk

    def _next_block(self) -> Iterator[int]:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                # As an INSERT would: followers wait for whoever holds this lock (db.following).
                cursor.execute(f"LOCK TABLE {self._table} IN ROW EXCLUSIVE MODE")
                sql = "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)"
                cursor.execute(sql, [self._table, self.BLOCK])
                return iter([pk for (pk,) in cursor.fetchall()])
            # The transaction holds SQLite's one write lock, so after the highest id ever given all are free.
            cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [self._table])
            highest = cursor.fetchone()
        return count(highest[0] + 1 if highest else 1)


def look_up(
    model: type[models.Model],
    columns: tuple[str, str],
    pairs: Iterable[Pair],
    value: str = "id",
    where: str = "",
) -> dict[Pair, Any]:
    """The `value` of each row whose two columns have one of these pairs of values, by the pair."""
    chosen = f"asked.x, asked.y, t.{connection.ops.quote_name(value)}"
    match = f"t.{columns[0]} = asked.x AND t.{columns[1]} = asked.y {where}"
    types = {f.attname: f.db_type(connection) for f in model._meta.concrete_fields}
    values_of: dict[Pair, Any] = {}
    pair_list = list(pairs)
    with connection.cursor() as cursor:
        for start in range(0, len(pair_list), LOOKUP_KEYS):
            part = pair_list[start : start + LOOKUP_KEYS]
            parameters: list[int | str]
            if connection.vendor == "postgresql":
                # As JSON: thousands of placeholders take the driver longer than the look-up takes.
                cast = ", ".join(f"(pair->>{n})::{types[name]}" for n, name in enumerate(columns))
                keys = f"SELECT {cast} FROM json_array_elements(%s) AS pair"  # noqa: S608
                parameters = [orjson.dumps(part).decode()]
            else:
                keys = f"VALUES {', '.join(['(%s, %s)'] * len(part))}"
                parameters = list(chain.from_iterable(part))
            # CROSS JOIN makes SQLite look each pair up; for (x, y) IN (VALUES ...) it scans the table.
            table = f"asked CROSS JOIN {model._meta.db_table} t"
            sql = f"WITH asked(x, y) AS ({keys}) SELECT {chosen} FROM {table} WHERE {match}"  # noqa: S608
            cursor.execute(sql, parameters)
            values_of.update({(x, y): value for x, y, value in cursor.fetchall()})
    return values_of


def insert(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Sequence[RowValues],
    constants: Mapping[str, Value] | None = None,
    binary: Sequence[str] = (),
) -> None:
    """Insert rows given as values of `columns`. Each other column gets its value in `constants`, or the
    field's default, which is drawn for each row where the default is a function. binary: send the rows to
    PostgreSQL in its binary form, as values of these types; for models without other columns."""
    if not rows:
        return
    constants = constants or {}
    own = [f for f in model._meta.concrete_fields if not f.primary_key and not f.generated]
    unset = [f for f in own if f.attname not in columns]
    drawn = [f for f in unset if f.has_default() and callable(f.default) and f.attname not in constants]
    fixed = [f for f in unset if f not in drawn]
    values = [constants[f.attname] if f.attname in constants else f.get_default() for f in fixed]
    ending = tuple(f.get_db_prep_save(v, connection) for f, v in zip(fixed, values, strict=True))
    if drawn:
        rows = [(*row, *(f.get_db_prep_save(f.get_default(), connection) for f in drawn)) for row in rows]
    names = [*columns, *(f.column for f in drawn), *(f.column for f in fixed)]
    into = f"{model._meta.db_table} ({', '.join(map(connection.ops.quote_name, names))})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            form = " (FORMAT BINARY)" if binary else ""
            with cursor.copy(f"COPY {into} FROM STDIN{form}") as copy:
                if binary:
                    copy.set_types(binary)
                for row in rows:
                    copy.write_row(row + ending)
            return
        even = len(rows) - len(rows) % INSERT_ROWS
        for part, size in ((rows[:even], INSERT_ROWS), (rows[even:], len(rows) - even)):
            if part:
                _insert_many(cursor, into, part, size, ending)


def look_at_grown(added: Mapping[type[models.Model], int]) -> None:
    """Have PostgreSQL look anew at tables to which so many rows were added that it plans badly: a tenth of
    what it knew. Autovacuum does it too, a minute or more later; until then, a query for a hundred rows reads
    a table of millions. After the transaction, as the tables stay locked for others who would do so."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        for model, rows in added.items():
            table = model._meta.db_table
            cursor.execute("SELECT reltuples FROM pg_class WHERE oid = %s::regclass", [table])
            if rows > LEAST_GROWN + max(cursor.fetchone()[0], 0) / 10:
                cursor.execute(f"ANALYZE {table}")


def _insert_many(
    cursor: CursorWrapper, into: str, rows: Sequence[RowValues], size: int, ending: RowValues
) -> None:
    """Insert `size` rows a statement; each row is followed by the values of `ending`."""
    names = ", ".join(f"c{n}" for n in range(len(rows[0])))
    places = ", ".join([f"({', '.join(['%s'] * len(rows[0]))})"] * size)
    chosen = ", ".join([names, *["%s"] * len(ending)])
    cursor.executemany(
        f"WITH given({names}) AS (VALUES {places}) INSERT INTO {into} SELECT {chosen} FROM given",  # noqa: S608
        [[*chain(*rows[at : at + size]), *ending] for at in range(0, len(rows), size)],
    )
