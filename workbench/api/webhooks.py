"""Webhooks: add, change, pause, secret, test, log, send again."""

from datetime import datetime

from django.http import HttpRequest, HttpResponse
from ninja import Field, Query, Router, Schema

from workbench import access
from workbench.api.requests import ApiRequest, refuse_stale
from workbench.api.sending import Asked, Body, created, etag_of, form_data, valid
from workbench.forms.webhooks import WebhookForm
from workbench.models import Delivery, Role, Webhook
from workbench.pipeline.webhooks import managing

router = Router(tags=["webhooks"])


class WebhookOut(Schema):
    """An address that is told of what happens in a dataset. last_error: "" = the last request was taken."""

    id: int
    dataset_id: int
    url: str
    events: list[str]
    is_active: bool
    created_at: datetime
    last_at: datetime | None
    last_error: str


class Webhooks(Schema):
    items: list[WebhookOut]


class WebhookWanted(Body):
    url: str
    events: list[str]


class WebhookSecret(Schema):
    """secret: shown this once. Receivers check the signature of each request with it."""

    webhook: WebhookOut
    secret: str


class WebhookChange(Body):
    """What to change; the rest stays. is_active: false = paused."""

    url: str | None = None
    events: list[str] | None = None
    is_active: bool | None = None


class DeliveryOut(Schema):
    """An event on its way to a webhook. sequence: its number in the dataset, 0 for a test, null while it has
    none. status: of the last HTTP answer; null = there was none."""

    id: int
    event: str
    sequence: int | None
    state: str
    attempts: int
    next_at: datetime
    last_at: datetime | None
    status: int | None = Field(alias="last_status")
    milliseconds: int | None = Field(alias="last_ms")
    error: str = Field(alias="last_error")

    @staticmethod
    def resolve_event(delivery: Delivery) -> str:
        return delivery.event.type

    @staticmethod
    def resolve_sequence(delivery: Delivery) -> int | None:
        return delivery.event.number


class Deliveries(Schema):
    """The newest first. next_before: what to ask for next; null at the end."""

    items: list[DeliveryOut]
    next_before: int | None


class DeliveriesAsked(Asked):
    """before: deliveries that are older than this one. state: waiting, delivered or dead; "" = all."""

    before: int | None = Field(None, ge=1, lt=2**63)
    state: str = ""


class Again(Body):
    """deliveries: their ids; null = all that are dead."""

    deliveries: list[int] | None = None


class SentAgain(Schema):
    count: int


@router.get("/datasets/{id:pk}/webhooks", response=Webhooks)
def list_webhooks(request: HttpRequest, pk: int) -> dict[str, object]:
    """The webhooks of a dataset."""
    return {"items": managing.listed(access.dataset_for(request.user, pk, Role.ADMIN))}


@router.post("/datasets/{id:pk}/webhooks", response={201: WebhookSecret})
def add_webhook(request: ApiRequest, pk: int, body: WebhookWanted) -> HttpResponse:
    """Have events sent to an address. The answer shows the secret, this once."""
    dataset = access.dataset_for(request.user, pk, Role.ADMIN)
    wanted = valid(WebhookForm(form_data(WebhookForm, body.model_dump()))).cleaned_data
    webhook, secret = managing.register(dataset, by=access.person(request.user), **wanted)
    request.shows_secret = True
    return created(_with_secret(webhook, secret), f"/api/v1/webhooks/{webhook.pk}")


@router.get("/webhooks/{id:pk}", response=WebhookOut)
def read_webhook(request: HttpRequest, response: HttpResponse, pk: int) -> Webhook:
    """One webhook. The ETag makes a change safe."""
    webhook = access.webhook_for(request.user, pk)
    response["ETag"] = _etag(webhook)
    return webhook


@router.patch("/webhooks/{id:pk}", response=WebhookOut)
def change_webhook(request: HttpRequest, response: HttpResponse, pk: int, body: WebhookChange) -> Webhook:
    """Another address, other events, paused, or back at work."""
    is_switch = body.url is None and body.events is None
    webhook = access.webhook_for(request.user, pk, even_archived=is_switch)
    # No unless_stale: the host of a new address is looked up while nothing is locked.
    changed = managing.change(
        webhook,
        access.person(request.user),
        check=lambda row: refuse_stale(request, _etag(row)),
        **body.model_dump(),
    )
    response["ETag"] = _etag(changed)
    return changed


@router.post("/webhooks/{id:pk}/secret", response=WebhookSecret)
def rotate_webhook_secret(request: ApiRequest, pk: int) -> WebhookSecret:
    """A new secret, shown this once. The old one signs too for 24 hours."""
    webhook = access.webhook_for(request.user, pk)
    request.shows_secret = True
    return _with_secret(webhook, managing.rotate(webhook, access.person(request.user)))


@router.post("/webhooks/{id:pk}/test", response={202: DeliveryOut})
def test_webhook(request: HttpRequest, pk: int) -> HttpResponse:
    """Have a test event sent, and follow it in the log."""
    delivery = managing.test(access.webhook_for(request.user, pk), access.person(request.user))
    document = DeliveryOut.from_orm(delivery).model_dump_json()
    return HttpResponse(document, status=202, content_type="application/json")


@router.get("/webhooks/{id:pk}/deliveries", response=Deliveries)
def list_deliveries(request: HttpRequest, pk: int, asked: Query[DeliveriesAsked]) -> dict[str, object]:
    """The log: what was sent when, with which answer, and what waits."""
    webhook = access.webhook_for(request.user, pk)
    deliveries, older = managing.log(webhook, asked.before, asked.state)
    return {"items": deliveries, "next_before": older}


@router.post("/webhooks/{id:pk}/replay", response=SentAgain)
def replay_deliveries(request: HttpRequest, pk: int, body: Again) -> dict[str, int]:
    """Send deliveries again that have ended, or all that are dead."""
    webhook = access.webhook_for(request.user, pk)
    return {"count": managing.replay(webhook, access.person(request.user), body.deliveries)}


@router.delete("/webhooks/{id:pk}", response={204: None})
def delete_webhook(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a webhook with its log. Nothing more is sent there."""
    webhook = access.webhook_for(request.user, pk, even_archived=True)
    managing.delete(webhook, access.person(request.user))
    return HttpResponse(status=204)


def _etag(webhook: Webhook) -> str:
    return etag_of({"url": webhook.url, "events": webhook.events, "is_active": webhook.is_active})


def _with_secret(webhook: Webhook, secret: str) -> WebhookSecret:
    return WebhookSecret(webhook=WebhookOut.from_orm(webhook), secret=secret)
