"""Messages kept whole: digests of conversations, and their reading view as text.

A message is a JSON object, exported equal to the imported one: role, content (text, null or typed parts),
name, tool calls, reasoning and any other key.

Nothing here imports torch, numpy or Django.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from scoring.normalise import normalised_digest

Message = dict[str, Any]
"""One turn of a conversation."""

FLATTENING = 1
"""The version of the reading view, which is the text for a scorer. Another version is another text."""

_quoted = json.encoder.encode_basestring

CALLS_RESULTS = frozenset({"tool", "function"})
"""Roles whose message is the result of a call."""


# --- digests ------------------------------------------------------------------------------------------------


def canonical(value: object) -> str:
    """Canonical JSON (RFC 8785), except that integers of any size keep all their digits.

    Raises ValueError for NaN and infinity, TypeError for a type that JSON lacks.
    """
    return "".join(_canonical(value))


def _canonical(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield _quoted(value)
    elif isinstance(value, dict):
        yield "{"
        for place, key in enumerate(sorted(value, key=lambda key: key.encode("utf-16-be"))):
            yield f"{',' if place else ''}{_quoted(key)}:"
            yield from _canonical(value[key])
        yield "}"
    elif isinstance(value, list):
        yield "["
        for place, item in enumerate(value):
            if place:
                yield ","
            yield from _canonical(item)
        yield "]"
    else:
        yield _atom(value)


def _atom(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _number(value: float) -> str:
    """Number::toString of ECMAScript, which has the digits of Python's repr."""
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{value} is no JSON number")
    if value == 0:
        return "0"
    mantissa, _, power = repr(abs(value)).partition("e")
    whole, _, part = mantissa.partition(".")
    digits = (whole + part).strip("0")
    # The number is 0.DIGITS times ten to the power of `point`.
    point = int(power or 0) + (len(whole) if whole != "0" else len(part.lstrip("0")) - len(part))
    sign = "-" if value < 0 else ""
    if len(digits) <= point <= 21:
        return sign + digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    exponent = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return f"{sign}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}{exponent}"


