"""The webhooks of a Dataset: added, changed, given a new secret, tested, deleted; and the log of what was
sent to them."""

import base64
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cryptography.fernet import InvalidToken
from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone

from workbench.models import Dataset, Delivery, Event, User, Webhook
from workbench.models.webhooks import DeliveryQuerySet
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.webhooks import targets
from workbench.sealing import seal_for

MOST = 20
"""Webhooks of one Dataset."""

OLD_SECRET_SIGNS = timedelta(hours=24)
"""After a new secret is made, requests are signed with the old one too for so long."""

PURPOSE = "webhooks"
LOST_SECRET = "The secret can’t be read: SECRET_KEY has changed. Make a new secret."  # noqa: S105


# --- the webhooks -------------------------------------------------------------------------------------------


def register(dataset: Dataset, url: str, events: Collection[str], by: User) -> tuple[Webhook, str]:
    """A new webhook, and its secret, which nobody can read again. Raises Refused for an address that no
    request may go to, for no or unknown events, and for one webhook too many."""
    url, events = targets.checked(url), _known(events)
    secret = _new_secret()
    with transaction.atomic():
        _lock(dataset.pk)
        if dataset.webhooks.count() >= MOST:
            raise Refused(f"A dataset can have {MOST} webhooks. Delete one first.")
        webhook = dataset.webhooks.create(
            url=url, events=events, sealed_secret=_sealed(secret), created_by=by
        )
        _renew_flag(dataset.pk)
        record(Kind.WEBHOOK_ADDED, by=by, dataset=dataset, target=webhook)
    return webhook, secret


def pause_gone(webhook: Webhook) -> None:
    """Pause a webhook whose receiver says that it is gone for good."""
    change(webhook, None, is_active=False)


def change(
    webhook: Webhook,
    by: User | None,
    *,
    url: str | None = None,
    events: Collection[str] | None = None,
    is_active: bool | None = None,
    check: Callable[[Webhook], None] | None = None,
) -> Webhook:
    """The webhook with another address, other events, paused (`is_active` = False) or back at work; None
    leaves each as it is. A paused webhook gets no new events, and those that wait stay. check: is shown the
    locked row before it changes. Raises Refused as `register` does, and what `check` raises."""
    wanted: dict[str, object] = {}
    if url is not None:
        wanted["url"] = targets.checked(url)
    if events is not None:
        wanted["events"] = _known(events)
    if is_active is not None:
        wanted["is_active"] = is_active
    with transaction.atomic():
        _lock(webhook.dataset_id)
        row = Webhook.objects.select_for_update().get(pk=webhook.pk)
        if check:
            check(row)
        changed = [name for name, value in wanted.items() if getattr(row, name) != value]
        if not changed:
            return row
        for name in changed:
            setattr(row, name, wanted[name])
        # A worker that serves it stops after the request under way; the new address begins afresh.
        row.lease_until, row.rests_until, row.failures = None, None, 0
        row.save()
        _renew_flag(row.dataset_id)
        record(Kind.WEBHOOK_CHANGED, by=by, dataset=row.dataset_id, target=row, fields=changed)
    return row


@transaction.atomic
def rotate(webhook: Webhook, by: User) -> str:
    """A new secret. The one before signs too for OLD_SECRET_SIGNS; one before that, no more."""
    secret = _new_secret()
    row = Webhook.objects.select_for_update().get(pk=webhook.pk)
    row.old_sealed_secret, row.old_valid_until = row.sealed_secret, timezone.now() + OLD_SECRET_SIGNS
    row.sealed_secret = _sealed(secret)
    row.save(update_fields=["sealed_secret", "old_sealed_secret", "old_valid_until"])
    record(Kind.WEBHOOK_ROTATED, by=by, dataset=row.dataset_id, target=row)
    return secret


@transaction.atomic
def delete(webhook: Webhook, by: User) -> None:
    """Delete the webhook with its log. What waits for it is not sent."""
    _lock(webhook.dataset_id)
    record(Kind.WEBHOOK_DELETED, by=by, dataset=webhook.dataset_id, target=webhook)
    Webhook.objects.filter(pk=webhook.pk).delete()
    _renew_flag(webhook.dataset_id)


@transaction.atomic
def test(webhook: Webhook, by: User) -> Delivery:
    """A test event, to this webhook alone. Raises Refused for a paused webhook."""
    if not webhook.is_active:
        raise Refused("Nothing was sent: this webhook is paused.")
    event = Event.objects.create(
        dataset_id=webhook.dataset_id, type=Event.Type.TEST, number=Event.OF_A_TEST, facts={}
    )
    record(Kind.WEBHOOK_TESTED, by=by, dataset=webhook.dataset_id, target=webhook)
    return webhook.deliveries.create(event=event)


