"""Tiny random checkpoints of many families: each gets the scores of plain `transformers`, or is refused."""

import json
import random
from functools import partial
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
    # Their layers are replaced by our own products, but for one that only looks like a product.
    "phimoe": {**GROUPED, "num_local_experts": 4},
    "hunyuan_v1_moe": {**GROUPED, "num_experts": 4, "moe_topk": 2},
}
"""Families and what their smallest form needs."""
ENCODES_AND_DECODES = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "decoder_start_token_id": 3,
}
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
    "bart": ENCODES_AND_DECODES,
    "t5": {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
        "decoder_start_token_id": 0,
    },
}
"""Families that padding may change, or whose head reads the last position, or one token at the end."""


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


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("qwen2_moe", {"use_sliding_window": True, "max_window_layers": 0, "layer_types": None}),
        ("phimoe", {"num_local_experts": 4}),
        ("mistral", {}),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": 0, "vocab_size": 300}),
    ],
)
@pytest.mark.parametrize("window", [30, 700])
def test_a_window_holds_also_where_a_family_writes_it_into_the_mask(family, settings, window, tmp_path):
    """Longer ones than any text that is tried when the model is loaded, too."""
    more = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32}
    path = save_family(
        tmp_path / family,
        family,
        **{**GROUPED, **(more if family == "qwen2_moe" else {}), **settings, "vocab_size": 300},
        sliding_window=window,
        max_position_embeddings=1000,
    )
    pairs = [(sentence(10, 1), sentence(900, 2)), (sentence(20, 3), sentence(60, 4)), ("why", "a")]

    score = load(path, max_length=1000, template="pair", precision="fp32")

    ours = np.array([scored.value for scored in score(pairs)])
    expected = card_values(path, pairs, 1000)
    assert np.abs(ours - expected).max() <= 1e-4 * expected.std()


@pytest.mark.parametrize("is_named", [True, False])
def test_a_network_whose_score_depends_on_earlier_texts_is_refused(is_named, tmp_path):
    """The family's own default is as bad as the same value in the file."""
    path = save_family(tmp_path / "sparse", "big_bird", attention_type="block_sparse", block_size=4)
    if not is_named:
        config = json.loads((path / "config.json").read_text())
        del config["attention_type"]
        (path / "config.json").write_text(json.dumps(config))

    with pytest.raises(CheckpointError, match=r"block_sparse.*such models are not supported"):
        prove(path, 64)


def test_a_network_without_a_table_of_tokens_is_refused(tmp_path):
    path = save_family(tmp_path / "canine", "canine", vocab_size=None, max_position_embeddings=512)

    for tried in (prove, partial(load, template="pair")):
        with pytest.raises(CheckpointError, match="CanineForSequenceClassification has no table of tokens"):
            tried(path, max_length=64)


def test_canine_which_reads_characters_by_code_of_its_own_is_refused_with_the_reason(tmp_path):
    config = AutoConfig.for_model(
        "canine", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        num_labels=1, max_position_embeddings=512,
    )  # fmt: skip
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "canine")
    CanineTokenizer(model_max_length=512).save_pretrained(tmp_path / "canine")

    with pytest.raises(CheckpointError, match=r"the tokenizer is missing: none of tokenizer\.json"):
        prove(tmp_path / "canine", 64)
