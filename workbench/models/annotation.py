import random
import uuid
from typing import TYPE_CHECKING, Self

from django.db import models
from django.db.models import Case, Count, Exists, F, OuterRef, Q, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce, Greatest, Least

from workbench.models.counts import count_of
from workbench.models.dataset import OUT_OF_QUEUE, Completion, Strategy
from workbench.models.people import Pause
from workbench.models.qualification import QualificationAnswer
from workbench.models.questions import Told

if TYPE_CHECKING:
    from collections.abc import Collection

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
        """The outcome for a reader who has the completion `left` on the left: "a" and "b" become "left" or
        "right", other outcomes stay."""
        if outcome not in (Outcome.A, Outcome.B):
            return outcome
        return "left" if outcome == left else "right"

    @staticmethod
    def of_side(answer: str, left: str) -> str:
        """The reverse of `seen_as`: "left" and "right" become "a" or "b", other answers stay."""
        if answer not in ("left", "right"):
            return answer
        right = Outcome.B if left == Outcome.A else Outcome.A
        return left if answer == "left" else right.value

    @staticmethod
    def page_words() -> dict[str, str]:
        """What pages call each outcome, by the outcome as seen: left, right, tie, both_bad, cannot_judge."""
        without_side = (Outcome.TIE, Outcome.BOTH_BAD, Outcome.CANNOT_JUDGE)
        words = {outcome.value: outcome.label.partition(":")[0] for outcome in without_side}
        return {"left": "Left", "right": "Right", **words}


class Side(models.TextChoices):
    A = "a"
    B = "b"


class AnnotatorQuerySet(models.QuerySet["Annotator"]):
    def for_user(self, user: "User") -> "Annotator":
        """This person as an annotator; the first use creates the row."""
        return self.get_or_create(user=user)[0]

    def with_pause_in(self, dataset: int, user: int) -> Self:
        """Annotate `paused_for`: the reason why this user may not vote in the Dataset now, None for none; and
        `is_warned`: whether a pause is near."""
        pauses = Pause.objects.open().filter(dataset=dataset, user=user)
        reason = pauses.exclude(began_at=None).values("reason")[:1]
        return self.annotate(paused_for=Subquery(reason), is_warned=Exists(pauses.filter(began_at=None)))


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

    # Annotated by with_pause_in; a new annotator has no pause.
    paused_for: str | None = None
    is_warned: bool = False
    # Set by access.dataset_and_annotator.
    must_qualify: bool = False

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


class OpinionSource(models.TextChoices):
    """Who an opinion is of. An imported label is never called a person's."""

    PEOPLE = "people", "people"
    LABELS = "labels", "imported labels"


def _of_source(source: "OpinionSource | None") -> Q:
    """The Judgments of the source; all Judgments for None."""
    imported = Q(stage="imported")
    return Q() if source is None else imported if source == OpinionSource.LABELS else ~imported


def _differ(source: OpinionSource, other_source: "OpinionSource | None") -> Exists:
    """An opinion of `source` differs from an opinion of `other_source` (None = of any source)."""
    opinions = Judgment.objects.current().opinions()
    other_judgments = opinions.filter(_of_source(other_source), comparison=OuterRef("comparison"))
    against = Exists(other_judgments.exclude(outcome=OuterRef("outcome")))
    return Exists(opinions.filter(_of_source(source), against, comparison=OuterRef("pk")))


def _model_disagrees(version: "ModelVersion", source: "OpinionSource | None" = None) -> Exists:
    current = Judgment.objects.current().filter(_of_source(source), comparison=OuterRef("comparison"))
    against = Q(Exists(current.filter(outcome=Outcome.A)), margin__lt=0) | Q(
        Exists(current.filter(outcome=Outcome.B)), margin__gt=0
    )
    return Exists(version.suggestions.filter(against, comparison=OuterRef("pk")))


def _changed_after_reveal() -> Exists:
    revealed = Judgment.objects.current().filter(stage=Judgment.Stage.REVEALED, comparison=OuterRef("pk"))
    return Exists(revealed.exclude(supersedes=None).exclude(outcome=F("supersedes__outcome")))


