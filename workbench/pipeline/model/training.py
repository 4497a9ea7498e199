"""Release -> a checkpoint -> a ModelVersion with lineage, calibrated and evaluated.

What a training needs and leaves behind lies in one folder of the worker's data folder until it is done: the
Release's files, the state to go on from, the checkpoint. A worker that is killed is followed by another that
shares the data folder, or, without one in common, by one that begins anew: slower, never wrong."""

import errno
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from dataclasses import replace as dataclass_replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone
from django.utils.text import slugify

from scoring import shares
from scoring.config import PRESETS, Progress, Report, Stopped, TrainConfig, TrainingError
from scoring.learnt import Record, of_training
from scoring.pairs import PROFILES as READABLE
from scoring.pairs import read_training_data
from workbench.models import Dataset, ModelVersion, Release, Run, User
from workbench.pipeline import releases
from workbench.pipeline.model import calibration, evaluation, promotion, registry
from workbench.pipeline.model.margins import ScorerOf, complete_margins
from workbench.pipeline.model.pairs import LEARNT, NothingToEvaluate, of_dataset
from workbench.pipeline.runs.lifecycle import heartbeats
from workbench.pipeline.runs.progress import Cancelled, Refused
from workbench.pipeline.runs.progress import Progress as EvaluationProgress
from workbench.pipeline.text import learnt

log = logging.getLogger(__name__)

IN_WORDS = {
    "quick": "at most 90 seconds; for fewer than 500 pairs, or a first look",
    "recommended": "two passes over the pairs; stops early when validation gets no better",
    "seed": "as the seed model was trained: 1,200 steps of 42 pairs, 400 tokens",
}
"""What each preset of scoring is, for people."""
FEW_PAIRS = 500
POINTS = 240
LINES = 200
SECONDS_A_WRITE = 1.0
ABANDONED = timedelta(days=14)


class NothingBetter(Exception):
    """No step of a training beat its base on the validation pairs: an outcome, and no failure."""


@dataclass(frozen=True)
class Finding:
    """What a training came to, as its Run keeps it. `better`: whether the gate would promote the new version;
    None where no model was active to compare with."""

    better: bool | None
    said: str


@dataclass(frozen=True)
class Checkpoint:
    """A model folder as it is to be registered: its files, and fields of the ModelVersion."""

    files: Sequence[str]
    facts: Mapping[str, Any]


Look = Callable[[Path, Path], Mapping[str, Any]]
"""(model folder, folder of pairs) -> the preflight, as scoring.preflight has it."""
Train = Callable[[Path, Path, Path, Report], Mapping[str, Any]]
"""(model folder, folder of pairs, folder to make, report) -> how it was trained. The folder appears whole or
not at all; a second call goes on where the first was stopped or killed, and answers at once where it was
done. Raises Stopped when `report` says so, TrainingError or ValueError when it can't be done."""
Inspect = Callable[[Path, ModelVersion, int], Checkpoint]
"""(model folder, the base version, tokens it was trained to): loads it once, and measures what a ModelVersion
must know."""


@dataclass(frozen=True)
class Tools:
    """What a training is done with; tests bring ten lines of their own for each."""

    look: Look
    train: Train
    inspect: Inspect
    scorer_of: ScorerOf


# --- before -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outlook:
    """What can be said of a training before any time is spent on it, from the Release's manifest alone."""

    profile: str
    rows: Mapping[str, int]
    warnings: Sequence[str] = ()
    empty: str = ""


def outlook(release: Release) -> Outlook:
    """Raises Refused when there is nothing that can be trained on."""
    if not release.is_ready:
        raise Refused(f"{release} is not finished yet.")
    if release.dataset.frozen:
        raise Refused(f"{release.dataset} is a benchmark, so no model is trained on it.")
    manifest = release.manifest
    rows: dict[str, dict[str, int]] = {}
    for file in manifest["files"].values():
        if str(file.get("format", "")).startswith("jsonl"):
            rows.setdefault(file["profile"], {})[file["split"]] = file["rows"]
    profile = next((name for name in READABLE if rows.get(name, {}).get("train")), None)
    if profile is None:
        raise Refused(
            f"{release} has no pairs to train on. Build a release as JSONL with the profile "
            f"{' or '.join(READABLE[:3])}."
        )
    empty = list(_empty(profile, manifest))
    return Outlook(profile, rows[profile], [*empty, *_warnings(rows[profile], manifest)], "".join(empty))


