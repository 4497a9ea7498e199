"""From the outbox to the receivers, by a receiver that answers what a test wants."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.db import connection, transaction
from django.utils import timezone
from standardwebhooks import Webhook as Verifier

from tests.factories import DatasetFactory
from workbench.models import Delivery, Event, Webhook
from workbench.pipeline.webhooks import managing, sending
from workbench.pipeline.webhooks.posting import Answer, Request

pytestmark = pytest.mark.django_db

OK, DOWN = Answer(200, 5, ""), Answer(500, 5, "Answered 500.")


class Receiver:
    """Keeps all requests, and answers one after the other of `answers`, the last one for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Answer:
        self.requests.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    @property
    def numbers(self) -> list[int]:
        return [json.loads(request.body)["sequence"] for request in self.requests]


def happens(dataset, n: int = 1, event: str = "run.finished") -> None:
    Event.objects.note(dataset.pk, event, [{"run": number} for number in range(n)])


def later(**wait) -> None:
    """Let time pass: all that is stored is so much older."""
    wait = timedelta(**wait)
    for delivery in Delivery.objects.all():
        Delivery.objects.filter(pk=delivery.pk).update(
            since=delivery.since - wait, next_at=delivery.next_at - wait
        )
    for webhook in Webhook.objects.exclude(rests_until=None):
        Webhook.objects.filter(pk=webhook.pk).update(rests_until=webhook.rests_until - wait)


def serve(receiver: Receiver) -> int:
    """One turn of each webhook that is due."""
    return sum(sending.turn(pk, receiver) for pk, _ in sending.due(timezone.now()))


# --- numbers ------------------------------------------------------------------------------------------------


def test_events_of_a_dataset_get_the_numbers_from_one_on(dataset, add_webhook):
    other = DatasetFactory.create()
    happens(dataset, 2)
    happens(other, 1)
    happens(dataset, 1)

    assert sorted(sending.datasets_with_news()) == [dataset.pk, other.pk]
    assert sending.fan_out(dataset.pk) == 3
    assert sending.fan_out(dataset.pk) == 0
    happens(dataset, 1)
    sending.fan_out(dataset.pk)

    numbered = Event.objects.filter(dataset=dataset.pk).order_by("pk")
    assert list(numbered.values_list("number", flat=True)) == [1, 2, 3, 4]
    assert sending.datasets_with_news() == [other.pk]


def test_numbers_go_on_after_old_events_are_forgotten(dataset):
    happens(dataset, 3)
    sending.fan_out(dataset.pk)
    Event.objects.update(created_at=timezone.now() - timedelta(days=31))
    Event.objects.forget_old()
    assert not Event.objects.exists()

    happens(dataset)
    sending.fan_out(dataset.pk)

    assert Event.objects.get().number == 4


def test_a_deleted_dataset_has_no_news(dataset):
    happens(dataset)
    dataset.deleted_at = timezone.now()
    dataset.save()

    assert sending.datasets_with_news() == []


def test_a_webhook_gets_the_events_that_it_asks_for(dataset, add_webhook, alice):
    runs, _ = add_webhook("run.finished")
    votes, _ = add_webhook("judgment.created")
    paused, _ = add_webhook()
    managing.change(paused, alice, is_active=False)
    happens(dataset, 2)
    happens(dataset, 1, "judgment.created")

    sending.fan_out(dataset.pk)

    got = Delivery.objects.order_by("pk").values_list("webhook", "event__number")
    assert sorted(got) == [(runs.pk, 1), (runs.pk, 2), (votes.pk, 3)]


