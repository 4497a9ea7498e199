"""How much faster matrix products are in bf16 than in fp32 on this machine: measured, not looked up.

A processor's list of flags does not tell: with `avx512_bf16` alone, products run 1.1 to 2.2 times as fast in
bf16, by the processor and the version of torch. So a few products of the model's own shapes are timed at the
first start, and the result is kept for the next.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from scoring.model import Dense

Shape = tuple[int, int]  # (inputs, outputs) of a linear layer
ROWS = {"cpu": 512, "cuda": 16_384}
"""About the tokens of a batch: with few rows, a GPU takes longer to begin a product than to compute it."""
TURNS = 12
SHAPES = 3
SMALLEST = 100_000
"""Weights of the shapes together: with fewer, a call takes longer than its arithmetic."""
PAYS_SCORING = 1.5
"""From this gain on, texts are scored in bf16: below, what exact-order scores again costs what it saves."""
PAYS_TRAINING = 3.0
"""In training, all weights are rounded anew at every step."""


def why_not_bf16(network: nn.Module, least: float = PAYS_SCORING) -> str:
    """A sentence on why bf16 is not used for a network on its device, or ""."""
    device = next(network.parameters()).device
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "this GPU has no bf16 units, so scores are fp32"
    gain = bf16_gain(device, shapes_of(network))
    if gain >= least:
        return ""
    return f"bf16 is {gain:.1f} times as fast as fp32 here, which does not pay, so scores are fp32"


def shapes_of(network: nn.Module) -> list[Shape]:
    """The shapes of linear layers in which most of the arithmetic is, largest first."""
    work: dict[Shape, int] = {}
    for module in network.modules():
        if isinstance(module, nn.Linear | Conv1D):
            rows, columns = module.weight.shape
            shape = (rows, columns) if isinstance(module, Conv1D) else (columns, rows)
            work[shape] = work.get(shape, 0) + rows * columns
    return sorted(work, key=lambda shape: -work[shape])[:SHAPES]


def bf16_gain(device: torch.device, shapes: Iterable[Shape]) -> float:
    """Seconds of products in fp32 over those in bf16; 1.0 for a network too small for a difference.

    It is kept by processor, version of torch, threads and shapes. A file that can't be read or written only
    costs another measurement.
    """
    chosen = list(shapes)
    if sum(inputs * outputs for inputs, outputs in chosen) < SMALLEST:
        return 1.0
    key = f"{_name_of(device)}, torch {torch.__version__}, {torch.get_num_threads()} threads, {chosen}"
    kept = _kept()
    if not isinstance(kept.get(key), float):
        kept[key] = round(measure(device, chosen), 2)
        _keep(kept)
    return float(kept[key])


def measure(device: torch.device, shapes: Iterable[Shape]) -> float:
    """Seconds of ROWS rows through a layer of each shape, in fp32 over bf16.

    Both take turns and the best of each counts, as other programs take time too.
    """
    best = {torch.float32: 0.0, torch.bfloat16: 0.0}
    for inputs, outputs in shapes:
        layers = {
            dtype: Dense(torch.zeros(outputs, inputs, dtype=dtype, device=device), None, activate=False)
            for dtype in best
        }
        rows = {
            dtype: torch.zeros(ROWS.get(device.type, 512), inputs, dtype=dtype, device=device)
            for dtype in best
        }
        turns = [{dtype: _seconds(layers[dtype], rows[dtype]) for dtype in best} for _ in range(TURNS)]
        for dtype in best:
            best[dtype] += min(turn[dtype] for turn in turns)
    return best[torch.float32] / best[torch.bfloat16]


@torch.no_grad()
def _seconds(layer: nn.Module, rows: Tensor) -> float:
    started = time.perf_counter()
    layer(rows)
    if rows.is_cuda:
        torch.cuda.synchronize(rows.device)
    return time.perf_counter() - started


def _name_of(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with suppress(OSError, IndexError):  # no /proc, or an ARM processor without a name there
        return Path("/proc/cpuinfo").read_text().split("model name")[1].partition("\n")[0].strip("\t :")
    return platform.processor() or platform.machine()


def _file() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "preference-workbench" / "bf16-gain.json"


def _kept() -> dict[str, float]:
    with suppress(OSError, ValueError, RuntimeError):
        kept = json.loads(_file().read_text())
        if isinstance(kept, dict):
            return kept
    return {}


def _keep(kept: dict[str, float]) -> None:
    with suppress(OSError, RuntimeError):  # RuntimeError: a user without a home
        _file().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=_file().parent, delete=False) as file:
            json.dump(kept, file, indent=1)
        Path(file.name).replace(_file())
