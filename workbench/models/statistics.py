from django.db import models
from django.db.models import Exists, OuterRef

from workbench.models.annotation import Comparison, Judgment


class Statistics(models.Model):
    """The stored report of a Dataset's figures, and the moment of its data. `report` is a
    pipeline.quality.reports.Report; pages read the report and count nothing themselves."""

    MOST_COUNTED = 10_000

    dataset = models.OneToOneField("workbench.Dataset", on_delete=models.CASCADE, related_name="statistics")
    run = models.OneToOneField(
        "workbench.Run", null=True, on_delete=models.SET_NULL, related_name="statistics"
    )
    version = models.ForeignKey(
        "workbench.ModelVersion",
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The active version at that moment.",
    )
    judgments = models.PositiveBigIntegerField(help_text="Number of Judgments then, of any kind.")
    last_judgment = models.PositiveBigIntegerField(help_text="Primary key of the newest Judgment then, or 0.")
    taken_at = models.DateTimeField()
    report = models.JSONField()

    class Meta:
        verbose_name_plural = "statistics"

    def __str__(self) -> str:
        return f"Statistics of {self.dataset}"

    @property
    def charts(self) -> list[str]:
        """Paths in Django's storage of the report's charts."""
        paths: list[str] = self.report.get("charts", [])
        return paths

    @property
    def judgments_since(self) -> int:
        """How many Judgments are newer than the report; counted up to MOST_COUNTED."""
        # EXISTS: with a join, SQLite begins with every Comparison of the Dataset.
        in_dataset = Comparison.objects.filter(pk=OuterRef("comparison"), dataset=self.dataset_id)
        newer = Judgment.objects.filter(Exists(in_dataset), pk__gt=self.last_judgment)
        return newer.order_by()[: self.MOST_COUNTED].count()