def _gold_missed() -> Q:
    """An answer to gold is wrong, and no reviewer has settled the Comparison since. Decisions before the
    answer do not count."""
    gold = Judgment.objects.unchanged().opinions().filter(purpose=Purpose.GOLD, comparison=OuterRef("pk"))
    missed = gold.exclude(outcome=OuterRef("gold_outcome"))
    later = Decision.objects.current().filter(
        method=Decision.Method.REVIEWER,
        comparison=OuterRef("comparison"),
        created_at__gte=OuterRef("created_at"),
    )
    return ~Q(gold_outcome="") & Q(Exists(missed.exclude(Exists(later))))


def _own_answers_differ() -> Exists:
    """An annotator's answer to the repeat differs from their vote."""
    vote = (
        Judgment.objects.current()
        .opinions()
        .filter(comparison=OuterRef("comparison"), annotator=OuterRef("annotator"))
        .exclude(outcome=OuterRef("outcome"))
    )
    repeats = Judgment.objects.unchanged().opinions().filter(purpose=Purpose.REPEAT)
    return Exists(repeats.filter(Exists(vote), comparison=OuterRef("pk")))


def _flagged() -> Exists:
    return Exists(Flag.objects.open().filter(comparison=OuterRef("pk")))


def _people_need_a_reviewer() -> Q:
    """People differ from each other or from an imported label; or somebody has changed an answer after the
    reveal, answered a repeat differently, or raised a flag."""
    # EXISTS for each row: `pk IN (...)` took five times as long on 200,000 Comparisons, even for a page
    # of 30.
    split = _differ(OpinionSource.PEOPLE, None)
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

    def with_an_empty_answer(self) -> Self:
        """Comparisons with an empty Completion, which no scorer reads."""
        empty = Completion.objects.empty()
        of_a, of_b = (Exists(empty.filter(pk=OuterRef(side))) for side in ("a", "b"))
        return self.filter(of_a | of_b)

    def people_disagree(self) -> Self:
        """Current Judgments of two people have different outcomes. "Cannot judge" is no opinion and disagrees
        with none."""
        return self.filter(_differ(OpinionSource.PEOPLE, OpinionSource.PEOPLE))

    def labels_disagree(self) -> Self:
        """Imported labels have different outcomes."""
        return self.filter(_differ(OpinionSource.LABELS, OpinionSource.LABELS))

    def people_against_labels(self) -> Self:
        """A person's current Judgment and an imported label have different outcomes."""
        return self.filter(_differ(OpinionSource.PEOPLE, OpinionSource.LABELS))

    def model_disagrees(self, version: "ModelVersion | None", source: "OpinionSource | None" = None) -> Self:
        """A current Judgment, of this source or of any, prefers the other side than the version's
        Suggestion."""
        return self.filter(_model_disagrees(version, source)) if version else self.none()

    def changed_after_reveal(self) -> Self:
        """A person's current Judgment differs from the one that they gave before they saw the Suggestion."""
        return self.filter(_changed_after_reveal())

    def flagged(self) -> Self:
        return self.filter(_flagged())

    def gold_missed(self) -> Self:
        """An annotator's answer differs from the known one, and no reviewer has settled since."""
        return self.filter(_gold_missed())

    def own_answers_differ(self) -> Self:
        """An annotator has answered a repeat, with sides swapped, differently."""
        return self.filter(_own_answers_differ())

    def in_disagreement(self, version: "ModelVersion | None") -> Self:
        """All Comparisons in the three queues of reviewers."""
        needed = _people_need_a_reviewer() | Q(_differ(OpinionSource.LABELS, OpinionSource.LABELS))
        if version:
            needed |= Q(_model_disagrees(version))
        return self.filter((~_settled_by_reviewer() & needed) | _gold_missed())

    def in_queue(self, queue: str, version: "ModelVersion | None") -> Self:
        """The Comparisons of one queue of reviewers, not settled by a reviewer. Each is in the first queue
        whose condition holds:

        - people: people need a reviewer, or gold was missed since a reviewer settled;
        - labels: imported labels differ;
        - model: the version prefers another side than a person or an imported label."""
        if queue == ReviewQueue.PEOPLE:
            return self.filter((~_settled_by_reviewer() & _people_need_a_reviewer()) | _gold_missed())
        labels_differ = Q(_differ(OpinionSource.LABELS, OpinionSource.LABELS))
        not_people = ~_settled_by_reviewer() & ~_gold_missed() & ~_people_need_a_reviewer()
        if queue == ReviewQueue.LABELS:
            return self.filter(labels_differ & not_people)
        if version is None:
            return self.none()
        return self.filter(Q(_model_disagrees(version)) & ~labels_differ & not_people)

    def flipped(self, old: "ModelVersion", new: "ModelVersion", towards: bool | None = None) -> Self:
        """The two versions prefer different sides, settled or not; a tie of scores is no preference.

        towards: True = `new` prefers the same side as people; False = `old` does; None = all, with those on
        which people are split, silent, or prefer neither side. People prefer the outcome that a reviewer has
        decided, else the side with more current Judgments."""
        before = old.suggestions.filter(comparison=OuterRef("comparison"))
        to_a, to_b = Exists(before.filter(margin__lt=0)), Exists(before.filter(margin__gt=0))
        changed = Q(to_a, margin__gt=0) | Q(to_b, margin__lt=0)
        flips = self.filter(Exists(new.suggestions.filter(changed, comparison=OuterRef("pk"))))
        if towards is None:
            return flips
        right = new if towards else old
        is_for_a = Exists(right.suggestions.filter(margin__gt=0, comparison=OuterRef("pk")))
        return flips.with_lead().filter(Q(is_for_a, lead__gt=0) | Q(~is_for_a, lead__lt=0))

    def with_lead(self) -> Self:
        """Add the alias `lead`: above 0 where people prefer a, below 0 for b, 0 or NULL for neither."""
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

    def first_of_all(self) -> Self:
        """Comparisons that an admin or a saved view put first."""
        return self.filter(priority__gt=0)

    def needing_more_people(self) -> Self:
        """Comparisons with free places of a number of their own (`required`)."""
        return self.filter(required__gt=F("claimed"))

    def claimed_by(self, people: int) -> Self:
        """Comparisons without a number of places of their own (`required`), claimed by `people` people."""
        return self.filter(required=None, claimed=people)

    def unfilled(self, initial_overlap: int) -> Self:
        """Comparisons with free places."""
        return self.filter(Q(required__gt=F("claimed")) | Q(required=None, claimed__lt=initial_overlap))

    def open_to(self, annotator: int, again: bool = False) -> Self:
        """Comparisons that no reviewer has settled, that this annotator (a primary key) has not had, and of
        which they were not told; with `again` also those that the annotator skipped."""
        given_back = [Claim.State.EXPIRED, *([Claim.State.SKIPPED] if again else [])]
        had = Claim.objects.filter(annotator=annotator, comparison=OuterRef("pk"))
        # A locking query checks these conditions again on the locked row: others may have filled it.
        is_open = self.unsettled_by_reviewer().exclude(Exists(had.exclude(state__in=given_back)))
        return is_open.not_told(annotator)

    def not_told(self, annotator: int) -> Self:
        """Without Comparisons of which this annotator (a primary key) was told what became of them, and
        without those whose known answer they were told when they qualified."""
        of_both = {"annotator": annotator, "comparison": OuterRef("pk")}
        learnt = QualificationAnswer.objects.filter(**of_both)
        return self.exclude(Exists(Told.objects.filter(**of_both))).exclude(Exists(learnt))

    def needing(self, needs: "Collection[int] | None") -> Self:
        """Comparisons with one of these Requirements (primary keys); None = all Comparisons."""
        return self if needs is None else self.filter(needs__in=needs)

    def gold(self) -> Self:
        """Comparisons with a known answer. Annotators are measured by them, and they collect no votes."""
        return self.exclude(gold_outcome="")

    def handed_out(self) -> Self:
        """Comparisons of Prompts that are in the queue."""
        return self.exclude(prompt__excluded_from__in=OUT_OF_QUEUE)