def in_a_thread(act: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        act()
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_workers_give_each_number_once_while_facts_come_are_rolled_back_and_commit_late(dataset):
    begun, last, over = (threading.Event() for _ in range(3))

    def write_slowly() -> None:
        """A transaction that begins first and commits last."""
        with transaction.atomic():
            happens(dataset, 2, "judgment.created")
            begun.set()
            last.wait()

    def write() -> None:
        begun.wait()
        for n in range(60):
            with transaction.atomic():
                happens(dataset)
                transaction.set_rollback(n % 3 == 0)

    def number() -> None:
        while not over.is_set():
            sending.fan_out(dataset.pk)

    late = in_a_thread(write_slowly)
    writers, workers = [in_a_thread(write) for _ in range(3)], [in_a_thread(number) for _ in range(3)]
    for thread in writers:
        thread.join()
    sending.fan_out(dataset.pk)
    last.set()
    late.join()
    over.set()
    for thread in workers:
        thread.join()
    sending.fan_out(dataset.pk)

    events = Event.objects.filter(dataset=dataset.pk)
    assert sorted(events.values_list("number", flat=True)) == list(range(1, 3 * 40 + 2 + 1))
    seen_last = events.filter(type="judgment.created")
    assert sorted(seen_last.values_list("number", flat=True)) == [121, 122]
    assert events.order_by("pk").first().type == "judgment.created"


# --- requests -----------------------------------------------------------------------------------------------


def test_a_request_is_signed_and_holds_type_time_dataset_number_and_facts(dataset, add_webhook):
    _, secret = add_webhook()
    happens(dataset)
    sending.fan_out(dataset.pk)
    receiver = Receiver(OK)

    assert serve(receiver) == 1

    (request,) = receiver.requests
    event = Event.objects.get()
    assert request.url == "https://hooks.example/"
    assert request.headers["webhook-id"] == event.uid.hex
    assert Verifier(secret).verify(request.body, dict(request.headers)) == {
        "type": "run.finished",
        "timestamp": event.created_at.isoformat(),
        "dataset": dataset.pk,
        "sequence": 1,
        "data": {"run": 0},
    }
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts, delivery.last_status, delivery.last_ms) == (
        "delivered", 1, 200, 5,
    )  # fmt: skip


def test_both_secrets_sign_while_the_old_one_is_valid(dataset, add_webhook, alice):
    webhook, old = add_webhook()
    new = managing.rotate(webhook, alice)
    happens(dataset)
    sending.fan_out(dataset.pk)
    receiver = Receiver(OK)

    serve(receiver)

    (request,) = receiver.requests
    for secret in (old, new):
        assert Verifier(secret).verify(request.body, dict(request.headers))["sequence"] == 1


def test_a_second_try_has_the_same_id_and_body_and_a_time_of_its_own(dataset, add_webhook):
    _, secret = add_webhook()
    happens(dataset)
    sending.fan_out(dataset.pk)
    receiver = Receiver(DOWN, OK)
    serve(receiver)
    later(seconds=6)
    real = timezone.now

    with patch.object(sending.timezone, "now", lambda: real() + timedelta(seconds=100)):
        serve(receiver)

    first, second = receiver.requests
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) >= int(first.headers["webhook-timestamp"]) + 100
    Verifier(secret).verify(second.body, dict(second.headers))


def test_events_are_sent_in_their_order(dataset, add_webhook):
    add_webhook()
    happens(dataset, 5)
    sending.fan_out(dataset.pk)
    receiver = Receiver(OK)

    serve(receiver)

    assert receiver.numbers == [1, 2, 3, 4, 5]


# --- failures -----------------------------------------------------------------------------------------------


def test_the_waits_add_up_to_three_days():
    assert abs(sum(sending.RETRY_AFTER, timedelta()) - sending.GIVEN_UP_AFTER) < timedelta(minutes=1)


def test_a_failure_is_tried_again_later_and_later_and_is_dead_after_three_days(dataset, add_webhook):
    add_webhook()
    happens(dataset)
    sending.fan_out(dataset.pk)
    receiver, waited = Receiver(DOWN), []

    while Delivery.objects.get().state == "waiting":
        serve(receiver)
        delivery = Delivery.objects.get()
        wait = delivery.next_at - delivery.last_at
        waited.append(wait)
        rest = Webhook.objects.get().rests_until - delivery.last_at
        later(seconds=max(wait, rest).total_seconds())

    assert waited[:3] == [timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=5)]
    assert len(receiver.requests) == 11
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.attempts, delivery.last_error) == ("dead", 11, "Answered 500.")
    later(days=1)
    assert sending.due(timezone.now()) == []


def test_a_failure_ends_the_turn_and_gives_the_receiver_a_rest(dataset, add_webhook):
    add_webhook()
    happens(dataset, 5)
    sending.fan_out(dataset.pk)
    receiver = Receiver(DOWN)

    serve(receiver)

    assert receiver.numbers == [1]
    webhook = Webhook.objects.get()
    assert (webhook.last_error, webhook.failures) == ("Answered 500.", 1)
    assert webhook.last_at is not None
    assert sending.due(timezone.now()) == []
    later(seconds=6)
    assert [is_failing for _, is_failing in sending.due(timezone.now())] == [True]


