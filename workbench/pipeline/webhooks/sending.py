"""From the outbox to the receivers, at least once.

1. A vote, a Run or a Release writes its Event in its own transaction, without a number.
2. `fan_out` numbers the committed Events of a Dataset and makes a Delivery for each webhook that asks.
3. `turn` takes the lease of one webhook, and sends what is due, one after the other: the oldest first, and
   what was tried before last.
4. After a failure the turn ends, and the receiver gets a rest: one that hangs takes ten seconds now and then,
   however much waits for it. The delivery is due again after RETRY_AFTER, and dead after three days.

A worker that dies between a request and its note sends the request again, with the same `webhook-id`."""

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from workbench.models import Delivery, Event, EventStream, Webhook
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.webhooks import managing, posting
from workbench.pipeline.webhooks.posting import GONE, SECONDS, Answer, Post

FANNED_OUT = 1_000
"""Events that one transaction numbers."""
A_TURN = 200
TURN_SECONDS = 20.0
LEASE = timedelta(seconds=3 * SECONDS)
"""Renewed before each request, which takes SECONDS at most."""

RETRY_AFTER = [
    timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=24),
    *(timedelta(hours=hours) for hours in (1.5, 4, 8, 12, 20, 26)),
]  # fmt: skip
"""Waits after the first, second, ... try; the sum is GIVEN_UP_AFTER."""
GIVEN_UP_AFTER = timedelta(days=3)

REST = [timedelta(seconds=seconds) for seconds in (5, 30, 60, 300)]
"""How long a receiver is left alone after the first, second, ... failure in a row; the last one stays."""
DOWN = 3
"""After so many failures in a row the receiver counts as down: once it answers, all that waits is due."""

log = logging.getLogger(__name__)


# --- the outbox ---------------------------------------------------------------------------------------------


def datasets_with_news() -> list[int]:
    """Keys of the Datasets with Events that have no number."""
    news = Event.objects.filter(number=None, dataset__deleted_at=None).order_by()
    return list(news.values_list("dataset", flat=True).distinct())


@transaction.atomic
def fan_out(dataset: int) -> int:
    """Number Events of the Dataset that are committed, and put them before its webhooks; gives how many.

    A number is given when the Event can be seen, not when it is written. So a rollback leaves no gap, and
    Events of a transaction that commits late come after those that were seen before. Of two Events of which
    one followed from the other, the first has the lower number."""
    EventStream.objects.get_or_create(dataset_id=dataset)
    # Locked: two workers must not give the same numbers.
    stream = EventStream.objects.select_for_update().get(dataset=dataset)
    events = list(Event.objects.filter(dataset=dataset, number=None).order_by("pk")[:FANNED_OUT])
    for number, event in enumerate(events, start=stream.last + 1):
        event.number = number
    Event.objects.bulk_update(events, ["number"], batch_size=250)
    webhooks = list(Webhook.objects.active().filter(dataset=dataset))
    Delivery.objects.bulk_create(
        (
            Delivery(webhook=webhook, event=event)
            for event in events
            for webhook in webhooks
            if event.type in webhook.events
        ),
        batch_size=500,
    )
    stream.last += len(events)
    stream.save(update_fields=["last"])
    return len(events)


# --- the deliveries -----------------------------------------------------------------------------------------


def due(now: datetime) -> list[tuple[int, bool]]:
    """Webhooks with something to send now that no worker serves: primary key, and whether the last request
    failed. Those that work come first."""
    return [(pk, failures > 0) for pk, failures in Webhook.objects.due(now).values_list("pk", "failures")]


def turn(pk: int, post: Post, is_stopping: Callable[[], bool] = lambda: False) -> int:
    """Send what is due for one webhook: A_TURN deliveries or TURN_SECONDS at most, and up to the first
    failure. Gives how many were delivered; 0 where another worker serves the webhook."""
    held = _take(pk)
    if held is None:
        return 0
    _give_up_on_overdue(held)
    began, sent = timezone.now(), 0
    waiting = Delivery.objects.due(began).filter(webhook=held).select_related("event")
    # What was tried before comes last: one event that the receiver can't take must not hold up the others.
    for delivery in waiting.order_by("attempts", "event__number", "pk")[:A_TURN]:
        is_late = timezone.now() - began > timedelta(seconds=TURN_SECONDS)
        if is_late or is_stopping() or not _keep(held):
            break
        answer = _request(held, delivery, post)
        is_ours = _note(held, delivery, answer)
        if is_ours and answer.status == GONE:
            managing.pause_gone(held)
        if not is_ours or answer.error:
            break
        sent += 1
    Webhook.objects.filter(pk=pk, lease_until=held.lease_until).update(lease_until=None)
    return sent


