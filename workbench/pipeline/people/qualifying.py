"""Qualifying: gold pairs that an annotator answers before the first vote, with an explanation after each.

A try is of gold that the person was never handed, neither as a check nor as work. What it shows is never
handed to them later (`Comparison.objects.not_told`): they know the answer. Answers are no Judgments, so no
figure, release, check of reliability or time sheet has them.

Whoever passes has passed for good; the try keeps the version of the guidelines. Reviewers and admins need not
qualify, as they see known answers anyway; nor does anybody who has voted in the Dataset before, unless an
admin has taken a waiver back. Where there is too little gold for a try, nobody is asked, so that nobody is
locked out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, F, FloatField, Max, OuterRef, Q, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from workbench.models import (
    Annotator,
    Claim,
    Comparison,
    Dataset,
    Judgment,
    Member,
    Outcome,
    QualificationAnswer,
    QualificationGrant,
    QualificationTry,
    Role,
    Told,
    User,
)
from workbench.models.annotation import ComparisonQuerySet
from workbench.models.counts import count_of
from workbench.pipeline.annotate import handout, requirements, statements
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.runs.progress import Refused


class State(Enum):
    """How a person stands with the qualification of a Dataset."""

    OFF = "off"
    EXEMPT = "exempt"  # a reviewer, an admin, or somebody who has voted
    WAIVED = "waived"
    PASSED = "passed"
    TOO_FEW = "too few"  # too little gold: nobody is asked for now
    OPEN = "open"  # in the middle of a try
    DUE = "due"  # a try is left
    FAILED = "failed"  # no try is left


BARRED = (State.OPEN, State.DUE, State.FAILED)
"""In these states a person gets no pair and may not vote."""


@dataclass(frozen=True)
class Standing:
    """tries: the newest first, with `answered` and `seconds`; left: tries that the person may still begin."""

    state: State
    tries: Sequence[QualificationTry] = ()
    grants: Sequence[QualificationGrant] = ()
    left: int = 0

    @property
    def bars(self) -> bool:
        return self.state in BARRED

    @property
    def last(self) -> QualificationTry | None:
        return self.tries[0] if self.tries else None


@dataclass(frozen=True)
class Gold:
    """How much gold a Dataset has, and how much of it with an explanation."""

    pairs: int
    explained: int
    wanted: int

    @property
    def is_enough(self) -> bool:
        return self.pairs >= self.wanted


def gold_of(dataset: Dataset) -> Gold:
    """What a new person could be asked."""
    gold = dataset.comparisons.gold().handed_out()
    counts = gold.aggregate(pairs=Count("pk"), explained=Count("pk", filter=~Q(gold_note="")))
    return Gold(**counts, wanted=dataset.qualify_pairs)


def needed(dataset: Dataset) -> int:
    """How many right answers pass: ceil(share * pairs)."""
    # Rounded, as 0.7 * 10 is 7.000000000000001 for some numbers of this kind.
    return math.ceil(round(dataset.qualify_share * dataset.qualify_pairs, 6))


def must_qualify(dataset: Dataset, annotator: Annotator, role: str | None) -> bool:
    """Whether a member with this role gets no pair and may not vote until they have qualified."""
    if not dataset.qualify_pairs or role != Role.ANNOTATOR:
        return False
    if statements.has_qualified.first(dataset.pk, annotator.pk):
        return False
    return standing(dataset, annotator, role).bars


def standing(dataset: Dataset, annotator: Annotator, role: str | None) -> Standing:
    """How a member with this role stands, with their tries and what an admin gave them."""
    facts = {
        "answered": Count("answers", filter=~Q(answers__outcome="")),
        "seconds": Coalesce(Sum("answers__seconds"), 0.0, output_field=FloatField()),
    }
    of_person = dataset.qualification_tries.filter(annotator=annotator).select_related("guidelines")
    tries = list(of_person.annotate(**facts).order_by("-number"))
    grants = list(dataset.qualification_grants.filter(annotator=annotator).select_related("by"))
    more = sum(grant.kind == QualificationGrant.Kind.TRY for grant in grants)
    left = max(0, dataset.qualify_tries + more - len(tries))
    return Standing(_state(dataset, annotator, role, tries, grants, left), tries, grants, left)


def of_member(member: Member, annotator: Annotator | None = None) -> Standing:
    """How a member stands, as this annotator where the caller has read it. Staff may do everything, whatever
    their role."""
    role = Role.ADMIN if member.user.is_staff else member.role
    return standing(member.dataset, annotator or Annotator.objects.for_user(member.user), role)


def _state(
    dataset: Dataset,
    annotator: Annotator,
    role: str | None,
    tries: Sequence[QualificationTry],
    grants: Sequence[QualificationGrant],
    left: int,
) -> State:
    if not dataset.qualify_pairs:
        return State.OFF
    if any(attempt.passed for attempt in tries):
        return State.PASSED
    if role != Role.ANNOTATOR:
        return State.EXEMPT
    if next((grant.kind for grant in grants if grant.kind != QualificationGrant.Kind.TRY), None) == (
        QualificationGrant.Kind.WAIVER
    ):
        return State.WAIVED
    if statements.has_qualified.first(dataset.pk, annotator.pk):
        return State.EXEMPT
    if tries and tries[0].ended_at is None:
        return State.OPEN if _shown(tries[0]) or _unseen(tries[0]).exists() else State.TOO_FEW
    if not left:
        return State.FAILED
    return State.DUE if _gold_for(dataset, annotator).count() >= dataset.qualify_pairs else State.TOO_FEW


def _gold_for(dataset: Dataset, annotator: Annotator) -> ComparisonQuerySet:
    """Gold that the person was never handed, as a check or as work, and of which they have read nothing, as
    of an example; and that asks for no language or skill that they lack."""
    of_person = {"annotator": annotator, "comparison": OuterRef("pk")}
    known = Exists(Claim.objects.filter(**of_person)) | Exists(Told.objects.filter(**of_person))
    needs = requirements.met_by(dataset, annotator.user_id)
    return dataset.comparisons.gold().handed_out().needing(needs).exclude(known)


def _unseen(attempt: QualificationTry) -> ComparisonQuerySet:
    """Gold that can come next in the try."""
    in_try = QualificationAnswer.objects.filter(attempt=attempt, comparison=OuterRef("pk"))
    return _gold_for(attempt.dataset, attempt.annotator).exclude(Exists(in_try))


def _shown(attempt: QualificationTry) -> QualificationAnswer | None:
    """The pair of the try that waits for an answer, while its answer is known."""
    return attempt.answers.filter(outcome="").exclude(comparison__gold_outcome="").first()


def start(dataset: Dataset, annotator: Annotator, role: str | None) -> QualificationTry:
    """Begin a try, or go on with the open one. Raises Refused where the person has none."""
    with transaction.atomic():
        statements.lock(annotator.pk)
        now = standing(dataset, annotator, role)
        if now.state == State.OPEN:
            return now.tries[0]
        if now.state != State.DUE:
            raise Refused("There is no try for you to start. This page says how you stand.")
        return QualificationTry.objects.create(
            dataset=dataset,
            annotator=annotator,
            number=len(now.tries) + 1,
            guidelines=dataset.current_guidelines,
            pairs=dataset.qualify_pairs,
            needed=needed(dataset),
        )


def pair_now(attempt: QualificationTry) -> QualificationAnswer | None:
    """The pair of an open try that waits for an answer, else a new one; None where gold has run out.

    Pairs come in an order drawn by a seed: those that the person has not seen before come first, and of these
    those with an explanation. Sides are balanced over the tries."""
    with transaction.atomic():
        statements.lock(attempt.annotator_id)
        if shown := _shown(attempt):
            return shown
        # Ordinary again since it was shown: nothing was told, so the person may vote on it.
        attempt.answers.filter(outcome="").delete()
        position = attempt.answers.count() + 1
        comparison = _draw(attempt)
        if comparison is None or attempt.ended_at or position > attempt.pairs:
            return None
        earlier = QualificationAnswer.objects.filter(annotator=attempt.annotator_id).count()
        return attempt.answers.create(
            annotator_id=attempt.annotator_id,
            comparison_id=comparison,
            position=position,
            left=handout.side_at(earlier, attempt.annotator),
        )


def _draw(attempt: QualificationTry) -> int | None:
    """The primary key of the Comparison that comes next."""
    seen = QualificationAnswer.objects.filter(annotator=attempt.annotator_id).order_by()
    seen_in = dict(seen.values_list("comparison").annotate(last=Max("attempt__number")))
    unseen = _unseen(attempt).order_by().values_list("pk", "gold_note")

    def turn(pk: int, note: str) -> tuple[int, bool, float]:
        by_lot = handout.draw("qualify", settings.SECRET_KEY, attempt.annotator_id, attempt.number, pk)
        return seen_in.get(pk, 0), not note, by_lot

    return min(unseen, key=lambda row: turn(*row), default=(None, ""))[0]


def answer(
    dataset: Dataset, annotator: Annotator, pk: int, answered: str, seconds: float | None
) -> QualificationAnswer:
    """Store the answer to the shown pair of this primary key, and end the try with the last one. A pair that
    was answered before stays as it was.

    answered: an Outcome, or "left" or "right" as the person saw the sides. Raises Refused, and stores
    nothing, for a pair that is not theirs, of an old try, or without a known answer by now."""
    with transaction.atomic():
        statements.lock(annotator.pk)
        rows = QualificationAnswer.objects.select_related("attempt", "comparison")
        shown = rows.filter(pk=pk, annotator=annotator, attempt__dataset=dataset).first()
        if shown is None:
            raise Refused("This pair is not part of your try. Here is where you are.")
        if shown.outcome:
            return shown
        if not shown.comparison.gold_outcome:
            raise Refused("This pair has no known answer any more. Another one takes its place.")
        shown.outcome = Outcome.of_side(answered, shown.left)
        shown.known = shown.comparison.gold_outcome
        shown.seconds, shown.answered_at = seconds, timezone.now()
        shown.save(update_fields=["outcome", "known", "seconds", "answered_at"])
        _end_if_over(shown.attempt)
        return shown


def _end_if_over(attempt: QualificationTry) -> None:
    answers = [row for row in attempt.answers.all() if row.outcome]
    if len(answers) < attempt.pairs:
        return
    attempt.right = sum(row.is_right for row in answers)
    attempt.passed = attempt.right >= attempt.needed
    attempt.ended_at = timezone.now()
    attempt.save(update_fields=["right", "passed", "ended_at"])


def shown_to(annotator: Annotator, comparison: Comparison) -> QualificationAnswer | None:
    """The newest showing of the Comparison to the person in a try."""
    rows = QualificationAnswer.objects.filter(annotator=annotator, comparison=comparison)
    return rows.order_by("-pk").first()


def answered_in(dataset: Dataset, annotator: Annotator, pk: int) -> QualificationAnswer | None:
    """The person's answer of this primary key, with its pair."""
    rows = QualificationAnswer.objects.exclude(outcome="").select_related("attempt", "comparison")
    return rows.filter(pk=pk, annotator=annotator, attempt__dataset=dataset).first()


