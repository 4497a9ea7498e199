"""A scorer by its name: a baseline, or the folder of a checkpoint."""

from __future__ import annotations

import sys
from pathlib import Path

from scoring.baselines import BASELINES
from scoring.formats import Scorer


def open_scorer(
    name: str,
    *,
    max_length: int | None = None,
    precision: str = "fp32",
    threads: int | None = None,
    template: str | None = None,
) -> Scorer:
    """`longest`, `shortest`, `random`, or the model in a folder; a note on its precision goes to stderr.

    The model is first compared with plain `transformers`, which also finds the template and the usual
    `max_length` where none is named (see scoring.proof). An adapter is merged into the base that it names.
    Raises CheckpointError for a bad folder or a difference, and ValueError for a bad setting.
    """
    if name in BASELINES:
        return BASELINES[name]
    from scoring.adapter import opened  # takes seconds to import; --help should not wait for it
    from scoring.engine import load
    from scoring.proof import prove

    with opened(Path(name)) as folder:
        proven = prove(folder, max_length, template=template, threads=threads)
        engine = load(
            folder,
            max_length=proven.max_length,
            template=proven.template,
            precision=precision,
            threads=threads,
        )
    if engine.note and precision != "fp32":
        print(f"note: {engine.note}", file=sys.stderr)
    return engine
