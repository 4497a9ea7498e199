import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Self

from django.contrib.sessions.backends.base import SessionBase
from django.core.signing import Signer
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from workbench.models.people import Role, User


def new_nonce() -> str:
    return secrets.token_hex(16)


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self, now: datetime) -> Self:
        """Those that somebody can accept now."""
        return self.filter(
            revoked_at=None,
            expires_at__gt=now,
            uses__lt=F("max_uses"),
            dataset__deleted_at=None,
            dataset__archived_at=None,
        )

    def to_send(self, now: datetime) -> Self:
        """Those whose mail is due."""
        return self.open(now).filter(mail=Invitation.Mail.WAITING, mail_due_at__lte=now)

    def opened_in(self, session: SessionBase) -> "Invitation | None":
        """The invitation whose link was opened in this session, open or not."""
        return self.by_token(session.get(Invitation.SESSION_KEY, ""))

    def by_token(self, token: str) -> "Invitation | None":
        """The invitation of a link, open or not; None for a link that this site did not make."""
        key = token.partition("-")[0]
        if not (key.isascii() and key.isdigit() and len(key) <= 18):
            return None
        invitations = self.select_related("dataset", "created_by").filter(dataset__deleted_at=None)
        invitation = invitations.filter(pk=int(key)).first()
        if invitation is None or not constant_time_compare(invitation.token, token):
            return None
        return invitation


class Invitation(models.Model):
    """A way into a Dataset: a link for several people, or a mail to one. The link is derived from the nonce
    and SECRET_KEY: it can be copied at any time, and a copy of the database alone opens nothing."""

    SESSION_KEY = "invitation"
    """The key of the session that holds the token of the opened link."""

    class Mail(models.TextChoices):
        NONE = "none", "a link to copy"
        WAITING = "waiting", "waiting to be sent"
        SENDING = "sending", "being sent"
        SENT = "sent", "sent"
        FAILED = "failed", "not sent"
        UNSURE = "unsure", "may not have arrived"

    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=20, choices=Role.choices)
    nonce = models.CharField(max_length=32, default=new_nonce, editable=False)
    address = models.EmailField(blank=True, help_text="Whom the mail goes to; empty = a link to copy.")
    domain = models.CharField(
        max_length=253, blank=True, help_text="Accounts need a mail address of this domain; empty = any."
    )
    max_uses = models.PositiveIntegerField(default=1)
    uses = models.PositiveIntegerField(default=0)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")

    origin = models.CharField(
        max_length=300, blank=True, help_text="Scheme and host of the link in the mail."
    )
    mail = models.CharField(max_length=10, choices=Mail.choices, default=Mail.NONE)
    mail_due_at = models.DateTimeField(null=True, help_text="When the next try may begin.")
    mail_taken_at = models.DateTimeField(null=True, help_text="When a worker last began to send it.")
    mail_tries = models.PositiveSmallIntegerField(default=0)
    mail_sent_at = models.DateTimeField(null=True)
    mail_error = models.CharField(max_length=500, blank=True)

    objects = InvitationQuerySet.as_manager()

    if TYPE_CHECKING:
        link: str  # set by views

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(condition=Q(uses__lte=F("max_uses")), name="invitation_uses_within_limit"),
            models.UniqueConstraint(
                fields=["dataset", "address"],
                condition=Q(revoked_at=None) & ~Q(address=""),
                name="invitation_once_per_address",
            ),
        ]
        indexes = [
            models.Index(fields=["mail_due_at"], condition=Q(mail="waiting"), name="invitation_mail_due"),
            models.Index(fields=["mail_taken_at"], condition=Q(mail="sending"), name="invitation_mail_taken"),
        ]

    def __str__(self) -> str:
        return f"{self.address or 'A link'} to {self.dataset} as {self.role}"

    @property
    def token(self) -> str:
        """The secret part of the link: the key of the row, and an HMAC-SHA256 of key and nonce."""
        signature = Signer(salt="workbench.invitation").signature(f"{self.pk}:{self.nonce}")
        return f"{self.pk}-{signature}"

    @property
    def is_mailed(self) -> bool:
        return self.mail != self.Mail.NONE

    @property
    def is_expired(self) -> bool:
        return self.expires_at <= timezone.now()

    @property
    def is_used_up(self) -> bool:
        return self.uses >= self.max_uses

    @property
    def is_open(self) -> bool:
        """Whether the link lets somebody in now, as far as the row itself says."""
        return not (self.revoked_at or self.is_expired or self.is_used_up)

    @property
    def state(self) -> str:
        """In a word, for the list."""
        if self.revoked_at:
            return "revoked"
        if self.is_used_up:
            return "accepted" if self.address else "used up"
        if self.is_expired:
            return "expired"
        return "open"

    @property
    def can_be_sent(self) -> bool:
        """Whether a mail to this address may be sent again now."""
        resting = self.mail in (self.Mail.SENT, self.Mail.FAILED, self.Mail.UNSURE)
        return resting and not (self.revoked_at or self.is_used_up)


class Acceptance(models.Model):
    """Who came by an invitation, and what they agreed to."""

    invitation = models.ForeignKey(Invitation, on_delete=models.CASCADE, related_name="acceptances")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="acceptances")
    at = models.DateTimeField(auto_now_add=True)
    consent_sha256 = models.CharField(
        max_length=64, blank=True, help_text="SHA-256 of the consent text that was shown; empty = none was."
    )

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["invitation", "user"], name="acceptance_once_per_invitation")
        ]

    def __str__(self) -> str:
        return f"{self.user} by {self.invitation}"


class Agreement(models.Model):
    """That a member who did not come by an invitation agreed to the Dataset's consent text. An Acceptance is
    the same for those who did. Append-only: it outlives the membership."""

    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.CASCADE, related_name="agreements")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="agreements")
    at = models.DateTimeField(auto_now_add=True)
    consent_sha256 = models.CharField(max_length=64, help_text="SHA-256 of the consent text that was shown.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "user"], name="agreement_once_per_dataset")]

    def __str__(self) -> str:
        return f"{self.user} agreed to the text of {self.dataset}"
