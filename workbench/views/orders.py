"""The order of a list: one link for each, and the order that the address names."""

from collections.abc import Mapping, Sequence

from django.db.models import Case, IntegerField, OrderBy, Q, Value, When
from django.http import HttpRequest

Sorts = Mapping[str, tuple[str, Sequence[str | OrderBy]]]
"""(words, fields to order by) of each order of a list, by the value of `sort` in the address; the usual order
comes first. The last field is unique, so that no row is on two pages. A list that is in memory has the key of
a row instead of fields."""


def chosen(request: HttpRequest, sorts: Mapping[str, object]) -> str:
    """The order that the address names, else the usual one."""
    sort = request.GET.get("sort", "")
    return sort if sort in sorts else next(iter(sorts))


def links(sorts: Mapping[str, tuple[str, object]], sort: str) -> dict[str, object]:
    """For datasets/sorts.html: the orders in words, and the chosen one."""
    return {"sorts": {name: words for name, (words, _) in sorts.items()}, "sort": sort}


def by_place(field: str, values: Sequence[str]) -> OrderBy:
    """Rows in the order in which `values` has what their field holds; others last."""
    places = [When(**{field: value}, then=Value(place)) for place, value in enumerate(values)]
    return Case(*places, default=Value(len(values)), output_field=IntegerField()).asc()


def last_where(holds: Q) -> OrderBy:
    """Rows for which the condition does not hold, then the others."""
    return Case(When(holds, then=Value(1)), default=Value(0), output_field=IntegerField()).asc()
