"""Check that this package gives a checkpoint's texts the scores of plain `transformers`.

The reference is the call on a model card, one text at a time and with the tokenizer's defaults:
`model(**tokenizer(prompt, completion, truncation=True, max_length=...))`, or
`model(tokenizer.apply_chat_template(conversation))` for a model with a chat template. This package encodes,
cuts and batches by itself, so single texts and mixed batches are both compared. A checkpoint with other
scores is refused, and so is one whose template is not clear.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from scoring import seed
from scoring.build import build_network
from scoring.chat import messages_of, template_of
from scoring.checkpoint import Checkpoint, CheckpointError, in_one_line, open_checkpoint
from scoring.config import BERT_PAIR, CHAT, PAIR, TEMPLATES, BadSetting
from scoring.encode import Encoded, Encoder, Token, tokenizer_of
from scoring.formats import BadText, Pair, Scored, pair_of_messages
from scoring.messages import turns
from scoring.model import Network, device_of, inputs_of, load_classifier, quietly, tokens_known

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


CONVERSATIONS: Sequence[Pair] = (
    pair_of_messages(
        [
            {"role": "user", "content": "Which is the longest river?"},
            {"role": "assistant", "content": "The Nile, at 6,650 km."},
            {"role": "user", "content": "And in Europe?"},
        ],
        [{"role": "assistant", "content": "The Volga, at 3,530 km."}],
    ),
    pair_of_messages(
        [
            {"role": "system", "content": "Answer in one word."},
            {"role": "user", "content": "What colour is the sky at noon?"},
        ],
        [{"role": "assistant", "content": "Blue."}],
    ),
)
LENGTHS = {BERT_PAIR: 512, PAIR: 512, CHAT: 4096}
"""The usual tokens of a text by template, where the model has as many positions."""


class TemplateUnclear(CheckpointError):
    """A checkpoint whose texts could be laid out in several ways, with different scores. `choices`:
    templates, of which a person has to name one."""

    def __init__(self, message: str, choices: Sequence[str]) -> None:
        super().__init__(message)
        self.choices = tuple(choices)


@dataclass(frozen=True, slots=True)
class Proven:
    """A checkpoint that scores as plain `transformers` does, and how.

    `shown` is one pair, `pair`, token by token as the model reads it. `compared`: how many sample texts were
    compared. `largest`: the largest difference, in standard deviations of the scores. `together`: which texts
    can share a batch, as a sentence for people.
    """

    checkpoint: Checkpoint
    template: str
    max_length: int
    pair: Pair
    shown: Sequence[Token]
    compared: int
    largest: float
    together: str


def prove(
    path: str | Path,
    max_length: int | None = None,
    *,
    template: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
) -> Proven:
    """Open a checkpoint and compare its fp32 scores with those of plain `transformers`.

    `template` is one of TEMPLATES; None: as the checkpoint tells (see `proposed`). `max_length` None: the
    usual one of the template. Raises CheckpointError with the size of a difference, TemplateUnclear, and
    BadSetting if `max_length` exceeds the model's or the template is none.
    """
    if template is not None and template not in TEMPLATES:
        raise BadSetting(f"template {template!r} is not one of {', '.join(TEMPLATES)}")
    if threads is not None:
        torch.set_num_threads(threads)
    checkpoint = open_checkpoint(path)
    if template == CHAT and not checkpoint.chat_template:
        raise CheckpointError("the model has no chat template; choose the template pair")
    if max_length is not None:
        checkpoint.refuse_length(max_length)
    classifier = load_classifier(checkpoint, device_of(device))
    tokenizer = tokenizer_of(checkpoint.path)
    _refuse_vocabulary(tokenizer, classifier)
    template = template or proposed(checkpoint, tokenizer, classifier)
    length = max_length or min(LENGTHS[template], checkpoint.max_positions)
    card = Card(classifier, tokenizer, length, template)
    encoder = Encoder.open(checkpoint.path, length, template)
    pairs = _pairs(length, template)
    try:
        texts = encoder(pairs)
    except BadText as error:
        raise CheckpointError(f"it can't read a sample text: {error.reason}") from None
    expected = card.values(pairs)
    network = build_network(classifier, torch.float32, uses_up=True)
    ours = _values(network, [[text] for text in texts])
    if not _close(ours, expected):
        raise CheckpointError(_why_alone(card, pairs, texts, ours, expected))
    mixed = _compare_batches(network, texts, expected)
    largest = max(np.abs(ours - expected).max(), mixed) / (float(np.std(expected)) or 1.0)
    together = "texts of one length" if network.by_length else "texts of any length"
    return Proven(
        checkpoint, template, length, SHORT[0], encoder.layout(SHORT[0]), len(pairs), float(largest), together
    )


def proposed(checkpoint: Checkpoint, tokenizer: Any, classifier: PreTrainedModel) -> str:
    """The template that a checkpoint's texts are laid out by: what its config states, the chat template that
    comes with it, or the tokenizer's pair. Raises TemplateUnclear where scores depend on token types."""
    if checkpoint.stated_template:
        return checkpoint.stated_template
    if checkpoint.chat_template:
        return CHAT
    length = min(LENGTHS[PAIR], checkpoint.max_positions)
    pairs = SHORT if length >= 64 else SHORT[:3]
    types, zero = (Card(classifier, tokenizer, length, name).values(pairs) for name in (PAIR, BERT_PAIR))
    if _close(zero, types):
        return BERT_PAIR if classifier.config.model_type == "bert" else PAIR
    if _is_the_seed(Card(classifier, tokenizer, length, BERT_PAIR)):
        return BERT_PAIR
    raise TemplateUnclear(
        "its scores depend on token types, and nothing in the folder says whether it was trained with them: "
        f"with and without them, scores differ by {_difference(zero, types)}. Choose the template "
        "pair if it was trained as its tokenizer lays a pair out, with token types, or the template "
        "bert-pair if it was trained without them, as the seed was",
        (PAIR, BERT_PAIR),
    )


