"""Pages use a few plain words: a Comparison of the code is a pair on a page. These tests read all templates,
scripts, choices and sentences for words that belong to the code alone."""

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.apps import apps

ROOT = Path(__file__).parent.parent

PAGE_WORDS = {
    "Completion": "answer",
    "Comparison": "pair",
    "Judgment": "vote",
    "Decision": "final label",
    "Suggestion": "model's pick",
    "ModelVersion": "model",
    "Statistics": "figures",
    "Claim": "pair that somebody holds",
    "Dataset": "dataset",
    "Prompt": "prompt",
    "Score": "score",
    "Ranking": "ranking",
    "Annotator": "annotator",
    "Gold": "gold",
    "Run": "run",
    "Evaluation": "evaluation",
    "Promotion": "promotion",
    "Release": "release",
}
"""A word of the glossary -> what pages call it. Pages write those that are spelt alike in lower case."""

ORDINARY = ("Statistics", "Claim")
"""Words of the glossary that are plain English as well: pages may say them in lower case."""

ALIKE = [word for word, page_word in PAGE_WORDS.items() if word.lower() == page_word]
CODE_ONLY = [word for word in PAGE_WORDS if word not in (*ALIKE, *ORDINARY)]

RULES = [
    re.compile(rf"\b(?:{'|'.join(CODE_ONLY)}|Judgement)s?\b", re.IGNORECASE),
    # A capital in mid-sentence, but for names of pages: "the Runs page".
    re.compile(rf"[a-z],? (?:{'|'.join([*ALIKE, *ORDINARY])})s?\b(?! page| tab)"),
    re.compile(r"\b(?:successfully|please)\b|[a-z]!", re.IGNORECASE),
]
CODE = re.compile(r"`[^`]*`")
"""Names that people write or read as they are, such as those of columns."""
VALUE = "…"
"""Stands for whatever a template or a sentence puts in."""


def faults(text: str) -> list[str]:
    """The words of a text that no page says."""
    return [match.group() for rule in RULES for match in rule.finditer(CODE.sub(VALUE, text))]


# Templates

HIDDEN = re.compile(r"{% comment .*?{% endcomment %}|{% comment %}.*?{% endcomment %}|{#.*?#}", re.DOTALL)
VALUES = re.compile(r"{{(.*?)}}", re.DOTALL)
TAGS = re.compile(r"{%.*?%}", re.DOTALL)
ARGUMENTS = re.compile(r'\|(?:default|yesno|pluralize):"([^"]*)"')
READ_ATTRIBUTES = {"title", "aria-label", "placeholder", "alt", "hx-confirm", "data-label"}
INLINE = {"a", "abbr", "b", "code", "em", "i", "kbd", "span", "strong"}


class Reader(HTMLParser):
    """What of HTML is read: its text by blocks, and the attributes that are shown or spoken."""

    def __init__(self) -> None:
        super().__init__()
        self.spoken: list[str] = []
        self.blocks = [""]
        self.is_skipped = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.spoken += [value for name, value in attrs if name in READ_ATTRIBUTES and value]
        self._pass(tag, starts=True)

    def handle_endtag(self, tag: str) -> None:
        self._pass(tag, starts=False)

    def handle_data(self, data: str) -> None:
        if not self.is_skipped:
            self.blocks[-1] += data

    def _pass(self, tag: str, starts: bool) -> None:
        if tag in ("script", "style"):
            self.is_skipped = starts
        if tag not in INLINE:
            self.blocks.append("")


def texts_of_html(html: str) -> list[str]:
    reader = Reader()
    reader.feed(html)
    reader.close()
    lines = [line for part in (*reader.spoken, *reader.blocks) for line in part.split("\n")]
    return [text for line in lines if (text := " ".join(line.split()))]


def texts_of_template(source: str) -> list[str]:
    source = HIDDEN.sub("", source)
    arguments = ARGUMENTS.findall("|".join(VALUES.findall(source)))
    shown = TAGS.sub("\n", VALUES.sub(VALUE, source))
    return [*texts_of_html(shown), *(word for argument in arguments for word in argument.split(","))]


# Scripts

JS = re.compile(
    r"""//[^\n]*|/\*.*?\*/
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)
    |(?<=[(,=:\[!&|?{};])\s*/(?:[^/\\\n\[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+/""",
    re.DOTALL | re.VERBOSE,
)
IS_SENTENCE = re.compile(r"[a-z] |^[A-Z][a-z]")
JS_VALUE = re.compile(r"\$\{(?:[^{}]|\{[^{}]*\})*\}")


def texts_of_script(source: str) -> list[str]:
    """Its strings that are sentences, or begin like one. Selectors are none."""
    strings = [JS_VALUE.sub(VALUE, match["text"][1:-1]) for match in JS.finditer(source) if match["text"]]
    texts = [text for string in strings for text in texts_of_html(string)]
    return [
        text for text in texts if re.search(r"[a-z] |^[A-Z][a-z]", text) and not re.search(r"[\[=]", text)
    ]


# Sentences of the code


