"""Settling the Decisions of a Dataset as a Run: it takes minutes where 180,000 Comparisons are undecided, so
no request does it. Pages show what is stored and say as of when."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, Max, Q
from django.utils import timezone

from workbench.models import Dataset, Flag, Judgment, Run, User
from workbench.pipeline.decisions import aggregation
from workbench.pipeline.runs.lifecycle import heartbeats

AGAIN_AFTER = timedelta(seconds=60)
"""While people judge there is always something new; a page that looks at it orders no Run each second."""


@dataclass(frozen=True)
class Freshness:
    """As of when (None = never) the Decisions follow from the votes, whether votes came since, and the Run
    that was ordered last."""

    as_of: datetime | None
    is_stale: bool
    run: Run | None

    @property
    def going(self) -> bool:
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
    """A new Run where votes or flags came that the last one has not seen; None where there is nothing to do,
    where one goes on, or where one was ordered a minute ago."""
    with transaction.atomic():
        Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
        last = Run.objects.of(dataset).of_kind(Run.Kind.DECIDE).order_by("-pk").first()
        seen = _seen(dataset)
        if last and (last.is_open or last.params["seen"] == seen or _is_recent(last)):
            return None
        return Run.objects.create(kind=Run.Kind.DECIDE, dataset=dataset, created_by=by, params={"seen": seen})


def carry_out(run: Run) -> None:
    """Settle what a started Run was ordered for, and finish it."""
    if run.dataset is None:
        raise ValueError(f"{run} has no dataset.")
    with heartbeats(run):
        settled = aggregation.derive(run.dataset)
    run.finish(made=settled.made, withdrawn=settled.withdrawn)


def _is_recent(run: Run) -> bool:
    return timezone.now() - run.created_at < AGAIN_AFTER


def _seen(dataset: Dataset) -> list[Any]:
    """What Decisions follow from, as far as a change of it shows in a few numbers."""
    judgments = Judgment.objects.of(dataset).order_by()
    votes = judgments.aggregate(last=Max("pk"), current=Count("pk", filter=Q(is_current=True)))
    flags = Flag.objects.filter(comparison__dataset=dataset).order_by()
    raised = flags.aggregate(all=Count("pk"), closed=Count("closed_at"))
    return [dataset.aggregation, votes["last"], votes["current"], raised["all"], raised["closed"]]
