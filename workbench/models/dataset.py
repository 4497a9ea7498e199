import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import (
    Aggregate,
    Case,
    Count,
    Exists,
    F,
    Func,
    Min,
    OuterRef,
    Q,
    Subquery,
    Sum,
    Value,
    When,
    Window,
)
from django.db.models.functions import Cast, Coalesce, Length, RowNumber, Substr
from django.db.models.lookups import LessThanOrEqual
from django.urls import reverse

from scoring.messages import Message as Message
from scoring.messages import answer_digest as answer_digest
from scoring.messages import group_digest as group_digest
from scoring.messages import message_reading
from scoring.messages import messages_digest as messages_digest
from scoring.messages import text_digest as text_digest
from workbench.models.invitations import Acceptance, Agreement
from workbench.models.people import Member, Role
from workbench.models.runs import Run

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.expressions import Combinable, Expression
    from django.db.models.sql.compiler import SQLCompiler, _AsSqlType

    from workbench.models.people import User


class DatasetQuerySet(models.QuerySet["Dataset"]):
    def not_deleted(self) -> Self:
        """Datasets that nobody has deleted."""
        return self.filter(deleted_at=None)

    def in_use(self) -> Self:
        """Datasets that take votes, imports and Runs: neither archived nor deleted."""
        return self.not_deleted().filter(archived_at=None)

    def archived(self) -> Self:
        return self.not_deleted().exclude(archived_at=None)

    def benchmarks(self) -> Self:
        """Frozen Datasets, which every model is measured on."""
        return self.filter(frozen=True).order_by("pk")

    def needing_scores(self) -> Self:
        """Newest first, as whoever imported last is waiting for the scores."""
        return self.in_use().filter(needs_scoring=True).order_by("-pk")

    def needing_words(self, since: datetime) -> Self:
        """Those with Prompts that wait for the search index, where no worker has added any since then."""
        waiting = self.not_deleted().exclude(indexed_to=None)
        return waiting.filter(Q(indexed_at=None) | Q(indexed_at__lt=since)).order_by("-pk")

    def visible_to(self, user: "User") -> Self:
        return self.not_deleted() if user.is_staff else self.not_deleted().filter(members__user=user)

    def with_role_of(self, user: "User") -> Self:
        """Annotate `role`: the user's Role in each Dataset, admin for staff, None for a stranger."""
        return self.with_role_of_staff() if user.is_staff else self.with_role_of_member(user)

    def with_role_of_staff(self) -> Self:
        return self.not_deleted().annotate(role=Value(Role.ADMIN.value))

    def with_role_of_member(self, user: "User | int") -> Self:
        membership = Member.objects.filter(dataset=OuterRef("pk"), user=user)
        return self.not_deleted().annotate(role=Subquery(membership.values("role")))

    def with_has_agreed(self, user: int) -> Self:
        """Annotate `has_agreed`: whether the user has agreed to a consent text of the Dataset, or it has
        none."""
        agreed = Agreement.objects.filter(dataset=OuterRef("pk"), user=user)
        came = Acceptance.objects.filter(invitation__dataset=OuterRef("pk"), user=user)
        done = Q(consent="") | Q(Exists(agreed)) | Q(Exists(came.exclude(consent_sha256="")))
        return self.annotate(has_agreed=Case(When(done, then=True), default=False))

    def with_is_busy(self) -> Self:
        """Annotate `is_busy`: whether a Run of the Dataset is open."""
        return self.annotate(is_busy=Exists(Run.objects.open().filter(dataset=OuterRef("pk"))))

    def with_has_prompts(self) -> Self:
        """Annotate `has_prompts`: whether the Dataset has a Prompt."""
        return self.annotate(has_prompts=Exists(Prompt.objects.filter(dataset=OuterRef("pk"))))


class Strategy(models.TextChoices):
    """How a Comparison was chosen from the Comparisons without any Claim."""

    RANDOM = "random", "Random: every pair was equally likely"
    UNCERTAIN = "uncertain", "Uncertain: the model was least sure"
    DISAGREEMENT = "disagreement", "Disagreement: labels disagreed, or the model was surest against one"
    CHOSEN = "chosen", "Chosen: an admin put the pair first"