def _take(pk: int) -> Webhook | None:
    """The webhook, leased; None where another worker has it, or where it is paused or gone."""
    now = timezone.now()
    lease = now + LEASE
    free = Webhook.objects.active().filter(Q(lease_until=None) | Q(lease_until__lt=now), pk=pk)
    return Webhook.objects.get(pk=pk) if free.update(lease_until=lease) else None


def _keep(held: Webhook) -> bool:
    """Renew the lease; False where it was lost, or an admin changed, paused or deleted the webhook."""
    ours = Webhook.objects.active().filter(pk=held.pk, lease_until=held.lease_until)
    lease = timezone.now() + LEASE
    if not ours.update(lease_until=lease):
        return False
    held.lease_until = lease
    return True


def _request(held: Webhook, delivery: Delivery, post: Post) -> Answer:
    try:
        secrets = managing.secrets_of(held)
        body = body_of(delivery.event)
        request = posting.signed(held.url, delivery.event.uid.hex, body, secrets, timezone.now())
        return post(request)
    except Refused as refused:
        return Answer(None, 0, str(refused))
    except Exception as error:
        # A delivery that always fails here must count its tries, or it would hold up the others for ever.
        log.exception("Delivery %s could not be sent", delivery.pk)
        return Answer(None, 0, f"The request could not be made ({type(error).__name__}).")


def body_of(event: Event) -> bytes:
    """The payload, the same at each try."""
    payload = {
        "type": event.type,
        "timestamp": event.created_at.isoformat(),
        "dataset": event.dataset_id,
        "sequence": event.number,
        "data": event.facts,
    }
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


@transaction.atomic
def _note(held: Webhook, delivery: Delivery, answer: Answer) -> bool:
    """Store what came of a try; False where this worker has lost the lease, or the webhook was changed."""
    now = timezone.now()
    attempts = delivery.attempts + 1
    changes: dict[str, object] = {
        "attempts": attempts,
        "last_at": now,
        "last_status": answer.status,
        "last_ms": answer.ms,
        "last_error": answer.error[:300],
    }
    if not answer.error:
        changes["state"] = Delivery.State.DELIVERED
    elif now >= delivery.since + GIVEN_UP_AFTER:
        changes["state"] = Delivery.State.DEAD
    else:
        wait = RETRY_AFTER[min(attempts, len(RETRY_AFTER)) - 1]
        changes["next_at"] = min(now + max(wait, answer.wait), delivery.since + GIVEN_UP_AFTER)
    ours = Webhook.objects.filter(pk=held.pk, lease_until=held.lease_until)
    last = {"last_at": now, "last_error": changes["last_error"]}
    if answer.error:
        rest = REST[min(held.failures, len(REST) - 1)]
        rests_until = now + max(rest, answer.wait)
        kept = ours.update(failures=F("failures") + 1, rests_until=rests_until, **last)
    else:
        kept = ours.update(failures=0, rests_until=None, **last)
        if held.failures >= DOWN:
            Delivery.objects.waiting().filter(webhook=held).update(next_at=now)
        held.failures = 0
    Delivery.objects.waiting().filter(pk=delivery.pk).update(**changes)
    return kept == 1


def _give_up_on_overdue(held: Webhook) -> None:
    """End what has waited for three days for a receiver that fails, tried or not: while it rests, few are."""
    if held.failures:
        overdue = Delivery.objects.waiting().filter(webhook=held, since__lt=timezone.now() - GIVEN_UP_AFTER)
        # The oldest stays to be tried: it shows whether the receiver is back.
        oldest = overdue.order_by("event__number", "pk").values("pk")[:1]
        keys = list(oldest.values_list("pk", flat=True))
        overdue.exclude(pk__in=keys).update(
            state=Delivery.State.DEAD, last_error="The receiver did not work for three days."
        )
