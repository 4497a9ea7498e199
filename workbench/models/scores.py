import math
from typing import TYPE_CHECKING, Self

from django.db import models
from django.db.models import Count, Exists, F, OuterRef, Q, Sum
from django.db.models.functions import Abs

from workbench.models.counts import count_of

if TYPE_CHECKING:
    from workbench.models.dataset import Dataset


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    def active(self) -> "ModelVersion | None":
        return self.filter(state=ModelVersion.State.ACTIVE).first()

    def serving(self, dataset: "Dataset") -> "ModelVersion | None":
        """The version whose figures and Suggestions the dataset shows: the active one, or its predecessor
        until the active one has scored the whole dataset."""
        return self.filter(pk=dataset.held_by_id).first() if dataset.held_by_id else self.active()

    def baselines(self) -> Self:
        return self.filter(kind=ModelVersion.Kind.BASELINE)

    def scoring_all(self) -> Self:
        """Versions that score every Completion: the active one, and the baselines beside it."""
        scoring = self.filter(Q(state=ModelVersion.State.ACTIVE) | Q(kind=ModelVersion.Kind.BASELINE))
        return scoring.exclude(state=ModelVersion.State.RETIRED).exclude(kind=ModelVersion.Kind.EXTERNAL)

    def models(self) -> Self:
        """Versions that are no rules."""
        return self.exclude(kind=ModelVersion.Kind.BASELINE)

    def transformers(self) -> Self:
        return self.filter(kind=ModelVersion.Kind.TRANSFORMER)

    def with_score_count(self) -> Self:
        """Annotate `score_count`: scored Completions, over all Datasets."""
        return self.annotate(score_count=count_of(Score.objects.filter(version=OuterRef("pk")), "version"))

    def with_large(self, large: Exists) -> Self:
        """Annotate `large`: a condition on a Dataset, read in one query with the version that serves it."""
        return self.annotate(large=large)