def _empty(profile: str, manifest: Mapping[str, Any]) -> Iterator[str]:
    if empty := manifest["profiles"][profile]["left_out"].get("empty", 0):
        yield f"Left out: {empty:,} pair{'s' * (empty != 1)} with an empty answer."


def _warnings(rows: Mapping[str, int], manifest: Mapping[str, Any]) -> Iterator[str]:
    if rows["train"] < FEW_PAIRS:
        yield f"Only {rows['train']:,} pairs: below {FEW_PAIRS}, don’t expect much."
    if not rows.get("validation"):
        yield "The validation split is empty, so a tenth of the training prompts is used instead."
    if not rows.get("test"):
        yield "The test split is empty, so we cannot tell whether the new model is better."
    longer = manifest.get("figures", {}).get("longer_preferred") or {}
    if longer.get("n") and longer["k"] / longer["n"] > 0.6:
        share = shares.in_words(longer["k"] / longer["n"])
        yield f"The longer answer is preferred in {share} of pairs. The model may learn length alone."
    groups = manifest["split"]["groups"]["train"]
    if groups < 20:
        yield f"All training pairs come from {groups} prompt groups. The model may learn only these."


def usual_preset(release: Release) -> str:
    """What a training on the release is done with unless somebody says otherwise. Raises Refused."""
    return "quick" if outlook(release).rows["train"] < FEW_PAIRS else "recommended"


def config_of(preset: str, settings: Mapping[str, Any] | None = None) -> TrainConfig:
    """The preset with these settings in place of its own. Raises Refused for one that there is not, or that
    cannot be."""
    if preset not in PRESETS:
        raise Refused(f'There is no preset "{preset}". Choose {", ".join(PRESETS)}.')
    known = {each.name: each.type for each in fields(TrainConfig) if each.name != "preset"}
    given = {}
    for name, value in (settings or {}).items():
        if name not in known:
            raise Refused(f'There is no setting "{name}". Settings are {", ".join(known)}.')
        given[name] = _typed(name, str(known[name]), value)
    try:
        return dataclass_replace(PRESETS[preset], **given)
    except ValueError as error:
        raise Refused(f"{error}.") from None


def _typed(name: str, kind: str, value: Any) -> Any:
    if not isinstance(value, str) or kind == "str":
        return value
    try:
        return int(value) if kind.startswith("int") else float(value)
    except ValueError:
        raise Refused(f'{name} takes a number, not "{value}".') from None


def begin(
    release: Release,
    base: ModelVersion,
    preset: str,
    name: str = "",
    by: User | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Run:
    """A new Run, to be enqueued, that trains `base` further, or anew, on the release. Raises Refused."""
    outlook(release)
    if base.kind != ModelVersion.Kind.TRANSFORMER:
        raise Refused(f"{base} is a rule without weights. Choose another model to start from.")
    config_of(preset, settings)
    return Run.objects.create(
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
            "name": free_name(release, name),
        },
    )


def usual_base() -> ModelVersion | None:
    """What a training begins with unless somebody says otherwise: the weights that the active version itself
    began with, so that each training sees old and new pairs alike; None when no version has weights."""
    known = ModelVersion.objects.transformers().exclude(state=ModelVersion.State.RETIRED)
    active = known.filter(state=ModelVersion.State.ACTIVE).select_related("base").first()
    return (active.base or active) if active else known.order_by("pk").first()


def preflight_in_words(found: Mapping[str, Any]) -> list[str]:
    """The preflight as lines: lengths, steps, and every finding."""
    return [
        f"{found['steps']:,} steps, {found['epochs']:.1f} passes over the pairs; {found['ties']:,} ties.",
        *(
            f"{name}: median {side['median']:,.0f} tokens, longest {side['longest']:,}; "
            f"{shares.in_words(side['cut_share'])} are cut."
            for name, side in (("Prompts", found["prompt"]), ("Answers", found["completion"]))
        ),
        *(f"{finding['level']}: {finding['text']}" for finding in found["findings"]),
    ]


