from datetime import datetime
from typing import Any, Never, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def between(self, begin: datetime | None, end: datetime | None) -> Self:
        """From `begin`, and before `end`; None = no limit."""
        found = self if begin is None else self.filter(at__gte=begin)
        return found if end is None else found.filter(at__lt=end)

    def of_people(self, users: "models.QuerySet[Any, Any]") -> Self:
        """What these users did, and what was done to them. users: primary keys."""
        keys = [str(pk) for pk in users]
        return self.filter(Q(actor__in=keys) | Q(target="user", target_id__in=keys))

    def update(self, **kwargs: object) -> Never:
        raise TypeError("History is append-only.")

    def delete(self) -> Never:
        raise TypeError("History is append-only.")


class AuditEvent(models.Model):
    """One act of an admin, a reviewer or a command: who, when, what, and which fields changed. Written by
    pipeline.history in the transaction of the act, and never changed. It holds keys and names of fields; no
    text of an item, no mail address and no name of a person.

    The keys have no constraint: a row outlives the dataset, the account and the object that it is about. The
    name of a person is looked up when somebody reads the row, so an erased person has only the pseudonym."""

    class Kind(models.TextChoices):
        # account
        LOGGED_IN = "logged_in", "Logged in"
        LOGGED_OUT = "logged_out", "Logged out"
        SESSIONS_ENDED = "sessions_ended", "Ended logins"
        PASSWORD = "password", "Changed the password"
        PASSWORD_LINK = "password_link", "Gave a link to set a password"
        SECOND_STEP = "second_step", "Changed the second step"
        MAIL_ADDRESS = "mail_address", "Changed the mail address"
        ACCOUNT = "account", "Changed in Accounts and system"
        ERASED = "erased", "Erased a person"
        TOKEN_MADE = "token_made", "Made a token"
        TOKEN_REVOKED = "token_revoked", "Revoked a token"
        SERVICE_ACCOUNT = "service_account", "Made a service account"
        # people
        MEMBER_ADDED = "member_added", "Gave access"
        ROLE_CHANGED = "role_changed", "Changed a role"
        MEMBER_FACTS = "member_facts", "Changed what a person knows or gets first"
        MEMBER_REMOVED = "member_removed", "Ended access"
        JOINED = "joined", "Joined by invitation"
        INVITED = "invited", "Invited people"
        INVITATION_RESENT = "invitation_resent", "Sent an invitation again"
        INVITATION_REVOKED = "invitation_revoked", "Withdrew an invitation"
        QUALIFICATION = "qualification", "Gave another try, or changed who must qualify"
        PAUSED = "paused", "Paused a person"
        RESUMED = "resumed", "Let a person go on"
        TIME_CORRECTED = "time_corrected", "Corrected hours"
        CLAIMS_ENDED = "claims_ended", "Took held pairs away"
        # dataset
        DATASET_CREATED = "dataset_created", "Created a dataset"
        DATASET_CLONED = "dataset_cloned", "Cloned a dataset"
        DATASET_ARCHIVED = "dataset_archived", "Archived a dataset"
        DATASET_BACK = "dataset_back", "Brought a dataset back"
        DATASET_DELETED = "dataset_deleted", "Deleted a dataset"
        SETTINGS = "settings", "Changed settings"
        GUIDELINES = "guidelines", "Changed the guidelines"
        # data
        UPLOADED = "uploaded", "Sent a file"
        FILE_REMOVED = "file_removed", "Removed a sent file"
        IMPORTED = "imported", "Imported rows"
        ACT = "act", "Changed prompts"
        ACT_UNDONE = "act_undone", "Undid a change of prompts"
        VIEW_SAVED = "view_saved", "Saved a view"
        VIEW_DELETED = "view_deleted", "Deleted a view"
        # review
        SETTLED = "settled", "Settled a pair"
        UNSETTLED = "unsettled", "Undid a final label"
        GOLD = "gold", "Marked gold"
        GOLD_ENDED = "gold_ended", "Stopped using gold"
        REPLIED = "replied", "Replied to a question"
        EXAMPLE = "example", "Changed an example"
        # runs
        RUN_STARTED = "run_started", "Started a run"
        RUN_CANCELLED = "run_cancelled", "Cancelled a run"
        RUN_RETRIED = "run_retried", "Retried a run"
        RELEASE_BUILT = "release_built", "Built a release"
        # models
        MODEL_ADDED = "model_added", "Added a model"
        SCORES_PUSHED = "scores_pushed", "Sent scores of a model"
        MODEL_PROMOTED = "model_promoted", "Activated a model"
        MODEL_ROLLED_BACK = "model_rolled_back", "Went back to a model"
        MODEL_CALIBRATED = "model_calibrated", "Calibrated a model"
        MODEL_CHANGED = "model_changed", "Changed a model’s name or notice"
        MODEL_RETIRED = "model_retired", "Retired a model"
        MODEL_DELETED = "model_deleted", "Deleted a model"
        # files and hosts
        DOWNLOADED = "downloaded", "Downloaded a file"
        HOST_ALLOWED = "host_allowed", "Allowed a host"
        HOST_REMOVED = "host_removed", "Removed a host"
        WEBHOOK_ADDED = "webhook_added", "Added a webhook"
        WEBHOOK_CHANGED = "webhook_changed", "Changed a webhook"
        WEBHOOK_ROTATED = "webhook_rotated", "Made a new secret for a webhook"
        WEBHOOK_TESTED = "webhook_tested", "Sent a test to a webhook"
        WEBHOOK_REPLAYED = "webhook_replayed", "Sent events to a webhook again"
        WEBHOOK_DELETED = "webhook_deleted", "Deleted a webhook"
        BACKED_UP = "backed_up", "Took a backup"
        RESTORED = "restored", "Restored a backup"

    class Change(models.TextChoices):
        """What staff did to an object in *Accounts and system*."""

        ADDED = "added", "added"
        CHANGED = "changed", "changed"
        DELETED = "deleted", "deleted"

    class File(models.TextChoices):
        """What was downloaded."""

        RELEASE = "release", "files of a release"
        REJECTED_ROWS = "rejected_rows", "refused rows of an import"
        TIME_SHEET = "time_sheet", "time sheet"
        FIGURES = "figures", "figures"
        HISTORY = "history", "history"
        ROWS = "rows", "prompts, answers, votes or labels"

    at = models.DateTimeField(default=timezone.now)
    # Without choices: a new kind is no migration.
    kind = models.CharField(max_length=30, help_text="One of Kind.")
    actor = models.ForeignKey(
        "workbench.User",
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        help_text="Null for a command and for the clock.",
    )
    command = models.CharField(
        max_length=50, blank=True, help_text="The manage.py command; empty for a page."
    )
    dataset = models.ForeignKey(
        "workbench.Dataset",
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    target = models.CharField(max_length=30, blank=True, help_text="What it was done to: a model's name.")
    target_id = models.CharField(max_length=40, blank=True)
    fields: "models.Field[list[str], list[str]]" = models.JSONField(
        default=list, help_text="Names of the changed fields."
    )
    word = models.CharField(max_length=30, blank=True, help_text="A word of a fixed list: a role, a kind.")
    count = models.PositiveIntegerField(null=True, help_text="To how many things it was done, if not one.")
    request_id = models.CharField(max_length=64, blank=True)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["dataset", "-id"], name="audit_of_dataset"),
            models.Index(fields=["actor", "-id"], name="audit_by_actor"),
            models.Index(fields=["target", "target_id"], name="audit_of_target"),
            models.Index(fields=["at"], name="audit_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.says} at {self.at:%Y-%m-%d %H:%M}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None:
            raise TypeError("History is append-only.")
        super().save(*args, **kwargs)

    def delete(self, *args: object, **kwargs: object) -> Never:
        raise TypeError("History is append-only.")

    @property
    def says(self) -> str:
        """The kind in words; as it is stored for a kind of a later version."""
        return self.Kind(self.kind).label if self.kind in self.Kind.values else self.kind
