"""Where a dataset stands in the loop, as six steps that a page draws: how full each is, and in numbers."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta

from django.db.models import Count
from django.db.models.functions import TruncDate
from django.utils import timezone

from scoring import shares
from workbench.models import Dataset, Judgment, User, Visit
from workbench.pipeline.quality.model_accuracy import ModelAccuracy

DAYS = 14
PACE_DAYS = 7


@dataclass(frozen=True)
class LoopStep:
    """One step of the loop: how far it is, from 0 to 1, and that in words. by: what its figure rests on."""

    name: str
    share: float
    words: str
    by: str = ""

    @property
    def filled(self) -> int:
        """Percent of the ring; a step that has begun is never drawn empty, nor full before its end."""
        return round(100 * self.share) if self.share in (0, 1) else min(95, max(5, round(100 * self.share)))

    @property
    def state(self) -> str:
        return "todo" if self.share <= 0 else "done" if self.share >= 1 else "part"


def loop_of(dataset: Dataset, has_version: bool, accuracy: ModelAccuracy | None) -> list[LoopStep]:
    """The steps of a dataset that has its loop counts (overview.with_loop_counts). Imported labels are votes
    too: they fill no place, and a dataset that has only them begins with Voted empty."""
    waiting, settled = dataset.disagreement_count, dataset.settled_count
    votes = dataset.judged_count
    return [
        LoopStep("Data", float(dataset.prompt_count > 0), _number(dataset.prompt_count, "prompt")),
        LoopStep(
            "Scored",
            _share(dataset.scored_count, dataset.scorable_count) if has_version else 0.0,
            f"{dataset.scored_count:,} of {dataset.completion_count:,}" if has_version else "no model",
        ),
        LoopStep("Voted", _share(votes, dataset.wanted_count), f"{votes:,} of {dataset.wanted_count:,}"),
        LoopStep(
            "Settled",
            _share(settled, settled + waiting) if settled + waiting else float(votes > 0),
            f"{waiting:,} open" if waiting else f"{settled:,} settled" if settled else "none open",
        ),
        LoopStep(
            "Release",
            float(dataset.last_release is not None),
            f"number {dataset.last_release}" if dataset.last_release is not None else "none yet",
        ),
        _model_step(has_version, accuracy),
    ]


def _model_step(has_version: bool, accuracy: ModelAccuracy | None) -> LoopStep:
    """Full where the model beats the length rule, half where it has an accuracy that does not."""
    if not has_version:
        return LoopStep("Model", 0.0, "none active")
    value = accuracy.accuracy["value"] if accuracy else None
    if accuracy is None or value is None:
        return LoopStep("Model", 0.0, "not measured")
    words = shares.in_words(value).replace(" ", "\N{NO-BREAK SPACE}")
    return LoopStep("Model", 1.0 if accuracy.beats_rule else 0.5, f"{words} right", f"by {accuracy.rests_on}")


def _share(part: int, whole: int) -> float:
    return min(1.0, part / whole) if whole else 0.0


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


# --- votes a day --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DayBar:
    """The votes of one day, and the height of its bar from 0 to 100."""

    day: date
    votes: int
    height: float


@dataclass(frozen=True)
class Days:
    """Votes of the last DAYS days, today last. most: the votes of a bar of height 100; plan: votes a day that
    are needed from now on, None without a plan."""

    bars: list[DayBar]
    most: int
    plan: int | None = None

    @property
    def total(self) -> int:
        return sum(bar.votes for bar in self.bars)

    @property
    def a_day(self) -> float:
        """Mean of the last PACE_DAYS days, today left out unless it has the only votes."""
        before = [bar.votes for bar in self.bars[-PACE_DAYS - 1 : -1]]
        return sum(before) / PACE_DAYS if any(before) else float(self.bars[-1].votes)

    def last_day(self, left: int) -> date | None:
        """The day on which `left` votes will be done at this pace; None without a vote of late, and where
        that is over a year away."""
        days = left / self.a_day if self.a_day else float("inf")
        return self.bars[-1].day + timedelta(days=round(days)) if days <= 365 else None

    def against(self, left: int, due_on: date | None) -> "Days":
        """The same with the plan, to have `left` more votes by the end of `due_on`, and bars on a scale that
        has room for it. Without a day to come there is no plan."""
        days_left = (due_on - self.bars[-1].day).days + 1 if due_on else 0
        if left <= 0 or days_left <= 0:
            return self
        plan = -(-left // days_left)
        return _bars([bar.day for bar in self.bars], {bar.day: bar.votes for bar in self.bars}, plan)

    @property
    def plan_height(self) -> float:
        """Of the line of the plan, on the scale of the bars."""
        return 100 * (self.plan or 0) / self.most


def days_of(datasets: Collection[Dataset]) -> dict[int, Days]:
    """The votes that people gave each day in each dataset, by primary key. One query."""
    today = timezone.localdate()
    first = today - timedelta(days=DAYS - 1)
    start = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(DAYS - 1)
    votes = Judgment.objects.for_votes().by_people().filter(supersedes=None, created_at__gte=start)
    rows = (
        votes.filter(comparison__dataset__in=[dataset.pk for dataset in datasets])
        .order_by()
        .annotate(day=TruncDate("created_at"))
        .values_list("comparison__dataset", "day")
        .annotate(n=Count("pk"))
    )
    counts: dict[int, dict[date, int]] = {dataset.pk: {} for dataset in datasets}
    for pk, day, n in rows:
        counts[pk][day] = n
    days = [first + timedelta(days=number) for number in range(DAYS)]
    return {pk: _bars(days, of_day) for pk, of_day in counts.items()}


def _bars(days: list[date], of_day: dict[date, int], plan: int | None = None) -> Days:
    most = max([*of_day.values(), plan or 0]) or 1
    bars = [DayBar(day, n, round(100 * n / most, 1)) for day in days for n in [of_day.get(day, 0)]]
    return Days(bars, most, plan)


# --- since the last visit -----------------------------------------------------------------------------------

_SEEN = {
    "prompts": ("prompt_count", "prompt"),
    "labels": ("label_count", "imported label"),
    "votes": ("judged_count", "vote"),
    "disagreements": ("disagreement_count", "disagreement"),
}


def seen_of(dataset: Dataset) -> dict[str, int]:
    """The numbers that a visit keeps, of a dataset with its loop counts."""
    seen = {name: getattr(dataset, attribute) for name, (attribute, _) in _SEEN.items()}
    return {**seen, "release": dataset.last_release or 0}


def remember_visit(person: User, dataset: Dataset) -> None:
    """Store what the person has now seen of the dataset."""
    visit = Visit(user=person, dataset_id=dataset.pk, at=timezone.now(), seen=seen_of(dataset))
    Visit.objects.bulk_create(
        [visit], update_conflicts=True, unique_fields=["user", "dataset"], update_fields=["at", "seen"]
    )


def changes_since(visit: Visit | None, dataset: Dataset) -> list[str]:
    """What is new since the visit: "43 votes", "2 disagreements", "release 2"; [] without a visit."""
    if visit is None:
        return []
    now = seen_of(dataset)
    new = {name: now[name] - visit.seen.get(name, 0) for name in _SEEN}
    said = [f"{_number(more, _SEEN[name][1])}" for name, more in new.items() if more > 0]
    return [*said, f"release {now['release']}"] if now["release"] > visit.seen.get("release", 0) else said
