"""Answers of annotators to Comparisons and rankings, and what follows from an answer."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid5

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from workbench.models import (
    Annotator,
    Claim,
    Comparison,
    Dataset,
    Flag,
    Guidelines,
    Judgment,
    Outcome,
    PromptChange,
    Purpose,
    Ranking,
    Strategy,
    Suggestion,
)
from workbench.pipeline.annotate import handout, queue, statements
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.webhooks import outbox


class AnsweredBefore(Refused):
    """Another window of the same person has answered meanwhile. `current` is the answer that counts."""

    def __init__(self, current: Judgment) -> None:
        super().__init__("You voted on this pair in another window. That vote counts; press u to change it.")
        self.current = current


class NotHandedOut(Refused):
    """The annotator has no Claim on the Comparison."""

    def __init__(self) -> None:
        super().__init__("This pair was not given to you. Reload the page to get the next pair.")


class AlreadyTold(Refused):
    """The annotator was shown what became of the Comparison."""

    def __init__(self) -> None:
        super().__init__(
            "Nothing was saved: you have read what became of this pair, so your vote on it can’t change."
        )


class Paused(Refused):
    """The annotator may not vote in the Dataset for now."""

    def __init__(self) -> None:
        super().__init__("Your voting is paused here. Reload the page to see why.")


class NotQualified(Refused):
    """The annotator is to qualify before the first vote in the Dataset."""

    def __init__(self) -> None:
        super().__init__("Answer the first pairs with a known answer before you vote. Reload the page.")


def refuse_paused(annotator: Annotator) -> None:
    """Raises Paused. annotator: as access.dataset_and_annotator gives one."""
    if annotator.paused_for is not None:
        raise Paused


def refuse_barred(annotator: Annotator) -> None:
    """Raises Paused or NotQualified. annotator: as access.dataset_and_annotator gives one."""
    refuse_paused(annotator)
    if annotator.must_qualify:
        raise NotQualified


@dataclass(frozen=True)
class Answer:
    """One person's answer. outcome: one of Outcome, or "left" or "right" as the annotator saw the sides; key:
    sending it twice is harmless; strength: 1 (better) or 2 (much better); seconds: from shown to answered;
    supersedes: the key of the Judgment that the answer changes; facts: stored with the Judgment."""

    outcome: str
    key: UUID
    strength: int | None = None
    comment: str = ""
    seconds: float | None = None
    supersedes: UUID | None = None
    guidelines: Guidelines | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


def comparison_in(dataset: Dataset, pk: int) -> Comparison | None:
    """The Dataset's Comparison of this primary key."""
    comparison = statements.comparison_in.first(dataset.pk, pk)
    if comparison:
        comparison.dataset = dataset
    return comparison


def claim_of(annotator: Annotator, comparison: Comparison, claim_pk: int | None) -> QuerySet[Claim]:
    """The annotator's Claim of this primary key on the Comparison; without a key, their Claim that is no
    repeat."""
    claims = Claim.objects.filter(annotator=annotator, comparison=comparison)
    return claims.filter(pk=claim_pk) if claim_pk else claims.exclude(purpose=Purpose.REPEAT)


def record(
    annotator: Annotator,
    comparison: Comparison,
    answer: Answer,
    ranks: Sequence[int] = (),
    claim_pk: int | None = None,
) -> list[Judgment]:
    """Store the answer and return its Judgments: one, or of a ranking one for each Comparison. In order:
    1. lock the annotator and the Claim; a ranking's answer becomes one answer for each of its Comparisons;
    2. leave out answers that were sent before: the same `key` returns the same Judgments;
    3. refuse an answer to a Comparison of which the annotator was told what became of it, and one that
       overlooks a newer answer from another window;
    4. give each Claim that has lost its place a free one, and end all Claims as done;
    5. write the Judgments, and ask for more people where the votes disagree.

    ranks: the ranks of a ranking in the order shown, 1 = best; equal ranks are a tie. A ranking without ranks
    has `answer.outcome` ("both_bad" or "cannot_judge") for each of its pairs.
    claim_pk: which of the annotator's Claims on the Comparison is answered; None = the one that is no repeat.

    A change after a Suggestion was revealed (blind mode) has the stage `revealed`. An answer without a place
    is stored with `surplus` in its metadata, and is not current. The annotator is not told: gold and repeats
    can lose no place.

    Raises Refused, and stores nothing, when the annotator is paused (Paused) or must qualify first
    (NotQualified), when the Comparison was never handed to them (NotHandedOut), when they were told what
    became of it (AlreadyTold), when another window has answered (AnsweredBefore), when the key belongs to
    somebody else's answer, or when the answer does not fit what was shown."""
    refuse_barred(annotator)
    with transaction.atomic():
        statements.lock(annotator.pk)
        claim = _locked_claim(annotator, comparison, claim_pk)
        if claim.ranking:
            answered = _implied_by(claim.ranking, answer, ranks)
        elif ranks:
            raise Refused("This pair is not part of a ranking. Reload the page to vote on the pair.")
        else:
            claim.comparison = comparison
            answered = [(claim, answer)]
        judgments = _sent_before(answered)
        new = [(claim, answer) for claim, answer in answered if answer.key not in judgments]
        if new:
            judgments |= {row.idempotency_key: row for row in _add(comparison.dataset, annotator, new)}
        return [judgments[answer.key] for _, answer in answered]


