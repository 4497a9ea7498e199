"""A pair or a ranking as one annotator sees it, and answers in the terms of the page: "left", "left:2" (much
better), "tie", ..., or of a ranking "ranks:2,1,2": the rank of each answer in the order shown, 1 = best."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID, uuid4

from scoring import shares
from scoring.messages import message_reading
from workbench.models import (
    Annotator,
    Claim,
    Comparison,
    Completion,
    Dataset,
    Judgment,
    ModelVersion,
    Outcome,
    QualificationAnswer,
    Ranking,
)
from workbench.models.dataset import Message
from workbench.pipeline.annotate import statements
from workbench.pipeline.annotate.progress import last_answered
from workbench.pipeline.scoring import suggestions

# Earlier turns are shown unfolded up to this number, and up to this number of characters together.
FEW_TURNS = 4
SHORT_TURNS = 600

AT_ONCE = threading.BoundedSemaphore(3)
"""A page takes some 60 MB while it is built of the longest texts that a file may hold. A web process may have
500 MB, too little for such items in all threads at once."""


@dataclass(frozen=True)
class PageAnswer:
    """The annotator's answer: "left:2" and "Left, much better"."""

    value: str
    words: str


@dataclass(frozen=True)
class Pick:
    """The model's pick of a Comparison or a ranking, as one annotator sees it. sure: how sure the model is,
    in words; differs: whether the annotator answered otherwise."""

    value: str
    sure: str
    notice: str
    differs: bool

    @property
    def words(self) -> str:
        return in_words(self.value)

    @property
    def is_ranking(self) -> bool:
        return self.value.startswith("ranks:")


@dataclass(frozen=True)
class Item:
    """A Comparison or a ranking as one annotator sees it, without names, scores and other people's answers.
    judgments: the rows of the annotator's own answer, if there is one."""

    comparison: Comparison
    claim: Claim
    pick: Pick | None
    key: UUID
    judgments: Sequence[Judgment] = ()
    has_reveal: bool = False

    @classmethod
    def of(cls, claim: Claim, judgments: Sequence[Judgment] = ()) -> "Item":
        comparison = statements.comparison_with_texts(claim.comparison_id)[0]
        # A reveal to come leads nobody; without one, the page need not wait for it.
        has_reveal = claim.mode == Claim.Mode.BLIND and bool(comparison.has_suggestion)
        pick = pick_then(judgments) if judgments else pick_now(claim)
        return cls(comparison, claim, pick, uuid4(), judgments, has_reveal)

    @classmethod
    def of_qualification(cls, shown: QualificationAnswer) -> "Item":
        """A gold pair of a qualification, shown like any other. Nobody holds it: the Claim is not stored."""
        comparison = statements.comparison_with_texts(shown.comparison_id)[0]
        claim = Claim(comparison=comparison, left=shown.left, mode=Claim.Mode.BLIND)
        return cls(comparison, claim, None, uuid4())

    @property
    def messages(self) -> list[Message]:
        messages: list[Message] = self.comparison.prompt.messages
        return messages

    @property
    def earlier(self) -> list[Message]:
        return self.messages[:-1]

    @property
    def earlier_is_short(self) -> bool:
        characters = sum(len(message_reading(message)) for message in self.earlier)
        return len(self.earlier) <= FEW_TURNS and characters <= SHORT_TURNS

    @property
    def last(self) -> Message:
        return self.messages[-1]

    @cached_property
    def sides(self) -> list[tuple[str, Completion]]:
        """(name, answer) in the order shown: left and right, or 1, 2, 3, ... of a ranking."""
        if ranking := self.claim.ranking:
            completions = Completion.objects.in_bulk(ranking.shown)
            return [(str(n), completions[pk]) for n, pk in enumerate(ranking.shown, 1) if pk in completions]
        pair = [self.comparison.a, self.comparison.b]
        return list(zip(("left", "right"), pair if self.claim.left == "a" else pair[::-1], strict=True))

    @property
    def suggestion(self) -> Pick | None:
        """The pick to show before the answer."""
        return None if self.judgments else self.pick

    @property
    def why_no_suggestion(self) -> str:
        """Why an assisted annotator sees no pick on a pair that the model has scored."""
        claim = self.claim
        if claim.mode != Claim.Mode.ASSISTED or claim.suggestion_id or claim.ranking_id or self.judgments:
            return ""
        version = ModelVersion.objects.serving(self.comparison.dataset)
        return suggestions.why_none(self.comparison, version)

    @property
    def judgment(self) -> Judgment | None:
        return self.judgments[0] if self.judgments else None

    @property
    def answer(self) -> PageAnswer | None:
        return page_answer(self.judgments) if self.judgments else None

    @property
    def supersedes(self) -> str:
        return sent_key(self.judgment) if self.judgment else ""


