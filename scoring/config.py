"""What a training run is told, and what it tells while it runs. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

TOKEN_TYPES = ("zero",)
"""What may be stated of a model whose tokenizer makes token types by default: that it was trained without."""
TOKEN_TYPES_HELP = "zero: the model was trained without token types, as the seed was"  # noqa: S105


class TrainingError(RuntimeError):
    """Why a training run ended without a model; a sentence for the person who started it."""


class Stopped(Exception):
    """`report` asked the run to stop. Its state stays: the same call goes on where it was."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides which weights come out, given the model and the pairs.

    The defaults are the preset `recommended`. `save_seconds` and `token_budget` are the two that only
    decide how a run goes, not (but for rounding) what comes of it. With `max_seconds` the speed of the
    machine decides too; `stop_after` with the steps that such a run made gives its weights again.
    """

    preset: str = "recommended"
    learning_rate: float = 3e-5  # the peak of AdamW's
    batch: int = 32  # pairs a step
    epochs: float = 2.0  # passes over the training pairs, where `steps` is not given
    steps: int | None = None  # optimiser steps, whatever the number of pairs
    max_length: int = 512  # tokens a pair is cut to, special tokens counted
    warm_up: float = 0.1  # share of the steps in which the rate rises; then it falls to 0 in a line
    weight_decay: float = 0.01  # of matrices; biases and norms have none
    clip: float = 1.0  # largest norm of the gradient
    dropout: float | None = None  # None leaves it as the model's config says
    label_smoothing: float = 0.0  # the share of labels taken to be wrong
    strength: float = 0.0  # logits that each unit of preference strength adds to the margin asked for
    centring: float = 0.01  # weight of (a + b)^2, which keeps rewards about zero between versions
    evaluations: int = 10  # measurements on the validation pairs, evenly over the run
    patience: int | None = 3  # measurements without a better one before the run ends early
    max_seconds: float | None = None  # seconds of steps and measurements after which the run ends
    stop_after: int | None = None  # the step after which it ends, whatever the rate was planned for
    validation_pairs: int = 2000  # at most so many pairs in each of those measurements
    precision: str = "auto"  # fp32, bf16 (autocast), or bf16 where the processor has units for it
    token_budget: int = 2048  # tokens in one forward pass on a processor; bounds the memory
    seed: int = 42  # of a new head, the order of pairs, and dropout
    save_seconds: float = 60.0  # how much work a killed run may lose

    def __post_init__(self) -> None:
        above_zero = ("learning_rate", "batch", "epochs", "max_length", "clip")
        wrong = [name for name in above_zero if not getattr(self, name) > 0]
        counts = ("evaluations", "validation_pairs", "token_budget")
        wrong += [name for name in counts if getattr(self, name) < 1]
        wrong += [name for name in ("weight_decay", "strength", "centring") if not getattr(self, name) >= 0]
        wrong += [name for name in ("warm_up", "label_smoothing") if not 0 <= getattr(self, name) < 1]
        for name in ("steps", "patience", "stop_after"):
            if (count := getattr(self, name)) is not None and count < 1:
                wrong.append(name)
        if self.max_seconds is not None and not self.max_seconds > 0:
            wrong.append("max_seconds")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            wrong.append("dropout")
        if wrong:
            raise ValueError(", ".join(f"{name} can't be {getattr(self, name)}" for name in wrong))
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"precision {self.precision!r} is not one of auto, fp32, bf16")

    def steps_for(self, pairs: int) -> int:
        return self.steps or max(1, -(-int(self.epochs * pairs) // self.batch))

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0: a rise over the warm-up, then a line to 0."""
        rising = int(self.warm_up * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / (rising + 1)
        return self.learning_rate * (steps - step) / max(1, steps - rising)


PRESETS: Mapping[str, TrainConfig] = MappingProxyType(
    {
        "recommended": TrainConfig(),
        # A first answer soon, on any machine. Measured pairs take half as long as trained ones, so that of
        # the same short time fewer measurements leave more to the steps.
        "quick": TrainConfig(preset="quick", max_seconds=90.0, evaluations=5, validation_pairs=200),
        # The card of the seed and the script behind it. That script kept the last checkpoint; the best of
        # the same three measurements is kept here.
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
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Measured:
    """The model after `step` steps, on validation pairs: log-loss in nats, accuracy over decided pairs."""

    step: int
    log_loss: float
    accuracy: float | None
    best: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is after `step` of `steps`; `measured` is set when validation pairs were just scored."""

    step: int
    steps: int
    loss: float | None
    learning_rate: float
    pairs_per_second: float | None
    eta_seconds: float | None
    measured: Measured | None = None


Report = Callable[[Progress], bool | None]
"""Called after every step; False asks the run to save its state and raise `Stopped`."""
