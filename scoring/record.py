"""The files beside trained weights: training.json (origin and cost), metrics.json (figures), and README.md (a
model card with both, in the form of the seed's card)."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scoring import shares
from scoring.baselines import BASELINES
from scoring.calibrate import NotEnoughData, fit_temperature
from scoring.checkpoint import Checkpoint, sha256_of
from scoring.config import TrainConfig
from scoring.evaluate import by_length, compare, evaluate
from scoring.messages import FLATTENING, TURNS
from scoring.pairs import LabelledPair, TrainingData
from scoring.preflight import Preflight

Values = npt.NDArray[np.float64]
Figures = dict[str, Any]

MANIFEST, METRICS, CARD = "training.json", "metrics.json", "README.md"
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy")


@dataclass(frozen=True, slots=True)
class Record:
    """The content of training.json and metrics.json."""

    manifest: Figures
    metrics: Figures


class Energy:
    """Electricity and CO2 of this process, if codecarbon is installed."""

    def __init__(self) -> None:
        try:
            from codecarbon import EmissionsTracker
        except ImportError:
            self._tracker = None
            return
        self._tracker = EmissionsTracker(save_to_file=False, log_level="critical", tracking_mode="machine")
        self._tracker.start()

    def stop(self) -> Figures | None:
        """{"kwh": ..., "kg_co2": ...} since the start; None without codecarbon."""
        if self._tracker is None:
            return None
        kilograms = self._tracker.stop()
        data, self._tracker = self._tracker.final_emissions_data, None
        return {"kwh": float(data.energy_consumed), "kg_co2": float(kilograms or 0.0)}


def margins_of_rule(name: str, pairs: Sequence[LabelledPair]) -> Values:
    """(N,) margins of a baseline."""
    scores = [scored.value for scored in BASELINES[name]([text for pair in pairs for text in pair.texts])]
    margins: Values = np.asarray(scores[0::2]) - np.asarray(scores[1::2])
    return margins


def slices_of(pairs: Sequence[LabelledPair]) -> dict[str, Sequence[str | None]]:
    """Labels of slices: the length of the preferred side, and the part of each pair."""
    outcomes = [pair.target for pair in pairs]
    slices: dict[str, Sequence[str | None]] = {
        "length": by_length([len(pair.a) for pair in pairs], [len(pair.b) for pair in pairs], outcomes)
    }
    if len({pair.part for pair in pairs}) > 1:
        slices["part"] = [pair.part for pair in pairs]
    return slices


def metrics_of(
    data: TrainingData, margins: Mapping[str, Mapping[str, Values]], state: Mapping[str, Any], best_step: int
) -> Figures:
    """All figures of a run, from margins by model ("before", "after") and split.

    The temperature is fitted on validation pairs, so trust the calibrated figures of the test split only.
    """
    validation = data.validation
    try:
        fit = fit_temperature(margins["after"]["validation"], [pair.target for pair in validation])
        calibration: Figures | None = asdict(fit)
    except NotEnoughData:
        calibration = None
    temperature = calibration["temperature"] if calibration else None
    figures: Figures = {
        "best_step": best_step,
        "temperature": calibration,
        "curve": state["curve"],
        "measured": state["measured"],
    }
    for split in ("validation", "test"):
        if pairs := data.splits()[split]:
            outcomes, groups = [pair.target for pair in pairs], [pair.group for pair in pairs]
            slices = slices_of(pairs)
            rules = {name: margins_of_rule(name, pairs) for name in ("longest", "random")}
            after, before = margins["after"][split], margins["before"][split]
            figures[split] = {
                "after": asdict(evaluate(after, outcomes, groups, temperature=temperature, slices=slices)),
                "before": asdict(evaluate(before, outcomes, groups)),
                **{name: asdict(evaluate(rule, outcomes, groups)) for name, rule in rules.items()},
                "against_before": asdict(compare(after, before, outcomes, groups)),
                "against_longest": asdict(compare(after, rules["longest"], outcomes, groups, slices=slices)),
            }
    return figures


def manifest_of(
    checkpoint: Checkpoint,
    source: Path,
    data: TrainingData,
    config: TrainConfig,
    preflight: Preflight,
    state: Mapping[str, Any],
    energy: Figures | None,
    arithmetic: str,
    device: str,
) -> Figures:
    """Everything needed to repeat the run, and its cost."""
    return {
        "format": 1,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": asdict(config),
        "base": {
            "name": source.name,
            "weights": {f.name: sha256_of(f) for f in sorted(source.glob("*.safetensors"))},
        },
        "weights_sha256": checkpoint.weights_sha256,
        "tokenizer_sha256": checkpoint.tokenizer_sha256,
        "parameters": checkpoint.parameters,
        "data": {
            "sha256": data.sha256(),
            "files": dict(data.files),
            "made_validation": data.made_validation,
            "left_out": dict(data.left_out),
        },
        "preflight": asdict(preflight),
        "reading": {"flattening": FLATTENING, "turns": TURNS},  # versions of the rules
        "steps": state["step"],
        "planned_steps": state["planned"],
        "ended_by": state["ended_by"],
        "seconds": round(state["seconds"], 1),
        "energy": energy,
        "resumed": state["resumed"],
        "arithmetic": arithmetic,
        "hardware": _hardware(device),
        "code_sha256": _code_sha256(),
        "packages": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }


def write_record(folder: Path, record: Record) -> None:
    """Write training.json, metrics.json and README.md into a checkpoint's folder."""
    (folder / MANIFEST).write_text(json.dumps(record.manifest, indent=1, allow_nan=False) + "\n")
    (folder / METRICS).write_text(json.dumps(record.metrics, indent=1, allow_nan=False) + "\n")
    (folder / CARD).write_text(card(record), encoding="utf-8")


