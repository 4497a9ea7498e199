"""How fast a one-output BERT scores here.

    make bench-scoring                    the seed's shape, 256 texts: 20 minutes on two cores
    make bench-scoring ARGS="--quick"     a small shape, 32 texts: a minute
    make bench-scoring ARGS="--family qwen3"    another family, beside padded batches: three minutes

The baselines are the loop on the seed's card, two usual libraries, and the processor's own ceiling. The
ceiling is the best matrix product of the model's shapes, plain or prepacked.

Each variant runs in a process of its own, so the peak memory is its own. Variants take turns, because the
speed of a shared machine changes. The table has medians, and ratios within each round. GFLOP/s counts the
arithmetic of the unpadded texts, the same for all variants: neither padding nor skipped work (ours computes
only [CLS] in the last layer) changes the count.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import families
from benchmarks.random_bert import SEED, SPECIAL, Shape, save_random_bert

Pair = tuple[str, str]
Score = Callable[[Sequence[Pair]], Sequence[float]]

CANDIDATES = 4  # completions of each prompt
SIGMA = 0.604  # of log length: 6 % of texts reach 512 tokens when the median is 200
QUICK = Shape(hidden=128, layers=4, heads=4, vocabulary=2_000)
MEDIAN_TOKENS = {SEED: 200, QUICK: 60}


def words(shape: Shape) -> list[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [
        letters[n // 17576 % 26] + letters[n // 676 % 26] + letters[n // 26 % 26] + letters[n % 26]
        for n in range(shape.vocabulary - len(SPECIAL))
    ]


def draw_pairs(shape: Shape, count: int) -> tuple[list[Pair], list[int]]:
    """Pairs of log-normal length, four completions a prompt, and the tokens of each pair."""
    draw, vocabulary = random.Random(0), words(shape)
    pairs, lengths = [], []
    for _ in range(count // CANDIDATES):
        size = draw.randint(5, 40)
        prompt = " ".join(draw.choices(vocabulary, k=size))
        for _ in range(CANDIDATES):
            tokens = min(512, int(MEDIAN_TOKENS[shape] * draw.lognormvariate(0, SIGMA)))
            tokens = max(tokens, size + 4)
            pairs.append((prompt, " ".join(draw.choices(vocabulary, k=tokens - size - 3))))
            lengths.append(tokens)
    return pairs, lengths


def seed_loop(folder: Path, max_length: int = 512) -> Score:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def score(prompt: str, completion: str) -> float:
        tokens = tokenizer(
            prompt,
            completion,
            truncation=True,
            max_length=max_length,
            return_token_type_ids=False,
            return_tensors="pt",
        )
        with torch.no_grad():
            return float(model(**tokens)[0].item())

    return lambda pairs: [score(*pair) for pair in pairs]


def transformers_pipeline(folder: Path) -> Score:
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(folder), dtype="float32", device="cpu")

    def score(pairs: Sequence[Pair]) -> list[float]:
        rows = [{"text": prompt, "text_pair": completion} for prompt, completion in pairs]
        answers = classify(rows, batch_size=8, truncation=True, max_length=512, function_to_apply="none")
        return [answer["score"] for answer in answers]

    return score


def cross_encoder(folder: Path) -> Score:
    from sentence_transformers import CrossEncoder
    from torch import nn

    model = CrossEncoder(str(folder), max_length=512, device="cpu", activation_fn=nn.Identity())
    return lambda pairs: model.predict(list(pairs), batch_size=32, show_progress_bar=False).tolist()


def ours(precision: str) -> Callable[[Path], Score]:
    def build(folder: Path) -> Score:
        from scoring.engine import load

        engine = load(folder, precision=precision)
        if engine.note:
            raise RuntimeError(engine.note)

        def score(pairs: Sequence[Pair]) -> list[float]:
            scores = engine(pairs)
            score.exact = sum(scored.precision == "fp32" for scored in scores) / len(scores)  # type: ignore[attr-defined]
            return [scored.value for scored in scores]

        return score

    return build


VARIANTS: dict[str, Callable[[Path], Score]] = {
    "seed card's loop, fp32": seed_loop,
    "transformers pipeline, batch 8": transformers_pipeline,
    "CrossEncoder.predict, batch 32": cross_encoder,
    "ours, fp32": ours("fp32"),
    "ours, bf16": ours("bf16"),
    "ours, exact-order": ours("exact-order"),
}
BF16 = {"ours, bf16", "ours, exact-order"}
OURS = {"ours, fp32", *BF16}
BASE = "seed card's loop, fp32"


def ceiling(shape: Shape, dtype_name: str) -> float:
    """The best GFLOP/s of any product of the model, over batch sizes and both weight layouts."""
    import torch
    from torch.nn.functional import linear

    from scoring.model import Dense

    dtype, hidden, best = getattr(torch, dtype_name), shape.hidden, 0.0
    for rows in (512, 1024, 2048, 4096):
        for inputs, outputs in (
            (hidden, 3 * hidden),
            (hidden, hidden),
            (hidden, 4 * hidden),
            (4 * hidden, hidden),
        ):
            x, weight = torch.randn(rows, inputs, dtype=dtype), torch.randn(outputs, inputs, dtype=dtype)
            bias = torch.zeros(outputs, dtype=dtype)
            packed = Dense(weight, bias, activate=False)
            for product in (lambda: linear(x, weight, bias), lambda: packed(x)):  # noqa: B023
                with torch.no_grad():
                    product()
                    for _ in range(3):
                        started = time.perf_counter()
                        product()
                        seconds = time.perf_counter() - started
                        best = max(best, 2 * rows * inputs * outputs / seconds / 1e9)
    return best


def serve(name: str, shape: Shape, folder: Path, pairs: list[Pair], pipe: Connection) -> None:
    """A variant's process: for each request, sends (seconds, values, peak MiB, share rescored)."""
    try:
        if name.startswith("ceiling "):
            while pipe.recv():
                pipe.send(ceiling(shape, name.removeprefix("ceiling ")))
            return
        from scoring.model import quietly

        with quietly():
            score = VARIANTS[name](folder)
            score(pairs[:64] if name in OURS else pairs[:4])  # warm-up; exact-order measures its guard
            pipe.send("ready")
            while pipe.recv():
                started = time.perf_counter()
                values = score(pairs)
                seconds = time.perf_counter() - started
                pipe.send((seconds, list(values), peak_mib(), getattr(score, "exact", None)))
    except (ImportError, RuntimeError) as error:
        pipe.send(str(error))


