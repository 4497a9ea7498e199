"""Queries that become SQL once a process. Django makes the SQL of a queryset again at each call, which takes
ten times as long as a database takes to answer by an index. `pipeline.annotate.statements` compiles the few
queries that run for every pair and every answer; all others are ordinary querysets."""

import inspect
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, ParamSpec, TypeVar, get_args, get_origin, get_type_hints
from uuid import UUID

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigAutoField, DateTimeField, Expression, Field, FloatField, QuerySet, UUIDField
from django.db.models.query import ModelIterable, get_related_populators  # type: ignore[attr-defined]  # the stubs lack them
from django.db.models.sql.compiler import SQLCompiler

P = ParamSpec("P")
R = TypeVar("R")
Row = tuple[Any, ...]  # of the database: any column
SQL = tuple[str, list[Any]]  # and its parameters

FIELDS: "dict[type, type[Field[Any, Any]]]" = {
    int: BigAutoField,
    float: FloatField,
    UUID: UUIDField,
    datetime: DateTimeField,
}


class Placeholder(Expression):
    """A value that each call gives."""

    def __init__(self, name: str, field: "Field[Any, Any]") -> None:
        super().__init__(output_field=field)
        self.name = name

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> SQL:
        return "%s", [self]

    def prepared(self, value: object) -> object:
        """The value as the database takes it."""
        return self.output_field.get_db_prep_value(value, connection)


class ListPlaceholder(Placeholder):
    """Any number of values for `__in`: the statement is the same for one value and for a hundred."""

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: object) -> SQL:
        return f"(SELECT unnest(%s::{self.output_field.db_type(connection)}[]))", [self]

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: object) -> SQL:
        return "(SELECT value FROM json_each(%s))", [self]

    def prepared(self, value: Any) -> object:
        values = [self.output_field.get_db_prep_value(element, connection) for element in value]
        return json.dumps(values) if connection.vendor == "sqlite" else values


def _placeholder(name: str, annotation: Any) -> Placeholder:
    if get_origin(annotation) is Collection:
        (element,) = get_args(annotation)
        return ListPlaceholder(name, FIELDS[element]())
    return Placeholder(name, FIELDS[annotation]())


@dataclass(frozen=True)
class _Statement:
    """The SQL of a queryset, and how Django makes objects of its rows."""

    sql: str
    params: Row
    queryset: "QuerySet[Any, Any]"
    converters: dict[int, tuple[list[Callable[..., Any]], Expression]]
    attnames: list[str]
    annotations: dict[str, int]
    populators: list[Any]

    def object_from(self, values: Row) -> Any:
        row = list(values)
        for place, (converters, column) in self.converters.items():
            for convert in converters:
                row[place] = convert(row[place], column, connection)
        # Columns of the model come first.
        instance = self.queryset.model.from_db(connection.alias, self.attnames, row[: len(self.attnames)])
        for populator in self.populators:
            populator.populate(row, instance)
        for name, place in self.annotations.items():
            setattr(instance, name, row[place])
        return instance


class Compiled(Generic[P, R]):
    """A function that returns a queryset, compiled at its first call; a call returns the queryset's rows.

    Each parameter is an int, float, UUID or datetime, or a Collection of one of these for `__in`. The
    function may use a parameter as a value of a filter and in no other way. Rows of `values_list` come as the
    database gives them: that is right for numbers, texts and booleans."""

    def __init__(self, function: "Callable[P, QuerySet[Any, R]]") -> None:
        self._function = function
        self._signature = inspect.signature(function)
        self._statement: _Statement | None = None
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> list[R]:
        with connection.cursor() as cursor:
            cursor.execute(*self.sql(*args, **kwargs))
            rows: list[Any] = cursor.fetchall()
        statement = self._compiled()
        return [statement.object_from(row) for row in rows] if statement.attnames else rows

    def first(self, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """The first row; all rows are read, so the queryset should have few."""
        return next(iter(self(*args, **kwargs)), None)

    def sql(self, *args: P.args, **kwargs: P.kwargs) -> SQL:
        """The statement and its parameters, to be a part of another statement."""
        statement = self._compiled()
        values = self._signature.bind(*args, **kwargs).arguments
        return statement.sql, [
            param.prepared(values[param.name]) if isinstance(param, Placeholder) else param
            for param in statement.params
        ]

    def _compiled(self) -> _Statement:
        # Two threads at once make the same statement, so nothing is locked.
        if self._statement is None:
            hints: dict[str, Any] = get_type_hints(self._function)
            function: Callable[..., QuerySet[Any, Any]] = self._function
            queryset = function(
                **{name: _placeholder(name, hints[name]) for name in self._signature.parameters}
            )
            compiler = queryset.query.get_compiler(connection=connection)
            sql, params = compiler.as_sql()
            columns: list[Any] = [column for column, _, _ in compiler.select]
            # Not so for a queryset of values_list.
            gives_objects = queryset._iterable_class is ModelIterable  # noqa: SLF001
            model: Any = compiler.klass_info if gives_objects else None
            self._statement = _Statement(
                sql,
                tuple(params),
                queryset,
                compiler.get_converters(columns),
                [columns[place].target.attname for place in model["select_fields"]] if model else [],
                compiler.annotation_col_map or {},
                get_related_populators(model, compiler.select, connection.alias) if model else [],
            )
        return self._statement
