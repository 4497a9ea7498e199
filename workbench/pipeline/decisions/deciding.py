"""Deriving the Decisions of a Dataset as a Run. 180,000 undecided Comparisons take minutes, so no request
derives: pages show the stored Decisions with their time."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Max, Q
from django.utils import timezone

from workbench.models import Dataset, Flag, Judgment, Run, User
from workbench.pipeline.decisions import aggregation
from workbench.pipeline.runs.lifecycle import heartbeats
from workbench.pipeline.runs.progress import Refused

AGAIN_AFTER = timedelta(seconds=60)
"""While people judge, there are always new votes, and pages must not begin a Run every second."""


@dataclass(frozen=True)
class Freshness:
    """as_of: when the Decisions last followed from the votes (None = never). is_stale: whether there are
    newer votes. run: the last Run."""

    as_of: datetime | None
    is_stale: bool
    run: Run | None

    @property
    def has_open_run(self) -> bool:
        return self.run is not None and self.run.is_open

    @property
    def failed(self) -> bool:
        return self.run is not None and self.run.state == Run.State.FAILED


def freshness(dataset: Dataset) -> Freshness:
    runs = Run.objects.of(dataset).of_kind(Run.Kind.DECIDE).order_by("-pk")
    done = runs.filter(state=Run.State.DONE).first()
    return Freshness(
        as_of=done.started_at if done else None,
        is_stale=done is None or done.params["seen"] != _seen(dataset),
        run=runs.first(),
    )


def begin_if_stale(dataset: Dataset, by: User | None) -> Run | None:
    """A new Run if there are votes or flags since the last Run. None if there are none, while a Run is open,
    and within a minute of the last Run."""
    with transaction.atomic():
        Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
        last = Run.objects.of(dataset).of_kind(Run.Kind.DECIDE).order_by("-pk").first()
        seen = _seen(dataset)
        if last and (
            last.is_open or last.params["seen"] == seen or timezone.now() - last.created_at < AGAIN_AFTER
        ):
            return None
        return Run.objects.create(kind=Run.Kind.DECIDE, dataset=dataset, created_by=by, params={"seen": seen})


def carry_out(run: Run) -> None:
    """Derive the Decisions of a started Run's dataset, and finish the Run."""
    if run.dataset is None:
        raise Refused("The dataset is gone.")
    with heartbeats(run):
        derived = aggregation.derive(run.dataset)
    run.finish(made=derived.decided, withdrawn=derived.withdrawn)


def _seen(dataset: Dataset) -> list[str | int | None]:
    """Numbers that change whenever votes, flags or the rule change."""
    judgments = Judgment.objects.of(dataset).order_by()
    votes = judgments.aggregate(last=Max("pk"), current=Count("pk", filter=Q(is_current=True)))
    flags = Flag.objects.filter(comparison__dataset=dataset).order_by()
    counts = flags.aggregate(all=Count("pk"), closed=Count("closed_at"))
    return [dataset.aggregation, votes["last"], votes["current"], counts["all"], counts["closed"]]
