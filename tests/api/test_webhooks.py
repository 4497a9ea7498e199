"""Webhooks by a program: what the pages do, and the secret is shown once."""

import pytest

from tests.web.test_access import webhook_of
from workbench.models import Webhook
from workbench.pipeline.webhooks import targets

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(alice, program):
    return program(alice)


def test_a_webhook_is_added_and_its_secret_is_kept_in_no_answer(dataset, admin, monkeypatch):
    monkeypatch.setattr(targets, "checked", lambda url: url)
    wanted = {"url": "https://hooks.example.org/votes", "events": ["judgment.created"]}
    path = f"/api/v1/datasets/{dataset.pk}/webhooks"

    first = admin.post(path, wanted, "application/json", headers={"idempotency-key": "k"})
    again = admin.post(path, wanted, "application/json", headers={"idempotency-key": "k"})

    assert first.status_code == 201
    assert first.json()["secret"].startswith("whsec_")
    assert (again.status_code, again.json()["code"]) == (409, "shown_once")
    assert Webhook.objects.count() == 1


def test_an_address_that_no_request_may_go_to_is_refused_with_its_reason(dataset, admin):
    wanted = {"url": "https://169.254.169.254/latest", "events": ["judgment.created"]}

    answer = admin.post(f"/api/v1/datasets/{dataset.pk}/webhooks", wanted, "application/json")

    assert answer.status_code == 409
    assert not Webhook.objects.exists()


def test_a_test_is_in_the_log(dataset, admin):
    webhook = webhook_of(dataset)

    sent = admin.post(f"/api/v1/webhooks/{webhook.pk}/test", {}, "application/json")

    assert sent.status_code == 202
    (delivery,) = admin.get(f"/api/v1/webhooks/{webhook.pk}/deliveries").json()["items"]
    assert (delivery["event"], delivery["sequence"], delivery["state"]) == ("webhook.test", 0, "waiting")
