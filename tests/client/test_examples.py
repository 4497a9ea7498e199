"""The examples of client/examples are run as they stand, against a running workbench."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from scoring.encode import Encoder
from tests.api.conftest import token_of
from tests.conftest import client_of
from tests.factories import ComparisonFactory, JudgmentFactory, PromptFactory, UserFactory
from tests.processes import ROOT
from workbench.models import Comparison, Dataset, ModelVersion, Score, User
from workbench.pipeline.text import learnt

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.portable]

EXAMPLES = ROOT / "client/examples"
CHAT = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
CHAT += "{% if add_generation_prompt %}assistant: {% endif %}"
PAIRS = 40


@pytest.fixture
def example(port, tmp_path):
    """example(name, user, *arguments): what the example prints, run by the user's token."""

    def run(name: str, user: User, *arguments: object) -> str:
        environment = os.environ | {
            "WORKBENCH_URL": f"http://127.0.0.1:{port}",
            "WORKBENCH_TOKEN": token_of(user),
            "PYTHONPATH": str(ROOT / "client/src"),
            "HF_HOME": str(tmp_path / "hf"),
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
        ended = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


def tokenizer(chat_template: str | None) -> PreTrainedTokenizerFast:
    """Bytes as tokens; a pair of texts has a token between its texts and one at its end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate(["<pad>", "<eos>", "<sep>", *alphabet])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.post_processor = processors.TemplateProcessing(
        single="$A", pair="$A <sep> $B <eos>", special_tokens=[("<sep>", 2), ("<eos>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", sep_token="<sep>",
        chat_template=chat_template,
    )  # fmt: skip


def saved(folder: Path, kind: type[PreTrainedModel], chat_template: str | None = None) -> Path:
    """A tiny random Llama."""
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    names = tokenizer(chat_template)
    config = LlamaConfig(
        vocab_size=len(names), num_labels=1, pad_token_id=0, eos_token_id=1, initializer_range=0.3, **shape
    )
    kind(config).save_pretrained(folder)
    names.save_pretrained(folder)
    return folder


def logit(folder: Path, text: str) -> float:
    """What the model gives a text, alone and without padding."""
    with torch.inference_mode():
        ids = tokenizer(None)(text, return_tensors="pt")["input_ids"]
        return LlamaForSequenceClassification.from_pretrained(folder)(ids).logits.item()


def test_answers_are_scored_by_a_model_that_stays_elsewhere(example, dataset, tmp_path):
    pairs = [
        ComparisonFactory.create(
            prompt__dataset=dataset, prompt__messages=[{"role": "user", "content": f"Question {number}?"}]
        )
        for number in range(5)
    ]
    staff = UserFactory.create(is_staff=True)
    folder = saved(tmp_path / "own", LlamaForSequenceClassification, CHAT)

    printed = example("score.py", staff, "Kitchen", folder, "--batch", 3)
    added = ComparisonFactory.create(prompt__dataset=dataset)
    again = example("score.py", staff, "Kitchen", folder)

    assert (printed, again) == ("10 scores sent\n", "2 scores sent\n")
    version = ModelVersion.objects.get(name="own")
    assert version.is_external
    stored = dict(Score.objects.filter(version=version).values_list("completion", "value"))
    assert set(stored) == {pk for pair in [*pairs, added] for pk in (pair.a_id, pair.b_id)}
    for pair in pairs:
        question = pair.prompt.messages[0]["content"]
        alone = logit(folder, f"user: {question}\nassistant: {pair.a.text}\n")
        assert stored[pair.a_id] == pytest.approx(alone, abs=1e-4)


@pytest.mark.services
@pytest.mark.usefixtures("worker")
def test_sampled_answers_come_as_pairs_to_the_annotation_page(example, dataset, alice, bob, port, tmp_path):
    folder = saved(tmp_path / "policy-7", LlamaForCausalLM, CHAT)
    (tmp_path / "prompts.txt").write_text("Why does it rain?\n\nWhat is salt?\n")

    printed = example("sample.py", alice, "Kitchen", folder, "prompts.txt", "--new-tokens", 12)

    pairs = Comparison.objects.filter(prompt__dataset=dataset)
    assert printed == (
        "2 rows: 2 prompts, 4 completions, 2 comparisons, 0 judgments, 0 already there; 0 refused\n"
        f"Vote at http://127.0.0.1:{port}/datasets/{dataset.pk}/annotate/\n"
    )
    assert {(pair.a.source, pair.b.source) for pair in pairs} == {("policy-7", "policy-7")}
    page = client_of(bob).get(f"/datasets/{dataset.pk}/annotate/").content.decode()
    assert "Why does it rain?" in page or "What is salt?" in page


@pytest.fixture
def judged(dataset: Dataset) -> Dataset:
    """Pairs whose longer answer is preferred, in all splits."""
    for number in range(PAIRS):
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"{number}?"}])
        pair = ComparisonFactory.create(
            prompt=prompt, a__text=f"A long answer, {number}.", b__text=f"No {number}."
        )
        JudgmentFactory.create(comparison=pair, outcome="a", mode="blind")
    return dataset


@pytest.mark.services
@pytest.mark.long
@pytest.mark.usefixtures("worker")
def test_a_model_is_trained_with_trl_on_a_release_and_registered(example, judged, alice, tmp_path):
    start = saved(tmp_path / "start", LlamaForSequenceClassification, CHAT)

    printed = example(
        "train.py", alice, "Kitchen", start, tmp_path / "trained", "--name", "trained", "--max-length", 64,
        "--batch", 4, "--learning-rate", 1e-2,
    )  # fmt: skip

    version = ModelVersion.objects.get(name="trained")
    release = judged.releases.get()
    lines = printed.splitlines()
    assert f"trained is model {version.pk}, trained on release {release.number}." in lines
    assert (version.release, version.base, version.max_length) == (release, None, 64)
    assert version.training["config"]["trainer"] == "TRL RewardTrainer"
    assert version.training["config"]["learning_rate"] == 1e-2
    assert version.evaluations.get().dataset == judged
    groups = list(judged.prompts.values_list("group", flat=True))
    assert any(learnt.seen(version, judged).taught(group) for group in groups)


def test_the_help_shows_each_example_as_it_is():
    page = (ROOT / "docs/how-to/client-examples.md").read_text()
    shown = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)

    assert sorted(shown) == sorted(path.read_text() for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("template", ["bert-pair", "pair"])
def test_the_workbench_reads_the_tokens_that_the_example_trains_on(tmp_path, template):
    folder = saved(tmp_path / "model", LlamaForSequenceClassification)
    prompt, answer = "What is <eos>?" * 4, "The end <sep> of a text. " * 9

    (read,) = Encoder.open(folder, 64, template)([(prompt, answer)])

    options = {"truncation": True, "max_length": 64, "split_special_tokens": True}
    assert read.ids.tolist() == tokenizer(None)(prompt, answer, **options)["input_ids"]
    assert len(read.ids) == 64
