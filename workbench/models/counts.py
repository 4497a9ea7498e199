from typing import Any

from django.db.models import Count, QuerySet, Subquery
from django.db.models.functions import Coalesce


def count_of(rows: QuerySet[Any], group: str) -> Coalesce:
    """How many of `rows` (filtered by an OuterRef on `group`) there are, as a subquery of its own: counting
    over several joins at once would multiply the rows."""
    return Coalesce(Subquery(rows.order_by().values(group).annotate(n=Count("pk")).values("n")), 0)
