"""Check that this package gives a checkpoint's texts the scores of plain `transformers`.

The reference is the call on a model card: `model(**tokenizer(prompt, completion, truncation=True,
max_length=...))`, one text at a time, with the tokenizer's defaults. This package encodes, cuts and batches
by itself, so single texts and mixed batches are both compared. A checkpoint with other scores is refused.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoTokenizer, PreTrainedModel

from scoring import seed
from scoring.checkpoint import TEMPLATE, Checkpoint, CheckpointError, in_one_line, open_checkpoint
from scoring.config import TOKEN_TYPES
from scoring.encode import Encoder, Ids
from scoring.formats import Pair, Scored
from scoring.model import Network, build_network, device_of, load_classifier, quietly

Values = npt.NDArray[np.float64]

TOLERANCE = 1e-4  # share of the standard deviation of the reference scores
ROUNDING = 2e-6  # share of the largest score: fp32 sums in another order differ by this
SHORT: Sequence[Pair] = (
    ("How do I boil an egg?", "Put it into boiling water for seven minutes."),
    ("How do I boil an egg?", "eggs lol"),
    ("Name a prime number above ten.", "11"),
    ("Wie hei\u00dft der h\u00f6chste Berg \u00d6sterreichs?", "Der Gro\u00dfglockner, 3798 m."),
    ("\u4e00\u5e74\u6709\u51e0\u4e2a\u6708\uff1f", "\u5341\u4e8c\u4e2a\u6708\u3002 \U0001f5d3\ufe0f"),
    ("Reverse a list in Python.", "def turned(items: list) -> list:\n    return items[::-1]  # a copy\n"),
    (
        "Why does rain fall, and why does it fall more often on one side of a mountain than on the other?",
        "Warm air rises at the slope, cools and lets go of its water; behind the ridge it sinks and is dry.",
    ),
)
STORY = (
    "a claim that nobody renews expires and the next person may take it over again while water that rose "
    "with warm air comes down as rain on the side of the hill where the wind meets it first"
)


def prove(
    path: str | Path,
    max_length: int,
    *,
    token_types: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> Checkpoint:
    """Open a checkpoint and compare its fp32 scores with those of plain `transformers`.

    `token_types="zero"` states that the model was trained without token types, whatever its tokenizer makes.
    Raises CheckpointError with the size of a difference, and ValueError if `max_length` exceeds the model's.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    checkpoint = open_checkpoint(path)
    checkpoint.refuse_length(max_length)
    classifier = load_classifier(checkpoint, device_of(device))
    encoder = Encoder.open(checkpoint.path, max_length)
    with quietly():  # Encoder.open has read the same files
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    _refuse_vocabulary(tokenizer, classifier)
    pairs = _pairs(max_length)
    card = Card(classifier, tokenizer, max_length)
    stated = token_types in TOKEN_TYPES or checkpoint.stated_template == TEMPLATE
    expected = card.values(pairs, zero=stated)
    network = build_network(classifier, torch.float32)
    texts = [text.ids for text in encoder(pairs)]
    ours = _values(network, [[text] for text in texts])
    if not _close(ours, expected):
        if stated or not _is_the_seed(card, pairs, ours):
            raise CheckpointError(_why_alone(card, pairs, texts, ours, expected, stated=stated))
        expected = card.values(pairs, zero=True)
    _refuse_batches(network, texts, expected)
    return checkpoint


class Card:
    """A model called as on its card."""

    def __init__(self, classifier: PreTrainedModel, tokenizer: Any, max_length: int) -> None:
        self.classifier, self.tokenizer, self.max_length = classifier, tokenizer, max_length

    def tokens(self, pair: Pair, *, zero: bool) -> Any:
        """The tokenizer's default output; `zero` leaves token types out, so that all are 0."""
        options = {"return_token_type_ids": False} if zero else {}
        tokens = self.tokenizer(
            *pair, truncation=True, max_length=self.max_length, return_tensors="pt", **options
        )
        return tokens.to(self.classifier.device)

    def values(self, pairs: Sequence[Pair], *, zero: bool) -> Values:
        """(N,) scores, one text at a time."""
        try:
            with torch.no_grad(), quietly():
                logits = [self.classifier(**self.tokens(pair, zero=zero)).logits for pair in pairs]
        except Exception as error:
            # Any model family of the library may run here, and raise errors of any type.
            raise CheckpointError(
                f"plain transformers can't score with it at {self.max_length} tokens: {in_one_line(error)}"
            ) from error
        if any(logit.numel() != 1 for logit in logits):
            raise CheckpointError(
                f"the model gives {logits[0].numel()} numbers per text; a reward model gives one"
            )
        values = np.array([logit.double().item() for logit in logits])
        if not np.isfinite(values).all():
            raise CheckpointError("plain transformers gives NaN or infinity as the score of a sample text")
        return values

    def __call__(self, pairs: Sequence[Pair]) -> list[Scored]:
        return [Scored(value, 1, 1, 0, 0, "fp32") for value in self.values(pairs, zero=True)]


