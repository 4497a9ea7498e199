"""`python -m scoring train`: a reward model from labelled pairs."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from scoring import config as configs
from scoring import shares
from scoring.config import PRESETS, TEMPLATE_HELP, TEMPLATES, TrainConfig
from scoring.pairs import read_training_data
from scoring.preflight import Preflight, look_over
from scoring.record import print_bad_rows

SETTINGS: dict[str, tuple[type, str]] = {
    "steps": (int, "optimiser steps"),
    "epochs": (float, "passes over the training pairs, if no steps are given"),
    "learning-rate": (float, "highest learning rate, as in 3e-5"),
    "batch": (int, "pairs a step"),
    "max-length": (int, "tokens a text is cut to"),
    "seed": (int, "start of all random choices"),
    "label-smoothing": (float, "share of labels taken to be wrong, as in 0.1"),
    "strength": (float, "logits to ask for with each unit of preference strength"),
    "dropout": (float, "share of units dropped in training, as in 0.1"),
    "patience": (int, "stop after this many measurements without improvement"),
    "evaluations": (int, "measurements on the validation pairs"),
    "token-budget": (int, "tokens in one pass; fewer need less memory"),
    "max-seconds": (float, "stop after this many seconds of steps and measurements"),
    "depth": (int, "layers to keep under a new head, from the lowest (default: as --probe finds)"),
    "layers": (int, "train only this many of the last layers, and the head"),
    "lora": (int, "train adapters of this rank and the head; needs the package peft"),
    "layer-decay": (float, "rate of a layer over that of the layer above, as in 0.9"),
    "head-rate": (float, "learning rate of a head that starts at zero, as a multiple of the last layer's"),
    "length-balance": (float, "0 to 1: how far pairs won by the longer and the shorter answer weigh alike"),
    "stop-after": (int, "stop after this step, with the rates of the whole plan"),
}
"""Settings of a preset that the command line may change: type and help."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, type=Path, help="folder of a checkpoint, or of a bare encoder"
    )
    parser.add_argument(
        "--data",
        required=True,
        type=Path,
        help="a release, or a folder of train, validation and test files (.jsonl, .json, .csv, .parquet ...)",
    )
    parser.add_argument("-o", "--output", metavar="DIR", required=True, type=Path, help="a new folder")
    parser.add_argument("--profile", help="profile of the release to read")
    parser.add_argument(
        "--preset",
        default="recommended",
        choices=sorted(PRESETS),
        help="the settings below change it (default: recommended)",
    )
    for name, (kind, about) in SETTINGS.items():
        parser.add_argument(f"--{name}", metavar="N", type=kind, help=about)
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        help="arithmetic; auto takes bf16 where the processor has it",
    )
    parser.add_argument("--template", choices=TEMPLATES, help=TEMPLATE_HELP)
    parser.add_argument(
        "--pooling",
        choices=("auto", "first", "mean"),
        help="what a new head reads: the first token, the mean of all, or (auto) what fits the encoder",
    )
    parser.add_argument(
        "--probe",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="start a new head at a linear probe, on the layer that predicts the pairs best",
    )
    parser.add_argument(
        "--checkpointing",
        action="store_true",
        default=None,
        help="compute activations twice: less memory, a third more time",
    )
    parser.add_argument("--threads", type=int, help="processor threads (default: torch's choice)")
    parser.add_argument("--check", action="store_true", help="check the data and train nothing")
    parser.add_argument("--lenient", action="store_true", help="skip rows that can't be read")
    parser.add_argument("--restart", action="store_true", help="discard an unfinished run in the same folder")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Check the data, train, print the results, and return all figures."""
    config = config_of(options)
    bad: list[str] | None = [] if options.lenient else None
    data = read_training_data(options.data, profile=options.profile, bad=bad)
    print_bad_rows(bad)
    if options.check:
        preflight = look_over(options.model, data, config)
        print_preflight(preflight)
        return asdict(preflight)

    import torch  # takes seconds to import; --help and --check should not wait for it

    from scoring.train import train

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    with _bar() as report:
        trained = train(
            options.model,
            data,
            options.output,
            config,
            report=report,
            looked=print_preflight,
            restart=options.restart,
        )
    print_outcome(trained.record.metrics, trained.steps, trained.best_step, trained.seconds)
    print(f"{options.output}: weights, training.json, metrics.json and README.md")
    return {
        "path": str(options.output),
        "steps": trained.steps,
        "best_step": trained.best_step,
        "seconds": round(trained.seconds, 1),
        "weights_sha256": trained.checkpoint.weights_sha256,
        "metrics": trained.record.metrics,
    }


def config_of(options: argparse.Namespace) -> TrainConfig:
    """The preset with the settings of the command line. Raises ValueError for a bad setting."""
    settings = {
        field.name: value
        for field in fields(TrainConfig)
        if (value := getattr(options, field.name, None)) is not None
    }
    if "epochs" in settings and "steps" not in settings:
        settings["steps"] = None
    return replace(PRESETS[options.preset], **settings)


def print_preflight(preflight: Preflight) -> None:
    for split, count in preflight.pairs.items():
        print(f"{split:>10}  {count:,} pairs of {preflight.groups[split]:,} prompt groups")
    for name, side in (("prompt", preflight.prompt), ("completion", preflight.completion)):
        print(
            f"{name:>10}  median {side.median:.0f} tokens, 95 % below {side.p95:.0f}, "
            f"longest {side.longest:,}; {shares.in_words(side.cut_share)} cut"
        )
    longer = shares.in_words(preflight.longer_preferred)
    print(f"{'longest':>10}  the longer answer is preferred in {longer} of pairs")
    print(f"{'run':>10}  {preflight.steps:,} steps, {preflight.epochs:.1f} passes over the training pairs")
    for finding in preflight.findings:
        print(f"{finding.level}: {finding.text}", file=sys.stderr)


def print_outcome(metrics: dict[str, Any], steps: int, best_step: int, seconds: float) -> None:
    print(f"{steps:,} steps in {seconds / 60:.1f} minutes; the best weights are from step {best_step:,}")
    for split in ("validation", "test"):
        if split in metrics:
            figures = metrics[split]
            of = {name: shares.in_words(figures[name]["accuracy"]) for name in ("before", "after", "longest")}
            print(
                f"{split:>10}  {of['before']} before, {of['after']} after "
                f"({shares.between(figures['after']['clustered'])} by prompt group); longest {of['longest']}"
            )


@contextmanager
def _bar() -> Iterator[configs.Report]:
    """A report that draws a bar on a terminal, prints a line for each measurement, and stops at Ctrl-C."""
    stopping = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        if stopping:
            raise KeyboardInterrupt
        stopping = True
        print("stopping after this step; the same command continues", file=sys.stderr)

    with Progress(
        TextColumn("training"),
        BarColumn(),
        TextColumn("step {task.completed}/{task.total}"),
        TextColumn("{task.fields[word]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task("", total=None, word="")
        started = time.monotonic()

        def report(now: configs.Progress) -> bool:
            loss = "" if now.loss is None else f"loss {now.loss:.3f}"
            rate = "" if now.pairs_per_second is None else f", {now.pairs_per_second:.1f} pairs/s"
            progress.update(task, completed=now.step, total=now.steps, word=loss + rate)
            if now.measured:
                accuracy = shares.in_words(now.measured.accuracy)
                best = ", the best so far" if now.measured.best else ""
                progress.console.print(
                    f"step {now.step}/{now.steps}, {time.monotonic() - started:.0f} s: validation log-loss "
                    f"{now.measured.log_loss:.4f}, accuracy {accuracy}{best}",
                    highlight=False,
                    soft_wrap=True,
                )
            return not stopping

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield report
        finally:
            signal.signal(signal.SIGINT, before)
