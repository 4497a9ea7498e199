import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from scoring.config import Progress, Report, TrainConfig
from workbench.management.base import (
    WorkbenchCommand,
    dataset_named,
    newest_release,
    refuse_archived,
    release_numbered,
    version_named,
)
from workbench.management.progress import ShowProgress, shown
from workbench.models import ModelVersion, Release, Run
from workbench.pipeline.model import plan, training
from workbench.pipeline.runs import lifecycle
from workbench.worker import tasks
from workbench.worker.training import preflight as look_over_release
from workbench.worker.training import train_here, trainer


class Command(WorkbenchCommand):
    help = "Train a new model on a release of a dataset."
    examples = """
examples:
  manage.py train Kitchen                         here and now, on the newest release, from the usual model
  manage.py train Kitchen --number 3 --base RewardModel --preset seed --name kitchen-3-seed
  manage.py train Kitchen --preflight             check the data and train nothing
  manage.py train Kitchen --queue                 leave the work to a worker
  manage.py train --resume 41                     resume run 41, which was stopped or failed

The new model is registered, calibrated and evaluated. Then manage.py promote makes it the active one.
"""
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dataset", nargs="?", help="name of the dataset, or the id of a release")
        parser.add_argument("--number", type=int, help="number of the release (default: the newest)")
        parser.add_argument("--base", metavar="NAME", help="start from this model")
        parser.add_argument(
            "--preset",
            choices=list(plan.PRESETS_IN_WORDS),
            help=f"how to train (default: quick below {plan.FEW_PAIRS} pairs, else recommended)",
        )
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="change one setting of the preset, as in epochs=4; repeat for several",
        )
        parser.add_argument("--name", default="", help="name of the new model")
        parser.add_argument("--preflight", action="store_true", help="check the data and train nothing")
        parser.add_argument("--queue", action="store_true", help="leave the work to a worker")
        parser.add_argument("--resume", metavar="RUN", type=int, help="resume this run")

    def handle(
        self,
        *,
        dataset: str | None,
        number: int | None,
        base: str | None,
        preset: str | None,
        set: list[str],  # noqa: A002
        name: str,
        preflight: bool,
        queue: bool,
        resume: int | None,
        **options: object,
    ) -> None:
        if resume:
            run = _stopped(resume)
        elif not dataset:
            raise CommandError("Name a dataset, or resume a run with --resume.")
        else:
            release, start = _release(dataset, number), _base(base)
            settings = _settings(set)
            expected = self._show_outlook(release, start)
            preset = preset or plan.usual_preset(release)
            if preflight:
                self._preflight(release, start, plan.config_of(preset, settings), expected)
                return
            refuse_archived(release.dataset)
            run = training.begin(release, start, preset, name, settings=settings)
        if queue:
            tasks.enqueue_run(run)
            self.answer(f"{run} is queued: it starts when a worker for training is free.", {"run": run.pk})
        else:
            self._train(run)

    def _show_outlook(self, release: Release, base: ModelVersion) -> plan.Outlook:
        outlook = plan.outlook(release)
        rows = ", ".join(f"{count:,} {split}" for split, count in outlook.rows.items())
        self.stderr.write(f"{release}: {rows} pairs ({outlook.profile}), from {base}.")
        for warning in outlook.warnings:
            self.stderr.write(f"  note: {warning}")
        return outlook

    def _preflight(
        self, release: Release, base: ModelVersion, config: TrainConfig, outlook: plan.Outlook
    ) -> None:
        report = look_over_release(release, base, config)
        for line in plan.preflight_in_words(report):
            self.stdout.write(f"  {line}")
        if self.as_json:
            facts = {"rows": dict(outlook.rows), "warnings": [*outlook.warnings], **report}
            self.stdout.write(json.dumps(facts))

    def _train(self, run: Run) -> None:
        if not run.start():
            raise CommandError(f"A worker is carrying out {run} already.")
        with shown(Run.Kind.TRAIN, f"{run}") as show:
            version = lifecycle.carry_out(run, lambda run: train_here(run, _watched(run, show)))
        run.refresh_from_db()
        if version is None and run.found_nothing_better:
            self.answer(_finding(run), {"run": run.pk, "version": None, **run.result["finding"]})
            return
        if version is None:
            raise CommandError(
                run.error or f"{run} was stopped. Resume with manage.py train --resume {run.pk}."
            )
        for _, line in run.result["log"]:
            self.stderr.write(f"  {line}")
        facts = {
            "run": run.pk,
            "version": version.name,
            "temperature": version.temperature,
            **run.result["finding"],
            "evaluations": [
                {"on": evaluation.on, "pairs": evaluation.pairs, **evaluation.model_figures}
                for evaluation in run.evaluations.order_by("pk")
            ],
        }
        self.answer(f"{version} is registered. {_finding(run)}", facts)


def _finding(run: Run) -> str:
    head = "No better model found. " if run.found_nothing_better else ""
    if run.found_undecided:
        head = "Too few votes count to say whether it is better. "
    return f"{head}{run.result['finding']['said']}"


def _watched(run: Run, show: ShowProgress) -> training.Train:
    train = trainer(plan.config_of_run(run))

    def watched(model: Path, pairs: Path, out: Path, report: Report) -> Mapping[str, Any]:
        def step(progress: Progress) -> bool | None:
            loss = "" if progress.loss is None else f" loss {progress.loss:.3f}"
            show(progress.step, progress.steps, title=f"{run}{loss}")
            return report(progress)

        return train(model, pairs, out, step)

    return watched


def _settings(arguments: list[str]) -> dict[str, str]:
    """The settings of NAME=VALUE arguments. Raises CommandError."""
    pairs = [argument.partition("=") for argument in arguments]
    if any(not sign for _, sign, _ in pairs):
        raise CommandError("--set takes NAME=VALUE, as in epochs=4.")
    return {name: value for name, _, value in pairs}


def _release(name: str, number: int | None) -> Release:
    """By the id of a release, or by its dataset."""
    if len(name) == 36 and (release := Release.objects.ready().filter(pk=name).first()):
        return release
    dataset = dataset_named(name)
    return release_numbered(dataset, number) if number else newest_release(dataset)


def _base(name: str | None) -> ModelVersion:
    if name:
        return version_named(name)
    if base := plan.usual_base():
        return base
    raise CommandError("There is no model to start from: register one with manage.py model_add.")


def _stopped(number: int) -> Run:
    run = Run.objects.of_kind(Run.Kind.TRAIN).filter(pk=number).first()
    if run is None:
        raise CommandError(f"There is no training run {number}. The Runs page lists them.")
    if run.state != Run.State.WAITING and not lifecycle.retry(run):
        raise CommandError(f"{run} is {run.state} and can't be resumed.")
    return run
