"""How fast a model of another family scores here, beside padded batches of plain `transformers`.

Two sets of texts: of mixed lengths, and four answers to each long prompt. Random weights: only time is
measured, and that all variants give the same scores.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from scoring.engine import load
from scoring.model import quietly

Pair = tuple[str, str]
Values = Sequence[float]
Score = Callable[[Sequence[Pair]], Values]

WORDS = [
    f"{first}{second}{third}" for first in "bdfgklmnprst" for second in "aeiou" for third in "bdfgklmnprst"
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
SHAPE = {
    "vocab_size": len(SPECIAL) + len(WORDS),
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "intermediate_size": 1536,
    "max_position_embeddings": 1024,
    "num_labels": 1,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "cls_token_id": 2,
    "sep_token_id": 3,
}
DECODER = {"num_key_value_heads": 4, "head_dim": 64}
BATCH = 8
ANSWERS = 4


def save(folder: Path, family: str) -> None:
    """A random checkpoint of the family with a tokenizer of words."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family)
    fitting = {**SHAPE, **{name: value for name, value in DECODER.items() if hasattr(config, name)}}
    with quietly():
        config = AutoConfig.for_model(family, **fitting)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    backend = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate([*SPECIAL, *WORDS])}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(
        folder
    )


def draw(prompt: tuple[int, int], median: int, prompts: int) -> list[Pair]:
    """ANSWERS to each of `prompts` prompts; lengths of prompts even, of answers log-normal, in words."""
    source = random.Random(0)
    pairs = []
    for _ in range(prompts):
        asked = " ".join(source.choices(WORDS, k=source.randint(*prompt)))
        for _ in range(ANSWERS):
            length = max(5, min(450, int(median * source.lognormvariate(0, 0.6))))
            pairs.append((asked, " ".join(source.choices(WORDS, k=length))))
    return pairs


def padded(folder: Path, dtype: torch.dtype) -> Score:
    """What a script with `transformers` does: batches in the order of the texts, padded to the longest."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with quietly():
        model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).eval()

    def score(pairs: Sequence[Pair]) -> Values:
        values: list[float] = []
        for start in range(0, len(pairs), BATCH):
            prompts, answers = zip(*pairs[start : start + BATCH], strict=True)
            rows = tokenizer(
                list(prompts),
                list(answers),
                truncation=True,
                max_length=1000,
                padding=True,
                return_tensors="pt",
            )
            rows.pop("token_type_ids", None)
            with torch.no_grad():
                values += model(**rows).logits.flatten().float().tolist()
        return values

    return score


def ours(folder: Path, precision: str) -> Score | str:
    engine = load(folder, template="pair", max_length=1000, precision=precision)
    if engine.note:
        return engine.note
    return lambda pairs: [scored.value for scored in engine(pairs)]


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    seconds: list[float]
    values: Values


def measure(folder: Path, pairs: Sequence[Pair], rounds: int) -> list[Row]:
    scores: dict[str, Score | str] = {
        "transformers, padded batches, fp32": padded(folder, torch.float32),
        "transformers, padded batches, bf16": padded(folder, torch.bfloat16),
        "ours, fp32": ours(folder, "fp32"),
        "ours, bf16": ours(folder, "bf16"),
    }
    rows = {name: Row(name, [], []) for name, score in scores.items() if not isinstance(score, str)}
    for number in range(rounds + 1):  # the first warms up
        for name, row in rows.items():
            started = time.perf_counter()
            values = scores[name](pairs)  # type: ignore[operator]
            if number:
                row.seconds.append(time.perf_counter() - started)
            rows[name] = Row(name, row.seconds, values)
    return list(rows.values())


def report(console: Console, title: str, rows: Sequence[Row], texts: int) -> None:
    table = Table(title=title)
    table.add_column("variant")
    for heading in ("texts/s", "x padded fp32", "largest difference / spread"):
        table.add_column(heading, justify="right")
    base = rows[0]
    spread = float(np.std(base.values))
    for row in rows:
        ratio = statistics.median(a / b for a, b in zip(base.seconds, row.seconds, strict=True))
        difference = np.abs(np.subtract(row.values, base.values)).max() / spread
        rate = texts / statistics.median(row.seconds)
        table.add_row(row.name, f"{rate:.1f}", f"{ratio:.2f}", f"{difference:.1e}")
    console.print(table)


def compare(family: str, rounds: int, prompts: int = 16) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=110)
    with tempfile.TemporaryDirectory() as scratch:
        save(Path(scratch), family)
        mixed, long = draw((5, 40), 150, prompts), draw((200, 400), 60, prompts)
        for title, pairs in (("mixed lengths", mixed), ("prompts of 200 tokens and more", long)):
            rows = measure(Path(scratch), pairs, rounds)
            report(
                console,
                f"{family}: {len(pairs)} texts, {title}; medians of {rounds} rounds",
                rows,
                len(pairs),
            )
