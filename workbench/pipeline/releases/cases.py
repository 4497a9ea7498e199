"""Every Comparison of a Dataset at one moment, in an order that depends on the contents alone."""

from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple, TypedDict
from uuid import UUID

from django.db import models

from scoring.rows.drafts import FILE_LICENCE
from workbench.db.bulk import in_chunks
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
from workbench.models.dataset import Excluded, Message
from workbench.pipeline.data.fields import BadSelection
from workbench.pipeline.data.finding import pairs_at
from workbench.pipeline.data.search import BadQuery
from workbench.pipeline.releases.filters import BadFilter, Filters, View, passing
from workbench.pipeline.text.shapes import Shape, shape_of_answer, shape_of_prompt

CHUNK = 500
EVERYTHING = Filters()


class LeftOut(models.TextChoices):
    """Why a Comparison gives a profile no row."""

    NOT_JUDGED = "not_judged", "It has no votes or imported labels yet"
    UNDECIDED = "undecided", "No outcome leads among its votes and labels, and no reviewer has settled it"
    CHANGED = "changed", "New votes or labels came while the release was being built; the next release has it"
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
    EXCLUDED = "excluded", "An admin excluded its prompt"
    OUTSIDE_VIEW = "outside_view", "Not in the saved view of this release"


_LICENCE = ("licence", "license")
LEFT_OUT_FOR: dict[str, LeftOut] = {
    Outcome.TIE: LeftOut.TIE,
    Outcome.BOTH_BAD: LeftOut.BOTH_BAD,
    Outcome.CANNOT_JUDGE: LeftOut.CANNOT_JUDGE,
    Decision.DROP: LeftOut.DROPPED,
}
"""The reason to leave out a case by its outcome, where the rule of a profile does not name the outcome."""


class FlagFacts(TypedDict):
    annotator: str
    reason: str
    note: str
    open: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """A Completion; `conversation` is None where the only message is `text`, by the assistant."""

    text: str
    sha256: str
    source: str
    metadata: dict[str, object]
    conversation: list[Message] | None = None

    @property
    def messages(self) -> list[Message]:
        return self.conversation or [{"role": "assistant", "content": self.text}]

    @property
    def is_empty(self) -> bool:
        return not self.text.strip()


@dataclass(frozen=True, slots=True)
class Question:
    """A Prompt."""

    messages: list[Message]
    sha256: str
    group: str
    metadata: dict[str, object]
    external_id: str = ""
    tools: object = None
    excluded_from: str = ""
    pk: int = 0


@dataclass(frozen=True, slots=True)
class Vote:
    """A Judgment, with its annotator under a pseudonym."""

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
    metadata: dict[str, object]


class Label(NamedTuple):
    """The current Decision of a Comparison; "" = none. `posterior` has the probability of each outcome where
    aggregation decided. `votes` counts the opinions, `votes_for` the opinions for the outcome."""

    outcome: str = ""
    method: str = ""
    reason: str = ""
    note: str = ""
    posterior: dict[str, float] | None = None
    votes: int = 0
    votes_for: int = 0


