"""The help pages: the markdown files of docs/ as HTML with links between them, and a search for their words.

docs/development is for people who work in the repository, and is no part of the help."""

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.urls import reverse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

FOLDER: Path = settings.BASE_DIR / "docs"

SECTIONS = {"": "Tutorial", "how-to": "How to", "reference": "Reference", "explanation": "Explanation"}
"""Folders below docs/ whose files are help pages, in the order of the contents -> their names."""

PICTURES = "pictures"
"""The folder below docs/ with the pictures of the help pages."""
PICTURE_TYPES = {".png": "image/png", ".webp": "image/webp"}

LONGEST_QUERY = 200
"""Characters of a query that are read."""
MOST_PLACES = 3
"""Places of one document that the search shows."""
BEFORE, EXCERPT = 80, 260
"""Characters of an excerpt before its first match, and in all."""


class Heading(NamedTuple):
    """A heading of a document; `level` is 1 for its title. `anchor`: its id on the page, "" for the title."""

    level: int
    title: str
    anchor: str


class Passage(NamedTuple):
    """A heading and the plain text from there to the next heading."""

    heading: Heading
    text: str


@dataclass(frozen=True)
class Document:
    """A help page. `path` is that of its file below docs/, without ".md"; `html` leaves the title out."""

    path: str
    html: SafeString
    passages: tuple[Passage, ...]

    @property
    def title(self) -> str:
        return self.passages[0].heading.title

    @property
    def section(self) -> str:
        """The name of its section: "How to"."""
        return SECTIONS[posixpath.dirname(self.path)]

    @property
    def headings(self) -> list[Heading]:
        """The headings of levels 2 and 3, which the page lists beside its text."""
        return [passage.heading for passage in self.passages if passage.heading.level in (2, 3)]

    def get_absolute_url(self) -> str:
        return reverse("help_page", args=[self.path])


class Place(NamedTuple):
    """A passage that holds words of a query. `excerpt`: pieces of its text, and whether each is a match."""

    heading: Heading
    excerpt: list[tuple[str, bool]]


class Result(NamedTuple):
    """A document that holds every word of a query, with its best places."""

    document: Document
    places: list[Place]


_Patterns = Sequence[re.Pattern[str]]


class _Renderer(RendererHTML):
    def heading_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        anchor, title = escape(str(tokens[idx - 2].attrs["id"])), escape(_plain(tokens[idx - 1]))
        link = f' <a class="anchor" href="#{anchor}" aria-label="Link to “{title}”">#</a>'
        return link + self.renderToken(tokens, idx, options, env)

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        # A code block scrolls sideways, so it must be reachable by keyboard; and so must a table.
        return f'<pre tabindex="0"><code>{escape(tokens[idx].content)}</code></pre>\n'

    code_block = fence

    def table_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return '<div class="table-scroll" tabindex="0"><table>\n'

    def table_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return "</table></div>\n"


_markdown = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")


@cache
def documents(folder: Path) -> Mapping[str, Document]:
    """All help pages below `folder` by path, in the order of the contents. Empty where the folder is missing.

    Each process reads the files once."""
    return {
        document.path: document
        for section in SECTIONS
        for document in sorted(_read(folder, section), key=lambda document: document.title)
    }


@cache
def pictures(folder: Path) -> Mapping[str, bytes]:
    """The pictures below `folder` by file name. What is not in here is never served."""
    files = (folder / PICTURES).glob("*")
    return {
        path.name: path.read_bytes()
        for path in files
        if path.suffix in PICTURE_TYPES and path.resolve().is_relative_to(folder.resolve())
    }


def type_of(name: str) -> str:
    """The media type of a picture, by its file name."""
    return PICTURE_TYPES[posixpath.splitext(name)[1]]


def _read(folder: Path, section: str) -> Iterator[Document]:
    for file in (folder / section).glob("*.md"):
        yield document(file.relative_to(folder).with_suffix("").as_posix(), file.read_text("utf-8"))


def document(path: str, source: str) -> Document:
    """The help page of a text in markdown. path: as of a file below docs/, without ".md"."""
    tokens = _markdown.parse(source)
    passages, anchors = [Passage(Heading(1, path, ""), "")], Counter[str]()
    for before, token in zip([None, *tokens], tokens, strict=False):
        if before and before.type == "heading_open":
            title, level = _plain(token), int(before.tag[1:])
            anchor = _anchor(title, anchors)
            before.attrSet("id", anchor)
            passages.append(Passage(Heading(level, title, anchor if level > 1 else ""), ""))
        elif token.type in ("inline", "fence", "code_block"):
            heading, text = passages[-1]
            passages[-1] = Passage(heading, " ".join(f"{text} {_plain(token)}".split()))
        for child in token.children or ():
            _lead(child, posixpath.dirname(path))
    if tokens and tokens[0].tag == "h1":
        del passages[0], tokens[:3]  # the page shows the title by itself
    html: str = _markdown.renderer.render(tokens, _markdown.options, {})
    return Document(path, mark_safe(html), tuple(passages))  # noqa: S308 - rendered with html off