class ReviewQueue(models.TextChoices):
    """The queues of a reviewer, the most important first."""

    PEOPLE = "people", "Disagreements"
    LABELS = "labels", "Imported labels disagree"
    MODEL = "model", "Model against people"


class Purpose(models.TextChoices):
    """Why a Comparison was handed out. The page shows all three alike; only work gives votes."""

    WORK = "work", "Work: the vote counts"
    GOLD = "gold", "Gold: the answer is known and checks the annotator"
    REPEAT = "repeat", "Repeat: asked before, now with sides swapped"


def draw_random_rank() -> float:
    """A random number in [0, 1)."""
    return random.random()


class Comparison(models.Model):
    """Two Completions of one Prompt to be judged. The canonical order (a, b) is the order of the texts'
    sha256: fixed, and independent of any label."""

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
        default=draw_random_rank, editable=False, help_text="Position in a random order, drawn once."
    )
    required = models.PositiveSmallIntegerField(
        null=True,
        editable=False,
        help_text="How many people may judge this pair; null = as many as the dataset says, 0 = gold, or out "
        "of the queue with its prompt.",
    )
    required_if_restored = models.PositiveSmallIntegerField(
        null=True,
        editable=False,
        help_text="What `required` becomes when the prompt is back in the queue; null = as many as the "
        "dataset says.",
    )
    needs = models.ForeignKey(
        "workbench.Requirement",
        null=True,
        editable=False,
        # Rows of an old rule go without a look at the Comparisons: nobody gets these.
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        help_text="What people must have to get this pair; read where the dataset requires something by "
        "pair. Null = not told yet.",
    )
    audited = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="Gets the full overlap by lot, although one vote was enough.",
    )
    gold_outcome = models.CharField(
        max_length=20,
        choices=[choice for choice in Outcome.choices if choice[0] != Outcome.CANNOT_JUDGE],
        blank=True,
        default="",
        db_default="",
        help_text="Known answer, by which annotators are measured; empty = none.",
    )
    gold_note = models.TextField(
        blank=True, default="", db_default="", help_text="Why the known answer is right."
    )
    priority = models.PositiveSmallIntegerField(
        default=0,
        db_default=0,
        editable=False,
        help_text="Above 0: an admin put the pair first, the highest number before all others.",
    )
    strategy = models.CharField(
        max_length=20,
        choices=Strategy.choices,
        default=Strategy.RANDOM,
        db_default=Strategy.RANDOM,
        editable=False,
        help_text="How an admin chose the pair when making it; random = by lot, or it came with the data.",
    )
    uncertainty_rank = models.FloatField(
        null=True,
        editable=False,
        help_text="Position among uncertain pairs, smallest first; null = no suggestion.",
    )
    disagreement_rank = models.FloatField(
        null=True,
        editable=False,
        help_text="Position among disagreements, smallest first; null = nobody disagrees.",
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
        # The next Comparison is the first of a range of an index, however many are full: the queue is as
        # quick with 200,000 as with 200.
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
                fields=["dataset", "claimed", "-priority", "random_rank"],
                condition=Q(priority__gt=0, required__isnull=True),
                name="comparison_first_of_all",
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
            # The same by what people must have. No row of a Dataset that requires nothing by pair is in them.
            models.Index(
                fields=["dataset", "needs", "claimed", "random_rank"],
                condition=Q(required__isnull=True, needs__isnull=False),
                name="comparison_queue_by_needs",
            ),
            models.Index(
                fields=["dataset", "needs", "claimed", "uncertainty_rank"],
                condition=Q(required__isnull=True, needs__isnull=False, uncertainty_rank__isnull=False),
                name="comparison_uncertain_by_needs",
            ),
            models.Index(
                fields=["dataset", "needs", "claimed", "disagreement_rank"],
                condition=Q(required__isnull=True, needs__isnull=False, disagreement_rank__isnull=False),
                name="comparison_disagree_by_needs",
            ),
        ]

    def __str__(self) -> str:
        return f"Comparison {self.pk}"