class ModelVersion(models.Model):
    """One scorer, pinned: the same row always gives the same number for the same text."""

    class Kind(models.TextChoices):
        TRANSFORMER = "transformer", "Transformer: a one-output sequence classifier"
        BASELINE = "baseline", "Baseline: a rule that needs no model"
        EXTERNAL = "external", "External: scored elsewhere, and its scores are sent here"

    class State(models.TextChoices):
        REGISTERED = "registered", "Registered: can score, shows no picks"
        ACTIVE = "active", "Active: shows its picks and sorts the queue"
        RETIRED = "retired", "Retired: keeps its scores, scores nothing new"

    class Known(models.TextChoices):
        """Whether the prompts that the weights were fitted to are on record (see models.learnt)."""

        YES = "yes", "known"
        PARTLY = "partly", "partly known: the training data of the base model is not on record"
        NO = "no", "not known: the training data is not on record"

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    state = models.CharField(max_length=20, choices=State.choices, default=State.REGISTERED)
    origin = models.CharField(
        max_length=300, blank=True, help_text="Repository on the hub, or name of the folder."
    )
    revision = models.CharField(max_length=64, blank=True)
    notice = models.CharField(
        max_length=500, blank=True, help_text="A sentence shown wherever the model's picks appear."
    )
    architecture = models.CharField(max_length=100, blank=True)
    parameters = models.BigIntegerField(null=True)
    weights_sha256 = models.CharField(max_length=64, blank=True)
    tokenizer_sha256 = models.CharField(max_length=64, blank=True)
    template = models.CharField(max_length=40, default="bert-pair")
    max_length = models.PositiveIntegerField(default=512)
    precision = models.CharField(max_length=20, default="fp32")
    guard = models.FloatField(
        null=True, help_text="Answers to one prompt that score closer than this are scored again in fp32."
    )
    temperature = models.FloatField(
        null=True, help_text="Probability that a is preferred = sigmoid(margin / temperature)."
    )
    calibration = models.JSONField(
        default=dict, blank=True, help_text="What the temperature was fitted on, and how well it fits."
    )
    self_test = models.JSONField(
        default=list, blank=True, help_text="Known scores that a worker checks when loading the model."
    )
    found = models.JSONField(
        default=dict,
        blank=True,
        db_default={},
        help_text="What the self-test found when it was registered; its template on one pair, by tokens.",
    )
    base = models.ForeignKey(
        "self",
        null=True,
        on_delete=models.PROTECT,
        related_name="trained_from",
        help_text="The model that training started from; null = not trained here.",
    )
    release = models.ForeignKey(
        "workbench.Release",
        null=True,
        on_delete=models.PROTECT,
        related_name="versions",
        help_text="The release that the model was trained on.",
    )
    trained_by = models.ForeignKey(
        "workbench.Run", null=True, on_delete=models.SET_NULL, related_name="trained"
    )
    learnt_on_record = models.CharField(
        max_length=10, choices=Known.choices, default=Known.NO, db_default=Known.NO
    )
    training = models.JSONField(
        default=dict, blank=True, help_text="Training details: settings, data, curve, software, hardware."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    activated_at = models.DateTimeField(null=True, editable=False)

    objects = ModelVersionQuerySet.as_manager()

    if TYPE_CHECKING:
        # Annotated by with_score_count, with_large.
        score_count: int
        large: bool

    class Meta:
        ordering = ["-created_at", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["state"], condition=Q(state="active"), name="model_version_one_active"
            ),
            models.UniqueConstraint(
                fields=["weights_sha256", "tokenizer_sha256", "template", "max_length", "precision"],
                condition=Q(kind="transformer"),
                name="model_version_pinned_once",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def comes_from(self) -> str:
        """The origin of the weights. A version trained here has the present names of its base and Dataset."""
        return f"{self.base}, trained on {self.release}" if self.base and self.release else self.origin

    @property
    def checkpoint(self) -> str:
        """Folder of the checkpoint in Django's storage."""
        return f"checkpoints/{self.weights_sha256}-{self.tokenizer_sha256[:16]}"

    @property
    def state_sentence(self) -> str:
        return self.get_state_display().partition(": ")[2]

    @property
    def learnt(self) -> Known:
        """Whether its training prompts are on record. A rule has learnt nothing, so YES."""
        return self.Known.YES if self.kind == self.Kind.BASELINE else self.Known(self.learnt_on_record)

    @property
    def is_external(self) -> bool:
        """Whether it is scored elsewhere: no worker can load it."""
        return self.kind == self.Kind.EXTERNAL

    @property
    def calibrated(self) -> bool:
        return self.temperature is not None

    @property
    def exact_order(self) -> bool:
        """Whether its Scores may be in bf16, in the order of fp32."""
        return self.precision == "exact-order"

    def widen_guard(self, guard: float) -> None:
        """Store the wider guard that a worker has measured, for later comparisons with its Scores. A guard
        never shrinks."""
        narrower = Q(guard__isnull=True) | Q(guard__lt=guard)
        if ModelVersion.objects.filter(narrower, pk=self.pk).update(guard=guard):
            self.guard = guard

    def retire(self) -> bool:
        """Take a registered version out of use; its Scores stay. False for any other state."""
        registered = ModelVersion.objects.filter(pk=self.pk, state=self.State.REGISTERED)
        retired = registered.update(state=self.State.RETIRED)
        self.refresh_from_db()
        return retired == 1


class ScoreQuerySet(models.QuerySet["Score"]):
    CUT = Q(prompt_cut__gt=0) | Q(completion_cut__gt=0)

    def cut(self) -> Self:
        """Scores of texts that were cut."""
        return self.filter(self.CUT)

    def cuts(self) -> dict[str, int]:
        """How many `scores` there are, how many `texts` were cut, and the tokens cut from `prompt` and
        `answer`."""
        return self.aggregate(
            scores=Count("pk"),
            texts=Count("pk", filter=self.CUT),
            prompt=Sum("prompt_cut", default=0),
            answer=Sum("completion_cut", default=0),
        )


class Score(models.Model):
    """The raw output of one ModelVersion for one Completion. A Score is never overwritten, but that
    exact-order may replace a value in bf16 by the value in fp32, once. An admin may have a Score computed
    again; the new row then takes the place of the old one."""

    completion = models.ForeignKey("workbench.Completion", on_delete=models.CASCADE, related_name="scores")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="scores")
    value = models.FloatField()
    precision = models.CharField(max_length=20)
    prompt_cut = models.PositiveIntegerField(default=0, help_text="Tokens cut from the prompt.")
    completion_cut = models.PositiveIntegerField(default=0, help_text="Tokens cut from the answer.")
    input_digest = models.BigIntegerField(
        null=True,
        help_text="Digest of the tokens that the model read; null for a rule, which reads everything.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ScoreQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["completion", "version"], name="score_once_per_version")
        ]

    def __str__(self) -> str:
        return f"{self.value:.4f}"


class SuggestionQuerySet(models.QuerySet["Suggestion"]):
    def of(self, dataset: "Dataset", version: ModelVersion) -> Self:
        return self.filter(version=version, comparison__dataset=dataset)

    def to_show(self) -> Self:
        """Suggestions of the version that serves their Dataset: at most one a Comparison, and never of two
        versions in one Dataset."""
        held = Q(version=F("comparison__dataset__held_by"))
        active = Q(comparison__dataset__held_by=None, version__state=ModelVersion.State.ACTIVE)
        return self.filter(held | active).select_related("version")


class Suggestion(models.Model):
    """The margin of one ModelVersion for a Comparison: score of a - score of b. A transaction that changes a
    Score rewrites it, so it is never out of date. Stored because queues are ordered by margin."""

    comparison = models.ForeignKey(
        "workbench.Comparison", on_delete=models.CASCADE, related_name="suggestions"
    )
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="suggestions")
    margin = models.FloatField(help_text="Score of a minus score of b.")

    objects = SuggestionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["comparison", "version"], name="suggestion_once_per_version")
        ]
        # The review queue reads the surest Suggestions first, of any number.
        indexes = [
            models.Index(F("version"), Abs("margin").desc(), F("comparison"), name="suggestion_surest_first")
        ]

    def __str__(self) -> str:
        return f"{self.outcome} by {abs(self.margin):.3f}"

    @property
    def outcome(self) -> str:
        """ "a", "b", or "tie" for equal scores."""
        if self.margin == 0:
            return "tie"
        return "a" if self.margin > 0 else "b"

    @property
    def probability(self) -> float | None:
        """P(a preferred), or None while the version is uncalibrated: a raw margin is not a probability."""
        if self.version.temperature is None:
            return None
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, self.margin / self.version.temperature))))
