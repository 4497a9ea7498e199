from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import RunFactory
from workbench.models import Run
from workbench.pipeline.runs import lifecycle

pytestmark = pytest.mark.django_db


def test_a_waiting_run_is_rung_once_and_again_after_a_while():
    run = RunFactory.create(kind=Run.Kind.IMPORT)

    assert lifecycle.due() == [run]
    assert lifecycle.due() == []
    Run.objects.update(enqueued_at=timezone.now() - timedelta(minutes=2))
    assert lifecycle.due() == [run]


def test_a_run_whose_worker_is_lost_waits_again_and_fails_after_three_attempts():
    run = RunFactory.create(kind=Run.Kind.IMPORT)
    for attempt in (1, 2, 3):
        assert run.start()
        assert run.attempts == attempt
        Run.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))
        lifecycle.due()
        run.refresh_from_db()

    assert run.state == "failed"
    assert "stopped responding 3 times" in run.error


def test_a_run_that_reports_progress_is_left_alone():
    run = RunFactory.create(kind=Run.Kind.IMPORT)
    run.start()

    assert lifecycle.due() == []
    run.refresh_from_db()
    assert run.state == "running"


def test_two_workers_cannot_both_start_a_run():
    run = RunFactory.create()

    assert run.start()
    assert not Run.objects.get(pk=run.pk).start()


def test_a_cancelled_run_tells_its_worker_to_stop_and_stays_cancelled():
    run = RunFactory.create()
    run.start()
    assert run.update_progress(10)

    run.cancel()

    assert not run.update_progress(20)
    assert not run.finish()
    assert run.state == "cancelled"


@pytest.mark.parametrize(
    ("kind", "fields", "sentence"),
    [
        ("score", {"done": 64, "total": 1722}, "64 of 1,722 answers"),
        ("release", {"done": 1000, "total": 5000}, "1,000 of 5,000 pairs"),
        ("train", {"done": 3, "total": 12}, "3 of 12 steps"),
        ("import", {"done": 250, "total": 501, "result": {"phase": "reading"}}, "read 250 of about 501 rows"),
        ("import", {"done": 520, "total": 501, "result": {"phase": "reading"}}, "read 520 of about 520 rows"),
        ("import", {"done": 250, "total": 999, "result": {"phase": "storing"}}, "stored 250 of 999 rows"),
        (
            "import",
            {"done": 250, "total": 999, "result": {"phase": "storing"}, "params": {"dry_run": True}},
            "checked 250 of 999 rows",
        ),
        ("import", {"done": 999, "total": 999, "state": "done"}, "999 of 999 rows"),
        ("import", {"done": 250, "total": 999, "state": "failed"}, ""),
        ("statistics", {"done": 750, "total": 1000}, "75 %"),
        ("leakage", {"done": 1, "total": 8}, "12 %"),
        ("decide", {}, ""),
    ],
)
def test_a_run_says_its_progress_in_what_a_person_counts(kind, fields, sentence):
    assert Run(kind=kind, **{"state": "running"} | fields).progress == sentence


def test_an_import_that_has_read_all_is_half_done():
    """Rows read and rows stored are each half of the way, for its rate and the time left."""
    began = timezone.now() - timedelta(seconds=10)
    run = Run(kind="import", state="running", started_at=began, done=100, total=100)

    run.result = {"phase": "reading"}
    assert (round(run.rate), round(run.time_left.total_seconds())) == (5, 10)
    run.done, run.result = 50, {"phase": "storing"}
    assert (round(run.rate, 1), round(run.time_left.total_seconds(), 1)) == (7.5, 3.3)


def test_the_time_left_of_a_training_with_a_limit_is_at_most_the_rest_of_the_limit():
    """1 of 69 steps in 60 s would take more than an hour, but the training ends after 90 s."""
    began = timezone.now() - timedelta(seconds=60)
    run = RunFactory.create(kind="train", state="running", done=1, total=69, started_at=began)
    unlimited = run.time_left.total_seconds()

    run.params = {"max_seconds": 90}

    assert round(unlimited) == 68 * 60
    assert round(run.time_left.total_seconds()) == 30
