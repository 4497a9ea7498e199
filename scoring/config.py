"""The settings of a training run, and its progress reports. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

BERT_PAIR, PAIR, CHAT = "bert-pair", "pair", "chat"
TEMPLATES = {
    BERT_PAIR: "the seed's: a pair with separators, every token type 0, the longer text cut from the right",
    PAIR: "the tokenizer's own form of a pair of texts, with its token types and its side to cut from",
    CHAT: "the model's own chat template; a conversation that is too long is cut from the left of the prompt",
}
"""How a model's texts are laid out (see scoring.encode, scoring.chat). A changed rule gets a new name."""
TOKEN_TYPES = ("zero",)
"""For a model trained without token types whose tokenizer makes them by default."""
TOKEN_TYPES_HELP = "zero: the same as --template bert-pair"  # noqa: S105
TEMPLATE_HELP = (
    "how a prompt and an answer are laid out (default: as the checkpoint says; asks if that is not clear)"
)


class BadSetting(ValueError):
    """A setting with a value that it can't have, in a sentence for the person who chose it."""


def template_named(template: str | None, token_types: str | None) -> str | None:
    """The template that a person has named, by either option. Raises BadSetting for two that differ."""
    if token_types not in (None, "", *TOKEN_TYPES):
        raise BadSetting(f"token types {token_types!r} is not one of {', '.join(TOKEN_TYPES)}")
    if token_types and template not in (None, "", BERT_PAIR):
        raise BadSetting(f"token types {token_types} is for the template bert-pair, not for {template}")
    return BERT_PAIR if token_types else template or None


class TrainingError(RuntimeError):
    """A training run ended without a model. The message is for the person who started the run."""


class Stopped(Exception):
    """`report` asked the run to stop. The state is saved: the same call continues the run."""


