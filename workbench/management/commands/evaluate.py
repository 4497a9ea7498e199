import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from scoring import shares
from scoring.baselines import BASELINES
from workbench.management.base import WorkbenchCommand, dataset_to_change, version_named
from workbench.management.progress import shown
from workbench.models import Evaluation, ModelVersion, Run
from workbench.pipeline.model import evaluation
from workbench.pipeline.model.pairs import LEARNT, PROTOCOLS
from workbench.pipeline.runs import lifecycle
from workbench.worker import scorers, tasks

EXAMPLES = """
examples:
  manage.py evaluate kitchen-2 --on Kitchen                  on the pairs that the model was not trained on
  manage.py evaluate RewardModel --on webgpt.jsonl --protocol webgpt
  manage.py evaluate kitchen-2 --on rewardbench.parquet      on any labelled file that an import reads
  manage.py evaluate kitchen-2 --on Kitchen --queue          leave the work to a worker
"""


class Command(WorkbenchCommand):
    help = "Measure how often a model agrees with people, beside the length rule and the active model."
    examples = EXAMPLES
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", help="name of the model")
        parser.add_argument(
            "--on", metavar="FILE|DATASET", required=True, help="a labelled file, or the name of a dataset"
        )
        parser.add_argument(
            "--protocol",
            default="",
            choices=[name for name in PROTOCOLS if name],
            help="webgpt: only pairs with a preferred answer; webgpt-stripped: also without [1] marks",
        )
        parser.add_argument("--queue", action="store_true", help="leave the work to a worker")

    def handle(self, *args: Any, **options: Any) -> None:
        version = version_named(options["version"])
        file = Path(options["on"])
        if file.is_file() and options["queue"]:
            raise CommandError(
                f"A worker may run on another machine and not have {file}. "
                "Import the file into a dataset, or leave --queue out."
            )
        on = file if file.is_file() else dataset_to_change(options["on"])
        run = evaluation.begin(version, on, options["protocol"])
        if options["queue"]:
            tasks.enqueue_run(run)
            self.stdout.write(f"{run} is queued: it starts when a worker for training is free.")
            return
        run.start()
        with shown(Run.Kind.EVALUATE, f"{version} on {options['on']}") as told:
            found = lifecycle.carry_out(run, lambda run: evaluation.carry_out(run, scorers.scorer_of, told))
        if found is None:
            run.refresh_from_db()
            raise CommandError(run.error or f"{run} was stopped; nothing was stored.")
        if options["json"]:
            self.stdout.write(json.dumps(_facts(found)))
        else:
            self.show(found)

    def show(self, found: Evaluation) -> None:
        figures = found.figures
        # What was learnt is counted by a remark below, as everywhere: in pairs with a preferred side.
        reasons = {why: count for why, count in figures["left_out"].items() if why != LEARNT}
        left_out = ", ".join(f"{count:,} {why}" for why, count in reasons.items())
        decided = figures["model"]["decided"]
        self.stdout.write(
            f"{found.pairs:,} pairs of {found.on}, {decided:,} of them with a preferred answer"
            f"{f' ({PROTOCOLS[found.protocol]})' if found.protocol else ''}"
            f"{f'; left out: {left_out}' if left_out else ''}."
        )
        table = Table("", "accuracy", "95 % by prompt", "95 % Wilson", "log-loss", "ECE", "equal", box=None)
        for name, own in {found.version.name: figures["model"], **figures["beside"]}.items():
            table.add_row(name, *_row(own, rule=name in BASELINES))
        console = Console(width=120)
        with console.capture() as shown:
            console.print(table)
        self.stdout.write(shown.get())
        for name, paired in figures["differences"].items():
            self.stdout.write(f"  {evaluation.difference_in_words(found.version.name, name, paired)}")
        if figures["people"]["ceiling"] is not None:
            people = {name: shares.in_words(figures["people"][name]) for name in ("agreement", "ceiling")}
            self.stdout.write(
                f"  Two people choose the same answer in {people['agreement']} of cases. A model without "
                f"error would reach {people['ceiling']} on these labels."
            )
        for part in figures["model"]["slices"]:
            if part["accuracy"] is not None:
                right = shares.in_words(part["accuracy"])
                self.stdout.write(f"    {part['name']}: {part['label']}  {right} of {part['n']:,}")
        for remark in evaluation.remarks(found):
            self.stdout.write(f"  {remark}")
        if warning := evaluation.warning(found):
            self.stdout.write(f"  {warning}")


def _row(own: dict[str, Any], *, rule: bool) -> list[str]:
    """A rule's margins are characters, or random numbers: they make no probabilities."""
    calibrated = own["calibrated_log_loss"] is not None
    log_loss, ece = (own[f"calibrated_{name}" if calibrated else name] for name in ("log_loss", "ece"))
    return [
        shares.in_words(own["accuracy"]),
        shares.between(own["clustered"]),
        shares.between(own["wilson"]),
        "" if rule else f"{log_loss:.3f}{'' if calibrated else ' (T = 1)'}",
        "" if rule else f"{ece:.3f}",
        f"{own['equal']:,}",
    ]


def _facts(found: Evaluation) -> dict[str, Any]:
    version: ModelVersion = found.version
    return {
        "version": version.name,
        "on": found.on,
        "split": found.split,
        "protocol": found.protocol,
        "pairs": found.pairs,
        "data_sha256": found.data_sha256,
        **found.figures,
    }
