"""Texts of prompts and answers as HTML. The plain view shows exactly the characters that a model is trained
on; the markdown view loads nothing, and links to web pages and mail only."""

import json
import re
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

from django import template
from django.utils.html import conditional_escape, escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import Truncator
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from scoring import messages
from scoring.messages import Message
from workbench.models import Completion
from workbench.pipeline.data.search import Query, excerpt

register = template.Library()

EXCERPT = 180
"""Characters of a text that a list shows."""

# A browser takes seconds to break a megabyte into lines. A text of more than LONG characters has no markdown
# view and comes in blocks, cut after a line or, where a line is longer than a block, after a word.
LONG = 50_000
BLOCK = 4_000
# With more pieces of code, the whole text is set as prose: nobody reads so many, and each is an element to
# lay out.
MOST_PARTS = 2_000
_MANY_LINES = re.compile(r"(?:[^\n]*\n){200}")
# A letter with thousands of accents takes a browser seconds: the time grows with the square of their number.
_ACCENTS = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{300}")

# A line that opens or closes fenced code in markdown. Each line is matched in one go: a pattern for the whole
# block would try again and again on a text of nothing but fences.
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})([^\n]*)", re.MULTILINE)
_LINK = re.compile(r"(?:https?|mailto):", re.IGNORECASE)


