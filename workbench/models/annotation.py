import random
import uuid
from typing import TYPE_CHECKING, Self

from django.db import models
from django.db.models import Case, Count, Exists, F, OuterRef, Q, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce, Greatest, Least

from workbench.models.counts import count_of
from workbench.models.dataset import Strategy

if TYPE_CHECKING:
    from workbench.models.dataset import Dataset
    from workbench.models.people import User
    from workbench.models.scores import ModelVersion


class Outcome(models.TextChoices):
    A = "a", "a is better"
    B = "b", "b is better"
    TIE = "tie", "Tie: both are equally good"
    BOTH_BAD = "both_bad", "Both bad: neither should be preferred"
    CANNOT_JUDGE = "cannot_judge", "Can’t judge: the annotator does not know enough"

    @staticmethod
    def seen_as(outcome: str, left: str) -> str:
        """The outcome as a reader sees it who has the completion `left` on the left: "a" and "b" become
        "left" or "right", others stay."""
        if outcome not in (Outcome.A, Outcome.B):
            return outcome
        return "left" if outcome == left else "right"

    @staticmethod
    def page_words() -> dict[str, str]:
        """What pages call each outcome, by the outcome as seen: left, right, tie, both_bad, cannot_judge."""
        rest = (Outcome.TIE, Outcome.BOTH_BAD, Outcome.CANNOT_JUDGE)
        return {
            "left": "Left",
            "right": "Right",
            **{outcome.value: outcome.label.partition(":")[0] for outcome in rest},
        }


class Side(models.TextChoices):
    A = "a"
    B = "b"


class AnnotatorQuerySet(models.QuerySet["Annotator"]):
    def for_user(self, user: "User") -> "Annotator":
        """This person as an annotator; the first use creates the row."""
        return self.get_or_create(user=user)[0]


class Annotator(models.Model):
    """Whoever gave a Judgment: a person who logs in, or a label source of an imported file (its name,
    and the id that the file gives an annotator; an empty id is the file's own label)."""

    user = models.OneToOneField(
        "workbench.User", null=True, on_delete=models.PROTECT, related_name="annotator"
    )
    source = models.CharField(max_length=200, blank=True)
    external_id = models.CharField(max_length=200, blank=True)
    pseudonym = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)

    objects = AnnotatorQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["source", "external_id"],
                condition=Q(user__isnull=True),
                name="annotator_once_per_import_source",
            ),
            models.CheckConstraint(
                condition=Q(user__isnull=False, source="") | Q(user__isnull=True) & ~Q(source=""),
                name="annotator_is_person_or_import_source",
            ),
        ]

    def __str__(self) -> str:
        if self.user:
            return self.user.get_username()
        return f"{self.source}: {self.external_id}" if self.external_id else self.source

    @property
    def is_imported(self) -> bool:
        return self.user_id is None


class SaidBy(models.TextChoices):
    """Whose answer it is. A label that came with a file is never called a person's."""

    PEOPLE = "people", "people"
    LABELS = "labels", "imported labels"


def _of_source(source: "SaidBy | None") -> Q:
    """Which Judgments are of the source; of any for None."""
    imported = Q(stage="imported")
    return Q() if source is None else imported if source == SaidBy.LABELS else ~imported


def _differ(one: SaidBy, other: "SaidBy | None") -> Exists:
    """An opinion of `one` and an opinion of `other` (None = of any source) are not the same."""
    opinions = Judgment.objects.current().opinions()
    others = opinions.filter(_of_source(other), comparison=OuterRef("comparison"))
    against = Exists(others.exclude(outcome=OuterRef("outcome")))
    return Exists(opinions.filter(_of_source(one), against, comparison=OuterRef("pk")))


def _model_disagrees(version: "ModelVersion", source: "SaidBy | None" = None) -> Exists:
    current = Judgment.objects.current().filter(_of_source(source), comparison=OuterRef("comparison"))
    against = Q(Exists(current.filter(outcome=Outcome.A)), margin__lt=0) | Q(
        Exists(current.filter(outcome=Outcome.B)), margin__gt=0
    )
    return Exists(version.suggestions.filter(against, comparison=OuterRef("pk")))