def peak_mib() -> float:
    """The peak memory of this process; getrusage would include the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


class Variant:
    """A process that runs one variant on request."""

    def __init__(self, name: str, shape: Shape, folder: Path, pairs: list[Pair]) -> None:
        self.name = name
        self.pipe, child_pipe = multiprocessing.get_context("spawn").Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(
            target=serve, args=(name, shape, folder, pairs, child_pipe), daemon=True
        )
        self.process.start()

    def ask(self) -> Any:
        self.pipe.send(True)
        return self.pipe.recv()

    def stop(self) -> None:
        if self.process.is_alive():
            self.pipe.send(False)
        self.process.join()


@dataclass(frozen=True, slots=True)
class Measured:
    name: str
    texts_per_second: float
    tokens_per_second: float
    gflops: float
    ratio: float
    share_of_ceiling: float
    peak_mib: float
    largest_error: float
    order_flips: int
    share_rescored: float | None


def flips(values: Sequence[float], exact: Sequence[float]) -> int:
    """Pairs of siblings in another order than in the seed's loop; a difference below 1e-6 is a tie."""
    wrong = 0
    for start in range(0, len(values), CANDIDATES):
        for i in range(start, start + CANDIDATES):
            for j in range(i + 1, start + CANDIDATES):
                gap = exact[i] - exact[j]
                wrong += abs(gap) > 1e-6 and gap * (values[i] - values[j]) <= 0
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a small shape and 32 texts")
    parser.add_argument("--texts", type=int, help="number of texts (default 256; 32 with --quick)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--family", help="a family of transformers, as in qwen3 or modernbert")
    options = parser.parse_args()
    if options.family:
        families.compare(options.family, options.rounds)
        return
    shape = QUICK if options.quick else SEED
    count = options.texts or (32 if options.quick else 256)
    pairs, lengths = draw_pairs(shape, count)
    console = Console() if sys.stdout.isatty() else Console(width=130)
    with tempfile.TemporaryDirectory() as scratch:
        save_random_bert(Path(scratch), shape, words(shape))
        measured, ceilings, missing = measure(shape, Path(scratch), pairs, lengths, options.rounds, console)
    report(console, measured, ceilings, missing, lengths, options.rounds)
    if options.json:
        rows = [{field: getattr(row, field) for field in Measured.__slots__} for row in measured]
        print(
            json.dumps(
                {"ceilings": ceilings, "texts": len(lengths), "tokens": sum(lengths), "variants": rows}
            )
        )