class Card:
    """A model called as on its card, with the texts laid out by a template."""

    def __init__(self, classifier: PreTrainedModel, tokenizer: Any, max_length: int, template: str) -> None:
        self.classifier, self.tokenizer = classifier, tokenizer
        self.max_length, self.template = max_length, template

    def tokens(self, pair: Pair) -> Any:
        """What plain `transformers` makes of a pair, (1, L) each: ids, mask, and token types except for
        bert-pair, whose token types are all 0."""
        if self.template == CHAT:
            return self._chat_tokens(pair)
        options = {"return_token_type_ids": False} if self.template == BERT_PAIR else {}
        tokens = self.tokenizer(
            *pair, truncation=True, max_length=self.max_length, return_tensors="pt", **options
        )
        return tokens.to(self.classifier.device)

    def _chat_tokens(self, pair: Pair) -> dict[str, Any]:
        """`apply_chat_template` of the turns, with one BOS, cut from the left after it."""
        messages, answer = messages_of(pair)
        conversation = turns([*messages, *answer])
        try:
            ids = self._apply(conversation)
        except Exception:  # noqa: BLE001  a template raises errors of any type: it takes no turn of the system
            ids = []
        if not ids:
            ids = self._apply(turns([{**conversation[0], "role": "user"}, *conversation[1:]]))
        bos = self.tokenizer.bos_token_id
        if bos is not None:
            while ids[:2] == [bos, bos]:
                ids = ids[1:]
            if ids[0] != bos and self.tokenizer("a")["input_ids"][0] == bos:
                ids = [bos, *ids]
        if len(ids) > self.max_length:
            first = ids[:1] if ids[0] == bos and ids.count(bos) == 1 else []
            ids = first + ids[len(ids) - self.max_length + len(first) :]
        rows = torch.tensor([ids], device=self.classifier.device)
        return {"input_ids": rows, "attention_mask": torch.ones_like(rows)}

    def _apply(self, conversation: Sequence[dict[str, str]]) -> list[int]:
        """Empty where the template drops the turn of the system."""
        template = template_of(self.tokenizer)
        text = self.tokenizer.apply_chat_template(conversation, chat_template=template, tokenize=False)
        if conversation[0]["role"] == "system" and conversation[0]["content"] not in text:
            return []
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def values(self, pairs: Sequence[Pair]) -> Values:
        """(N,) scores, one text at a time."""
        try:
            with torch.no_grad(), quietly():
                logits = [self.classifier(**self.tokens(pair)).logits for pair in pairs]
        except CheckpointError:
            raise
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
        return [Scored(value, 1, 1, 0, 0, "fp32") for value in self.values(pairs)]


