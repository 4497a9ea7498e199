"""Context columns: a system message, earlier turns, a passage, tools.

`prepared` moves the context columns of a Row from `values` to `context`; `with_context` puts the context into
the Draft. Text that holds messages as JSON or Python is parsed.
"""

import ast
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NoReturn

from scoring.messages import Message
from scoring.rows.conversations import message_of
from scoring.rows.drafts import TRANSCRIPT, Draft
from scoring.rows.printed import printed_list
from scoring.rows.rows import BadRow, Row, Values, kind_of, refuse_bad_text

_SPELLINGS = {
    "system": (
        "system", "systemprompt", "systemmessage", "systeminstruction", "systemtext", "sysprompt",
    ),
    "history": (
        "history", "chathistory", "conversationhistory", "dialoguehistory", "dialoghistory", "messagehistory",
        "previousturns", "previousmessages", "pastmessages", "priorturns", "earlierturns",
    ),
    "passage": ("context", "contexts", "passage", "passages", "document", "documents"),
    "tools": ("tools", "functions", "availabletools", "toolschema", "toolsschema", "tooldefinitions"),
    "pictures": (
        "image", "images", "picture", "pictures", "photo", "photos", "imageurl", "imageurls", "imagepath",
        "imagepaths", "imagebase64", "pixelvalues", "video", "videos", "audio", "audios",
    ),
}  # fmt: skip
_KINDS = {spelling: kind for kind, spellings in _SPELLINGS.items() for spelling in spellings}

BECOMES = {
    "system": "system message",
    "history": "earlier turns",
    "passage": "passage before the question",
    "tools": "tools",
    "pictures": "refused: pictures can't be shown",
}
"""The use of a context column by its kind, in words."""

READ_FROM_TEXT = "a conversation written as text (JSON or Python) is read as a conversation"

_SYSTEM = ("system", "developer")
_LONGEST_TEXT = 2**20
_LOOKS_LIKE_MESSAGES = re.compile(
    r"""^(?:array\()?\[?\s*\{\s*['"](?:role|content|from|value)['"]\s*:\s*['"\[{N n]""", re.DOTALL
)
_MAY_OPEN = frozenset("[{a")
_BETWEEN_OBJECTS = re.compile(r"\}\s*\n\s*\{")
_ARRAY = re.compile(r"^array\((.*?)(?:,\s*dtype=object)?\)$", re.DOTALL)
_TURNS = (
    ("user", "assistant"), ("human", "assistant"), ("human", "gpt"), ("human", "bot"), ("user", "bot"),
    ("question", "answer"), ("prompt", "response"), ("instruction", "output"), ("input", "output"),
    ("query", "response"), ("prompt", "completion"),
)  # fmt: skip


def holds(value: object) -> bool:
    """False for null, blank text, NaN, false, and lists and objects of nothing else."""
    if isinstance(value, str):
        return bool(value.strip())
    if isinstance(value, list | tuple):
        return any(map(holds, value))
    if isinstance(value, dict):
        return any(map(holds, value.values()))
    return value is not None and value is not False and not (isinstance(value, float) and math.isnan(value))


@lru_cache(maxsize=200)
def context_columns(columns: tuple[str, ...], shape_columns: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """(column, its kind) of each context column. A column of the Shape is never one."""
    kinds = ((column, _KINDS.get(re.sub(r"[ _-]", "", column).casefold())) for column in columns)
    return tuple((column, kind) for column, kind in kinds if kind and column not in shape_columns)


def prepared(row: Row, shape_columns: frozenset[str], note: Callable[[str, int], None]) -> Row:
    """The row with messages parsed from text, and context columns moved to `context`. Raises BadRow.

    `note` gets (a sentence, the line) for each parsed text.
    """
    values = row.values
    for column, value in values.items():
        # The first character rules out nearly every text.
        if type(value) is not str or not ((first := value[:1]) in _MAY_OPEN or first.isspace()):
            continue
        if value[:40].lstrip()[:6].startswith(("[", "{", "array(")):
            messages = _conversation_in(value, column)
            if messages is not None:
                values = {**values, column: messages}
                note(READ_FROM_TEXT, row.line)
    columns = context_columns(tuple(values), shape_columns)
    if not columns:
        return row if values is row.values else replace(row, values=values)
    context: Values = {}
    for column, kind in columns:
        value = values[column]
        if holds(value):
            if kind in context:
                _refuse(
                    column, f"{column} and another column both hold the {BECOMES[kind]}; remove one", value
                )
            context[kind] = _READERS[kind](value, column)
    moved = {column for column, _ in columns}
    return replace(row, values={k: v for k, v in values.items() if k not in moved}, context=context)


def _refuse(column: str, message: str, value: object) -> NoReturn:
    raise BadRow(column, "context", message, value)


# --- conversations as text ----------------------------------------------------------------------------------


def _conversation_in(text: str, column: str) -> object:
    """The messages written in the text; None for other text. Raises BadRow for damaged messages."""
    if not _LOOKS_LIKE_MESSAGES.match(text.strip()):
        return None
    value = _parsed(text)
    if value is None:
        message = (
            f"{column} looks like messages written as text, but can't be read: the text is cut off or "
            "damaged; save the file as JSONL or Parquet"
        )
        raise BadRow(column, "messages_as_text", message, text)
    items = value if isinstance(value, list) else [value]
    if not items or not all(_is_message(item) for item in items):
        return None
    refuse_bad_text(value, column)
    return value


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and (
        {"role", "content"} <= value.keys() or {"from", "value"} <= value.keys() or "tool_calls" in value
    )


def _parsed(text: str) -> Any:
    """The value of a text in JSON or Python notation; None for other text."""
    text = text.strip()
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        pass
    if len(text) > _LONGEST_TEXT:
        return None
    if array := _ARRAY.match(text):
        text = array[1]
    # numpy prints an array without commas; a line end inside its texts is printed as \n.
    for candidate in (text, _BETWEEN_OBJECTS.sub("}, {", text)):
        try:
            return _as_json(ast.literal_eval(candidate))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    return printed_list(text)


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _as_json(value: object) -> object:
    """The value with tuples as lists and keys as text. Raises ValueError for a type that JSON lacks."""
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"no value of JSON: {type(value).__name__}")


