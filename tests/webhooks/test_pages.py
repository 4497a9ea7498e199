"""The pages of webhooks, for admins of a dataset."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.factories import UserFactory
from workbench.models import AuditEvent, Delivery, Event, Webhook
from workbench.pipeline.outbound import addresses
from workbench.pipeline.webhooks import managing

pytestmark = [pytest.mark.django_db, pytest.mark.portable]

URL = "https://hooks.example/votes"


@pytest.fixture(autouse=True)
def hooks_example_is_public(monkeypatch):
    found = [(2, 1, 6, "", ("93.184.216.34", 443))]
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: found)


@pytest.fixture
def admin(as_user, alice):
    return as_user(alice)


def text_of(answer) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def add(admin, dataset, **sent):
    return admin.post(
        reverse("webhooks", args=[dataset.pk]), {"url": URL, "events": ["run.finished"], **sent}
    )


def sent_to(webhook, *states: str, event: str = "run.finished") -> list[Delivery]:
    return [
        webhook.deliveries.create(
            event=Event.objects.create(dataset=webhook.dataset, type=event, number=number, facts={}),
            state=state,
            attempts=1,
            last_at=timezone.now(),
            last_status=500 if state == "dead" else 204,
            last_ms=7,
            last_error="Answered 500." if state == "dead" else "",
            next_at=timezone.now() + timedelta(hours=1),
        )
        for number, state in enumerate(states, start=1)
    ]


def test_an_admin_finds_webhooks_from_the_settings(admin, dataset):
    link = f'href="{reverse("webhooks", args=[dataset.pk])}"'

    assert link in admin.get(reverse("settings", args=[dataset.pk])).content.decode()
    assert "No webhooks yet" in text_of(admin.get(reverse("webhooks", args=[dataset.pk])))


def test_the_secret_is_shown_once_with_the_answer_and_in_no_other_place(admin, dataset):
    answer = add(admin, dataset)

    webhook = Webhook.objects.get()
    (secret,) = managing.secrets_of(webhook)
    assert secret in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    for name, key in (("webhook", webhook.pk), ("webhooks", dataset.pk)):
        assert secret not in admin.get(reverse(name, args=[key])).content.decode()
    assert secret not in str(list(AuditEvent.objects.values()))
    assert secret not in str(dict(admin.session))


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"url": "http://hooks.example/"}, "Only https is allowed"),
        ({"url": "https://user@hooks.example/"}, "can’t hold a name"),
        ({"url": "https://2130706433/"}, "no IP address as it is usually written"),
        ({"events": []}, "Choose at least one event."),
        ({"events": ["webhook.test"]}, "webhook.test is not one of the available choices"),
    ],
)
def test_a_refused_address_is_named_and_what_was_typed_stays(sent, error, admin, dataset):
    answer = add(admin, dataset, **sent)

    assert answer.status_code == 400
    assert error in text_of(answer)
    assert f'value="{sent.get("url", URL)}"' in answer.content.decode()
    assert not Webhook.objects.exists()


def test_an_address_of_a_private_host_is_refused(admin, dataset, monkeypatch):
    found = [(2, 1, 6, "", ("169.254.169.254", 443))]
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: found)

    answer = add(admin, dataset)

    assert "hooks.example has a private address" in text_of(answer)
    assert "WEBHOOK_PRIVATE_HOSTS" in text_of(answer)


def test_the_list_shows_state_last_request_and_what_waits_or_is_dead(admin, dataset, add_webhook):
    webhook, _ = add_webhook("run.finished", url=URL)
    sent_to(webhook, "delivered", "waiting", "dead")
    Webhook.objects.update(failures=2, last_at=timezone.now(), last_error="Answered 500.")

    page = text_of(admin.get(reverse("webhooks", args=[dataset.pk])))

    assert URL in page
    assert "failing 2 times in a row" in page
    assert "Answered 500." in page


def test_the_log_shows_each_delivery_and_can_be_narrowed(admin, add_webhook):
    webhook, _ = add_webhook(url=URL)
    sent_to(webhook, "delivered", "dead", "waiting")
    path = reverse("webhook", args=[webhook.pk])

    page, dead = admin.get(path), admin.get(path, {"state": "dead"})

    assert [one.event.number for one in page.context["deliveries"]] == [3, 2, 1]
    assert "next try" in text_of(page)
    assert "7 ms" in text_of(page)
    assert [one.event.number for one in dead.context["deliveries"]] == [2]
    for odd in ({"state": "x"}, {"before": "x"}, {"before": "9" * 40}, {"before": "²"}):
        assert len(admin.get(path, odd).context["deliveries"]) == 3


def test_the_log_asks_for_itself_while_something_is_on_its_way(admin, add_webhook, alice):
    webhook, _ = add_webhook(url=URL)
    path = reverse("webhook", args=[webhook.pk])
    assert "hx-get" not in admin.get(path).content.decode().partition('id="log"')[2].partition(">")[0]

    admin.post(reverse("webhook_test", args=[webhook.pk]))

    assert "hx-get" in admin.get(path).content.decode().partition('id="log"')[2].partition(">")[0]
    part = admin.get(path, headers={"HX-Request": "true"})
    assert part.status_code == 200
    assert "<html" not in part.content.decode()
    Delivery.objects.update(state="delivered")
    assert admin.get(path, headers={"HX-Request": "true"}).status_code == 286


def test_a_test_waits_for_a_worker(admin, add_webhook):
    webhook, _ = add_webhook(url=URL)

    admin.post(reverse("webhook_test", args=[webhook.pk]))

    delivery = Delivery.objects.get()
    assert (delivery.webhook, delivery.state, delivery.event.type) == (webhook, "waiting", "webhook.test")


def test_one_delivery_or_all_that_are_dead_are_replayed(admin, add_webhook):
    webhook, _ = add_webhook(url=URL)
    delivered, *_ = sent_to(webhook, "delivered", "dead", "dead")
    path = reverse("webhook_replay", args=[webhook.pk])

    def states() -> list[str]:
        return list(Delivery.objects.order_by("pk").values_list("state", flat=True))

    admin.post(path, {"delivery": "x"})
    assert states() == ["delivered", "dead", "dead"]
    admin.post(path, {"delivery": delivered.pk})
    assert states() == ["waiting", "dead", "dead"]
    admin.post(path)
    assert states() == ["waiting", "waiting", "waiting"]


def test_a_delivery_of_another_webhook_is_not_replayed(admin, add_webhook):
    webhook, _ = add_webhook(url=URL)
    other, _ = add_webhook(url=URL)
    (delivery,) = sent_to(other, "dead")

    admin.post(reverse("webhook_replay", args=[webhook.pk]), {"delivery": delivery.pk})

    assert Delivery.objects.get().state == "dead"


def test_an_admin_changes_pauses_resumes_and_deletes_a_webhook(admin, dataset, add_webhook):
    webhook, _ = add_webhook(url=URL)

    def post(name: str, **sent) -> Webhook | None:
        admin.post(reverse(name, args=[webhook.pk]), sent)
        return Webhook.objects.filter(pk=webhook.pk).first()

    changed = post("webhook_change", url="https://other.example/", events=["release.ready"])
    assert (changed.url, changed.events) == ("https://other.example/", ["release.ready"])
    assert not post("webhook_switch").is_active
    page = admin.get(reverse("webhook", args=[webhook.pk])).content.decode()
    assert "what happens meanwhile is not sent later" in page
    assert reverse("webhook_test", args=[webhook.pk]) not in page
    assert post("webhook_switch", active="1").is_active
    assert post("webhook_delete") is None


def test_a_refused_change_leaves_the_webhook_as_it_was(admin, add_webhook):
    webhook, _ = add_webhook(url=URL)

    answer = admin.post(
        reverse("webhook_change", args=[webhook.pk]), {"url": "https://[::1]x/", "events": ["run.finished"]}
    )

    assert answer.status_code == 400
    assert "This is no address" in text_of(answer)
    assert Webhook.objects.get().url == URL


def test_a_new_secret_is_shown_once(admin, add_webhook):
    webhook, old = add_webhook(url=URL)

    answer = admin.post(reverse("webhook_rotate", args=[webhook.pk]))

    webhook.refresh_from_db()
    new, _ = managing.secrets_of(webhook)
    assert new in answer.content.decode()
    assert old not in answer.content.decode()
    assert "the old secret too for 24 hours" in text_of(answer)


def test_an_archived_dataset_shows_its_webhooks_and_can_end_them(admin, dataset, add_webhook):
    webhook, _ = add_webhook(url=URL)
    sent_to(webhook, "dead")
    dataset.archived_at = timezone.now()
    dataset.save()

    page = admin.get(reverse("webhook", args=[webhook.pk]))

    assert "Save webhook" not in text_of(page)
    assert add(admin, dataset).status_code == 423
    assert admin.post(reverse("webhook_delete", args=[webhook.pk])).status_code == 302


def test_dead_events_are_named_on_the_overview_and_for_staff(admin, dataset, add_webhook, as_user):
    webhook, _ = add_webhook(url=URL)
    sam = as_user(UserFactory.create(is_staff=True))
    overview, system = reverse("dataset", args=[dataset.pk]), reverse("system")
    assert "given up" not in text_of(admin.get(overview))
    assert "Webhooks" not in text_of(sam.get(system))

    sent_to(webhook, "dead", "dead", "waiting")

    assert "2 events for webhooks were given up after three days." in text_of(admin.get(overview))
    assert "Kitchen : 1 event to send, 2 given up after three days" in text_of(sam.get(system))


def test_prometheus_reads_what_waits_and_what_is_dead(client, settings, add_webhook):
    settings.METRICS_TOKEN = "token"
    webhook, _ = add_webhook(url=URL)
    sent_to(webhook, "dead", "dead", "waiting", "delivered")

    lines = client.get(reverse("metrics"), headers={"Authorization": "Bearer token"}).content.decode()

    assert 'workbench_webhooks{state="waiting"} 1.0' in lines
    assert 'workbench_webhooks{state="dead"} 2.0' in lines
