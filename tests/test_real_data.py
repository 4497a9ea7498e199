"""Public preference sets go in by automatic recognition, are scored, and come out with identical text."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command

from scoring.formats import flatten_messages
from tests.conftest import SHARED
from tests.scoring.models import save_bert
from workbench.models import Dataset, ModelVersion, Score

pytestmark = [pytest.mark.real_data, pytest.mark.django_db]

Triple = tuple[str, str, str]


def webgpt(path: Path) -> Iterator[Triple]:
    for line in path.read_text("utf-8").split("\n"):
        if line:
            row = json.loads(line)
            yield row["prompt"], row["preferred"], row["rejected"]


def llmbar(path: Path) -> Iterator[Triple]:
    for row in json.loads(path.read_text("utf-8")):
        first, second = row["output_1"], row["output_2"]
        yield (row["input"], first, second) if row["label"] == 1 else (row["input"], second, first)


def hh(path: Path) -> Iterator[Triple]:
    """The transcripts as the release of strings flattens them, those with unequal beginnings left out."""
    for line in gzip.decompress(path.read_bytes()).decode().split("\n"):
        if line:
            chosen, rejected = (
                json.loads(line)[side].rpartition("\n\nAssistant: ") for side in ("chosen", "rejected")
            )
            if chosen[0] == rejected[0]:
                yield flatten_messages(turns(chosen[0])), chosen[2], rejected[2]


def turns(transcript: str) -> list[dict[str, str]]:
    messages = []
    for part in transcript.split("\n\nHuman: ")[1:]:
        human, *answers = part.split("\n\nAssistant: ")
        messages.append({"role": "user", "content": human})
        messages += [{"role": "assistant", "content": answer} for answer in answers]
    return messages


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_bert(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(
    ("file", "read", "lenient"),
    [
        ("webgpt_subset/webgpt.jsonl", webgpt, False),
        ("llmbar/LLMBar_Natural.json", llmbar, False),
        ("llmbar/LLMBar_Adversarial_Neighbor.json", llmbar, False),
        ("hh_harmless/harmless-base.test.jsonl.gz", hh, True),
    ],
)
def test_a_public_set_comes_out_with_identical_text(file, read, lenient, model, tmp_path):
    source = SHARED / "data" / file
    call_command("import_dataset", "Public", str(source), lenient=lenient)
    call_command("model_add", str(model), name="tiny", precision="fp32", activate=True)
    if not lenient:  # a few hundred texts are enough to score
        call_command("score", "Public")
    call_command("release", "Public", out=tmp_path / "release", profile=["preference"])

    dataset = Dataset.objects.get(name="Public")
    if not lenient:
        scored = Score.objects.filter(version=ModelVersion.objects.active(), completion__text__gt="")
        assert (
            scored.count() == dataset.prompts.filter(completions__text__gt="").values("completions").count()
        )
    released = [
        (row["prompt"], row["chosen"], row["rejected"])
        for path in (tmp_path / "release").glob("preference.*.jsonl")
        for row in map(json.loads, path.read_text("utf-8").split("\n")[:-1])
    ]
    expected = set(read(source))
    contradicted = {(p, c, r) for p, c, r in expected if (p, r, c) in expected}
    one_text = {(p, c, r) for p, c, r in expected if c == r}
    without_text = {(p, c, r) for p, c, r in expected if not (c.strip() and r.strip())}
    assert sorted(released) == sorted(expected - contradicted - one_text - without_text)