def test_the_rest_of_a_failing_receiver_grows_to_five_minutes(dataset, add_webhook):
    add_webhook()
    happens(dataset, 6)
    sending.fan_out(dataset.pk)
    rests = []

    for _ in range(6):
        serve(Receiver(DOWN))
        rests.append(round((Webhook.objects.get().rests_until - timezone.now()).total_seconds()))
        later(seconds=rests[-1] + 1)

    assert rests == [5, 30, 60, 300, 300, 300]


def test_one_event_that_a_receiver_cannot_take_holds_up_no_other(dataset, add_webhook):
    add_webhook()
    happens(dataset, 4)
    sending.fan_out(dataset.pk)
    refused = Event.objects.get(number=2).uid.hex

    def receive(request: Request) -> Answer:
        return DOWN if request.headers["webhook-id"] == refused else OK

    for _ in range(2):
        serve(receive)
        later(seconds=6)

    states = Delivery.objects.order_by("event__number").values_list("state", flat=True)
    assert list(states) == ["delivered", "waiting", "delivered", "delivered"]


def test_a_receiver_that_is_back_gets_all_that_waits_at_once(dataset, add_webhook):
    add_webhook()
    happens(dataset, 4)
    sending.fan_out(dataset.pk)
    for _ in range(3):
        serve(Receiver(DOWN))
        later(minutes=6)
    Delivery.objects.exclude(event__number=4).update(next_at=timezone.now() + timedelta(hours=20))
    receiver = Receiver(OK)

    serve(receiver)
    serve(receiver)

    assert receiver.numbers == [4, 1, 2, 3]
    assert not Delivery.objects.waiting().exists()


def test_what_a_resting_receiver_never_got_in_three_days_is_dead_too(dataset, add_webhook):
    add_webhook()
    happens(dataset, 5)
    sending.fan_out(dataset.pk)
    serve(Receiver(DOWN))
    later(days=3, minutes=1)
    receiver = Receiver(DOWN)

    serve(receiver)

    assert receiver.numbers == [1]
    assert set(Delivery.objects.values_list("state", flat=True)) == {"dead"}


def test_what_waited_for_three_days_without_a_worker_is_tried_all_the_same(dataset, add_webhook):
    add_webhook()
    happens(dataset, 2)
    sending.fan_out(dataset.pk)
    later(days=4)
    receiver = Receiver(OK)

    serve(receiver)

    assert receiver.numbers == [1, 2]


def test_a_secret_that_cannot_be_read_is_a_failure_with_its_reason(dataset, add_webhook, settings):
    add_webhook()
    happens(dataset)
    sending.fan_out(dataset.pk)
    settings.SECRET_KEY = "another" * 10

    serve(Receiver(OK))

    assert Delivery.objects.get().last_error == managing.LOST_SECRET


def test_an_error_of_ours_counts_as_a_try(dataset, add_webhook):
    add_webhook()
    happens(dataset)
    sending.fan_out(dataset.pk)

    def broken(request: Request) -> Answer:
        raise KeyError("A secret.")

    serve(broken)

    delivery = Delivery.objects.get()
    assert (delivery.attempts, delivery.last_error) == (1, "The request could not be made (KeyError).")


# --- several workers, and admins meanwhile ------------------------------------------------------------------


def test_one_worker_at_a_time_serves_a_webhook(dataset, add_webhook):
    webhook, _ = add_webhook()
    happens(dataset, 2)
    sending.fan_out(dataset.pk)
    other, inner = Receiver(OK), []

    def receive(request: Request) -> Answer:
        inner.append(sending.turn(webhook.pk, other))
        inner.append(len(sending.due(timezone.now())))
        return OK

    assert sending.turn(webhook.pk, receive) == 2
    assert inner == [0, 0, 0, 0]
    assert other.requests == []


def test_the_lease_is_renewed_before_each_request(dataset, add_webhook):
    webhook, _ = add_webhook()
    happens(dataset, 3)
    sending.fan_out(dataset.pk)
    leases = []

    def receive(request: Request) -> Answer:
        leases.append(Webhook.objects.get().lease_until)
        return OK

    sending.turn(webhook.pk, receive)

    assert len(set(leases)) == 3


def test_a_lease_that_ran_out_is_taken_and_the_first_worker_stops(dataset, add_webhook):
    webhook, _ = add_webhook()
    happens(dataset, 3)
    sending.fan_out(dataset.pk)
    other = Receiver(OK)

    def hang(request: Request) -> Answer:
        Webhook.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        assert sending.turn(webhook.pk, other) == 3
        return DOWN

    assert sending.turn(webhook.pk, hang) == 0

    assert other.numbers == [1, 2, 3]  # the first one twice, with the same id
    assert set(Delivery.objects.values_list("state", flat=True)) == {"delivered"}
    assert Webhook.objects.get().failures == 0