# --- readers by kind ----------------------------------------------------------------------------------------


def _system(value: object, column: str) -> Message:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        message = message_of(value, column)
        if message["role"] not in _SYSTEM:
            _refuse(column, f"{column} should hold a system message", value)
        return message
    if not isinstance(value, str):
        _refuse(column, f"{column} should be text, which becomes the system message", value)
    return {"role": "system", "content": value}


def _history(value: object, column: str) -> list[Message]:
    turns = _parsed(value) if isinstance(value, str) else value
    if isinstance(turns, dict) and "role" in turns:
        turns = [turns]
    if not isinstance(turns, list):
        _refuse_history(column, value)
    return [message for turn in turns for message in _turn(turn, column)]


def _refuse_history(column: str, value: object) -> NoReturn:
    _refuse(column, f"{column} should be a list of [question, answer] pairs or of messages", value)


def _turn(turn: object, column: str) -> list[Message]:
    if isinstance(turn, dict) and ("role" in turn or "from" in turn):
        return [message_of(turn, column)]
    texts: Sequence[object] = turn if isinstance(turn, list | tuple) else ()
    if isinstance(turn, dict):
        texts = next(([turn[q], turn[a]] for q, a in _TURNS if q in turn and a in turn), ())
    if len(texts) != 2 or not all(isinstance(text, str) for text in texts):
        _refuse_history(column, turn)
    return [{"role": "user", "content": texts[0]}, {"role": "assistant", "content": texts[1]}]


def _passage(value: object, column: str) -> str | list[Message]:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return "\n\n".join(value)
    if isinstance(value, list) and all(_is_message(message) for message in value):
        return [message_of(message, column) for message in value]
    message = f"{column} should be text, a list of texts or messages; it goes before the question"
    _refuse(column, message, value)


def _tools(value: object, column: str) -> list[object] | Values:
    tools = _parsed(value) if isinstance(value, str) else value
    if not isinstance(tools, list | dict):
        _refuse(column, f"{column} should be a list of tools, not {kind_of(value)}", value)
    return tools


def _pictures(value: object, column: str) -> NoReturn:
    message = (
        f"{column} holds pictures or other media, which can't be shown here; remove these rows, or the column"
    )
    raise BadRow(column, "pictures", message, kind_of(value) if not isinstance(value, str) else value)


_READERS: dict[str, Callable[[object, str], object]] = {
    "system": _system,
    "history": _history,
    "passage": _passage,
    "tools": _tools,
    "pictures": _pictures,
}


# --- into the Draft -----------------------------------------------------------------------------------------


def with_context(draft: Draft, row: Row) -> Draft:
    """The Draft with the context of its row. Raises BadRow."""
    context = row.context
    if not context:
        return draft
    messages = _with_passage(draft.messages, context.get("passage"))
    messages = _with_history(messages, context.get("history"))
    messages = _with_system(messages, context.get("system"))
    tools = context.get("tools", draft.tools)
    # The transcript of the file lacks the context, so a Release must not write it.
    metadata = {key: value for key, value in draft.metadata.items() if key != TRANSCRIPT}
    return replace(draft, messages=messages, tools=tools, metadata=metadata)


def _with_passage(messages: list[Message], passage: str | list[Message] | None) -> list[Message]:
    if not passage:
        return messages
    if isinstance(passage, list):
        repeated = passage[-1] == messages[0]
        return _with_history(messages, passage[:-1] if repeated else passage)
    last = messages[-1]
    if last["role"] != "user" or not isinstance(last["content"], str):
        _refuse("context", "this row has a passage, but no question in plain text to put it before", passage)
    if passage.strip() in last["content"]:
        return messages
    return [*messages[:-1], {**last, "content": f"{passage}\n\n{last['content']}"}]


def _with_history(messages: list[Message], history: list[Message] | None) -> list[Message]:
    if not history:
        return messages
    start = 1 if messages[0]["role"] in _SYSTEM else 0
    turns = messages[start:]
    if turns[: len(history)] == history or messages[: len(history)] == history:
        return messages
    if start and history[0]["role"] in _SYSTEM:
        _refuse(
            "history", "the history and the prompt both begin with a system message; remove one", history[0]
        )
    return [*messages[:start], *history, *turns]


def _with_system(messages: list[Message], system: Message | None) -> list[Message]:
    if system is None or messages[0] == system:
        return messages
    if messages[0]["role"] in _SYSTEM:
        message = "the system column differs from the system message of the conversation; remove one"
        _refuse("system", message, system.get("content"))
    return [system, *messages]
