from typing import TYPE_CHECKING, Self, TypedDict

from django.db import models

if TYPE_CHECKING:
    from workbench.models.dataset import Dataset


class TopicFigure(TypedDict):
    """A share with its 95 % interval and the number of pairs behind it; None where there is not enough
    data."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class TopicFigures(TypedDict, total=False):
    """What is known of a topic beside its size. `version`: the name of the model that `accuracy` is of."""

    accuracy: TopicFigure
    agreement: TopicFigure
    version: str | None


class TopicQuerySet(models.QuerySet["Topic"]):
    def of(self, dataset: "Dataset") -> Self:
        return self.filter(dataset=dataset)

    def largest_first(self) -> Self:
        return self.order_by("-size", "number")


class Topic(models.Model):
    """A cluster of Prompts of similar meaning, named by its distinguishing words. A topic keeps its number
    when topics are computed again, as links and saved views name it."""

    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.CASCADE, related_name="topics")
    number = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=200)
    size = models.PositiveIntegerField(default=0, help_text="Prompts of this topic when it was computed.")
    figures: "models.Field[TopicFigures, TopicFigures]" = models.JSONField(default=dict, blank=True)

    objects = TopicQuerySet.as_manager()

    class Meta:
        ordering = ["dataset", "number"]
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="topic_number_once")]

    def __str__(self) -> str:
        return self.name
