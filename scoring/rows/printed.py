"""Lists as Python and NumPy print them, as in a CSV file that a data frame wrote."""

import ast
import re
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:(?P<skip>array\(|,?\s*dtype=\w+\s*\)|,|:|\))
    |(?P<open>[\[{])|(?P<close>[\]}])
    |(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<word>[-+.\w]+))""",
    re.DOTALL | re.VERBOSE,
)
_WORDS = {"None": None, "null": None, "nan": None, "True": True, "true": True, "False": False, "false": False}


def printed_list(text: str) -> list[Any] | None:
    """The list that a text shows, with or without commas: "['left' 'tie']" is ["left", "tie"]. None for
    another text, and for a list that was shortened with "..."."""
    stack: list[tuple[str, list[Any]]] = [("", [])]
    at, end = 0, len(text.rstrip())
    while at < end:
        token = _TOKEN.match(text, at)
        if token is None:
            return None
        at = token.end()
        if opened := token["open"]:
            stack.append((opened, []))
        elif closed := token["close"]:
            opened, items = stack.pop()
            if not stack or opened + closed not in {"[]", "{}"}:
                return None
            value = items if opened == "[" else _object(items)
            if value is None:
                return None
            stack[-1][1].append(value)
        elif not token["skip"]:
            try:
                stack[-1][1].append(_atom(token["text"], token["word"]))
            except (ValueError, SyntaxError):
                return None
    outer = stack[0][1]
    return outer[0] if len(stack) == 1 and len(outer) == 1 and isinstance(outer[0], list) else None


def _object(items: list[Any]) -> dict[str, Any] | None:
    keys = items[::2]
    if len(items) % 2 or not all(isinstance(key, str) for key in keys):
        return None
    return dict(zip(keys, items[1::2], strict=True))


def _atom(text: str | None, word: str) -> Any:
    if text is not None:
        return ast.literal_eval(text)
    if word in _WORDS:
        return _WORDS[word]
    return float(word) if "." in word or "e" in word.lower() else int(word)
