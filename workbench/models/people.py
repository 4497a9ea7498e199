from typing import TYPE_CHECKING, Any, Self

from django.contrib.auth.models import AbstractUser
from django.db import models, transaction
from django.db.models import Case, F, Value, When
from django.utils import timezone
from django.utils.crypto import salted_hmac

if TYPE_CHECKING:
    from datetime import datetime

    from workbench.models.curation import SavedView


class User(AbstractUser):
    """A person who can log in. `is_staff` makes an admin of the whole installation; everybody else gets a
    Role per Dataset."""

    ERASED = "erased-"
    """How the name of an erased account begins."""

    goes_straight_on = models.BooleanField(
        "Go straight to the next pair after a vote",
        default=True,
        help_text="Off: the page stops after each vote to show the model's pick.",
    )
    is_service = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="A service account: programs act for it by tokens; it neither logs in nor votes.",
    )
    languages: "models.Field[list[str], list[str]]" = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        help_text="Codes of the languages that the person says they read.",
    )
    session_series = models.PositiveIntegerField(
        default=0,
        db_default=0,
        editable=False,
        help_text="Rises when the person logs out everywhere: sessions of an earlier series end.",
    )

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Django's hash of the password, which each request compares, and the series of sessions."""
        plain: str = super()._get_session_auth_hash(secret=secret)  # type: ignore[misc]
        if not self.session_series:
            return plain  # as before there were series: nobody is logged out
        series = f"{plain}:{self.session_series}"
        return salted_hmac("workbench.sessions", series, secret=secret, algorithm="sha256").hexdigest()

    @property
    def is_erased(self) -> bool:
        return self.username.startswith(self.ERASED)

    def end_sessions(self) -> None:
        """Log the person out everywhere, at the next request of each session."""
        User.objects.filter(pk=self.pk).update(session_series=F("session_series") + 1)
        self.refresh_from_db(fields=["session_series"])

    if TYPE_CHECKING:
        emailaddress_set: models.Manager[Any]  # of allauth, which ships no types


