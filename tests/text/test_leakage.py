"""Prompts that training and testing share."""

import json
from itertools import count

import pytest
from django.core.management import CommandError, call_command

from tests.factories import ComparisonFactory, DatasetFactory, JudgmentFactory, PromptFactory
from workbench.models import Dataset, Prompt, Release
from workbench.models.dataset import group_digest
from workbench.pipeline.releases import split_of
from workbench.pipeline.text import leakage

pytestmark = pytest.mark.django_db

LONG = "how many grams of salt belong into three litres of water for boiling fresh noodles at home"


def prompt_in(dataset: Dataset, split: str, text: str) -> Prompt:
    """A Prompt with the text, and what follows it, that falls into the split."""
    for number in count():
        messages = [{"role": "user", "content": f"{text} ({number})"}]
        if split_of(group_digest(messages)) == split:
            return PromptFactory.create(dataset=dataset, messages=messages)
    raise AssertionError


def test_a_training_prompt_with_thirteen_words_of_a_test_prompt_is_found(dataset):
    prompt_in(dataset, "test", LONG)
    leaked = prompt_in(dataset, "train", f"Please tell me: {LONG.upper()}, thanks!")
    prompt_in(
        dataset, "train", " ".join(LONG.split()[:12]) + " and something else, that nobody has asked before"
    )
    checked = prompt_in(dataset, "validation", LONG)

    leak = leakage.within(dataset)

    assert leak.size == 1
    assert {split: alike.examples for split, alike in leak.by_split.items()} == {
        "train": [leaked.pk],
        "validation": [checked.pk],
    }
    assert leak.by_split["train"].groups == {leaked.group}


def test_short_prompts_are_alike_only_as_a_whole():
    assert leakage.shingles("What is salt?") == leakage.shingles("what is  SALT")
    assert leakage.shingles("What is salt?").isdisjoint(leakage.shingles("What is salt, please?"))
    assert leakage.shingles("?!") == set()
    assert leakage.shingles(" ".join(LONG.split()[:12])).isdisjoint(leakage.shingles(LONG))
    assert leakage.shingles(" ".join(LONG.split()[:13])) < leakage.shingles(LONG)


def test_the_test_split_of_another_dataset_counts_and_its_training_does_not(dataset):
    cellar = DatasetFactory.create(name="Cellar")
    prompt_in(cellar, "test", LONG)
    prompt_in(cellar, "train", f"first {LONG[::-1]} one two three four five six seven eight nine ten eleven")
    leaked = prompt_in(dataset, "train", LONG)

    leak = leakage.with_other(dataset, cellar)

    assert (leak.reference, leak.size) == ("the test split of Cellar", 1)
    assert leak.by_split["train"].examples == [leaked.pk]


def test_of_a_frozen_dataset_every_prompt_counts_and_every_split_is_looked_at(dataset):
    cellar = DatasetFactory.create(name="Cellar", frozen=True)
    prompt_in(cellar, "train", LONG)
    tested = prompt_in(dataset, "test", LONG)

    leak = leakage.with_other(dataset, cellar)

    assert (leak.reference, leak.size) == ("all of Cellar", 1)
    assert leak.by_split["test"].examples == [tested.pk]


def test_the_command_reports_benchmarks_and_writes_groups_that_a_release_can_do_without(
    dataset, tmp_path, capsys
):
    leaked = prompt_in(dataset, "train", LONG)
    clean = prompt_in(dataset, "train", "something of its own")
    for prompt in (leaked, clean):
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt))
    (tmp_path / "plain.txt").write_text(f"{LONG}\n\nanother\n")
    rows = [{"prompt": [{"role": "user", "content": LONG}]}, {"prompt": "no match"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    groups = tmp_path / "leaked.txt"

    call_command(
        "release_leakage",
        "Kitchen",
        against=[tmp_path / "plain.txt", tmp_path / "rows.jsonl"],
        groups_to=groups,
        json=True,
    )
    call_command("release", "Kitchen", out=tmp_path / "out", filter=[f"without_groups=@{groups}"])

    leaks = {leak["reference"]: leak for leak in json.loads(capsys.readouterr().out.splitlines()[0])}
    for name in ("plain.txt", "rows.jsonl"):
        assert leaks[name]["size"] == 2
        assert leaks[name]["alike"] == {"train": 1, "validation": 0, "test": 0}
    assert groups.read_text() == f"{leaked.group}\n"
    assert Release.objects.get().manifest["profiles"]["preference"]["left_out"] == {"filtered": 1}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"prompt": "x"}\n{"question": "y"}\n', 'line 2: no column "prompt". Columns: question'),
        ('{"prompt": 3}\n', "line 1: a prompt should be text or a list of messages, not int"),
        ('{"prompt": ["x"]}\n', "line 1: a prompt that is a list holds messages, each an object"),
        ('{"prompt"', "line 1: not JSON"),
    ],
)
def test_a_benchmark_that_cannot_be_read_is_an_error_with_its_line(dataset, tmp_path, content, sentence):
    (tmp_path / "bad.jsonl").write_text(content)

    with pytest.raises(CommandError, match=sentence):
        call_command("release_leakage", "Kitchen", against=[tmp_path / "bad.jsonl"])


def test_a_benchmark_that_is_not_there_is_a_clear_error(dataset, tmp_path):
    with pytest.raises(CommandError, match="No such file"):
        call_command("release_leakage", "Kitchen", against=[tmp_path / "none.txt"])


def test_no_test_prompt_is_in_a_training_file(dataset, tmp_path):
    tested = prompt_in(dataset, "test", "to be tested")
    trained = prompt_in(dataset, "train", "to be trained on")
    for prompt in (tested, trained):
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt))

    call_command("release", "Kitchen", out=tmp_path / "out", profile=["preference", "kto", "trl-chat"])

    texts = {path.name.split(".")[1]: path.read_text() for path in (tmp_path / "out").glob("*.jsonl")}
    assert set(texts) == {"train", "test"}
    for path in (tmp_path / "out").glob("*.train.jsonl"):
        assert "to be trained on" in path.read_text()
        assert "to be tested" not in path.read_text()