class _Renderer(RendererHTML):
    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        tokens[idx].attrSet("target", "_blank")
        tokens[idx].attrSet("rel", "noopener noreferrer nofollow")
        return self.renderToken(tokens, idx, options, env)

    def text(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return _escaped(tokens[idx].content)

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        # A code block scrolls sideways, so it must be reachable by keyboard.
        return f'<pre dir="ltr" tabindex="0"><code>{escape(tokens[idx].content)}</code></pre>\n'

    code_block = fence

    def formula(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return f'<span class="formula">{escape(tokens[idx].content)}</span>'


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 - the name is markdown-it's
        return bool(_LINK.match(url))


_FORMULAS = {"$$": "$$", "$": "$", "\\(": "\\)", "\\[": "\\]"}
LONGEST_FORMULA = 1_000  # so that a text of nothing but opening marks is read in one go


def _formula(state: StateInline, silent: bool) -> bool:
    """Keep a formula as it is written: its underscores, stars and backslashes are no markdown."""
    opened = next((mark for mark in _FORMULAS if state.src.startswith(mark, state.pos)), None)
    if opened is None:
        return False
    start, closing = state.pos + len(opened), _FORMULAS[opened]
    end = state.src.find(closing, start, min(state.posMax, start + LONGEST_FORMULA))
    inner = state.src[start : max(end, start)]
    # A lone dollar mostly means money: "$5 or $6" has a space before the second.
    if not inner.strip() or (opened == "$" and (inner != inner.strip() or "\n" in inner)):
        return False
    if not silent:
        state.push("formula", "", 0).content = opened + inner + closing
    state.pos = end + len(closing)
    return True


# An image would be fetched from any address in the text, so a link with its description takes its place.
_markdown = _Markdown("commonmark", {"html": False, "breaks": True}, renderer_cls=_Renderer)
_markdown.enable(["table", "strikethrough"]).disable("image")
_markdown.inline.ruler.before("escape", "formula", _formula)


def _escaped(text: str) -> str:
    # An HTML parser turns a bare CR into LF; as a character reference it arrives as it was.
    escaped = escape(text).replace("\r", "&#13;")
    return _ACCENTS.sub(r'<span class="accents">\g<0></span>', escaped)


@register.filter
def plain(text: str) -> SafeString:
    """The text as it is, escaped; fenced code with its fences in the code face. A long text comes in blocks,
    which the browser lays out when they scroll into view."""
    shown = (
        _blocks(text)
        if is_long(text)
        else (_span(text[start:end], name) for name, start, end in _parts(text))
    )
    return mark_safe("".join(shown))  # noqa: S308 - escaped


def _parts(text: str) -> list[tuple[str, int, int]]:
    """("", start, end) of prose and ("code", start, end) of fenced code in turn, from end to end."""
    parts = list(islice(_fenced(text), MOST_PARTS + 1))
    return parts if len(parts) <= MOST_PARTS else [("", 0, len(text))]


def _fenced(text: str) -> Iterator[tuple[str, int, int]]:
    opened, start = "", 0
    for line in _FENCE.finditer(text):
        marks, more = line.groups()
        if not opened:
            yield "", start, line.start()
            opened, start = marks, line.start()
        elif marks.startswith(opened) and not more.strip():
            yield "code", start, line.end()
            opened, start = "", line.end()
    yield "code" if opened else "", start, len(text)


def _span(part: str, name: str) -> str:
    # Code scrolls sideways, so it must be reachable by keyboard.
    return f'<span class="{name}" tabindex="0">{_escaped(part)}</span>' if name and part else _escaped(part)


def _blocks(text: str) -> Iterator[str]:
    parts = deque(_parts(text))
    for start, end in _cuts(text):
        inside = []
        while parts and parts[0][1] < end:
            name, part_start, part_end = parts[0]
            inside.append(_span(text[max(part_start, start) : min(part_end, end)], name))
            if part_end > end:
                break
            parts.popleft()
        yield f'<div class="block">{"".join(inside)}</div>'


def _cuts(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each block."""
    start = 0
    while start < len(text):
        end = start + BLOCK
        if end < len(text):
            end = next((at + 1 for mark in "\n " if (at := text.rfind(mark, start, end)) >= 0), end)
        if many := _MANY_LINES.match(text, start, end):
            end = many.end()
        yield start, min(end, len(text))
        start = end


@register.filter
def message_reading(message: Message) -> str:
    """The text of a message."""
    return messages.message_reading(message)


@register.filter
def speaker(message: Message) -> str:
    """The role of the message's author, with the name if there is one."""
    name = message.get("name")
    return f"{message['role']} ({name})" if name else str(message["role"])


@register.filter
def whole(message: Message) -> SafeString:
    """All of a message, escaped, by kind of part: reasoning folded, calls with their arguments laid out,
    results, refusals, and last all other keys."""
    if messages.is_plain(message):
        return plain(message["content"])
    shown = [_piece(*piece) for piece in messages.pieces(message)]
    if extra := messages.other_keys(message):
        shown.append(f'<div class="piece more">{_escaped(messages.shown(extra))}</div>')
    return mark_safe("".join(shown))  # noqa: S308 - escaped


@register.filter
def answer(completion: Completion) -> SafeString:
    """A Completion as its messages; each message after the first with its author."""
    if not completion.conversation:
        return plain(completion.text)
    first, *later = completion.conversation
    shown: list[str] = [whole(first)] if first["role"] == "assistant" else []
    for message in later if shown else completion.conversation:
        shown.append(f'<div class="piece later"><b class="kind">{_escaped(speaker(message))}</b>')
        shown += [whole(message), "</div>"]
    return mark_safe("".join(shown))  # noqa: S308 - escaped


@register.filter
def pretty(value: object) -> str:
    """JSON, or the text of JSON, laid out over lines. A text stays as it is where this would change more than
    its white space."""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, indent=2)
    try:
        laid_out = json.dumps(json.loads(value), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return value
    return laid_out if _squeezed(laid_out) == _squeezed(value) else value


def _squeezed(text: str) -> str:
    return "".join(text.split())


_KINDS = {"refusal": "Refusal", "result": "Result"}


def _piece(kind: str, name: str, text: str) -> str:
    if kind == "text":
        return f'<div class="piece">{plain(text)}</div>'
    if kind == "reasoning":
        return f'<details class="piece reasoning"><summary>Reasoning</summary>{plain(text)}</details>'
    if kind in _KINDS:
        return f'<div class="piece {kind}"><b class="kind">{_KINDS[kind]}</b>{plain(text)}</div>'
    label = f"Call {name}" if kind == "call" else name
    return (
        f'<div class="piece {kind}"><b class="kind">{_escaped(label)}</b>'
        f'<span class="code" tabindex="0">{_escaped(pretty(text))}</span></div>'
    )


@register.simple_tag
def reads(completion: Completion) -> SafeString:
    """The attribute with the text of an answer of several messages, for the views that replace its parts."""
    if not completion.conversation:
        return mark_safe("")
    text = escape(completion.text).replace("\r", "&#13;")
    return mark_safe(f' data-reads="{text}"')  # noqa: S308 - escaped


@register.filter
def markdown(text: str) -> SafeString:
    rendered: str = _markdown.render(text)
    return mark_safe(rendered)  # noqa: S308 - rendered with html off


@register.filter
def is_long(text: str) -> bool:
    """Whether the text is too long for the markdown view and for a view in one piece."""
    return len(text) > LONG


@register.filter
def direction(text: str) -> str:
    """ "ltr" or "rtl", by the first letter with a direction. A browser works out dir="auto" for each part of
    a text alone."""
    strong = (way for character in text if (way := unicodedata.bidirectional(character)) in ("L", "R", "AL"))
    return "ltr" if next(strong, "L") == "L" else "rtl"


@register.filter
def visible(token: str) -> str:
    """The text of a token with a sign for each line break and tab."""
    return token.replace("\n", "\u21b5").replace("\t", "\u21e5")


@register.filter
def word_count(text: str) -> int:
    return len(text.split())


@register.filter
def found(text: str, query: Query | None) -> SafeString:
    """The beginning of a text, or the place round the first match of a search, with the matches marked."""
    if query is None:
        return conditional_escape(Truncator(text).chars(EXCERPT))
    pieces = excerpt(text, query, EXCERPT)
    marked = ("<mark>{}</mark>" if piece.is_match else "{}" for piece in pieces)
    return format_html("".join(marked), *(piece.text for piece in pieces))
