"""The pages of webhooks in a browser: each state of them readable on a phone, and for everybody."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from tests.browser.test_pages import OUT_OF_REACH
from workbench.models import Dataset, Event, User, Webhook
from workbench.pipeline.webhooks import sending
from workbench.pipeline.webhooks.posting import Answer

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

URL = "https://8.8.8.8/votes/" + "a-very-long-path/" * 8


@pytest.fixture
def webhook(dataset: Dataset, alice: User) -> Webhook:
    """A failing webhook with each kind of delivery, beside a paused one."""
    dataset.webhooks.create(url="https://8.8.8.8/", events=["run.finished"], is_active=False)
    events = [name for name, _ in Event.Type.to_ask_for()]
    webhook = dataset.webhooks.create(url=URL, events=events, failures=4, created_by=alice)
    now = timezone.now()
    for number, (state, error) in enumerate(
        [
            ("delivered", ""),
            ("dead", "Answered 307: redirects are not followed. Change the address instead."),
            ("dead", "No answer within 10 seconds."),
            ("waiting", "hooks.example has a private address. Whoever runs this workbench can allow it."),
            ("waiting", ""),
        ],
        start=1,
    ):
        event = Event.objects.create(dataset=dataset, type=events[number], number=number, facts={})
        webhook.deliveries.create(
            event=event, state=state, attempts=number, last_at=now, last_status=307 if error else 204,
            last_ms=1234, last_error=error, next_at=now + timedelta(hours=number),
        )  # fmt: skip
    return webhook


@pytest.mark.parametrize("width", [1440, 390])
def test_each_state_is_accessible_and_within_reach(
    width, webhook, dataset, alice, open_as, accessible, picture
):
    page = open_as(alice, viewport={"width": width, "height": 1000})
    pages = {
        "list": reverse("webhooks", args=[dataset.pk]),
        "one": reverse("webhook", args=[webhook.pk]),
        "dead": reverse("webhook", args=[webhook.pk]) + "?state=dead",
        "paused": reverse("webhook", args=[dataset.webhooks.get(is_active=False).pk]),
        "overview": reverse("dataset", args=[dataset.pk]),
    }
    for name, address in pages.items():
        page.goto(address)
        picture(page, f"webhooks-{name}-{width}")
        accessible(page, name)
        assert page.evaluate(OUT_OF_REACH) == [], name


def test_an_admin_adds_a_webhook_copies_its_secret_and_sees_a_test_arrive_in_the_log(
    dataset, alice, open_as, accessible, picture
):
    page = open_as(alice)
    page.goto(reverse("settings", args=[dataset.pk]))
    page.get_by_role("link", name="Webhooks").click()
    page.get_by_label("Address").fill("https://8.8.8.8/votes")
    page.get_by_label("A release is ready").uncheck()
    page.get_by_role("button", name="Add webhook").click()

    assert page.get_by_label("Secret").input_value().startswith("whsec_")
    picture(page, "webhooks-secret")
    accessible(page, "secret")
    page.get_by_role("link", name="Go on to the webhook").click()
    page.get_by_role("button", name="Send a test").click()
    log = page.get_by_role("region", name="Log, table")
    expect(log).to_contain_text("waiting")
    sending.turn(Webhook.objects.get().pk, lambda request: Answer(204, 12, ""))

    expect(log).to_contain_text("delivered")
    expect(log).to_contain_text("12 ms")
    assert "release.ready" not in Webhook.objects.get().events
