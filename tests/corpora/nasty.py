"""The files of ../shared/nasty, as its index describes them; none where that folder is not there."""

import json
from functools import partial
from typing import Any

from tests.conftest import SHARED
from tests.corpora.table import CorpusFile

FOLDER = SHARED / "nasty"
INDEX = FOLDER / "index.json"

READ = {"jsonl/utf16le_bom.jsonl": 2, "jsonl/pretty_json_array.jsonl": 2, "csv/semicolon.csv": 1}
"""Rows of files that the index refuses, and that an import reads: UTF-16, an array named .jsonl, and columns
between semicolons."""
LINES = {"gz/bomb_300mib_spaces.jsonl.gz": 1}
"""Lines of problems, where the index allows another than its own."""


def _file(entry: dict[str, Any]) -> CorpusFile:
    name, lenient = entry["file"], entry.get("lenient")
    accepted = entry["expect"] != "reject"
    return CorpusFile(
        name.rpartition("/")[2],
        partial((FOLDER / name).read_bytes),
        entry["why"],
        rows=READ.get(name, entry["rows"] if accepted else None),
        line=LINES.get(name, entry.get("error_line")),
        says=entry.get("error_must_mention", ""),
        lenient=(lenient["rows_ok"], tuple(lenient["bad_lines"])) if lenient else None,
    )


NASTY: tuple[CorpusFile, ...] = tuple(
    _file(entry)
    for entry in (json.loads(INDEX.read_bytes())["entries"] if INDEX.is_file() else ())
    if entry["category"] != "model"
)
