"""Annotators' figures of their own work. Gold and repeats count like any other pair: a figure that stood
still after an answer would give them away."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import Count, Exists, OuterRef, Q, Sum
from django.db.models.functions import Coalesce, TruncDate
from django.utils import timezone

from workbench.models import Annotator, Claim, Dataset, Judgment, Told, User
from workbench.models.counts import count_of
from workbench.pipeline.annotate import requirements
from workbench.pipeline.annotate.requirements import Waiting

DAYS = 14


@dataclass(frozen=True)
class Progress:
    """How many answers one annotator has given: in all, today, in the last sixty minutes."""

    total: int
    today: int
    hour: int


@dataclass(frozen=True)
class Task:
    """A Dataset that somebody votes in, with what they did there today."""

    dataset: Dataset
    progress: Progress
    minutes: int


@dataclass(frozen=True)
class Left:
    """Why nothing is open to an annotator: whether the Dataset has no Comparison, how many they skipped, what
    they lack to get more, and whether pairs wait until a worker has read what they require. What others hold
    and where more people are asked is left out, as it depends on people's answers."""

    is_empty: bool
    skipped: int
    lacks: Sequence[Waiting] = ()
    is_sorting: bool = False


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


def own_tasks(datasets: Collection[Dataset], user: User) -> list[Task]:
    """A task for each of these Datasets, which know `has_prompts`: those with prompts first, then those where
    the user voted most of late. minutes: from shown to answered, of today's answers, as the page measured."""
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    progress = progress_in(datasets, user)
    today = Judgment.objects.filter(annotator__user=user, supersedes=None, created_at__gte=midnight)
    seconds = dict(
        today.order_by().values_list("comparison__dataset").annotate(spent=Coalesce(Sum("seconds"), 0.0))
    )
    tasks = [
        Task(dataset, progress[dataset.pk], math.ceil(seconds.get(dataset.pk, 0.0) / 60))
        for dataset in datasets
    ]
    return sorted(
        tasks,
        key=lambda task: (-task.dataset.has_prompts, -task.progress.today, -task.progress.total),
    )


def what_is_left(dataset: Dataset, annotator: Annotator) -> Left:
    """Why `next_claim` had nothing. A skipped pair counts until it is answered."""
    skipped = Claim.objects.filter(
        annotator=annotator, comparison__dataset=dataset, state=Claim.State.SKIPPED
    )
    return Left(
        is_empty=not dataset.comparisons.exists(),
        skipped=skipped.count(),
        lacks=requirements.lacking(dataset, annotator.user_id),
        is_sorting=requirements.untold(dataset) != "",
    )


def days(dataset: Dataset, annotator: Annotator) -> list[Day]:
    """The last DAYS on which the annotator answered, newest first."""
    first = Judgment.objects.of(dataset).filter(annotator=annotator, supersedes=None).order_by()
    by_day = first.annotate(day=TruncDate("created_at")).values("day").annotate(n=Count("pk"))
    return [Day(row["day"], row["n"]) for row in by_day.order_by("-day")[:DAYS]]


def last_answered(dataset: Dataset, annotator: Annotator, before: int | None = None) -> Judgment | None:
    """The annotator's newest Judgment in the dataset that they have not changed since, and may still change;
    with `before`, the newest older than that primary key."""
    told = Told.objects.filter(annotator=annotator)
    of_ranking = told.filter(comparison__judgments__ranking=OuterRef("ranking"))
    closed = Exists(told.filter(comparison=OuterRef("comparison"))) | Exists(of_ranking)
    judgments = Judgment.objects.unchanged().of(dataset).filter(annotator=annotator).exclude(closed)
    if before is not None:
        judgments = judgments.filter(pk__lt=before)
    return judgments.order_by("-pk").first()
