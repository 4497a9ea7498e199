"""Messages of a file, checked and kept whole, and where a conversation ends and its answer begins."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from scoring.messages import CALLS_RESULTS, Message, canonical, is_plain, pieces
from scoring.rows.rows import MAX_DEPTH, BadRow

_ROLES = {
    "system": "system", "developer": "developer", "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant",
    "tool": "tool", "function": "function", "observation": "tool",
}  # fmt: skip
_KEPT = frozenset(role for role, ours in _ROLES.items() if role == ours)

_MEDIA = ("image", "audio", "video", "file", "document")
_MEDIA_KEYS = ("image", "images", "image_url", "audio", "input_audio", "video", "videos", "video_url", "file")


def message_of(value: object, column: str) -> Message:
    """One message as it came, spelled {role, content} or {from, value}; of the second spelling role and
    content are made, everything else stays. Raises BadRow for anything else, for what says nothing, and for
    what can't be kept or shown: pictures, sound, video, files."""
    if not isinstance(value, dict):
        raise BadRow(column, "not_a_message", f"{column} should hold messages, not {_kind(value)}", value)
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
        column, "not_text", f"{column} has a message whose content is {_kind(content)}, not text", content
    )


def _spelled(value: dict[str, Any], column: str) -> Message:
    role = value.get("role")
    theirs = role is None and value.get("from") is not None
    if theirs:
        role = value["from"]
    our_role = _ROLES.get(role) if isinstance(role, str) else None
    if our_role is None:
        raise BadRow(column, "unknown_role", f"{column} has a message whose role is missing or unknown", role)
    if not theirs:
        return value if our_role == role else {**value, "role": our_role}
    rest = {key: item for key, item in value.items() if key not in ("from", "value", "role", "content")}
    return {"role": our_role, "content": value.get("value"), **rest}


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
    """Raise BadRow for what could not go out as it came in: a value that JSON has no kind for, a number that
    readers of JSON bend, and what is nested too deeply."""
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
        raise BadRow(column, "not_storable", f"{column} holds {_kind(value)}, which JSON can't store", value)
    elif not math.isfinite(value):
        raise BadRow(column, "not_finite", f"{column} holds {value}, which is not a JSON number", value)


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "true or false", dict: "an object", list: "a list", str: "text"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


# --- where the answer begins --------------------------------------------------------------------------------


def is_result(message: Message) -> bool:
    """True for the result of a call, which belongs to the message that made it."""
    content = message.get("content")
    return message["role"] in CALLS_RESULTS or (
        isinstance(content, list)
        and any(isinstance(p, dict) and p.get("type") == "tool_result" for p in content)
    )


def is_asking(message: Message) -> bool:
    """True for a turn of a person, and not a result that came under their name."""
    return message["role"] == "user" and not is_result(message)


def answer_begins(first: Sequence[Message], second: Sequence[Message]) -> int:
    """Where two whole conversations part for good: the number of messages that both begin with, up to the
    last turn that is not an assistant's. The results of a call stay with the call: where the two share but a
    part of these, all of them belong to the answers. 0 where there is no common prompt."""
    cut = _common(first, second)
    while cut and (first[cut - 1]["role"] == "assistant" or _tears(first, cut) or _tears(second, cut)):
        cut -= 1
    return cut


def _common(first: Sequence[Message], second: Sequence[Message]) -> int:
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b or not (is_plain(a) or canonical(a) == canonical(b)):
            return place
    return min(len(first), len(second))


def _tears(messages: Sequence[Message], cut: int) -> bool:
    return cut < len(messages) and is_result(messages[cut])