@dataclass(frozen=True)
class TrainConfig:
    """All settings that decide the weights, given the model and the pairs.

    The defaults are the preset `recommended`. `save_seconds` and `token_budget` change the weights by no more
    than rounding. With `max_seconds`, the weights also depend on the speed of the machine; `stop_after` with
    the number of steps of such a run reproduces its weights.
    """

    preset: str = "recommended"
    learning_rate: float = 2e-5  # highest learning rate of AdamW
    batch: int = 16  # pairs a step
    epochs: float = 3.0  # passes over the training pairs, if `steps` is None
    steps: int | None = None  # optimiser steps; overrides `epochs`
    max_length: int = 512  # tokens a text is cut to, with special tokens
    warm_up: float = 0.1  # share of the steps with a rising rate; then the rate falls linearly to 0
    weight_decay: float = 0.01  # of matrices only, not of biases and norms
    clip: float = 1.0  # largest norm of the gradient
    dropout: float | None = None  # None: the value in the model's config
    label_smoothing: float = 0.0  # share of labels taken to be wrong
    strength: float = 0.0  # logits of required margin per unit of strength, of pairs without any doubt
    centring: float = 0.01  # weight of (a + b)^2, which keeps rewards of all versions around zero
    evaluations: int = 10  # measurements on the validation pairs, evenly spaced
    patience: int | None = 3  # measurements without improvement after which the run ends
    max_seconds: float | None = None  # seconds of steps and measurements after which the run ends
    stop_after: int | None = None  # the last step, with the learning rates of the whole plan
    validation_pairs: int = 2000  # at most this many pairs in a measurement
    precision: str = "auto"  # fp32, bf16 (autocast), or auto: bf16 where it is measured to pay
    token_budget: int = 2048  # tokens in one forward pass on a processor; bounds the memory
    template: str | None = None  # how texts are laid out; None: as the checkpoint says
    pooling: str = "auto"  # of a new head: first (token), mean, or auto: mean for an untrained pooler
    depth: int | None = None  # layers kept below a new head; None: all, or as the probe says
    probe: bool = True  # a new head starts at a linear probe, on the layer that predicts the pairs best
    layers: int | None = None  # train the last so many layers and the head; None: all
    lora: int | None = None  # train adapters of this rank and the head; None: the weights themselves
    layer_decay: float = 0.9  # rate of a layer over that of the layer above
    head_rate: float = 10.0  # rate of an untrained head over that of the last layer
    length_balance: float = 0.0  # 1: pairs that prefer the longer and the shorter answer weigh the same
    checkpointing: bool = False  # compute activations twice to need less memory
    seed: int = 42  # of a new head, the order of pairs, and dropout
    save_seconds: float = 60.0  # work that a killed run may lose

    def __post_init__(self) -> None:
        above_zero = ("learning_rate", "batch", "epochs", "max_length", "clip", "layer_decay", "head_rate")
        bad = [name for name in above_zero if not getattr(self, name) > 0]
        counts = ("evaluations", "validation_pairs", "token_budget")
        bad += [name for name in counts if getattr(self, name) < 1]
        bad += [name for name in ("weight_decay", "strength", "centring") if not getattr(self, name) >= 0]
        bad += [name for name in ("warm_up", "label_smoothing") if not 0 <= getattr(self, name) < 1]
        bad += [name for name in ("length_balance",) if not 0 <= getattr(self, name) <= 1]
        for name in ("steps", "patience", "stop_after", "depth", "layers", "lora"):
            if (count := getattr(self, name)) is not None and count < 1:
                bad.append(name)
        if self.max_seconds is not None and not self.max_seconds > 0:
            bad.append("max_seconds")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            bad.append("dropout")
        if bad:
            raise BadSetting(", ".join(f"{name} can't be {getattr(self, name)}" for name in bad))
        if self.precision not in ("auto", "fp32", "bf16"):
            raise BadSetting(f"precision {self.precision!r} is not one of auto, fp32, bf16")
        if self.template not in (None, *TEMPLATES):
            raise BadSetting(f"template {self.template!r} is not one of {', '.join(TEMPLATES)}")
        if self.pooling not in ("auto", "first", "mean"):
            raise BadSetting(f"pooling {self.pooling!r} is not one of auto, first, mean")

    def steps_for(self, pairs: int) -> int:
        return self.steps or max(1, -(-int(self.epochs * pairs) // self.batch))

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0: linear warm-up, then linear decay to 0."""
        warm_up = int(self.warm_up * steps)
        if step < warm_up:
            return self.learning_rate * (step + 1) / (warm_up + 1)
        return self.learning_rate * (steps - step) / max(1, steps - warm_up)


PRESETS: Mapping[str, TrainConfig] = MappingProxyType(
    {
        "recommended": TrainConfig(),
        # A first model soon, on any machine. A measured pair takes half as long as a trained pair, so fewer
        # measurements leave more time for steps. A probe reads up to 1,000 pairs before the first step.
        "quick": TrainConfig(
            preset="quick", max_seconds=90.0, evaluations=5, validation_pairs=200, probe=False
        ),
        # The settings of the seed's card and training script. The script kept the last checkpoint; here the
        # best of three measurements is kept.
        "seed": TrainConfig(
            preset="seed",
            learning_rate=5e-5,
            batch=42,
            steps=1200,
            max_length=400,
            warm_up=0.0,
            weight_decay=0.0,
            centring=0.0,
            evaluations=3,
            patience=None,
            precision="fp32",
            pooling="first",
            probe=False,
            layer_decay=1.0,
            head_rate=1.0,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Measured:
    """The model on validation pairs: log-loss in nats a pair, accuracy over decided pairs."""

    step: int
    log_loss: float
    accuracy: float | None
    best: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """A run after `step` of `steps`. `measured` is set right after a measurement."""

    step: int
    steps: int
    loss: float | None
    learning_rate: float
    pairs_per_second: float | None
    eta_seconds: float | None
    measured: Measured | None = None


Report = Callable[[Progress], bool | None]
"""Called after every step. If it returns False, the run saves its state and raises `Stopped`."""
