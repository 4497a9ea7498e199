"""Queries of one shape, compiled once. Django makes the SQL of a queryset anew each time it is asked, which
takes ten times as long as a database takes to answer by an index. So the few queries that come with every
Comparison handed out and every answer are compiled at their first use; all others are ordinary querysets."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Field, Model, QuerySet
from django.db.models.query import get_related_populators  # type: ignore[attr-defined]  # the stubs lack it
from django.db.models.sql.compiler import SQLCompiler

M = TypeVar("M", bound=Model)
Row = tuple[Any, ...]


class Given(Expression):
    """In a compiled query, a value that each call gives."""

    def __init__(self, name: str, field: "Field[Any, Any]") -> None:
        super().__init__(output_field=field)
        self.name = name

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        return "%s", [self]

    def of(self, values: dict[str, Any]) -> Any:
        """As the database takes it."""
        return self.output_field.get_db_prep_value(values[self.name], connection)


class GivenMany(Given):
    """Values that each call gives, however many, for `__in`: the statement is the same for one and for a
    hundred."""

    def as_postgresql(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any
    ) -> tuple[str, list[Any]]:
        return f"(SELECT unnest(%s::{self.output_field.db_type(connection)}[]))", [self]

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: Any
    ) -> tuple[str, list[Any]]:
        return "(SELECT value FROM json_each(%s))", [self]

    def of(self, values: dict[str, Any]) -> Any:
        many = [self.output_field.get_db_prep_value(value, connection) for value in values[self.name]]
        return json.dumps(many) if connection.vendor == "sqlite" else many


@dataclass(frozen=True)
class _Statement(Generic[M]):
    """What Django's own iteration over a queryset finds out each time."""

    sql: str
    params: Row
    model: type[M]
    converters: dict[int, tuple[list[Callable[..., Any]], Expression]]
    attnames: list[str]
    annotations: dict[str, int]
    populators: list[Any]

    def made_of(self, values: Row) -> M:
        row = list(values)
        for place, (converters, column) in self.converters.items():
            for convert in converters:
                row[place] = convert(row[place], column, connection)
        # Columns of the model come first.
        made = self.model.from_db(connection.alias, self.attnames, row[: len(self.attnames)])
        for populator in self.populators:
            populator.populate(row, made)
        for name, place in self.annotations.items():
            setattr(made, name, row[place])
        return made


class Compiled(Generic[M]):
    """`make` returns the queryset, with a Given wherever each call has a value of its own; the names of the
    Givens are the arguments of a call, and a missing one is a KeyError."""

    def __init__(self, make: "Callable[[], QuerySet[M, Any]]") -> None:
        self._make = make
        self._statement: _Statement[M] | None = None

    def sql(self, **values: Any) -> tuple[str, list[Any]]:
        """The statement and its parameters, to be a part of another."""
        statement = self._compiled()
        params = [each.of(values) if isinstance(each, Given) else each for each in statement.params]
        return statement.sql, params

    def rows(self, **values: Any) -> list[Row]:
        """As the database gives them: right for numbers, texts and booleans of `values_list`."""
        with connection.cursor() as cursor:
            cursor.execute(*self.sql(**values))
            rows: list[Row] = cursor.fetchall()
        return rows

    def objects(self, **values: Any) -> list[M]:
        """With the annotations of the queryset and what it selects along."""
        statement = self._compiled()
        return [statement.made_of(row) for row in self.rows(**values)]

    def first(self, **values: Any) -> M | None:
        """The first object; all rows are read, so the queryset should have few."""
        return next(iter(self.objects(**values)), None)

    def _compiled(self) -> _Statement[M]:
        # Two threads at once make the same, so there is nothing to lock.
        if self._statement is None:
            queryset = self._make()
            compiler = queryset.query.get_compiler(connection=connection)
            sql, params = compiler.as_sql()
            columns: list[Any] = [column for column, _, _ in compiler.select]
            # Not there in a queryset of values_list.
            model: Any = compiler.klass_info
            self._statement = _Statement(
                sql,
                tuple(params),
                queryset.model,
                compiler.get_converters(columns),
                [columns[place].target.attname for place in model["select_fields"]] if model else [],
                compiler.annotation_col_map or {},
                get_related_populators(model, compiler.select, connection.alias) if model else [],
            )
        return self._statement