LONG = 512
"""Texts that are cut are made for at most so many tokens: attention over thousands takes minutes."""


def _pairs(max_length: int, template: str) -> list[Pair]:
    """SHORT, and pairs cut on the completion's side, on the prompt's side, on both, and not at all; for chat,
    conversations too. Above LONG tokens, nothing is cut."""
    max_length = min(max_length, LONG)
    words = list(itertools.islice(itertools.cycle(STORY.split(" ")), max_length + 50))
    long, longer = " ".join(words), " ".join(reversed(words))
    half = " ".join(words[: max(4, max_length // 4)])
    cut = [("Tell a story.", long), (longer, "It ends well."), (longer, long), ("Go on.", half)]
    return [*SHORT, *(CONVERSATIONS if template == CHAT else ()), *cut]


def _refuse_vocabulary(tokenizer: Any, classifier: PreTrainedModel) -> None:
    rows = tokens_known(classifier)
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= rows:
        raise CheckpointError(
            f"the tokenizer has tokens up to number {largest:,}; the model's embedding has {rows:,} rows"
        )


def _values(network: Network, batches: Sequence[Sequence[Encoded]]) -> Values:
    try:
        with torch.no_grad():
            parts = [network(*inputs_of(batch)).double().cpu().numpy() for batch in batches]
            return np.concatenate(parts)
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


def _is_the_seed(card: Card) -> bool:
    """Whether this is the published seed, which was trained without token types: by its card's scores."""
    try:
        seed.check_card_examples(card)
    except ValueError:
        return False
    return True


def _why_alone(
    card: Card, pairs: Sequence[Pair], texts: Sequence[Encoded], ours: Values, expected: Values
) -> str:
    """Why single texts get other scores than in plain `transformers`."""
    off = _difference(ours, expected)
    layouts = [card.tokens(pair)["input_ids"][0].tolist() for pair in pairs]
    unlike = [n for n, (text, ids) in enumerate(zip(texts, layouts, strict=True)) if text.ids.tolist() != ids]
    if unlike and all(len(layouts[n]) >= card.max_length for n in unlike):
        side = card.tokenizer.truncation_side
        return (
            f"its tokenizer cuts long texts differently (truncation side: {side}), so scores of cut texts "
            f"would differ by {off}; with the template pair they are cut as its tokenizer does"
        )
    if unlike:
        return (
            f"its tokenizer lays texts out differently ({len(unlike)} of {len(pairs)} sample texts), "
            f"so scores would differ by {off}"
        )
    return f"our scores of single texts differ from those of plain transformers by {off}"


def _compare_batches(network: Network, texts: Sequence[Encoded], expected: Values) -> float:
    """The largest difference in any batch, in logits."""
    largest = 0.0
    for order in _orders(len(texts)):
        places = [place for batch in order for place in batch]
        values = _values(network, [[texts[place] for place in batch] for batch in order])
        if not _close(values, expected[places]):
            raise CheckpointError(
                "its score of a text changes with the other texts in a batch: by "
                f"{_difference(values, expected[places])}. Such models are not supported"
            )
        largest = max(largest, float(np.abs(values - expected[places]).max()))
    return largest


def _orders(count: int) -> Iterator[list[list[int]]]:
    """Mixed batches of indices: all in one, in threes from the end, and two random halves."""
    indices = list(range(count))
    yield [indices]
    reverse = indices[::-1]
    yield [reverse[start : start + 3] for start in range(0, count, 3)]
    shuffled = random.Random(0).sample(indices, count)
    yield [shuffled[: count // 2], shuffled[count // 2 :]]
