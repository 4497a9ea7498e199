import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from scoring.config import Progress, Report
from workbench.management.base import (
    WorkbenchCommand,
    dataset_named,
    newest_release,
    refuse_archived,
    release_numbered,
    version_named,
)
from workbench.management.progress import Told, shown
from workbench.models import ModelVersion, Release, Run
from workbench.pipeline.model import training
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.runs.progress import Refused
from workbench.worker import tasks
from workbench.worker.training import preflight, train_here, trainer

EXAMPLES = """
examples:
  manage.py train Kitchen                         here and now, on the newest release, from the usual model
  manage.py train Kitchen --number 3 --base RewardModel --preset seed --name kitchen-3-seed
  manage.py train Kitchen --preflight             check the data and train nothing
  manage.py train Kitchen --queue                 leave the work to a worker
  manage.py train --resume 41                     resume run 41, which was stopped or failed

The new model is registered, calibrated and evaluated. Then manage.py promote makes it the active one.
"""


class Command(WorkbenchCommand):
    help = "Train a new model on a release of a dataset."
    examples = EXAMPLES
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dataset", nargs="?", help="name of the dataset, or the id of a release")
        parser.add_argument("--number", type=int, help="number of the release (default: the newest)")
        parser.add_argument("--base", metavar="NAME", help="start from this model")
        parser.add_argument(
            "--preset",
            choices=list(training.IN_WORDS),
            help=f"how to train (default: quick below {training.FEW_PAIRS} pairs, else recommended)",
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

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["resume"]:
                run = _stopped(options["resume"])
            else:
                release, base = self._chosen(options)
                if not self._preflight(release, base, options):
                    return
                refuse_archived(release.dataset)
                preset = options["preset"] or training.usual_preset(release)
                run = training.begin(
                    release, base, preset, options["name"], settings=_settings(options["set"])
                )
        except Refused as error:
            raise CommandError(str(error)) from None
        if options["queue"]:
            tasks.enqueue_run(run)
            self.answer(f"{run} is queued: it starts when a worker for training is free.", {"run": run.pk})
            return
        self._train(run, options)

    def _chosen(self, options: dict[str, Any]) -> tuple[Release, ModelVersion]:
        if not options["dataset"]:
            raise CommandError("Name a dataset, or resume a run with --resume.")
        release = _release(options["dataset"], options["number"])
        if options["base"]:
            return release, version_named(options["base"])
        base = training.usual_base()
        if base is None:
            raise CommandError("There is no model to start from: register one with manage.py model_add.")
        return release, base

    def _preflight(self, release: Release, base: ModelVersion, options: dict[str, Any]) -> bool:
        """Say what can be said beforehand; whether to train then."""
        found = training.outlook(release)
        rows = ", ".join(f"{count:,} {split}" for split, count in found.rows.items())
        self.stderr.write(f"{release}: {rows} pairs ({found.profile}), from {base}.")
        for warning in found.warnings:
            self.stderr.write(f"  note: {warning}")
        if not options["preflight"]:
            return True
        preset = options["preset"] or training.usual_preset(release)
        config = training.config_of(preset, _settings(options["set"]))
        report = preflight(release, base, config)
        for line in training.preflight_in_words(report):
            self.stdout.write(f"  {line}")
        if options["json"]:
            self.stdout.write(json.dumps({"rows": dict(found.rows), "warnings": [*found.warnings], **report}))
        return False

    def _train(self, run: Run, options: dict[str, Any]) -> None:
        if not run.start():
            raise CommandError(f"A worker is carrying out {run} already.")
        with shown(Run.Kind.TRAIN, f"{run}") as told:
            version = lifecycle.carry_out(run, lambda run: train_here(run, _watched(run, told)))
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
                {"on": found.on, "pairs": found.pairs, **found.figures["model"]}
                for found in run.evaluations.order_by("pk")
            ],
        }
        self.answer(f"{version} is registered. {_finding(run)}", facts)


def _finding(run: Run) -> str:
    """ "No better model found", or what else a training came to, with the reason."""
    head = "No better model found. " if run.found_nothing_better else ""
    return head + str(run.result["finding"]["said"])


def _watched(run: Run, told: Told) -> training.Train:
    train = trainer(training.config_of_run(run))

    def watched(model: Path, pairs: Path, out: Path, report: Report) -> Any:
        def step(progress: Progress) -> bool | None:
            loss = "" if progress.loss is None else f" loss {progress.loss:.3f}"
            told(progress.step, progress.steps, title=f"{run}{loss}")
            return report(progress)

        return train(model, pairs, out, step)

    return watched


def _settings(given: list[str]) -> dict[str, str]:
    """Raises CommandError for what has no name and value."""
    pairs = [each.partition("=") for each in given]
    if any(not sign for _, sign, _ in pairs):
        raise CommandError("--set takes NAME=VALUE, as in epochs=4.")
    return {name: value for name, _, value in pairs}


def _release(named: str, number: int | None) -> Release:
    by_id = Release.objects.ready().filter(pk=named).first() if len(named) == 36 else None
    if by_id is not None:
        return by_id
    dataset = dataset_named(named)
    return release_numbered(dataset, number) if number else newest_release(dataset)


def _stopped(number: int) -> Run:
    run = Run.objects.of_kind(Run.Kind.TRAIN).filter(pk=number).first()
    if run is None:
        raise CommandError(f"There is no training run {number}. The Runs page lists them.")
    if run.state != Run.State.WAITING and not run.retry():
        raise CommandError(f"{run} is {run.state} and can't be resumed.")
    return run
