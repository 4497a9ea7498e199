"""Training and evaluation with torch, as the callables that the pipeline takes."""

import json
import logging
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings

from scoring import seed
from scoring.config import Report, TrainConfig
from scoring.formats import Pair, Scorer, prompt_text
from workbench.models import ModelVersion, Release, Run
from workbench.models.runs import Found, PreflightFacts, ShownToken
from workbench.pipeline import releases
from workbench.pipeline.model import adding, plan, registry, training
from workbench.pipeline.runs.progress import Refused, is_for_people
from workbench.worker import scorers

if TYPE_CHECKING:
    from scoring.engine import Engine

log = logging.getLogger(__name__)


def train_here(
    run: Run, train: training.Train, is_stopping: Callable[[], bool] = lambda: False
) -> ModelVersion | None:
    """Carry a started training out in this process."""
    config = plan.config_of_run(run)

    def look(model: Path, pairs: Path) -> PreflightFacts:
        return look_over(model, pairs, config)

    def inspect_trained(folder: Path, base: ModelVersion, max_length: int) -> training.Checkpoint:
        # Its config states the template that it was trained with, which need not be that of its base.
        return inspect(folder, max_length, base.precision)

    tools = training.Tools(look, train, inspect_trained, scorers.scorer_of)
    return training.carry_out(run, tools, settings.DATA_DIR / "training", is_stopping)


def register_here(run: Run, is_stopping: Callable[[], bool] = lambda: False) -> ModelVersion:
    """Carry out a started registration in this process."""
    from scoring.adapter import base_named, merge
    from scoring.packed import unpack

    tools = adding.Tools(unpack, base_named, merge, inspect_ordered, scorers.scorer_of)
    return adding.carry_out(run, tools, settings.DATA_DIR / "training", is_stopping)


def inspect_ordered(folder: Path, order: adding.Order) -> training.Checkpoint:
    """`inspect` as the order says. The seed model must also give the scores that its card has."""
    check = seed.check_card_examples if order.repository == seed.REPOSITORY else None
    return inspect(folder, order.max_length, order.precision, check, order.named_template)


def trainer(config: TrainConfig) -> training.Train:
    """The training of scoring with these settings. A folder that is there already was trained to its end by a
    worker that died before it could say so."""

    def train(model: Path, pairs: Path, out: Path, report: Report) -> dict[str, Any]:
        from scoring.train import train as train_model  # slow: torch

        if not out.is_dir():
            scorers.load_engine.cache_clear()  # the memory of a loaded model is wanted now
            train_model(model, pairs, out, config, report=report, device=settings.DEVICE)
        manifest, metrics = (
            json.loads((out / f"{name}.json").read_text()) for name in ("training", "metrics")
        )
        return {**manifest, "metrics": metrics}

    return train


def look_over(model: Path, pairs: Path, config: TrainConfig) -> PreflightFacts:
    """The preflight of scoring: every pair tokenised, nothing trained."""
    from scoring import preflight
    from scoring.pairs import read_training_data

    return cast("PreflightFacts", asdict(preflight.look_over(model, read_training_data(pairs), config)))


def preflight(release: Release, base: ModelVersion, config: TrainConfig) -> PreflightFacts:
    """The result of `look_over` for a release and a base. Raises Refused."""
    model = registry.local_checkpoint(base, settings.DATA_DIR / "cache" / "checkpoints")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            releases.copy_to(release, Path(scratch) / "release")
            return look_over(model, Path(scratch) / "release", plan.read_as(base, config))
        except ValueError as error:
            if not is_for_people(error):
                raise
            raise Refused(str(error)) from error


def inspect(
    folder: Path,
    max_length: int | None,
    precision: str,
    check: Callable[[Scorer], None] | None = None,
    template: str | None = None,
) -> training.Checkpoint:
    """Compare a model folder with plain `transformers` and load it: what pins it, its known answers, how far
    its bf16 strays from fp32 on real texts, and what a person should see of it. template, max_length: None =
    as the folder tells. Raises ValueError, or what `check` raises of the loaded model; TemplateUnclear, which
    is one, has the templates to choose from."""
    from scoring.checkpoint import files_of
    from scoring.engine import load
    from scoring.proof import prove

    proven = prove(folder, max_length, template=template, device=settings.DEVICE)
    engine = load(
        folder,
        max_length=proven.max_length,
        template=proven.template,
        precision=precision,
        device=settings.DEVICE,
    )
    if engine.note:
        log.info("%s: %s", folder.name, engine.note)
    if check is not None:
        check(engine)
    checkpoint = proven.checkpoint
    facts = {
        "architecture": checkpoint.architecture,
        "parameters": checkpoint.parameters,
        "weights_sha256": checkpoint.weights_sha256,
        "tokenizer_sha256": checkpoint.tokenizer_sha256,
        "template": proven.template,
        "max_length": proven.max_length,
        "precision": precision,
        "guard": _guard(engine),
        "self_test": registry.self_test(engine.alone),
    }
    found = Found(
        template=proven.template,
        max_length=proven.max_length,
        max_positions=checkpoint.max_positions,
        prompt=proven.pair[0],
        answer=proven.pair[1],
        tokens=[
            ShownToken(text=token.text, id=token.id, part=token.part, type=token.type)
            for token in proven.shown
        ],
        compared=proven.compared,
        difference=proven.largest,
        together=proven.together,
        note=engine.note,
    )
    return training.Checkpoint(files_of(checkpoint), facts | {"found": found}, found)


def _guard(engine: "Engine") -> float | None:
    """How far bf16 strays from fp32 on real texts, with room to spare; None where bf16 is not used."""
    from scoring.engine import measure_guard

    return measure_guard(engine, _sample()) if engine.exact_order else None


def _sample() -> list[Pair]:
    """Texts of many lengths and scripts that are always there: the demo's."""
    path = settings.BASE_DIR / "demo" / "prompts.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    return [(prompt_text(row["prompt"]), c["text"]) for row in rows for c in row["completions"]]
