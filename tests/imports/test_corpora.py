"""Every broken or hostile file does what its table says: strict, lenient, and again."""

import codecs
import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from tests.corpora import FILES, CorpusFile
from tests.corpora.nasty import NASTY
from workbench.models import Comparison, Completion, Dataset, Prompt

pytestmark = pytest.mark.django_db

all_files = pytest.mark.parametrize(
    "file",
    [
        *(pytest.param(file, id=file.name) for file in FILES),
        *(
            pytest.param(file, id=f"nasty-{file.name}", marks=pytest.mark.real_data("nasty"))
            for file in NASTY
        ),
    ],
)


@pytest.fixture
def take(tmp_path):
    def run_import(file: CorpusFile, *options: str) -> tuple[dict[str, Any], bool, str]:
        """(JSON result, whether the exit status is 0, output)."""
        out, ok = StringIO(), True
        try:
            call_command("import_dataset", "N", file.write(tmp_path), "--json", *options, stdout=out)
        except SystemExit as end:
            ok = end.code == 0
        return json.loads(out.getvalue().splitlines()[-1]), ok, out.getvalue()

    return run_import


def stored() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (Dataset, Prompt, Completion, Comparison))


@pytest.mark.portable
@all_files
def test_a_strict_import_takes_the_whole_file_or_names_the_first_bad_line(file, take):
    result, ok, printed = take(file)

    assert ok == (file.rows is not None)
    if ok:
        assert result["rows"] == file.rows
        assert result["prompts"] == Prompt.objects.count()
    else:
        assert stored() == (0, 0, 0, 0)
        assert result["problems"][0]["line"] == file.line
        assert file.says.lower() in printed.lower()
        assert len(result["problems"]) <= 100
        assert all(len(p["excerpt"]) <= 80 and p["excerpt"].isprintable() for p in result["problems"])
    assert "Traceback" not in printed
    assert "\x1b" not in printed


@pytest.mark.portable
@all_files
def test_a_lenient_import_keeps_the_good_rows_and_names_the_bad_lines(file, take):
    result, ok, _ = take(file, "--lenient")

    if file.rows is not None:
        assert (ok, result["rows"], result["problems"]) == (True, file.rows, [])
    elif file.lenient is not None:
        lines = tuple(problem["line"] for problem in result["problems"])
        assert (ok, result["rows"], lines) == (True, *file.lenient)
    else:
        assert not ok
        assert stored() == (0, 0, 0, 0)


@all_files
def test_a_second_import_adds_nothing_and_says_so(file, take):
    first, ok, _ = take(file, "--lenient")
    before = stored()

    second, ok_again, printed = take(file, "--lenient")

    assert ok_again == ok
    assert stored() == before
    if ok:
        assert second["already_there"] == second["rows"] == first["rows"]
        assert "in the dataset already" in printed


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if file.rows and file.name.endswith(".jsonl")],
    ids=lambda file: file.name,
)
def test_texts_are_stored_letter_for_letter(file, take):
    content = file.content()
    text = content.decode("utf-16" if content.startswith(codecs.BOM_UTF16_LE) else "utf-8-sig")
    is_array = text.startswith("[")
    rows = json.loads(text) if is_array else [json.loads(line) for line in text.split("\n") if line.strip()]

    take(file)

    assert set(Completion.objects.values_list("text", flat=True)) == {
        row[side] for row in rows for side in ("chosen", "rejected")
    }
    prompts = Prompt.objects.values_list("messages", flat=True)
    assert {message["content"] for messages in prompts for message in messages} == {
        row["prompt"] for row in rows
    }
