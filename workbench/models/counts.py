from django.db.models import Count, Model, QuerySet, Subquery
from django.db.models.functions import Coalesce


def count_of(rows: QuerySet[Model], group: str) -> Coalesce:
    """The number of `rows`, which an OuterRef on `group` filters, as a subquery of its own: counting over
    several joins at once would multiply the rows."""
    return Coalesce(Subquery(rows.order_by().values(group).annotate(n=Count("pk")).values("n")), 0)
