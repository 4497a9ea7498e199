"""Rows deleted with all that hangs on them, by one statement a table."""

from collections.abc import Collection, Iterator

from django.db import DEFAULT_DB_ALIAS
from django.db.models import SET_NULL, ForeignObjectRel, Model, QuerySet


def delete_with_dependants(model: type[Model], keys: Collection[int], gone: type[Model]) -> None:
    """Delete the rows with these primary keys, and all rows that need them, but for rows of the model `gone`,
    which are deleted already."""
    for child, path in _hanging_on(model, gone):
        delete_at_once(child._default_manager.filter(**{f"{path}__in": keys}))
    delete_at_once(model._default_manager.filter(pk__in=keys))


def _hanging_on(model: type[Model], gone: type[Model], beyond: str = "") -> Iterator[tuple[type[Model], str]]:
    """Each model whose rows need a row of this model, the innermost first, with the path to this model."""
    relations = model._meta.get_fields(include_hidden=True)
    for relation in relations:
        if not isinstance(relation, ForeignObjectRel) or relation.many_to_many:
            continue
        child = relation.related_model
        if isinstance(child, str) or child in (model, gone) or relation.on_delete is SET_NULL:
            continue
        path = relation.field.name + beyond
        yield from _hanging_on(child, gone, f"__{path}")
        yield child, path


def delete_at_once(rows: QuerySet[Model]) -> None:
    """Delete the rows by one statement. Django's own delete would read all rows that depend on them."""
    rows._raw_delete(DEFAULT_DB_ALIAS)
