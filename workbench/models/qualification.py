from typing import TYPE_CHECKING, Self

from django.db import models
from django.db.models import Exists, OuterRef, Q


class QualificationTry(models.Model):
    """A person's try at the gold pairs that a Dataset asks for before work. It keeps the numbers that held
    when it began. Its answers are no Judgments."""

    dataset = models.ForeignKey(
        "workbench.Dataset", on_delete=models.CASCADE, related_name="qualification_tries"
    )
    annotator = models.ForeignKey(
        "workbench.Annotator", on_delete=models.CASCADE, related_name="qualification_tries"
    )
    number = models.PositiveSmallIntegerField(help_text="1 = the person's first try in this dataset.")
    guidelines = models.ForeignKey(
        "workbench.Guidelines",
        null=True,
        on_delete=models.RESTRICT,
        related_name="+",
        help_text="The version that the person was given at the start.",
    )
    pairs = models.PositiveSmallIntegerField()
    needed = models.PositiveSmallIntegerField(help_text="Right answers that pass.")
    right = models.PositiveSmallIntegerField(null=True, help_text="Null = not finished.")
    passed = models.BooleanField(null=True, help_text="Null = not finished.")
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    if TYPE_CHECKING:
        # Annotated by pipeline.people.qualifying.
        answered: int
        seconds: float

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "annotator", "number"], name="qualification_try_number_once"
            ),
            models.UniqueConstraint(
                fields=["dataset", "annotator"], condition=Q(ended_at=None), name="qualification_try_one_open"
            ),
            models.CheckConstraint(
                condition=Q(ended_at=None, passed=None, right=None)
                | Q(ended_at__isnull=False, passed__isnull=False, right__isnull=False),
                name="qualification_try_ends_with_a_result",
            ),
        ]

    def __str__(self) -> str:
        return f"Try {self.number} of {self.annotator} in {self.dataset}"


class QualificationAnswer(models.Model):
    """A gold Comparison shown in a try, and the answer to it. The person is told the known answer, so they
    are never handed this Comparison as gold or as work."""

    attempt = models.ForeignKey(QualificationTry, on_delete=models.CASCADE, related_name="answers")
    annotator = models.ForeignKey("workbench.Annotator", on_delete=models.CASCADE, related_name="+")
    comparison = models.ForeignKey("workbench.Comparison", on_delete=models.CASCADE, related_name="+")
    position = models.PositiveSmallIntegerField(help_text="From 1.")
    left = models.CharField(max_length=1, help_text="The completion shown on the left: a or b.")
    outcome = models.CharField(max_length=20, blank=True, help_text="An Outcome; empty = not answered yet.")
    known = models.CharField(max_length=20, blank=True, help_text="The known answer at that time.")
    seconds = models.FloatField(null=True, help_text="Time from shown to answered, as the page measured it.")
    answered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["attempt", "position"], name="qualification_position_once"),
            models.UniqueConstraint(fields=["attempt", "comparison"], name="qualification_pair_once_a_try"),
        ]
        indexes = [models.Index(fields=["annotator", "comparison"], name="qualification_told")]

    def __str__(self) -> str:
        return f"Pair {self.position} of {self.attempt}"

    @property
    def is_right(self) -> bool:
        return self.outcome == self.known


class QualificationGrantQuerySet(models.QuerySet["QualificationGrant"]):
    def standing_waivers(self) -> Self:
        """Waivers that no admin has taken back."""
        later = QualificationGrant.objects.filter(
            dataset=OuterRef("dataset"), annotator=OuterRef("annotator"), pk__gt=OuterRef("pk")
        )
        ended = Exists(later.filter(kind=QualificationGrant.Kind.NEEDED))
        return self.filter(~ended, kind=QualificationGrant.Kind.WAIVER)


class QualificationGrant(models.Model):
    """What an admin gave a person: one more try, or work without qualification, or that taken back.
    Append-only."""

    class Kind(models.TextChoices):
        TRY = "try", "One more try"
        WAIVER = "waiver", "No qualification needed"
        NEEDED = "needed", "Qualification needed again"

    dataset = models.ForeignKey(
        "workbench.Dataset", on_delete=models.CASCADE, related_name="qualification_grants"
    )
    annotator = models.ForeignKey(
        "workbench.Annotator", on_delete=models.CASCADE, related_name="qualification_grants"
    )
    kind = models.CharField(max_length=10, choices=Kind.choices)
    reason = models.CharField(max_length=500)
    by = models.ForeignKey("workbench.User", null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = QualificationGrantQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["dataset", "annotator"], name="qualification_grant_to")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.annotator}"
