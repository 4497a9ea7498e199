"""Release -> a checkpoint -> a ModelVersion with lineage, calibrated and evaluated.

A training has one folder in the worker's data folder until it is done: with the Release's files, the state to
resume from, and the checkpoint. A worker that shares the data folder resumes the training of a killed worker.
A worker that does not begins anew: slower, never wrong."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from scoring.config import Report, Stopped, TrainingError
from scoring.learnt import Record, of_training
from scoring.pairs import read_training_data
from workbench.db.away import is_disk_full
from workbench.models import Dataset, ModelVersion, Release, Run, User
from workbench.models.runs import Finding, Found, PreflightFacts
from workbench.pipeline import releases
from workbench.pipeline.history.recording import record_run
from workbench.pipeline.model import calibration, evaluation, plan, promotion, registry
from workbench.pipeline.model.margins import ScorerOf, complete_margins
from workbench.pipeline.model.pairs import LEARNT, NothingToEvaluate, of_dataset
from workbench.pipeline.model.run_log import RunLog
from workbench.pipeline.runs.lifecycle import heartbeats
from workbench.pipeline.runs.progress import Cancelled, Refused, is_for_people
from workbench.pipeline.runs.progress import Progress as EvaluationProgress
from workbench.pipeline.text import learnt

ABANDONED = timedelta(days=14)


class NothingBetter(Exception):
    """No step of a training beat its base on the validation pairs: an outcome, and no failure."""


@dataclass(frozen=True)
class Checkpoint:
    """A model folder to register: its files, fields of the ModelVersion, and what its self-test found."""

    files: Sequence[str]
    facts: Mapping[str, object]
    found: Found | None = None


Look = Callable[[Path, Path], PreflightFacts]
"""(model folder, folder of pairs) -> the preflight, as scoring.preflight has it."""
Train = Callable[[Path, Path, Path, Report], Mapping[str, Any]]
"""(model folder, folder of pairs, folder to make, report) -> how it was trained. The folder appears whole or
not at all. A second call resumes where the first was stopped or killed, and answers at once where the first
was done. Raises Stopped when `report` says so, TrainingError or ValueError when training is impossible."""
Inspect = Callable[[Path, ModelVersion, int], Checkpoint]
"""(model folder, the base version, tokens it was trained to): loads the model once, and measures the fields
of a ModelVersion."""


@dataclass(frozen=True)
class Tools:
    """The parts of a training that need torch; a test replaces each by ten lines."""

    look: Look
    train: Train
    inspect: Inspect
    scorer_of: ScorerOf


@transaction.atomic
def begin(
    release: Release,
    base: ModelVersion,
    preset: str,
    name: str = "",
    by: User | None = None,
    settings: Mapping[str, object] | None = None,
) -> Run:
    """A new Run, to be enqueued, that trains `base` further, or anew, on the release. Raises Refused."""
    plan.outlook(release)
    if base.is_external:
        raise Refused(f"{base} is scored elsewhere, so its weights are not here. Choose another model.")
    if base.kind != ModelVersion.Kind.TRANSFORMER:
        raise Refused(f"{base} is a rule without weights. Choose another model to start from.")
    config = plan.config_of(preset, settings)
    run = Run.objects.create(
        kind=Run.Kind.TRAIN,
        dataset=release.dataset,
        created_by=by,
        params={
            "release": str(release.pk),
            "number": release.number,
            "base": base.pk,
            "base_name": base.name,
            "preset": preset,
            "settings": dict(settings or {}),
            "max_seconds": config.max_seconds,
            "name": plan.free_name(release, name),
        },
    )
    return record_run(run)


# --- carrying it out ----------------------------------------------------------------------------------------


def carry_out(
    run: Run, tools: Tools, folder: Path, is_stopping: Callable[[], bool] = lambda: False
) -> ModelVersion | None:
    """Train, register, calibrate, evaluate, and finish a started Run; the new version, or None.

    The version is registered when its checkpoint is whole in Django's storage, and becomes active only by a
    promotion. A training that finds nothing better is done like any other, and its `finding` says so; where
    no step beat the base, nothing is registered. A Run that was cancelled keeps its state in `folder` for a
    retry. Raises Cancelled, also when this worker is to end (`is_stopping`), and Refused."""
    place = folder / f"run-{run.pk}"
    with heartbeats(run) as alive:
        log = RunLog(run, is_stopping, alive)
        try:
            sweep(folder)
            version, finding = _carried_out(run, log, place, tools)
        except Stopped:
            raise Cancelled from None
        except (TrainingError, ValueError) as error:
            if not is_for_people(error):
                raise
            raise Refused(str(error)) from error
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise Refused(
                "The disk is full. Make room and try again: the training continues where it stopped."
            ) from error
        run.result |= {"stage": "done", "finding": finding}
        if version:
            run.result |= {"version": version.pk, "model": version.name}
        run.finish(**run.result)
        shutil.rmtree(place, ignore_errors=True)
    return version


def _carried_out(run: Run, log: RunLog, place: Path, tools: Tools) -> tuple[ModelVersion | None, Finding]:
    try:
        version = _trained(run, log, place, tools)
    except NothingBetter as outcome:
        log.say(str(outcome))
        return None, Finding(better=False, said=str(outcome))
    prove(version, run, log, tools.scorer_of)
    finding = weighed(version)
    log.say(finding["said"])
    return version, finding


def weighed(version: ModelVersion) -> Finding:
    """What the gate says of the new version on the Dataset that it was trained for."""
    if version.release is None:
        return Finding(
            better=None, said="The new model has no release, so there is no dataset to check it on."
        )
    try:
        gate = promotion.weigh(version, version.release.dataset)
    except Refused as refused:
        return Finding(better=False, said=str(refused))
    better = None if gate.verdict == "first" else gate.verdict == "promote"
    return Finding(better=better, said=gate.sentence, undecided=gate.is_undecided)


def _trained(run: Run, log: RunLog, place: Path, tools: Tools) -> ModelVersion:
    release, base, expected = _of(run)
    pairs, out = place / "release", place / "checkpoint"
    if not pairs.is_dir():
        log.stage("copying the release")
        releases.copy_to(release, pairs)
    if damage := releases.verify(release, pairs, rebuild=False).damaged:
        raise Refused(f"{next(iter(damage))} of {release} {next(iter(damage.values()))}.")
    model = registry.local_checkpoint(base, place.parent / "bases")
    if "preflight" not in run.result:
        log.stage("checking the pairs")
        if expected.empty:
            log.say(expected.empty)
        run.result["preflight"] = tools.look(model, pairs)
        for finding in run.result["preflight"]["findings"]:
            log.say(f"{finding['level']}: {finding['text']}")
    log.stage("training")
    how = tools.train(model, pairs, out, log.training)
    if how.get("ended_by") == "time":
        run.result["ended"] = (
            f"Training stopped at its limit of {how['config']['max_seconds']:g} seconds, after "
            f"{how['steps']:,} of {how['planned_steps']:,} steps."
        )
        log.say(run.result["ended"])
    log.stage("registering")
    checkpoint = tools.inspect(out, base, plan.config_of_run(run).max_length)
    lineage = {"base": base, "release": release, "trained_by": run, "training": dict(how)}
    facts = {**checkpoint.facts, **lineage, "origin": f"{base.name}, trained on {release}"[:300]}
    version, is_new = registry.register(
        name=_still_free(run), folder=out, files=checkpoint.files, facts=facts, by=run.created_by
    )
    if version == base:
        advice = "More pairs, more passes or another learning rate may help."
        if ended := run.result.get("ended"):
            advice = f"{ended} Choose a preset with more time."
        raise NothingBetter(f"No step beat {base} on the validation pairs, so no model was stored. {advice}")
    if not is_new:
        log.say(f"These weights are already stored as {version}.")
    log.stage("recording the training data")
    record = of_training(read_training_data(pairs), base=Record(), source=str(release))
    learnt.remember(version, record, log.write, base=base)
    return version


def _of(run: Run) -> tuple[Release, ModelVersion, plan.Outlook]:
    release = Release.objects.filter(pk=run.params["release"]).select_related("dataset").first()
    base = ModelVersion.objects.filter(pk=run.params["base"]).first()
    if release is None or base is None:
        raise Refused("The release or the model to start from was deleted.")
    return release, base, plan.outlook(release)


def _still_free(run: Run) -> str:
    """The announced name; with the Run's number when somebody took the name meanwhile."""
    name = str(run.params["name"])
    taken = ModelVersion.objects.filter(name=name).exclude(trained_by=run).exists()
    return f"{name[:80]}-run{run.pk}" if taken else name