def _changed_after_reveal() -> Exists:
    revealed = Judgment.objects.current().filter(stage=Judgment.Stage.REVEALED, comparison=OuterRef("pk"))
    return Exists(revealed.exclude(supersedes=None).exclude(outcome=F("supersedes__outcome")))


def _gold_missed() -> Q:
    """Somebody said otherwise than the known answer, and no reviewer has settled it since: marking it as gold
    settled it once, so an older Decision says nothing about the miss."""
    gold = Judgment.objects.unchanged().opinions().filter(purpose=Purpose.GOLD, comparison=OuterRef("pk"))
    missed = gold.exclude(outcome=OuterRef("gold_outcome"))
    later = Decision.objects.current().filter(
        method=Decision.Method.REVIEWER,
        comparison=OuterRef("comparison"),
        created_at__gte=OuterRef("created_at"),
    )
    return ~Q(gold_outcome="") & Q(Exists(missed.exclude(Exists(later))))


def _own_answers_differ() -> Exists:
    """An annotator's answer to the repeat is another than their vote."""
    vote = (
        Judgment.objects.current()
        .opinions()
        .filter(comparison=OuterRef("comparison"), annotator=OuterRef("annotator"))
        .exclude(outcome=OuterRef("outcome"))
    )
    repeats = Judgment.objects.unchanged().opinions().filter(purpose=Purpose.REPEAT)
    return Exists(repeats.filter(Exists(vote), comparison=OuterRef("pk")))


def _flipped(old: "ModelVersion", new: "ModelVersion") -> Exists:
    before = old.suggestions.filter(comparison=OuterRef("comparison"))
    to_a, to_b = Exists(before.filter(margin__lt=0)), Exists(before.filter(margin__gt=0))
    now = Q(to_a, margin__gt=0) | Q(to_b, margin__lt=0)
    return Exists(new.suggestions.filter(now, comparison=OuterRef("pk")))


def _flagged() -> Exists:
    return Exists(Flag.objects.open().filter(comparison=OuterRef("pk")))


def _people_need_a_reviewer() -> Q:
    """What people have brought up: two of them differ, or one and an imported label, one has changed their
    answer after the reveal, one answers a repeat otherwise, one has raised a flag."""
    # Each looked up row by row: as `pk IN (...)` they took five times as long on 200,000 Comparisons,
    # and a page of 30 would wait for all of them.
    split = _differ(SaidBy.PEOPLE, None)
    return Q(split) | Q(_changed_after_reveal()) | Q(_flagged()) | Q(_own_answers_differ())


def _settled_by_reviewer() -> Exists:
    reviewed = Decision.objects.current().filter(method=Decision.Method.REVIEWER)
    return Exists(reviewed.filter(comparison=OuterRef("pk")))


