"""The profiles of a Release: columns, and a rule for each outcome."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from scoring.formats import flatten_messages
from scoring.rows.drafts import NO_BLANK_AFTER_ROLE, TRANSCRIPT
from scoring.rows.shapes.pairs import transcript
from workbench.models import Decision, Outcome
from workbench.models.dataset import Message
from workbench.pipeline.releases.cases import LEFT_OUT_FOR, Answer, Case, Extras, LeftOut
from workbench.pipeline.releases.files import Row
from workbench.pipeline.text.shapes import Shape
from workbench.pipeline.text.splits import SPLITS, Split

Write = Callable[[Case], Iterator[Row]]

NESTED = frozenset({"messages", "message", "turns", "turn", "objects", "object"})
"""Column types that a CSV cannot hold: `message` = {role, content}, `turn` = {from, value}, `object` = any
JSON; `messages`, `turns` and `objects` are lists of them. All other column types are types of `datasets`."""

ANY_SHAPE = Shape(0)

WHOLE = {"messages": "objects", "message": "object"}
"""The types of these columns in a Dataset whose messages hold more than a role and a text."""


@dataclass(frozen=True)
class Profile:
    """title: what pages call the profile; its files are named by `name`. columns: the type of each column.
    rule: how the cases of an outcome are written; cases of other outcomes are left out and counted. reads:
    the readers of the profile. shape: what the turns of a pair must be like. rows_a_pair: where every vote is
    a row (`undecided_too`), as many as there are votes instead. torn: whether TRL would take words of the
    answers for the prompt. reading: the texts are the reading view of any message; other profiles of texts
    leave out messages that hold more than a text."""

    name: str
    title: str
    purpose: str
    columns: Mapping[str, str]
    rule: Mapping[str, str]
    write: Write
    reads: str = ""
    splits: Sequence[Split] = SPLITS
    shape: Shape = ANY_SHAPE
    undecided_too: bool = False
    rows_a_pair: int = 1
    reading: bool = False
    torn: Callable[[Case], bool] = lambda _: False

    @property
    def is_flat(self) -> bool:
        return NESTED.isdisjoint(self.columns.values())

    @property
    def is_whole(self) -> bool:
        """Whether messages are written whole, as they came."""
        return not WHOLE.keys().isdisjoint(self.columns.values())

    def with_columns_for(self, extras: Extras) -> "Profile":
        """The profile with columns that can hold the extras."""
        if not self.is_whole:
            return self
        columns = dict(self.columns)
        if extras.whole:
            columns = {name: WHOLE.get(kind, kind) for name, kind in columns.items()}
        return replace(self, columns=columns | ({"tools": "object"} if extras.tools else {}))

    def rows(self, case: Case) -> Iterator[Row]:
        """The rows of a case that is not left out."""
        for row in self.write(case):
            yield {**row, "tools": case.prompt.tools} if self.columns.get("tools") == "object" else row

    @property
    def can_hold(self) -> Shape:
        """What a pair must be like for the columns to hold it whole."""
        if self.reading:
            return ANY_SHAPE
        if "turns" in self.columns.values():
            return Shape.PLAIN
        return Shape.TEXT if self.is_flat else ANY_SHAPE

    def left_out(self, case: Case, split: Split) -> LeftOut | None:
        """Why the profile has no row of the case; None = the profile has rows of the case."""
        if case.excluded:
            return LeftOut.EXCLUDED
        if self.undecided_too:
            return case.narrowed if case.votes else LeftOut.NOT_JUDGED
        if barred := case.barred:
            return barred
        if case.outcome not in self.rule:
            return LEFT_OUT_FOR[case.outcome]
        if split not in self.splits:
            return LeftOut.OTHER_SPLIT
        if self.can_hold not in case.shape:
            return LeftOut.MESSAGES
        return None if self.shape in case.shape else LeftOut.TURNS


def prompt_text(case: Case) -> str:
    return flatten_messages(case.messages)


def pair_id(case: Case) -> str:
    """An id that depends on the contents of the pair alone."""
    answers = sorted((case.a.sha256, case.b.sha256))
    return hashlib.sha256("".join((case.prompt.sha256, *answers)).encode()).hexdigest()[:24]


def margin(case: Case) -> float:
    """How clearly the preferred side leads, 0 to 1: (votes for the side - votes for the other) / opinions.
    Where aggregation decided: the difference of the two probabilities. Where a reviewer decided: 1."""
    if case.method == Decision.Method.REVIEWER or not case.tally:
        return 1.0
    other_side = Outcome.B if case.outcome == Outcome.A else Outcome.A
    if posterior := case.label.posterior:
        return max(0.0, posterior[case.outcome] - posterior[other_side])
    return (case.tally[case.outcome] - case.tally[other_side]) / case.tally.total()


def shares(case: Case) -> tuple[float, float, float]:
    """Shares of a, b and tie among the opinions for these three. Where aggregation decided: shares of the
    three probabilities. Where a reviewer decided: 1 for the outcome."""
    three = (Outcome.A, Outcome.B, Outcome.TIE)
    if case.method == Decision.Method.REVIEWER or not case.tally:
        decided = case.outcome if case.outcome in three else Outcome.TIE
        weights = [float(outcome == decided) for outcome in three]
    else:
        weights = [(case.label.posterior or case.tally)[outcome] for outcome in three]
    a, b, tie = (weight / sum(weights) for weight in weights)
    return a, b, tie


def strength(case: Case) -> float:
    """Mean strength of the opinions for the outcome, on the scale of their source: 1 (better) and 2 (much
    better) for votes on our pages. 0 for a tie, and where no opinion has a strength."""
    if case.outcome not in (Outcome.A, Outcome.B):
        return 0.0
    strengths = [
        vote.strength
        for vote in case.votes
        if vote.is_current and vote.outcome == case.outcome and vote.strength is not None
    ]
    return sum(strengths) / len(strengths) if strengths else 0.0


def _pair(prompt: str, preferred: str, rejected: str) -> Write:
    def write(case: Case) -> Iterator[Row]:
        better, worse = case.preferred
        yield {prompt: prompt_text(case), preferred: better.text, rejected: worse.text}

    return write


def _pair_with_margin(case: Case) -> Iterator[Row]:
    better, worse = case.preferred
    yield {
        "prompt": prompt_text(case),
        "chosen": better.text,
        "rejected": worse.text,
        "margin": margin(case),
    }


def _transcripts(case: Case) -> Iterator[Row]:
    before = case.prompt.metadata.get(TRANSCRIPT) or transcript(case.messages)
    better, worse = (
        f"{before}\n\nAssistant:{'' if answer.metadata.get(NO_BLANK_AFTER_ROLE) else ' '}{answer.text}"
        for answer in case.preferred
    )
    yield {"chosen": better, "rejected": worse}


def _chat(case: Case) -> Iterator[Row]:
    better, worse = case.preferred
    yield {"prompt": case.messages, "chosen": better.messages, "rejected": worse.messages}


def _whole_chats(case: Case) -> Iterator[Row]:
    better, worse = case.preferred
    yield {
        "chosen": [*case.messages, *better.messages],
        "rejected": [*case.messages, *worse.messages],
    }


def _axolotl(case: Case) -> Iterator[Row]:
    better, worse = case.preferred
    yield {"messages": case.messages, "chosen": better.messages[0], "rejected": worse.messages[0]}


_SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}


def _sharegpt(message: Message) -> dict[str, str]:
    return {"from": _SHAREGPT[message["role"]], "value": message["content"]}


def _llama_factory(case: Case) -> Iterator[Row]:
    better, worse = case.preferred
    yield {
        "conversations": [_sharegpt(message) for message in case.messages],
        "chosen": _sharegpt(better.messages[0]),
        "rejected": _sharegpt(worse.messages[0]),
    }


def _liked(case: Case) -> Iterator[tuple[Answer, bool]]:
    liked = {Outcome.A: (True, False), Outcome.B: (False, True)}.get(Outcome(case.outcome), (False, False))
    yield from zip((case.a, case.b), liked, strict=True)


def _unpaired(case: Case) -> Iterator[Row]:
    for answer, label in _liked(case):
        yield {"prompt": prompt_text(case), "completion": answer.text, "label": label}


def _unpaired_chats(case: Case) -> Iterator[Row]:
    for answer, label in _liked(case):
        yield {"prompt": case.messages, "completion": answer.messages, "label": label}


def _soft(case: Case) -> Iterator[Row]:
    a, _, tie = shares(case)
    yield {
        "prompt": prompt_text(case),
        "completion_a": case.a.text,
        "completion_b": case.b.text,
        "p_a": a + tie / 2,
        "p_tie": tie,
        "n": case.tally.total(),
        "method": case.method,
        "strength": strength(case),
        "group": case.group,
    }


NOT_ASKED = -1
"""Stands for no strength, as 0 is a strength on some scales."""


def as_json(value: object) -> str:
    """The value as JSON text, which every format can hold; "" for an empty value. Keys are sorted, as their
    order depends on the database."""
    if not value:
        return ""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def whole_json(value: object) -> str:
    """Messages or tools as JSON text, keys in their order; "" for None."""
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _is_one_text(messages: list[Message]) -> bool:
    return len(messages) == 1 and messages[0].keys() == {"role", "content"} and messages[0]["role"] == "user"


def _votes(case: Case) -> Iterator[Row]:
    prompt = case.prompt
    of_pair = {
        "pair_id": pair_id(case),
        "prompt": prompt_text(case),
        "completion_a": case.a.text,
        "completion_b": case.b.text,
    }
    of_label_and_sources = {
        "decided": case.decided,
        "method": case.method if case.decided == case.outcome else "",
        "reason": case.label.reason,
        "note": case.label.note,
        "flags": as_json(case.flags),
        "id": case.external_id,
        "prompt_id": prompt.external_id,
        "source_a": case.a.source,
        "source_b": case.b.source,
        "messages": "" if _is_one_text(prompt.messages) else whole_json(prompt.messages),
        "tools": whole_json(prompt.tools),
        "messages_a": whole_json(case.a.conversation),
        "messages_b": whole_json(case.b.conversation),
        "prompt_metadata": as_json(prompt.metadata),
        "metadata_a": as_json(case.a.metadata),
        "metadata_b": as_json(case.b.metadata),
        "pair_metadata": as_json(case.metadata),
    }
    for vote in case.votes:
        yield {
            **of_pair,
            "outcome": vote.outcome,
            "strength": NOT_ASKED if vote.strength is None else vote.strength,
            "comment": vote.comment,
            "annotator": str(vote.pseudonym),
            "imported": vote.imported,
            "stage": vote.stage,
            "mode": vote.mode,
            "left": vote.left,
            "suggested": vote.suggested,
            "current": vote.is_current,
            "seconds": vote.seconds or 0.0,
            "guidelines": vote.guidelines or 0,
            "judged_at": int(vote.at.timestamp()),
            "vote_metadata": as_json(vote.metadata),
            **of_label_and_sources,
        }


def _rewardbench(case: Case) -> Iterator[Row]:
    better, worse = case.preferred
    yield {
        "id": pair_id(case),
        "prompt": prompt_text(case),
        "chosen": better.text,
        "chosen_model": better.source,
        "rejected": worse.text,
        "rejected_model": worse.source,
        "subset": case.method,
    }


def _begin_alike(case: Case) -> bool:
    """Whether both answers begin with the same character. TRL's extract_prompt takes the longest common
    prefix of two transcripts for the prompt."""
    return case.a.text[:1] == case.b.text[:1]


_TEXT = "string"
_PREFERENCE = {
    Outcome.A.value: "a is written as the preferred text, b as the rejected",
    Outcome.B.value: "b is written as the preferred text, a as the rejected",
}
_LIKED = {
    Outcome.A.value: "a is written with label true, b with label false",
    Outcome.B.value: "b is written with label true, a with label false",
    Outcome.BOTH_BAD.value: "both are written with label false",
}

_ALL = [
    Profile(
        name="pairs",
        title="Prompt, preferred, rejected",
        purpose="One row a pair: the prompt, the preferred answer and the rejected answer",
        columns={"prompt": _TEXT, "preferred": _TEXT, "rejected": _TEXT},
        rule=_PREFERENCE,
        write=_pair("prompt", "preferred", "rejected"),
    ),
    Profile(
        name="preference",
        title="TRL, plain text",
        purpose="Plain preference pairs, as most trainers read them",
        reads="TRL: DPOTrainer and other preference trainers (standard, explicit prompt)",
        columns={"prompt": _TEXT, "chosen": _TEXT, "rejected": _TEXT},
        rule=_PREFERENCE,
        write=_pair("prompt", "chosen", "rejected"),
    ),
    Profile(
        name="aira",
        title="Prompt, prefered_completions, rejected_completions",
        purpose="The columns of the seed model's card, in its own spelling",
        columns={"prompt": _TEXT, "prefered_completions": _TEXT, "rejected_completions": _TEXT},
        rule=_PREFERENCE,
        write=_pair("prompt", "prefered_completions", "rejected_completions"),
    ),
    Profile(
        name="reward-aira",
        title="Instruction, chosen_response, rejected_response",
        purpose="The columns of the seed's training data today",
        reads="Axolotl: type chatml.argilla",
        columns={"instruction": _TEXT, "chosen_response": _TEXT, "rejected_response": _TEXT},
        rule=_PREFERENCE,
        write=_pair("instruction", "chosen_response", "rejected_response"),
    ),
    Profile(
        name="trl-implicit",
        title="Transcripts of Human and Assistant",
        purpose="Whole transcripts of Human and Assistant, the prompt inside both",
        reads="Anthropic's HH-RLHF format. Not for TRL: where both answers begin with the same words, TRL "
        "takes these words for the prompt. Use preference or trl-chat",
        columns={"chosen": _TEXT, "rejected": _TEXT},
        rule=_PREFERENCE,
        write=_transcripts,
        shape=Shape.TWO_SPEAKERS,
        torn=_begin_alike,
    ),
    Profile(
        name="trl-chat",
        title="TRL, conversations",
        purpose="Conversations as messages, prompt and answers apart",
        reads="TRL: conversational, explicit prompt",
        columns={"prompt": "messages", "chosen": "messages", "rejected": "messages"},
        rule=_PREFERENCE,
        write=_chat,
    ),
    Profile(
        name="trl-chat-implicit",
        title="TRL, conversations with the prompt inside",
        purpose="Whole conversations as messages, the prompt inside both",
        reads="TRL: conversational, implicit prompt; Axolotl: type chat_template.argilla_chat",
        columns={"chosen": "messages", "rejected": "messages"},
        rule=_PREFERENCE,
        write=_whole_chats,
    ),
    Profile(
        name="trl-reward",
        title="TRL, reward training with a margin",
        purpose="Preference pairs with a margin from 0 to 1: how much clearer the preferred side was",
        reads="TRL: RewardTrainer",
        columns={"prompt": _TEXT, "chosen": _TEXT, "rejected": _TEXT, "margin": "float64"},
        rule=_PREFERENCE,
        write=_pair_with_margin,
    ),
    Profile(
        name="kto",
        title="Single answers, liked or not",
        purpose="Single answers with a label: liked or not. An answer in several pairs has a row for each",
        reads="TRL: KTOTrainer",
        columns={"prompt": _TEXT, "completion": _TEXT, "label": "bool"},
        rule=_LIKED,
        write=_unpaired,
        rows_a_pair=2,
    ),
    Profile(
        name="kto-chat",
        title="Single answers as messages, liked or not",
        purpose="Single answers as messages, with a label: liked or not, as in kto",
        reads="TRL: KTOTrainer (conversational)",
        columns={"prompt": "messages", "completion": "messages", "label": "bool"},
        rule=_LIKED,
        write=_unpaired_chats,
        rows_a_pair=2,
    ),
    Profile(
        name="openrlhf",
        title="OpenRLHF",
        purpose="Preference pairs with a margin, under OpenRLHF's usual keys",
        reads="OpenRLHF: prompt, chosen and rejected keys; margin with --model.margin_loss_enable",
        columns={"prompt": _TEXT, "chosen": _TEXT, "rejected": _TEXT, "margin": "float64"},
        rule=_PREFERENCE,
        write=_pair_with_margin,
    ),
    Profile(
        name="axolotl",
        title="Axolotl",
        purpose="Conversations as messages, each answer one message",
        reads="Axolotl: type chat_template.default",
        columns={"messages": "messages", "chosen": "message", "rejected": "message"},
        rule=_PREFERENCE,
        write=_axolotl,
        shape=Shape.ONE_MESSAGE,
    ),
    Profile(
        name="llama-factory",
        title="LLaMA-Factory",
        purpose="ShareGPT conversations, with the dataset_info.json that describes them",
        reads="LLaMA-Factory: ranking, sharegpt",
        columns={"conversations": "turns", "chosen": "turn", "rejected": "turn"},
        rule=_PREFERENCE,
        write=_llama_factory,
        shape=Shape.IN_TURNS,
    ),
    Profile(
        name="soft-label",
        title="Shares of votes, ties included",
        purpose="Both answers with the share of votes for a (a tie counts half), strength and prompt group",
        reads="Retraining here, and any trainer with soft targets",
        columns={
            "prompt": _TEXT,
            "completion_a": _TEXT,
            "completion_b": _TEXT,
            "p_a": "float64",
            "p_tie": "float64",
            "n": "int64",
            "method": _TEXT,
            "strength": "float64",
            "group": _TEXT,
        },
        rule={
            outcome.value: "written with the share of votes for a, or its probability by aggregation; a "
            "reviewer's label counts alone"
            for outcome in (Outcome.A, Outcome.B, Outcome.TIE)
        },
        write=_soft,
        reading=True,
    ),
    Profile(
        name="all-votes",
        title="Every vote",
        purpose="Every vote with its comment, old versions too: side, time, pseudonym, before or after "
        "the model's pick was shown, and the final label",
        columns={
            "pair_id": _TEXT,
            "prompt": _TEXT,
            "completion_a": _TEXT,
            "completion_b": _TEXT,
            "outcome": _TEXT,
            "strength": "int64",
            "comment": _TEXT,
            "annotator": _TEXT,
            "imported": "bool",
            "stage": _TEXT,
            "mode": _TEXT,
            "left": _TEXT,
            "suggested": _TEXT,
            "current": "bool",
            "seconds": "float64",
            "guidelines": "int64",
            "judged_at": "int64",
            "vote_metadata": _TEXT,
            "decided": _TEXT,
            "method": _TEXT,
            "reason": _TEXT,
            "note": _TEXT,
            "flags": _TEXT,
            "id": _TEXT,
            "prompt_id": _TEXT,
            "source_a": _TEXT,
            "source_b": _TEXT,
            "messages": _TEXT,
            "tools": _TEXT,
            "messages_a": _TEXT,
            "messages_b": _TEXT,
            "prompt_metadata": _TEXT,
            "metadata_a": _TEXT,
            "metadata_b": _TEXT,
            "pair_metadata": _TEXT,
        },
        rule=dict.fromkeys(
            (*Outcome.values, Decision.DROP),
            "every vote is a row; a strength of -1 stands for no strength",
        ),
        write=_votes,
        undecided_too=True,
        reading=True,
    ),
    Profile(
        name="rewardbench",
        title="RewardBench",
        purpose="An evaluation set of the test split, with the models that wrote the texts",
        reads="RewardBench: as a custom set; subset says how the final label was made",
        columns={
            "id": _TEXT,
            "prompt": _TEXT,
            "chosen": _TEXT,
            "chosen_model": _TEXT,
            "rejected": _TEXT,
            "rejected_model": _TEXT,
            "subset": _TEXT,
        },
        rule=_PREFERENCE,
        write=_rewardbench,
        splits=("test",),
    ),
]
PROFILES: dict[str, Profile] = {profile.name: profile for profile in _ALL}
DEFAULT_PROFILES = ("preference", "aira")
