"""Checks of a training run's pairs before the run."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from scoring import shares
from scoring.checkpoint import template_to_train
from scoring.config import TrainConfig
from scoring.encode import Encoded, Encoder
from scoring.evaluate import right_shares
from scoring.formats import BadText
from scoring.pairs import DataError, LabelledPair, TrainingData

EncodedPair = tuple[Encoded, Encoded]

FEWEST = 20  # with fewer pairs, nothing is trained
FEW = 500  # with fewer pairs, expect little
OFTEN = 0.05  # a larger share of cut texts is a warning


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. An error stops the run; a warning is only recorded."""

    level: Literal["error", "warning"]
    text: str


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a side before any cut, and the share of cut texts."""

    mean: float
    median: float
    p95: float
    longest: int
    cut_share: float


@dataclass(frozen=True, slots=True)
class Preflight:
    """Figures on the pairs of a run, and findings.

    `pairs` and `groups` are by split. `identical` pairs have the same text twice, `alike` pairs the same
    tokens after cutting; neither kind teaches anything. In a `crowded` pair the prompt takes more than half
    of the tokens, so a completion is cut. `contradicted` pairs have the other label elsewhere in training.
    `longer_preferred` is the accuracy of `longest` on the training pairs.
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
    """Check the training pairs and the splits. `encoded`: both sides of each pair of `data.train`."""
    pairs, steps = data.train, config.steps_for(len(data.train))
    decided = [pair for pair in pairs if not pair.is_tie]
    longer = right_shares(
        np.array([len(pair.a) - len(pair.b) for pair in decided]), np.array([pair.target for pair in decided])
    )
    sides = [side for both in encoded for side in both]
    facts = {
        "pairs": {split: len(rows) for split, rows in data.splits().items()},
        "groups": {split: len({pair.group for pair in rows}) for split, rows in data.splits().items()},
        "ties": len(pairs) - len(decided),
        "identical": sum(pair.a == pair.b for pair in pairs),
        "alike": sum(np.array_equal(a.ids, b.ids) for a, b in encoded),
        "crowded": sum(_crowded(both, config.max_length) for both in encoded),
        "contradicted": _contradicted(pairs),
        "longer_preferred": float(np.mean(longer)) if decided else None,
        "prompt": _lengths([(side.prompt_tokens, side.prompt_cut) for side in sides]),
        "completion": _lengths([(side.completion_tokens, side.completion_cut) for side in sides]),
        "steps": steps,
        "epochs": steps * config.batch / max(1, len(pairs)),
    }
    figures = Preflight(**facts, findings=())  # type: ignore[arg-type]
    left_out = [Finding("warning", f"left out: {count:,} {kind}") for kind, count in data.left_out.items()]
    findings = [*_errors(data, figures), *left_out, *_warnings(data, figures)]
    return replace(figures, findings=tuple(findings))


def look_over(model_dir: str | Path, data: TrainingData, config: TrainConfig) -> Preflight:
    """The preflight without a run; it loads only the tokenizer of the model."""
    source = Path(model_dir)
    encoder = Encoder.open(source, config.max_length, config.template or template_to_train(source))
    return preflight(data, encode_pairs(encoder, data.train, "train"), config)


def encode_splits(encoder: Encoder, data: TrainingData) -> dict[str, list[EncodedPair]]:
    """`encode_pairs` of each split."""
    return {split: encode_pairs(encoder, pairs, split) for split, pairs in data.splits().items()}


def encode_pairs(encoder: Encoder, pairs: Sequence[LabelledPair], split: str) -> list[EncodedPair]:
    """Both sides of each pair, encoded as for scoring. Raises DataError naming split and pair."""
    try:
        sides = encoder([text for pair in pairs for text in pair.texts])
    except BadText as error:
        raise DataError(f"{split} pair {error.index // 2 + 1}: {error.reason}") from None
    return list(zip(sides[0::2], sides[1::2], strict=True))


def _errors(data: TrainingData, figures: Preflight) -> Iterator[Finding]:
    count = figures.pairs["train"]
    if count < FEWEST:
        yield Finding("error", f"only {count} pairs to train on; at least {FEWEST} are needed")
    if not figures.pairs["validation"]:
        yield Finding("error", "there are no validation pairs to choose the best weights with")
    if count and figures.ties == count:
        yield Finding("error", "every pair is a tie, so there is nothing to learn")
    if count and figures.alike == count:
        yield Finding(
            "error", "both answers of every pair are the same once cut, so there is nothing to learn"
        )
    groups = {split: {pair.group for pair in rows} for split, rows in data.splits().items()}
    for first, second in itertools.combinations(groups, 2):
        if shared := groups[first] & groups[second]:
            yield Finding(
                "error",
                f"prompt groups in both {first} and {second}: {len(shared):,}; "
                "accuracy would be measured on prompts that the model has learnt",
            )


def _warnings(data: TrainingData, figures: Preflight) -> Iterator[Finding]:
    count = figures.pairs["train"]
    if FEWEST <= count < FEW:
        yield Finding("warning", f"only {count:,} pairs to train on: below {FEW}, don't expect much")
    if figures.identical:
        yield Finding("warning", f"pairs with two equal answers, which teach nothing: {figures.identical:,}")
    if figures.alike > figures.identical:
        alike = figures.alike - figures.identical
        yield Finding(
            "warning", f"pairs that differ only in text that is cut off, which teach nothing: {alike:,}"
        )
    if figures.crowded:
        yield Finding(
            "warning", f"prompts that take over half of the tokens, so an answer is cut: {figures.crowded:,}"
        )
    for name, side in (("prompts", figures.prompt), ("answers", figures.completion)):
        if side.cut_share > OFTEN:
            cut = shares.in_words(side.cut_share)
            yield Finding("warning", f"{cut} of {name} are cut; the longest has {side.longest:,} tokens")
    if figures.contradicted:
        yield Finding(
            "warning", f"pairs that appear again with the other answer preferred: {figures.contradicted:,}"
        )
    if figures.epochs > 10:
        yield Finding("warning", f"{figures.steps:,} steps go over so few pairs {figures.epochs:.0f} times")
    if data.made_validation:
        yield Finding("warning", "no validation file: some prompt groups are held back from training")


def room_on_disk(folder: Path, parameters: int) -> str | None:
    """A sentence if a run of a model of this size does not fit into `folder`, else None.

    At its peak a run stores nine numbers a parameter: two states of three numbers each, two best weights and
    the result.
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
    return sum(len(targets) for targets in labels.values() if min(targets) < 0.5 < max(targets))


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