def secrets_of(webhook: Webhook) -> list[str]:
    """The secrets that sign now, the new one first. Raises Refused where SECRET_KEY has changed."""
    sealed = [webhook.sealed_secret]
    if webhook.old_valid_until and webhook.old_valid_until > timezone.now():
        sealed.append(webhook.old_sealed_secret)
    try:
        return [seal_for(PURPOSE).decrypt(one).decode() for one in sealed]
    except InvalidToken:
        raise Refused(LOST_SECRET) from None


def _known(events: Collection[str]) -> list[str]:
    known = [name for name, _ in Event.Type.to_ask_for()]
    if unknown := sorted(set(events) - set(known)):
        raise Refused(f"There is no event {unknown[0][:50]}. There are {', '.join(known)}.")
    if not events:
        raise Refused("Choose at least one event.")
    return [name for name in known if name in events]


def _new_secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def _sealed(secret: str) -> str:
    return seal_for(PURPOSE).encrypt(secret.encode()).decode()


def _lock(dataset: int) -> None:
    # Two changes at once would each write the flag without the other's events.
    Dataset.objects.select_for_update(no_key=True).get(pk=dataset)


def _renew_flag(dataset: int) -> None:
    asked = {
        event for webhook in Webhook.objects.active().filter(dataset=dataset) for event in webhook.events
    }
    Dataset.objects.filter(pk=dataset).update(webhook_events=sorted(asked))


# --- what they were sent ------------------------------------------------------------------------------------

A_PAGE = 50


def listed(dataset: Dataset) -> list[Webhook]:
    """The webhooks, each with `waiting` and `dead`: numbers of deliveries. Three queries."""
    webhooks = list(dataset.webhooks.select_related("created_by"))
    ours = Delivery.objects.filter(webhook__in=webhooks).order_by()
    # By themselves: each has an index of these rows alone, and the log may have a million.
    waiting, dead = _counted(ours.waiting()), _counted(ours.dead())
    for webhook in webhooks:
        webhook.waiting, webhook.dead = waiting[webhook.pk], dead[webhook.pk]
    return webhooks


def _counted(deliveries: DeliveryQuerySet) -> Counter[int]:
    """How many there are of each webhook."""
    counts = deliveries.values("webhook").annotate(count=Count("pk"))
    return Counter({row["webhook"]: row["count"] for row in counts})


def given_up(dataset: Dataset) -> int:
    """How many deliveries of the dataset are dead. No query where no active webhook asks for events."""
    if not dataset.webhook_events:
        return 0
    return Delivery.objects.dead().filter(webhook__dataset=dataset).count()


@dataclass(frozen=True)
class Unfinished:
    """What waits for the webhooks of a Dataset, or was given up."""

    dataset: int
    name: str
    waiting: int
    dead: int


def unfinished() -> list[Unfinished]:
    """Of each Dataset with such deliveries, by name."""
    rows = Dataset.objects.not_deleted().filter(webhooks__deliveries__state__in=["waiting", "dead"])
    waiting, dead = (
        Count("pk", filter=Q(webhooks__deliveries__state=state)) for state in ("waiting", "dead")
    )
    counted = rows.order_by("name").annotate(waiting=waiting, dead=dead)
    return [Unfinished(*row) for row in counted.values_list("pk", "name", "waiting", "dead")]


def log(webhook: Webhook, before: int | None = None, state: str = "") -> tuple[list[Delivery], int | None]:
    """The A_PAGE newest deliveries whose key is less than `before`, of a state where one is named, each with
    its event; and the next `before`, None = no more."""
    rows = webhook.deliveries.select_related("event").order_by("-pk")
    rows = rows.filter(state=state) if state else rows
    listed = list((rows.filter(pk__lt=before) if before else rows)[: A_PAGE + 1])
    return listed[:A_PAGE], listed[A_PAGE - 1].pk if len(listed) > A_PAGE else None


@transaction.atomic
def replay(webhook: Webhook, by: User, deliveries: Sequence[int] | None = None) -> int:
    """Send deliveries that are delivered or dead again, from now on for three days; without `deliveries`, all
    that are dead. Returns how many. Receivers know a double by its `webhook-id`. Raises Refused for a paused
    webhook."""
    if not webhook.is_active:
        raise Refused("Nothing was sent: this webhook is paused.")
    ended: DeliveryQuerySet = Delivery.objects.filter(webhook=webhook).exclude(state=Delivery.State.WAITING)
    chosen = ended.dead() if deliveries is None else ended.filter(pk__in=deliveries)
    now = timezone.now()
    count = chosen.update(state=Delivery.State.WAITING, since=now, next_at=now, attempts=0)
    if count:
        # As somebody says that the receiver is back.
        Webhook.objects.filter(pk=webhook.pk).update(rests_until=None)
        record(Kind.WEBHOOK_REPLAYED, by=by, dataset=webhook.dataset_id, target=webhook, count=count)
    return count
