"""Real worker processes and a receiver in another process."""

import time
from collections import Counter

import pytest

from tests.factories import CompletionFactory, ModelVersionFactory, PromptFactory
from tests.processes import wait_until
from workbench.models import Delivery, Event, ScoreBatch, Webhook, Worker
from workbench.pipeline.scoring import batches
from workbench.pipeline.webhooks import managing
from workbench.worker import tasks

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

GOOD = ("/ok-1", "/ok-2")
BAD = ("/fails", "/hangs", "/drips", "/redirects", "/rubbish", "/closes")
SOON = 4.0
"""Seconds within which an event is to arrive: a worker looks once a second, and this machine may be busy."""


@pytest.fixture
def listen(add_webhook, receiving):
    """Add a webhook for each of these paths of the receiver."""

    def listen(*paths: str) -> None:
        for path in paths:
            _, secret = add_webhook("run.finished", url=receiving.url(path))
            receiving.know({path: secret})

    return listen


def happens(dataset, n: int) -> None:
    for number in range(n):
        Event.objects.note(dataset.pk, Event.Type.RUN, [{"run": number}])


def begin(processes) -> None:
    """Start a worker, and wait until it is there."""
    processes.worker(DEBUG="1")
    wait_until(Worker.objects.alive().exists, 60)


def numbers(receiving, path: str) -> list[int]:
    return [row["payload"]["sequence"] for row in receiving.got(path)]


def delays(receiving, path: str) -> list[float]:
    """Seconds from each fact to the request."""
    written = dict(Event.objects.values_list("number", "created_at"))
    return [row["at"] - written[row["payload"]["sequence"]].timestamp() for row in receiving.got(path)]


def test_a_receiver_that_fails_hangs_redirects_or_answers_rubbish_delays_no_other(
    processes, dataset, listen, receiving
):
    listen(*BAD, *GOOD)
    begin(processes)

    for _ in range(12):
        happens(dataset, 3)
        time.sleep(1)
    wait_until(lambda: all(len(numbers(receiving, path)) == 36 for path in GOOD), 30)

    for path in GOOD:
        assert numbers(receiving, path) == list(range(1, 37))
        assert max(delays(receiving, path)) < SOON
    for path in BAD:
        assert 1 <= len(receiving.got(path)) <= 3  # the first, and after a rest of five seconds
    assert {row["verified"] for row in receiving.got()} == {"yes"}
    assert {row["method"] for row in receiving.got()} == {"POST"}
    assert {row["path"] for row in receiving.got()} == {*GOOD, *BAD}
    wait_until(lambda: not Delivery.objects.filter(attempts=0, webhook__failures=0).exists(), 30)
    errors = dict(
        Delivery.objects.exclude(last_error="").values_list("webhook__url", "last_error").order_by("pk")
    )
    assert {url.rpartition("/")[2]: error for url, error in errors.items()} == {
        "fails": "Answered 500.",
        "hangs": "No answer within 10 seconds.",
        "drips": "No answer within 10 seconds.",
        "redirects": "Answered 307: redirects are not followed. Change the address instead.",
        "rubbish": "The answer is not HTTP.",
        "closes": "The answer is not HTTP.",
    }


def test_a_task_that_takes_long_holds_up_no_webhook(processes, dataset, listen, receiving):
    listen("/ok-1")
    version = ModelVersionFactory.create()
    CompletionFactory.create(prompt=PromptFactory.create(dataset=dataset))
    run = batches.plan(dataset, version)
    tasks.enqueue_run(run)
    processes.worker(DEBUG="1", FAKE_SECONDS="600", LEASE_SECONDS="700")
    processes.clock()
    wait_until(lambda: ScoreBatch.objects.filter(state="leased").exists(), 60)

    happens(dataset, 3)

    wait_until(lambda: numbers(receiving, "/ok-1") == [1, 2, 3], 30)
    assert max(delays(receiving, "/ok-1")) < SOON
    assert ScoreBatch.objects.filter(state="leased").exists()


def test_after_a_killed_worker_every_event_arrives_and_a_double_has_the_same_id(
    processes, dataset, listen, receiving
):
    listen("/ok-1", "/ok-2")
    first = processes.worker(DEBUG="1")
    happens(dataset, 300)
    wait_until(lambda: len(receiving.got("/ok-1")) > 20, 60)

    processes.kill(first)
    processes.worker(DEBUG="1")
    happens(dataset, 20)

    wait_until(lambda: not Delivery.objects.exclude(state="delivered").exists() and _all_numbered(), 120)
    for path in GOOD:
        got = receiving.got(path)
        assert {row["payload"]["sequence"] for row in got} == set(range(1, 321))
        ids = {row["payload"]["sequence"]: row["id"] for row in got}
        assert all(row["id"] == ids[row["payload"]["sequence"]] for row in got)
        twice = [number for number, times in Counter(numbers(receiving, path)).items() if times > 1]
        assert len(twice) <= 1  # the request that was under way
    assert {row["verified"] for row in receiving.got()} == {"yes"}


def _all_numbered() -> bool:
    return not Event.objects.filter(number=None).exists() and Delivery.objects.count() == 640


def test_a_receiver_that_is_down_gets_everything_once_it_is_back(
    processes, dataset, listen, receiving, alice
):
    listen("/fails")
    processes.worker(DEBUG="1")
    happens(dataset, 10)
    wait_until(lambda: len(receiving.got("/fails")) >= 2, 60)

    webhook = Webhook.objects.get()
    receiving.know({"/ok-1": receiving.secrets["/fails"]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(managing.targets, "checked", lambda url: url)
        managing.change(webhook, alice, url=receiving.url("/ok-1"))
    Delivery.objects.filter(state="dead").update(state="waiting")

    wait_until(lambda: not Delivery.objects.exclude(state="delivered").exists(), 120)
    assert sorted(numbers(receiving, "/ok-1")) == list(range(1, 11))
