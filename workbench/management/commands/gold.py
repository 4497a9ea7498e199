import csv
from pathlib import Path

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, counted, dataset_to_change
from workbench.pipeline.review.gold import mark_many_gold


class Command(WorkbenchCommand):
    help = "Mark pairs of a dataset as gold: checks with a known answer that annotators are measured by."
    examples = """
examples:
  manage.py gold Kitchen known.csv           mark the pairs in the file
  manage.py gold Kitchen known.csv --check   check the file and write nothing

The file has the columns `comparison` (the number of a pair, or its id in the import) and `outcome`. An
outcome is a, b, tie or both_bad; a is the first answer of the pair, b the second. An empty outcome stops
using the pair as a check.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the dataset")
        parser.add_argument("file", type=Path, help="a CSV file with a header")
        parser.add_argument("--check", action="store_true", help="check the file and write nothing")

    def handle(self, *, name: str, file: Path, check: bool, **options: object) -> None:
        dataset = dataset_to_change(name)
        try:
            with file.open(newline="", encoding="utf-8-sig") as stream:
                rows = [
                    (number, row.get("comparison") or "", row.get("outcome") or "")
                    for number, row in enumerate(csv.DictReader(stream), start=2)
                ]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise CommandError(f"{file} can't be read: {error}") from None
        try:
            marked = mark_many_gold(dataset, rows, write=not check)
        except ValueError as problems:
            raise CommandError(f"Nothing was written.\n{problems}") from None
        would = "To mark in" if check else "Marked in"
        self.stdout.write(f"{would} {dataset}: {counted(marked, 'pair')}.")
