"""Every broken or hostile file of the corpus does what its index says: strict, lenient, and again."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from tests.conftest import SHARED
from workbench.models import Comparison, Completion, Dataset, Prompt

pytestmark = [pytest.mark.real_data("nasty"), pytest.mark.django_db]

NASTY_INDEX = SHARED / "nasty/index.json"
INDEX = json.loads(NASTY_INDEX.read_bytes()) if NASTY_INDEX.exists() else {"entries": []}
READ_SINCE = {"jsonl/utf16le_bom.jsonl": 2, "jsonl/pretty_json_array.jsonl": 2}
"""Rows of files that the index calls bad, and that an import has learnt to read since."""
ENTRIES = [
    {
        "file": entry["file"],
        "category": entry["category"],
        "expect": "accept",
        "rows": READ_SINCE[entry["file"]],
    }
    if entry["file"] in READ_SINCE
    else entry
    for entry in INDEX["entries"]
    if entry["category"] != "model"
]
each_file = pytest.mark.parametrize("entry", ENTRIES, ids=[entry["file"] for entry in ENTRIES])


def run_import(entry: dict[str, Any], *options: str) -> tuple[dict[str, Any], bool, str]:
    """(JSON result, exit status is 0, output)."""
    out, status = StringIO(), True
    try:
        call_command("import_dataset", "N", SHARED / "nasty" / entry["file"], "--json", *options, stdout=out)
    except SystemExit as end:
        status = end.code == 0
    return json.loads(out.getvalue().splitlines()[-1]), status, out.getvalue()


def stored() -> tuple[int, int, int, int]:
    return tuple(model.objects.count() for model in (Dataset, Prompt, Completion, Comparison))


@each_file
def test_strict_import_does_what_the_index_says(entry):
    result, ok, printed = run_import(entry)

    if ok:
        assert entry["expect"] != "reject" or "accept" in str(entry.get("also_acceptable"))
        assert result["rows"] == entry.get("rows", result["rows"]) > 0
        assert result["prompts"] == Prompt.objects.count()
    else:
        assert entry["expect"] == "reject"
        assert stored() == (0, 0, 0, 0)
        assert result["problems"]
        lines = [problem["line"] for problem in result["problems"]]
        assert lines[0] == entry["error_line"] or "error_line 1" in str(entry.get("also_acceptable"))
        assert entry.get("error_must_mention", "").lower() in printed.lower()
        assert len(result["problems"]) <= 100
        assert all(len(p["excerpt"]) <= 80 and p["excerpt"].isprintable() for p in result["problems"])
    assert "Traceback" not in printed
    assert "\x1b" not in printed


@each_file
def test_lenient_import_keeps_the_good_rows_and_names_the_bad_lines(entry):
    result, ok, _ = run_import(entry, "--lenient")

    if "lenient" in entry:
        assert ok
        assert result["rows"] == entry["lenient"]["rows_ok"]
        assert [p["line"] for p in result["problems"]] == entry["lenient"]["bad_lines"]
    elif entry["expect"] == "reject" and not (ok and "accept" in str(entry.get("also_acceptable"))):
        assert not ok
        assert stored() == (0, 0, 0, 0)
    else:
        assert ok
        assert result["rows"] == entry.get("rows", result["rows"]) > 0


@each_file
def test_a_second_import_adds_nothing_and_says_so(entry):
    first, ok, _ = run_import(entry, "--lenient")
    before = stored()

    second, ok_again, printed = run_import(entry, "--lenient")

    assert ok_again == ok
    assert stored() == before
    if ok:
        assert second["already_there"] == second["rows"] == first["rows"]
        assert "in the dataset already" in printed
