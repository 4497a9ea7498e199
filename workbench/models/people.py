from typing import TYPE_CHECKING, Self

from django.contrib.auth.models import AbstractUser
from django.db import models, transaction
from django.db.models import Case, Value, When

if TYPE_CHECKING:
    from datetime import datetime


class User(AbstractUser):
    """A person who can log in. `is_staff` makes an admin of the whole installation; everybody else gets a
    Role per Dataset."""

    goes_straight_on = models.BooleanField(
        "Go straight to the next pair after a vote",
        default=True,
        help_text="Off: the page stops after each vote to show the model's pick.",
    )


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

    objects = MemberQuerySet.as_manager()

    if TYPE_CHECKING:
        # Annotated by pipeline.people.members.
        annotator: int | None
        last_active: datetime | None

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "user"], name="member_once_per_dataset")]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.dataset}"

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