def reopened(dataset: Dataset, annotator: Annotator, before: int | None = None) -> Item | None:
    """The annotator's last answer; with `before`, the last one that is older than the Judgment of this
    primary key."""
    judgment = last_answered(dataset, annotator, before)
    if judgment is None:
        return None
    # A ranking is handed out by its first Comparison, whose Claim keeps the draft.
    judgments = judgments_with(judgment)
    first = judgments[0]
    claim = Claim.objects.select_related("ranking").get(
        annotator=annotator, comparison=first.comparison_id, purpose=first.purpose
    )
    return Item.of(claim, judgments)


def judgments_with(judgment: Judgment) -> list[Judgment]:
    """All Judgments of the same answer, oldest first."""
    if judgment.ranking is None:
        return [judgment]
    siblings = judgment.ranking.judgments.unchanged().filter(annotator=judgment.annotator_id)
    return list(siblings.select_related("comparison", "ranking", "version").order_by("pk"))


def sent_key(judgment: Judgment) -> str:
    """The key of the answer, as the page sent it."""
    return str(judgment.metadata.get("key") or judgment.idempotency_key or "")


def in_words(value: str) -> str:
    """ "Left, much better" for "left:2"; for ranks, the numbers of the answers, best first: "2 > 1 = 3"."""
    kind, _, more = value.partition(":")
    if kind != "ranks":
        return Outcome.page_words()[kind] + ", much better" * (more == "2")
    ranks = [int(rank) for rank in more.split(",")]
    groups = ([str(n) for n, rank in enumerate(ranks, 1) if rank == level] for level in sorted(set(ranks)))
    return " > ".join(" = ".join(group) for group in groups)


def page_answer(judgments: Sequence[Judgment]) -> PageAnswer:
    first = judgments[0]
    if ranks := first.metadata.get("ranks"):
        value = "ranks:" + ",".join(map(str, ranks))
    else:
        value = Outcome.seen_as(first.outcome, first.left) + ":2" * (first.strength == 2)
    return PageAnswer(value, in_words(value))


def pick_then(judgments: Sequence[Judgment]) -> Pick | None:
    """The model's pick when the Judgments were made; None where one of them had no pick."""
    if not all(judgment.suggested for judgment in judgments):
        return None
    first = judgments[0]
    notice = first.version.notice if first.version else ""
    differing = sum(judgment.outcome != judgment.suggested for judgment in judgments)
    if first.ranking:
        sure = f"agrees with you on {len(judgments) - differing} of {len(judgments)} pairs"
        value = _ranks({judgment.comparison: judgment.suggested for judgment in judgments}, first.ranking)
    else:
        sure = _sure(first.suggested, first.probability)
        value = Outcome.seen_as(first.suggested, first.left)
    return Pick(value, sure, notice, differs=differing > 0)


def pick_after(judgments: Sequence[Judgment]) -> Pick | None:
    """The model's pick to show after these Judgments were stored: once, after a blind first answer, and not
    again after a change."""
    first = judgments[0]
    is_blind_first = first.stage == Judgment.Stage.FIRST and first.mode == Claim.Mode.BLIND
    return pick_then(judgments) if is_blind_first else None


def pick_now(claim: Claim) -> Pick | None:
    """The model's pick before the answer. The Claim of a blind annotator has no Suggestion to show."""
    suggestion = claim.suggestion
    if suggestion is None:
        return None
    notice = suggestion.version.notice
    if claim.ranking:
        claims = claim.ranking.claims.select_related("comparison", "suggestion__version")
        suggested = {row.comparison: row.suggestion.outcome for row in claims if row.suggestion}
        if len(suggested) < len(claims):
            return None
        return Pick(_ranks(suggested, claim.ranking), f"from {len(claims)} pairs", notice, differs=False)
    sure = _sure(suggestion.outcome, suggestion.probability)
    return Pick(Outcome.seen_as(suggestion.outcome, claim.left), sure, notice, differs=False)


def _ranks(outcomes: Mapping[Comparison, str], ranking: Ranking) -> str:
    pairs = {(comparison.a_id, comparison.b_id): outcome for comparison, outcome in outcomes.items()}
    return "ranks:" + ",".join(map(str, ranks_of(pairs, ranking.shown)))


def ranks_of(outcomes: Mapping[tuple[int, int], str], shown: Sequence[int]) -> list[int]:
    """Ranks (1 = best, equal = tie) in the order shown, from outcomes by (a, b):
    rank = 1 + number of answers with more wins."""
    wins = dict.fromkeys(shown, 0)
    for (a, b), outcome in outcomes.items():
        if outcome in (Outcome.A, Outcome.B):
            wins[a if outcome == Outcome.A else b] += 1
    return [1 + sum(count > wins[pk] for count in wins.values()) for pk in shown]


def _sure(outcome: str, probability: float | None) -> str:
    """How sure the model is of its pick; "" while it is not calibrated."""
    if outcome == Outcome.TIE:
        return "equal scores"
    if probability is None:
        return ""
    return f"{shares.in_words(probability if outcome == Outcome.A else 1 - probability)} likely"