def grant(member: Member, by: User, kind: str, reason: str) -> QualificationGrant:
    """Give a member one more try, let them vote without, or take that back. Raises Refused where that changes
    nothing."""
    word = QualificationGrant.Kind(kind)
    with transaction.atomic():
        annotator = Annotator.objects.for_user(member.user)
        statements.lock(annotator.pk)
        state = of_member(member).state
        if word == QualificationGrant.Kind.NEEDED and state != State.WAIVED:
            raise Refused(f"Nothing was changed: nobody has let {member.user} vote without.")
        if word != QualificationGrant.Kind.NEEDED and state not in (*BARRED, State.TOO_FEW):
            raise Refused(f"Nothing was changed: {member.user} need not qualify.")
        record(Kind.QUALIFICATION, by=by, dataset=member.dataset, target=member.user, word=word)
        return member.dataset.qualification_grants.create(
            annotator=annotator, kind=kind, reason=reason, by=by
        )


def failed_in(dataset: Dataset) -> set[int]:
    """Primary keys of the annotators' users who have no try left and did not pass: each waits for an admin.
    One query."""
    if not dataset.qualify_pairs:
        return set()
    of_each = {"dataset": dataset, "annotator": OuterRef("pk")}
    tries = QualificationTry.objects.filter(**of_each).exclude(ended_at=None)
    grants = QualificationGrant.objects.filter(**of_each)
    votes = Judgment.objects.filter(annotator=OuterRef("pk"), comparison__dataset=dataset)
    annotators = Annotator.objects.filter(
        user__memberships__dataset=dataset, user__memberships__role=Role.ANNOTATOR
    ).annotate(
        tried=count_of(tries, "annotator"),
        more=count_of(grants.filter(kind=QualificationGrant.Kind.TRY), "annotator"),
    )
    failed = annotators.filter(tried__gte=F("more") + dataset.qualify_tries).exclude(
        Q(Exists(tries.filter(passed=True)))
        | Q(Exists(grants.standing_waivers()))
        | Q(Exists(votes), ~Exists(grants.filter(kind=QualificationGrant.Kind.NEEDED)))
    )
    return {user for user in failed.values_list("user", flat=True) if user is not None}