def text_digest(text: str) -> str:
    """sha256 of the text as UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def messages_digest(messages: Sequence[Message], tools: object = None) -> str:
    """sha256 of canonical(messages) in hex; with tools, of canonical({"messages": ..., "tools": ...})."""
    if tools is not None:
        return text_digest(canonical({"messages": list(messages), "tools": tools}))
    return text_digest(f"[{','.join(map(_framed, messages))}]")


def _framed(message: Message) -> str:
    if len(message) == 2:
        content, role = message.get("content"), message.get("role")
        if type(content) is str and type(role) is str:
            return f'{{"content":{_quoted(content)},"role":{_quoted(role)}}}'
    return canonical(message)


def answer_digest(text: str) -> str:
    """messages_digest([{"role": "assistant", "content": text}])."""
    return text_digest(f'[{{"content":{_quoted(text)},"role":"assistant"}}]')


def group_digest(messages: Sequence[Message]) -> str:
    """normalised_digest of the conversation. Prompts with the same digest belong to one group, and splits
    keep a group whole: no test prompt is seen in training."""
    return normalised_digest(" ".join(map(message_reading, messages)))


# --- the reading view ---------------------------------------------------------------------------------------


def is_plain(message: Message) -> bool:
    """True for {"role": ..., "content": text} without other keys."""
    return len(message) == 2 and type(message.get("content")) is str and "role" in message


def is_text_alone(messages: Sequence[Message]) -> bool:
    """True for an answer of one plain assistant message."""
    return len(messages) == 1 and is_plain(messages[0]) and messages[0]["role"] == "assistant"


def says_text_alone(message: Message) -> bool:
    """True for a message of text alone, in one piece or in typed parts: no tool calls, tool results,
    reasoning or refusal."""
    return message.get("role") not in CALLS_RESULTS and all(kind == "text" for kind, *_ in pieces(message))


_OF_PIECES = frozenset(
    {"role", "content", "name", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call",
     "tool_call_id"}
)  # fmt: skip


def other_keys(message: Message) -> Message:
    """The keys of a message with a value that no piece has."""
    return {key: value for key, value in message.items() if key not in _OF_PIECES and value is not None}


Piece = tuple[str, str, str]
"""(kind, name, text) of a part of a message; the kind is "text", "reasoning", "refusal", "call", "result" or
"other"."""


def pieces(message: Message) -> list[Piece]:
    """The pieces of a message in reading order: reasoning, content, refusal, calls.

    Consecutive text parts become one piece, as chat templates join them.
    """
    content = message.get("content")
    if len(message) == 2 and type(content) is str:
        return [("text", "", content)] if content else []
    in_order = [*_from_key(message, "reasoning_content", "reasoning"), *_from_key(message, "reasoning")]
    for is_text, run in groupby(_from_content(content), key=lambda piece: piece[0] == "text"):
        parts = list(run)
        in_order += [("text", "", "".join(text for _, _, text in parts))] if is_text else parts
    in_order += _from_key(message, "refusal")
    calls = message.get("tool_calls")
    calls = [message.get("function_call"), *(calls if isinstance(calls, list) else [calls])]
    return in_order + [_call(call) for call in calls if call]


def _from_key(message: Message, key: str, kind: str = "") -> list[Piece]:
    value = message.get(key)
    return [(kind or key, "", value if isinstance(value, str) else shown(value))] if value else []


def _from_content(content: object) -> Iterator[Piece]:
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            if part:
                yield "text", "", part
        elif isinstance(part, dict):
            yield _PARTS.get(part.get("type", "text"), _unknown)(part)
        elif part is not None:
            yield "other", "", shown(part)


def _text_reader(kind: str, *keys: str) -> Callable[[Message], Piece]:
    """A reader of parts whose text is under the first of the keys that the part has."""

    def read(part: Message) -> Piece:
        text = next((part[key] for key in keys if key in part), None)
        return (kind, "", text) if isinstance(text, str) else _unknown(part)

    return read


def _result(part: Message) -> Piece:
    return "result", "", "\n\n".join(text for _, _, text in _from_content(part.get("content")))


def _unknown(part: Message) -> Piece:
    return "other", str(part.get("type", "")), shown(part)


def _call(call: object) -> Piece:
    """A tool call in the form of Anthropic or of OpenAI, with or without its "function" object."""
    inner = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        return "call", "", call if isinstance(call, str) else shown(call)
    arguments = inner.get("arguments", inner.get("input"))
    return "call", inner["name"], arguments if isinstance(arguments, str) else shown(arguments)


_text, _reasoning = _text_reader("text", "text", "content"), _text_reader("reasoning", "thinking", "text")
_PARTS: dict[str, Callable[[Message], Piece]] = {
    "text": _text, "input_text": _text, "output_text": _text, "thinking": _reasoning, "reasoning": _reasoning,
    "refusal": _text_reader("refusal", "refusal"), "tool_use": _call, "tool_call": _call,
    "tool_result": _result,
}  # fmt: skip


def shown(value: object) -> str:
    """A value as JSON on one line, keys in their order."""
    return json.dumps(value, ensure_ascii=False)


_LABELS = {"reasoning": "Reasoning: ", "refusal": "Refusal: ", "result": "Result: "}


def message_reading(message: Mapping[str, Any]) -> str:
    """The text of one message. Pieces are separated by a blank line; each but text has a label, as in
    "Call weather: {...}"."""
    content = message.get("content")
    if len(message) == 2 and type(content) is str:
        return content
    return "\n\n".join(map(_line, pieces(dict(message))))


def _line(piece: Piece) -> str:
    kind, name, text = piece
    if kind == "call":
        return f"Call {name}: {text}" if name else f"Call: {text}"
    return _LABELS.get(kind, "") + text


def labelled(message: Mapping[str, Any]) -> str:
    """The text of one message after its role and name, as in "Tool (weather): ..."."""
    name = message.get("name")
    named = f" ({name})" if isinstance(name, str) and name else ""
    return f"{message['role'].capitalize()}{named}: {message_reading(message)}"


def reading(messages: Sequence[Mapping[str, Any]]) -> str:
    """The reading view of a conversation before an answer.

    A single user message is its text: byte for byte the format that the seed model was trained on. Any other
    conversation becomes labelled turns, separated by a blank line:

        System: Be brief.

        User: How warm is it?

        Assistant: Call weather: {"city": "Oslo"}

        Tool (weather): {"c": 4}
    """
    if len(messages) == 1 and messages[0]["role"] == "user" and not messages[0].get("name"):
        return message_reading(messages[0])
    return "\n\n".join(map(labelled, messages))


def answer_reading(messages: Sequence[Mapping[str, Any]]) -> str:
    """The reading view of an answer: labelled turns, except for a first message of the assistant."""
    first, *later = messages
    beginning = message_reading(first) if first["role"] == "assistant" else labelled(first)
    return "\n\n".join([beginning, *map(labelled, later)])


TURNS = 1
"""The version of `turns`. Another version is another text for a chat template, and gets a template's name of
its own."""


def turns(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Messages as turns of text, {"role": ..., "content": ...}, for a model's own chat template.

    - `content` is the reading of the message (`message_reading`): tool calls, reasoning and refusals are
      labelled lines of it.
    - A first message of the system (or developer) is the system's turn. A later one is a turn of the user
      with a label, as is the result of a tool, a user with a name and any other role: "Tool (weather): ...".
    - Neighbours of one role are one turn, with a blank line between them: many templates raise an error
      unless user and assistant alternate.
    """
    joined: list[dict[str, str]] = []
    for place, message in enumerate(messages):
        role, text = _turn(message, place)
        if joined and joined[-1]["role"] == role:
            joined[-1]["content"] = "\n\n".join(part for part in (joined[-1]["content"], text) if part)
        else:
            joined.append({"role": role, "content": text})
    return joined


def _turn(message: Mapping[str, Any], place: int) -> tuple[str, str]:
    role = message["role"]
    if role == "assistant":
        return role, message_reading(message)
    if role in ("system", "developer") and place == 0:
        return "system", message_reading(message)
    is_plain_user = role == "user" and not message.get("name")
    return "user", message_reading(message) if is_plain_user else labelled(message)


def search_text(messages: Sequence[Message]) -> str | None:
    """The labelled messages with U+001E between them; None if all are plain, where their contents are
    searched."""
    return None if all(map(is_plain, messages)) else "\x1e".join(map(labelled, messages))
