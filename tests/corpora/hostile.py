"""Good rows whose texts, ids and names could be taken for markup, paths, commands, other letters."""

import gzip
import json

from tests.corpora.table import CorpusFile, dish, text_of

CALL = "window.__nasty=1"
"""What each text tries to run; pages must never set it."""

_MARKUP = (
    f"<script>{CALL}</script>",
    f"<img src=nothing onerror={CALL}>",
    f"<details open ontoggle={CALL}>more</details>",
    f"<iframe srcdoc='<script>parent.{CALL}</script>'></iframe>",
    f"<math><a xlink:href='javascript:{CALL}'>x</a></math>",
    f"<body onload={CALL}>",
    f"<input autofocus onfocus={CALL}>",
    f"<object data='javascript:{CALL}'></object>",
    f"<style>@import '//elsewhere.example/a.css'</style><b>{CALL}</b>",
    "<meta http-equiv=refresh content=0>",
    "<base href=//elsewhere.example/>",
    "<form action=//elsewhere.example><button>Vote</button></form>",
    "<link rel=stylesheet href=//elsewhere.example/b.css>",
    f"<template><script>{CALL}</script></template>",
)
_MARKDOWN = (
    f"[press](javascript:{CALL})",
    f"[press]( JaVaScRiPt:{CALL} )",
    "![](https://elsewhere.example/seen.gif)",
    f"[r]\n\n[r]: javascript:{CALL}",
    f"<javascript:{CALL}>",
    "https://elsewhere.example/a_(b)",
    "[x](data:text/html;base64,PGI+)",
    f"`<script>{CALL}</script>`",
    f"    <script>{CALL}</script>",
    "[mail](mailto:a@b.example)",
)
_BREAKOUTS = (
    f'"><script>{CALL}</script>',
    f"' onmouseover='{CALL}",
    f"</textarea><script>{CALL}</script>",
    f"</script><script>{CALL}</script>",
    f"--><script>{CALL}</script>",
    f"]]><script>{CALL}</script>",
    "{{ 6*9 }} {% load static %}",
    "${6*9} #{6*9} <%= 6*9 %>",
    "%s %(prompt)s %n {0} {prompt.__class__}",
    "&lt;b&gt; &amp;lt; &#60; &#x3c;",
    "\\u003cb\\u003e \\x3cb\\x3e",
    "</title></head>",
    f"`${{{CALL}}}`",
)
_TERMINAL = ("\x1b[2J\x1b]0;title\x07 red \x1b[31m", "ok\r\nINFO forged line\n", "\x08\x08\x7f\x9b1m")
_DIRECTION = (
    "abc \u202e fed \u202c ghi",
    "\u2066left\u2069 \u05d0\u05d1\u05d2",
    "admin\u200b",
    "\u0430dmin",
    "a\u0301 \u00e1",
    "\ufeffmark \u00ad hyphen \u2028 line",
)
_SHAPES = (
    "w" * 3_000,
    "word " * 2_000,
    "\n".join("x" for _ in range(300)),
    "| a |\n|---|\n" + "| b |\n" * 100,
    "\U0001f9c2" * 500,
    "a" + "\u0300" * 200,
)
_SPACES = ("  led by blanks", "\tindented\n\n\n\tcode\n", "ends with a line end\n", "ends with a line end")
_IDS = (
    "../../etc/hosts",
    "..\\..\\x",
    "/static/x?y=1#z",
    "a/b",
    "CON",
    "-rf",
    "$(id)",
    "`id`",
    "a'b\"c",
    "%2e%2e%2f",
    "<b>",
    " ",
)
_WILDCARDS = ("100 %", "a_b", "a\\b", "a*b?", "[a-z]+", "(unclosed", "'; DROP TABLE x; --", "\\", "%%")


def _rows(texts: tuple[str, ...]) -> list[dict[str, object]]:
    return [
        dish(n, prompt=text, chosen=f"{text} Good.", rejected=f"{text} Bad.") for n, text in enumerate(texts)
    ]


def _file(name: str, texts: tuple[str, ...], why: str) -> CorpusFile:
    return CorpusFile(name, lambda: text_of(*_rows(texts)).encode(), why, rows=len(texts))


HOSTILE: tuple[CorpusFile, ...] = (
    _file("markup.jsonl", _MARKUP, "texts that are HTML elements"),
    _file("markdown.jsonl", _MARKDOWN, "links and pictures of Markdown"),
    _file("breakouts.jsonl", _BREAKOUTS, "ends of attributes, scripts, templates and formats"),
    _file("terminal.jsonl", _TERMINAL, "control characters of a terminal, lines for a log"),
    _file("direction.jsonl", _DIRECTION, "direction, invisible and look-alike characters"),
    _file("spaces.jsonl", _SPACES, "white space is data"),
    _file("wildcards.jsonl", _WILDCARDS, "characters that a search may not treat as its own"),
    CorpusFile(
        "shapes.jsonl.gz",
        lambda: gzip.compress(text_of(*_rows(_SHAPES)).encode(), mtime=0),
        "long words, many lines, many marks",
        rows=len(_SHAPES),
    ),
    CorpusFile(
        "ids.jsonl",
        lambda: text_of(*(dish(n, id=name) for n, name in enumerate(_IDS))).encode(),
        "ids that look like paths and commands",
        rows=len(_IDS),
    ),
    CorpusFile(
        "control.jsonl",
        lambda: "".join(
            json.dumps(dish(n, chosen=f"a{chr(n)}b")) + "\n" for n in (1, 8, 27, 31, 127, 155)
        ).encode(),
        "control characters written as escapes",
        rows=6,
    ),
    CorpusFile(
        "characters.jsonl",
        lambda: text_of(
            dish(1, prompt="e\u0301 and \u00e9"),
            dish(2, prompt="\ufb01 \u212b \u2126"),
            dish(3, prompt="\U0001f469\u200d\U0001f373"),
            dish(4, prompt="one\u2028two\u2029three\u0085four"),
        ).encode(),
        "characters that a normalisation would change, and line ends that are none",
        rows=4,
    ),
)

STRANGE_NAMES = (
    "../../../etc/hosts.jsonl",
    "..\\..\\rows.jsonl",
    "a\0b.jsonl",
    "rows.jsonl\r\nX-Header: 1",
    "\u202elnosj.txt",
    "NUL.jsonl",
    ".profile",
    "<img src=x onerror=alert(1)>.jsonl",
    "n" * 400 + ".jsonl",
    "rows",
    "",
    "rows.jsonl.exe",
    "ROWS.JSONL",
    "rows.jsonl?a=1#b",
    "%2e%2e%2frows.jsonl",
    "-rf.jsonl",
    " rows .jsonl ",
    "$(id).jsonl",
)
"""Names of a file as a browser may send them."""


def hostile_texts() -> list[str]:
    """Each text of the hostile rows, for pages to show letter for letter."""
    packed = [(file.name, file.content()) for file in HOSTILE]
    contents = [gzip.decompress(content) if name.endswith(".gz") else content for name, content in packed]
    rows = [json.loads(line) for content in contents for line in content.decode().split("\n") if line]
    return [row[column] for row in rows for column in ("prompt", "chosen", "rejected")]