def prove(version: ModelVersion, run: Run, log: RunLog, scorer_of: ScorerOf) -> None:
    """Calibrate on groups that the weights were not fitted to; evaluate on unseen groups of its Dataset and
    of every frozen one. Too little data is a line in the log and no failure: the version is stored."""
    dataset = version.release.dataset if version.release else None
    if dataset is None:
        return
    log.stage("calibrating")
    seen = learnt.seen(version, dataset)
    pairs = of_dataset(dataset)
    untaught = pairs.only([not seen.taught(pair.group) for pair in pairs], LEARNT)
    complete_margins(version, untaught, scorer_of, _scoring(log))
    log.say(_calibrated(version, dataset))
    log.stage("evaluating")
    for on in [dataset, *Dataset.objects.benchmarks().exclude(pk=dataset.pk)]:
        try:
            stored = evaluation.evaluate(version, of_dataset(on), scorer_of, run=run, progress=_scoring(log))
            log.say(evaluation.summary(stored))
        except NothingToEvaluate as nothing:
            log.say(str(nothing))


def _scoring(log: RunLog) -> EvaluationProgress:
    def progress(done: int, total: int) -> bool:
        log.write()
        return not log.is_stopping()

    return progress


def _calibrated(version: ModelVersion, dataset: Dataset) -> str:
    """Fit the temperature on people's blind Judgments; where these are too few, on labels too."""
    for labels in (False, True):
        with suppress(calibration.NotEnoughData):
            calibration.calibrate(version, dataset, labels)
            return f"Calibrated: temperature {version.temperature:.3f}."
    return "Not calibrated: that needs 100 votes or labels on prompts the model was not trained on."


def sweep(folder: Path) -> None:
    """Remove the folders of Runs that are done or gone, or ended two weeks ago without a retry."""
    if not folder.is_dir():
        return
    for place in folder.glob("run-*"):
        run = Run.objects.filter(pk=place.name.removeprefix("run-")).first()
        ended = run is None or run.state == Run.State.DONE
        old = run and run.finished_at and timezone.now() - run.finished_at > ABANDONED
        if ended or old:
            shutil.rmtree(place, ignore_errors=True)
