"""What can be known of a training run before time is spent on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from scoring import shares
from scoring.config import TrainConfig
from scoring.encode import Encoded, Encoder
from scoring.formats import BadText
from scoring.pairs import DataError, LabelledPair, TrainingData

EncodedPair = tuple[Encoded, Encoded]

FEWEST = 20  # pairs below which nothing is trained
FEW = 500  # pairs below which little can be expected
OFTEN = 0.05  # share of texts cut that is worth a word


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know beforehand. An error stops the run, a warning only stands in its record."""

    level: Literal["error", "warning"]
    text: str


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a side before anything is cut, and the share of texts that were cut."""

    mean: float
    median: float
    p95: float
    longest: int
    cut_share: float


@dataclass(frozen=True, slots=True)
class Preflight:
    """The pairs of a run in figures, and what is wrong with them.

    `pairs` and `groups` are by split. `identical` pairs have the same text twice, `alike` the same
    tokens once cut; neither teaches anything. `crowded` pairs have a prompt that takes more than half of
    the room and so cuts a completion. `contradicted` pairs have another label elsewhere in training.
    `longer_preferred` is the accuracy of the length rule on the training pairs.
    """

    pairs: Mapping[str, int]
    groups: Mapping[str, int]
    ties: int
    identical: int
    alike: int
    crowded: int
    contradicted: int
    longer_preferred: float | None
    prompt: Lengths
    completion: Lengths
    steps: int
    epochs: float
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> list[str]:
        return [finding.text for finding in self.findings if finding.level == "error"]


def preflight(data: TrainingData, encoded: Sequence[EncodedPair], config: TrainConfig) -> Preflight:
    """Look over all training pairs, `encoded` (both sides of each of `data.train`), and the splits."""
    pairs, steps = data.train, config.steps_for(len(data.train))
    decided = [pair for pair in pairs if not pair.is_tie]
    longer = [
        0.5 if len(pair.a) == len(pair.b) else float((len(pair.a) > len(pair.b)) == (pair.target > 0.5))
        for pair in decided
    ]
    sides = [side for both in encoded for side in both]
    facts = {
        "pairs": {split: len(rows) for split, rows in data.splits().items()},
        "groups": {split: len({pair.group for pair in rows}) for split, rows in data.splits().items()},
        "ties": len(pairs) - len(decided),
        "identical": sum(pair.a == pair.b for pair in pairs),
        "alike": sum(np.array_equal(a.ids, b.ids) for a, b in encoded),
        "crowded": sum(_crowded(both, config.max_length) for both in encoded),
        "contradicted": _contradicted(pairs),
        "longer_preferred": float(np.mean(longer)) if longer else None,
        "prompt": _lengths([(side.prompt_tokens, side.prompt_cut) for side in sides]),
        "completion": _lengths([(side.completion_tokens, side.completion_cut) for side in sides]),
        "steps": steps,
        "epochs": steps * config.batch / max(1, len(pairs)),
    }
    unjudged = Preflight(**facts, findings=())  # type: ignore[arg-type]
    return Preflight(**facts, findings=tuple(_findings(data, unjudged)))  # type: ignore[arg-type]


def look_over(model_dir: str | Path, data: TrainingData, config: TrainConfig) -> Preflight:
    """The preflight of a run that nobody has begun; loads the tokenizer of the model and nothing else."""
    encoder = Encoder.open(Path(model_dir), config.max_length)
    return preflight(data, encode_pairs(encoder, data.train, "train"), config)


def encode_pairs(encoder: Encoder, pairs: Sequence[LabelledPair], split: str) -> list[EncodedPair]:
    """Both sides of each pair as scoring would encode them. Raises DataError naming split and pair."""
    try:
        sides = encoder([text for pair in pairs for text in pair.texts])
    except BadText as error:
        raise DataError(f"{split} pair {error.index // 2 + 1}: {error.reason}") from None
    return list(zip(sides[0::2], sides[1::2], strict=True))


def _findings(data: TrainingData, found: Preflight) -> Iterator[Finding]:
    yield from _errors(data, found)
    for what, count in data.left_out.items():
        yield Finding("warning", f"left out: {count:,} {what}")
    yield from _warnings(data, found)


def _errors(data: TrainingData, found: Preflight) -> Iterator[Finding]:
    count = found.pairs["train"]
    if count < FEWEST:
        yield Finding("error", f"only {count} pairs to train on; at least {FEWEST} are needed")
    if not found.pairs["validation"]:
        yield Finding("error", "there are no validation pairs to choose the best weights with")
    if count and found.ties == count:
        yield Finding("error", "every pair is a tie, so there is nothing to learn")
    if count and found.alike == count:
        yield Finding(
            "error", "both answers of every pair are the same once cut, so there is nothing to learn"
        )
    groups = {split: {pair.group for pair in rows} for split, rows in data.splits().items()}
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if shared := groups[one] & groups[other]:
            yield Finding(
                "error",
                f"prompt groups in both {one} and {other}: {len(shared):,}; "
                "accuracy would be measured on prompts that the model has learnt",
            )


def _warnings(data: TrainingData, found: Preflight) -> Iterator[Finding]:
    count = found.pairs["train"]
    if FEWEST <= count < FEW:
        yield Finding("warning", f"only {count:,} pairs to train on: below {FEW}, don't expect much")
    if found.identical:
        yield Finding("warning", f"pairs with two equal answers, which teach nothing: {found.identical:,}")
    if found.alike > found.identical:
        alike = found.alike - found.identical
        yield Finding(
            "warning", f"pairs that differ only in text that is cut off, which teach nothing: {alike:,}"
        )
    if found.crowded:
        yield Finding(
            "warning", f"prompts that take over half of the tokens, so an answer is cut: {found.crowded:,}"
        )
    for name, side in (("prompts", found.prompt), ("answers", found.completion)):
        if side.cut_share > OFTEN:
            cut = shares.in_words(side.cut_share)
            yield Finding("warning", f"{cut} of {name} are cut; the longest has {side.longest:,} tokens")
    if found.contradicted:
        yield Finding(
            "warning", f"pairs that appear again with the other answer preferred: {found.contradicted:,}"
        )
    if found.epochs > 10:
        yield Finding("warning", f"{found.steps:,} steps go over so few pairs {found.epochs:.0f} times")
    if data.made_validation:
        yield Finding("warning", "no validation file: some prompt groups are held back from training")


def room_on_disk(folder: Path, parameters: int) -> str | None:
    """A sentence when a run of a model of this size would not fit into `folder`, else None.

    At its peak a run holds two states of three numbers a parameter, two best weights and the result.
    """
    needed, free = 4 * parameters * 9, shutil.disk_usage(folder).free
    if free >= needed:
        return None
    return f"{folder} has {free / 1e9:.1f} GB free; training this model needs {needed / 1e9:.1f} GB"


def _crowded(both: EncodedPair, max_length: int) -> bool:
    return any(
        side.completion_cut and side.prompt_tokens + side.prompt_cut > max_length // 2 for side in both
    )


def _contradicted(pairs: Sequence[LabelledPair]) -> int:
    labels: dict[tuple[str, str, str], list[float]] = {}
    for pair in pairs:
        if not pair.is_tie:
            first, second = sorted((pair.a, pair.b))
            target = pair.target if first == pair.a else 1 - pair.target
            labels.setdefault((pair.prompt, first, second), []).append(target)
    return sum(len(each) for each in labels.values() if min(each) < 0.5 < max(each))


def _lengths(counted: Sequence[tuple[int, int]]) -> Lengths:
    if not counted:
        return Lengths(0.0, 0.0, 0.0, 0, 0.0)
    kept, cut = np.asarray(counted).T
    tokens = kept + cut
    return Lengths(
        mean=float(tokens.mean()),
        median=float(np.median(tokens)),
        p95=float(np.quantile(tokens, 0.95)),
        longest=int(tokens.max()),
        cut_share=float((cut > 0).mean()),
    )
