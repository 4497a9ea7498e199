from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from workbench.models.annotation import Comparison
from workbench.models.dataset import Completion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workbench.models.dataset import Dataset, Prompt
    from workbench.models.people import User


FORGOTTEN_AT_ONCE = 1000


class Tag(models.Model):
    """A word that admins give to Prompts of a Dataset."""

    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.CASCADE, related_name="tags")
    name = models.CharField(max_length=50)
    prompts: "models.ManyToManyField[Prompt, PromptTag]" = models.ManyToManyField(
        "workbench.Prompt", through="PromptTag", related_name="tags"
    )

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["dataset", "name"], name="tag_name_once_per_dataset")]

    def __str__(self) -> str:
        return self.name


class PromptTag(models.Model):
    """One Prompt has one Tag."""

    prompt = models.ForeignKey("workbench.Prompt", on_delete=models.CASCADE, related_name="+")
    tag = models.ForeignKey(Tag, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["prompt", "tag"], name="tag_once_per_prompt")]

    def __str__(self) -> str:
        return f"{self.prompt}: {self.tag}"


class SavedViewQuerySet(models.QuerySet["SavedView"]):
    def seen_by(self, user: "User", dataset: "Dataset") -> Self:
        """The person's own views of the Dataset, and the shared ones."""
        return self.filter(Q(owner=user) | Q(shared=True), dataset=dataset)


class SavedView(models.Model):
    """A selection of the Data page, saved by name: the person's own, or shared with all who see the page."""

    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.CASCADE, related_name="views")
    name = models.CharField(max_length=100)
    owner = models.ForeignKey("workbench.User", null=True, on_delete=models.SET_NULL, related_name="+")
    shared = models.BooleanField(default=False)
    query = models.CharField(
        max_length=2000,
        help_text="The selection, as in the address of the Data page: source=gpt-4.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = SavedViewQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "owner", "name"], name="saved_view_name_once_per_owner"
            )
        ]

    def __str__(self) -> str:
        return self.name


class ViewPair(models.Model):
    """A Comparison with free places that a view which is given to people finds. A worker writes these rows in
    the random order of the queue, and drops those of Comparisons that need nobody any more."""

    view = models.ForeignKey(SavedView, on_delete=models.CASCADE, related_name="pairs", db_index=False)
    comparison = models.ForeignKey("workbench.Comparison", on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["view", "comparison"], name="view_pair_once")]
        indexes = [models.Index(fields=["view", "id"], name="view_pair_in_order")]

    def __str__(self) -> str:
        return f"{self.comparison} in {self.view}"


class ActQuerySet(models.QuerySet["Act"]):
    def of(self, dataset: "Dataset") -> Self:
        return self.filter(dataset=dataset)

    def done(self) -> Self:
        """Acts that nobody has undone."""
        return self.filter(undone_at=None)


class Act(models.Model):
    """What an admin or a reviewer did to the data of a Dataset: who, when, what, to how many. Written in the
    transaction of the change; the texts of items are never in it."""

    class Kind(models.TextChoices):
        TAG = "tag", "Tagged"
        UNTAG = "untag", "Removed a tag from"
        EXCLUDE = "exclude", "Excluded"
        RESTORE = "restore", "Restored"
        REVIEW = "review", "Sent to review"
        GOLD = "gold", "Made gold"
        OVERLAP = "overlap", "Set the number of people for"
        PRIORITY = "priority", "Put first in the queue"
        RESCORE = "rescore", "Scored again"
        PAIRS = "pairs", "Made pairs of"
        PAIRED = "paired", "Paired anew"
        COPY = "copy", "Copied"

    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.CASCADE, related_name="acts")
    kind = models.CharField(max_length=20, choices=Kind.choices)
    by = models.ForeignKey("workbench.User", null=True, on_delete=models.SET_NULL, related_name="+")
    at = models.DateTimeField(default=timezone.now)
    query = models.CharField(
        max_length=2000, blank=True, help_text="The selection of the Data page that it was done to."
    )
    details = models.JSONField(default=dict, help_text="What was chosen: the tag, the reason, the number.")
    prompt_count = models.PositiveIntegerField(default=0)
    pair_count = models.PositiveIntegerField(default=0)
    undone_at = models.DateTimeField(null=True)
    undone_by = models.ForeignKey("workbench.User", null=True, on_delete=models.SET_NULL, related_name="+")

    objects = ActQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [models.Index(fields=["dataset", "-id"], name="act_newest_first")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.prompt_count} prompts"


class ActOnPrompt(models.Model):
    """One Prompt that an Act changed, and what undoing gives back to it."""

    act = models.ForeignKey(Act, on_delete=models.CASCADE, related_name="on_prompts")
    prompt = models.ForeignKey("workbench.Prompt", on_delete=models.CASCADE, related_name="acts")
    before = models.JSONField(default=dict, help_text="The values before the act, by field.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["act", "prompt"], name="act_once_on_prompt")]

    def __str__(self) -> str:
        return f"{self.act} on {self.prompt}"


class PromptChangeQuerySet(models.QuerySet["PromptChange"]):
    def note(self, dataset: int, prompts: "Iterable[int]") -> None:
        """Say, in the transaction of the change, that something about these Prompts changed."""
        self.bulk_create(PromptChange(dataset_id=dataset, prompt_id=prompt) for prompt in set(prompts))

    def note_pairs(self, pairs: "Iterable[int]") -> None:
        """The same, for the Prompts of these Comparisons, at most some thousands."""
        self._note_of(Comparison.objects.filter(pk__in=set(pairs)).values_list("dataset", "prompt"))

    def note_completions(self, completions: "Iterable[int]") -> None:
        """The same, for the Prompts of these Completions."""
        rows = Completion.objects.filter(pk__in=set(completions))
        self._note_of(rows.values_list("prompt__dataset", "prompt"))

    def _note_of(self, rows: "models.QuerySet[Any, tuple[int, int]]") -> None:
        self.bulk_create(
            PromptChange(dataset_id=dataset, prompt_id=prompt)
            for dataset, prompt in rows.order_by().distinct()
        )

    def all_of(self, dataset: int) -> None:
        """Say that something about any Prompt of the Dataset may have changed."""
        self.create(dataset_id=dataset, prompt_id=PromptChange.ALL)

    def forget_old(self) -> None:
        """Delete rows of more than a day ago, FORGOTTEN_AT_ONCE at most. Rows are in the order of their keys,
        near enough: an index by time alone would serve nothing else."""
        oldest = self.order_by("pk").values_list("pk", "at")[:FORGOTTEN_AT_ONCE]
        limit = timezone.now() - timedelta(days=1)
        if old := [pk for pk, at in oldest if at < limit]:
            self.filter(pk__in=old).delete()


class PromptChange(models.Model):
    """A Prompt about which something changed that the Data page shows: a vote, a final label, a flag, a
    Score, a tag, a new answer. Whoever writes such a thing writes this row in the same transaction, and web
    processes read the newest rows to keep their columns true (pipeline.data.columns). Rows are deleted after
    a day; nothing else refers to them."""

    ALL = 0
    """In the place of a Prompt: any may have changed, as after an import."""

    dataset = models.ForeignKey(
        "workbench.Dataset", on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    prompt_id = models.BigIntegerField()
    at = models.DateTimeField(default=timezone.now)

    objects = PromptChangeQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["dataset", "at"], name="prompt_change_of_dataset")]

    def __str__(self) -> str:
        return f"Prompt {self.prompt_id} changed"