@dataclass(frozen=True)
class Case:
    """One Comparison with every value that a profile may write. `flags` has closed flags too. `narrowed`: why
    the filters of the Release leave it out; None = they don't. `by_skill`: the Dataset decides by
    aggregation."""

    prompt: Question
    external_id: str
    metadata: dict[str, object]
    a: Answer
    b: Answer
    label: Label
    votes: list[Vote]
    flags: list[FlagFacts]
    narrowed: LeftOut | None
    by_skill: bool

    @property
    def messages(self) -> list[Message]:
        return self.prompt.messages

    @property
    def group(self) -> str:
        return self.prompt.group

    @property
    def outcome(self) -> str:
        return self.label.outcome

    @property
    def method(self) -> str:
        return self.label.method

    @property
    def excluded(self) -> bool:
        return self.prompt.excluded_from in (Excluded.RELEASES, Excluded.BOTH)

    @property
    def flagged(self) -> bool:
        return any(flag["open"] for flag in self.flags)

    @cached_property
    def shape(self) -> Shape:
        of_prompt = shape_of_prompt(self.messages, self.prompt.tools is not None)
        return of_prompt & shape_of_answer(self.a.conversation) & shape_of_answer(self.b.conversation)

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
        """The licence of the answer, else of its pair, its prompt or its file; "" = the Dataset's."""
        places = (answer.metadata, self.metadata, self.prompt.metadata)
        values = [place.get(key) for place in places for key in _LICENCE]
        values.append(answer.metadata.get(FILE_LICENCE))
        return next((value.strip() for value in values if isinstance(value, str) and value.strip()), "")

    @property
    def barred(self) -> LeftOut | None:
        """Why every profile of decided pairs leaves out the case; None = a profile may have the case."""
        if self.excluded:
            return LeftOut.EXCLUDED
        if self.flagged:
            return LeftOut.FLAGGED
        if not self.outcome and self.tally:
            return LeftOut.UNDECIDED
        if not self.outcome:
            judged = any(vote.is_current for vote in self.votes)
            return LeftOut.CANNOT_JUDGE if judged else LeftOut.NOT_JUDGED
        if self._outdated():
            return LeftOut.CHANGED
        if self.outcome == Decision.DROP:
            return LeftOut.DROPPED
        if self.a.is_empty or self.b.is_empty:
            return LeftOut.EMPTY
        return self.narrowed

    @property
    def decided(self) -> str:
        """The outcome by a reviewer, or by the Dataset's rule from the votes of the case; "" = none.

        Decisions are derived just before the snapshot, so the Decision may lack a newer vote. Then the
        majority of the votes counts, as on the pages."""
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

    def _outdated(self) -> bool:
        # A Judgment between the derivation of Decisions and the snapshot makes the two differ.
        if self.method == Decision.Method.REVIEWER:
            return False
        return (self.label.votes, self.label.votes_for) != (self.tally.total(), self.tally[self.outcome])


def cases(
    dataset: Dataset, using: str, *, filters: Filters = EVERYTHING, version: ModelVersion | None = None
) -> Generator[Case]:
    """All Comparisons of the dataset, ordered by the sha256 of the prompt, of a and of b. A Comparison that
    does not pass `filters` is marked as `narrowed`. Memory: CHUNK Comparisons, as keys are streamed in order
    and texts fetched by key; with a view also the keys that it finds. version: whose confidence a filter may
    ask for. Raises BadFilter."""
    comparisons = Comparison.objects.using(using).filter(dataset=dataset)
    narrowing = _Narrowing(
        None if filters.asks_nothing_but_a_view else passing(comparisons, filters, version),
        _viewed(using, dataset, filters.view, version) if filters.view else None,
    )
    ordered = _in_order(comparisons).iterator(chunk_size=CHUNK)
    by_skill = dataset.aggregation == Dataset.Aggregation.SKILL
    # This function is no generator, so that the call raises BadFilter, and not the first row.
    return (
        case for chunk in in_chunks(ordered, CHUNK) for case in _filled(chunk, narrowing, by_skill, using)
    )


def cases_of(dataset: Dataset, pairs: Sequence[int]) -> list[Case]:
    """The cases of these primary keys, at most some dozens, in the same order; no filter narrows them."""
    rows = list(_in_order(Comparison.objects.filter(dataset=dataset, pk__in=pairs)))
    by_skill = dataset.aggregation == Dataset.Aggregation.SKILL
    return list(_filled(rows, _Narrowing(), by_skill, "default"))


def _in_order(
    comparisons: ComparisonQuerySet,
) -> "models.QuerySet[Comparison, tuple[int, int, int, int]]":
    ordered = comparisons.order_by("prompt__sha256", "a__sha256", "b__sha256")
    return ordered.values_list("pk", "prompt_id", "a_id", "b_id")


