"""Messages kept whole: what makes two conversations the same, and how they read as text.

A message is a JSON object that came in and goes out equal: role, content (text, null or typed parts), name,
tool calls, reasoning and whatever else it holds. Everything here is derived from it.

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
"""The version of the reading view below, which is also the text that a scorer reads: a Score of another
version is one of another text."""

_quoted = json.encoder.encode_basestring

CALLS_RESULTS = frozenset({"tool", "function"})
"""Roles whose message is the result of a call."""


# --- what makes them the same -------------------------------------------------------------------------------


def canonical(value: Any) -> str:
    """Canonical JSON (RFC 8785), with whole numbers of any size written out digit by digit.

    Raises ValueError for a number that is not finite, TypeError for what JSON has no kind for.
    """
    return "".join(_canonical(value))


def _canonical(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield _quoted(value)
    elif isinstance(value, dict):
        yield "{"
        for place, key in enumerate(sorted(value, key=_utf16)):
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


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be")


def _atom(value: Any) -> str:
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
    """As ECMAScript writes it: the digits are those of Python's repr, laid out by its rules."""
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
    """sha256 of the text as UTF-8, in hex: what makes two texts the same text."""
    return hashlib.sha256(text.encode()).hexdigest()


def messages_digest(messages: Sequence[Message], tools: Any = None) -> str:
    """sha256 over the canonical JSON of the messages, in hex; with tools, over that of the object of both."""
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
    """The messages_digest of an answer that is one assistant message of this text and nothing else."""
    return text_digest(f'[{{"content":{_quoted(text)},"role":"assistant"}}]')


def group_digest(messages: Sequence[Message]) -> str:
    """The normalised_digest of the conversation. Prompts with the same digest belong to one group: splits
    keep a group whole, so that no test prompt is seen in training."""
    return normalised_digest(" ".join(map(message_reading, messages)))


# --- how they read ------------------------------------------------------------------------------------------


def is_plain(message: Message) -> bool:
    """True for a message of a role and a text alone."""
    return len(message) == 2 and type(message.get("content")) is str and "role" in message


def is_text_alone(messages: Sequence[Message]) -> bool:
    """True for an answer that is one assistant message of a text and nothing else."""
    return len(messages) == 1 and is_plain(messages[0]) and messages[0]["role"] == "assistant"


def says_text_alone(message: Message) -> bool:
    """True when the message says nothing but text, in one piece or in typed parts: no calls, no results of
    calls, no reasoning, no refusal."""
    return message.get("role") not in CALLS_RESULTS and all(kind == "text" for kind, *_ in pieces(message))


Piece = tuple[str, str, str]
"""(kind, name, text) of something that a message says; the kind is "text", "reasoning", "refusal", "call",
"result" or "other"."""


def pieces(message: Message) -> list[Piece]:
    """What the message says, in the order in which it reads: reasoning, content, refusal, calls. Texts of
    typed parts that follow each other are one text, as chat templates join them."""
    content = message.get("content")
    if len(message) == 2 and type(content) is str:
        return [("text", "", content)] if content else []
    found: list[Piece] = [
        ("reasoning", "", text)
        for key in ("reasoning_content", "reasoning")
        for text in _texts(message.get(key))
    ]
    for is_text, run in groupby(_of_content(content), key=lambda piece: piece[0] == "text"):
        parts = list(run)
        found += [("text", "", "".join(text for _, _, text in parts))] if is_text else parts
    found += [("refusal", "", text) for text in _texts(message.get("refusal"))]
    if message.get("function_call"):
        found.append(_call(message["function_call"]))
    calls = message.get("tool_calls")
    found += [_call(call) for call in (calls if isinstance(calls, list) else [calls]) if call]
    return found


def _texts(value: Any) -> list[str]:
    if not value:
        return []
    return [value if isinstance(value, str) else shown(value)]


def _of_content(content: Any) -> Iterator[Piece]:
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            if part:
                yield "text", "", part
        elif isinstance(part, dict):
            yield _PARTS.get(part.get("type", "text"), _other)(part)
        elif part is not None:
            yield "other", "", shown(part)


def _text(part: Message) -> Piece:
    text = part.get("text", part.get("content"))
    return ("text", "", text) if isinstance(text, str) else _other(part)


def _reasoning(part: Message) -> Piece:
    text = part.get("thinking", part.get("text"))
    return ("reasoning", "", text) if isinstance(text, str) else _other(part)


def _refused(part: Message) -> Piece:
    text = part.get("refusal")
    return ("refusal", "", text) if isinstance(text, str) else _other(part)


def _result(part: Message) -> Piece:
    content = part.get("content")
    return "result", "", "\n\n".join(text for _, _, text in _of_content(content))


def _other(part: Message) -> Piece:
    return "other", str(part.get("type", "")), shown(part)


def _call(call: Any) -> Piece:
    """A call in the form of OpenAI (with or without its "function" around it) or of Anthropic."""
    inner = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        return "call", "", call if isinstance(call, str) else shown(call)
    arguments = inner.get("arguments", inner.get("input"))
    return "call", inner["name"], arguments if isinstance(arguments, str) else shown(arguments)


_PARTS: dict[str, Callable[[Message], Piece]] = {
    "text": _text, "input_text": _text, "output_text": _text, "thinking": _reasoning, "reasoning": _reasoning,
    "refusal": _refused, "tool_use": _call, "tool_call": _call, "tool_result": _result,
}  # fmt: skip


def shown(value: Any) -> str:
    """A value as JSON in one line, keys in their order."""
    return json.dumps(value, ensure_ascii=False)


_LED = {"reasoning": "Reasoning: ", "refusal": "Refusal: ", "result": "Result: "}


def message_reading(message: Mapping[str, Any]) -> str:
    """What one message says, as text: a plain text is itself; pieces are parted by a blank line, and each
    that is not text says what it is, a call as "Call weather: {...}"."""
    content = message.get("content")
    if len(message) == 2 and type(content) is str:
        return content
    return "\n\n".join(map(_line, pieces(dict(message))))


def _line(piece: Piece) -> str:
    kind, name, text = piece
    if kind == "call":
        return f"Call {name}: {text}" if name else f"Call: {text}"
    return _LED.get(kind, "") + text


def labelled(message: Mapping[str, Any]) -> str:
    """What one message says, led by its role and, in brackets, the name that it has."""
    name = message.get("name")
    named = f" ({name})" if isinstance(name, str) and name else ""
    return f"{message['role'].capitalize()}{named}: {message_reading(message)}"


def reading(messages: Sequence[Mapping[str, Any]]) -> str:
    """The reading view of a conversation before an answer: the one message of a user is what it says, byte
    for byte where that is plain text (the format that the seed model was trained on). Anything else becomes
    turns parted by a blank line, each led by its role:

        System: Be brief.

        User: How warm is it?

        Assistant: Call weather: {"city": "Oslo"}

        Tool (weather): {"c": 4}
    """
    if len(messages) == 1 and messages[0]["role"] == "user" and not messages[0].get("name"):
        return message_reading(messages[0])
    return "\n\n".join(map(labelled, messages))


def answer_reading(messages: Sequence[Mapping[str, Any]]) -> str:
    """The reading view of an answer: the first message of an assistant has no label, the others have."""
    first, *rest = messages
    begins = message_reading(first) if first["role"] == "assistant" else labelled(first)
    return "\n\n".join([begins, *map(labelled, rest)])


def search_text(messages: Sequence[Message]) -> str | None:
    """What the messages say, with U+001E between them, where that is more than their plain contents; None
    where it is these."""
    return None if all(map(is_plain, messages)) else "\x1e".join(map(labelled, messages))
