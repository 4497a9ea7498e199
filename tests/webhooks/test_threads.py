"""The threads of a worker that send webhooks."""

from workbench.worker import webhooks
from workbench.worker.webhooks import Sender


def test_receivers_that_fail_leave_threads_for_those_that_work():
    sender = Sender()

    failing = [sender._begin(pk, True) for pk in range(webhooks.MOST_FAILING + 1)]
    working = [sender._begin(pk, False) for pk in range(100, 100 + webhooks.MOST_THREADS)]

    assert failing == [True] * webhooks.MOST_FAILING + [False]
    assert working.count(True) == webhooks.MOST_THREADS - webhooks.MOST_FAILING


def test_a_webhook_gets_one_thread_at_a_time():
    sender = Sender()

    assert [sender._begin(1, False), sender._begin(1, False), sender._begin(2, False)] == [True, False, True]