class ComparisonQuerySet(models.QuerySet["Comparison"]):
    def with_votes(self) -> Self:
        """Annotate current Judgments by outcome: votes_a, votes_b, votes_tie, votes_both_bad,
        votes_cannot_judge, and votes (all)."""
        current = Q(judgments__is_current=True)
        counts = {
            f"votes_{outcome}": Count("judgments", filter=current & Q(judgments__outcome=outcome))
            for outcome in Outcome.values
        }
        return self.annotate(votes=Count("judgments", filter=current), **counts)

    def judged(self) -> Self:
        return self.filter(Exists(Judgment.objects.current().filter(comparison=OuterRef("pk"))))

    def settled(self) -> Self:
        return self.filter(Exists(Decision.objects.current().filter(comparison=OuterRef("pk"))))

    def unsettled(self) -> Self:
        return self.exclude(Exists(Decision.objects.current().filter(comparison=OuterRef("pk"))))

    def people_disagree(self) -> Self:
        """Current Judgments of two people with different outcomes; "cannot judge" is no opinion and disagrees
        with none."""
        return self.filter(_differ(SaidBy.PEOPLE, SaidBy.PEOPLE))

    def labels_disagree(self) -> Self:
        """Imported labels say different things."""
        return self.filter(_differ(SaidBy.LABELS, SaidBy.LABELS))

    def people_against_labels(self) -> Self:
        """A person's current Judgment and an imported label say different things."""
        return self.filter(_differ(SaidBy.PEOPLE, SaidBy.LABELS))

    def model_disagrees(self, version: "ModelVersion | None", source: "SaidBy | None" = None) -> Self:
        """A current Judgment, of this source or of any, prefers the side that the version's Suggestion does
        not."""
        return self.filter(_model_disagrees(version, source)) if version else self.none()

    def changed_after_reveal(self) -> Self:
        """A person's current Judgment is another than the one they gave before they saw the Suggestion."""
        return self.filter(_changed_after_reveal())

    def flagged(self) -> Self:
        return self.filter(_flagged())

    def gold_missed(self) -> Self:
        """An annotator's answer is another than the known one, and no reviewer has looked since."""
        return self.filter(_gold_missed())

    def own_answers_differ(self) -> Self:
        """An annotator who was asked twice, with sides swapped, prefers another outcome the second time."""
        return self.filter(_own_answers_differ())

    def in_disagreement(self, version: "ModelVersion | None") -> Self:
        """Everything in one of the three queues of reviewers."""
        needed = _people_need_a_reviewer() | Q(_differ(SaidBy.LABELS, SaidBy.LABELS))
        if version:
            needed |= Q(_model_disagrees(version))
        return self.filter((~_settled_by_reviewer() & needed) | _gold_missed())

    def in_queue(self, queue: str, version: "ModelVersion | None") -> Self:
        """Those in one queue of reviewers, each Comparison in one alone, and not settled by a reviewer:

        - people: people have brought it up, or gold was missed since a reviewer looked;
        - labels: else, imported labels differ;
        - model: else, the version prefers another side than a person or an imported label."""
        if queue == ReviewQueue.PEOPLE:
            return self.filter((~_settled_by_reviewer() & _people_need_a_reviewer()) | _gold_missed())
        labels_differ = Q(_differ(SaidBy.LABELS, SaidBy.LABELS))
        rest = ~_settled_by_reviewer() & ~_gold_missed() & ~_people_need_a_reviewer()
        if queue == ReviewQueue.LABELS:
            return self.filter(labels_differ & rest)
        return self.filter(Q(_model_disagrees(version)) & ~labels_differ & rest) if version else self.none()

    def flipped(self, old: "ModelVersion", new: "ModelVersion", towards: bool | None = None) -> Self:
        """The two versions prefer different sides, settled or not; a tie of scores is no preference.

        towards: True for those where `new` prefers what people do, False for those where `old` does; None for
        all, among them those on which people are split, silent, or prefer neither. What people prefer is what
        a reviewer has decided, else the side that more current Judgments are for."""
        flips = self.filter(_flipped(old, new))
        if towards is None:
            return flips
        right = new if towards else old
        to_a = Exists(right.suggestions.filter(margin__gt=0, comparison=OuterRef("pk")))
        return flips.with_lead().filter(Q(to_a, lead__gt=0) | Q(~to_a, lead__lt=0))

    def with_lead(self) -> Self:
        """What people prefer, as the alias `lead`: above 0 for a, below 0 for b, 0 or NULL for neither."""
        for_a, for_b = When(outcome=Outcome.A, then=1), When(outcome=Outcome.B, then=-1)
        for_either = Case(for_a, for_b, default=0)
        reviewed = Decision.objects.current().filter(
            method=Decision.Method.REVIEWER, comparison=OuterRef("pk")
        )
        votes = Judgment.objects.current().filter(comparison=OuterRef("pk")).order_by().values("comparison")
        counted = votes.annotate(lead=Sum(for_either)).values("lead")
        decided = reviewed.annotate(lead=for_either).values("lead")
        return self.alias(lead=Coalesce(Subquery(decided), Subquery(counted)))

    def unsettled_by_reviewer(self) -> Self:
        return self.filter(~_settled_by_reviewer())

    def calling_more(self) -> Self:
        """Those with free places of their own number."""
        return self.filter(required__gt=F("claimed"))

    def claimed_by(self, people: int) -> Self:
        """Those without a number of places of their own, of which so many are claimed."""
        return self.filter(required=None, claimed=people)

    def unfilled(self, initial_overlap: int) -> Self:
        """Those with free places."""
        return self.filter(Q(required__gt=F("claimed")) | Q(required=None, claimed__lt=initial_overlap))

    def open_to(self, annotator: int, again: bool = False) -> Self:
        """Those that no reviewer has settled and that this annotator (a primary key) has not had; with
        `again` also those that the annotator skipped."""
        given_back = [Claim.State.EXPIRED, *([Claim.State.SKIPPED] if again else [])]
        had = Claim.objects.filter(annotator=annotator, comparison=OuterRef("pk"))
        # A query that locks asks all of this of the locked row again: others may have filled it meanwhile.
        return self.unsettled_by_reviewer().exclude(Exists(had.exclude(state__in=given_back)))

    def gold(self) -> Self:
        """Those whose answer is known: annotators are measured by them, and they collect no votes."""
        return self.exclude(gold_outcome="")