def _locked_claim(annotator: Annotator, comparison: Comparison, claim_pk: int | None) -> Claim:
    if claim_pk:
        claim = statements.lock_claim.first(annotator.pk, comparison.pk, claim_pk)
    else:
        claim = statements.lock_first_claim.first(annotator.pk, comparison.pk)
    if claim is None:
        raise NotHandedOut
    return claim


def _implied_by(ranking: Ranking, answer: Answer, ranks: Sequence[int]) -> list[tuple[Claim, Answer]]:
    """The answer to each Comparison of a ranking. The keys follow from the ranking's key, so that sending a
    ranking twice is harmless too."""
    if not ranks and answer.outcome not in (Outcome.BOTH_BAD, Outcome.CANNOT_JUDGE):
        raise Refused("These answers need a ranking. Reload the page to see all of them.")
    if ranks and len(ranks) != len(ranking.shown):
        raise Refused("The answers to rank have changed. Reload the page to see them.")
    rank_of = dict(zip(ranking.shown, ranks, strict=False))
    claims = ranking.claims.select_for_update(of=("self",)).annotate(**statements.with_is_told())
    implied = []
    for claim in claims.select_related("comparison", "suggestion__version", "ranking").order_by("pk"):
        outcome, pk = answer.outcome, str(claim.comparison_id)
        if rank_of:
            a, b = rank_of[claim.comparison.a_id], rank_of[claim.comparison.b_id]
            outcome = Outcome.TIE if a == b else Outcome.A if a < b else Outcome.B
        of_pair = replace(
            answer,
            outcome=outcome,
            key=uuid5(answer.key, pk),
            supersedes=uuid5(answer.supersedes, pk) if answer.supersedes else None,
            facts={"ranks": list(rank_of.values()), "key": str(answer.key)},
        )
        implied.append((claim, of_pair))
    return implied


def _sent_before(answered: Sequence[tuple[Claim, Answer]]) -> dict[UUID | None, Judgment]:
    """The stored Judgments of answers that were sent before, by key."""
    rows = statements.sent_before([answer.key for _, answer in answered])
    judgments = {judgment.idempotency_key: judgment for judgment in rows}
    for claim, answer in answered:
        if judgment := judgments.get(answer.key):
            if (judgment.annotator_id, judgment.comparison_id) != (claim.annotator_id, claim.comparison_id):
                raise Refused("This vote has the key of another vote. Reload the page and vote again.")
            judgment.comparison, judgment.ranking = claim.comparison, claim.ranking
    return judgments


