import json
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from workbench.management.base import WorkbenchCommand, counted, dataset_to_change, version_named
from workbench.management.progress import shown
from workbench.models import Dataset, ModelVersion, Run
from workbench.pipeline.scoring import batches, cuts
from workbench.worker import scorers, tasks
from workbench.worker.heartbeat import WORKER

EXAMPLES = """
examples:
  manage.py score "Team questions"                    here and now, with the active model and the baselines
  manage.py score "Team questions" --model longest    with one model
  manage.py score "Team questions" --queue            leave the work to the workers
"""


class Command(WorkbenchCommand):
    help = "Score the answers of a dataset that have no score yet, and rank its pairs."
    examples = EXAMPLES
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dataset", help="name of the dataset")
        parser.add_argument("--model", help="name of a model (default: the active one and the baselines)")
        parser.add_argument("--queue", action="store_true", help="leave the work to the workers")

    def handle(self, *args: Any, **options: Any) -> None:
        dataset = dataset_to_change(options["dataset"])
        planned = [(run, v) for v in _versions(options["model"]) if (run := _run(dataset, v))]
        if options["queue"]:
            tasks.enqueue_batches()
        else:
            for run, version in planned:
                self.work(run, version, quiet=options["json"])
        self.report([run for run, _ in planned], options)

    def work(self, run: Run, version: ModelVersion, quiet: bool) -> None:
        score = scorers.load_scorer(version)
        lease, alone = settings.LEASE_SECONDS, scorers.alone(score)
        together = scorers.sharing_guard(version, score)
        with shown(Run.Kind.SCORE, version.name, run.total, quiet=quiet) as told:
            for done in batches.score_here(run, together, WORKER, lease, alone):
                told(done)
        run.refresh_from_db()

    def report(self, runs: list[Run], options: dict[str, Any]) -> None:
        failed = sum(run.result.get("failed", 0) for run in runs)
        if options["json"]:
            scored = sum(run.result.get("scored", 0) for run in runs)
            self.stdout.write(json.dumps({"runs": len(runs), "scored": scored, "failed": failed}))
        for run in runs if not options["json"] else []:
            queued = f"{counted(run.total or 0, 'answer')} queued"
            self.stdout.write(f"{run.version}: {queued if options['queue'] else run.progress}.")
            if said := cuts.of_run(run):
                self.stdout.write(f"{run.version}: {said}, in the whole dataset.")
        if not runs and not options["json"]:
            self.stdout.write("Every answer has a score; nothing to do.")
        if failed:
            self.stderr.write(f"Not scored: {counted(failed, 'answer')}. The Runs page says why for each.")


def _versions(name: str | None) -> list[ModelVersion]:
    if name is None:
        return list(ModelVersion.objects.wanted())
    return [version_named(name)]


def _run(dataset: Dataset, version: ModelVersion) -> Run | None:
    """A new Run, or one that was left open (a worker or this command may have been stopped)."""
    run = batches.plan(dataset, version)
    open_runs = Run.objects.open().of_kind(Run.Kind.SCORE).filter(dataset=dataset, version=version)
    return run or open_runs.first()
