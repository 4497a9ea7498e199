"""When the figures of a Dataset are computed again: by themselves, and no more often than helps."""

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from workbench.models import Dataset, Judgment, ModelVersion, Promotion, Run, Statistics, User
from workbench.pipeline.history.recording import record_run
from workbench.pipeline.quality.reports import FORMAT

NEW_VOTES = 50
NEW_SHARE = 0.05
"""A new report is due after this many votes, or after this share of the votes that the last report counts."""

OLD = timedelta(minutes=10)
"""A report of this age is renewed for a single new vote. A failed Run is repeated after this time at the
earliest."""

AT_MOST_EVERY = timedelta(seconds=60)
BREAK = 9
"""A Dataset waits this many times as long as its last Run took, so its figures take a tenth of one worker at
most."""


def begin(dataset: Dataset, by: User | None = None) -> Run:
    """The Run that will compute the dataset's figures: the open one, else a new one."""
    with transaction.atomic():
        Dataset.objects.select_for_update(no_key=True).get(pk=dataset.pk)
        under_way = Run.objects.of(dataset).of_kind(Run.Kind.STATISTICS).open().first()
        return under_way or record_run(
            Run.objects.create(kind=Run.Kind.STATISTICS, dataset=dataset, created_by=by)
        )


def begin_if_stale(dataset: Dataset) -> Run | None:
    """A new Run where the stored report is out of date; None for a fresh report, an archived dataset, and
    while a Run is open or has just ended."""
    if not _may_begin(dataset) or not is_stale(dataset):
        return None
    with transaction.atomic():
        in_use = Dataset.objects.in_use().select_for_update(no_key=True).filter(pk=dataset.pk)
        if not in_use.exists() or not _may_begin(dataset):
            return None
        return Run.objects.create(kind=Run.Kind.STATISTICS, dataset=dataset)


def is_stale(dataset: Dataset) -> bool:
    """Whether enough has changed since the stored report: votes, an import, Scores, the serving model or its
    calibration. False for a dataset without Judgments."""
    stored = stored_report(dataset)
    if stored is None:
        return Judgment.objects.of(dataset).exists()
    new_votes = stored.judgments_since
    enough = min(NEW_VOTES, max(1, NEW_SHARE * stored.judgments))
    if new_votes >= enough or (new_votes and timezone.now() - stored.taken_at >= OLD):
        return True
    began = (stored.run and stored.run.started_at) or stored.taken_at
    return _has_changed(dataset, since=began)


def stored_report(dataset: Dataset) -> Statistics | None:
    """The row of the dataset's last report, without the report; None where there is none in this FORMAT."""
    rows = Statistics.objects.filter(dataset=dataset, report__format=FORMAT)
    return rows.select_related("run").defer("report").first()


def _may_begin(dataset: Dataset) -> bool:
    last = Run.objects.of(dataset).of_kind(Run.Kind.STATISTICS).order_by("-pk").first()
    if last is None:
        return True
    if last.is_open:
        return False
    age = timezone.now() - (last.finished_at or last.created_at)
    if last.state != Run.State.DONE:
        return age >= OLD
    return age >= max(AT_MOST_EVERY, BREAK * (last.took or timedelta()))


def _has_changed(dataset: Dataset, since: datetime) -> bool:
    """Whether an import or scoring has ended, or a version was promoted or calibrated."""
    runs = Run.objects.of(dataset).filter(kind__in=[Run.Kind.IMPORT, Run.Kind.SCORE], state=Run.State.DONE)
    if (
        runs.filter(finished_at__gte=since).exists()
        or Promotion.objects.filter(created_at__gte=since).exists()
    ):
        return True
    serving = ModelVersion.objects.serving(dataset)
    calibrated_at = serving.calibration.get("at") if serving and serving.calibration else None
    return calibrated_at is not None and datetime.fromisoformat(calibrated_at) >= since.replace(microsecond=0)
