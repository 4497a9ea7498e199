"""A scorer by its name: a baseline, or the folder of a checkpoint."""

from __future__ import annotations

import sys

from scoring.baselines import BASELINES
from scoring.formats import Scorer


def open_scorer(
    name: str, *, max_length: int = 512, precision: str = "fp32", threads: int | None = None
) -> Scorer:
    """`longest`, `shortest`, `random`, or the model in a folder; what it has to say goes to stderr.

    Raises CheckpointError for a folder that can't be used, and ValueError for a setting that can't.
    """
    if name in BASELINES:
        return BASELINES[name]
    from scoring.engine import load  # takes seconds to import; --help should not wait for it

    engine = load(name, max_length=max_length, precision=precision, threads=threads)
    if engine.note and precision != "fp32":
        print(f"note: {engine.note}", file=sys.stderr)
    return engine
