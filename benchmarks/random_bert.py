"""BERT reward models of any shape with random weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@dataclass(frozen=True, slots=True)
class Shape:
    hidden: int
    layers: int
    heads: int
    vocabulary: int

    def flops(self, tokens: int) -> float:
        """Floating-point operations of one text of n tokens: layers (24 H^2 n + 4 n^2 H)."""
        return self.layers * (2 * 12 * self.hidden**2 * tokens + 4 * tokens**2 * self.hidden)


SEED = Shape(hidden=768, layers=12, heads=12, vocabulary=28_996)


def save_random_bert(folder: Path, shape: Shape, words: Sequence[str]) -> Path:
    """Save a checkpoint whose tokenizer knows the special tokens and `words`."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    from scoring.model import quietly

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=4 * shape.hidden,
        num_labels=1,
    )
    with quietly():
        BertForSequenceClassification(config).save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *words])}
    BertTokenizer(vocab=vocabulary, do_lower_case=False).save_pretrained(folder)
    return folder
