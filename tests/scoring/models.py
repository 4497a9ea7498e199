"""Random models, made without a download: small ones for speed, and one of the seed's full shape."""

import copy
import json
import pickle
import random
import string
import struct
from pathlib import Path

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizer,
    PreTrainedModel,
)

from scoring.checkpoint import TEMPLATE_KEY
from scoring.config import BERT_PAIR
from scoring.model import quietly

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
STORY = (
    "a lease is claim that expires when nobody renews it so the next worker may take over again why does "
    "rain fall because warm air rises cools and lets go of water what comes down must go up"
)
WORDS = STORY.split()
TINY = BertConfig(
    vocab_size=256,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    num_labels=1,
    initializer_range=0.3,  # spreads the logits of a random model over several units
)
SEED_SHAPE = BertConfig(vocab_size=28_996, num_labels=1, initializer_range=0.05)


def vocabulary(size: int) -> dict[str, int]:
    """Special tokens, every letter at the start and inside of a word, WORDS, then fillers up to `size`."""
    characters = list(string.ascii_letters + string.digits + string.punctuation)
    vocabulary_order = [
        *SPECIAL,
        *characters,
        *(f"##{c}" for c in string.ascii_letters + string.digits),
        *WORDS,
    ]
    unique = list(dict.fromkeys(vocabulary_order))
    return {
        token: number
        for number, token in enumerate(unique + [f"[unused{n}]" for n in range(size)][: size - len(unique)])
    }


def save_bert(
    path: Path,
    config: BertConfig = TINY,
    *,
    seed: int = 0,
    kind: type = BertForSequenceClassification,
    stated: bool = True,
) -> Path:
    """A checkpoint folder with random weights, by save_pretrained.

    `stated`: its config states that it was trained without token types, like a checkpoint trained here.
    """
    torch.manual_seed(seed)
    network = kind(copy.deepcopy(config))
    if stated:
        setattr(network.config, TEMPLATE_KEY, BERT_PAIR)
    network.save_pretrained(path)
    BertTokenizer(vocab=vocabulary(config.vocab_size), do_lower_case=False).save_pretrained(path)
    return path


def spoilt_folder(path: Path, case: str) -> Path:
    """A small model folder with malicious files; none of its code may run."""
    bert = {"model_type": "bert", "architectures": ["BertForSequenceClassification"], "num_labels": 1}
    custom = {"model_type": "custom", "auto_map": {"AutoModelForSequenceClassification": "modeling_custom.M"}}
    weights = safetensors_of('{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', bytes(8))
    pickled = pickle.dumps({"w": [0.5]})
    outside = '{"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 1099511627776]}}'
    files: dict[str, bytes] = {
        "pickle_only": {"pytorch_model.bin": pickled},
        "both_formats": {"model.safetensors": weights, "pytorch_model.bin": pickled},
        "remote_code": {"model.safetensors": weights, "modeling_custom.py": b"raise SystemExit"},
        "header_too_long": {"model.safetensors": struct.pack("<Q", 2**60) + b"{}"},
        "offsets_outside": {"model.safetensors": safetensors_of(outside, bytes(8))},
        "index_traversal": {"model.safetensors.index.json": b'{"weight_map": {"w": "../../etc/hostname"}}'},
    }[case]
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(custom if case == "remote_code" else bert))
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def safetensors_of(header: str, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header.encode() + data


def save_encoder(path: Path) -> Path:
    return save_bert(path, kind=BertModel)


def sentence(tokens: int, seed: int = 0) -> str:
    """A text of exactly this many tokens of `vocabulary`."""
    drawn = random.Random(seed)
    return " ".join(drawn.choice(WORDS) for _ in range(tokens))


class Card:
    """The scoring code on the seed's card, one pair at a time."""

    def __init__(self, path: Path) -> None:
        with quietly():
            self.model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
                path, dtype=torch.float32
            ).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(path)

    def __call__(
        self, prompt: str, completion: str, max_length: int = 512, split_special_tokens: bool = False
    ) -> float:
        tokens = self.tokenizer(
            prompt,
            completion,
            truncation=True,
            max_length=max_length,
            return_token_type_ids=False,
            return_tensors="pt",
            split_special_tokens=split_special_tokens,
        )
        with torch.no_grad():
            return float(self.model(**tokens)[0].item())
