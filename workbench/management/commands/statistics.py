import json
from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workbench import tasks
from workbench.management.commands.release import dataset_named
from workbench.management.progress import shown
from workbench.models import Dataset, ModelVersion, Run
from workbench.pipeline import learnt, statistics

EXAMPLES = """
examples:
  manage.py statistics Kitchen              compute here and now, store, and print the main figures
  manage.py statistics Kitchen --queue      leave it to the workers
  manage.py statistics Kitchen --json       all figures, as they are stored, in one line
"""


class Command(BaseCommand):
    help = (
        "Compute the figures of a Dataset: agreement, annotators, models against people, what to judge next."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the Dataset")
        parser.add_argument("--queue", action="store_true", help="leave the work to the workers")
        parser.add_argument("--json", action="store_true", help="print one machine-readable line")

    def handle(self, *args: Any, **options: Any) -> None:
        dataset = dataset_to_change(options["name"])
        run = statistics.order(dataset)
        if options["queue"]:
            tasks.ring_run(run.pk)
            self.stdout.write(json.dumps({"run": run.pk}) if options["json"] else f"{run} is queued.")
            return
        report = self._compute(dataset, run)
        self.stdout.write(json.dumps(report) if options["json"] else told(dataset, report))

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
    data = report["data"]
    lines = [f"{dataset}: {data['opinions']:,} opinions on {data['comparisons']:,} Comparisons"]
    for voice, found in report["agreement"].items():
        every = found["all"]
        lines.append(f"Agreement of {voice}, {every['units']:,} Comparisons with two opinions or more:")
        lines += [
            f"  {name:<14} {in_words(every[name])}" for name in ("raw", "alpha", "alpha_ordinal", "ac1")
        ]
    for voice, versions in report["against"].items():
        for each in versions:
            every = each["slices"][0]
            lines += [
                f"{each['version']} against {voice}, {every['accuracy']['n']:,} pairs{_without(each)}:",
                *(
                    f"  {name:<14} {in_words(every[name])}"
                    for name in ("accuracy", "longest", "random", "ceiling")
                ),
                f"  {'surety (AUC)':<14} {in_words(each['surety'])}",
                f"  {'ECE':<14} {in_words(each['ece'])}",
            ]
    for plan in report["plan"]:
        lines.append(planned(plan))
    return "\n".join(lines)


def _without(each: dict[str, Any]) -> str:
    """What the pairs of a version leave out, and what is not known."""
    out = f", without {each['learnt']:,} of prompts that it has learnt" if each["learnt"] else ""
    unknown = learnt.UNKNOWN[ModelVersion.Known(each["known"])]
    return f"{out} ({unknown})" if unknown else out


def in_words(figure: dict[str, Any]) -> str:
    """A stored Figure as text."""
    if figure["value"] is None:
        return f"{figure.get('why', 'not enough data')} (n {figure['n']:,})"
    return f"{figure['value']:.4f}  ({figure['low']:.4f} to {figure['high']:.4f}, n {figure['n']:,})"


def planned(plan: dict[str, Any]) -> str:
    """One line of the plan as a sentence."""
    what = f"the accuracy of {plan['version']}" if plan["goal"] == "accuracy" else "Krippendorff's alpha"
    goal = f"To know {what} within ±{plan['within']:g}: "
    if plan["judgments"] is None:
        return goal + "not enough data to say."
    hours = "" if plan["hours"] is None else f", about {plan['hours']:,} hours"
    return goal + (f"{plan['judgments']:,} more Judgments{hours}." if plan["judgments"] else "done.")
