"""manage.py import_dataset: a file into a Dataset."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from scoring.rows.rows import escaped
from workbench.management.base import WorkbenchCommand, refuse_archived
from workbench.management.progress import shown
from workbench.models import Dataset, Run
from workbench.pipeline import intake

EXAMPLES = """
example:
  manage.py import_dataset "Kitchen" answers.jsonl.gz
  manage.py import_dataset "Kitchen" rankings.parquet --pairs best-worst --lenient --rejects bad.jsonl

Nothing is stored unless every row is good; --lenient stores the good rows and lists the others.
Importing a file a second time adds nothing. docs/how-to/import.md shows every shape that is known.
"""


class Command(WorkbenchCommand):
    help = "Import a file (JSONL, JSON, CSV, TSV, Parquet; plain, .gz or .zst) into a Dataset."
    examples = EXAMPLES
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the Dataset; it is created when it is new")
        parser.add_argument("file", type=Path, help="the file, or a folder saved by datasets.save_to_disk")
        parser.add_argument(
            "--format", default="auto", choices=["auto", *intake.SHAPES], help="default: told by the columns"
        )
        parser.add_argument(
            "--column",
            action="append",
            default=[],
            metavar="WORD=COLUMN",
            help="a column of any table, as in --column prompt=question --column chosen=best; the Dataset "
            f"keeps them for the next. Words: {', '.join(intake.COLUMN_WORDS)}; for what stands in the "
            f"outcome column: {', '.join(intake.OUTCOME_WORDS)}",
        )
        parser.add_argument(
            "--lenient", action="store_true", help="store the good rows although some are bad"
        )
        parser.add_argument("--rejects", type=Path, help="write the bad rows to this file, as JSON lines")
        parser.add_argument("--source", default="", help="who made the labels of the file")
        parser.add_argument("--no-labels", action="store_true", help="leave the labels of the file behind")
        parser.add_argument(
            "--pairs",
            default="all",
            choices=list(intake.PAIRS_POLICIES),
            help="which pairs a ranking becomes (default: all)",
        )
        parser.add_argument(
            "--max-pairs", type=int, default=64, help="most pairs of one prompt (default: 64)"
        )
        parser.add_argument("--minimum-gap", type=float, default=0.0, help="least difference of two ratings")
        parser.add_argument(
            "--formula-safe",
            action="store_true",
            help="CSV: take one ' off each cell that begins with it, as in a CSV of a Release",
        )
        parser.add_argument("--strip-citations", action="store_true", help="WebGPT: remove [1] marks")
        parser.add_argument(
            "--no-near-duplicates",
            action="store_true",
            help="put no prompt into the group of another that is nearly the same",
        )
        parser.add_argument(
            "--licence", default="", help="licence of the file's texts (default: the Dataset's)"
        )
        parser.add_argument("--dry-run", action="store_true", help="do everything, then keep nothing")

    def handle(self, *args: Any, name: str, file: Path, **given: Any) -> None:
        if not file.exists():
            raise CommandError(f"There is no file {escaped(file, 300)}.")
        dataset = Dataset.objects.filter(name=name).first() or Dataset(name=name, licence=given["licence"])
        refuse_archived(dataset)
        options = intake.ImportOptions(
            format=given["format"],
            columns=columns_named(given["column"]),
            lenient=given["lenient"],
            source=given["source"],
            licence=given["licence"],
            labels=not given["no_labels"],
            pairs=given["pairs"],
            max_pairs=max(1, given["max_pairs"]),
            minimum_gap=given["minimum_gap"],
            formula_safe=given["formula_safe"],
            strip_citations=given["strip_citations"],
            near_duplicates=not given["no_near_duplicates"],
            dry_run=given["dry_run"],
        )
        result = self._import(file, dataset, options, given["rejects"])
        self._report(result, dataset)
        if given["json"]:
            self.stdout.write(json.dumps({"dataset": dataset.name, **result.as_dict()}))
        if not result.accepted:
            raise SystemExit(1)

    def _import(
        self, file: Path, dataset: Dataset, options: intake.ImportOptions, rejects: Path | None
    ) -> intake.ImportResult:
        with ExitStack() as stack:
            told = stack.enter_context(shown(Run.Kind.IMPORT, escaped(file.name)))
            bad = stack.enter_context(rejects.open("wb")) if rejects else None

            def show(phase: str, done: int, total: int) -> bool:
                # Grouping goes by steps of no fixed size.
                return phase == "grouping" or told(done, total, phase=phase)

            return intake.import_file(file, dataset, options, show, rejects=bad)

    def _report(self, result: intake.ImportResult, dataset: Dataset) -> None:
        for problem in result.problems:
            place = f"line {problem.line}" if problem.line else "file"
            field = f", {escaped(problem.field)}" if problem.field else ""
            excerpt = f": {problem.excerpt}" if problem.excerpt else ""
            self.stdout.write(f"{place}{field}: {problem.message} [{problem.code}]{excerpt}")
        if result.problem_count > len(result.problems):
            self.stdout.write(f"… and {result.problem_count - len(result.problems)} more problems.")
        for column in result.columns:
            self.stdout.write(f"column {escaped(column.name)}: {column.became} ({column.held:,} rows)")
        for note in result.notes:
            self.stdout.write(f"note: {note}")
        self.stdout.write(summary(result, dataset))


def columns_named(given: list[str]) -> dict[str, str]:
    """The columns by word. Raises CommandError for a word that is not known."""
    columns = {}
    for each in given:
        word, _, column = each.partition("=")
        if word not in {*intake.COLUMN_WORDS, *intake.OUTCOME_WORDS} or not column:
            known = ", ".join([*intake.COLUMN_WORDS, *intake.OUTCOME_WORDS])
            raise CommandError(f"--column wants WORD=COLUMN, with a word of {known}; not {escaped(each)}.")
        columns[word] = column
    return columns


def summary(result: intake.ImportResult, dataset: Dataset) -> str:
    """What happened, in a sentence or three."""
    if not result.accepted:
        if not result.rejected:
            return "Nothing was stored. Mend the file, and import it again."
        rows = "1 bad row" if result.rejected == 1 else f"{result.rejected} bad rows"
        return f"Nothing was stored: {rows}. Mend the file, or use --lenient."
    would = "Would add" if result.dry_run else "Added"
    added = (
        f"{would} to {dataset.name}: {result.prompts} prompts, {result.completions} completions, "
        f"{result.comparisons} comparisons, {result.labels}, "
        f"read as {result.format}."
    )
    lines = [added]
    for count, sentence in (
        (result.already_there, "rows were there already"),
        (result.duplicates, "rows repeat an earlier row and were skipped"),
        (result.near_duplicates, "new prompts are near-duplicates and join the group of another"),
        (
            result.pairs_left_out,
            "pairs are left out: a prompt makes at most --max-pairs (--pairs best-worst makes fewer)",
        ),
        (result.identical, "pairs are twice the same text and make no comparison"),
        (result.rejected, "bad rows were left out"),
        (result.empty_completions, "completions are empty: releases and trainings leave them out"),
        (result.names_a_model, "completions seem to name the model that wrote them"),
        (result.cut_off, "completions seem to be cut off"),
    ):
        if count:
            lines.append(f"{count} {sentence}.")
    if result.cuts:
        lines.append(f"{result.cuts.capitalize()}.")
    return "\n".join(lines)
