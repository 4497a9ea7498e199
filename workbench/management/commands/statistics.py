from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, dataset_to_change
from workbench.management.progress import shown
from workbench.models import Dataset, ModelVersion, Run
from workbench.pipeline import quality
from workbench.pipeline.quality.panels import Kind, data_in_words, in_words, plan
from workbench.pipeline.quality.reports import OPINIONS, SOURCE_NAMES, ModelRow, StoredFigure
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.text import learnt
from workbench.worker import tasks


class Command(WorkbenchCommand):
    help = (
        "Compute the figures of a dataset: agreement, annotators, models against people, what to label next."
    )
    examples = """
examples:
  manage.py statistics Kitchen              compute the figures now, store them, and print the main ones
  manage.py statistics Kitchen --queue      leave the work to the workers
  manage.py statistics Kitchen --json       print all stored figures as one line of JSON
"""
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the dataset")
        parser.add_argument("--queue", action="store_true", help="leave the work to the workers")

    def handle(self, *, name: str, queue: bool, **options: object) -> None:
        dataset = dataset_to_change(name)
        run = quality.begin(dataset)
        if queue:
            tasks.enqueue_run(run)
            self.answer(f"{run} is queued: it starts when a worker is free.", {"run": run.pk})
            return
        report = self._compute(dataset, run)
        self.answer(_in_words(dataset, report), report)

    def _compute(self, dataset: Dataset, run: Run) -> quality.Report:
        if not run.start():
            raise CommandError(
                f"A worker is computing these figures already ({run}). Wait, then see the Quality page."
            )
        try:
            with shown(Run.Kind.STATISTICS, f"Statistics of {dataset}"):
                stored = lifecycle.carry_out(run, quality.carry_out)
        except KeyboardInterrupt:
            run.fail("The command was stopped.")
            raise
        if stored is None:
            raise CommandError(f"{run} was cancelled. The figures stored before are unchanged.")
        report: quality.Report = stored.report
        return report


def _in_words(dataset: Dataset, report: quality.Report) -> str:
    lines = [f"{dataset}: {data_in_words(report['data'])}"]
    for label_source, agreements in report["agreement"].items():
        figures = agreements["all"]
        lines += [
            (
                f"Agreement of {SOURCE_NAMES[label_source]}, {figures['units']:,} pairs with two "
                f"{OPINIONS[label_source]} or more:"
            ),
            _line("same vote", figures["raw"]),
            _line("alpha", figures["alpha"], "number"),
            _line("alpha, ordinal", figures["alpha_ordinal"], "number"),
            _line("AC1", figures["ac1"], "number"),
        ]
    for label_source, models in report["against"].items():
        for model in models:
            pairs = model["slices"][0]
            subject = f"{model['version']} against {SOURCE_NAMES[label_source]}"
            warning = quality.ModelAccuracy.of(label_source, model, report).warning
            lines += [
                f"{subject}, {pairs['accuracy']['n']:,} pairs{_left_out(model)}:",
                _line("accuracy", pairs["accuracy"]),
                _line("longest", pairs["longest"]),
                _line("random", pairs["random"]),
                _line("ceiling", pairs["ceiling"]),
                *([warning] if warning else []),
                _line("confidence", model["confidence_auc"]),
                _line("ECE", model["ece"], "number"),
            ]
    return "\n".join([*lines, *plan(report)])


def _left_out(model: ModelRow) -> str:
    """Which pairs are left out, and what is not known."""
    n = model["learnt"]
    left_out = f", without {n:,} of prompts that the model was trained on" if n else ""
    unknown = learnt.UNKNOWN[ModelVersion.Known(model["known"])]
    return f"{left_out} ({unknown})" if unknown else left_out


def _line(name: str, figure: StoredFigure, kind: Kind = "share") -> str:
    return f"  {name:<14} {in_words(figure, kind)}, n {figure['n']:,}"
