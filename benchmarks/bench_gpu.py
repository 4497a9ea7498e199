"""What a GPU does with our networks: one table, and one JSON beside it, in under eight minutes.

    make bench-gpu                          on the first GPU; without one it ends with a sentence
    make bench-gpu ARGS="--rehearse"        a tiny shape on the processor: shows that each part runs
    make bench-gpu ARGS="--carry FOLDER"    write a folder for a machine without network: there, with a stock
                                            PyTorch image, `sh FOLDER/run.sh`

Weights are random, in the seed's shape. The rate of the device is that of its best large bf16 product in the
same run. Of a length, the arithmetic of the unpadded texts is counted, the same for all variants.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from multiprocessing import Queue, get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

from benchmarks.random_bert import SEED, SPECIAL, Shape, save_random_bert

ROOT = Path(__file__).resolve().parents[1]
TINY = Shape(hidden=64, layers=2, heads=2, vocabulary=500)
LENGTHS = (64, 128, 256, 512)
CARRIED = ("transformers", "rich")
"""What a stock PyTorch image lacks, besides what these need."""
STOCK = {"torch", "numpy", "nvidia", "triton"}
Pair = tuple[str, str]


def words(shape: Shape) -> list[str]:
    return [f"w{number}" for number in range(shape.vocabulary - len(SPECIAL))]


def texts_of(shape: Shape, length: int, prompts: int, answers: int) -> list[Pair]:
    """Pairs of exactly `length` tokens, `answers` to each prompt."""
    draw, known = random.Random(length), words(shape)
    asked = length // 4
    pairs = []
    for _ in range(prompts):
        prompt = " ".join(draw.choices(known, k=asked))
        pairs += [(prompt, " ".join(draw.choices(known, k=length - asked - 3))) for _ in range(answers)]
    return pairs


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the second call; the first makes kernels."""
    for _ in range(2):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
    return time.perf_counter() - started


def dense_rate(device: torch.device, size: int) -> float:
    """TFLOP/s of the device's best bf16 product of square matrices."""
    x, y = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    return max(2 * size**3 / timed(lambda: x @ y, device) / 1e12 for _ in range(5))


def same_as_on_the_processor(folder: Path, pairs: Sequence[Pair], device: str) -> dict[str, float]:
    """The largest difference from fp32 on the processor, over the spread of the scores."""
    expected = values(folder, pairs, "fp32", "cpu")
    spread = float(np.std(expected)) or 1.0
    return {
        precision: float(np.abs(values(folder, pairs, precision, device) - expected).max() / spread)
        for precision in ("fp32", "bf16", "exact-order")
    }


def values(folder: Path, pairs: Sequence[Pair], precision: str, device: str) -> np.ndarray[Any, Any]:
    from scoring.engine import load

    return np.array([scored.value for scored in load(folder, precision=precision, device=device)(pairs)])


