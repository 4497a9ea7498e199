"""TRL's own preprocessing and one step of its trainers, on each profile that names TRL as its reader."""

from pathlib import Path

import pytest
from datasets import Dataset as Loaded
from datasets import load_dataset

from tests.factories import ComparisonFactory, CompletionFactory, JudgmentFactory, PromptFactory
from workbench.models import Release
from workbench.pipeline import releases

# TRL, torch and transformers warn of what they will change in their own next versions.
pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore"), pytest.mark.portable]

CHAT = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<eos>{% endfor %}"
CHAT += "{% if add_generation_prompt %}assistant: {% endif %}"
TINY = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


@pytest.fixture(scope="module")
def tokenizer():
    """Bytes as tokens, with the eos that TRL's trainers ask for."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate(["<pad>", "<eos>", *alphabet])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>", chat_template=CHAT
    )


@pytest.fixture
def load(dataset, tmp_path):
    """Builds a profile of a small Dataset and loads its training split, as its user would."""
    for number in range(8):
        messages = [{"role": "user", "content": f"Question {number}?"}]
        prompt = PromptFactory.create(dataset=dataset, messages=messages)
        a, b = (CompletionFactory.create(prompt=prompt, text=text) for text in ("Salt it.", "No idea."))
        comparison = ComparisonFactory.create(prompt=prompt, a=a, b=b)
        for outcome in ("a", "a", "b"):
            JudgmentFactory.create(comparison=comparison, outcome=outcome)

    def of_profile(name: str) -> Loaded:
        releases.copy_to(releases.build(Release(dataset=dataset, profiles=[name])), tmp_path / name)
        return load_dataset(str(tmp_path / name), name, split="train", cache_dir=str(tmp_path / "cache"))

    return of_profile


def arguments(folder: Path) -> dict:
    return {
        "output_dir": str(folder),
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
    }


def writer(tokenizer):
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, **TINY))


@pytest.mark.parametrize("profile", ["preference", "trl-implicit", "trl-chat", "trl-chat-implicit"])
def test_dpo_reads_the_prompt_and_both_texts(load, tokenizer, tmp_path, profile):
    from trl import DPOConfig, DPOTrainer

    rows = load(profile)
    trainer = DPOTrainer(
        writer(tokenizer),
        ref_model=writer(tokenizer),
        args=DPOConfig(**arguments(tmp_path)),
        train_dataset=rows,
        processing_class=tokenizer,
    )

    row = trainer.train_dataset[0]
    prompt, chosen, rejected = (
        tokenizer.decode(row[f"{name}_ids"]) for name in ("prompt", "chosen", "rejected")
    )
    assert "Question " in prompt
    assert "Salt it." in chosen
    assert "No idea." in rejected
    assert "Question" not in chosen + rejected
    assert len(trainer.train_dataset) == len(rows)
    assert trainer.train().global_step == 1


def test_kto_reads_single_texts_with_labels(load, tokenizer, tmp_path):
    from trl import KTOConfig, KTOTrainer

    rows = load("kto")
    trainer = KTOTrainer(
        writer(tokenizer),
        ref_model=writer(tokenizer),
        args=KTOConfig(**arguments(tmp_path)),
        train_dataset=rows,
        processing_class=tokenizer,
    )

    labels = {"Salt it.": True, "No idea.": False}
    assert {row["completion"]: row["label"] for row in rows} == labels
    assert len(trainer.train_dataset) == len(rows)
    assert trainer.train().global_step == 1


@pytest.mark.parametrize("profile", ["trl-reward", "preference", "trl-chat"])
def test_the_reward_trainer_reads_both_texts_and_the_margin(load, tokenizer, tmp_path, profile):
    from transformers import LlamaConfig, LlamaForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    rows = load(profile)
    config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, num_labels=1, **TINY)
    trainer = RewardTrainer(
        LlamaForSequenceClassification(config),
        args=RewardConfig(**arguments(tmp_path)),
        train_dataset=rows,
        processing_class=tokenizer,
    )

    row = trainer.train_dataset[0]
    assert "Salt it." in tokenizer.decode(row["chosen_ids"])
    assert "No idea." in tokenizer.decode(row["rejected_ids"])
    if profile == "trl-reward":
        assert row["margin"] == pytest.approx(1 / 3)
    assert trainer.train().global_step == 1


def test_the_profiles_proven_here_are_those_that_name_trl():
    named = {name for name, profile in releases.PROFILES.items() if "TRL" in profile.reads}

    assert named == {
        "preference",
        "trl-implicit",
        "trl-chat",
        "trl-chat-implicit",
        "trl-reward",
        "kto",
        "kto-chat",
    }
