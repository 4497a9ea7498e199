"""What an import notes for itself lies where no column of a file can take its place."""

import json

import pytest

from tests.pipeline.test_release_profiles import build, rows
from workbench.pipeline import intake

pytestmark = pytest.mark.django_db


def brought(dataset, tmp_path, **columns):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "Ask.", "chosen": "Yes.", "rejected": "No."} | columns) + "\n")
    return intake.import_file(path, dataset)


@pytest.mark.parametrize("column", ["transcript", "no_blank_after_role", "aside", "key", "ranks"])
def test_a_column_is_never_taken_for_a_fact_of_the_import(column, dataset, tmp_path):
    assert brought(dataset, tmp_path, **{column: "\n\nHuman: another"}).accepted

    written = rows(build(dataset, "trl-implicit"), "trl-implicit")

    assert written == [
        {"chosen": "\n\nHuman: Ask.\n\nAssistant: Yes.", "rejected": "\n\nHuman: Ask.\n\nAssistant: No."}
    ]
    assert not dataset.comparisons.get().judgments.get().is_aside


def test_a_column_with_the_name_of_such_a_fact_is_refused_by_name(dataset, tmp_path):
    result = brought(dataset, tmp_path, **{"import:transcript": "\n\nHuman: another"})

    assert not result.accepted
    assert result.problems[0].field == "import:transcript"
    assert "rename it" in result.problems[0].message


def test_an_odd_transcript_is_still_written_as_it_came(dataset, tmp_path):
    odd = {"chosen": "\n\nHuman:Ask.\n\nAssistant:Yes.", "rejected": "\n\nHuman:Ask.\n\nAssistant: No."}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(odd) + "\n")
    assert intake.import_file(path, dataset).accepted

    assert rows(build(dataset, "trl-implicit"), "trl-implicit") == [odd]
