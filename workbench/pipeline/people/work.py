"""How the people of a Dataset worked lately: votes a day, and the time that reading takes."""

from datetime import timedelta

from django.db.models import Avg, Count
from django.db.models.functions import TruncDate
from django.utils import timezone

from workbench.models import Completion, Dataset, Judgment

DAYS = 14
READ_A_SECOND = 24
"""Characters: 238 words a minute (Brysbaert, How many words do we read per minute?, 2019), of six characters
with the space."""
SAMPLED = 2_000


def votes_by_day(dataset: Dataset) -> dict[int, list[int]]:
    """Votes and checks of each annotator (by primary key) on each of the last DAYS, today last."""
    today = timezone.localdate()
    start = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    since = start - timedelta(days=DAYS - 1)
    first = Judgment.objects.of(dataset).by_people().filter(supersedes=None, created_at__gte=since)
    rows = first.order_by().annotate(day=TruncDate("created_at")).values_list("annotator", "day")
    days: dict[int, list[int]] = {}
    for annotator, day, n in rows.annotate(n=Count("pk")):
        days.setdefault(annotator, [0] * DAYS)[DAYS - 1 - (today - day).days] = n
    return days


def reading_seconds(dataset: Dataset) -> float | None:
    """The time to read two answers of average length, in seconds; None without answers."""
    some = Completion.objects.of(dataset).order_by()[:SAMPLED]
    characters: float | None = some.aggregate(mean=Avg("characters"))["mean"]
    return 2 * characters / READ_A_SECOND if characters else None
