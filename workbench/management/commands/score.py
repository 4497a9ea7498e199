from django.conf import settings
from django.core.management.base import CommandParser

from workbench.management.base import WorkbenchCommand, counted, dataset_to_change, version_named
from workbench.management.progress import shown
from workbench.models import Dataset, ModelVersion, Run
from workbench.pipeline.scoring import batches, cuts
from workbench.worker import scorers, tasks
from workbench.worker.heartbeat import WORKER


class Command(WorkbenchCommand):
    help = "Score the answers of a dataset that have no score yet, and rank its pairs."
    examples = """
examples:
  manage.py score "Team questions"                    here and now, with the active model and the baselines
  manage.py score "Team questions" --model longest    with one model
  manage.py score "Team questions" --queue            leave the work to the workers
"""
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dataset", help="name of the dataset")
        parser.add_argument("--model", help="name of a model (default: the active one and the baselines)")
        parser.add_argument("--queue", action="store_true", help="leave the work to the workers")

    def handle(self, *, dataset: str, model: str | None, queue: bool, **options: object) -> None:
        on = dataset_to_change(dataset)
        versions = [version_named(model)] if model else ModelVersion.objects.scoring_all()
        planned = [(run, version) for version in versions if (run := _run(on, version))]
        if queue:
            tasks.enqueue_batches()
        else:
            for run, version in planned:
                self.work(run, version)
        self.report([run for run, _ in planned], queue)

    def work(self, run: Run, version: ModelVersion) -> None:
        score = scorers.load_scorer(version)
        lease, alone = settings.LEASE_SECONDS, scorers.alone(score)
        together = scorers.sharing_guard(version, score)
        with shown(Run.Kind.SCORE, version.name, run.total, quiet=self.as_json) as show:
            for done in batches.score_here(run, together, WORKER, lease, alone):
                show(done)
        run.refresh_from_db()

    def report(self, runs: list[Run], is_queued: bool) -> None:
        failed = sum(run.result.get("failed", 0) for run in runs)
        lines = []
        for run in runs:
            queued = f"{counted(run.total or 0, 'answer')} queued"
            lines.append(f"{run.version}: {queued if is_queued else run.progress}.")
            if cut := cuts.of_run(run):
                lines.append(f"{run.version}: {cut}, in the whole dataset.")
        scored = sum(run.result.get("scored", 0) for run in runs)
        self.answer(
            "\n".join(lines) or "Every answer has a score; nothing to do.",
            {"runs": len(runs), "scored": scored, "failed": failed},
        )
        if failed:
            self.stderr.write(f"Not scored: {counted(failed, 'answer')}. The Runs page says why for each.")


def _run(dataset: Dataset, version: ModelVersion) -> Run | None:
    """A new Run, or an open Run of a worker or command that was stopped."""
    run = batches.plan(dataset, version)
    open_runs = Run.objects.open().of_kind(Run.Kind.SCORE).filter(dataset=dataset, version=version)
    return run or open_runs.first()
