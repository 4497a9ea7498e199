from typing import TYPE_CHECKING, Self, TypedDict

from django.db import models
from django.db.models import Q

if TYPE_CHECKING:
    from workbench.models.dataset import Dataset
    from workbench.models.scores import ModelVersion


Interval = tuple[float, float]


class SliceFigures(TypedDict):
    """See scoring.evaluate.Slice."""

    name: str
    label: str
    n: int
    ties: int
    accuracy: float | None
    wilson: Interval | None
    clustered: Interval | None


class ModelFigures(TypedDict):
    """See scoring.evaluate.Evaluation. `calibrated_n`: the number of pairs of the calibrated figures."""

    n: int
    ties: int
    decided: int
    equal: int
    groups: int
    accuracy: float | None
    wilson: Interval | None
    clustered: Interval | None
    log_loss: float | None
    brier: float | None
    ece: float | None
    temperature: float | None
    calibrated_log_loss: float | None
    calibrated_brier: float | None
    calibrated_ece: float | None
    calibrated_n: int
    auc_right: float | None
    auc_decided: float | None
    slices: list[SliceFigures]


class PairedFigures(TypedDict):
    """See scoring.evaluate.PairedComparison, which has more."""

    n: int
    n01: int
    n10: int
    p: float | None
    accuracy_difference: float | None
    accuracy_interval: Interval | None


class EvaluationQuerySet(models.QuerySet["Evaluation"]):
    def on(self, dataset: "Dataset", protocol: str = "") -> Self:
        return self.filter(dataset=dataset, protocol=protocol)

    def newest_first(self) -> Self:
        return self.order_by("-pk")


class Evaluation(models.Model):
    """The figures of one ModelVersion on one set of pairs, at one moment; append-only."""

    class Split(models.TextChoices):
        UNSEEN = "unseen", "Unseen: without prompts that the model was trained on"

    version = models.ForeignKey(
        "workbench.ModelVersion", on_delete=models.CASCADE, related_name="evaluations"
    )
    dataset = models.ForeignKey(
        "workbench.Dataset", null=True, on_delete=models.CASCADE, related_name="evaluations"
    )
    source = models.CharField(max_length=200, help_text="Name of the dataset or the file.")
    split = models.CharField(max_length=10, choices=Split.choices)
    protocol = models.CharField(max_length=20, blank=True)
    data_sha256 = models.CharField(
        max_length=64,
        help_text="Digest of texts and outcomes: the same for the same pairs.",
    )
    pairs = models.PositiveIntegerField()
    figures = models.JSONField(default=dict)
    run = models.ForeignKey("workbench.Run", null=True, on_delete=models.SET_NULL, related_name="evaluations")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = EvaluationQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["dataset", "version"], name="evaluation_on_dataset")]

    def __str__(self) -> str:
        return f"{self.version} on {self.on}"

    @property
    def on(self) -> str:
        """The Dataset, by its present name, or the file of the pairs."""
        return self.dataset.name if self.dataset else self.source

    @property
    def model_figures(self) -> ModelFigures:
        """The figures of the version itself; `figures["beside"]` has the figures of other versions."""
        figures: ModelFigures = self.figures["model"]
        return figures


class PromotionQuerySet(models.QuerySet["Promotion"]):
    def history(self) -> Self:
        """Every change of the active version, the latest first, with the rows that a line of a list names."""
        return self.select_related("version", "supersedes", "by").order_by("-pk")

    def undone_by_rollback(self, version: "ModelVersion") -> "Promotion | None":
        """The Promotion that a rollback of the version takes back: its latest that is no rollback."""
        return self.filter(version=version).exclude(kind=Promotion.Kind.ROLLBACK).order_by("-pk").first()


class Promotion(models.Model):
    """A change of the active ModelVersion, with reason and author; append-only, so that the history of the
    picks that people saw is complete."""

    class Kind(models.TextChoices):
        FIRST = "first", "First: no model was active"
        EARNED = "earned", "Earned: the model passed all checks"
        OVERRIDE = "override", "Override: an admin promoted the model without the checks"
        ROLLBACK = "rollback", "Rollback: the previous model is back"

    version = models.ForeignKey("workbench.ModelVersion", on_delete=models.PROTECT, related_name="promotions")
    supersedes = models.ForeignKey(
        "workbench.ModelVersion", null=True, on_delete=models.PROTECT, related_name="superseded_by"
    )
    kind = models.CharField(max_length=10, choices=Kind.choices)
    gate = models.JSONField(default=dict, blank=True, help_text="The result of each check.")
    reason = models.TextField(blank=True)
    by = models.ForeignKey("workbench.User", null=True, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PromotionQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(kind="override") | ~Q(reason=""), name="promotion_by_override_has_a_reason"
            ),
            models.CheckConstraint(
                condition=Q(kind="first") | Q(supersedes__isnull=False),
                name="promotion_supersedes_unless_first",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version} ({self.kind})"
