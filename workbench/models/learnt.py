"""The prompts that ModelVersions have learnt from, by digest, in any Dataset."""

from django.db import models

from workbench.models.dataset import Dataset
from workbench.models.scores import ModelVersion


class PromptSet(models.Model):
    """The prompts of one training, as digests: the set outlives its Release or file. Trainings on the same
    prompts share the set."""

    sha256 = models.CharField(max_length=64, unique=True, help_text="Digest of all prompts in the set.")
    source = models.CharField(max_length=300, help_text="The release or file that the prompts came from.")
    size = models.PositiveIntegerField(help_text="Number of different prompts.")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.size} prompts from {self.source}"


class Learnt(models.Model):
    """A ModelVersion has learnt from the prompts of a set."""

    class Use(models.TextChoices):
        TRAINED = "trained", "Trained: the model was trained on these prompts"
        CHOSEN = "chosen", "Chosen: these prompts decided which weights were kept"

    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="lessons")
    prompts = models.ForeignKey(PromptSet, on_delete=models.PROTECT, related_name="lessons")
    use = models.CharField(max_length=10, choices=Use.choices)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "prompts", "use"], name="learnt_once_per_use")
        ]

    def __str__(self) -> str:
        return f"{self.version}: {self.use} on {self.prompts}"


class LearntText(models.Model):
    """A prompt of a set that is long enough to have near-duplicates (pipeline.text.near_duplicates)."""

    prompts = models.ForeignKey(PromptSet, on_delete=models.CASCADE, related_name="+")
    shingles = models.BinaryField()

    def __str__(self) -> str:
        return f"Text {self.pk} of set {self.prompts_id}"


class LearntKey(models.Model):
    """A key by which a prompt of a set is found: of its whole text (`text_id` is null), or a key that a
    near-duplicate may share with this text. Written millions at a time, so nothing is checked row by row."""

    pk = models.CompositePrimaryKey("key", "prompts_id")
    key = models.BigIntegerField()
    prompts = models.ForeignKey(
        PromptSet, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    text_id = models.BigIntegerField(null=True)

    def __str__(self) -> str:
        return f"Key {self.key} of set {self.prompts_id}"


class LearntMatch(models.Model):
    """The prompt groups of a Dataset that hold a prompt of a set, among its Prompts up to `up_to`. Pages read
    these rows, and compare no texts."""

    prompts = models.ForeignKey(PromptSet, on_delete=models.CASCADE, related_name="matches")
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="+")
    up_to = models.BigIntegerField(default=0, help_text="Primary key of the last prompt that was checked.")
    groups = models.BinaryField(default=bytes, help_text="The first 8 bytes of each group's digest, sorted.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["prompts", "dataset"], name="learnt_match_once_per_dataset")
        ]

    def __str__(self) -> str:
        return f"{self.prompts} in {self.dataset}"