def measure(
    shape: Shape, folder: Path, pairs: list[Pair], lengths: list[int], rounds: int, console: Console
) -> tuple[list[Measured], dict[str, float], dict[str, str]]:
    variants, missing = [], {}
    for name in VARIANTS:
        variant = Variant(name, shape, folder, pairs)
        answer = variant.pipe.recv()  # one at a time: loading would slow the warm-up of others
        if answer == "ready":
            variants.append(variant)
        else:
            missing[name] = answer
    limits = [Variant(f"ceiling {dtype}", shape, folder, []) for dtype in ("float32", "bfloat16")]
    runs: dict[str, list[Any]] = {variant.name: [] for variant in variants}
    ceilings = {"float32": 0.0, "bfloat16": 0.0}
    for number in range(rounds):
        for limit, dtype in zip(limits, ceilings, strict=True):
            ceilings[dtype] = max(ceilings[dtype], limit.ask())
        for variant in variants:
            runs[variant.name].append(variant.ask())
            seconds = runs[variant.name][-1][0]
            console.print(f"round {number + 1}  {variant.name:<32} {seconds:8.1f} s", highlight=False)
    for process in (*variants, *limits):
        process.stop()
    return [summary(name, runs, shape, lengths, ceilings) for name in runs], ceilings, missing


def summary(
    name: str, runs: dict[str, list[Any]], shape: Shape, lengths: list[int], ceilings: dict[str, float]
) -> Measured:
    seconds = statistics.median(run[0] for run in runs[name])
    gflops = sum(map(shape.flops, lengths)) / seconds / 1e9
    exact = runs[BASE][0][1]
    values, peak, rescored = runs[name][-1][1:]
    return Measured(
        name=name,
        texts_per_second=len(lengths) / seconds,
        tokens_per_second=sum(lengths) / seconds,
        gflops=gflops,
        ratio=statistics.median(base[0] / run[0] for base, run in zip(runs[BASE], runs[name], strict=True)),
        share_of_ceiling=gflops / ceilings["bfloat16" if name in BF16 else "float32"],
        peak_mib=peak,
        largest_error=max(abs(value - reference) for value, reference in zip(values, exact, strict=True)),
        order_flips=flips(values, exact),
        share_rescored=rescored if name == "ours, exact-order" else None,
    )


def report(
    console: Console,
    measured: Sequence[Measured],
    ceilings: dict[str, float],
    missing: dict[str, str],
    lengths: list[int],
    rounds: int,
) -> None:
    tokens = statistics.median(lengths)
    table = Table(title=f"{len(lengths)} texts, median {tokens:.0f} tokens; medians of {rounds} rounds")
    table.add_column("variant")
    for heading in (
        "texts/s", "tokens/s", "GFLOP/s", "x seed loop", "of ceiling", "peak MiB", "largest error", "flips"
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for row in measured:
        table.add_row(
            row.name,
            f"{row.texts_per_second:.1f}",
            f"{row.tokens_per_second:,.0f}",
            f"{row.gflops:,.0f}",
            f"{row.ratio:.2f}",
            f"{row.share_of_ceiling:.0%}",
            f"{row.peak_mib:,.0f}",
            f"{row.largest_error:.1e}",
            str(row.order_flips),
        )
    console.print(table)
    console.print(
        f"ceiling: {ceilings['float32']:,.0f} GFLOP/s in fp32, {ceilings['bfloat16']:,.0f} in bf16",
        highlight=False,
    )
    for row in measured:
        if row.share_rescored is not None:
            console.print(
                f"exact-order scored {row.share_rescored:.1%} again in fp32; random weights hardly tell "
                "texts apart, so bench_order.py measures this on a fitted model and real texts",
                highlight=False,
            )
    for name, reason in missing.items():
        console.print(f"not measured: {name}: {reason}", highlight=False)


if __name__ == "__main__":
    main()
