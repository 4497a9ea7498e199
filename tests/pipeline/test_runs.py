from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import RunFactory
from workbench.models import Run
from workbench.pipeline import runs

pytestmark = pytest.mark.django_db


def test_a_waiting_run_is_rung_once_and_again_after_a_while():
    run = RunFactory.create(kind=Run.Kind.IMPORT)

    assert runs.due() == [run]
    assert runs.due() == []
    Run.objects.update(rung_at=timezone.now() - timedelta(minutes=2))
    assert runs.due() == [run]


def test_a_run_whose_worker_is_lost_waits_again_and_fails_after_three_attempts():
    run = RunFactory.create(kind=Run.Kind.IMPORT)
    for attempt in (1, 2, 3):
        assert run.start()
        assert run.attempts == attempt
        Run.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))
        runs.due()
        run.refresh_from_db()

    assert run.state == "failed"
    assert "lost 3 times" in run.error


def test_a_run_that_reports_progress_is_left_alone():
    run = RunFactory.create(kind=Run.Kind.IMPORT)
    run.start()

    assert runs.due() == []
    run.refresh_from_db()
    assert run.state == "running"


def test_two_workers_cannot_both_start_a_run():
    run = RunFactory.create()

    assert run.start()
    assert not Run.objects.get(pk=run.pk).start()


def test_a_cancelled_run_tells_its_worker_to_stop_and_stays_cancelled():
    run = RunFactory.create()
    run.start()
    assert run.beat(10)

    run.cancel()

    assert not run.beat(20)
    assert not run.finish()
    assert run.state == "cancelled"
