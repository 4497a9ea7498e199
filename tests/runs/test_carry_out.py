"""The end of a Run of any kind, for any end of its act."""

from collections.abc import Callable

import pytest

from tests.factories import RunFactory
from workbench.models import Run
from workbench.pipeline.runs.lifecycle import FAILED
from workbench.pipeline.runs.progress import Cancelled, Refused
from workbench.worker import tasks

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.parametrize("kind", [kind for kind in Run.Kind if kind != Run.Kind.SCORE]),
]


@pytest.fixture
def carried_out(dataset, monkeypatch):
    """Let a worker take a new Run of the kind, with this act in the place of its own; the Run afterwards."""

    def carry_out(kind: Run.Kind, act: Callable[[Run], object]) -> Run:
        monkeypatch.setitem(tasks.ACTS, kind, act)
        run = RunFactory.create(dataset=dataset, kind=kind)
        try:
            tasks.carry_out(run.pk)
        finally:
            run.refresh_from_db()
        return run

    return carry_out


def raising(error: Exception) -> Callable[[Run], object]:
    def act(run: Run) -> None:
        raise error

    return act


def test_a_run_is_finished_by_its_act(kind, carried_out):
    run = carried_out(kind, lambda run: run.finish(rows=3))

    assert (run.state, run.result, run.error, run.attempts) == ("done", {"rows": 3}, "", 1)


def test_a_run_that_is_cancelled_while_it_goes_on_stays_cancelled(kind, carried_out):
    def act(run: Run) -> None:
        Run.objects.filter(pk=run.pk).update(state="cancelled")
        raise Cancelled

    run = carried_out(kind, act)

    assert (run.state, run.error) == ("cancelled", "")


def test_a_run_whose_worker_is_told_to_end_waits_for_another(kind, carried_out, monkeypatch):
    monkeypatch.setattr(tasks, "is_stopping", lambda: True)

    run = carried_out(kind, raising(Cancelled()))

    assert (run.state, run.attempts) == ("waiting", 0)


def test_a_refusal_fails_a_run_with_its_sentence_and_keeps_what_is_known(kind, carried_out):
    def act(run: Run) -> None:
        run.result = {"stage": "training"}
        raise Refused("The disk is full. Make room.")

    run = carried_out(kind, act)

    assert (run.state, run.error) == ("failed", "The disk is full. Make room.")
    assert run.result == {"stage": "training"}


def test_an_unexpected_error_fails_a_run_with_a_sentence_that_names_its_type(kind, carried_out):
    with pytest.raises(RuntimeError):
        carried_out(kind, raising(RuntimeError("row 3: secret")))

    run = Run.objects.get()
    assert (run.state, run.error) == ("failed", FAILED[kind].format(error="RuntimeError"))


@pytest.mark.parametrize("state", ["running", "done", "failed", "cancelled"])
def test_a_run_that_does_not_wait_is_left_alone(kind, state, dataset, monkeypatch):
    monkeypatch.setitem(tasks.ACTS, kind, raising(AssertionError("It was begun.")))
    run = RunFactory.create(dataset=dataset, kind=kind, state=state)

    tasks.carry_out(run.pk)

    run.refresh_from_db()
    assert (run.state, run.attempts) == (state, 0)


def test_a_message_for_a_run_that_is_gone_does_nothing(kind, dataset, monkeypatch):
    monkeypatch.setitem(tasks.ACTS, kind, raising(AssertionError("It was begun.")))

    tasks.carry_out(RunFactory.create(dataset=dataset, kind=kind).pk + 1)

    assert Run.objects.get().state == "waiting"


def test_a_message_goes_to_the_queue_of_the_kind(
    kind, dataset, monkeypatch, django_capture_on_commit_callbacks
):
    queues = []
    monkeypatch.setattr(tasks.carry_out, "apply_async", lambda args, queue, **_: queues.append(queue))
    run = RunFactory.create(dataset=dataset, kind=kind)

    with django_capture_on_commit_callbacks(execute=True):
        tasks.enqueue_run(run)
    tasks.reconcile()

    heavy = {"train": "train", "evaluate": "train", "register": "train", "vectors": "score"}
    assert queues == 2 * [heavy.get(kind, "work")]
