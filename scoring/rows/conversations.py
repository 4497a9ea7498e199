"""Messages of a file, checked and kept whole, and where a conversation ends and its answer begins."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from scoring.messages import CALLS_RESULTS, Message, canonical, is_plain, pieces
from scoring.rows.rows import MAX_DEPTH, BadRow, kind_of

_ROLES = {
    "system": "system", "developer": "developer", "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant",
    "tool": "tool", "function": "function", "observation": "tool",
}  # fmt: skip
KNOWN_ROLES = _ROLES
"""Roles of messages by their spellings."""
_KEPT = frozenset(role for role, ours in _ROLES.items() if role == ours)

_MEDIA = ("image", "audio", "video", "file", "document")
_MEDIA_KEYS = ("image", "images", "image_url", "audio", "input_audio", "video", "videos", "video_url", "file")


def message_of(value: object, column: str) -> Message:
    """One message, kept whole; {from, value} becomes {role, content}.

    Raises BadRow for any other spelling, for a message without content, and for values that can't be kept or
    shown: pictures, sound, video, files.
    """
    if not isinstance(value, dict):
        raise BadRow(column, "not_a_message", f"{column} should hold messages, not {kind_of(value)}", value)
    role = value.get("role")
    if len(value) == 2 and isinstance(role, str) and role in _KEPT and isinstance(value.get("content"), str):
        return value
    message = _spelled(value, column)
    refuse_unkept(message, column)
    _refuse_media(message, column)
    content = message.get("content")
    if isinstance(content, str) or (isinstance(content, list | None) and pieces(message)):
        return message
    raise BadRow(
        column, "not_text", f"{column} has a message whose content is {kind_of(content)}, not text", content
    )


def _spelled(value: dict[str, Any], column: str) -> Message:
    role = value.get("role")
    from_value = role is None and value.get("from") is not None
    if from_value:
        role = value["from"]
    our_role = _ROLES.get(role) if isinstance(role, str) else None
    if our_role is None:
        raise BadRow(column, "unknown_role", f"{column} has a message whose role is missing or unknown", role)
    if not from_value:
        return value if our_role == role else {**value, "role": our_role}
    extras = {key: item for key, item in value.items() if key not in ("from", "value", "role", "content")}
    return {"role": our_role, "content": value.get("value"), **extras}


def _refuse_media(message: Message, column: str) -> None:
    kind = next((key for key in _MEDIA_KEYS if message.get(key)), None) or next(_media_in(message), None)
    if kind:
        raise BadRow(
            column,
            "media",
            f'{column} has a message with "{kind}"; pictures, sound, video and files can\'t be shown here, '
            "so remove these rows",
            kind,
        )


def _media_in(message: Message) -> Iterator[str]:
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        if isinstance(part, dict):
            kind = part.get("type")
            if isinstance(kind, str) and any(word in kind for word in _MEDIA):
                yield kind
            yield from (key for key in _MEDIA_KEYS if part.get(key))
            yield from _media_in(part)


def refuse_unkept(value: object, column: str, depth: int = 0) -> None:
    """Raise BadRow for a value that a Release could not write as it was read: one without a JSON type, a
    number that other readers of JSON would round, or nesting deeper than MAX_DEPTH."""
    if depth > MAX_DEPTH:
        raise BadRow(column, "too_deep", f"{column} is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise BadRow(column, "not_storable", f"{column} has a key that is not text", key)
            refuse_unkept(item, column, depth + 1)
    elif isinstance(value, list):
        for item in value:
            refuse_unkept(item, column, depth + 1)
    else:
        _refuse_unkept_atom(value, column)


def _refuse_unkept_atom(value: object, column: str) -> None:
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            message = (
                f"{column} holds a whole number of more than 64 bits, which programs round; write it as text"
            )
            raise BadRow(column, "number_too_long", message, value)
    elif not isinstance(value, float):
        raise BadRow(
            column, "not_storable", f"{column} holds {kind_of(value)}, which JSON can't store", value
        )
    elif not math.isfinite(value):
        raise BadRow(column, "not_finite", f"{column} holds {value}, which is not a JSON number", value)


# --- where the answer begins --------------------------------------------------------------------------------


def is_result(message: Message) -> bool:
    """True for the result of a tool call, which belongs to the message with the call."""
    content = message.get("content")
    return message["role"] in CALLS_RESULTS or (
        isinstance(content, list)
        and any(isinstance(p, dict) and p.get("type") == "tool_result" for p in content)
    )


def is_asking(message: Message) -> bool:
    """True for a person's turn; a tool result with the role "user" is none."""
    return message["role"] == "user" and not is_result(message)


def answer_begins(first: Sequence[Message], second: Sequence[Message]) -> int:
    """The number of messages in the common prompt of two conversations; 0 without one.

    The prompt is the longest common beginning that ends neither with an assistant's turn nor between a tool
    call and its results.
    """
    cut = 0
    for a, b in zip(first, second, strict=False):
        if a != b or not (is_plain(a) or canonical(a) == canonical(b)):
            break
        cut += 1
    while cut and (
        first[cut - 1]["role"] == "assistant" or any(map(is_result, (*first[cut:][:1], *second[cut:][:1])))
    ):
        cut -= 1
    return cut
