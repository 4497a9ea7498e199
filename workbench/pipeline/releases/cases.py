"""Every Comparison of a Dataset: one moment of the database, in an order that content alone fixes."""

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import chain, islice
from typing import Any
from uuid import UUID

from django.db import models

from scoring.messages import is_plain, says_text_alone
from scoring.rows.drafts import FILE_LICENCE
from workbench.models import (
    Comparison,
    Completion,
    Dataset,
    Decision,
    Flag,
    Judgment,
    ModelVersion,
    Outcome,
    Prompt,
)
from workbench.models.annotation import ComparisonQuerySet
from workbench.models.dataset import Message
from workbench.pipeline.releases.filters import Filters, passing

CHUNK = 500
EVERYTHING = Filters()
_NO_DECISION: list[Any] = ["", "", "", "", None, 0, 0]


class LeftOut(models.TextChoices):
    """Why a Comparison gives a profile no row."""

    NOT_JUDGED = "not_judged", "Nobody has voted on it yet"
    UNDECIDED = "undecided", "Voted on, but no outcome leads, and no reviewer has settled it"
    CHANGED = "changed", "Voted on while the release was being built; the next release has it"
    FLAGGED = "flagged", "Flagged, and the flag is still open"
    DROPPED = "dropped", "A reviewer excluded it"
    TIE = "tie", "The final label is a tie"
    BOTH_BAD = "both_bad", "The final label is both bad"
    CANNOT_JUDGE = "cannot_judge", "People could not judge it"
    FILTERED = "filtered", "Left out by a filter of this release"
    OTHER_SPLIT = "other_split", "In a split that this profile does not use"
    TURNS = "turns", "Its turns do not fit this profile"
    MESSAGES = (
        "messages",
        "Its messages hold more than this profile can express: calls, tools, reasoning, parts",
    )
    EMPTY = "empty", "One of the two answers has no text"


