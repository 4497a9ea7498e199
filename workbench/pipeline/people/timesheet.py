"""Active time by person, day and Dataset, and what it is worth.

The time of a vote is what its page measured while it was visible and had the focus (`Judgment.seconds`), cut
at the Dataset's `idle_limit`, in whole hundredths of a second: sums of integers are the same on every
database and in any order. Every answer of a person is work: gold, repeats, and answers that were changed
later. The answers of a ranking each hold the time of all of it, so it counts once. Imported labels have no
time.

Days are in UTC, whatever zone the pages show."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from typing import Any

from django.db import transaction
from django.db.models import (
    BigIntegerField,
    Case,
    Count,
    FloatField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce, Floor, Least, TruncDate
from django.utils.text import slugify

from workbench.models import Dataset, Judgment, PayPer, TimeCorrection, User
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.runs.progress import Refused

CENT = Decimal("0.01")


@dataclass(frozen=True)
class Line:
    """One person's answers of a day in a Dataset, or a correction of their time, with its reason.

    votes: pairs answered for the first time; changes: later answers to them; untimed: answers of both kinds
    whose time no page measured; hundredths: of a second, below 0 where a correction takes time away."""

    dataset: Dataset
    person: str
    user: int
    day: date
    hundredths: int
    votes: int = 0
    changes: int = 0
    untimed: int = 0
    reason: str = ""
    by: str = ""

    @property
    def seconds(self) -> Decimal:
        return Decimal(self.hundredths) / 100

    @property
    def pay(self) -> Decimal | None:
        """By the rate that the Dataset has now, rounded to hundredths of its currency, half away from 0; None
        without a rate."""
        rate = self.dataset.pay_rate
        if rate is None:
            return None
        worth = self.votes * rate if self.dataset.pay_per == PayPer.VOTE else self.seconds * rate / 3600
        return worth.quantize(CENT, ROUND_HALF_UP)


@dataclass(frozen=True)
class Total:
    """The sum of Lines. Pay is the sum of their rounded pay, None where no Line has any."""

    votes: int
    changes: int
    untimed: int
    hundredths: int
    pay: Decimal | None

    @classmethod
    def of(cls, lines: Sequence[Line]) -> "Total":
        paid = [line.pay for line in lines if line.pay is not None]
        return cls(
            votes=sum(line.votes for line in lines),
            changes=sum(line.changes for line in lines),
            untimed=sum(line.untimed for line in lines),
            hundredths=sum(line.hundredths for line in lines),
            pay=sum(paid, Decimal(0)) if paid else None,
        )

    @property
    def seconds(self) -> Decimal:
        return Decimal(self.hundredths) / 100


@dataclass(frozen=True)
class Period:
    """Whole days in UTC, both ends included."""

    first: date
    last: date

    @property
    def moments(self) -> tuple[datetime, datetime]:
        """From the first moment to the one after the last."""
        begin, end = (
            datetime.combine(day, time(), UTC) for day in (self.first, self.last + timedelta(days=1))
        )
        return begin, end

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]


def lines(datasets: Collection[Dataset], period: Period, user: User | None = None) -> list[Line]:
    """The Lines of all people, or of one, by name, day and Dataset, corrections after the votes of their day.
    Two queries."""
    by_pk = {dataset.pk: dataset for dataset in datasets}
    begin, end = period.moments
    answers = Judgment.objects.by_people().filter(
        comparison__dataset__in=by_pk, created_at__gte=begin, created_at__lt=end
    )
    corrections = TimeCorrection.objects.filter(
        dataset__in=by_pk, day__gte=period.first, day__lte=period.last
    )
    if user:
        answers, corrections = answers.filter(annotator__user=user), corrections.filter(user=user)
    found = [
        Line(
            dataset=by_pk[row["comparison__dataset"]],
            person=row["annotator__user__username"],
            user=row["annotator__user"],
            day=row["day"],
            hundredths=row["hundredths"],
            votes=row["votes"],
            changes=row["changes"],
            untimed=row["untimed"],
        )
        for row in _sums(answers)
    ]
    for correction in corrections.select_related("user", "by"):
        correction.dataset = by_pk[correction.dataset_id]
        found.append(line_of(correction))
    return sorted(found, key=lambda line: (line.person, line.day, line.dataset.name, bool(line.reason)))


def line_of(correction: TimeCorrection) -> Line:
    """The Line of a correction."""
    return Line(
        dataset=correction.dataset,
        person=str(correction.user),
        user=correction.user_id,
        day=correction.day,
        hundredths=100 * correction.seconds,
        reason=correction.reason,
        by=str(correction.by or ""),
    )


def _sums(answers: QuerySet[Judgment]) -> Iterable[dict[str, Any]]:
    """Votes and time of the answers by Dataset, person and day."""
    days = answers.order_by().annotate(day=TruncDate("created_at", tzinfo=UTC))
    by_day = days.values("comparison__dataset", "annotator__user", "annotator__user__username", "day")
    return by_day.annotate(
        votes=Count("pk", filter=Q(supersedes=None)),
        changes=Count("pk", filter=~Q(supersedes=None)),
        untimed=Count("pk", filter=Q(seconds=None)),
        hundredths=Sum(_hundredths()),
    )


def _hundredths() -> Case:
    """The time that an answer counts. Of a ranking, the pair of the smallest primary key has it all."""
    limit = Cast("comparison__dataset__idle_limit", FloatField())
    cut = Least(Coalesce("seconds", 0.0), limit)
    # Half up by FLOOR: the databases round halves differently.
    counted = Cast(Floor(cut * 100.0 + 0.5), BigIntegerField())
    of_ranking = Judgment.objects.filter(ranking=OuterRef("ranking")).order_by("comparison")
    bearer = Subquery(of_ranking.values("comparison")[:1])
    is_counted = Q(ranking=None) | Q(comparison=bearer)
    return Case(When(is_counted, then=counted), default=Value(0), output_field=BigIntegerField())


def by_person(found: Sequence[Line]) -> list[tuple[str, int, list[Line]]]:
    """(name, primary key, Lines) of each person, in the order of `lines`."""
    return [
        (name, pk, list(group))
        for (name, pk), group in groupby(found, key=lambda line: (line.person, line.user))
    ]


def by_dataset(found: Sequence[Line]) -> dict[int, list[Line]]:
    """The Lines of each Dataset, by its primary key."""
    of: dict[int, list[Line]] = {}
    for line in found:
        of.setdefault(line.dataset.pk, []).append(line)
    return of


COLUMNS = [
    "person", "day_utc", "kind", "votes", "changed_votes", "votes_without_time", "seconds", "pay", "currency",
    "rate", "rate_per", "reason", "corrected_by",
]  # fmt: skip


def name_of_file(dataset: Dataset, period: Period) -> str:
    return f"{slugify(dataset.name) or 'dataset'}-time-{period.first:%Y-%m}-to-{period.last:%Y-%m}.csv"


def rows_of_file(dataset: Dataset, period: Period) -> Iterator[list[object]]:
    """COLUMNS, and the cells of each Line."""
    yield [*COLUMNS]
    rate: Decimal | str = "" if dataset.pay_rate is None else dataset.pay_rate
    for line in lines([dataset], period):
        pay = "" if line.pay is None else line.pay
        yield [
            line.person, line.day.isoformat(), "correction" if line.reason else "votes", line.votes,
            line.changes, line.untimed, line.seconds.quantize(CENT), pay,
            dataset.currency if rate != "" else "", rate, dataset.pay_per if rate != "" else "", line.reason,
            line.by,
        ]  # fmt: skip


def correct(dataset: Dataset, user: User, day: date, seconds: int, reason: str, by: User) -> TimeCorrection:
    """Add seconds to a person's day, or take them away. Raises Refused where more is taken than there is."""
    with transaction.atomic():
        # Locked: two admins who take the same time away must not both succeed.
        Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
        has = Total.of(lines([dataset], Period(day, day), user)).seconds
        if has + seconds < 0:
            raise Refused(
                f"Nothing was changed: {user} has {has:.2f} seconds on {day}. You can’t take {-seconds} away."
            )
        record(Kind.TIME_CORRECTED, by=by, dataset=dataset, target=user, fields=["seconds"])
        return TimeCorrection.objects.create(
            dataset=dataset, user=user, day=day, seconds=seconds, reason=reason, by=by
        )
