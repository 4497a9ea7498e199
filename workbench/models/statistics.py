from django.db import models
from django.db.models import Exists, OuterRef

from workbench.models.annotation import Comparison, Judgment


class Statistics(models.Model):
    """The figures of a Dataset as a Run has computed them, and the moment of the data that they describe.
    Pages read `report` and count nothing themselves; its shape is a
    pipeline.quality.reports.Report."""

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
        help_text="The active one at that moment.",
    )
    judgments = models.PositiveBigIntegerField(help_text="Rows of Judgments then, of any kind.")
    last_judgment = models.PositiveBigIntegerField(help_text="Primary key of the newest of them, or 0.")
    taken_at = models.DateTimeField()
    report = models.JSONField()

    class Meta:
        verbose_name_plural = "statistics"

    def __str__(self) -> str:
        return f"Statistics of {self.dataset}"

    @property
    def charts(self) -> list[str]:
        """Paths in Django's storage of the charts that were drawn of the report."""
        found: list[str] = self.report.get("charts", [])
        return found

    @property
    def judgments_since(self) -> int:
        """How many Judgments the report does not know of; counted up to 10,000."""
        # EXISTS, as with a join SQLite begins with every Comparison of the Dataset.
        here = Comparison.objects.filter(pk=OuterRef("comparison"), dataset=self.dataset_id)
        newer = Judgment.objects.filter(Exists(here), pk__gt=self.last_judgment)
        return newer.order_by()[: self.MOST_COUNTED].count()
