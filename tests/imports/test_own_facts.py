"""No column of a file can replace a fact that an import stores for itself."""

import json

import pytest

from tests.factories import DatasetFactory
from tests.releases.test_profiles import build, rows
from workbench.pipeline import imports

pytestmark = pytest.mark.django_db


def brought(dataset, tmp_path, **columns):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "Ask.", "chosen": "Yes.", "rejected": "No."} | columns) + "\n")
    return imports.import_file(path, dataset)


@pytest.mark.parametrize("column", ["transcript", "no_blank_after_role", "surplus", "key", "ranks"])
def test_a_column_is_never_taken_for_a_fact_of_the_import(column, dataset, tmp_path):
    assert brought(dataset, tmp_path, **{column: "\n\nHuman: another"}).accepted

    written = rows(build(dataset, "trl-implicit"), "trl-implicit")

    assert written == [
        {"chosen": "\n\nHuman: Ask.\n\nAssistant: Yes.", "rejected": "\n\nHuman: Ask.\n\nAssistant: No."}
    ]
    assert dataset.comparisons.get().judgments.get().is_current


def test_a_column_with_the_name_of_such_a_fact_is_refused_by_name(dataset, tmp_path):
    result = brought(dataset, tmp_path, **{"import:transcript": "\n\nHuman: another"})

    assert not result.accepted
    assert result.problems[0].field == "import:transcript"
    assert "rename the column" in result.problems[0].message


def test_an_odd_transcript_is_still_written_as_it_came(dataset, tmp_path):
    odd = {"chosen": "\n\nHuman:Ask.\n\nAssistant:Yes.", "rejected": "\n\nHuman:Ask.\n\nAssistant: No."}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(odd) + "\n")
    assert imports.import_file(path, dataset).accepted

    assert rows(build(dataset, "trl-implicit"), "trl-implicit") == [odd]


def of_our_own(dataset, tmp_path, **changed):
    """The one row of `all-votes` of a Release, with these columns in place of its own, as another file."""
    (row,) = rows(build(dataset, "all-votes"), "all-votes")
    path = tmp_path / "release.jsonl"
    path.write_text(json.dumps(row | {name: json.dumps(value) for name, value in changed.items()}) + "\n")
    second_dataset = DatasetFactory.create()
    return imports.import_file(path, second_dataset), second_dataset


@pytest.mark.parametrize(
    ("column", "fact", "value"),
    [
        ("prompt_metadata", "import:transcript", "\n\nHuman: another"),
        ("prompt_metadata", "import:transcript", "no turns"),
        ("prompt_metadata", "import:transcript", 7),
        ("prompt_metadata", "import:other", "new"),
        ("metadata_a", "import:no_blank_after_role", "yes"),
        ("metadata_b", "import:transcript", ["x"]),
    ],
)
def test_a_release_of_ours_brings_no_fact_that_its_own_row_denies(column, fact, value, dataset, tmp_path):
    assert brought(dataset, tmp_path).accepted

    result, second_dataset = of_our_own(dataset, tmp_path, **{column: {fact: value}})

    assert not result.accepted
    assert result.problems[0].field == column
    assert fact in result.problems[0].message
    assert not second_dataset.prompts.exists()


def test_an_odd_transcript_comes_back_by_way_of_a_release(dataset, tmp_path):
    odd = {"chosen": "\n\nHuman:Ask.\n\nAssistant:Yes.", "rejected": "\n\nHuman:Ask.\n\nAssistant: No."}
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(odd) + "\n")
    assert imports.import_file(path, dataset).accepted

    result, second_dataset = of_our_own(dataset, tmp_path)

    assert result.accepted
    assert rows(build(second_dataset, "trl-implicit"), "trl-implicit") == [odd]


@pytest.mark.parametrize("name", ["licence", "license"])
def test_a_licence_of_a_text_or_row_is_kept_beside_that_of_the_file(name, dataset, tmp_path):
    texts = [{"text": "Yes.", "rank": 1, name: "mine"}, {"text": "No.", "rank": 2}]
    path = tmp_path / "rows.jsonl"
    plain = [{"text": "A.", "rank": 1}, {"text": "B.", "rank": 2}]
    lines = [{"prompt": "Ask.", "completions": texts}, {"prompt": "More.", "completions": plain, name: "row"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert imports.import_file(path, dataset, imports.ImportOptions(licence="file")).accepted

    sources = build(dataset, "preference").manifest["sources"]

    completions = {source["licence"]: source["completions"] for source in sources}
    assert completions == {"file": 1, "mine": 1, "row": 2}