class Login(models.Model):
    """A session of a person, for the list on their own page. It is written at the login, and at most once in
    some minutes later (pipeline.people.logins). It ends with its session, whose key it has."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="logins")
    session_key = models.CharField(max_length=40, unique=True)
    browser = models.CharField(max_length=50, help_text="In words, as in Firefox on Linux.")
    since = models.DateTimeField(default=timezone.now)
    last_seen = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-last_seen", "-pk"]

    def __str__(self) -> str:
        return f"{self.user} by {self.browser}"


class Role(models.TextChoices):
    ANNOTATOR = "annotator", "Annotator: votes on pairs"
    REVIEWER = "reviewer", "Reviewer: also settles disagreements"
    ADMIN = "admin", "Admin: also imports, releases and manages people"


class MemberQuerySet(models.QuerySet["Member"]):
    def by_role(self) -> Self:
        """Admins first, then reviewers, then annotators; by name within each role."""
        order = Case(*(When(role=role, then=Value(i)) for i, role in enumerate(reversed(Role.values))))
        return self.select_related("user").order_by(order, "user__username")


class Member(models.Model):
    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role.choices)
    # Here and not on the User: an admin of one Dataset has no say in what people are given in another.
    languages: "models.Field[list[str], list[str]]" = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        help_text="Codes of the languages that an admin says the person reads; empty = as the person says.",
    )
    skills: "models.Field[list[str], list[str]]" = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        help_text="What the person knows, in small letters.",
    )
    views: "models.ManyToManyField[SavedView, Any]" = models.ManyToManyField(
        "workbench.SavedView",
        blank=True,
        related_name="given_to",
        help_text="Saved views whose pairs the person gets first.",
    )

    objects = MemberQuerySet.as_manager()

    if TYPE_CHECKING:
        # Annotated by pipeline.people.members.
        annotator: int | None
        last_active: datetime | None
        settled: int
        flags: int
        agreed_at: datetime | None
        agreed_to: str
        ended_at: datetime | None
        knows: str
        says: str
        pause: "Pause | None"  # set by pipeline.people.pausing.of

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "user"], name="member_once_per_dataset")]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.dataset}"

    @property
    def reads(self) -> list[str]:
        """Codes of languages: as an admin of the Dataset says, else as the person says."""
        return self.languages or self.user.languages

    def change_role(self, role: str) -> bool:
        """False, and nothing changed, when it would leave the Dataset without an admin."""
        with transaction.atomic():
            if role != Role.ADMIN and self._is_last_admin():
                return False
            self.role = role
            self.save(update_fields=["role"])
        return True

    def remove(self) -> bool:
        """End the membership; Judgments stay. False when it would leave the Dataset without an admin."""
        with transaction.atomic():
            if self._is_last_admin():
                return False
            self.delete()
        return True

    def _is_last_admin(self) -> bool:
        # Locked: two admins who demote each other at once must not both succeed.
        admins = Member.objects.select_for_update().filter(dataset=self.dataset_id, role=Role.ADMIN)
        return [member.pk for member in admins] == [self.pk]


class Requirement(models.Model):
    """What somebody must have to get some Comparisons of a Dataset: all of these languages and skills. The
    row without any is of the Comparisons that everybody may get. Rows are written with `Comparison.needs`,
    and hold as long as the Dataset has the rule that they follow from. After a change of the rule, nobody
    gets a Comparison until a worker has given it a row of the new rule."""

    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.CASCADE, related_name="requirements")
    languages: "models.Field[list[str], list[str]]" = models.JSONField(help_text="Codes, sorted.")
    skills: "models.Field[list[str], list[str]]" = models.JSONField(help_text="In small letters, sorted.")
    rule = models.CharField(max_length=64, help_text="Digest of the settings that the row follows from.")
    key = models.CharField(max_length=64, help_text="Digest of rule, languages and skills.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["dataset", "key"], name="requirement_once_per_dataset")
        ]

    def __str__(self) -> str:
        return ", ".join([*self.languages, *self.skills]) or "nothing"


class PauseQuerySet(models.QuerySet["Pause"]):
    def open(self) -> Self:
        return self.filter(ended_at=None)


class Pause(models.Model):
    """A time in which a person may not vote in a Dataset: begun by the test on gold or by an admin, and ended
    by an admin. Until it begins it is a warning."""

    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.CASCADE, related_name="pauses")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="pauses")
    reason = models.CharField(max_length=500, help_text="What the person is told.")
    evidence: "models.Field[dict[str, int], dict[str, int]]" = models.JSONField(
        default=dict, help_text="Counts of pipeline.people.pausing.Evidence; empty = an admin began it."
    )
    announced_at = models.DateTimeField(auto_now_add=True)
    began_at = models.DateTimeField(null=True)
    begun_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    ended_at = models.DateTimeField(null=True)
    ended_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    ended_reason = models.CharField(max_length=500, blank=True)

    objects = PauseQuerySet.as_manager()

    if TYPE_CHECKING:
        # Set by pipeline.people.pausing.of.
        evidence_in_words: str

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "user"], condition=models.Q(ended_at=None), name="pause_one_open"
            )
        ]

    def __str__(self) -> str:
        return f"{self.user} paused in {self.dataset}"


class Visit(models.Model):
    """When a person last opened the overview of a Dataset, and the numbers that it showed."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="visits")
    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.CASCADE, related_name="visits")
    at = models.DateTimeField()
    seen: "models.Field[dict[str, int], dict[str, int]]" = models.JSONField(default=dict)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "dataset"], name="visit_once_per_dataset")]

    def __str__(self) -> str:
        return f"{self.user} at {self.dataset}"


class TimeCorrection(models.Model):
    """Seconds that an admin adds to a person's time in a Dataset on a day, or takes away. Append-only: the
    opposite correction undoes one."""

    dataset = models.ForeignKey(
        "workbench.Dataset", on_delete=models.CASCADE, related_name="time_corrections"
    )
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="time_corrections")
    day = models.DateField(help_text="A day in UTC.")
    seconds = models.IntegerField(help_text="Added to the time; below 0 = taken away.")
    reason = models.CharField(max_length=500, help_text="The person reads it.")
    by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(condition=~models.Q(seconds=0), name="time_correction_of_some_time")
        ]
        indexes = [models.Index(fields=["dataset", "day"], name="time_correction_by_day")]

    def __str__(self) -> str:
        return f"{self.seconds:+} s of {self.user} on {self.day}"