def free_name(release: Release, wanted: str = "") -> str:
    """The wanted name, or one made of Dataset and Release. Raises Refused when the wanted one is taken, also
    by a training that goes on: after hours would be too late."""
    open_runs = Run.objects.open().of_kind(Run.Kind.TRAIN)
    taken = {run.params["name"] for run in open_runs}
    taken |= set(ModelVersion.objects.values_list("name", flat=True))
    if wanted:
        if wanted in taken:
            raise Refused(
                f"Another model is named {wanted}, or will be when its training ends. Choose another name."
            )
        return wanted
    stem = f"{slugify(release.dataset.name)[:80] or 'model'}-{release.number}"
    names = (stem if n == 1 else f"{stem}.{n}" for n in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


# --- the log of a Run -------------------------------------------------------------------------------------


@dataclass
class RunLog:
    """What a Run shows while it goes on: stage, log, curve. Kept in its result, of bounded size: when there
    are more than POINTS, every second one goes."""

    run: Run
    is_stopping: Callable[[], bool] = lambda: False
    alive: Callable[[], None] = lambda: None
    _written: float = 0.0
    _furthest: int = 0

    def __post_init__(self) -> None:
        self.run.result = {"log": [], "loss": [], "validation": [], **self.run.result}
        self._furthest = self.run.done

    def say(self, text: str) -> None:
        """A line of the log."""
        now = timezone.now().isoformat(timespec="seconds")
        self.run.result["log"] = [*self.run.result["log"], [now, text]][-LINES:]
        log.info("%s: %s", self.run, text)
        self.write()

    def stage(self, name: str) -> None:
        self.run.result["stage"] = name
        self.say(name)

    def write(self, done: int | None = None, total: int | None = None) -> None:
        """Store it. Raises Stopped when the Run was cancelled, or another worker has it."""
        self._written = time.monotonic()
        self.alive()
        if done is not None:
            self.run.done = done
        if not self.run.update_progress(self.run.done, total, self.run.result):
            raise Stopped

    def training(self, progress: Progress) -> bool:
        """Note the progress of the training; False when it should stop."""
        self.alive()
        self._note("loss", progress.step, progress.loss)
        measured = progress.measured
        news = measured is not None and self._note(
            "validation",
            measured.step,
            {"log_loss": measured.log_loss, "accuracy": measured.accuracy, "best": measured.best},
        )
        last = progress.step == progress.steps
        if not news and not last and time.monotonic() - self._written < SECONDS_A_WRITE:
            return not self.is_stopping()
        if progress.pairs_per_second:
            self.run.result["pairs_per_second"] = progress.pairs_per_second
        try:
            self.write(progress.step, progress.steps)
        except Stopped:
            return False
        self._forgive(progress.step)
        return not self.is_stopping()

    def _forgive(self, step: int) -> None:
        # A long training may lose more than three workers and still get on; one that always dies at the same
        # step does not.
        if step > self._furthest and self.run.attempts > 1:
            Run.objects.filter(pk=self.run.pk).update(attempts=1)
            self.run.attempts = 1
        self._furthest = max(self._furthest, step)

    def _note(self, curve: str, step: int, value: Any) -> bool:
        """Add a point unless that step has one; a training that goes on repeats the steps since its state."""
        points = self.run.result[curve]
        while points and points[-1][0] > step:
            points.pop()
        if value is None or (points and points[-1][0] == step):
            return False
        points.append([step, value])
        if len(points) > POINTS:
            del points[1:-1:2]
        return True


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
            raise Refused(str(error)) from error
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise Refused(
                "The disk is full. Make room and try again: the training continues where it stopped."
            ) from error
        made = {"version": version.pk, "model": version.name} if version else {}
        run.finish(**run.result | {"stage": "done", "finding": asdict(finding), **made})
        shutil.rmtree(place, ignore_errors=True)
    return version


def _carried_out(run: Run, log: RunLog, place: Path, tools: Tools) -> tuple[ModelVersion | None, Finding]:
    try:
        version = _trained(run, log, place, tools)
    except NothingBetter as found:
        log.say(str(found))
        return None, Finding(better=False, said=str(found))
    _prove(version, run, log, tools.scorer_of)
    finding = _weighed(version)
    log.say(finding.said)
    return version, finding


def _weighed(version: ModelVersion) -> Finding:
    """What the gate says of the new version on the Dataset that it was trained for."""
    if version.release is None:
        return Finding(None, "The new model has no release, so there is no dataset to check it on.")
    try:
        gate = promotion.weigh(version, version.release.dataset)
    except Refused as refused:
        return Finding(better=False, said=str(refused))
    better = None if gate.verdict == "first" else gate.verdict == "promote"
    return Finding(better, gate.sentence)


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
        run.result["preflight"] = dict(tools.look(model, pairs))
        for finding in run.result["preflight"]["findings"]:
            log.say(f"{finding['level']}: {finding['text']}")
    log.stage("training")
    how = tools.train(model, pairs, out, log.training)
    if how.get("ended_by") == "time":
        run.result["ended"] = _out_of_time(how)
        log.say(run.result["ended"])
    log.stage("registering")
    checkpoint = tools.inspect(out, base, config_of_run(run).max_length)
    lineage = {"base": base, "release": release, "trained_by": run, "training": dict(how)}
    facts = {**checkpoint.facts, **lineage, "origin": f"{base.name}, trained on {release}"[:300]}
    version, new = registry.register(name=_still_free(run), folder=out, files=checkpoint.files, facts=facts)
    if version == base:
        raise NothingBetter(
            f"No step beat {base} on the validation pairs, so no model was stored. More pairs, more passes "
            "or another learning rate may help."
        )
    if not new:
        log.say(f"These weights are already stored as {version}.")
    log.stage("recording the training data")
    record = of_training(read_training_data(pairs), base=Record(), source=str(release))
    learnt.remember(version, record, log.write, base=base)
    return version


def _out_of_time(how: Mapping[str, Any]) -> str:
    return (
        f"Training stopped at its limit of {how['config']['max_seconds']:g} seconds, after {how['steps']:,} "
        f"of {how['planned_steps']:,} steps."
    )


def config_of_run(run: Run) -> TrainConfig:
    return config_of(run.params["preset"], run.params.get("settings"))


def _of(run: Run) -> tuple[Release, ModelVersion, Outlook]:
    release = Release.objects.filter(pk=run.params["release"]).select_related("dataset").first()
    base = ModelVersion.objects.filter(pk=run.params["base"]).first()
    if release is None or base is None:
        raise Refused("The release or the model to start from was deleted.")
    return release, base, outlook(release)


def _still_free(run: Run) -> str:
    """The name it was announced with; with the Run's number when somebody took that meanwhile."""
    name = str(run.params["name"])
    taken = ModelVersion.objects.filter(name=name).exclude(trained_by=run).exists()
    return f"{name[:80]}-run{run.pk}" if taken else name


def _prove(version: ModelVersion, run: Run, log: RunLog, scorer_of: ScorerOf) -> None:
    """Calibrate on what taught it nothing, evaluate on what it has not learnt of its Dataset and of every
    frozen one. Too little data is said in the log and no failure: the version is there."""
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
    for on in [dataset, *Dataset.objects.filter(frozen=True).exclude(pk=dataset.pk)]:
        with _said(log):
            log.say(
                evaluation.summary(
                    evaluation.evaluate(version, of_dataset(on), scorer_of, run=run, progress=_scoring(log))
                )
            )


def _scoring(log: RunLog) -> EvaluationProgress:
    def progress(done: int, total: int) -> bool:
        log.write()
        return not log.is_stopping()

    return progress


@contextmanager
def _said(log: RunLog) -> Iterator[None]:
    try:
        yield
    except NothingToEvaluate as error:
        log.say(str(error))


def _calibrated(version: ModelVersion, dataset: Dataset) -> str:
    """Fit its temperature on people's blind Judgments, or where these are too few on labels too."""
    for labels in (False, True):
        with suppress(calibration.NotEnoughData):
            calibration.calibrate(version, dataset, labels)
            return f"Calibrated: temperature {version.temperature:.3f}."
    return "Not calibrated: that needs 100 votes or labels on prompts the model was not trained on."


def sweep(folder: Path) -> None:
    """Remove the folders of Runs that are done or gone, and of those that ended two weeks ago and were not
    tried again."""
    if not folder.is_dir():
        return
    for place in folder.glob("run-*"):
        run = Run.objects.filter(pk=place.name.removeprefix("run-")).first()
        ended = run is None or run.state == Run.State.DONE
        old = run and run.finished_at and timezone.now() - run.finished_at > ABANDONED
        if ended or old:
            shutil.rmtree(place, ignore_errors=True)
