"""Adding, changing and deleting webhooks; secrets that are shown once."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import DatasetFactory
from workbench.models import AuditEvent, Delivery, Event, Webhook
from workbench.pipeline.datasets.cloning import clone
from workbench.pipeline.people.erasing import erase
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.webhooks import managing

pytestmark = pytest.mark.django_db


def test_a_secret_is_new_each_time_and_sealed_in_the_database(add_webhook):
    (one, first), (_, second) = add_webhook(), add_webhook()

    assert first != second
    assert first.startswith("whsec_")
    assert managing.secrets_of(one) == [first]
    assert first[6:] not in one.sealed_secret


def test_a_secret_of_another_key_is_named_as_lost(add_webhook, settings):
    webhook, secret = add_webhook()
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another" * 10

    assert managing.secrets_of(webhook) == [secret]
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(Refused, match="SECRET_KEY has changed"):
        managing.secrets_of(webhook)


def test_after_a_new_secret_the_old_one_signs_for_a_day(add_webhook, alice):
    webhook, old = add_webhook()

    new = managing.rotate(webhook, alice)

    webhook.refresh_from_db()
    assert managing.secrets_of(webhook) == [new, old]
    assert webhook.old_valid_until - timezone.now() > timedelta(hours=23)
    Webhook.objects.update(old_valid_until=timezone.now())
    webhook.refresh_from_db()
    assert managing.secrets_of(webhook) == [new]


@pytest.mark.parametrize(
    ("events", "why"),
    [([], "at least one"), (["votes"], "no event votes"), (["webhook.test"], "no event webhook.test")],
)
def test_a_webhook_asks_for_known_events_and_for_one_at_least(events, why, dataset, alice, monkeypatch):
    monkeypatch.setattr(managing.targets, "checked", lambda url: url)

    with pytest.raises(Refused, match=why):
        managing.register(dataset, "https://hooks.example/", events, alice)


def test_an_address_that_is_refused_stores_nothing(dataset, alice):
    with pytest.raises(Refused, match="private"):
        managing.register(dataset, "https://127.0.0.1/", ["run.finished"], alice)

    assert not Webhook.objects.exists()


def test_a_new_address_is_checked_as_the_first_one(add_webhook, alice):
    webhook, _ = add_webhook()

    with pytest.raises(Refused, match="private"):
        managing.change(webhook, alice, url="https://[::1]/")

    webhook.refresh_from_db()
    assert webhook.url == "https://hooks.example/"


def test_a_dataset_has_a_bounded_number_of_webhooks(add_webhook, monkeypatch):
    monkeypatch.setattr(managing, "MOST", 2)
    add_webhook(), add_webhook()

    with pytest.raises(Refused, match="Delete one first"):
        add_webhook()


def test_the_dataset_knows_which_events_an_active_webhook_asks_for(dataset, add_webhook, alice):
    one, _ = add_webhook("run.finished", "judgment.created")
    add_webhook("run.finished")

    def asked() -> list[str]:
        dataset.refresh_from_db()
        return dataset.webhook_events

    assert asked() == ["judgment.created", "run.finished"]
    managing.change(one, alice, is_active=False)
    assert asked() == ["run.finished"]
    managing.change(one, alice, is_active=True, events=["release.ready"])
    assert asked() == ["release.ready", "run.finished"]
    managing.delete(one, alice)
    assert asked() == ["run.finished"]


def test_each_act_leaves_a_row_of_history(dataset, add_webhook, alice):
    webhook, _ = add_webhook()
    managing.change(webhook, alice, is_active=False)
    managing.change(webhook, alice, is_active=False)  # changes nothing
    managing.change(webhook, alice, is_active=True, events=["run.finished"])
    managing.rotate(webhook, alice)
    webhook.refresh_from_db()
    delivery = managing.test(webhook, alice)
    Delivery.objects.filter(pk=delivery.pk).update(state="dead")
    managing.replay(webhook, alice)
    managing.delete(webhook, alice)

    rows = AuditEvent.objects.filter(kind__startswith="webhook").order_by("pk")
    assert list(rows.values_list("kind", "fields", "count")) == [
        ("webhook_added", [], None),
        ("webhook_changed", ["is_active"], None),
        ("webhook_changed", ["events", "is_active"], None),
        ("webhook_rotated", [], None),
        ("webhook_tested", [], None),
        ("webhook_replayed", [], 1),
        ("webhook_deleted", [], None),
    ]
    assert set(rows.values_list("actor", "dataset")) == {(alice.pk, dataset.pk)}


def test_a_replay_sends_what_is_dead_or_delivered_again_for_three_days(dataset, add_webhook, alice):
    webhook, _ = add_webhook()
    long_ago = timezone.now() - timedelta(days=9)
    dead, delivered, waiting = (
        webhook.deliveries.create(
            event=Event.objects.create(dataset=dataset, type="run.finished", number=number, facts={}),
            state=state,
            attempts=9,
            since=long_ago,
            next_at=long_ago,
        )
        for number, state in enumerate(("dead", "delivered", "waiting"), start=1)
    )

    assert managing.replay(webhook, alice) == 1
    assert managing.replay(webhook, alice, [delivered.pk, waiting.pk]) == 1

    for delivery in (dead, delivered, waiting):
        delivery.refresh_from_db()
        assert delivery.state == "waiting"
    assert dead.attempts == delivered.attempts == 0
    assert waiting.attempts == 9
    assert dead.since > timezone.now() - timedelta(minutes=1)


def test_a_paused_webhook_is_sent_nothing(add_webhook, alice):
    webhook, _ = add_webhook()
    paused = managing.change(webhook, alice, is_active=False)

    for act in (managing.test, managing.replay):
        with pytest.raises(Refused, match="this webhook is paused"):
            act(paused, alice)


def test_the_list_counts_what_waits_and_what_is_dead(dataset, add_webhook):
    webhook, _ = add_webhook()
    add_webhook()
    for number, (state, attempts) in enumerate(
        [("delivered", 1), ("dead", 9), ("dead", 9), ("waiting", 1), ("waiting", 0)], start=1
    ):
        event = Event.objects.create(dataset=dataset, type="run.finished", number=number, facts={})
        webhook.deliveries.create(event=event, state=state, attempts=attempts)

    first, second = managing.listed(dataset)

    assert (first.waiting, first.dead) == (2, 2)
    assert (second.waiting, second.dead) == (0, 0)


def test_the_log_comes_page_by_page_the_newest_first(dataset, add_webhook, monkeypatch):
    monkeypatch.setattr(managing, "A_PAGE", 2)
    webhook, _ = add_webhook()
    for number in range(1, 4):
        event = Event.objects.create(dataset=dataset, type="run.finished", number=number, facts={})
        webhook.deliveries.create(event=event, state="dead" if number == 1 else "delivered")

    page, before = managing.log(webhook)
    rest, after = managing.log(webhook, before)

    assert [one.event.number for one in [*page, *rest]] == [3, 2, 1]
    assert after is None
    assert [one.event.number for one in managing.log(webhook, state="dead")[0]] == [1]


def test_a_clone_has_no_webhooks_and_asks_for_no_events(dataset, add_webhook, alice):
    add_webhook()

    copy = clone(dataset, "A copy", alice)

    assert not copy.webhooks.exists()
    assert copy.webhook_events == []


def test_the_webhooks_of_an_erased_admin_stay(dataset, add_webhook, alice, charlie):
    webhook, _ = add_webhook()
    dataset.members.create(user=charlie, role="admin")

    erase(alice)

    webhook.refresh_from_db()
    assert webhook.created_by.username.startswith("erased-")
    assert DatasetFactory.create().webhook_events == []
