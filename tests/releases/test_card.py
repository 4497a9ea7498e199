"""The data set card that comes with a Release."""

import json
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from huggingface_hub import DatasetCard

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
)
from workbench.models import Annotator, Dataset, Guidelines, Release
from workbench.pipeline import imports, releases

pytestmark = pytest.mark.django_db


def judged(dataset: Dataset, outcomes: str = "a", texts=("long text", "short"), left: str = "", **judgment):
    prompt = PromptFactory.create(dataset=dataset)
    a, b = (CompletionFactory.create(prompt=prompt, text=text, source="gpt|4") for text in texts)
    comparison = ComparisonFactory.create(prompt=prompt, a=a, b=b)
    for outcome in outcomes:
        JudgmentFactory.create(comparison=comparison, outcome=outcome, left=left, **judgment)


def build(dataset: Dataset, *profiles: str) -> tuple[DatasetCard, Release]:
    release = releases.build(Release(dataset=dataset, profiles=profiles or ["preference"]))
    return DatasetCard(Path(default_storage.path(f"{release.folder}/README.md")).read_text()), release


def test_the_header_names_licence_size_and_a_configuration_for_each_profile_that_has_rows():
    dataset = DatasetFactory.create(name="Kitchen", licence="CC-BY-4.0")
    judged(dataset)
    dataset.prompts.update(group="f" * 64)  # in train, so that the evaluation set has no rows

    card, release = build(dataset, "preference", "rewardbench")

    header = card.data.to_dict()
    (file,) = (name for name, facts in release.manifest["files"].items() if facts["rows"])
    assert header["license"] == "cc-by-4.0"
    assert header["size_categories"] == ["n<1K"]
    assert header["configs"] == [
        {"config_name": "preference", "data_files": [{"split": "train", "path": file}]}
    ]


def test_each_text_keeps_the_licence_that_its_file_came_under(tmp_path):
    dataset = DatasetFactory.create(name="Kitchen", licence="MIT")
    for number, options in enumerate([{}, {"licence": "Apache-2.0"}]):
        row = {"prompt": f"Question {number}?", "chosen": "Yes.", "rejected": "No."}
        file = tmp_path / f"{number}.jsonl"
        file.write_text(json.dumps(row))
        assert imports.import_file(file, dataset, imports.ImportOptions(**options)).accepted

    card, release = build(dataset)

    assert release.manifest["sources"] == [
        {"source": "", "licence": "MIT", "completions": 2},
        {"source": "", "licence": "Apache-2.0", "completions": 2},
    ]
    assert card.data.to_dict()["license"] == ["apache-2.0", "mit"]


def test_a_licence_that_a_row_names_is_its_own(tmp_path):
    dataset = DatasetFactory.create(name="Kitchen", licence="MIT")
    row = {"prompt": "Salt?", "chosen": "Yes.", "rejected": "No.", "license": "house rules"}
    (tmp_path / "one.jsonl").write_text(json.dumps(row))
    assert imports.import_file(tmp_path / "one.jsonl", dataset).accepted

    card, release = build(dataset)

    assert [source["licence"] for source in release.manifest["sources"]] == ["house rules"]
    header = card.data.to_dict()
    assert (header["license"], header["license_name"]) == ("other", "house rules")


@pytest.mark.parametrize("name", ['Kit"chen', "Kitchen: {a}", "---", "Küche #1 'x'", "a\n---\nlicense: mit"])
def test_no_name_breaks_out_of_its_line_in_the_header(name):
    dataset = DatasetFactory.create(name=name, licence="ours & theirs: all")
    judged(dataset)

    header = build(dataset)[0].data.to_dict()

    assert (header["pretty_name"], header["license"]) == (name, "other")
    assert header["license_name"] == "ours & theirs: all"


def test_bias_and_agreement_are_told_with_their_intervals(dataset):
    for _ in range(3):
        judged(dataset, "aa", left="a")
    judged(dataset, "bb", left="a")
    judged(dataset, "ab", left="a")
    judged(dataset, "a", texts=("same", "size"))

    text = build(dataset)[0].content

    assert (
        "All votes and imported labels are the same, on pairs with two or more: "
        "80 % of 5 (95 % interval 38 to 96 %)." in text
    )
    assert "The longer answer is preferred: 75 % of 4 (95 % interval 30 to 95 %)." in text
    assert "The answer on the left is preferred: 75 % of 8 (95 % interval 41 to 93 %)." in text


def test_what_nobody_knows_is_not_enough_data(dataset):
    judged(dataset, texts=("same", "size"))

    text = build(dataset)[0].content

    assert text.count("not enough data.") == 3
    assert "No pair has two votes or imported labels, so agreement is not known." in text


def test_people_and_imported_voices_are_told_apart_and_nobody_is_named(dataset):
    person = AnnotatorFactory.create()
    judged(dataset, annotator=person)
    judged(dataset, annotator=Annotator.objects.create(source="old.jsonl", external_id="7"), stage="imported")

    card, release = build(dataset)

    assert "People who voted: 1. Sources of imported labels: 1." in card.content
    assert "Imported labels are only as good as their source" in card.content
    stored = (path.read_text() for path in Path(default_storage.path(release.folder)).iterdir())
    assert person.user.username not in "".join(stored)


def test_guidelines_limits_and_sources_are_in_the_card(dataset):
    Guidelines.objects.create(dataset=dataset, number=1, text="Old.")
    Guidelines.objects.create(dataset=dataset, number=2, text="Prefer what is true.\n\n# Not a heading")
    judged(dataset)
    judged(dataset, "ab")

    text = build(dataset)[0].content

    assert "> Prefer what is true.\n> \n> # Not a heading\n" in text
    assert "Old." not in text
    assert "1 of 2 pairs are in this release. All pairs by final label: a 1, undecided 1." in text
    assert "| gpt/4 | 2 | not stated |" in text


def test_filters_and_the_active_model_are_in_the_card_in_words(dataset):
    ModelVersionFactory.create(name="reader", state="active", weights_sha256="ab" * 32)
    judged(dataset)
    filters = {"min_votes": 1, "min_length": 3}

    release = releases.build(Release(dataset=dataset, profiles=["preference"], filters=filters))

    text = Path(default_storage.path(f"{release.folder}/README.md")).read_text()
    assert "Filters: minimum votes and labels per pair 1; shortest answer (characters) 3." in text
    assert "Active model: reader (weights abababababab)." in text
