"""Queries that become SQL once a process. Django writes the SQL of a queryset again at each call, and that
takes ten times as long as an index look-up. `pipeline.annotate.statements` compiles the few queries that run
for every pair and every answer; all others are ordinary querysets."""

import inspect
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Never, ParamSpec, TypeVar, cast, get_args, get_origin
from uuid import UUID

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Field, Model, QuerySet, fields
from django.db.models.query import ModelIterable, get_related_populators  # type: ignore[attr-defined]  # the stubs lack them
from django.db.models.sql.compiler import SQLCompiler

P = ParamSpec("P")
R = TypeVar("R")
Row = Sequence[object]
SQL = tuple[str, list[Any]]  # the statement, and its parameters: values or Placeholders

FIELDS: "dict[type, type[Field[Never, object]]]" = {
    int: fields.BigAutoField,
    float: fields.FloatField,
    UUID: fields.UUIDField,
    datetime: fields.DateTimeField,
}


class Placeholder(Expression):
    """A value that each call gives."""

    def __init__(self, name: str, field: "Field[Never, object]") -> None:
        super().__init__(output_field=field)
        self.name = name

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> SQL:
        return "%s", [self]

    def prepared(self, value: object) -> object:
        """The value as a parameter for the database."""
        return self.output_field.get_db_prep_value(value, connection)


class ListPlaceholder(Placeholder):
    """Values for `__in`: the statement is the same for one value and for a hundred."""

    def as_postgresql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: object) -> SQL:
        return f"(SELECT unnest(%s::{self.output_field.db_type(connection)}[]))", [self]

    def as_sqlite(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **_: object) -> SQL:
        return "(SELECT value FROM json_each(%s))", [self]

    def prepared(self, value: object) -> object:
        elements = cast("Collection[object]", value)
        values = [self.output_field.get_db_prep_value(element, connection) for element in elements]
        return json.dumps(values) if connection.vendor == "sqlite" else values


def _placeholder(name: str, annotation: type) -> Placeholder:
    if get_origin(annotation) is Collection:
        (element,) = get_args(annotation)
        return ListPlaceholder(name, FIELDS[element]())
    return Placeholder(name, FIELDS[annotation]())


@dataclass(frozen=True)
class _Statement:
    """The SQL of a queryset, and how Django makes objects of its rows."""

    sql: str
    params: Row
    model: type[Model]
    converters: dict[int, tuple[list[Callable[..., object]], Expression]]
    attnames: list[str]
    annotations: dict[str, int]
    populate: list[Callable[[Row, Model], None]]

    def object_from(self, values: Row) -> Model:
        row = list(values)
        for place, (converters, column) in self.converters.items():
            for convert in converters:
                row[place] = convert(row[place], column, connection)
        # Columns of the model come first.
        instance = self.model.from_db(connection.alias, self.attnames, row[: len(self.attnames)])
        for populate in self.populate:
            populate(row, instance)
        for name, place in self.annotations.items():
            setattr(instance, name, row[place])
        return instance


class Compiled(Generic[P, R]):
    """A function that returns a queryset, compiled at its first call; a call returns the queryset's rows.

    Each parameter is an int, float, UUID or datetime, or a Collection of one of these for `__in`. The
    function may use a parameter only as a value of a filter. Rows of `values_list` come as the database gives
    them, which is right for numbers, texts and booleans."""

    def __init__(self, function: "Callable[P, QuerySet[Model, R]]") -> None:
        self._function = function
        self._signature = inspect.signature(function)
        self._statement: _Statement | None = None
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> list[R]:
        with connection.cursor() as cursor:
            cursor.execute(*self.sql(*args, **kwargs))
            rows = cursor.fetchall()
        statement = self._compiled()
        return cast("list[R]", [*map(statement.object_from, rows)] if statement.attnames else rows)

    def first(self, *args: P.args, **kwargs: P.kwargs) -> R | None:
        """The first row; all rows are read, so the queryset should have few."""
        return next(iter(self(*args, **kwargs)), None)

    def sql(self, *args: P.args, **kwargs: P.kwargs) -> SQL:
        """The statement and its parameters, to be a part of another statement."""
        statement = self._compiled()
        parameters = self._signature.parameters
        values = dict(zip(parameters, args, strict=False)) | kwargs
        # `bind` takes longer than the rest of this call, so it only words the error of a wrong call.
        if len(args) + len(kwargs) != len(parameters) or values.keys() != parameters.keys():
            self._signature.bind(*args, **kwargs)
        return statement.sql, [
            param.prepared(values[param.name]) if isinstance(param, Placeholder) else param
            for param in statement.params
        ]

    def _compiled(self) -> _Statement:
        # Two threads that compile at once make the same statement, so nothing is locked.
        if self._statement is None:
            function: Callable[..., QuerySet[Model, R]] = self._function
            parameters = self._signature.parameters.values()
            queryset = function(**{p.name: _placeholder(p.name, p.annotation) for p in parameters})
            compiler = queryset.query.get_compiler(connection=connection)
            sql, params = compiler.as_sql()
            columns = [column for column, _, _ in compiler.select]
            attnames, populate = [], []
            # A queryset of values_list gives rows and no objects.
            if queryset._iterable_class is ModelIterable:  # noqa: SLF001
                info = compiler.klass_info
                attnames = [columns[place].target.attname for place in info["select_fields"]]
                populators = get_related_populators(info, compiler.select, connection.alias)
                populate = [populator.populate for populator in populators]
            self._statement = _Statement(
                sql,
                tuple(params),
                queryset.model,
                compiler.get_converters(columns),
                attnames,
                compiler.annotation_col_map or {},
                populate,
            )
        return self._statement