class PayPer(models.TextChoices):
    """What a Dataset's rate is for."""

    VOTE = "vote", "Vote: each pair that somebody answers"
    HOUR = "hour", "Hour of active time"


class Dataset(models.Model):
    """A named collection with its guidelines, overlap, policies and members."""

    class Order(models.TextChoices):
        RANDOM = "random", "Random: every pair is equally likely"
        UNCERTAIN = "uncertain", "Uncertain first: where the model is least sure"
        DISAGREEMENT = "disagreement", "Disagreement first: where votes, labels or the model disagree"
        MIXTURE = "mixture", "Mixture: some at random, half of the rest uncertain, half disagreement"

    class Aggregation(models.TextChoices):
        MAJORITY = "majority", "Majority: more than half of the votes"
        SKILL = "skill", "Skill: votes of reliable people count more"

    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(blank=True)
    licence = models.CharField(max_length=100, blank=True)
    overlap = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(25)],
        help_text="How many different people vote on each pair.",
    )
    blind_share = models.FloatField(
        default=1.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text="Share of pairs voted on before the model's pick is shown: 1 = always, 0 = never.",
    )
    gold_share = models.FloatField(
        default=0.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(0.5)],
        help_text="Share of an annotator's pairs whose answer is known: 0.05 = one pair in 20.",
    )
    repeat_share = models.FloatField(
        default=0.0,
        validators=[MinValueValidator(0.0), MaxValueValidator(0.5)],
        help_text="Share of an annotator's pairs that are asked again, with sides swapped.",
    )
    pause_alpha = models.FloatField(
        default=0.01,
        db_default=0.01,
        validators=[MinValueValidator(0.0), MaxValueValidator(0.2)],
        help_text="Risk of pausing a careful person by mistake: 0.01 = 1 in 100. 0 = pause nobody.",
    )
    pause_good = models.FloatField(
        default=0.75,
        db_default=0.75,
        validators=[MinValueValidator(0.55), MaxValueValidator(0.99)],
        help_text="Share of known answers that a careful person gets right.",
    )
    pause_bad = models.FloatField(
        default=0.5,
        db_default=0.5,
        validators=[MinValueValidator(0.05), MaxValueValidator(0.9)],
        help_text="Share that somebody gets right who should be paused.",
    )
    qualify_pairs = models.PositiveSmallIntegerField(
        default=0,
        db_default=0,
        validators=[MaxValueValidator(100)],
        help_text="Gold pairs that an annotator answers before the first vote. 0 = none.",
    )
    qualify_share = models.FloatField(
        default=0.8,
        db_default=0.8,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text="Pass mark: share of these pairs that must be right; 0.8 = 8 of 10.",
    )
    qualify_tries = models.PositiveSmallIntegerField(
        default=2,
        db_default=2,
        validators=[MinValueValidator(1), MaxValueValidator(20)],
        help_text="How often a person may try to qualify.",
    )
    max_overlap = models.PositiveSmallIntegerField(
        default=0,
        validators=[MaxValueValidator(25)],
        help_text="On disagreement, ask more people, up to this many per pair. 0 = don't.",
    )
    single_vote_threshold = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0.5), MaxValueValidator(1.0)],
        help_text="Accept one vote when the model is this sure of it too: 0.9 = 90 %. Empty = never.",
    )
    audit_share = models.FloatField(
        default=0.1,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text="Share of those pairs that all people vote on anyway: 0.1 = one pair in 10.",
    )
    aggregation = models.CharField(
        max_length=20,
        choices=Aggregation.choices,
        default=Aggregation.MAJORITY,
        db_default=Aggregation.MAJORITY,
        help_text="How votes become a final label. A reviewer's label always wins. Skill (one-coin "
        "Dawid-Skene) needs 20 shared votes per annotator.",
    )
    order = models.CharField(
        max_length=20,
        choices=Order.choices,
        default=Order.RANDOM,
        db_default=Order.RANDOM,
        help_text="Which pairs come first. Only random picks give figures that hold for the whole dataset.",
    )
    random_share = models.FloatField(
        default=0.3,
        db_default=0.3,
        validators=[MinValueValidator(0.3), MaxValueValidator(1.0)],
        help_text="Share of random pairs in a mixture: 0.3 = three pairs in 10, the least allowed.",
    )
    max_per_group = models.PositiveSmallIntegerField(
        default=1,
        db_default=1,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text="At most this many pairs of one prompt in a row, when uncertain pairs come first.",
    )
    allows_ranking = models.BooleanField(
        "rank several answers together",
        default=False,
        db_default=False,
        help_text="Rank three to nine answers together instead of pair by pair; stored as votes on pairs.",
    )
    held_by = models.ForeignKey(
        "workbench.ModelVersion",
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The model that serves until the active model has scored everything; null = the active "
        "model.",
    )
    queue_version = models.ForeignKey(
        "workbench.ModelVersion",
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The model whose picks last ordered the queue.",
    )
    queue_stale_since = models.DateTimeField(
        null=True,
        editable=False,
        help_text="When the queue became stale; null = up to date.",
    )
    lease_minutes = models.PositiveSmallIntegerField(
        default=20,
        validators=[MinValueValidator(1), MaxValueValidator(240)],
        help_text="How many minutes a pair is held for the annotator who opened it.",
    )
    due_on = models.DateField(null=True, blank=True, help_text="When all votes are to be in; empty = open.")
    idle_limit = models.PositiveSmallIntegerField(
        default=300,
        db_default=300,
        validators=[MinValueValidator(10), MaxValueValidator(3600)],
        help_text="Most seconds that one vote adds to a person's time; the rest counts as idle.",
    )
    pay_rate = models.DecimalField(
        null=True,
        blank=True,
        max_digits=10,
        decimal_places=4,
        validators=[MinValueValidator(0)],
        help_text="Pay for one vote or one hour; empty = none, and the time sheet shows hours alone.",
    )
    pay_per = models.CharField(
        max_length=10,
        choices=PayPer.choices,
        default=PayPer.HOUR,
        db_default=PayPer.HOUR,
        help_text="What the rate is for.",
    )
    currency = models.CharField(
        max_length=10, blank=True, default="", db_default="", help_text="EUR, or another word for money."
    )
    required_language = models.CharField(
        max_length=50,
        blank=True,
        default="",
        db_default="",
        help_text="Code of the language that people must read to vote here. Empty = any.",
    )
    required_skill = models.CharField(
        max_length=50,
        blank=True,
        default="",
        db_default="",
        help_text="Skill that people must have to vote here. Empty = none.",
    )
    requires_prompt_language = models.BooleanField(
        default=False,
        db_default=False,
        help_text="People get only pairs whose detected language they read.",
    )
    language_key = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text="Metadata key whose value is the language that people must read. Empty = none.",
    )
    skill_key = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text="Metadata key whose value is the skill that people must have. Empty = none.",
    )
    frozen = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Benchmark only: no model is trained on this dataset, and a model that loses on it is not "
        "promoted.",
    )
    columns = models.JSONField(
        default=dict,
        editable=False,
        help_text="Column mapping of the last table import.",
    )
    consent = models.TextField(
        blank=True,
        default="",
        db_default="",
        help_text="What people agree to before they join by an invitation. Empty = nothing.",
    )
    facet_keys = models.JSONField(
        "metadata to filter by",
        default=list,
        blank=True,
        help_text="Metadata keys that the Data page counts and filters by: topic, difficulty.",
    )
    first_view = models.ForeignKey(
        "workbench.SavedView",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name="vote first on",
        help_text="Pairs of this saved view come before all others. Empty = none.",
    )
    webhook_events: "models.Field[list[str], list[str]]" = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        editable=False,
        help_text="Types of events that an active webhook asks for.",
    )
    needs_scoring = models.BooleanField(
        default=False,
        editable=False,
        help_text="New answers may lack a score. Set with the answers, cleared once scoring is planned.",
    )
    indexed_to = models.PositiveBigIntegerField(
        null=True,
        editable=False,
        help_text="The last prompt that the search index has; a worker adds later ones. Null = it has all.",
    )
    indexed_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="When a worker last added prompts to the search index.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    archived_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="When the dataset was archived; null = in use.",
    )
    deleted_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="When somebody deleted the dataset; its rows go later. Null = not deleted.",
    )

    objects = DatasetQuerySet.as_manager()

    if TYPE_CHECKING:
        # Annotated by the QuerySet, by pipeline.datasets.overview and by views.
        role: str | None
        has_prompts: bool
        is_busy: bool
        has_agreed: bool
        prompt_count: int
        completion_count: int
        scored_count: int
        empty_count: int
        cut_count: int
        comparison_count: int
        wanted_count: int
        judged_count: int
        disagreement_count: int
        label_split_count: int
        model_split_count: int
        label_count: int
        member_count: int
        report_cells: dict[str, object] | None
        newest: int | None
        last_release: int | None
        settled_count: int
        trained_name: str | None
        new_label_count: int

    class Meta:
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                condition=Q(blind_share__gte=0, blind_share__lte=1), name="dataset_blind_share_is_a_share"
            ),
            models.CheckConstraint(condition=Q(overlap__gte=1), name="dataset_overlap_at_least_one"),
            models.CheckConstraint(
                condition=Q(random_share__gte=0.3, random_share__lte=1),
                name="dataset_random_share_is_enough",
            ),
            models.CheckConstraint(
                condition=Q(audit_share__gte=0, audit_share__lte=1), name="dataset_audit_share_is_a_share"
            ),
            models.CheckConstraint(
                condition=Q(gold_share__gte=0, gold_share__lte=1, repeat_share__gte=0, repeat_share__lte=1),
                name="dataset_gold_and_repeats_are_shares",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("dataset", args=[self.pk])

    @property
    def scorable_count(self) -> int:
        """How many answers the version can score; needs the loop counts."""
        return self.completion_count - self.empty_count

    @property
    def initial_overlap(self) -> int:
        """How many people judge a Comparison that has no number of places of its own."""
        return self.overlap if self.single_vote_threshold is None else 1

    @property
    def requires_by_pair(self) -> bool:
        """Whether each Comparison says what people must have to get it (`Comparison.needs`)."""
        return bool(self.requires_prompt_language or self.language_key or self.skill_key)

    @property
    def rule_by_pair(self) -> str:
        """A digest of the settings that requirements by pair follow from."""
        rule = [self.requires_prompt_language, self.language_key, self.skill_key]
        return text_digest(json.dumps(rule))

    @property
    def strategies(self) -> dict[Strategy, float]:
        """The probability of each strategy for a Claim that begins a Comparison; the sum is 1."""
        if self.order == self.Order.MIXTURE:
            half = (1 - self.random_share) / 2
            return {Strategy.RANDOM: self.random_share, Strategy.UNCERTAIN: half, Strategy.DISAGREEMENT: half}
        return {Strategy(self.order): 1.0}

    @property
    def current_guidelines(self) -> "Guidelines | None":
        return self.guidelines.order_by("-number").first()

    def revise_guidelines(self, text: str, by: "User | None", based_on: int = 0) -> "Guidelines":
        """Store the text as the next version, and return it; the current version if the text is the same.

        based_on: number of the version that the writer started from. ValidationError when somebody has stored
        a newer version meanwhile."""
        with transaction.atomic():
            Dataset.objects.select_for_update().get(pk=self.pk)
            current = self.current_guidelines
            number = current.number if current else 0
            if current and current.text == text:
                return current
            if number != based_on:
                raise ValidationError(
                    f"Version {number} was saved while you were writing. Your text is still here. Compare it "
                    "with the current version below, then save again.",
                    code="conflict",
                )
            return self.guidelines.create(number=number + 1, text=text, created_by=by)


class Guidelines(models.Model):
    """One version of the instructions for annotators; never edited, so that a Judgment can name its
    version."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="guidelines")
    number = models.PositiveIntegerField()
    text = models.TextField()
    created_by = models.ForeignKey("workbench.User", null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["dataset", "number"]
        verbose_name_plural = "guidelines"
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="guidelines_number_once")]

    def __str__(self) -> str:
        return f"Guidelines {self.number} of {self.dataset}"


BEGINNING = 240
"""Characters of a long text that a list shows."""

READ_FOR_EXCERPT = 100_000
"""Characters of messages that are read for an excerpt."""


class WholeJSONField(models.JSONField):
    """JSON that keeps the order of its keys, in which a chat template may write calls and tools. PostgreSQL's
    type is `json`, as `jsonb` sorts keys. The database can neither compare nor index the values."""

    def db_type(self, connection: "BaseDatabaseWrapper") -> str | None:
        return "json" if connection.vendor == "postgresql" else super().db_type(connection)

    def get_db_prep_value(
        self, value: object, connection: "BaseDatabaseWrapper", prepared: bool = False
    ) -> object:
        if connection.vendor == "postgresql" and value is not None and not hasattr(value, "as_sql"):
            return json.dumps(value, ensure_ascii=False)
        return super().get_db_prep_value(value, connection, prepared)

    def from_db_value(
        self, value: object, expression: "Expression", connection: "BaseDatabaseWrapper"
    ) -> object:
        # The driver parses a column of `json` by itself.
        return super().from_db_value(value, expression, connection) if isinstance(value, str) else value


class JSONGroup(Aggregate):
    """A JSON array of all values of a column, in no order."""

    function = "JSON_AGG"
    output_field = WholeJSONField()

    def as_sqlite(
        self, compiler: "SQLCompiler", connection: "BaseDatabaseWrapper", **_: object
    ) -> "_AsSqlType":
        return self.as_sql(compiler, connection, function="JSON_GROUP_ARRAY")


class MessagesText(Func):
    """The contents of all messages, in order, with U+001E between them."""

    output_field = models.TextField()

    def as_sqlite(
        self, compiler: "SQLCompiler", connection: "BaseDatabaseWrapper", **_: object
    ) -> "_AsSqlType":
        contents = "SELECT group_concat(json_extract(value, '$.content'), char(30))"
        template = f"({contents} FROM json_each(%(expressions)s))"
        return self.as_sql(compiler, connection, template=template)

    def as_postgresql(
        self, compiler: "SQLCompiler", connection: "BaseDatabaseWrapper", **_: object
    ) -> "_AsSqlType":
        contents = "SELECT string_agg(value->>'content', chr(30))"
        template = f"({contents} FROM json_array_elements(%(expressions)s))"
        return self.as_sql(compiler, connection, template=template)


def excerpt_columns(prompt: str = "") -> "dict[str, Combinable]":
    """Columns from which `excerpt_of` takes how the last message of a Prompt begins; `prompt`: the way from
    the row to its Prompt, as "prompt__"."""
    messages = f"{prompt}messages"
    is_small: LessThanOrEqual[Any] = LessThanOrEqual(
        Length(Cast(messages, models.TextField())), READ_FOR_EXCERPT
    )
    beginning = Substr(Coalesce(f"{prompt}reading", MessagesText(messages)), 1, BEGINNING)
    return {
        "small_messages": Case(When(is_small, then=F(messages))),
        "large_beginning": Case(When(is_small, then=None), default=beginning),
    }


def excerpt_of(row: "Mapping[str, Any]") -> str:
    """How the last message of the row's Prompt begins; for megabytes, how the first begins."""
    messages = row["small_messages"]
    text = message_reading(messages[-1])[:400] if messages else row["large_beginning"]
    return " ".join((text or "").split())[:120]


class PromptQuerySet(models.QuerySet["Prompt"]):
    def of(self, dataset: Dataset) -> Self:
        return self.filter(dataset=dataset)

    def clusters(self) -> models.QuerySet["Prompt", tuple[str, int]]:
        """(group, size) of the groups of two Prompts or more, the largest first."""
        # Only the group is read, so that the database reads the index of groups alone.
        grouped = self.order_by().values("group").annotate(size=Count("*"))
        return grouped.filter(size__gt=1).order_by("-size", "group").values_list("group", "size")

    def first_of_each_group(self, most: int) -> Self:
        """The first `most` Prompts of each group, in the order of primary keys."""
        place = Window(RowNumber(), partition_by="group", order_by="pk")
        first = self.order_by().annotate(place=place).filter(place__lte=most)
        return self.filter(pk__in=first.values("pk")).order_by("pk")

    def with_an_empty_answer(self) -> Self:
        """Prompts with an empty Completion."""
        return self.filter(pk__in=Completion.objects.empty().values("prompt"))

    def shortened(self) -> Self:
        """Without fields that may be megabytes; `beginning` has the beginning of the messages."""
        reading = Coalesce("reading", MessagesText("messages"))
        small = self.defer("messages", "tools", "reading", "metadata")
        return small.annotate(beginning=Substr(reading, 1, BEGINNING))

    def excerpts(self) -> dict[int, str]:
        """By primary key: how the last message of each Prompt begins; for megabytes, how the first begins."""
        rows = self.order_by().values("pk", **excerpt_columns())
        return {row["pk"]: excerpt_of(row) for row in rows}

    def sizes(self) -> dict[int, int]:
        """By primary key: the number of characters of each Prompt with its Completions."""
        rows = self.order_by().with_size()
        return {prompt.pk: vars(prompt)["size"] for prompt in rows.only("pk")}

    def with_size(self) -> Self:
        """Annotate `size`: the number of characters of each Prompt with its Completions."""

        def characters(column: str) -> Coalesce:
            return Coalesce(Length(Cast(column, models.TextField())), 0)

        answers = Completion.objects.filter(prompt=OuterRef("pk")).order_by().values("prompt")
        answered = answers.annotate(all=Sum(Length("text") + characters("conversation"))).values("all")
        size = characters("messages") + characters("tools") + Coalesce(Subquery(answered), 0)
        return self.annotate(size=size)

    def with_tag_names(self) -> Self:
        """Annotate `tag_names`: the names of the tags of each Prompt, in no order; None for none."""
        tags = Prompt.objects.filter(pk=OuterRef("pk"), tags__isnull=False).order_by().values("pk")
        return self.annotate(tag_names=Subquery(tags.annotate(all=JSONGroup("tags__name")).values("all")))


class Excluded(models.TextChoices):
    """What an admin has taken a Prompt out of. The Prompt and its votes stay."""

    QUEUE = "queue", "the queue"
    RELEASES = "releases", "releases"
    BOTH = "both", "the queue and releases"


OUT_OF_QUEUE = (Excluded.QUEUE, Excluded.BOTH)
"""Values of `excluded_from` with which a Prompt is not handed out."""


class Prompt(models.Model):
    """One conversation up to the answer: its messages exactly as imported."""

    too_long: int
    """Number of characters where a page shows the Prompt shortened, else 0; set by the page."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="prompts")
    messages = WholeJSONField(help_text='[{"role": "user", "content": "..."}, ...], exactly as imported.')
    tools = WholeJSONField(
        null=True,
        blank=True,
        help_text="Tools the model could call, as imported; null = none.",
    )
    reading = models.TextField(
        null=True,
        editable=False,
        help_text="Reading view of the messages, where it differs from their contents; null = the contents.",
    )
    sha256 = models.CharField(max_length=64, editable=False)
    group = models.CharField(
        max_length=64,
        editable=False,
        help_text="Prompts of one group are in one split. Set at import and never changed.",
    )
    external_id = models.CharField(max_length=200, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    characters = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    turns = models.PositiveIntegerField(
        default=0, db_default=0, editable=False, help_text="Messages that are not a system prompt."
    )
    language = models.CharField(
        max_length=8,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="ISO 639 code; empty = not sure.",
    )
    imported_by = models.ForeignKey(
        "workbench.Run",
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
        help_text="The import that brought the prompt; null = a command.",
    )
    excluded_from = models.CharField(
        max_length=10, choices=Excluded.choices, blank=True, default="", db_default="", editable=False
    )
    excluded_reason = models.CharField(max_length=300, blank=True, default="", db_default="", editable=False)
    topic = models.ForeignKey(
        "workbench.Topic",
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="prompts",
        help_text="Cluster of similar prompts; null = not computed yet.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PromptQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "sha256"], name="prompt_text_once_per_dataset")
        ]
        indexes = [models.Index(fields=["dataset", "group"], name="prompt_group_of_dataset")]

    def __str__(self) -> str:
        return f"Prompt {self.pk}"


class PromptKey(models.Model):
    """A key by which near-duplicates are found (pipeline.text.near_duplicates), and the first Prompt of the
    Dataset with this key. Imports write millions at a time, so nothing is checked row by row: a key may
    outlive its Prompt."""

    pk = models.CompositePrimaryKey("dataset_id", "key")
    dataset = models.ForeignKey(
        Dataset, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False
    )
    key = models.BigIntegerField()
    prompt_id = models.BigIntegerField()

    def __str__(self) -> str:
        return f"Key {self.key} of Prompt {self.prompt_id}"


WHITE = "".join(filter(str.isspace, map(chr, range(0x3001))))
"""The characters that str.strip removes. Both databases trim only blanks by default."""


class CompletionQuerySet(models.QuerySet["Completion"]):
    def shortened(self) -> Self:
        """Without fields that may be megabytes; `beginning` has the beginning of the text."""
        small = self.defer("text", "conversation", "metadata")
        return small.annotate(beginning=Substr("text", 1, BEGINNING))

    def empty(self) -> Self:
        """Completions without a text, or of white space alone. No scorer reads them, and Releases and
        trainings leave them out."""
        stripped = Func(F("text"), Value(WHITE), function="LTRIM", output_field=models.TextField())
        return self.alias(stripped=stripped).filter(stripped="")

    def newest(self) -> models.QuerySet["Completion", int]:
        """The primary key of the newest Completion."""
        return self.order_by("-pk").values_list("pk", flat=True)[:1]

    def of(self, dataset: Dataset) -> Self:
        return self.filter(prompt__dataset=dataset)

    def lacking_score(self, version: int) -> Self:
        """Completions that the version (a primary key) has not scored yet, siblings together: the engine can
        then compare all Completions of a Prompt in one batch."""
        return self.exclude(scores__version=version).order_by("prompt_id", "pk")

    def family_sizes(self, prompt_ids: "Collection[int]") -> dict[int, int]:
        """How many completions each of these Prompts has, by its primary key."""
        counted = self.filter(prompt__in=prompt_ids).order_by().values_list("prompt_id")
        return dict(counted.annotate(size=Count("pk")))

    def hold_families(self, prompts: "Collection[int] | models.QuerySet[Prompt, object]") -> None:
        """Lock the completions of these Prompts until the transaction ends. The lock is on the first
        completion of each Prompt, as handing out Comparisons locks Prompts and must not wait."""
        by_prompt = self.filter(prompt__in=prompts).order_by().values("prompt")
        first = self.filter(pk__in=by_prompt.annotate(first=Min("pk")).values("first"))
        list(first.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))


class Completion(models.Model):
    """One candidate answer to a Prompt: one or more messages, unique in the Prompt by their digest."""

    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="completions")
    text = models.TextField(help_text="Reading view of the answer (scoring.messages), which models score.")
    conversation = WholeJSONField(
        null=True,
        blank=True,
        help_text="Messages of the answer, as imported; null = one assistant message with the text.",
    )
    sha256 = models.CharField(max_length=64, editable=False)
    source = models.CharField(
        max_length=200, blank=True, help_text="The model or person who wrote the answer."
    )
    metadata = models.JSONField(default=dict, blank=True)
    characters = models.GeneratedField(
        expression=Length("text"), output_field=models.PositiveIntegerField(), db_persist=True
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CompletionQuerySet.as_manager()

    class Meta:
        ordering = ["prompt", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["prompt", "sha256"], name="completion_text_once_per_prompt")
        ]

    def __str__(self) -> str:
        return f"Completion {self.pk}"

    @property
    def messages(self) -> list[Message]:
        """The messages of the answer, whole."""
        return self.conversation or [{"role": "assistant", "content": self.text}]