class ReviewQueue(models.TextChoices):
    """What a reviewer works through, first things first."""

    PEOPLE = "people", "Disagreements"
    LABELS = "labels", "Imported labels disagree"
    MODEL = "model", "Model against people"


class Purpose(models.TextChoices):
    """Why somebody was asked. The page shows all three alike; only work gives votes."""

    WORK = "work", "Work: the vote counts"
    GOLD = "gold", "Gold: the answer is known and checks the annotator"
    REPEAT = "repeat", "Repeat: asked before, now with sides swapped"


def draw_random_rank() -> float:
    """A random number in [0, 1)."""
    return random.random()


class Comparison(models.Model):
    """Two Completions of one Prompt to be judged. The canonical order (a, b) is the order of the texts'
    sha256: fixed, and blind to which of them any label prefers."""

    dataset = models.ForeignKey("workbench.Dataset", on_delete=models.CASCADE, related_name="comparisons")
    prompt = models.ForeignKey("workbench.Prompt", on_delete=models.CASCADE, related_name="comparisons")
    a = models.ForeignKey("workbench.Completion", on_delete=models.CASCADE, related_name="+")
    b = models.ForeignKey("workbench.Completion", on_delete=models.CASCADE, related_name="+")
    external_id = models.CharField(max_length=200, blank=True)
    metadata = models.JSONField(default=dict, blank=True)
    claimed = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="Places held by live or done Claims; written with the Claim."
    )
    random_rank = models.FloatField(
        default=draw_random_rank, editable=False, help_text="Its place in a random order, drawn once."
    )
    required = models.PositiveSmallIntegerField(
        null=True,
        editable=False,
        help_text="How many people may judge this one; null = as many as the Dataset says, 0 = gold.",
    )
    audited = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="One vote would have been enough: it gets the full overlap by lot.",
    )
    gold_outcome = models.CharField(
        max_length=20,
        choices=[choice for choice in Outcome.choices if choice[0] != Outcome.CANNOT_JUDGE],
        blank=True,
        default="",
        db_default="",
        help_text="Its known answer, by which annotators are measured; empty = none is known.",
    )
    uncertainty_rank = models.FloatField(
        null=True,
        editable=False,
        help_text="Its place among the uncertain, least first; null = the model says nothing of it.",
    )
    disagreement_rank = models.FloatField(
        null=True,
        editable=False,
        help_text="Its place among those in disagreement, least first; null = nobody disagrees.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ComparisonQuerySet.as_manager()

    if TYPE_CHECKING:
        role: str | None  # annotated by access.comparison_for
        has_suggestion: bool  # annotated by pipeline.annotate.statements

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(Least("a", "b"), Greatest("a", "b"), name="comparison_pair_once"),
            models.CheckConstraint(condition=~Q(a=F("b")), name="comparison_of_two_completions"),
            models.CheckConstraint(
                condition=Q(gold_outcome="") | Q(required=0), name="comparison_of_gold_requires_none"
            ),
        ]
        # The next Comparison is the first of a range here, however many are full: that keeps it as quick
        # with 200,000 as with 200.
        indexes = [
            models.Index(
                fields=["dataset", "claimed", "random_rank"],
                condition=Q(required__isnull=True),
                name="comparison_queue",
            ),
            models.Index(
                fields=["dataset", "random_rank"],
                condition=Q(required__gt=F("claimed")),
                name="comparison_called",
            ),
            models.Index(
                fields=["dataset", "random_rank"], condition=~Q(gold_outcome=""), name="comparison_gold"
            ),
            models.Index(
                fields=["dataset", "claimed", "uncertainty_rank"],
                condition=Q(required__isnull=True, uncertainty_rank__isnull=False),
                name="comparison_by_uncertainty",
            ),
            models.Index(
                fields=["dataset", "claimed", "disagreement_rank"],
                condition=Q(required__isnull=True, disagreement_rank__isnull=False),
                name="comparison_by_disagreement",
            ),
        ]

    def __str__(self) -> str:
        return f"Comparison {self.pk}"


