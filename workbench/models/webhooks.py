"""Webhooks: whom a Dataset tells of what happens in it, and the outbox of what is to be told."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

FORGOTTEN_AT_ONCE = 2_000


class WebhookQuerySet(models.QuerySet["Webhook"]):
    def active(self) -> Self:
        return self.filter(is_active=True)

    def asking_for(self, event: "Event.Type") -> "list[Webhook]":
        """Active webhooks that ask for events of this type."""
        return [webhook for webhook in self.active() if event in webhook.events]

    def due(self, now: datetime) -> Self:
        """Those with something to send now that no worker serves, the working ones first."""
        waiting = Delivery.objects.due(now).filter(webhook=OuterRef("pk"))
        free = self.active().filter(Q(lease_until=None) | Q(lease_until__lt=now), dataset__deleted_at=None)
        rested = free.filter(Q(rests_until=None) | Q(rests_until__lte=now))
        return rested.filter(Exists(waiting)).order_by("failures", "pk")


class Webhook(models.Model):
    """An address that events of a Dataset are sent to. `failures` counts requests in a row that failed: after
    each, the receiver gets a rest. A worker serves the webhook while it holds the lease."""

    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.CASCADE, related_name="webhooks")
    url = models.CharField(max_length=500)
    events: "models.Field[list[str], list[str]]" = models.JSONField(help_text="Values of Event.Type.")
    sealed_secret = models.TextField()
    old_sealed_secret = models.TextField(blank=True, help_text="The secret before the last one.")
    old_valid_until = models.DateTimeField(null=True, help_text="Until then, the old secret signs too.")
    is_active = models.BooleanField(default=True)
    failures = models.PositiveIntegerField(default=0)
    rests_until = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    last_at = models.DateTimeField(null=True, help_text="When the last request ended; null = none yet.")
    last_error = models.CharField(
        max_length=300, blank=True, default="", db_default="", help_text="Empty = it was delivered."
    )
    created_by = models.ForeignKey("workbench.User", null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = WebhookQuerySet.as_manager()

    if TYPE_CHECKING:
        # Set by pipeline.webhooks.managing.listed.
        waiting: int
        dead: int

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.url


class EventQuerySet(models.QuerySet["Event"]):
    def note(self, dataset: int, event: "Event.Type", facts: Iterable[Mapping[str, object]]) -> None:
        """Put events into the outbox, in the transaction of the facts. facts: keys, words of fixed lists,
        numbers and times; no text, and nothing personal."""
        self.bulk_create(
            (Event(dataset_id=dataset, type=event, facts=dict(one)) for one in facts), batch_size=1_000
        )

    def forget_old(self) -> None:
        """Delete events of more than KEPT ago with their deliveries, FORGOTTEN_AT_ONCE at most."""
        limit = timezone.now() - Event.KEPT
        oldest = self.order_by("pk").values_list("pk", "created_at")[:FORGOTTEN_AT_ONCE]
        if old := [pk for pk, at in oldest if at < limit]:
            self.filter(pk__in=old).delete()


class Event(models.Model):
    """Something that happened in a Dataset, to be told to its webhooks: a row of the outbox, written in the
    transaction of the fact. A worker numbers the rows of each Dataset once they are committed, so that the
    numbers have no gaps and no vote waits for another."""

    class Type(models.TextChoices):
        JUDGMENT = "judgment.created", "Someone votes"
        DECIDED = "comparison.decided", "A final label changes"
        REVIEW = "review.needed", "A pair needs a reviewer"
        RUN = "run.finished", "A run ends"
        RELEASE = "release.ready", "A release is ready"
        PROMOTED = "model.promoted", "A model becomes active"
        TEST = "webhook.test", "A test"

        @classmethod
        def to_ask_for(cls) -> "list[tuple[str, str]]":
            """The types that a webhook may ask for."""
            return [choice for choice in cls.choices if choice[0] != cls.TEST]

    KEPT = timedelta(days=30)
    OF_A_TEST = 0
    """The number of tests, which are no part of the sequence."""

    uid = models.UUIDField(default=uuid.uuid4, help_text="The `webhook-id`, by which receivers drop doubles.")
    # Without a constraint: a vote would wait for an import, which holds the Dataset locked.
    dataset = models.ForeignKey(
        "workbench.Dataset", on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    number = models.PositiveBigIntegerField(
        null=True, help_text="Position in the Dataset, from 1; null = not numbered yet, 0 = a test."
    )
    # Without choices: a new type is no migration.
    type = models.CharField(max_length=30, help_text="One of Type.")
    facts: "models.Field[dict[str, object], dict[str, object]]" = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)

    objects = EventQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "number"], condition=Q(number__gt=0), name="event_number_once"
            )
        ]
        indexes = [
            models.Index(fields=["dataset", "id"], condition=Q(number=None), name="event_without_number")
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.number or ''}".strip()


class EventStream(models.Model):
    """The last number that an Event of a Dataset has."""

    dataset = models.OneToOneField(
        "workbench.Dataset", primary_key=True, on_delete=models.CASCADE, related_name="event_stream"
    )
    last = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.last} events"


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def waiting(self) -> Self:
        return self.filter(state=Delivery.State.WAITING)

    def due(self, now: datetime) -> Self:
        return self.waiting().filter(next_at__lte=now)

    def dead(self) -> Self:
        return self.filter(state=Delivery.State.DEAD)

    def unfinished_by_state(self) -> list[tuple[str, int]]:
        """How many wait, and how many are dead."""
        return [("waiting", self.waiting().count()), ("dead", self.dead().count())]


class Delivery(models.Model):
    """An Event on its way to one Webhook."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        DELIVERED = "delivered", "delivered"
        DEAD = "dead", "dead: given up after three days"

    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="deliveries")
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    since = models.DateTimeField(default=timezone.now, help_text="When the three days of tries began.")
    next_at = models.DateTimeField(default=timezone.now)
    attempts = models.PositiveSmallIntegerField(default=0)
    last_at = models.DateTimeField(null=True)
    last_status = models.PositiveSmallIntegerField(null=True, help_text="Null = no HTTP answer.")
    last_ms = models.PositiveIntegerField(null=True)
    last_error = models.CharField(max_length=300, blank=True)

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [models.UniqueConstraint(fields=["webhook", "event"], name="delivery_once_per_webhook")]
        indexes = [
            models.Index(
                fields=["webhook", "next_at"], condition=Q(state="waiting"), name="delivery_waiting"
            ),
            models.Index(fields=["webhook"], condition=Q(state="dead"), name="delivery_dead"),
            models.Index(fields=["webhook", "-id"], name="delivery_log"),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.webhook}"