class Sentences(ast.NodeVisitor):
    """Strings of a module with their lines: neither docstrings nor types."""

    def __init__(self) -> None:
        self.sentences: list[tuple[int, str]] = []

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else VALUE for part in node.values]
            self.sentences.append((node.lineno, "".join(map(str, parts))))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            self.sentences.append((node.lineno, node.value))
        for part in self._read(node):
            self.visit(part)

    def _read(self, node: ast.AST) -> Iterator[ast.AST]:
        """The parts of a node whose strings are read."""
        skipped: set[ast.AST | None] = set()
        match node:
            case ast.Expr(value=ast.Constant() as docstring):
                skipped = {docstring}
            case ast.Subscript(slice=index):
                skipped = {index}
            case ast.arg() | ast.AnnAssign():
                skipped = {node.annotation}
            case ast.FunctionDef(returns=returned):
                skipped = {returned}
            case ast.JoinedStr(values=parts):
                skipped = {part for part in parts if isinstance(part, ast.Constant)}
        yield from (part for part in ast.iter_child_nodes(node) if part not in skipped)


IS_READ = re.compile(rf"[A-Za-z]\W* +\W*[A-Za-z]|^(?:{'|'.join(CODE_ONLY)})s?$")


def texts_of_module(source: str) -> list[tuple[int, str]]:
    """(line, text) of its strings that have two words or more or are a word of the glossary."""
    reader = Sentences()
    reader.visit(ast.parse(source))
    return [(line, text) for line, text in reader.sentences if IS_READ.search(text)]


# Choices


def labels() -> Iterator[tuple[str, str]]:
    """(field, label) of every choice of a model."""
    for model in apps.get_app_config("workbench").get_models():
        for field in model._meta.fields:
            yield from ((str(field), str(label)) for _, label in field.flatchoices)


# Tests


def files(folder: str, pattern: str) -> list[Path]:
    return sorted((ROOT / folder).rglob(pattern))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("<p>All Datasets</p>", ["l Datasets"]),
        ("<h2>Datasets</h2><p>Release it.</p>", []),
        ("<p>of <b>this</b> Release</p>", ["s Release"]),
        ('<a title="Completions">x</a>', ["Completions"]),
        ('<a class="comparison" href="/comparison/1">{{ comparison.pk }}</a>', []),
        ("{# A Judgment #}{% comment %}A Judgment{% endcomment %}{% if judgment %}x{% endif %}", []),
        ('{{ n|pluralize:"judgment,judgments" }}', ["judgment", "judgments"]),
        ("<p>the Runs page, all runs</p>", []),
        ("<p>The column `comparison` holds an id.</p>", []),
        ("<p>Saved! Please wait.</p>", ["d!", "Please"]),
    ],
)
def test_words_of_the_code_are_found_in_a_template_and_its_code_is_not(template, expected):
    assert sorted(word for text in texts_of_template(template) for word in faults(text)) == sorted(expected)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ('tell("This Comparison is gone.");', ["Comparison"]),
        ("tell(`Completion ${side}: ${at < 0 ? 'next' : word}`);", ["Completion"]),
        ("// A Comparison.\nconst { comparison } = find('[name=comparison]');", []),
        ('const UNSEEN = /[\'"]+/gu; line.textContent = "Saved";', []),
    ],
)
def test_words_of_the_code_are_found_in_a_script_and_its_code_is_not(script, expected):
    assert [word for text in texts_of_script(script) for word in faults(text)] == expected


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ('raise Refused(f"{n} Comparisons are full")', ["Comparisons"]),
        ('Column("units", "Judgments")', ["Judgments"]),
        ('"""The Judgment."""\ndef f(a: "Comparison | None") -> "Judgment | None": ...', []),
        ('Judgment.objects.filter(comparison="comparison")', []),
        ("f\"{word('this Judgment')} is here\"", ["Judgment"]),
    ],
)
def test_words_of_the_code_are_found_in_its_sentences_and_its_code_is_not(module, expected):
    assert [word for _, text in texts_of_module(module) for word in faults(text)] == expected


def test_no_template_says_a_word_of_the_code():
    faults_found = [
        (named(path), word, text)
        for path in files("templates", "*.html")
        for text in texts_of_template(path.read_text())
        for word in faults(text)
    ]

    assert not faults_found


def test_no_script_says_a_word_of_the_code():
    faults_found = [
        (named(path), word, text)
        for path in files("workbench/static/workbench", "*.js")
        for text in texts_of_script(path.read_text())
        for word in faults(text)
    ]

    assert not faults_found


def test_no_sentence_says_a_word_of_the_code():
    faults_found = [
        (f"{named(path)}:{line}", word, text)
        for path in files("workbench", "*.py")
        if not named(path).startswith(("workbench/migrations/", "workbench/models/"))
        for line, text in texts_of_module(path.read_text())
        for word in faults(text)
    ]

    assert not faults_found


def test_no_choice_says_a_word_of_the_code():
    faults_found = [(field, word, label) for field, label in labels() for word in faults(label)]

    assert not faults_found
