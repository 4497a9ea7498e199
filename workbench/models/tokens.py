"""Access for programs: tokens, and the answers to requests that may be sent again."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from workbench.models.people import User

if TYPE_CHECKING:
    from workbench.models.dataset import Dataset


class TokenQuerySet(models.QuerySet["Token"]):
    def by_secret(self, secret: str) -> "Token | None":
        """The token of this secret, which may have expired or been revoked."""
        return self.select_related("user").filter(digest=Token.digest_of(secret)).first()

    def take(self, pk: int, minute: int, requests: int, most: int) -> bool:
        """Take some of the requests that a token may send in a minute; False where fewer are left. One
        statement, so that processes take no request twice."""
        fresh, begun = Q(paced_in__lt=minute), Q(paced_in=minute, taken__lte=most - requests)
        taken = Case(When(fresh, then=Value(requests)), default=F("taken") + requests)
        return self.filter(fresh | begun, pk=pk).update(paced_in=minute, taken=taken) == 1

    def listed(self) -> Self:
        """With all that a list shows, newest first."""
        return self.select_related("user", "created_by").prefetch_related("datasets").order_by("-pk")

    def reaching(self, dataset: "Dataset") -> Self:
        """Those of the dataset's members and of service accounts that open it, and those that name it."""
        of_members = Q(is_for_all=True, user__memberships__dataset=dataset)
        return self.filter(of_members | Q(datasets=dataset)).distinct()


class Token(models.Model):
    """Lets a program act for a person or a service account, within a scope. The secret is shown once; only
    its digest is stored. It is 256 random bits, so the digest needs no salt."""

    class Scope(models.TextChoices):
        READ = "read", "Read: whatever the account may see, and change nothing"
        ANNOTATE = "annotate", "Annotate: what an annotator may do"
        REVIEW = "review", "Review: what a reviewer may do"
        MANAGE = "manage", "Manage: whatever the account may do"

    SHOWN = 11
    """Characters of the secret that stay visible."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=SHOWN)
    digest = models.CharField(max_length=64, unique=True, help_text="sha256 of the secret.")
    scope = models.CharField(max_length=10, choices=Scope.choices)
    is_for_all = models.BooleanField(
        default=False, help_text="For every dataset that the account may open, and for the installation."
    )
    datasets: "models.ManyToManyField[Dataset, Any]" = models.ManyToManyField(
        "workbench.Dataset", blank=True, related_name="tokens"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, help_text="To the minute.")
    revoked_at = models.DateTimeField(null=True)
    paced_in = models.PositiveBigIntegerField(
        default=0, help_text="The minute, since 1970, that `taken` counts requests of."
    )
    taken = models.PositiveIntegerField(
        default=0, help_text="Requests of that minute that web processes have taken for themselves."
    )

    objects = TokenQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @staticmethod
    def new_secret() -> str:
        return f"pw_{secrets.token_urlsafe(32)}"

    @staticmethod
    def digest_of(secret: str) -> str:
        return hashlib.sha256(secret.encode()).hexdigest()

    @property
    def state(self) -> str:
        """In one word: "usable", "revoked" or "expired"."""
        if self.revoked_at:
            return "revoked"
        return "usable" if timezone.now() < self.expires_at else "expired"

    def is_usable(self, now: datetime) -> bool:
        return self.revoked_at is None and now < self.expires_at and self.user.is_active


class KeptAnswerQuerySet(models.QuerySet["KeptAnswer"]):
    def forget_old(self, now: datetime) -> None:
        self.filter(created_at__lt=now - KeptAnswer.KEPT_FOR).delete()


class KeptAnswer(models.Model):
    """The answer to a request with an Idempotency-Key, for whoever sends the request again. Written in the
    transaction of the request's effect: both are there, or neither is."""

    KEPT_FOR = timedelta(hours=48)

    token = models.ForeignKey(Token, on_delete=models.CASCADE, related_name="kept_answers")
    key = models.CharField(max_length=200)
    request = models.CharField(max_length=64, help_text="sha256 of method, path, query and body.")
    status = models.PositiveSmallIntegerField(default=0)
    content_type = models.CharField(max_length=100, blank=True)
    headers: "models.Field[dict[str, str], dict[str, str]]" = models.JSONField(default=dict)
    body = models.BinaryField(blank=True, default=b"")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = KeptAnswerQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["token", "key"], name="kept_answer_once_per_key"),
            models.CheckConstraint(condition=~Q(key=""), name="kept_answer_has_a_key"),
        ]
        indexes = [models.Index(fields=["created_at"], name="kept_answer_by_age")]

    def __str__(self) -> str:
        return f"answer to {self.key} of {self.token_id}"
