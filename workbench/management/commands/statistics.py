from typing import Any

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, dataset_to_change
from workbench.management.progress import shown
from workbench.models import Dataset, ModelVersion, Run
from workbench.pipeline import quality
from workbench.pipeline.quality.panels import Kind, data_in_words, in_words, plan, warning_of
from workbench.pipeline.quality.reports import SOURCE_NAMES
from workbench.pipeline.runs.progress import Cancelled
from workbench.pipeline.text import learnt
from workbench.worker import tasks

EXAMPLES = """
examples:
  manage.py statistics Kitchen              compute the figures now, store them, and print the main ones
  manage.py statistics Kitchen --queue      leave the work to the workers
  manage.py statistics Kitchen --json       print all stored figures as one line of JSON
"""


AGREEMENTS = {"raw": "same vote", "alpha": "alpha", "alpha_ordinal": "alpha, ordinal", "ac1": "AC1"}


class Command(WorkbenchCommand):
    help = (
        "Compute the figures of a dataset: agreement, annotators, models against people, what to label next."
    )
    examples = EXAMPLES
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the dataset")
        parser.add_argument("--queue", action="store_true", help="leave the work to the workers")

    def handle(self, *args: Any, **options: Any) -> None:
        dataset = dataset_to_change(options["name"])
        run = quality.begin(dataset)
        if options["queue"]:
            tasks.enqueue_run(run.pk)
            self.answer(f"{run} is queued: it starts when a worker is free.", {"run": run.pk}, options)
            return
        report = self._compute(dataset, run)
        self.answer(told(dataset, report), report, options)

    def _compute(self, dataset: Dataset, run: Run) -> quality.Report:
        if not run.start():
            raise CommandError(
                f"A worker is computing these figures already ({run}). Wait, then see the Quality page."
            )
        try:
            with shown(Run.Kind.STATISTICS, f"Statistics of {dataset}"):
                stored = quality.carry_out(run)
        except Cancelled:
            stored = None
        except BaseException as error:
            run.fail(f"{type(error).__name__}: {error}")
            raise
        if stored is None:
            raise CommandError(f"{run} was cancelled. The figures stored before are unchanged.")
        return dict(stored.report)


def told(dataset: Dataset, report: quality.Report) -> str:
    """The main figures in lines for people."""
    lines = [f"{dataset}: {data_in_words(report['data'])}"]
    for label_source, found in report["agreement"].items():
        every = found["all"]
        lines.append(
            f"Agreement of {SOURCE_NAMES[label_source]}, {every['units']:,} pairs with two votes or more:"
        )
        lines += [
            f"  {word:<14} {_told(every[name], 'share' if name == 'raw' else 'number')}"
            for name, word in AGREEMENTS.items()
        ]
    for label_source, versions in report["against"].items():
        for each in versions:
            every = each["slices"][0]
            pairs = f"{every['accuracy']['n']:,} pairs{_without(each)}"
            lines += [
                f"{each['version']} against {SOURCE_NAMES[label_source]}, {pairs}:",
                *(
                    f"  {name:<14} {_told(every[name])}"
                    for name in ("accuracy", "longest", "random", "ceiling")
                ),
                *filter(None, [warning_of(every)]),
                f"  {'confidence':<14} {_told(each['confidence_auc'])}",
                f"  {'ECE':<14} {_told(each['ece'], 'number')}",
            ]
    return "\n".join([*lines, *plan(report)])


def _without(each: dict[str, Any]) -> str:
    """What the pairs of a version leave out, and what is not known."""
    out = f", without {each['learnt']:,} of prompts that the model was trained on" if each["learnt"] else ""
    unknown = learnt.UNKNOWN[ModelVersion.Known(each["known"])]
    return f"{out} ({unknown})" if unknown else out


def _told(figure: dict[str, Any], kind: Kind = "share") -> str:
    return f"{in_words(figure, kind)}, n {figure['n']:,}"
