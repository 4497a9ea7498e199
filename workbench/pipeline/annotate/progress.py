"""Annotators' figures of their own work. Gold and repeats count like any other pair: a figure that stood
still after an answer would give them away."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import Count, Q
from django.db.models.functions import TruncDate
from django.utils import timezone

from workbench.models import Annotator, Claim, Dataset, Judgment, User
from workbench.models.counts import count_of

DAYS = 14


@dataclass(frozen=True)
class Progress:
    """How many answers one annotator has given: in all, today, in the last sixty minutes."""

    total: int
    today: int
    hour: int


@dataclass(frozen=True)
class Left:
    """Why nothing is open to an annotator: whether the Dataset has no Comparison, and how many they skipped.
    What others hold and where others are needed is left out, as it depends on people's answers."""

    is_empty: bool
    skipped: int


@dataclass(frozen=True)
class Day:
    """How much one annotator answered on one day."""

    date: date
    answers: int


def progress_of(dataset: Dataset, annotator: Annotator) -> Progress:
    now = timezone.now()
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    first = Judgment.objects.of(dataset).filter(annotator=annotator, supersedes=None)
    # A subquery for each count, as each has its index: counted together, they read every Claim.
    claims = Claim.objects.filter(comparison__dataset=dataset, annotator=annotator, state=Claim.State.DONE)
    counts = Annotator.objects.filter(pk=annotator.pk).values_list(
        count_of(claims, "annotator"),
        count_of(first.filter(created_at__gte=midnight), "annotator"),
        count_of(first.filter(created_at__gte=now - timedelta(hours=1)), "annotator"),
    )
    return Progress(*counts.get())


def progress_in(datasets: Collection[Dataset], user: User) -> dict[int, Progress]:
    """One person's progress in each of these Datasets, by the Dataset's primary key. Two queries."""
    now = timezone.now()
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    of_user = {"annotator__user": user, "comparison__dataset__in": [dataset.pk for dataset in datasets]}
    done = Claim.objects.filter(**of_user, state=Claim.State.DONE).values_list("comparison__dataset")
    since = min(midnight, now - timedelta(hours=1))
    first = Judgment.objects.filter(**of_user, supersedes=None, created_at__gte=since).order_by()
    recent = first.values_list("comparison__dataset").annotate(
        today=Count("pk", filter=Q(created_at__gte=midnight)),
        hour=Count("pk", filter=Q(created_at__gte=now - timedelta(hours=1))),
    )
    totals = dict(done.annotate(n=Count("pk")))
    recent_of = {pk: (today, hour) for pk, today, hour in recent}
    return {
        dataset.pk: Progress(totals.get(dataset.pk, 0), *recent_of.get(dataset.pk, (0, 0)))
        for dataset in datasets
    }


def what_is_left(dataset: Dataset, annotator: Annotator) -> Left:
    """Why `next_claim` had nothing. A skipped pair counts until it is answered."""
    skipped = Claim.objects.filter(
        annotator=annotator, comparison__dataset=dataset, state=Claim.State.SKIPPED
    )
    return Left(is_empty=not dataset.comparisons.exists(), skipped=skipped.count())


def days(dataset: Dataset, annotator: Annotator) -> list[Day]:
    """The last DAYS on which the annotator answered, newest first."""
    first = Judgment.objects.of(dataset).filter(annotator=annotator, supersedes=None).order_by()
    by_day = first.annotate(day=TruncDate("created_at")).values("day").annotate(n=Count("pk"))
    return [Day(row["day"], row["n"]) for row in by_day.order_by("-day")[:DAYS]]


def last_answered(dataset: Dataset, annotator: Annotator, before: int | None = None) -> Judgment | None:
    """The annotator's newest Judgment in the dataset that they have not changed since; with `before`, the
    newest older than that primary key."""
    judgments = Judgment.objects.unchanged().of(dataset).filter(annotator=annotator)
    if before is not None:
        judgments = judgments.filter(pk__lt=before)
    return judgments.order_by("-pk").first()