class Ranking(models.Model):
    """Three or more Completions of one Prompt that an annotator puts in order at once. Stored as what it
    implies: a Claim and a Judgment for each Comparison of two of them."""

    annotator = models.ForeignKey(Annotator, on_delete=models.CASCADE, related_name="rankings")
    prompt = models.ForeignKey("workbench.Prompt", on_delete=models.CASCADE, related_name="rankings")
    shown = models.JSONField(help_text="Primary keys of the Completions in the order they are shown.")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.annotator} ranks {self.prompt}"


class Claim(models.Model):
    """An annotator's lease on a Comparison. For work, a live Claim holds one of the Comparison's places
    (`slot` 0 .. places - 1), and a done one keeps it; the unique slot makes too many votes impossible in the
    database. A done one without a place was answered when all were taken: that answer is kept aside. Gold and
    repeats hold none: they take nothing from the votes."""

    class State(models.TextChoices):
        LIVE = "live", "Live: held until the vote or the expiry"
        DONE = "done", "Done: voted, keeps its place"
        SKIPPED = "skipped", "Skipped: place given back, others come first"
        EXPIRED = "expired", "Expired: place given back"

    class Mode(models.TextChoices):
        BLIND = "blind", "Blind: vote first, then see the model's pick"
        ASSISTED = "assisted", "Assisted: see the model's pick, then vote"

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="claims")
    annotator = models.ForeignKey(Annotator, on_delete=models.CASCADE, related_name="claims")
    purpose = models.CharField(
        max_length=10, choices=Purpose.choices, default=Purpose.WORK, db_default=Purpose.WORK
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.LIVE)
    slot = models.PositiveSmallIntegerField(null=True)
    left = models.CharField(max_length=1, choices=Side.choices, help_text="The completion shown on the left.")
    mode = models.CharField(max_length=10, choices=Mode.choices)
    number = models.PositiveIntegerField(
        default=0, help_text="Position in this annotator's sequence, from 0; sides are balanced over it."
    )
    ranking = models.ForeignKey(
        Ranking,
        null=True,
        on_delete=models.SET_NULL,
        related_name="claims",
        help_text="The ranking this claim belongs to.",
    )
    strategy = models.CharField(
        max_length=20,
        choices=Strategy.choices,
        default=Strategy.RANDOM,
        db_default=Strategy.RANDOM,
        help_text="How its Comparison was chosen when it was begun: all who judge it carry the same.",
    )
    propensity = models.FloatField(
        null=True,
        help_text="How likely its Comparison was to be the one chosen then, of all that nobody had begun. "
        "Null where none was chosen: gold, repeats, what was skipped before, Claims from before there were "
        "strategies.",
    )
    suggestion = models.ForeignKey(
        "workbench.Suggestion",
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="What an assisted annotator was shown.",
    )
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["comparison", "slot"], condition=Q(slot__isnull=False), name="claim_slot_once"
            ),
            models.UniqueConstraint(
                fields=["comparison", "annotator", "purpose"], name="claim_once_per_annotator"
            ),
            models.CheckConstraint(
                condition=Q(purpose="work", state="live", slot__isnull=False)
                | Q(purpose="work", state="done")
                | Q(purpose="work", state__in=["skipped", "expired"], slot__isnull=True)
                | (~Q(purpose="work") & Q(slot__isnull=True)),
                name="claim_holds_a_slot_while_live",
            ),
            models.CheckConstraint(
                condition=Q(propensity__isnull=True) | Q(propensity__gt=0, propensity__lte=1),
                name="claim_propensity_is_a_probability",
            ),
        ]
        indexes = [
            models.Index(fields=["annotator", "state"], name="claim_by_annotator"),
            models.Index(fields=["annotator", "number"], name="claim_number"),
            models.Index(fields=["expires_at"], condition=Q(state="live"), name="claim_live_by_expiry"),
            models.Index(fields=["comparison"], condition=~Q(purpose="work"), name="claim_of_no_vote"),
        ]

    def __str__(self) -> str:
        return f"{self.annotator} on {self.comparison}"


