from collections.abc import Iterator
from pathlib import Path

from django.core.management.base import CommandError, CommandParser
from rich.table import Table

from scoring import shares
from scoring.baselines import BASELINES
from workbench.management.base import WorkbenchCommand, as_text, dataset_to_change, version_named
from workbench.management.progress import shown
from workbench.models import Evaluation, Run
from workbench.models.evaluations import ModelFigures
from workbench.pipeline.model import evaluation
from workbench.pipeline.model.pairs import LEARNT, PROTOCOLS
from workbench.pipeline.runs import lifecycle
from workbench.worker import scorers, tasks


class Command(WorkbenchCommand):
    help = "Measure how often a model agrees with people, beside the length rule and the active model."
    examples = """
examples:
  manage.py evaluate kitchen-2 --on Kitchen                  on the pairs that the model was not trained on
  manage.py evaluate RewardModel --on webgpt.jsonl --protocol webgpt
  manage.py evaluate kitchen-2 --on rewardbench.parquet      on any labelled file that an import reads
  manage.py evaluate kitchen-2 --on Kitchen --queue          leave the work to a worker
"""
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

    def handle(self, *, version: str, on: str, protocol: str, queue: bool, **options: object) -> None:
        model, file = version_named(version), Path(on)
        if file.is_file() and queue:
            raise CommandError(
                f"A worker may run on another machine and not have {file}. "
                "Import the file into a dataset, or leave --queue out."
            )
        run = evaluation.begin(model, file if file.is_file() else dataset_to_change(on), protocol)
        if queue:
            tasks.enqueue_run(run)
            self.stdout.write(f"{run} is queued: it starts when a worker for training is free.")
            return
        run.start()
        with shown(Run.Kind.EVALUATE, f"{model} on {on}") as show:
            stored = lifecycle.carry_out(run, lambda run: evaluation.carry_out(run, scorers.scorer_of, show))
        if stored is None:
            run.refresh_from_db()
            raise CommandError(run.error or f"{run} was stopped; nothing was stored.")
        self.answer("\n".join(_lines(stored)), _facts(stored))


def _lines(stored: Evaluation) -> Iterator[str]:
    figures, model_figures = stored.figures, stored.model_figures
    # A remark below counts pairs that were learnt, as everywhere: those with a preferred answer.
    left_out = ", ".join(
        f"{count:,} {reason}" for reason, count in figures["left_out"].items() if reason != LEARNT
    )
    yield (
        f"{stored.pairs:,} pairs of {stored.on}, {model_figures['decided']:,} of them with a preferred answer"
        f"{f' ({PROTOCOLS[stored.protocol]})' if stored.protocol else ''}"
        f"{f'; left out: {left_out}' if left_out else ''}."
    )
    table = Table("", "accuracy", "95 % by prompt", "95 % Wilson", "log-loss", "ECE", "equal", box=None)
    for name, of_version in {stored.version.name: model_figures, **figures["beside"]}.items():
        table.add_row(name, *_row(of_version, is_rule=name in BASELINES))
    yield as_text(table, width=120)
    for name, paired in figures["differences"].items():
        yield f"  {evaluation.difference_in_words(stored.version.name, name, paired)}"
    people = figures["people"]
    if people["ceiling"] is not None:
        yield (
            f"  Two people choose the same answer in {shares.in_words(people['agreement'])} of cases. "
            f"A model without error would reach {shares.in_words(people['ceiling'])} on these labels."
        )
    for part in model_figures["slices"]:
        if part["accuracy"] is not None:
            yield f"    {part['name']}: {part['label']}  {shares.in_words(part['accuracy'])} of {part['n']:,}"
    for sentence in (*evaluation.remarks(stored), evaluation.warning(stored)):
        if sentence:
            yield f"  {sentence}"


def _row(figures: ModelFigures, *, is_rule: bool) -> list[str]:
    calibrated = figures["calibrated_log_loss"] is not None
    log_loss = figures["calibrated_log_loss"] if calibrated else figures["log_loss"]
    ece = figures["calibrated_ece"] if calibrated else figures["ece"]
    # The margins of a rule are characters, or random numbers: no probabilities.
    return [
        shares.in_words(figures["accuracy"]),
        shares.between(figures["clustered"]),
        shares.between(figures["wilson"]),
        "" if is_rule else f"{log_loss:.3f}{'' if calibrated else ' (T = 1)'}",
        "" if is_rule else f"{ece:.3f}",
        f"{figures['equal']:,}",
    ]


def _facts(stored: Evaluation) -> dict[str, object]:
    return {
        "version": stored.version.name,
        "on": stored.on,
        "split": stored.split,
        "protocol": stored.protocol,
        "pairs": stored.pairs,
        "data_sha256": stored.data_sha256,
        **stored.figures,
    }
