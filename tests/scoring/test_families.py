"""Tiny random checkpoints of many families: each gets the scores of plain `transformers`, or is refused."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    CanineTokenizer,
    TokenizersBackend,
)

from scoring.checkpoint import CheckpointError
from scoring.engine import load
from scoring.model import quietly
from scoring.proof import prove
from tests.scoring.models import SPECIAL, sentence, vocabulary

SIZE = 256
SMALL = {
    "vocab_size": SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 130,
    "num_labels": 1,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
RIGHT = {
    "bert": {},
    "roberta": {},
    "xlm-roberta": {},
    "camembert": {},
    "mpnet": {},
    "distilbert": {},
    "electra": {"embedding_size": 32},
    "albert": {"embedding_size": 32},
    "deberta": {},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    "modernbert": {"cls_token_id": 2, "sep_token_id": 3},
    "layoutlm": {},
    "ernie": {},
    "rembert": {"input_embedding_size": 32, "output_embedding_size": 32},
    "megatron-bert": {},
    "gpt2": {},
    "gpt_neox": {},
    "bloom": {"seq_length": 2048},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.3},
    "llama": GROUPED,
    "mistral": GROUPED,
    "mixtral": {**GROUPED, "num_local_experts": 4},
    "qwen2": {**GROUPED, "vocab_size": 300},
    "qwen3": GROUPED,
    "gemma": GROUPED,
    "gemma2": {**GROUPED, "sliding_window": 64},
    "gemma3_text": {**GROUPED, "sliding_window": 64},
    "phi": {},
    "phi3": {},
    "smollm3": GROUPED,
    "falcon": {},
}
"""Families and what their smallest form needs."""
READS_PADDING = {
    "xlnet": {"max_position_embeddings": None, "d_head": 8, "vocab_size": 300},
    "convbert": {"embedding_size": 32},
    "fnet": {},
    "mobilebert": {
        "embedding_size": 32,
        "intra_bottleneck_size": 32,
        "true_hidden_size": 32,
        "num_feedforward_networks": 1,
    },
    "big_bird": {"attention_type": "original_full"},
    "yoso": {"use_expectation": True},
}
"""Families that padding may change, or whose head reads the last position."""


def pair_tokenizer(**settings) -> TokenizersBackend:
    """A WordPiece tokenizer of WORDS, with the pair format of BERT or a first token alone."""
    vocab = vocabulary(SIZE)
    backend = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    pad, unk, cls, sep, mask = SPECIAL
    return TokenizersBackend(
        tokenizer_object=backend, pad_token=pad, unk_token=unk, cls_token=cls, sep_token=sep, mask_token=mask,
        **settings,
    )  # fmt: skip


def byte_tokenizer() -> TokenizersBackend:
    """Bytes without merges: transformers reads any tokenizer of a Qwen2 as this kind."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(
        models.BPE(
            vocab={letter: number for number, letter in enumerate(["<|endoftext|>", *letters])}, merges=[]
        )
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return TokenizersBackend(tokenizer_object=backend, pad_token="<|endoftext|>", eos_token="<|endoftext|>")


def save_family(path: Path, family: str, tokenizer_settings: dict | None = None, **settings) -> Path:
    torch.manual_seed(0)
    with quietly():
        config_values = {key: value for key, value in {**SMALL, **settings}.items() if value is not None}
        config = AutoConfig.for_model(family, **config_values)
        network = AutoModelForSequenceClassification.from_config(config)
        for parameter in network.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
        network.save_pretrained(path)
    tokenizer = byte_tokenizer() if family == "qwen2" else pair_tokenizer(**(tokenizer_settings or {}))
    tokenizer.save_pretrained(path)
    return path


def card_values(path: Path, pairs: list[tuple[str, str]], max_length: int) -> np.ndarray:
    with quietly():
        network = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(path)
        with torch.no_grad():
            return np.array(
                [
                    network(
                        **tokenizer(*pair, truncation=True, max_length=max_length, return_tensors="pt")
                    ).logits.item()
                    for pair in pairs
                ]
            )


def mixed_pairs(max_length: int) -> list[tuple[str, str]]:
    """Texts that the proof does not use, some longer than max_length."""
    drawn = random.Random(5)
    sizes = [(drawn.randint(1, 40), drawn.choice([2, 9, 30, max_length + 20])) for _ in range(12)]
    return [(sentence(a, n), sentence(b, n + 99)) for n, (a, b) in enumerate(sizes)]


@pytest.mark.parametrize("family", RIGHT | READS_PADDING)
def test_a_family_is_scored_as_plain_transformers_does(family, tmp_path):
    path = save_family(tmp_path / family, family, **(RIGHT | READS_PADDING)[family])

    proven = prove(path, 64)

    pairs = mixed_pairs(64)
    expected = card_values(path, pairs, 64)
    score = load(path, max_length=64, template=proven.template, precision="fp32")
    for order in (pairs, pairs[::-1], sorted(pairs, key=lambda pair: len(pair[1]))):
        ours = np.array([scored.value for scored in score(order)])
        theirs_in_order = expected[[pairs.index(pair) for pair in order]]
        assert np.abs(ours - theirs_in_order).max() <= 1e-4 * expected.std()


def test_a_network_whose_score_depends_on_earlier_texts_is_refused(tmp_path):
    path = save_family(tmp_path / "sparse", "big_bird", attention_type="block_sparse", block_size=4)

    with pytest.raises(CheckpointError, match=r"block_sparse.*such models are not supported"):
        prove(path, 64)


def test_canine_which_reads_characters_by_code_of_its_own_is_refused_with_the_reason(tmp_path):
    config = AutoConfig.for_model(
        "canine", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        num_labels=1, max_position_embeddings=512,
    )  # fmt: skip
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "canine")
    CanineTokenizer(model_max_length=512).save_pretrained(tmp_path / "canine")

    with pytest.raises(CheckpointError, match=r"the tokenizer is missing: none of tokenizer\.json"):
        prove(tmp_path / "canine", 64)