class JudgmentQuerySet(models.QuerySet["Judgment"]):
    def current(self) -> Self:
        """Those that stand as votes: not superseded, not kept aside, and neither gold nor repeats. Whatever
        counts Judgments counts these."""
        return self.filter(is_current=True)

    def for_votes(self) -> Self:
        """Gold and repeats left out, which measure the annotator; superseded ones are in."""
        return self.filter(purpose=Purpose.WORK)

    def unchanged(self) -> Self:
        """What each annotator says now of what they were handed, gold, repeats and what is kept aside among
        it: those that undo reopens."""
        return self.filter(superseded_by__isnull=True)

    def opinions(self) -> Self:
        return self.exclude(outcome=Outcome.CANNOT_JUDGE)

    def by_people(self) -> Self:
        return self.filter(annotator__user__isnull=False)

    def labels(self) -> Self:
        """Opinions that came with the data and stand: nobody here picked what they are of."""
        return self.current().opinions().filter(stage=Judgment.Stage.IMPORTED)

    def first_answers(self) -> Self:
        """What each person said first of each Comparison that they were handed as work, where it is an
        opinion."""
        here = self.for_votes().opinions().filter(supersedes__isnull=True)
        return here.exclude(stage=Judgment.Stage.IMPORTED)

    def unled(self) -> Self:
        """Given before any Suggestion was shown, and not taken back: neither beside one nor after it."""
        kept = Q(is_current=True) | Q(superseded_by__stage=Judgment.Stage.REVEALED)
        return self.filter(kept, stage=Judgment.Stage.FIRST, mode=Claim.Mode.BLIND)

    def not_picked(self, *strategies: Strategy) -> Self:
        """Of Comparisons that none of these strategies chose, or none but chance: what the queue picked says
        nothing of the others."""
        picked = Claim.objects.filter(comparison=OuterRef("comparison"), purpose=Purpose.WORK)
        picked = (
            picked.filter(strategy__in=strategies) if strategies else picked.exclude(strategy=Strategy.RANDOM)
        )
        return self.exclude(Exists(picked))

    def from_the_start(self, dataset: "Dataset") -> Self:
        """Asked for whatever others said: within the places that a Comparison has from the start, or by lot.
        The others say most of what is hard."""
        if dataset.single_vote_threshold is None and dataset.max_overlap <= dataset.overlap:
            return self
        before = Judgment.objects.first_answers().filter(
            comparison=OuterRef("comparison"), pk__lt=OuterRef("pk")
        )
        places = Case(
            When(comparison__audited=True, then=Value(dataset.overlap)),
            default=Value(dataset.initial_overlap),
        )
        return self.annotate(turn=count_of(before, "comparison"), required_then=places).filter(
            turn__lt=F("required_then")
        )

    def independent(self, dataset: "Dataset") -> Self:
        """People's answers that figures may be of: neither led by a Suggestion, nor to a Comparison that the
        queue picked, nor asked for because of earlier answers."""
        return self.of(dataset).first_answers().unled().not_picked().from_the_start(dataset)

    def of(self, dataset: "Dataset") -> Self:
        return self.filter(comparison__dataset=dataset)


