"""How fast training is here, and how much memory it needs.

    make bench-train                      an encoder of 22.7 M and a step of the seed's shape: 8 minutes
    make bench-train ARGS="--quick"       a small shape: a minute

The baseline is the seed's own training loop: a plain `transformers.Trainer` that pads every text to
max_length and runs preferred and rejected texts in two passes. Both loops train the same model on the same
pairs in the same order. Each runs in a process of its own, and they take turns of a few steps, so a busy
machine slows both. Ratios are of wall time and of processor time. Then both run a few steps without dropout:
their losses must be equal.

Memory is the peak of a process that makes one step of the preset `seed` (42 pairs of 400 tokens a side, 108 M
parameters) and saves its state.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.random_bert import SEED, Shape, save_random_bert
from scoring.config import PRESETS, Progress, TrainConfig
from scoring.pairs import LabelledPair, TrainingData

MAX_LENGTH = 400
MEDIAN, SIGMA = 195, 0.6  # tokens of a text, log-normal: a mean of 230, as long answers are
WORDS = [f"{a}{b}{c}" for a in "bcdfghjklmnp" for b in "aeiou" for c in "bcdfghjklmnprstvwxz"]


SMALL = Shape(hidden=384, layers=6, heads=12, vocabulary=30_522)
QUICK = Shape(hidden=64, layers=2, heads=4, vocabulary=2_000)


def pairs(count: int, tokens: Callable[[random.Random], int], start: int = 0) -> list[LabelledPair]:
    """Random pairs. The completion with the larger share of one word is preferred."""
    labelled = []
    for number in range(start, start + count):
        draw = random.Random(number)
        prompt = " ".join(draw.choices(WORDS, k=12))
        sides = []
        for _ in range(2):
            text = draw.choices(WORDS[1:], k=max(4, tokens(draw) - 15))
            for place in draw.sample(range(len(text)), k=draw.randint(0, len(text) // 4)):
                text[place] = WORDS[0]
            sides.append(text)
        sides.sort(key=lambda text: -text.count(WORDS[0]) / len(text))
        labelled.append(LabelledPair(prompt, " ".join(sides[0]), " ".join(sides[1]), 1.0, str(number)))
    return labelled


def log_normal(draw: random.Random) -> int:
    return min(2000, int(draw.lognormvariate(np.log(MEDIAN), SIGMA)))


def ours(folder: Path, data: TrainingData, config: TrainConfig, report_loss: Callable[[float], None]) -> None:
    from scoring.train import train

    def report(progress: Progress) -> None:
        if progress.step and progress.loss is not None:
            report_loss(progress.loss)

    with tempfile.TemporaryDirectory() as scratch:
        train(folder, data, Path(scratch) / "out", config, report=report)


def plain(
    folder: Path, data: TrainingData, config: TrainConfig, report_loss: Callable[[float], None]
) -> None:
    """The baseline: padded to max_length, two forward passes, like the trainer of TRL at the time."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rates = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    changed = {} if config.dropout is None else dict.fromkeys(rates, config.dropout)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32, **changed
    )
    count = len(data.train)
    order = [
        int(index)
        for epoch in range(1 + (config.steps or 0) * config.batch // count)
        for index in np.random.default_rng([config.seed, epoch]).permutation(count)
    ]

    def tokenised(index: int) -> dict[str, Any]:
        row = {}
        for name, text in zip("ab", data.train[index].texts, strict=True):
            tokens = tokenizer(*text, truncation=True, max_length=config.max_length, padding="max_length")
            row[f"ids_{name}"], row[f"mask_{name}"] = tokens["input_ids"], tokens["attention_mask"]
        return row

    rows = [tokenised(index) for index in order[: (config.steps or 0) * config.batch]]

    class Pairwise(Trainer):
        def compute_loss(self, model: Any, inputs: Any, **_: Any) -> Any:
            a, b = (
                model(input_ids=inputs[f"ids_{name}"], attention_mask=inputs[f"mask_{name}"]).logits
                for name in "ab"
            )
            loss = -torch.nn.functional.logsigmoid(a - b).mean()
            self.last = float(loss.detach())
            return loss

        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(rows)

    class ReportLoss(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            report_loss(trainer.last)

    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            per_device_train_batch_size=config.batch,
            max_steps=config.steps or 0,
            learning_rate=config.learning_rate,
            weight_decay=0.0,
            lr_scheduler_type="linear",
            warmup_steps=0,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            use_cpu=True,
            remove_unused_columns=False,
            disable_tqdm=True,
        )
        trainer = Pairwise(
            model,
            arguments,
            train_dataset=rows,
            data_collator=lambda rows: {key: torch.tensor([row[key] for row in rows]) for key in rows[0]},
            callbacks=[ReportLoss()],
        )
        trainer.train()


LOOPS = {"ours": ours, "plain": plain}


def in_turns(
    name: str, folder: Path, data: TrainingData, config: TrainConfig, threads: int, link: Connection
) -> None:
    """Run a loop in this process, one turn of steps for each message from the parent."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
    losses: list[float] = []
    left, started = 1, (time.perf_counter(), time.process_time())

    def report_loss(loss: float) -> None:
        nonlocal left, started
        losses.append(loss)
        left -= 1
        if not left:
            link.send((time.perf_counter() - started[0], time.process_time() - started[1], losses.copy()))
            left = link.recv()
            started = time.perf_counter(), time.process_time()

    LOOPS[name](folder, data, config, report_loss)


def race(
    folder: Path, data: TrainingData, config: TrainConfig, threads: int, turn: int
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, list[float]]]:
    """(wall, processor) seconds of each turn and the losses of each step, by loop, after a warm-up step."""
    context = multiprocessing.get_context("spawn")
    links, children = {}, []
    for name in LOOPS:
        parent_end, child_end = context.Pipe()
        child = context.Process(target=in_turns, args=(name, folder, data, config, threads, child_end))
        child.start()
        links[name] = parent_end
        children.append(child)
        parent_end.recv()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in LOOPS}
    losses: dict[str, list[float]] = {}
    for number in range(((config.steps or 0) - 1) // turn):
        for name in list(LOOPS) if number % 2 else list(LOOPS)[::-1]:
            links[name].send(turn)
            wall, processor, losses[name] = links[name].recv()
            times[name].append((wall, processor))
    for child in children:
        child.terminate()
        child.join()
    return times, losses


def seed_step(folder: Path, pairs_in_step: int, link: Connection) -> None:
    from scoring.train import train

    config = replace(PRESETS["seed"], steps=1, batch=pairs_in_step, evaluations=1)
    data = TrainingData(pairs(42, lambda _: 800), pairs(2, lambda _: 800, 1000))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        train(folder, data, Path(scratch) / "out", config)
    link.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter() - started))


def peak_of_seed_step(scratch: Path, shape: Shape, pairs_in_step: int) -> tuple[float, float]:
    """(peak GB, seconds) of one step of the preset `seed`, saving included, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    parent_end, child_end = context.Pipe()
    child = context.Process(
        target=seed_step, args=(save_random_bert(scratch / "seed", shape, WORDS), pairs_in_step, child_end)
    )
    child.start()
    peak, seconds = parent_end.recv()
    child.join()
    return peak * 1024 / 1e9, seconds


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small shape, to see that it runs")
    parser.add_argument("--batch", type=int, default=16, help="pairs a step (default: 16)")
    parser.add_argument("--turns", type=int, default=4, help="turns of each loop (default: 4)")
    parser.add_argument("--turn", type=int, default=2, help="steps in a turn (default: 2)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"), help="of ours")
    parser.add_argument(
        "--memory-pairs", type=int, default=42, help="pairs in the step of the seed; 0 = none"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    shape = QUICK if options.quick else SMALL
    config = replace(
        PRESETS["seed"],
        batch=options.batch,
        steps=1 + options.turns * options.turn,
        precision=options.precision,
        evaluations=1,
        validation_pairs=1,
    )
    console = Console(width=None if sys.stdout.isatty() else 120)
    with tempfile.TemporaryDirectory(prefix="bench-train-") as scratch:
        folder = save_random_bert(Path(scratch) / "model", shape, WORDS)
        data = TrainingData(pairs(400, log_normal), pairs(1, log_normal, 5000))
        times, _ = race(folder, data, config, options.threads, options.turn)
        same = replace(config, dropout=0.0, precision="fp32", steps=1 + 2 * options.turn)
        _, losses = race(folder, data, same, options.threads, options.turn)
        memory = (
            peak_of_seed_step(Path(scratch), QUICK if options.quick else SEED, options.memory_pairs)
            if options.memory_pairs
            else None
        )
    table = Table(box=None)
    for column in ("loop", "pairs/s", "pairs/s of processor", "times plain", "times plain, processor"):
        table.add_column(column, justify="left" if column == "loop" else "right")
    pairs_in_turn = options.batch * options.turn
    ratios = {
        place: statistics.median(
            plain[place] / ours[place] for ours, plain in zip(times["ours"], times["plain"], strict=True)
        )
        for place in (0, 1)
    }
    for name, label in (("plain", f"Trainer, padded to {MAX_LENGTH}"), ("ours", "ours")):
        wall, processor = (statistics.median(turn[place] for turn in times[name]) for place in (0, 1))
        ratio = [f"{ratios[place]:.2f}" if name == "ours" else "1.00" for place in (0, 1)]
        table.add_row(label, f"{pairs_in_turn / wall:.2f}", f"{pairs_in_turn / processor:.2f}", *ratio)
    console.print(table)
    difference = max(abs(o - p) for o, p in zip(losses["ours"], losses["plain"], strict=True))
    rows = [f"{value:.4f}" for value in losses["ours"]], [f"{value:.4f}" for value in losses["plain"]]
    print(f"losses without dropout: ours {' '.join(rows[0])}; Trainer {' '.join(rows[1])}")
    print(f"largest difference {difference:.5f}")
    if memory:
        print(
            f"one step of the preset seed, {options.memory_pairs} pairs of {MAX_LENGTH} tokens a side: "
            f"peak {memory[0]:.2f} GB, {memory[1]:.0f} s"
        )
    if options.json:
        print(json.dumps({"ratio": ratios, "losses": losses, "difference": difference, "memory": memory}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