def _add(dataset: Dataset, annotator: Annotator, answered: Sequence[tuple[Claim, Answer]]) -> list[Judgment]:
    """The new Judgments of these answers, in their order. The number of statements is constant."""
    claims = [claim for claim, _ in answered]
    if any(claim.is_told for claim in claims):
        raise AlreadyTold
    earlier = statements.answers_of(annotator.pk, {claim.comparison_id for claim in claims})
    by_purpose = {(judgment.comparison_id, judgment.purpose): judgment for judgment in earlier}
    before = {claim.pk: by_purpose.get((claim.comparison_id, claim.purpose)) for claim in claims}
    for claim, answer in answered:
        judgment = before[claim.pk]
        if judgment and judgment.idempotency_key != answer.supersedes:
            raise AnsweredBefore(judgment)
    # In blind mode the Claim holds no Suggestion: the first answer notes the one that is revealed after it.
    blind = [claim for claim in claims if claim.mode == Claim.Mode.BLIND and not before[claim.pk]]
    revealed = statements.suggestions_to_show([claim.comparison_id for claim in blind]) if blind else []
    shown = {suggestion.comparison_id: suggestion for suggestion in revealed}
    shown |= {claim.comparison_id: claim.suggestion for claim in claims if claim.suggestion}
    surplus = _take_places(claims)
    unfinished = [claim.pk for claim in claims if claim.state != Claim.State.DONE]
    if unfinished:
        Claim.objects.filter(pk__in=unfinished).update(state=Claim.State.DONE)
    judgments = [
        _new_judgment(claim, answer, before[claim.pk], shown.get(claim.comparison_id), claim.pk in surplus)
        for claim, answer in answered
    ]
    if superseded := [judgment.supersedes_id for judgment in judgments if judgment.supersedes_id]:
        # The database allows one current Judgment, so the old one is superseded first.
        Judgment.objects.filter(pk__in=superseded).update(is_current=False)
    Judgment.objects.bulk_create(judgments)
    PromptChange.objects.note(dataset.pk, [claim.comparison.prompt_id for claim in claims])
    if votes := [judgment for judgment in judgments if judgment.is_current]:
        _require_more(dataset, votes)
        if Strategy.DISAGREEMENT in dataset.strategies and dataset.overlap > 1:
            queue.renew_some([judgment.comparison_id for judgment in votes], dataset)
    outbox.note_votes(dataset, annotator, judgments)
    return judgments


def _take_places(claims: Collection[Claim]) -> set[int]:
    """Give each Claim that has lost its place a free one. Returns the primary keys of the Claims for which no
    place is free."""
    lacking = [claim for claim in claims if claim.slot is None and claim.purpose == Purpose.WORK]
    if not lacking:
        return set()
    pks = [claim.comparison_id for claim in lacking]
    locked = Comparison.objects.select_for_update(of=("self",)).select_related("dataset").order_by("pk")
    comparisons = {comparison.pk: comparison for comparison in locked.filter(pk__in=pks)}
    held: dict[int, list[Claim]] = {pk: [] for pk in pks}
    for claim in Claim.objects.filter(comparison__in=pks):
        held[claim.comparison_id].append(claim)
    placed = []
    for claim in lacking:
        comparison = comparisons[claim.comparison_id]
        required = comparison.required
        if comparison.claimed < (comparison.dataset.initial_overlap if required is None else required):
            claim.slot = handout.free_slot(held[comparison.pk])
            claim.state = Claim.State.DONE
            placed.append(claim)
    if placed:
        Claim.objects.bulk_update(placed, ["slot", "state"])
        filled = Comparison.objects.filter(pk__in=[claim.comparison_id for claim in placed])
        filled.update(claimed=F("claimed") + 1)
    return {claim.pk for claim in lacking if claim.slot is None}


def _new_judgment(
    claim: Claim, answer: Answer, before: Judgment | None, shown: Suggestion | None, surplus: bool
) -> Judgment:
    """Unsaved. A change keeps the Suggestion of the first answer, whichever version is active by now."""
    outcome = Outcome.of_side(answer.outcome, claim.left)
    revealed = before is not None and claim.mode == Claim.Mode.BLIND and before.suggested != ""
    judgment = Judgment(
        comparison=claim.comparison,
        annotator_id=claim.annotator_id,
        purpose=claim.purpose,
        outcome=outcome,
        strength=answer.strength if outcome in (Outcome.A, Outcome.B) else None,
        comment=answer.comment,
        seconds=answer.seconds,
        stage=Judgment.Stage.REVEALED if revealed else Judgment.Stage.FIRST,
        mode=claim.mode,
        left=claim.left,
        guidelines=answer.guidelines,
        idempotency_key=answer.key,
        supersedes=before,
        is_current=claim.purpose == Purpose.WORK and not surplus,
        ranking=claim.ranking,
        metadata={**answer.facts, **({"surplus": "every place was taken"} if surplus else {})},
    )
    if before:
        judgment.suggested, judgment.version_id = before.suggested, before.version_id
        judgment.margin, judgment.probability = before.margin, before.probability
    elif shown:
        judgment.suggested, judgment.version = shown.outcome, shown.version
        judgment.margin, judgment.probability = shown.margin, shown.probability
    return judgment


