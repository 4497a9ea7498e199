"""A low-rank adapter is merged into its base: the result scores as base and adapter together."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertModel

from scoring.adapter import merge, opened
from scoring.checkpoint import CheckpointError, open_checkpoint
from scoring.engine import load
from scoring.model import quietly
from scoring.proof import TemplateUnclear
from scoring.scorers import open_scorer
from tests.scoring.models import save_bert
from tests.scoring.test_families import RIGHT, save_family

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # in peft

PAIRS = [("why does rain fall", "warm air rises"), ("what is a lease", "a claim"), ("why", "the hill")]
TARGETS = {"llama": ["q_proj", "v_proj"], "bert": ["query", "value"]}
TEMPLATES = {"llama": "pair", "bert": "bert-pair"}


def save_adapter(base: Path, path: Path, family: str) -> list[float]:
    """A random adapter with a head of its own; the scores of both together, by plain peft."""
    torch.manual_seed(1)
    with quietly():
        classifier = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        settings = LoraConfig(task_type=TaskType.SEQ_CLS, r=4, target_modules=TARGETS[family])
        model = get_peft_model(classifier, settings).eval()
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.2)
        model.save_pretrained(path)
        tokenizer = AutoTokenizer.from_pretrained(base)
        with torch.no_grad():
            return [
                model(**tokenizer(*pair, return_tensors="pt", return_token_type_ids=False)).logits.item()
                for pair in PAIRS
            ]


def base_of(path: Path, family: str) -> Path:
    return save_bert(path) if family == "bert" else save_family(path, family, **RIGHT[family])


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_merged_adapter_scores_as_base_and_adapter_together(family, tmp_path):
    base = base_of(tmp_path / "base", family)
    expected = save_adapter(base, tmp_path / "adapter", family)

    merge(tmp_path / "adapter", base, tmp_path / "merged")

    scorer = load(tmp_path / "merged", template=TEMPLATES[family], max_length=128, precision="fp32")
    assert [score.value for score in scorer(PAIRS)] == pytest.approx(expected, abs=1e-4)
    assert not list(tmp_path.glob(".merged*"))


def test_an_adapter_is_scored_with_the_base_that_it_names(tmp_path):
    base = base_of(tmp_path / "base", "llama")
    expected = save_adapter(base, tmp_path / "adapter", "llama")

    scorer = open_scorer(str(tmp_path / "adapter"), max_length=64)

    assert [score.value for score in scorer(PAIRS)] == pytest.approx(expected, abs=1e-4)


def test_an_adapter_whose_base_is_gone_is_refused_with_the_command_that_names_one(tmp_path):
    base = base_of(tmp_path / "base", "bert")
    save_adapter(base, tmp_path / "adapter", "bert")
    base.rename(tmp_path / "elsewhere")

    with pytest.raises(CheckpointError, match=r"its base .* is no folder here; name the base: python -m"):
        open_scorer(str(tmp_path / "adapter"))


def test_a_fetched_adapter_names_no_folder_of_this_machine(tmp_path):
    save_adapter(base_of(tmp_path / "base", "bert"), tmp_path / "adapter", "bert")

    with opened(tmp_path / "adapter"):
        pass
    with (
        pytest.raises(CheckpointError, match=r"names no commit of its base .*base'; name the base"),
        opened(tmp_path / "adapter", is_fetched=True),
    ):
        pass


def test_whoever_registers_a_merged_bert_is_asked_for_its_template(tmp_path):
    """Unless its base states one: nothing else says whether it was trained with token types."""
    for stated in (True, False):
        base = save_bert(tmp_path / f"base-{stated}", stated=stated)
        save_adapter(base, tmp_path / f"adapter-{stated}", "bert")

    open_scorer(str(tmp_path / "adapter-True"))
    with pytest.raises(TemplateUnclear):
        open_scorer(str(tmp_path / "adapter-False"))


def test_an_adapter_brings_the_tokenizer_that_was_saved_with_it(tmp_path):
    base = base_of(tmp_path / "base", "llama")
    save_adapter(base, tmp_path / "adapter", "llama")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")

    merge(tmp_path / "adapter", base, tmp_path / "merged")

    assert open_checkpoint(tmp_path / "merged").chat_template == "chat_template.jinja"
    assert not open_checkpoint(base).chat_template


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"peft_type": "PROMPT_TUNING"}, r"peft_type 'PROMPT_TUNING'; only low-rank adapters \(LORA\)"),
        ({"megatron_config": {"a": 1}, "megatron_core": "antigravity"}, "megatron_config"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(tmp_path, settings, sentence):
    base = base_of(tmp_path / "base", "bert")
    save_adapter(base, tmp_path / "adapter", "bert")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))

    with pytest.raises(CheckpointError, match=sentence):
        merge(tmp_path / "adapter", base, tmp_path / "merged")


def test_an_encoder_without_a_head_takes_that_of_the_adapter(tmp_path):
    base = save_bert(tmp_path / "base", kind=BertModel)
    expected = save_adapter(base, tmp_path / "adapter", "bert")

    # The pooler is the base's own; peft saves the classifier beside the adapter.
    merge(tmp_path / "adapter", base, tmp_path / "merged")

    scorer = load(tmp_path / "merged", max_length=128, precision="fp32")
    assert [score.value for score in scorer(PAIRS)] == pytest.approx(expected, abs=1e-4)


def test_a_head_that_nobody_trained_is_refused(tmp_path):
    base = save_bert(tmp_path / "base", kind=BertModel)
    with quietly():
        classifier = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    adapted = get_peft_model(classifier, LoraConfig(r=2, target_modules=["query"]))
    adapted.save_pretrained(tmp_path / "adapter")

    with pytest.raises(CheckpointError, match=r"neither base nor the adapter has classifier\.bias"):
        merge(tmp_path / "adapter", base, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_an_adapter_of_another_base_is_refused(tmp_path):
    save_adapter(base_of(tmp_path / "llama", "llama"), tmp_path / "adapter", "llama")

    with pytest.raises(CheckpointError, match="adapter does not fit bert"):
        merge(tmp_path / "adapter", save_bert(tmp_path / "bert"), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("content", [b"", b"x", bytes(64)])
def test_a_damaged_adapter_is_refused_and_nothing_is_written(tmp_path, content):
    base = save_bert(tmp_path / "base")
    save_adapter(base, tmp_path / "adapter", "bert")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(content)

    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors of adapter can't be read"):
        merge(tmp_path / "adapter", base, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_folder_that_is_no_adapter_is_refused(tmp_path):
    base = save_bert(tmp_path / "base")

    with pytest.raises(CheckpointError, match="is no adapter"):
        merge(base, base, tmp_path / "merged")
