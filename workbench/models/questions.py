from typing import Self, TypeVar

from django.db import models
from django.db.models import Q

Row = TypeVar("Row", bound="Written")


class WrittenQuerySet(models.QuerySet[Row]):
    def current(self) -> Self:
        """What is said now: neither replaced nor taken back."""
        return self.filter(is_current=True).exclude(text="")


class Written(models.Model):
    """What a reviewer wrote on a Comparison. Append-only: a change is a new row that supersedes the old one,
    an empty text takes it back, and an undo makes the old row current again."""

    text = models.TextField(blank=True, help_text="Empty = taken back.")
    by = models.ForeignKey("workbench.User", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    supersedes = models.ForeignKey("self", null=True, on_delete=models.RESTRICT, related_name="superseded_by")
    is_current = models.BooleanField(default=True)

    class Meta:
        abstract = True


class Reply(Written):
    """A reviewer's reply to what an annotator flagged or commented on a Comparison."""

    comparison = models.ForeignKey("workbench.Comparison", on_delete=models.CASCADE, related_name="replies")
    annotator = models.ForeignKey("workbench.Annotator", on_delete=models.PROTECT, related_name="replies")

    objects = WrittenQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["comparison", "annotator"],
                condition=Q(is_current=True),
                name="reply_one_current_per_annotator",
            )
        ]

    def __str__(self) -> str:
        return f"{self.by} replies to {self.annotator}"


class Example(Written):
    """A Comparison with its final label, shown beneath the guidelines; the text says why the label is
    right."""

    comparison = models.ForeignKey("workbench.Comparison", on_delete=models.CASCADE, related_name="examples")

    objects = WrittenQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["comparison"], condition=Q(is_current=True), name="example_one_current"
            )
        ]

    def __str__(self) -> str:
        return f"{self.comparison} as an example"


class Told(models.Model):
    """An annotator was shown what became of a Comparison, or its example: from then on they cannot judge it,
    nor change how they judged it."""

    comparison = models.ForeignKey("workbench.Comparison", on_delete=models.CASCADE, related_name="told")
    annotator = models.ForeignKey("workbench.Annotator", on_delete=models.CASCADE, related_name="told")
    at = models.DateTimeField(help_text="When they last looked.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["annotator", "comparison"], name="told_once_per_annotator")
        ]

    def __str__(self) -> str:
        return f"{self.annotator} was told of {self.comparison}"