@pytest.mark.parametrize("act", ["pause", "delete", "address"])
def test_a_turn_stops_when_an_admin_changes_the_webhook(act, dataset, add_webhook, alice, monkeypatch):
    webhook, _ = add_webhook()
    happens(dataset, 3)
    sending.fan_out(dataset.pk)
    monkeypatch.setattr(managing.targets, "checked", lambda url: url)
    acts = {
        "pause": lambda: managing.change(webhook, alice, is_active=False),
        "delete": lambda: managing.delete(webhook, alice),
        "address": lambda: managing.change(webhook, alice, url="https://other.example/"),
    }
    received = []

    def receive(request: Request) -> Answer:
        received.append(request)
        acts[act]()
        return OK

    sending.turn(webhook.pk, receive)

    assert len(received) == 1
    after = Receiver(OK)
    serve(after)
    assert {request.url for request in after.requests} == (
        {"https://other.example/"} if act == "address" else set()
    )


def test_a_worker_that_is_told_to_end_sends_no_more(dataset, add_webhook):
    webhook, _ = add_webhook()
    happens(dataset, 3)
    sending.fan_out(dataset.pk)
    receiver = Receiver(OK)

    sending.turn(webhook.pk, receiver, lambda: len(receiver.requests) == 1)

    assert receiver.numbers == [1]
    assert [pk for pk, _ in sending.due(timezone.now())] == [webhook.pk]  # the lease is given back


def test_a_turn_is_bounded_so_that_others_get_theirs(dataset, add_webhook, monkeypatch):
    monkeypatch.setattr(sending, "A_TURN", 2)
    webhook, _ = add_webhook()
    happens(dataset, 3)
    sending.fan_out(dataset.pk)

    assert [sending.turn(webhook.pk, Receiver(OK)) for _ in range(3)] == [2, 1, 0]


def test_a_test_goes_to_its_webhook_alone_and_takes_no_number(dataset, add_webhook, alice):
    webhook, secret = add_webhook()
    add_webhook()
    managing.test(webhook, alice)
    happens(dataset)
    sending.fan_out(dataset.pk)
    receiver = Receiver(OK)

    serve(receiver)

    kinds = [json.loads(request.body)["type"] for request in receiver.requests]
    assert sorted(kinds) == ["run.finished", "run.finished", "webhook.test"]
    assert sorted(receiver.numbers) == [0, 1, 1]
    payload = Verifier(secret).verify(receiver.requests[0].body, dict(receiver.requests[0].headers))
    assert payload["data"] == {}


def test_old_events_go_with_their_deliveries(dataset, add_webhook):
    add_webhook()
    happens(dataset, 2)
    sending.fan_out(dataset.pk)
    Event.objects.filter(number=1).update(created_at=timezone.now() - timedelta(days=31))

    Event.objects.forget_old()

    assert [delivery.event.number for delivery in Delivery.objects.all()] == [2]


def test_a_receiver_that_asks_for_time_is_tried_no_earlier(dataset, add_webhook):
    add_webhook()
    happens(dataset, 2)
    sending.fan_out(dataset.pk)
    receiver = Receiver(Answer(429, 5, "Answered 429.", timedelta(minutes=20)), OK)
    serve(receiver)

    later(minutes=19)
    assert sending.due(timezone.now()) == []
    later(minutes=2)
    serve(receiver)

    assert receiver.numbers == [1, 2, 1]


def test_a_receiver_that_is_gone_for_good_pauses_its_webhook(dataset, add_webhook, alice):
    gone, _ = add_webhook()
    other, _ = add_webhook("run.finished")
    happens(dataset, 3)
    sending.fan_out(dataset.pk)
    receiver = Receiver(Answer(410, 5, "Answered 410."), OK)

    sending.turn(gone.pk, receiver)

    gone.refresh_from_db()
    assert (gone.is_active, gone.lease_until, gone.last_error) == (False, None, "Answered 410.")
    assert receiver.numbers == [1]
    assert [pk for pk, _ in sending.due(timezone.now())] == [other.pk]
    dataset.refresh_from_db()
    assert dataset.webhook_events == ["run.finished"]
    managing.change(gone, alice, is_active=True)
    later(minutes=1)
    sending.turn(gone.pk, receiver)
    assert sorted(receiver.numbers) == [1, 1, 2, 3]