def _pairs(max_length: int) -> list[Pair]:
    """SHORT, and pairs cut on the completion's side, on the prompt's side, on both, and not at all."""
    words = list(itertools.islice(itertools.cycle(STORY.split(" ")), max_length + 50))
    long, longer = " ".join(words), " ".join(reversed(words))
    half = " ".join(words[: max(4, max_length // 4)])
    return [*SHORT, ("Tell a story.", long), (longer, "It ends well."), (longer, long), ("Go on.", half)]


def _refuse_vocabulary(tokenizer: Any, classifier: PreTrainedModel) -> None:
    embeddings: Any = classifier.get_input_embeddings()
    rows = len(embeddings.weight)
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= rows:
        raise CheckpointError(
            f"the tokenizer has tokens up to number {largest:,}; the model's embedding has {rows:,} rows"
        )


def _values(network: Network, batches: Sequence[Sequence[Ids]]) -> Values:
    try:
        with torch.no_grad():
            return np.concatenate([network(batch).double().cpu().numpy() for batch in batches])
    except Exception as error:
        raise CheckpointError(f"the model can't score sample texts: {in_one_line(error)}") from error


def _close(values: Values, expected: Values) -> bool:
    tolerance = TOLERANCE * float(np.std(expected)) + ROUNDING * float(np.abs(expected).max())
    return bool(np.abs(values - expected).max() <= tolerance)


def _difference(values: Values, expected: Values) -> str:
    """The largest difference, in standard deviations of the expected scores."""
    spread = float(np.std(expected))
    largest = float(np.abs(values - expected).max())
    return f"{largest / spread:.2g} standard deviations" if spread else f"{largest:.2g}"


def _is_the_seed(card: Card, pairs: Sequence[Pair], ours: Values) -> bool:
    """Whether this is the published seed, which was trained without token types: by its card's scores."""
    if not _close(ours, card.values(pairs, zero=True)):
        return False
    try:
        seed.check_card_examples(card)
    except ValueError:
        return False
    return True


def _why_alone(
    card: Card, pairs: Sequence[Pair], texts: Sequence[Ids], ours: Values, expected: Values, *, stated: bool
) -> str:
    """Why single texts get other scores than in plain `transformers`."""
    off = _difference(ours, expected)
    if not stated and _close(ours, card.values(pairs, zero=True)):
        return (
            f"its scores depend on token types: with and without them, scores differ by {off}. "
            "Models trained with token types are not supported yet. If the model was trained without them, "
            "as the seed was, add --token-types zero"
        )
    layouts = [card.tokens(pair, zero=True)["input_ids"][0].tolist() for pair in pairs]
    unlike = [n for n, (text, ids) in enumerate(zip(texts, layouts, strict=True)) if text.tolist() != ids]
    if unlike and all(len(layouts[n]) >= card.max_length for n in unlike):
        side = card.tokenizer.truncation_side
        return (
            f"its tokenizer cuts long texts differently (truncation side: {side}), so scores of cut texts "
            f"would differ by {off}; only cutting the longer text first, from the right, is supported"
        )
    if unlike:
        return (
            f"its tokenizer joins a pair of texts differently ({len(unlike)} of {len(pairs)} sample pairs), "
            f"so scores would differ by {off}"
        )
    return f"our scores of single texts differ from those of plain transformers by {off}"


def _refuse_batches(network: Network, texts: Sequence[Ids], expected: Values) -> None:
    for order in _orders(len(texts)):
        places = [place for batch in order for place in batch]
        values = _values(network, [[texts[place] for place in batch] for batch in order])
        if not _close(values, expected[places]):
            raise CheckpointError(
                "its score of a text changes with the other texts in a batch, because it reads padding: by "
                f"{_difference(values, expected[places])}. Such models are not supported"
            )


def _orders(count: int) -> Iterator[list[list[int]]]:
    """Mixed batches of indices: all in one, in threes from the end, and two random halves."""
    indices = list(range(count))
    yield [indices]
    reverse = indices[::-1]
    yield [reverse[start : start + 3] for start in range(0, count, 3)]
    shuffled = random.Random(0).sample(indices, count)
    yield [shuffled[: count // 2], shuffled[count // 2 :]]