def flips(folder: Path, pairs: Sequence[Pair], device: str) -> dict[str, Any]:
    """Pairs of siblings, two and two, that stand otherwise than in fp32 on the device."""
    from scoring.engine import load

    exact = values(folder, pairs, "fp32", device)
    found: dict[str, Any] = {"pairs": len(pairs) // 2}
    for precision in ("bf16", "exact-order"):
        scores = load(folder, precision=precision, device=device)(pairs)
        turned = np.array([scored.value for scored in scores])
        gap, other = exact[0::2] - exact[1::2], turned[0::2] - turned[1::2]
        found[precision] = int(((gap * other <= 0) & (np.abs(gap) > 1e-5)).sum())
        found["scored again"] = sum(scored.precision == "fp32" for scored in scores) / len(pairs)
    return found


def speed(
    folder: Path, shape: Shape, length: int, count: int, device: torch.device, rate: float
) -> dict[str, Any]:
    """Texts a second of ours, of padded batches and of the pipeline at one length; the share of the rate."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    from scoring.engine import load

    pairs = texts_of(shape, length, count // 2, 2)
    engine = load(folder, precision="bf16", device=device.type)
    encoding = timed(lambda: engine.encoder(pairs), torch.device("cpu"))
    ours = timed(lambda: engine(pairs), device)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.bfloat16).to(device).eval()

    def padded() -> None:
        for start in range(0, len(pairs), 64):
            prompts, answers = zip(*pairs[start : start + 64], strict=True)
            rows = tokenizer(list(prompts), list(answers), padding=True, truncation=True, return_tensors="pt")
            with torch.no_grad():
                model(**rows.to(device)).logits.float().cpu()

    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device=device)
    rows = [{"text": prompt, "text_pair": answer} for prompt, answer in pairs]
    seconds = {
        "padded": timed(padded, device),
        "pipeline": timed(lambda: classify(rows, batch_size=64, truncation=True), device),
    }
    flops = len(pairs) * shape.flops(length)
    return {
        "length": length,
        "texts/s": len(pairs) / ours,
        "share of dense bf16": flops / ours / 1e12 / rate,
        "x padded": seconds["padded"] / ours,
        "x pipeline": seconds["pipeline"] / ours,
        "tokenising alone, texts/s": len(pairs) / encoding,
    }


def training(folder: Path, shape: Shape, pairs: int, device: torch.device) -> dict[str, float]:
    """Seconds of a training step of ours, over those of a padded batch in one piece."""
    from scoring.checkpoint import open_checkpoint
    from scoring.encode import Encoder
    from scoring.model import Padded, inputs_of, load_classifier
    from scoring.trainable import trainable

    draw = random.Random(3)
    mixed = [texts_of(shape, draw.choice(LENGTHS[:3]), 1, 2) for _ in range(pairs)]
    texts = Encoder.open(folder, 512)([pair for both in mixed for pair in both])
    seconds = {}
    for name, network_of in (("ours", trainable), ("padded", Padded)):
        network = network_of(load_classifier(open_checkpoint(folder), device)).train()

        def step(network: torch.nn.Module = network) -> None:
            with torch.autocast(device.type, torch.bfloat16):
                rewards = network(*inputs_of(texts))
            (-(rewards[0::2] - rewards[1::2])).mean().backward()

        seconds[name] = timed(step, device)
    return seconds | {"x padded": seconds["padded"] / seconds["ours"]}


def two_workers(folder: Path, pairs: Sequence[Pair], device: str, seconds: float) -> dict[str, float]:
    """Texts a second of one process, and of two on one device at the same time."""
    rates = {}
    for count in (1, 2):
        context = get_context("spawn")
        ready, results = context.Barrier(count), context.Queue()
        workers = [
            context.Process(target=score_for, args=(folder, pairs, device, seconds, ready, results))
            for _ in range(count)
        ]
        for worker in workers:
            worker.start()
        rates[f"{count} at once"] = sum(results.get(timeout=120) for _ in workers)
        for worker in workers:
            worker.join()
    return rates


def score_for(
    folder: Path, pairs: Sequence[Pair], device: str, seconds: float, ready: Barrier, results: Queue[float]
) -> None:
    """A worker's process: texts a second over so many seconds, from when all workers are ready."""
    from scoring.engine import load

    engine = load(folder, precision="bf16", device=device)
    engine(pairs)
    ready.wait()
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        engine(pairs)
        calls += 1
    results.put(calls * len(pairs) / (time.perf_counter() - started))


def measure(folder: Path, shape: Shape, device: torch.device, scale: int) -> dict[str, Any]:
    """`scale`: how many texts, and 1/64 of the longest side of the dense product."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else "processor (a rehearsal)"
    rate = dense_rate(device, 64 * scale)
    found: dict[str, Any] = {"device": name, "torch": torch.__version__, "dense bf16 TFLOP/s": rate}
    found["difference from fp32 on the processor"] = same_as_on_the_processor(
        folder, texts_of(shape, 128, scale // 4, 2), device.type
    )
    found["order"] = flips(folder, texts_of(shape, 96, 40 * scale, 2), device.type)
    found["speed"] = [speed(folder, shape, length, 32 * scale, device, rate) for length in LENGTHS]
    if device.type == "cuda":
        found["peak memory, GiB"] = torch.cuda.max_memory_allocated() / 2**30
    found["training step, seconds"] = training(folder, shape, scale // 4, device)
    found["workers, texts/s"] = two_workers(
        folder, texts_of(shape, 256, 8 * scale, 2), device.type, scale / 16
    )
    return found


def report(found: dict[str, Any]) -> None:
    console = Console() if sys.stdout.isatty() else Console(width=130)
    table = Table(title=f"{found['device']}, torch {found['torch']}")
    for heading in found["speed"][0]:
        table.add_column(heading, justify="right")
    for row in found["speed"]:
        table.add_row(*(shown(name, value) for name, value in row.items()))
    console.print(table)
    for name, value in found.items():
        if name != "speed":
            console.print(f"{name}: {value}", highlight=False)


def shown(name: str, value: float) -> str:
    if "share" in name:
        return f"{value:.0%}"
    return f"{value:,.2f}" if name.startswith("x") else f"{value:,.0f}"


def carry(folder: Path) -> None:
    """A folder with our code and the packages that a stock PyTorch image lacks."""
    if folder.exists():
        sys.exit(f"{folder} exists already; choose a new folder")
    for name in ("scoring", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    wanted, taken = [*CARRIED], set[str]()
    while wanted:
        name = wanted.pop().lower().replace("_", "-")
        if name in taken or any(name.startswith(stock) for stock in STOCK):
            continue
        taken.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # an extra, or for another system
        for file in distribution.files or []:
            source, target = Path(str(distribution.locate_file(file))), folder / "packages" / file
            if ".." not in file.parts and "__pycache__" not in file.parts and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
        needed = map(Requirement, distribution.requires or [])
        wanted += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    (folder / "run.sh").write_text(
        "#!/bin/sh\n# The benchmark on the first GPU; the result is bench-gpu.json beside this file.\n"
        'cd "$(dirname "$0")" && PYTHONPATH=.:packages HF_HUB_OFFLINE=1 python3 benchmarks/bench_gpu.py '
        '--json bench-gpu.json "$@"\n'
    )
    print(f"{folder}: run {folder}/run.sh there; it needs torch and the Python of this environment")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rehearse", action="store_true", help="a tiny shape on the processor")
    parser.add_argument("--carry", type=Path, metavar="FOLDER", help="write a folder for another machine")
    parser.add_argument("--json", type=Path, default=Path("bench-gpu.json"), help="default: bench-gpu.json")
    options = parser.parse_args()
    if options.carry:
        carry(options.carry)
        return
    if not options.rehearse and not torch.cuda.is_available():
        sys.exit("there is no GPU here; --rehearse runs each part on the processor")
    shape, scale = (TINY, 8) if options.rehearse else (SEED, 128)
    device = torch.device("cpu" if options.rehearse else "cuda")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        save_random_bert(Path(scratch), shape, words(shape))
        found = measure(Path(scratch), shape, device, scale)
    found["seconds in all"] = time.perf_counter() - started
    options.json.write_text(json.dumps(found, indent=1) + "\n")
    report(found)
    print(f"written: {options.json}")


if __name__ == "__main__":
    main()
