"""Drafts with every value that storing needs, computed beforehand to keep the transaction short.

JSON columns are JSON texts. The structs are arrays on disk (array_like). Garbage collection leaves them out
(gc=False), as no struct can refer to itself."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import orjson

from scoring.messages import Message, message_reading, search_text
from scoring.rows.drafts import CompletionDraft, Draft, JudgmentDraft, metadata_json
from workbench.models.dataset import messages_digest
from workbench.pipeline.imports.groups import own_group
from workbench.pipeline.text.language import beginning_of, language_of

_FLIPPED = {"a": "b", "b": "a"}
SYSTEM_ROLES = ("system", "developer")


class PackedAnswer(msgspec.Struct, array_like=True, gc=False):
    """An answer of a label source to a pair."""

    outcome: str
    strength: int | None
    comment: str
    metadata: str


class PackedJudgment(msgspec.Struct, array_like=True, gc=False):
    """The last answer of a label source to a pair, and the `earlier` answers. `stands` is False when the
    source took the last answer back."""

    annotator: str
    answer: PackedAnswer
    earlier: list[PackedAnswer]
    stands: bool


class PackedComparison(msgspec.Struct, array_like=True, gc=False):
    """`a` and `b` are places in the completions of the row, in canonical order."""

    a: int
    b: int
    external_id: str
    metadata: str
    judgments: list[PackedJudgment]


class PackedCompletion(msgspec.Struct, array_like=True, gc=False):
    sha256: str
    text: str
    source: str
    metadata: str
    messages: str | None


class PackedRow(msgspec.Struct, array_like=True, gc=False):
    """A Draft, ready to be stored. The spool sets `group` where a near-duplicate decides it, and
    `text_number`: the number of the prompt's text in Groups. `asked` is what the language is told by, once
    the prompt is stored: a preview in the web process has no need of the 90 MB that this takes. `language`:
    that of a prompt whose language was told before."""

    sha256: str
    group: str
    messages: str
    external_id: str
    metadata: str
    completions: list[PackedCompletion]
    comparisons: list[PackedComparison]
    tools: str | None
    reading: str | None
    characters: int
    turns: int
    asked: str
    text_number: int | None = None
    language: str | None = None

    def labels(self) -> int:
        """How many labels the row has for two texts that differ."""
        return sum(
            judgment.stands
            for pair in self.comparisons
            if self.completions[pair.a].sha256 != self.completions[pair.b].sha256
            for judgment in pair.judgments
        )


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(PackedRow).decode


def pack(draft: Draft) -> PackedRow:
    """Raises BadRow when a metadata value can't be stored."""
    completions = [_pack_completion(completion) for completion in draft.completions]
    comparisons = []
    for comparison in draft.comparisons:
        first, second = comparison.first, comparison.second
        flipped = completions[first].sha256 > completions[second].sha256
        a, b = (second, first) if flipped else (first, second)
        judgments = [_pack_judgment(judgment, flipped) for judgment in comparison.judgments]
        metadata = metadata_json(comparison.metadata)
        comparisons.append(PackedComparison(a, b, comparison.external_id, metadata, judgments))
    facts = prompt_facts(draft.messages)
    return PackedRow(
        messages_digest(draft.messages, draft.tools),
        own_group(draft.messages),
        json_of(draft.messages),
        draft.external_id,
        metadata_json(draft.metadata),
        completions,
        comparisons,
        None if draft.tools is None else json_of(draft.tools),
        search_text(draft.messages),
        facts.characters,
        facts.turns,
        facts.asked,
    )


@dataclass(frozen=True)
class PromptFacts:
    """What the Data page filters prompts by. `characters` of the reading view, without what separates the
    messages; `turns`: messages but the system's; `asked`: the beginning of the last message."""

    characters: int
    turns: int
    asked: str

    @property
    def language(self) -> str:
        return language_of(self.asked)


def prompt_facts(messages: Sequence[Message]) -> PromptFacts:
    readings = [message_reading(message) for message in messages]
    turns = sum(message.get("role") not in SYSTEM_ROLES for message in messages)
    # What was asked last, as a system prompt is often in English whatever the user speaks.
    asked = readings[-1] if readings else ""
    return PromptFacts(sum(map(len, readings)), turns, beginning_of(asked))


def _pack_completion(completion: CompletionDraft) -> PackedCompletion:
    messages = None if completion.messages is None else json_of(completion.messages)
    metadata = metadata_json(completion.metadata)
    return PackedCompletion(completion.digest, completion.text, completion.source, metadata, messages)


def _pack_judgment(judgment: JudgmentDraft, flipped: bool) -> PackedJudgment:
    earlier = [_pack_answer(superseded, flipped) for superseded in judgment.earlier]
    return PackedJudgment(judgment.annotator, _pack_answer(judgment, flipped), earlier, judgment.stands)


def _pack_answer(judgment: JudgmentDraft, flipped: bool) -> PackedAnswer:
    outcome = _FLIPPED.get(judgment.outcome, judgment.outcome) if flipped else judgment.outcome
    return PackedAnswer(outcome, judgment.strength, judgment.comment, metadata_json(judgment.metadata))


def json_of(value: object) -> str:
    """The value as JSON; orjson refuses whole numbers of more than 64 bits."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