TEMPLATE = """\
---
library_name: transformers
pipeline_tag: text-classification
tags: [reward-model, preference]
metrics: [accuracy]
{co2}---
# Reward model

Scores an answer to a prompt. Of two answers to one prompt, people are expected to prefer the one with the
higher score. Scores of answers to different prompts can't be compared.

## Details

- **Base model:** {base}
- **Size:** {parameters:,} parameters, counted in the file
- **Data:** {train:,} pairs to train on, {validation:,} to choose the weights, {test:,} to test; \
sha256 {data:.16}…
- **Training steps:** {steps:,}{early}; the weights are from step {best_step:,}
- **Batch size:** {batch} pairs
- **Optimiser:** AdamW, learning rate {learning_rate:g}, preset {preset}
- **Longest input:** {max_length} tokens
- **Hardware:** {hardware}, {arithmetic}
- **Wall time:** {minutes:.1f} minutes
{energy}

## Use

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained("PATH").eval()
tokenizer = AutoTokenizer.from_pretrained("PATH")
tokens = tokenizer(prompt, answer, truncation=True, max_length={max_length},
                   return_token_type_ids=False, return_tensors="pt")
score = model(**tokens).logits.item()
```

Token types are left out, as in training; with them the scores are wrong.

## Performance

{performance}

## Limits

{limits}
"""


def card(record: Record) -> str:
    """The model card, with figures of the record alone."""
    manifest, metrics = record.manifest, record.metrics
    config, energy = manifest["config"], manifest["energy"]
    emissions = f"co2_eq_emissions:\n  emissions: {1000 * energy['kg_co2']:.3g}\n" if energy else ""
    return TEMPLATE.format(
        co2=emissions,
        base=manifest["base"]["name"],
        parameters=manifest["parameters"],
        **manifest["preflight"]["pairs"],
        data=manifest["data"]["sha256"],
        steps=manifest["steps"],
        early=_early_end(manifest),
        best_step=metrics["best_step"],
        **{name: config[name] for name in ("batch", "learning_rate", "preset", "max_length")},
        hardware=manifest["hardware"]["device"],
        arithmetic=manifest["arithmetic"],
        minutes=manifest["seconds"] / 60,
        energy="\n".join(_energy_lines(energy, manifest["resumed"])),
        performance="\n".join(_performance(metrics)).strip(),
        limits="\n".join(_limits(manifest, metrics)),
    )