def _plain(token: Token) -> str:
    """The text of a token without its markup."""
    if token.type != "inline":
        return token.content
    return "".join(" " if child.type == "softbreak" else child.content for child in token.children or ())


def _anchor(title: str, taken: Counter[str]) -> str:
    """The id of a heading, as GitHub makes it, so that one link works there and here."""
    anchor = re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
    taken[anchor] += 1
    return anchor if taken[anchor] == 1 else f"{anchor}-{taken[anchor] - 1}"


def _lead(token: Token, folder: str) -> None:
    """Point a link or a picture of a file in `folder` to its address on the site."""
    name = {"link_open": "href", "image": "src"}.get(token.type)
    path, mark, anchor = str(token.attrs[name]).partition("#") if name else ("", "", "")
    if not name or not path or path.startswith("/") or re.match(r"\w+:", path):
        return
    target = posixpath.normpath(posixpath.join(folder, path))
    if token.type == "image":
        token.attrSet(name, reverse("help_picture", args=[posixpath.basename(target)]))
    else:
        token.attrSet(name, reverse("help_page", args=[target.removesuffix(".md")]) + mark + anchor)


def search(library: Iterable[Document], query: str) -> list[Result]:
    """The documents that hold every word of the query, by its beginning: "import" finds "imports". Words in a
    title count most, then words in a heading, then words in the text. Nothing for a query without a word."""
    words = dict.fromkeys(re.findall(r"[^\W_]+", query[:LONGEST_QUERY].lower()))
    # Not \b: "label" is a word of "soft_label".
    patterns = [re.compile(rf"(?<![^\W_]){re.escape(word)}[^\W_]*", re.IGNORECASE) for word in words]
    if not patterns:
        return []
    ranked = [(rank, document) for document in library if (rank := _rank(document, patterns))]
    ranked.sort(key=lambda pair: pair[0], reverse=True)
    return [Result(document, _places(document, patterns)) for _, document in ranked]


def _rank(document: Document, patterns: _Patterns) -> tuple[int, int, int] | None:
    """(words in the title, words in headings, matches in the text); None where a word is nowhere."""
    title, *headings = (passage.heading.title for passage in document.passages)
    texts = [passage.text for passage in document.passages]
    matches = [
        (bool(word.search(title)), any(map(word.search, headings)), sum(len(word.findall(t)) for t in texts))
        for word in patterns
    ]
    if not all(map(any, matches)):
        return None
    in_title, in_headings, in_text = zip(*matches, strict=True)
    return sum(in_title), sum(in_headings), sum(in_text)


def _places(document: Document, patterns: _Patterns) -> list[Place]:
    """The passages with the most of the words, those with a word in the heading first."""

    def rank(passage: Passage) -> tuple[int, int]:
        heading, text = passage.heading.title, passage.text
        words = sum(bool(pattern.search(heading) or pattern.search(text)) for pattern in patterns)
        return words, sum(bool(pattern.search(heading)) for pattern in patterns)

    best = sorted((passage for passage in document.passages if rank(passage)[0]), key=rank, reverse=True)
    return [Place(heading, _excerpt(text, patterns)) for heading, text in best[:MOST_PLACES]]


def _excerpt(text: str, patterns: _Patterns) -> list[tuple[str, bool]]:
    either = re.compile("|".join(pattern.pattern for pattern in patterns), re.IGNORECASE)
    first = either.search(text)
    start = max(0, first.start() - BEFORE) if first else 0
    if first and start:
        start = max(start, text.find(" ", start, first.start()) + 1)
    end = start + EXCERPT
    end = len(text) if end >= len(text) else max(text.rfind(" ", start, end), start + 1)
    pieces, at = [("… " if start else "", False)], start
    for match in either.finditer(text, start, end):
        pieces += [(text[at : match.start()], False), (match.group(), True)]
        at = match.end()
    pieces.append((text[at:end] + (" …" if end < len(text) else ""), False))
    return [piece for piece in pieces if piece[0]]
