"""Two models answered the same question and somebody picked a winner."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scoring.formats import Message
from scoring.rows.conversations import answer_begins, is_asking, message_of
from scoring.rows.drafts import (
    ComparisonDraft,
    CompletionDraft,
    Draft,
    ImportOptions,
    JudgmentDraft,
    as_text,
    leftovers,
    list_of,
    name_of,
    prompt_of,
    text_of,
    whole_number_of,
)
from scoring.rows.rows import BadRow, Row, Values, refuse_bad_text
from scoring.rows.shapes.shape import Shape, per_row

_WINNERS = {
    "model_a": "a", "model_b": "b", "tie": "tie", "tie (bothbad)": "both_bad", "both_bad": "both_bad",
    "tie (inconsistent)": "tie",
}  # fmt: skip


def _conversations(row: Row, options: ImportOptions) -> Draft:
    """Chatbot Arena and MT-bench: two conversations and a winner.

    The last answers are judged, so the messages before them must be equal. In MT-bench, `turn` is the number
    of answers that the judge had read.
    """
    values = row.values
    winner = text_of(values, "winner")
    if winner not in _WINNERS:
        raise BadRow("winner", "unknown_winner", f"winner should be one of {', '.join(_WINNERS)}", winner)
    turns = whole_number_of(values, "turn", set(range(1, 1000)), or_none=True)
    a, b = (_until(values, f"conversation_{side}", turns) for side in "ab")
    begins = answer_begins(a, b)
    if not begins or any(map(is_asking, (*a[begins:], *b[begins:]))):
        raise BadRow(
            "conversation_b", "unequal_prefixes", "the two conversations differ before their last answer"
        )
    judge = values.get("judge")
    annotator = "/".join(map(str, judge)) if isinstance(judge, list) else name_of(values, "judge")
    used = {"conversation_a", "conversation_b", "winner", "judge", "model_a", "model_b", "question_id"}
    return _draft(
        row,
        prompt_of(a[:begins], "conversation_a"),
        [CompletionDraft.of(a[begins:]), CompletionDraft.of(b[begins:])],
        JudgmentDraft(_WINNERS[winner], annotator),
        used,
        name_of(values, "question_id"),
    )


def _until(values: Values, column: str, turns: int | None) -> list[Message]:
    """The conversation up to answer number `turns`, or to its end."""
    messages = [message_of(message, column) for message in list_of(values, column)]
    answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
    if turns is not None and len(answers) >= turns:
        messages = messages[: answers[turns - 1] + 1]
    if len(messages) < 2 or messages[-1]["role"] != "assistant":
        raise BadRow(column, "no_answer", f"{column} does not end with an answer to a message")
    return messages


def _arena_55k(row: Row, options: ImportOptions) -> Draft:
    """arena-human-preference-55k: prompt and responses are text that holds a JSON list of turns. A row whose
    responses to an earlier turn differ has no common prompt and is refused."""
    values = row.values
    questions, *answers = (_turns(values, column) for column in ("prompt", "response_a", "response_b"))
    if not len(questions) == len(answers[0]) == len(answers[1]) > 0:
        raise BadRow("response_a", "unequal_turns", "prompt and responses have different numbers of turns")
    if answers[0][:-1] != answers[1][:-1]:
        raise BadRow(
            "response_b", "unequal_prefixes", "the two conversations differ before their last answer"
        )
    messages = [
        message
        for question, answer in zip(questions, answers[0], strict=True)
        for message in ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    ][:-1]
    columns = {"winner_model_a": "a", "winner_model_b": "b", "winner_tie": "tie"}
    won = [outcome for column, outcome in columns.items() if whole_number_of(values, column, {0, 1}) == 1]
    if len(won) != 1:
        raise BadRow("winner_tie", "unknown_winner", "exactly one of the three winner columns should be 1")
    return _draft(
        row,
        prompt_of(messages, "prompt"),
        [CompletionDraft(turns[-1]) for turns in answers],
        JudgmentDraft(won[0]),
        {"id", "prompt", "response_a", "response_b", "model_a", "model_b", *columns},
        row_id=name_of(values, "id"),
    )


def _turns(values: Values, column: str) -> list[str]:
    text = text_of(values, column)
    try:
        turns: Any = json.loads(text)
    except (ValueError, RecursionError):
        turns = None
    if not isinstance(turns, list):
        raise BadRow(column, "not_a_list", f"{column} should be text that holds a JSON list of turns", text)
    # The escapes of the inner JSON are decoded only here.
    refuse_bad_text(turns, column)
    return [as_text(turn, column) for turn in turns]


def _draft(
    row: Row,
    prompt: list[Message],
    answers: Sequence[CompletionDraft],
    judgment: JudgmentDraft,
    used: set[str],
    prompt_id: str = "",
    row_id: str = "",
) -> Draft:
    values = row.values
    first, second = (
        replace(answer, source=name_of(values, f"model_{side}"))
        for side, answer in zip("ab", answers, strict=True)
    )
    comparison = ComparisonDraft(0, 1, (judgment,), row_id, leftovers(values, used))
    return Draft(row.line, prompt, (first, second), (comparison,), row_id=row_id, external_id=prompt_id)


SHAPES = (
    Shape(
        "arena",
        "Chatbot Arena, MT-bench: conversation_a, conversation_b, model_a, model_b, winner",
        needs=("conversation_a", "conversation_b", "winner"),
        drafts=per_row(_conversations),
        texts=("conversation_a", "conversation_b"),
    ),
    Shape(
        "arena-55k",
        "arena-human-preference-55k: prompt, response_a, response_b, winner_model_a, …_b, winner_tie",
        needs=("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"),
        drafts=per_row(_arena_55k),
        texts=("prompt", "response_a", "response_b"),
    ),
)
