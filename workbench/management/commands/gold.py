import csv
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, dataset_to_change
from workbench.pipeline import review

EXAMPLES = """
examples:
  manage.py gold Kitchen known.csv           columns: comparison (primary key or id of the import), outcome
  manage.py gold Kitchen known.csv --check   says what it would do, and writes nothing

An outcome is a, b, tie or both_bad; a and b are the completions in the Comparison's own order. An empty
outcome makes the Comparison ordinary again.
"""


class Command(WorkbenchCommand):
    help = "Mark Comparisons of a Dataset as gold: with the known answer that annotators are measured by."
    examples = EXAMPLES

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the Dataset")
        parser.add_argument("file", type=Path, help="a CSV file with a header")
        parser.add_argument("--check", action="store_true", help="write nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        dataset = dataset_to_change(options["name"])
        try:
            with options["file"].open(newline="", encoding="utf-8-sig") as file:
                rows = [
                    (number, row.get("comparison") or "", row.get("outcome") or "")
                    for number, row in enumerate(csv.DictReader(file), start=2)
                ]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise CommandError(f"{options['file']} cannot be read: {error}") from None
        try:
            marked = review.mark_many_gold(dataset, rows, write=not options["check"])
        except ValueError as problems:
            raise CommandError(f"Nothing was written.\n{problems}") from None
        would = "would be " if options["check"] else ""
        self.stdout.write(f"{marked} Comparisons {would}marked in {dataset}.")
