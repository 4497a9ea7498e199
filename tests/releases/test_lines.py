"""The lines that the page of a Release gives to copy. TRL and this workbench run them to the end with a small
model; for the other trainers, their own readers of data read the files that the lines name, and know each
option (readers.py)."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.urls import reverse

from tests.factories import ComparisonFactory, CompletionFactory, JudgmentFactory, PromptFactory
from tests.releases.test_trl import TINY, writer
from tests.releases.test_trl import tokenizer as tokenizer
from tests.scoring.models import save_bert
from workbench.models import Release
from workbench.pipeline import releases
from workbench.pipeline.releases.lines import MODEL, VERSIONS

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore"), pytest.mark.portable]

ROOT = Path(__file__).parents[2]
READERS = Path(sys.prefix) / "readers"
PAIRS = 40


@pytest.fixture
def given(dataset, tmp_path, monkeypatch):
    """Builds a profile of a small Dataset into the folder kitchen-1, as its zip has it; the lines for it."""
    dataset.name = "Kitchen, second floor"
    dataset.save()
    for number in range(PAIRS):
        system = [{"role": "system", "content": "Be brief."}] if number % 2 else []
        messages = [*system, {"role": "user", "content": f"Question {number}?"}]
        prompt = PromptFactory.create(dataset=dataset, messages=messages)
        a, b = (CompletionFactory.create(prompt=prompt, text=text) for text in ("Salt it.", "No idea."))
        comparison = ComparisonFactory.create(prompt=prompt, a=a, b=b)
        for outcome in ("a", "a", "b"):
            JudgmentFactory.create(comparison=comparison, outcome=outcome)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def of(profile: str, kind: str = "jsonl") -> list[releases.Lines]:
        release = releases.build(Release(dataset=dataset, profiles=[profile], formats=[kind]))
        releases.copy_to(release, tmp_path / "kitchen-1")
        return releases.lines_of(release.manifest, profile, "kitchen-1")

    return of


@pytest.fixture
def small(tokenizer, tmp_path):
    """The folder of a small model, in the place of the one that the lines begin with."""

    def saved(lines: releases.Lines) -> str:
        from transformers import LlamaConfig, LlamaForSequenceClassification

        config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, num_labels=1, **TINY)
        scores = "RewardTrainer" in lines.text
        model = LlamaForSequenceClassification(config) if scores else writer(tokenizer)
        model.save_pretrained(tmp_path / "small")
        tokenizer.save_pretrained(tmp_path / "small")
        assert MODEL in lines.text
        return lines.text.replace(MODEL, str(tmp_path / "small"))

    return saved


@pytest.mark.parametrize(
    ("profile", "number", "trained"),
    [
        ("trl-chat", 0, "kitchen-1-reward"),
        ("trl-chat", 1, "kitchen-1-dpo"),
        ("preference", 0, "kitchen-1-reward"),
        ("preference", 1, "kitchen-1-dpo"),
        ("trl-reward", 0, "kitchen-1-reward"),
        ("trl-chat-implicit", 0, "kitchen-1-reward"),
        ("trl-chat-implicit", 1, "kitchen-1-dpo"),
        ("kto", 0, "kitchen-1-kto"),
        ("kto-chat", 0, "kitchen-1-kto"),
    ],
)
def test_trl_trains_and_saves_a_model_by_the_lines(given, small, tmp_path, profile, number, trained):
    lines = given(profile)[number]

    exec(compile(small(lines), lines.file, "exec"), {})

    assert (tmp_path / trained / "model.safetensors").exists()
    assert lines.tested == f"Tested: TRL {VERSIONS['TRL']} ran these lines with a small model."


@pytest.mark.parametrize(("profile", "preset"), [("aira", "seed"), ("pairs", "recommended")])
def test_the_workbench_trains_by_the_lines(given, tmp_path, profile, preset):
    """With the settings of the seed's card where a program as that card's is to read the files."""
    lines = given(profile)[-1]
    save_bert(tmp_path / "bert-base-cased")

    command = lines.text.replace("\\\n", " ").split()
    assert command[0] == "python"
    assert command[command.index("--preset") + 1] == preset
    command += ["--steps", "2", "--batch", "4"]  # as 1,200 steps take hours
    ended = subprocess.run(
        [sys.executable, *command[1:]],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-2000:]
    assert (tmp_path / "kitchen-1-reward" / "model.safetensors").exists()


def test_the_lines_for_any_program_need_no_package(given):
    lines, _ = given("pairs")

    ended = subprocess.run(
        [sys.executable, "-I", "-c", lines.text], capture_output=True, text=True, check=True
    )

    first = json.loads(Path("kitchen-1/pairs.train.jsonl").read_text().split("\n")[0])
    assert ended.stdout.endswith(f"pairs; the first: {first}\n")


def read_by(trainer: str, lines: releases.Lines) -> list[Any]:
    """The rows that the trainer's own reader makes of the lines; every option is one that it knows."""
    if not READERS.is_dir() and not os.environ.get("CI"):
        pytest.skip("make install-test installs the readers of the other trainers")
    Path("lines").write_text(lines.text)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", str(Path(__file__).parent / "readers.py"), trainer, "lines"],
        env=os.environ
        | {
            "PYTHONPATH": str(READERS),
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": "cache",
            "DISABLE_VERSION_CHECK": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    answer = json.loads(ended.stdout.splitlines()[-1])
    assert answer["unknown"] == []
    return answer["rows"]


def released(profile: str) -> list[Any]:
    """The rows of the training and the validation file."""
    paths = [Path(f"kitchen-1/{profile}.{split}.jsonl") for split in ("train", "validation")]
    return [json.loads(line) for path in paths for line in path.read_text().split("\n")[:-1]]


def test_openrlhf_reads_both_texts_after_the_prompt_and_the_margin(given):
    (lines,) = given("openrlhf")

    read = read_by("openrlhf", lines)

    assert read == [
        [f"User: {row['prompt']}\nAssistant: ", row["chosen"], row["rejected"], pytest.approx(1 / 3)]
        for row in released("openrlhf")
    ]
    assert read


@pytest.mark.parametrize(("profile", "number"), [("axolotl", 0), ("trl-chat-implicit", 2)])
def test_axolotl_reads_the_conversation_and_both_answers(given, profile, number):
    read = read_by("axolotl", given(profile)[number])

    def said(row: Any) -> list[Any]:
        return row["messages"] if profile == "axolotl" else row["chosen"][:-1]

    assert read == [
        {
            "prompt": "".join(f"<{message['role']}>{message['content']}\n" for message in said(row))
            + "<assistant>",
            "chosen": "Salt it.",
            "rejected": "No idea.",
        }
        for row in released(profile)
    ]
    assert read


def test_llama_factory_reads_the_turns_the_system_message_and_both_answers(given):
    """Its dataset_info.json names the Dataset; LLaMA-Factory would take a comma in it for two Datasets."""
    (lines,) = given("llama-factory")

    read = read_by("llama-factory", lines)

    answers = [{"role": "assistant", "content": text} for text in ("Salt it.", "No idea.")]
    assert [row["answers"] for row in read] == [answers] * len(released("llama-factory"))
    assert {row["system"] for row in read} == {"", "Be brief."}
    assert [row["prompt"][-1]["content"] for row in read] == [
        row["conversations"][-1]["value"] for row in released("llama-factory")
    ]


@pytest.mark.parametrize("profile", ["openrlhf", "axolotl", "llama-factory"])
def test_the_lines_say_what_was_not_run(given, profile):
    (lines,) = given(profile)

    assert lines.tested.endswith("Not tested: the training.")


def test_parquet_is_named_where_there_is_no_jsonl(given):
    (lines,) = given("axolotl", "parquet")

    options = yaml.safe_load(lines.text)
    assert options["datasets"][0]["path"] == "kitchen-1/axolotl.train.parquet"
    assert options["datasets"][0]["ds_type"] == "parquet"
    assert read_by("axolotl", lines)


def test_no_lines_are_given_for_files_without_training_rows(dataset):
    for number in range(60):
        pair = ComparisonFactory.create(
            prompt__dataset=dataset, prompt__messages=[{"role": "user", "content": f"{number}"}]
        )
        JudgmentFactory.create(comparison=pair, outcome="a")
    release = releases.build(Release(dataset=dataset, profiles=["rewardbench", "all-votes"]))

    assert releases.lines_of(release.manifest, "rewardbench", "kitchen-1") == []
    assert releases.lines_of(release.manifest, "all-votes", "kitchen-1") == []


def test_each_purpose_but_the_spreadsheet_has_lines_to_copy(dataset):
    """The spreadsheet opens a file, and no line does that."""
    for _ in range(20):
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset), outcome="a")
    for purpose in releases.PURPOSES.values():
        release = releases.build(
            Release(dataset=dataset, profiles=[purpose.profile], formats=[purpose.format])
        )
        lines = releases.lines_of(release.manifest, purpose.profile, "kitchen-1")
        assert bool(lines) == (purpose.name != "spreadsheet"), purpose.name


def test_the_versions_that_the_page_names_are_those_that_are_tested():
    locked = dict(line.split("==") for line in (ROOT / "requirements" / "readers.lock").read_text().split())

    assert version("trl").startswith(f"{VERSIONS['TRL']}.")
    names = {"openrlhf": "OpenRLHF", "axolotl": "Axolotl", "llamafactory": "LLaMA-Factory"}
    assert {names[name]: number for name, number in locked.items() if name in names} == {
        name: number for name, number in VERSIONS.items() if name != "TRL"
    }


def test_the_page_shows_the_lines_with_the_folder_of_its_zip(dataset, alice, as_user):
    for _ in range(20):
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset), outcome="a")
    release = releases.build(Release(dataset=dataset, profiles=["trl-chat", "openrlhf"]))

    page = as_user(alice).get(reverse("release", args=[release.pk])).content.decode()

    assert "load_dataset(&quot;kitchen-1&quot;, &quot;trl-chat&quot;)" in page
    assert "--data.dataset kitchen-1/openrlhf.train.jsonl" in page
    assert "Not tested: the training." in page
    assert re.search(r"Train a reward model with TRL", page)
