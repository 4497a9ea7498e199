"""What goes into a scorer and what comes out, and the JSONL files that carry both.

Nothing here imports torch or numpy, so a web process may import it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from scoring.messages import Message as Message
from scoring.messages import answer_reading, is_plain, is_text_alone, message_reading, reading

Pair = tuple[str, str]
"""(prompt text, completion text): the reading views of both. A `Conversation` is one with its messages."""


class Conversation(tuple[str, str]):
    """A Pair that also has the messages whose reading views its two texts are, for the template `chat`.

    `messages` come before the answer, `answer` is the answer itself. Conversations with other messages are
    not equal, even where they read the same.
    """

    messages: Sequence[Message]
    answer: Sequence[Message]

    def __new__(cls, pair: Pair, messages: Sequence[Message], answer: Sequence[Message]) -> Conversation:
        made = super().__new__(cls, pair)
        made.messages, made.answer = messages, answer
        return made

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Conversation):
            return (*self, self.messages, self.answer) == (*other, other.messages, other.answer)
        return tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    def __reduce__(self) -> tuple[type[Conversation], tuple[Pair, Sequence[Message], Sequence[Message]]]:
        return Conversation, ((self[0], self[1]), self.messages, self.answer)


def pair_of_messages(messages: Sequence[Message], answer: Sequence[Message], text: str | None = None) -> Pair:
    """The Pair of a prompt and an answer given as messages. It is a Conversation unless each side is one
    plain message, which its text says whole. `text`: the reading view of the answer, where it is known."""
    pair = flatten_messages(messages), answer_reading(answer) if text is None else text
    is_one_turn = len(messages) == 1 and messages[0]["role"] == "user" and is_plain(messages[0])
    return pair if is_one_turn and is_text_alone(answer) else Conversation(pair, messages, answer)


MAX_LINE_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Scored:
    """The raw output of one scorer for one pair, and how it came about.

    `prompt_tokens` and `completion_tokens` count the tokens that the model saw, without special tokens;
    `prompt_cut` and `completion_cut` count the tokens that truncation took away. `precision` is the
    arithmetic that produced `value`: "fp32", "bf16", or "exact" for a rule that needs no model.
    `input_digest` is a signed 64-bit digest of the tokens that the model saw: texts have the same digest when
    they differ only where they were cut, or in what the tokenizer drops. None for a rule, which reads all of
    a text.
    """

    value: float
    prompt_tokens: int
    completion_tokens: int
    prompt_cut: int
    completion_cut: int
    precision: str
    input_digest: int | None = None


Scorer = Callable[[Sequence[Pair]], list[Scored]]
"""Scores pairs; results are in input order. Raises `BadText` when one pair can't be scored."""


class BadText(ValueError):
    """One pair that can't be scored: `index` is its place in the call, `reason` a sentence for people."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"text {index}: {reason}")
        self.index = index
        self.reason = reason

    def moved_by(self, offset: int) -> BadText:
        return BadText(self.index + offset, self.reason)

    def __reduce__(self) -> tuple[type[BadText], tuple[int, str]]:
        # Exceptions with two arguments don't unpickle by themselves, and a prefork pool pickles them.
        return BadText, (self.index, self.reason)


class BadLine(ValueError):
    """One line of a file that can't be read: `line` counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


EMPTY_COMPLETION = "the answer is empty"
"""The reason that `bad_pair` gives for an answer without a text."""


def bad_pair(prompt: str, completion: str) -> str | None:
    """The reason why a pair can't be scored by any scorer, or None."""
    for name, text in (("prompt", prompt), ("answer", completion)):
        if not isinstance(text, str):
            return f"the {name} is not text but {type(text).__name__}"
        if not text.strip():
            return f"the {name} is empty"
        try:
            text.encode()
        except UnicodeEncodeError:
            return f"the {name} holds half a character (a lone surrogate)"
    return None


def refuse_bad_pairs(pairs: Sequence[Pair]) -> None:
    """Raise `BadText` for the first pair that no scorer can score."""
    for index, (prompt, completion) in enumerate(pairs):
        if reason := bad_pair(prompt, completion):
            raise BadText(index, reason)


def flatten_messages(messages: Sequence[Mapping[str, Any]]) -> str:
    """One text for a prompt given as messages: their reading view (scoring.messages.reading, of the version
    FLATTENING). One user message of plain text is its content, byte for byte: the format the seed model was
    trained on. Anything else becomes turns, which the seed model has never seen: such scores are outside its
    training format.

    Raises ValueError when there is no message, or one has no role or says nothing that is text.
    """
    if not messages:
        raise ValueError("the conversation has no messages")
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError(f"message {number} has no role, or its role is not text")
        if not isinstance(message.get("content"), str) and not message_reading(message):
            raise ValueError(f"message {number} has no text")
    return reading(messages)


def prompt_text(prompt: object) -> str:
    """The text of a prompt given as a string or as messages. Raises ValueError for anything else."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list):
        return flatten_messages(prompt)
    raise ValueError(f"a prompt should be text or a list of messages, not {type(prompt).__name__}")


def pair_of_row(row: Mapping[str, Any]) -> Pair:
    """(prompt text, completion text) of one row, a Conversation where the prompt is messages. Raises
    ValueError naming the column at fault."""
    for column in ("prompt", "completion"):
        if column not in row:
            raise ValueError(f'the column "{column}" is missing; the row has {", ".join(row) or "none"}')
    prompt, completion = prompt_text(row["prompt"]), row["completion"]
    if reason := bad_pair(prompt, completion):
        raise ValueError(reason)
    if isinstance(row["prompt"], list):
        return pair_of_messages(row["prompt"], [{"role": "assistant", "content": completion}], completion)
    return prompt, completion


def read_rows(file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, row) for each line of a JSONL file that is not blank.

    Holds one line at a time. Raises `BadLine` at the first line that is not one JSON object in UTF-8,
    or longer than 64 MiB.
    """
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise BadLine(number, f"the line is longer than {MAX_LINE_BYTES} bytes; is this a JSONL file?")
        if line.strip():
            yield number, _row_of_line(number, line)


def _row_of_line(number: int, line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BadLine(
            number, f"the line is not UTF-8 at byte {error.start}; save the file as UTF-8"
        ) from None
    except RecursionError:
        raise BadLine(number, "the row is nested too deeply") from None
    except ValueError as error:
        raise BadLine(number, f"not JSON: {error}") from None
    if not isinstance(row, dict):
        raise BadLine(number, f"a row should be a JSON object, not {type(row).__name__}")
    return row


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def line_of_row(row: Mapping[str, Any]) -> bytes:
    """One row as a line of JSONL, keys in their order, text unescaped where UTF-8 can carry it."""
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(row, allow_nan=False).encode() + b"\n"