def _early_end(manifest: Figures) -> str:
    """Planned steps and the reason of an early end, for the line "Training steps"; else ""."""
    if manifest["steps"] == manifest["planned_steps"]:
        return ""
    limit = manifest["config"]["max_seconds"]
    reason = {
        "time": f"stopped at the limit of {limit or 0:g} seconds",
        "patience": "stopped as it no longer improved",
        "steps": "stopped as asked",
    }[manifest["ended_by"]]
    return f" of {manifest['planned_steps']:,} planned ({reason})"


def _energy_lines(energy: Figures | None, resumed: bool) -> list[str]:
    if energy is None:
        return ["- **Energy and emissions:** not measured (codecarbon is not installed)"]
    since = ", since the run was last resumed" if resumed else ""
    return [
        f"- **Emissions:** {energy['kg_co2']:.3g} kg CO2 (CodeCarbon{since})",
        f"- **Energy:** {energy['kwh']:.3g} kWh",
    ]


def _performance(metrics: Figures) -> list[str]:
    lines = []
    for split in ("test", "validation"):
        if split not in metrics:
            continue
        figures = metrics[split]
        after = figures["after"]
        size = f"{after['decided']:,} decided pairs of the {split} split, {after['groups']:,} prompt groups"
        lines += [
            f"On {size} (interval: 95 %, by prompt group):",
            "",
            "| | accuracy | interval | log-loss |",
            "|---|---|---|---|",
            *(
                f"| {name} | {shares.in_words(row['accuracy'])} | "
                f"{shares.between(row['clustered'])} | {loss} |"
                for name, row, loss in (
                    ("this model", after, shares.decimals(after["log_loss"])),
                    ("before training", figures["before"], shares.decimals(figures["before"]["log_loss"])),
                    ("the longer answer wins", figures["longest"], "–"),
                )
            ),
            "",
        ]
    if calibration := metrics["temperature"]:
        lines.append(
            f"P(a preferred) = sigmoid((score a − score b) / {calibration['temperature']:.3g}), "
            f"fitted on {calibration['n']:,} validation pairs."
        )
    return lines


def _limits(manifest: Figures, metrics: Figures) -> list[str]:
    figures = metrics.get("test") or metrics["validation"]
    gain = figures["against_longest"]["accuracy_interval"]
    beats_longest = gain is not None and gain[0] > 0
    lines = [
        "- It predicts what the people behind its labels prefer, not what is true or harmless.",
        "- It learnt one task: what its annotators were asked to judge. Measure it before any other use.",
        f"- It does not see text beyond {manifest['config']['max_length']} tokens.",
    ]
    if not beats_longest:
        lines.append("- **It is not shown to be better than picking the longer answer**: see the table.")
    if "test" not in metrics:
        lines.append(
            "- There was no test split: its figures are from the pairs that its weights were chosen on."
        )
    return [*lines, *(f"- Data: {finding['text']}." for finding in manifest["preflight"]["findings"])]


def print_bad_rows(rows: Sequence[str] | None) -> None:
    """Print to stderr the first five rows that were left out, and their number."""
    for row in (rows or [])[:5]:
        print(f"left out: {row}", file=sys.stderr)
    if rows and len(rows) > 5:
        print(f"left out: {len(rows):,} rows in all", file=sys.stderr)


def _code_sha256() -> str:
    """A digest of this package's source: a version number does not change with every edit."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _hardware(device: str) -> Figures:
    return {
        "device": device,
        "machine": platform.machine(),
        "processors": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
    }
