"""Text to be judged, as HTML. The plain view shows exactly the characters that will be trained on; markdown
is a second view that can load nothing and links to web pages and mail only."""

import re
from collections.abc import Iterator, Sequence

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

register = template.Library()

MARKDOWN_LIMIT = 100_000
# A browser takes seconds to break a megabyte into lines; a text this long comes in blocks of a few thousand
# characters, cut after a line or, where a line is longer than that, within it.
BLOCK_LIMIT = 50_000
_BLOCK = re.compile(r".{1,4000}(?:\n|\Z)|.{1,4000}", re.DOTALL)

# A line that opens or closes fenced code in markdown. Each line is matched in one go: a pattern for the whole
# block would try again and again on a text of nothing but fences.
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})([^\n]*)", re.MULTILINE)
_LINK = re.compile(r"(?:https?|mailto):", re.IGNORECASE)


class _Renderer(RendererHTML):
    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        tokens[idx].attrSet("target", "_blank")
        tokens[idx].attrSet("rel", "noopener noreferrer nofollow")
        return self.renderToken(tokens, idx, options, env)

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        # A code block scrolls sideways, and what scrolls has to be reachable by keyboard.
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
    """A formula stays as it is written: its underscores, stars and backslashes are no markdown."""
    opened = next((mark for mark in _FORMULAS if state.src.startswith(mark, state.pos)), None)
    if opened is None:
        return False
    start, closing = state.pos + len(opened), _FORMULAS[opened]
    end = state.src.find(closing, start, min(state.posMax, start + LONGEST_FORMULA))
    inner = state.src[start : max(end, start)]
    # A lone dollar is money more often than not: "$5 or $6" has a space before the second.
    if not inner.strip() or (opened == "$" and (inner != inner.strip() or "\n" in inner)):
        return False
    if not silent:
        state.push("formula", "", 0).content = opened + inner + closing
    state.pos = end + len(closing)
    return True


# An image would be fetched from wherever the text says: its description stays, as a link.
_markdown = _Markdown("commonmark", {"html": False, "breaks": True}, renderer_cls=_Renderer)
_markdown.enable(["table", "strikethrough"]).disable("image")
_markdown.inline.ruler.before("escape", "formula", _formula)


def _escaped(text: str) -> str:
    # An HTML parser turns a bare CR into LF; as a character reference it arrives as it was.
    return escape(text).replace("\r", "&#13;")


@register.filter
def plain(text: str) -> SafeString:
    """The text as it is, escaped; fenced code is set in the code face, fences and all. A long text comes in
    blocks, which the browser lays out only when they are about to be seen."""
    shown = _blocks if len(text) > BLOCK_LIMIT else _spans
    return mark_safe("".join(shown(part, name) for name, part in _parts(text) if part))  # noqa: S308 - escaped


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """("", prose) and ("code", fenced code) in turn; joined they are the text."""
    opened, start = "", 0
    for line in _FENCE.finditer(text):
        marks, rest = line.groups()
        if not opened:
            yield "", text[start : line.start()]
            opened, start = marks, line.start()
        elif marks.startswith(opened) and not rest.strip():
            yield "code", text[start : line.end()]
            opened, start = "", line.end()
    yield "code" if opened else "", text[start:]


def _spans(part: str, name: str) -> str:
    return f'<span class="{name}">{_escaped(part)}</span>' if name else _escaped(part)


def _blocks(part: str, name: str) -> str:
    blocks = (match.group() for match in _BLOCK.finditer(part))
    return "".join(f'<div class="block {name}">{_escaped(block)}</div>' for block in blocks)


@register.filter
def markdown(text: str) -> SafeString:
    rendered: str = _markdown.render(text)
    return mark_safe(rendered)  # noqa: S308 - rendered with html off


@register.filter
def is_long(text: str) -> bool:
    """Too long for the markdown view, which takes about a millisecond per 1,000 characters."""
    return len(text) > MARKDOWN_LIMIT


@register.filter
def word_count(text: str) -> int:
    return len(text.split())