class Judgment(models.Model):
    """One person's answer to a Comparison; append-only. A change is a new row that supersedes the old, and
    "confirm" or "override" is read off by comparing the outcome with what was suggested."""

    class Stage(models.TextChoices):
        FIRST = "first", "First: before seeing the model's pick"
        REVEALED = "revealed", "Revealed: after seeing the model's pick"
        IMPORTED = "imported", "Imported: came with the data"

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="judgments")
    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="judgments")
    purpose = models.CharField(
        max_length=10, choices=Purpose.choices, default=Purpose.WORK, db_default=Purpose.WORK
    )
    outcome = models.CharField(max_length=20, choices=Outcome.choices)
    strength = models.PositiveSmallIntegerField(
        null=True, help_text="How much better on the source's own scale; null where it was not asked."
    )
    comment = models.TextField(blank=True)
    stage = models.CharField(max_length=10, choices=Stage.choices)
    mode = models.CharField(max_length=10, choices=Claim.Mode.choices, blank=True)
    left = models.CharField(max_length=1, choices=Side.choices, blank=True)
    ranking = models.ForeignKey(
        Ranking,
        null=True,
        on_delete=models.SET_NULL,
        related_name="judgments",
        help_text="It is part of: given in one go with the others, so not independent of them.",
    )
    guidelines = models.ForeignKey("workbench.Guidelines", null=True, on_delete=models.PROTECT)
    suggested = models.CharField(max_length=20, blank=True, help_text="Outcome the model suggested then.")
    margin = models.FloatField(null=True)
    probability = models.FloatField(null=True)
    version = models.ForeignKey("workbench.ModelVersion", null=True, on_delete=models.PROTECT)
    seconds = models.FloatField(null=True, help_text="From shown to answered, as the page measured it.")
    idempotency_key = models.UUIDField(null=True, unique=True)
    supersedes = models.OneToOneField(
        "self", null=True, on_delete=models.RESTRICT, related_name="superseded_by"
    )
    is_current = models.BooleanField(
        default=True, help_text="Stands as a vote: not superseded, not aside, neither gold nor a repeat."
    )
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = JudgmentQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["comparison", "annotator"],
                condition=Q(is_current=True),
                name="judgment_one_current_per_annotator",
            ),
            models.UniqueConstraint(
                fields=["comparison", "annotator", "purpose"],
                condition=Q(supersedes__isnull=True) & ~Q(purpose="work"),
                name="judgment_one_first_of_gold_and_repeat",
            ),
            models.CheckConstraint(
                condition=Q(is_current=False) | Q(purpose="work"), name="judgment_of_no_vote_is_not_current"
            ),
        ]
        indexes = [models.Index(fields=["annotator", "created_at"], name="judgment_by_annotator")]

    def __str__(self) -> str:
        return f"{self.annotator}: {self.outcome}"

    @property
    def follows_suggestion(self) -> bool | None:
        """True = confirm, False = override, None = nothing was suggested."""
        return self.outcome == self.suggested if self.suggested else None

    @property
    def is_surplus(self) -> bool:
        """It came when every place was taken: kept, but counted nowhere."""
        return self.stage != self.Stage.IMPORTED and "surplus" in self.metadata


class FlagQuerySet(models.QuerySet["Flag"]):
    def open(self) -> Self:
        return self.filter(closed_at__isnull=True)


