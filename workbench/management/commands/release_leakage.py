from pathlib import Path

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, counted, dataset_named
from workbench.models import Dataset
from workbench.pipeline.text import leakage


class Command(WorkbenchCommand):
    help = "Report prompts of a dataset that are near-duplicates of test prompts, here or in files."
    examples = """
examples:
  manage.py release_leakage Kitchen                 against its own test split and those of all other datasets
  manage.py release_leakage Kitchen --against rewardbench.jsonl --column prompt
  manage.py release_leakage Kitchen --against mmlu.txt --groups-to leaked.txt
  manage.py release Kitchen --out clean --filter without_groups=@leaked.txt

A .jsonl file has the prompt in a column, as text or messages; any other file has one prompt a line.
"""
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the dataset")
        parser.add_argument(
            "--against",
            metavar="FILE",
            type=Path,
            action="append",
            default=[],
            help="a file of test prompts; repeat for several",
        )
        parser.add_argument(
            "--column", default="prompt", help="column of the prompt in a .jsonl file (default: prompt)"
        )
        parser.add_argument(
            "--groups-to",
            metavar="FILE",
            type=Path,
            help="write the groups of the prompts found to this file, one a line",
        )

    def handle(
        self, *, name: str, against: list[Path], column: str, groups_to: Path | None, **options: object
    ) -> None:
        dataset = dataset_named(name)
        other_datasets = Dataset.objects.not_deleted().exclude(pk=dataset.pk).order_by("name")
        leaks = [
            leakage.within(dataset),
            *(leakage.with_other(dataset, other) for other in other_datasets),
            *(_with_file(dataset, path, column) for path in against),
        ]
        if groups_to:
            groups = leakage.groups_of(leaks)
            groups_to.write_text("".join(f"{group}\n" for group in groups))
        self.answer(_in_words(leaks), [leak.facts for leak in leaks])


def _with_file(dataset: Dataset, path: Path, column: str) -> leakage.Leak:
    try:
        with path.open("rb") as file:
            return leakage.with_texts(dataset, path.name, leakage.texts_in(file, str(path), column))
    except (leakage.BadReference, OSError) as error:
        raise CommandError(str(error)) from None


def _in_words(leaks: list[leakage.Leak]) -> str:
    lines = []
    for leak in leaks:
        counts = ", ".join(f"{alike.prompts:,} in {split}" for split, alike in leak.by_split.items())
        lines.append(f"{leak.reference} ({counted(leak.size, 'prompt')}): near-duplicates: {counts}")
        for split, alike in leak.by_split.items():
            if alike.examples:
                lines.append(f"  first in {split}: prompt {', '.join(map(str, alike.examples))}")
    return "\n".join(lines)