def _require_more(dataset: Dataset, votes: Sequence[Judgment]) -> None:
    """Raise `required` where votes ask for more people: to the full overlap when one vote is not enough, and
    to the number of votes plus one while people disagree. `required` never falls."""
    if dataset.single_vote_threshold is None and dataset.max_overlap <= dataset.overlap:
        return
    vote_on = {judgment.comparison_id: judgment for judgment in votes}
    locked = Comparison.objects.select_for_update(of=("self",), no_key=True).order_by("pk")
    comparisons = [comparison for comparison in locked.filter(pk__in=vote_on) if not comparison.gold_outcome]
    current = Judgment.objects.current().by_people().filter(comparison__in=vote_on).order_by()
    outcomes: dict[int, list[str]] = {pk: [] for pk in vote_on}
    for pk, outcome in current.values_list("comparison", "outcome"):
        outcomes[pk].append(outcome)
    changed = []
    for comparison in comparisons:
        before = dataset.initial_overlap if comparison.required is None else comparison.required
        required = before
        if dataset.single_vote_threshold is not None and comparison.required is None:
            enough = _is_enough(dataset.single_vote_threshold, vote_on[comparison.pk])
            lot = handout.draw("audit", settings.SECRET_KEY, comparison.pk)
            comparison.audited = enough and lot < dataset.audit_share
            if not enough or comparison.audited:
                required = max(required, dataset.overlap)
        number = len(outcomes[comparison.pk])
        if dataset.overlap <= required <= number and _is_split(outcomes[comparison.pk]):
            required = max(required, min(required + 1, dataset.max_overlap))
        if required != before:
            comparison.required = required
            changed.append(comparison)
    if changed:
        Comparison.objects.bulk_update(changed, ["required", "audited"])


def _is_enough(threshold: float, judgment: Judgment) -> bool:
    """Whether the calibrated model gave the outcome at least this probability when it was suggested."""
    if judgment.probability is None or judgment.outcome not in (Outcome.A, Outcome.B):
        return False
    likely = judgment.probability if judgment.outcome == Outcome.A else 1 - judgment.probability
    return likely >= threshold


def _is_split(outcomes: list[str]) -> bool:
    """No outcome has more than half of the opinions, so that no Decision follows from them."""
    opinions = [outcome for outcome in outcomes if outcome != Outcome.CANNOT_JUDGE]
    return len(opinions) > 1 and max(Counter(opinions).values()) * 2 <= len(opinions)


def skip(annotator: Annotator, comparison: Comparison, claim_pk: int | None = None) -> None:
    """Give back the place of the Comparison, or all places of its ranking: others get the Comparison first.
    Skipping a Comparison that is not held changes nothing.

    Raises NotHandedOut, Paused and NotQualified."""
    refuse_barred(annotator)
    with transaction.atomic():
        statements.lock(annotator.pk)
        claim = _locked_claim(annotator, comparison, claim_pk)
        siblings = Claim.objects.select_for_update(of=("self",)).filter(ranking=claim.ranking).order_by("pk")
        claims = list(siblings) if claim.ranking else [claim]
        live = [claim for claim in claims if claim.state == Claim.State.LIVE]
        if live:
            handout.give_back(live, state=Claim.State.SKIPPED, expires_at=timezone.now())


def flag(
    annotator: Annotator, comparison: Comparison, reason: str, note: str, claim_pk: int | None = None
) -> list[Flag]:
    """Flag the Comparison, or all Comparisons of its ranking, as they were seen as one. A second flag of the
    same annotator corrects the first while the first is open. Returns the open Flags.

    Raises NotHandedOut, Paused and NotQualified."""
    refuse_barred(annotator)
    with transaction.atomic():
        statements.lock(annotator.pk)
        claim = claim_of(annotator, comparison, claim_pk).first()
        if claim is None:
            raise NotHandedOut
        left_in = {comparison.pk: claim.left}
        if claim.ranking_id:
            siblings = Claim.objects.filter(annotator=annotator, ranking=claim.ranking_id)
            left_in = dict(siblings.values_list("comparison", "left"))
        open_flags = Flag.objects.open().filter(annotator=annotator, comparison__in=left_in)
        # As a repeat, a pair has other sides than before; a ranking has the same.
        open_flags.update(reason=reason, note=note, **({} if claim.ranking_id else {"left": claim.left}))
        flagged = set(open_flags.values_list("comparison", flat=True))
        Flag.objects.bulk_create(
            Flag(comparison_id=pk, annotator=annotator, reason=reason, note=note, left=left)
            for pk, left in left_in.items()
            if pk not in flagged
        )
        PromptChange.objects.note(comparison.dataset_id, [comparison.prompt_id])
        outbox.note_flags(comparison.dataset, [pk for pk in left_in if pk not in flagged], reason)
        return list(open_flags)