class Flag(models.Model):
    """ "Somebody should look at this", with a reason; apart from all five outcomes."""

    class Reason(models.TextChoices):
        BROKEN = "broken", "Text is broken or cut off"
        UNSAFE = "unsafe", "Harmful or private content"
        IDENTITY = "identity", "An answer names its own model"
        PROMPT = "prompt", "Prompt is unclear or makes no sense"
        LANGUAGE = "language", "A language I don’t know well enough"
        OTHER = "other", "Something else"

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="flags")
    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="flags")
    reason = models.CharField(max_length=20, choices=Reason.choices)
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True)
    closed_by = models.ForeignKey(
        "workbench.Decision", null=True, on_delete=models.RESTRICT, related_name="closed_flags"
    )

    objects = FlagQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["comparison", "annotator"],
                condition=Q(closed_at__isnull=True),
                name="flag_one_open_per_annotator",
            )
        ]

    def __str__(self) -> str:
        return self.get_reason_display()


class DecisionQuerySet(models.QuerySet["Decision"]):
    def current(self) -> Self:
        return self.filter(is_current=True)

    def of(self, dataset: "Dataset") -> Self:
        return self.filter(comparison__dataset=dataset)

    def by_reviewers_of(self, dataset: "Dataset") -> Self:
        """Those that reviewers made in the Dataset: a few among all that were derived."""
        # EXISTS, as with a join SQLite begins with every Comparison of the Dataset.
        here = Comparison.objects.filter(pk=OuterRef("comparison"), dataset=dataset)
        return self.filter(Exists(here), method=Decision.Method.REVIEWER)


class Decision(models.Model):
    """The decided outcome of a Comparison. Append-only: a new Decision, or an undo, takes `is_current` from
    the old one."""

    class Method(models.TextChoices):
        AGREEMENT = "agreement", "Agreement: all votes are the same"
        MAJORITY = "majority", "Majority: more than half of the votes"
        AGGREGATION = (
            "aggregation",
            "Aggregation: likeliest by the votes and each person's skill",
        )
        REVIEWER = "reviewer", "Reviewer: settled by a person"

    class Reason(models.TextChoices):
        MODEL_WRONG = "model_wrong", "Model wrong"
        SLIP = "slip", "Annotator mistake"
        AMBIGUOUS = "ambiguous", "Ambiguous"
        GUIDELINE_GAP = "guideline_gap", "Guideline gap"
        BAD_DATA = "bad_data", "Bad data"

    DROP = "drop"

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="decisions")
    outcome = models.CharField(max_length=20, choices=[*Outcome.choices, (DROP, "Exclude pair")])
    method = models.CharField(max_length=20, choices=Method.choices)
    reason = models.CharField(max_length=20, choices=Reason.choices, blank=True)
    note = models.TextField(blank=True)
    votes = models.PositiveIntegerField(default=0, help_text="Opinions it rests on.")
    votes_for = models.PositiveIntegerField(default=0, help_text="Of these, how many say the outcome.")
    posterior = models.JSONField(
        null=True, help_text="Probability of each outcome by aggregation, to four places. Null otherwise."
    )
    probability = models.FloatField(
        null=True, help_text="That of the outcome decided, of `posterior`: what a Release is filtered by."
    )
    decided_by = models.ForeignKey("workbench.User", null=True, on_delete=models.PROTECT)
    blind_outcome = models.CharField(
        max_length=20,
        blank=True,
        help_text="What the reviewer said before the votes were shown, if anything.",
    )
    supersedes = models.ForeignKey(
        "self",
        null=True,
        on_delete=models.RESTRICT,
        related_name="superseded_by",
        help_text="The decision this one superseded; restored if this one is undone.",
    )
    is_current = models.BooleanField(default=True)
    undone_by = models.ForeignKey("workbench.User", null=True, on_delete=models.PROTECT, related_name="+")
    undone_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DecisionQuerySet.as_manager()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["comparison"], condition=Q(is_current=True), name="decision_one_current"
            )
        ]
        # Each page of the review queue reads the newest reviews, out of a derived Decision a Comparison.
        indexes = [
            models.Index(fields=["-id"], condition=Q(method="reviewer"), name="decision_by_reviewer"),
        ]

    def __str__(self) -> str:
        return f"{self.outcome} ({self.method})"