class Ranking(models.Model):
    """Three or more Completions of one Prompt that an annotator puts in order together. Each pair of them is
    a Comparison with a Claim and a Judgment of its own."""

    annotator = models.ForeignKey(Annotator, on_delete=models.CASCADE, related_name="rankings")
    prompt = models.ForeignKey("workbench.Prompt", on_delete=models.CASCADE, related_name="rankings")
    shown = models.JSONField(help_text="Primary keys of the Completions in the order they are shown.")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.annotator} ranks {self.prompt}"


class Claim(models.Model):
    """An annotator's lease on a Comparison. For work, a live Claim holds one of the Comparison's places
    (`slot` 0 .. places - 1), and a done Claim keeps it: the unique slot makes too many votes impossible. A
    done Claim without a place was answered when all places were taken; that answer is no vote. Gold and
    repeats hold no place."""

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
        help_text="How the pair was chosen when it was begun; the same for all who vote on it.",
    )
    propensity = models.FloatField(
        null=True,
        help_text="Probability of drawing this pair among all that nobody had begun; null = not drawn.",
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

    if TYPE_CHECKING:
        is_told: bool  # annotated by pipeline.annotate.statements

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
        """Judgments that count as votes: not superseded, not surplus, and neither gold nor repeats. Every
        count of Judgments counts these."""
        return self.filter(is_current=True)

    def for_votes(self) -> Self:
        """All but gold and repeats, which measure the annotator; with superseded Judgments."""
        return self.filter(purpose=Purpose.WORK)

    def unchanged(self) -> Self:
        """Each annotator's latest answers, with gold, repeats and surplus answers. Undo reopens these."""
        return self.filter(superseded_by__isnull=True)

    def commented(self) -> Self:
        """Answers with a comment; of an answer that was changed, the newest."""
        return self.unchanged().by_people().exclude(comment="")

    def opinions(self) -> Self:
        return self.exclude(outcome=Outcome.CANNOT_JUDGE)

    def by_people(self) -> Self:
        return self.filter(annotator__user__isnull=False)

    def labels(self) -> Self:
        """Current opinions that came with the data. No queue picked their Comparisons."""
        return self.current().opinions().filter(stage=Judgment.Stage.IMPORTED)

    def first_answers(self) -> Self:
        """Each person's first answer to each Comparison that they got as work, where it is an opinion."""
        first = self.for_votes().opinions().filter(supersedes__isnull=True)
        return first.exclude(stage=Judgment.Stage.IMPORTED)

    def without_suggestion(self) -> Self:
        """Given before any Suggestion was shown, and not taken back before the reveal."""
        kept = Q(is_current=True) | Q(superseded_by__stage=Judgment.Stage.REVEALED)
        return self.filter(kept, stage=Judgment.Stage.FIRST, mode=Claim.Mode.BLIND)

    def blind(self) -> Self:
        """People's opinions before any Suggestion: of each person on each Comparison, the last one."""
        return self.for_votes().opinions().by_people().without_suggestion()

    def not_picked(self, *strategies: Strategy) -> Self:
        """On Comparisons that none of these strategies chose; without strategies, that only chance chose. A
        sample that the queue picked does not stand for the other Comparisons."""
        work = Claim.objects.filter(comparison=OuterRef("comparison"), purpose=Purpose.WORK)
        picked = (
            work.filter(strategy__in=strategies) if strategies else work.exclude(strategy=Strategy.RANDOM)
        )
        return self.exclude(Exists(picked))

    def from_the_start(self, dataset: "Dataset") -> Self:
        """Answers that did not depend on earlier answers: within the places that a Comparison has from the
        start, or by lot. The other answers are mostly to hard Comparisons."""
        one_number = dataset.single_vote_threshold is None and dataset.max_overlap <= dataset.overlap
        # An admin may have asked for more people where people disagreed.
        if one_number and not dataset.acts.filter(kind="overlap").exists():
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
        """People's answers that figures may use: given without a Suggestion, to Comparisons that the queue
        did not pick, and not asked for because of earlier answers."""
        first = self.of(dataset).first_answers()
        return first.without_suggestion().not_picked().from_the_start(dataset)

    def of(self, dataset: "Dataset") -> Self:
        return self.filter(comparison__dataset=dataset)


class Judgment(models.Model):
    """One annotator's answer to a Comparison; append-only. A change is a new row that supersedes the old one.
    "Confirm" or "override" follows from comparing the outcome with the suggested one."""

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
        null=True, help_text="How much better, on the source's own scale; null = not asked."
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
        help_text="The ranking this vote belongs to. Votes of one ranking are not independent.",
    )
    guidelines = models.ForeignKey("workbench.Guidelines", null=True, on_delete=models.PROTECT)
    suggested = models.CharField(max_length=20, blank=True, help_text="Outcome the model suggested then.")
    margin = models.FloatField(null=True)
    probability = models.FloatField(null=True)
    version = models.ForeignKey("workbench.ModelVersion", null=True, on_delete=models.PROTECT)
    seconds = models.FloatField(null=True, help_text="Time from shown to answered, as the page measured it.")
    idempotency_key = models.UUIDField(null=True, unique=True)
    supersedes = models.OneToOneField(
        "self", null=True, on_delete=models.RESTRICT, related_name="superseded_by"
    )
    is_current = models.BooleanField(
        default=True, help_text="Counts as a vote: not superseded, not surplus, neither gold nor a repeat."
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
        indexes = [
            models.Index(fields=["annotator", "created_at"], name="judgment_by_annotator"),
            models.Index(
                fields=["annotator", "created_at"], condition=~Q(purpose="work"), name="judgment_of_no_vote"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.annotator}: {self.outcome}"

    @property
    def follows_suggestion(self) -> bool | None:
        """True = confirm, False = override, None = nothing was suggested."""
        return self.outcome == self.suggested if self.suggested else None


class FlagQuerySet(models.QuerySet["Flag"]):
    def open(self) -> Self:
        return self.filter(closed_at__isnull=True)

    def by_annotators(self) -> Self:
        """Without pairs that an admin sent to review."""
        return self.exclude(reason=Flag.Reason.REVIEW)


class Flag(models.Model):
    """ "Somebody should look at this", with a reason; apart from all five outcomes."""

    class Reason(models.TextChoices):
        BROKEN = "broken", "Text is broken or cut off"
        UNSAFE = "unsafe", "Harmful or private content"
        IDENTITY = "identity", "An answer names its own model"
        PROMPT = "prompt", "Prompt is unclear or makes no sense"
        LANGUAGE = "language", "A language I don’t know well enough"
        OTHER = "other", "Something else"
        REVIEW = "review", "Sent to review"

        @classmethod
        def of_annotators(cls) -> "list[tuple[str, str]]":
            """The reasons that the annotation page offers."""
            return [choice for choice in cls.choices if choice[0] != cls.REVIEW]

    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="flags")
    annotator = models.ForeignKey(Annotator, on_delete=models.PROTECT, related_name="flags")
    reason = models.CharField(max_length=20, choices=Reason.choices)
    note = models.TextField(blank=True)
    left = models.CharField(
        max_length=1,
        choices=Side.choices,
        blank=True,
        default="",
        db_default="",
        help_text="The completion that the annotator had on the left; empty = not recorded.",
    )
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
        """Decisions that reviewers made in the Dataset: a few among many derived ones."""
        # EXISTS: with a join, SQLite begins with every Comparison of the Dataset.
        in_dataset = Comparison.objects.filter(pk=OuterRef("comparison"), dataset=dataset)
        return self.filter(Exists(in_dataset), method=Decision.Method.REVIEWER)


class Decision(models.Model):
    """The decided outcome of a Comparison. Append-only: a new Decision, or an undo, takes `is_current` from
    the old one."""

    class Method(models.TextChoices):
        AGREEMENT = "agreement", "Agreement: all votes and labels are the same"
        MAJORITY = "majority", "Majority: more than half are the same"
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
    votes = models.PositiveIntegerField(default=0, help_text="Number of opinions that it follows from.")
    votes_for = models.PositiveIntegerField(
        default=0, help_text="How many of these opinions are for the outcome."
    )
    posterior = models.JSONField(
        null=True, help_text="Probability of each outcome by aggregation, to four places. Null otherwise."
    )
    probability = models.FloatField(
        null=True, help_text="Posterior of the decided outcome, by which releases are filtered."
    )
    decided_by = models.ForeignKey("workbench.User", null=True, on_delete=models.PROTECT)
    blind_outcome = models.CharField(
        max_length=20,
        blank=True,
        help_text="Outcome that the reviewer chose before the votes were shown, if any.",
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
        # Each page of the review queue reads the newest reviews among many derived Decisions.
        indexes = [
            models.Index(fields=["-id"], condition=Q(method="reviewer"), name="decision_by_reviewer"),
        ]

    def __str__(self) -> str:
        return f"{self.outcome} ({self.method})"
