"""Webhooks by the client, on a running workbench."""

import pytest
from preference_workbench import Refused

from tests.webserver import web
from workbench.models import Delivery, Webhook
from workbench.pipeline.webhooks import managing

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.portable]


@pytest.fixture
def port(transactional_db, tmp_path):
    """With DEBUG, as http to one's own machine is allowed."""
    with web(tmp_path / "web.log", CELERY_BROKER_URL="filesystem://", DEBUG="1") as port:
        yield port


def test_a_webhook_is_added_changed_paused_and_deleted(enter, dataset, alice):
    webhooks = enter(alice).datasets["Kitchen"].webhooks

    added = webhooks.add("http://localhost:9/", ["judgment.created"])

    stored = Webhook.objects.get()
    assert (added.id, added.url, added.events) == (stored.pk, stored.url, ["judgment.created"])
    assert added.secret.startswith("whsec_")
    assert [(hook.id, hook.secret) for hook in webhooks] == [(added.id, None)]
    assert webhooks[added.id].update(events=["run.finished"]).events == ["run.finished"]
    assert not added.pause().is_active
    assert added.resume().is_active
    first = added.secret
    assert added.rotate() == added.secret != first
    added.delete()
    assert not Webhook.objects.exists()


def test_the_log_is_read_and_what_has_ended_is_sent_again(enter, dataset, alice):
    hook = enter(alice).datasets["Kitchen"].webhooks.add("http://localhost:9/", ["judgment.created"])

    sent = [hook.test() for _ in range(managing.A_PAGE + 1)]
    Delivery.objects.filter(pk=sent[0].id).update(state="dead")

    assert [row.id for row in hook.deliveries()] == [row.id for row in reversed(sent)]
    assert [row.id for row in hook.deliveries("dead")] == [sent[0].id]
    assert hook.replay() == 1
    assert Delivery.objects.get(pk=sent[0].id).state == "waiting"
    hook.pause()
    with pytest.raises(Refused, match="paused"):
        hook.replay([sent[0].id])
