"""The figures of a Dataset are updated without a click: after imports, scoring and enough new votes."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import ComparisonFactory, JudgmentFactory, ModelVersionFactory, RunFactory
from workbench.models import Dataset, Run, Statistics
from workbench.pipeline import quality
from workbench.pipeline.model.promotion import activate
from workbench.pipeline.quality import updating
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture
def reported(dataset, store_figures) -> Statistics:
    """A report of a hundred votes, five minutes old."""
    comparison = ComparisonFactory.create(prompt__dataset=dataset)
    JudgmentFactory.create_batch(100, comparison=comparison)
    store_figures(dataset)
    return aged(dataset, minutes=5)


def aged(dataset: Dataset, minutes: float) -> Statistics:
    Statistics.objects.update(taken_at=timezone.now() - timedelta(minutes=minutes))
    return Statistics.objects.get(dataset=dataset)


def vote(dataset: Dataset, times: int) -> None:
    JudgmentFactory.create_batch(times, comparison=dataset.comparisons.first())


def ended(dataset: Dataset, kind: str, *, minutes_ago: float, state: str = "done") -> Run:
    at = timezone.now() - timedelta(minutes=minutes_ago)
    run = RunFactory.create(dataset=dataset, kind=kind, state=state, started_at=at, finished_at=at)
    Run.objects.filter(pk=run.pk).update(created_at=at)
    return run


def test_the_first_vote_brings_the_first_report(dataset):
    assert quality.begin_if_stale(dataset) is None
    JudgmentFactory.create(comparison__prompt__dataset=dataset)

    tasks.reconcile()

    run = Run.objects.get()
    assert (run.kind, run.dataset, run.created_by) == ("statistics", dataset, None)
    assert run.enqueued_at is not None


def test_with_nothing_new_nothing_is_computed(dataset, reported):
    aged(dataset, minutes=600)

    assert quality.begin_if_stale(dataset) is None


@pytest.mark.parametrize(
    ("votes", "minutes", "begun"), [(4, 5, False), (5, 5, True), (1, 9, False), (1, 11, True)]
)
def test_a_report_is_renewed_for_five_per_cent_new_votes_or_after_ten_minutes_for_one(
    votes, minutes, begun, dataset, reported
):
    vote(dataset, votes)
    aged(dataset, minutes)

    assert bool(quality.begin_if_stale(dataset)) is begun


def test_of_a_large_report_fifty_votes_are_enough(dataset, reported):
    Statistics.objects.update(judgments=100_000)
    vote(dataset, 49)
    assert quality.begin_if_stale(dataset) is None

    vote(dataset, 1)
    assert quality.begin_if_stale(dataset)


@pytest.mark.parametrize("kind", ["import", "score"])
def test_a_report_is_renewed_after_an_import_and_after_scoring(kind, dataset, reported):
    ended(dataset, kind, minutes_ago=6)
    ended(dataset, kind, minutes_ago=1, state="failed")
    assert quality.begin_if_stale(dataset) is None

    ended(dataset, kind, minutes_ago=1)
    assert quality.begin_if_stale(dataset)


def test_a_report_is_renewed_once_for_another_model(dataset, reported):
    activate(ModelVersionFactory.create(), reason="better")
    run = quality.begin_if_stale(dataset)
    assert run
    tasks.carry_out(run.pk)
    Run.objects.update(finished_at=timezone.now() - timedelta(minutes=5))

    assert quality.begin_if_stale(dataset) is None


def test_a_report_is_renewed_when_the_model_was_calibrated(dataset, reported):
    version = ModelVersionFactory.create(state="active", calibration={"at": "2020-01-01T00:00:00+00:00"})
    assert quality.begin_if_stale(dataset) is None

    version.calibration = {"at": timezone.now().isoformat(timespec="seconds")}
    version.save()
    assert quality.begin_if_stale(dataset)


def test_one_run_is_open_and_one_begins_in_a_minute(dataset, reported):
    vote(dataset, 60)
    run = quality.begin_if_stale(dataset)
    assert run
    assert quality.begin_if_stale(dataset) is None
    tasks.carry_out(run.pk)
    vote(dataset, 60)
    assert quality.begin_if_stale(dataset) is None

    Run.objects.update(finished_at=timezone.now() - timedelta(seconds=61))
    Run.objects.update(started_at=timezone.now() - timedelta(seconds=62))
    assert quality.begin_if_stale(dataset)


def test_what_takes_long_is_begun_seldom(dataset, reported):
    run = ended(dataset, "statistics", minutes_ago=4)
    Run.objects.filter(pk=run.pk).update(started_at=run.finished_at - timedelta(minutes=1))
    vote(dataset, 60)
    assert quality.begin_if_stale(dataset) is None

    Run.objects.filter(pk=run.pk).update(started_at=run.finished_at - timedelta(seconds=20))
    assert quality.begin_if_stale(dataset)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_run_that_did_not_end_well_is_repeated_after_ten_minutes(state, dataset, reported):
    vote(dataset, 60)
    run = ended(dataset, "statistics", minutes_ago=9, state=state)
    assert quality.begin_if_stale(dataset) is None

    Run.objects.filter(pk=run.pk).update(finished_at=timezone.now() - updating.OLD)
    assert quality.begin_if_stale(dataset)


@pytest.mark.parametrize("left", ["archived_at", "deleted_at"])
def test_an_archived_dataset_keeps_its_report(left, dataset, reported):
    vote(dataset, 60)
    Dataset.objects.update(**{left: timezone.now()})

    assert quality.begin_if_stale(dataset) is None
    tasks.reconcile()
    assert not Run.objects.exists()


def test_a_report_of_another_format_is_renewed(dataset, reported):
    Statistics.objects.update(report={"format": 0})

    assert quality.begin_if_stale(dataset)