_LICENCE = ("licence", "license")
_OF_OUTCOME = {
    Outcome.TIE: LeftOut.TIE,
    Outcome.BOTH_BAD: LeftOut.BOTH_BAD,
    Outcome.CANNOT_JUDGE: LeftOut.CANNOT_JUDGE,
    Decision.DROP: LeftOut.DROPPED,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One Completion of the pair; `conversation` is None where it is one assistant message of the text."""

    text: str
    sha256: str
    source: str
    metadata: dict[str, Any]
    conversation: list[Message] | None = None

    @property
    def messages(self) -> list[Message]:
        """The messages of the answer, whole."""
        return self.conversation or [{"role": "assistant", "content": self.text}]

    @property
    def is_empty(self) -> bool:
        return not self.text.strip()


@dataclass(frozen=True, slots=True)
class Asked:
    """The Prompt of the pair."""

    messages: list[Message]
    sha256: str
    group: str
    metadata: dict[str, Any]
    external_id: str = ""
    tools: Any = None


@dataclass(frozen=True, slots=True)
class Vote:
    """One Judgment, with its annotator under a pseudonym."""

    pseudonym: UUID
    imported: bool
    outcome: str
    strength: int | None
    stage: str
    mode: str
    left: str
    suggested: str
    seconds: float | None
    guidelines: int | None
    is_current: bool
    at: datetime
    comment: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One Comparison with all that any profile may write of it. `outcome`, `method`, `reason` and `note` are
    those of the current Decision ("" = none), `decided_votes` its opinions and how many of them are for the
    outcome; `posterior` is the probability of each outcome where aggregation decided; `flags` are all that
    were raised, `by_skill` says that the Dataset decides by aggregation."""

    prompt: Asked
    external_id: str
    pair_metadata: dict[str, Any]
    a: Answer
    b: Answer
    outcome: str
    method: str
    reason: str
    note: str
    posterior: dict[str, float] | None
    decided_votes: list[int]
    votes: list[Vote]
    flags: list[dict[str, Any]]
    filtered: bool
    by_skill: bool

    @property
    def messages(self) -> list[Message]:
        return self.prompt.messages

    @property
    def prompt_sha256(self) -> str:
        return self.prompt.sha256

    @property
    def group(self) -> str:
        return self.prompt.group

    @property
    def prompt_metadata(self) -> dict[str, Any]:
        return self.prompt.metadata

    @property
    def flagged(self) -> bool:
        return any(flag["open"] for flag in self.flags)

    @property
    def tools(self) -> Any:
        return self.prompt.tools

    @cached_property
    def says_text_alone(self) -> bool:
        """True where a text says all of it: no tools, calls, results or reasoning, one message an answer."""
        answers = [self.a.messages, self.b.messages]
        return (
            self.tools is None
            and all(len(messages) == 1 for messages in answers)
            and all(map(says_text_alone, chain(self.messages, *answers)))
        )

    @cached_property
    def is_plain(self) -> bool:
        """True where every message is a role and a text, and each answer one message."""
        answers = (self.a, self.b)
        return (
            self.tools is None
            and all(map(is_plain, self.messages))
            and not any(a.conversation for a in answers)
        )

    @cached_property
    def tally(self) -> Counter[str]:
        """Current opinions by outcome; "cannot judge" is no opinion."""
        return Counter(
            vote.outcome for vote in self.votes if vote.is_current and vote.outcome != Outcome.CANNOT_JUDGE
        )

    @property
    def preferred(self) -> tuple[Answer, Answer]:
        """(chosen, rejected) of a case decided for a or b."""
        return (self.a, self.b) if self.outcome == Outcome.A else (self.b, self.a)

    def licence_of(self, answer: Answer) -> str:
        """The licence that the text, its row or its prompt came with, where the file named one of its own,
        else that of the file; "" = that of the Dataset."""
        places = (answer.metadata, self.pair_metadata, self.prompt_metadata)
        named = (place.get(key) for place in places for key in _LICENCE)
        said = (*named, answer.metadata.get(FILE_LICENCE))
        return next((licence.strip() for licence in said if isinstance(licence, str) and licence.strip()), "")

    @property
    def barred(self) -> LeftOut | None:
        """Why no profile of decided pairs may have it, whatever the outcome; None = it may."""
        if self.flagged:
            return LeftOut.FLAGGED
        if not self.outcome:
            return self._undecided()
        if self._outdated():
            return LeftOut.CHANGED
        if self.outcome == Decision.DROP:
            return LeftOut.DROPPED
        if self.a.is_empty or self.b.is_empty:
            return LeftOut.EMPTY
        return LeftOut.FILTERED if self.filtered else None

    @property
    def decided(self) -> str:
        """The outcome that follows from the votes beside it, "" where none does: what a reviewer said, or
        what the rule of the Dataset makes of them. The current Decision may be one vote behind, since it
        is settled just before the snapshot: then the majority stands in, as on the pages."""
        if self.method == Decision.Method.REVIEWER:
            return self.outcome
        if self.flagged:
            return ""
        if self.outcome and not self._outdated():
            return self.outcome
        if self.by_skill and not self.outcome:
            return ""
        ((leading, count),) = self.tally.most_common(1) or [("", 0)]
        return leading if 2 * count > self.tally.total() else ""

    def _undecided(self) -> LeftOut:
        if self.tally:
            return LeftOut.UNDECIDED
        return LeftOut.CANNOT_JUDGE if any(vote.is_current for vote in self.votes) else LeftOut.NOT_JUDGED

    def _outdated(self) -> bool:
        # Agreement is settled in a transaction of its own just before the snapshot; a Judgment that came
        # between the two would make a Decision and the votes beside it contradict each other.
        if self.method == Decision.Method.REVIEWER:
            return False
        return self.decided_votes != [self.tally.total(), self.tally[self.outcome]]


def left_out_for(outcome: str) -> LeftOut:
    """The reason that a profile gives when its rule has no use for a decided outcome."""
    return _OF_OUTCOME[outcome]


def cases(
    dataset: Dataset, using: str, *, filters: Filters = EVERYTHING, version: ModelVersion | None = None
) -> Generator[Case]:
    """All Comparisons of the dataset in the order of their prompt's sha256 and then their pair's; those that
    `filters` keep back say so. Holds CHUNK of them at a time: keys are streamed in order, texts fetched by
    key. `version` is the one whose confidence the filters ask for. Raises BadFilter."""
    comparisons = Comparison.objects.using(using).filter(dataset=dataset)
    passed = passing(comparisons, filters, version)
    ordered = (
        comparisons.order_by("prompt__sha256", "a__sha256", "b__sha256")
        .values_list("pk", "prompt_id", "a_id", "b_id")
        .iterator(chunk_size=CHUNK)
    )
    by_skill = dataset.aggregation == Dataset.Aggregation.SKILL
    return _streamed(ordered, passed if filters != EVERYTHING else None, by_skill, using)


@dataclass(frozen=True)
class Kept:
    """What the Prompts and Completions of a Dataset have beside messages of role and text: `whole` when any
    message holds more, or an answer has several; `tools` when any Prompt came with tools."""

    whole: bool = False
    tools: bool = False


def kept_by(dataset: Dataset, using: str) -> Kept:
    prompts = Prompt.objects.using(using).of(dataset)
    answers = Completion.objects.using(using).of(dataset).filter(conversation__isnull=False)
    whole = prompts.exclude(reading=None).exists() or answers.exists()
    return Kept(whole, prompts.filter(tools__isnull=False).exists())


def _streamed(
    ordered: Iterator[tuple[int, int, int, int]],
    passed: ComparisonQuerySet | None,
    by_skill: bool,
    using: str,
) -> Generator[Case]:
    while chunk := list(islice(ordered, CHUNK)):
        yield from _filled(chunk, passed, by_skill, using)


def _filled(
    chunk: Sequence[tuple[int, int, int, int]],
    passed: ComparisonQuerySet | None,
    by_skill: bool,
    using: str,
) -> Iterator[Case]:
    keys = [key for key, *_ in chunk]
    prompts = {
        key: Asked(*rest)
        for key, *rest in Prompt.objects.using(using)
        .filter(pk__in={prompt for _, prompt, _, _ in chunk})
        .values_list("pk", "messages", "sha256", "group", "metadata", "external_id", "tools")
    }
    answers = {
        key: Answer(*rest)
        for key, *rest in Completion.objects.using(using)
        .filter(pk__in={side for _, _, *sides in chunk for side in sides})
        .values_list("pk", "text", "sha256", "source", "metadata", "conversation")
    }
    decisions: dict[int, list[Any]] = {
        key: rest
        for key, *rest in Decision.objects.using(using)
        .current()
        .filter(comparison__in=keys)
        .values_list(
            "comparison_id", "outcome", "method", "reason", "note", "posterior", "votes", "votes_for"
        )
    }
    pairs: dict[int, list[Any]] = {
        key: rest
        for key, *rest in Comparison.objects.using(using)
        .filter(pk__in=keys)
        .values_list("pk", "external_id", "metadata")
    }
    flags = _flags(keys, using)
    through = keys if passed is None else passed.filter(pk__in=keys).values_list("pk", flat=True)
    unfiltered = set(through)
    votes = _votes(keys, using)
    for key, prompt, a, b in chunk:
        outcome, method, reason, note, posterior, *counts = decisions.get(key, _NO_DECISION)
        external_id, metadata = pairs[key]
        yield Case(
            prompt=prompts[prompt],
            external_id=external_id,
            pair_metadata=metadata,
            a=answers[a],
            b=answers[b],
            outcome=outcome,
            method=method,
            reason=reason,
            note=note,
            posterior=posterior,
            decided_votes=counts,
            votes=votes[key],
            flags=flags[key],
            filtered=key not in unfiltered,
            by_skill=by_skill,
        )


def _flags(keys: Iterable[int], using: str) -> dict[int, list[dict[str, Any]]]:
    raised = Flag.objects.using(using).filter(comparison__in=keys).order_by("created_at", "pk")
    flags: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for key, pseudonym, reason, note, closed in raised.values_list(
        "comparison_id", "annotator__pseudonym", "reason", "note", "closed_at"
    ):
        told = {"annotator": str(pseudonym), "reason": reason, "note": note, "open": closed is None}
        flags[key].append(told)
    return flags


def _votes(keys: Iterable[int], using: str) -> dict[int, list[Vote]]:
    rows = (
        Judgment.objects.using(using)
        .for_votes()
        .filter(comparison__in=keys)
        .order_by("comparison_id", "created_at", "pk")
        .values_list(
            "comparison_id",
            "annotator__pseudonym",
            "annotator__user_id",
            "outcome",
            "strength",
            "stage",
            "mode",
            "left",
            "suggested",
            "seconds",
            "guidelines__number",
            "is_current",
            "created_at",
            "comment",
            "metadata",
        )
    )
    votes: dict[int, list[Vote]] = defaultdict(list)
    for key, pseudonym, user, *rest in rows:
        votes[key].append(Vote(pseudonym, user is None, *rest))
    return votes
