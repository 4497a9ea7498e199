"""What ModelVersions have learnt from: prompts by digest, in whichever Dataset they are met again."""

from django.db import models

from workbench.models.dataset import Dataset
from workbench.models.scores import ModelVersion


class PromptSet(models.Model):
    """The prompts of one training, by digests alone: it outlives the Release or file that they came from.
    Trainings on the same prompts share it."""

    sha256 = models.CharField(max_length=64, unique=True, help_text="Digest of all prompts in the set.")
    source = models.CharField(max_length=300, help_text="The release or file that the prompts came from.")
    size = models.PositiveIntegerField(help_text="Number of different prompts.")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.size} prompts from {self.source}"


class Learnt(models.Model):
    """That a ModelVersion owes something to the prompts of a set."""

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
    """A key by which a prompt of a set is found: of its text as a whole (`text_id` is null), or one that a
    near-duplicate may share with that text. Written millions at a time, so nothing is checked row by row."""

    pk = models.CompositePrimaryKey("key", "prompts_id")
    key = models.BigIntegerField()
    prompts = models.ForeignKey(
        PromptSet, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    text_id = models.BigIntegerField(null=True)

    def __str__(self) -> str:
        return f"Key {self.key} of set {self.prompts_id}"


class LearntMatch(models.Model):
    """Which prompt groups of a Dataset hold a prompt of a set, as far as the Dataset's Prompts up to one have
    been looked through: pages read this, and compare no texts."""

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