@dataclass(frozen=True)
class _Narrowing:
    """passed: the Comparisons that pass the filters; viewed: the primary keys that the saved view finds; None
    = no such filter."""

    passed: ComparisonQuerySet | None = None
    viewed: frozenset[int] | None = None

    def reasons(self, keys: Sequence[int]) -> dict[int, LeftOut]:
        """Why these Comparisons are left out, by primary key of those that are."""
        reasons = {}
        if self.passed is not None:
            passed = set(self.passed.filter(pk__in=keys).values_list("pk", flat=True))
            reasons = {key: LeftOut.FILTERED for key in keys if key not in passed}
        if self.viewed is not None:
            reasons |= {key: LeftOut.OUTSIDE_VIEW for key in keys if key not in self.viewed}
        return reasons


def _viewed(using: str, dataset: Dataset, view: View, version: ModelVersion | None) -> frozenset[int]:
    try:
        return frozenset(pairs_at(using, dataset, view.query, version).tolist())
    except (BadSelection, BadQuery) as error:
        raise BadFilter(f"The view {view.name} cannot be used. {error}") from None


@dataclass(frozen=True)
class Extras:
    """Whether a Dataset holds more than messages of a role and a text. whole: a message holds more, or an
    answer has several messages. tools: a Prompt came with tools."""

    whole: bool = False
    tools: bool = False


def extras_of(dataset: Dataset, using: str) -> Extras:
    prompts = Prompt.objects.using(using).of(dataset)
    answers = Completion.objects.using(using).of(dataset).filter(conversation__isnull=False)
    whole = prompts.exclude(reading=None).exists() or answers.exists()
    return Extras(whole, prompts.filter(tools__isnull=False).exists())


def _filled(
    chunk: Sequence[tuple[int, int, int, int]],
    narrowing: _Narrowing,
    by_skill: bool,
    using: str,
) -> Iterator[Case]:
    keys = [key for key, *_ in chunk]
    prompts = {
        key: Question(*values)
        for key, *values in Prompt.objects.using(using)
        .filter(pk__in={prompt for _, prompt, _, _ in chunk})
        .values_list(
            "pk", "messages", "sha256", "group", "metadata", "external_id", "tools", "excluded_from", "pk"
        )
    }
    answers = {
        key: Answer(*values)
        for key, *values in Completion.objects.using(using)
        .filter(pk__in={side for _, _, *sides in chunk for side in sides})
        .values_list("pk", "text", "sha256", "source", "metadata", "conversation")
    }
    labels = {
        row[0]: Label(*row[1:])
        for row in Decision.objects.using(using)
        .current()
        .filter(comparison__in=keys)
        .values_list(
            "comparison_id", "outcome", "method", "reason", "note", "posterior", "votes", "votes_for"
        )
    }
    comparisons = Comparison.objects.using(using).filter(pk__in=keys)
    pairs = {key: pair for key, *pair in comparisons.values_list("pk", "external_id", "metadata")}
    flags = _flags(keys, using)
    narrowed = narrowing.reasons(keys)
    votes = _votes(keys, using)
    for key, prompt, a, b in chunk:
        external_id, metadata = pairs[key]
        yield Case(
            prompt=prompts[prompt],
            external_id=external_id,
            metadata=metadata,
            a=answers[a],
            b=answers[b],
            label=labels.get(key, Label()),
            votes=votes[key],
            flags=flags[key],
            narrowed=narrowed.get(key),
            by_skill=by_skill,
        )


def _flags(keys: Iterable[int], using: str) -> dict[int, list[FlagFacts]]:
    raised = Flag.objects.using(using).filter(comparison__in=keys).order_by("created_at", "pk")
    flags: dict[int, list[FlagFacts]] = defaultdict(list)
    for key, pseudonym, reason, note, closed in raised.values_list(
        "comparison_id", "annotator__pseudonym", "reason", "note", "closed_at"
    ):
        flags[key].append(
            {"annotator": str(pseudonym), "reason": reason, "note": note, "open": closed is None}
        )
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
    for key, pseudonym, user, *values in rows:
        votes[key].append(Vote(pseudonym, user is None, *values))
    return votes
