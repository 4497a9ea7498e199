from typing import Any

from django.core.management.base import CommandError, CommandParser

from workbench import tasks
from workbench.management.base import WorkbenchCommand, dataset_to_change
from workbench.management.progress import shown
from workbench.models import Dataset, ModelVersion, Run
from workbench.pipeline import learnt, statistics
from workbench.pipeline.statistics.panels import VOICES, Kind, data_in_words, in_words, plan, warning_of

EXAMPLES = """
examples:
  manage.py statistics Kitchen              compute here and now, store, and print the main figures
  manage.py statistics Kitchen --queue      leave it to the workers
  manage.py statistics Kitchen --json       all figures, as they are stored, in one line
"""


class Command(WorkbenchCommand):
    help = (
        "Compute the figures of a Dataset: agreement, annotators, models against people, what to judge next."
    )
    examples = EXAMPLES
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the Dataset")
        parser.add_argument("--queue", action="store_true", help="leave the work to the workers")

    def handle(self, *args: Any, **options: Any) -> None:
        dataset = dataset_to_change(options["name"])
        run = statistics.order(dataset)
        if options["queue"]:
            tasks.ring_run(run.pk)
            self.answer(f"{run} is queued.", {"run": run.pk}, options)
            return
        report = self._compute(dataset, run)
        self.answer(told(dataset, report), report, options)

    def _compute(self, dataset: Dataset, run: Run) -> statistics.Report:
        if not run.start():
            raise CommandError(f"A worker computes the statistics of {dataset} already: {run}.")
        try:
            with shown(Run.Kind.STATISTICS, f"Statistics of {dataset}"):
                stored = statistics.carry_out(run)
        except statistics.Cancelled:
            stored = None
        except BaseException as error:
            run.fail(f"{type(error).__name__}: {error}")
            raise
        if stored is None:
            raise CommandError(f"{run} was cancelled; what was stored before is still there.")
        return dict(stored.report)


def told(dataset: Dataset, report: statistics.Report) -> str:
    """The main figures in lines for people."""
    lines = [f"{dataset}: {data_in_words(report['data'])}"]
    for voice, found in report["agreement"].items():
        every = found["all"]
        lines.append(f"Agreement of {VOICES[voice]}, {every['units']:,} pairs with two opinions or more:")
        lines += [
            f"  {name:<14} {_told(every[name], 'share' if name == 'raw' else 'number')}"
            for name in ("raw", "alpha", "alpha_ordinal", "ac1")
        ]
    for voice, versions in report["against"].items():
        for each in versions:
            every = each["slices"][0]
            pairs = f"{every['accuracy']['n']:,} pairs{_without(each)}"
            lines += [
                f"{each['version']} against {VOICES[voice]}, {pairs}:",
                *(
                    f"  {name:<14} {_told(every[name])}"
                    for name in ("accuracy", "longest", "random", "ceiling")
                ),
                *filter(None, [warning_of(every)]),
                f"  {'surety (AUC)':<14} {_told(each['surety'])}",
                f"  {'ECE':<14} {_told(each['ece'], 'number')}",
            ]
    return "\n".join([*lines, *plan(report)])


def _without(each: dict[str, Any]) -> str:
    """What the pairs of a version leave out, and what is not known."""
    out = f", without {each['learnt']:,} of prompts that it has learnt" if each["learnt"] else ""
    unknown = learnt.UNKNOWN[ModelVersion.Known(each["known"])]
    return f"{out} ({unknown})" if unknown else out


def _told(figure: dict[str, Any], kind: Kind = "share") -> str:
    return f"{in_words(figure, kind)}, n {figure['n']:,}"
