import json
from dataclasses import asdict
from pathlib import Path

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, dataset_named, release_numbered
from workbench.pipeline import releases


class Command(WorkbenchCommand):
    help = "Check the files of releases against their checksums, and against the data of today."
    examples = """
examples:
  manage.py release_verify Kitchen                      every release of the dataset, as kept here
  manage.py release_verify Kitchen --number 3 --folder kitchen-3     a copy of release 3
  manage.py release_verify Kitchen --files-only         do not compare with the database

The command exits with 1 when a file is damaged, missing or added.
"""
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the dataset")
        parser.add_argument("--number", type=int, help="check this release only")
        parser.add_argument(
            "--folder",
            metavar="DIR",
            type=Path,
            help="check this copy of the release, made with release --out",
        )
        parser.add_argument("--files-only", action="store_true", help="don't compare with the database")

    def handle(
        self, *, name: str, number: int | None, folder: Path | None, files_only: bool, **options: object
    ) -> None:
        dataset = dataset_named(name)
        if folder and not number:
            raise CommandError("--folder needs --number: which release is the folder a copy of?")
        if number:
            checked = [release_numbered(dataset, number)]
        else:
            checked = list(dataset.releases.ready().order_by("number"))
        if not checked:
            raise CommandError(f"{dataset} has no release that is ready: manage.py release builds one.")
        results: dict[int, releases.Verified] = {}
        for release in checked:
            result = releases.verify(release, folder, rebuild=not files_only)
            results[release.number] = result
            if not self.as_json:
                self.stdout.write(f"{release}: {_in_words(result)}")
        if self.as_json:
            self.stdout.write(json.dumps({number: asdict(result) for number, result in results.items()}))
        if damaged := [number for number, result in results.items() if result.damaged]:
            raise CommandError(
                f"Damaged: release {', '.join(map(str, damaged))}. Restore the files from a backup."
            )


def _in_words(result: releases.Verified) -> str:
    if result.damaged:
        return "; ".join(f"{name} {damage}" for name, damage in result.damaged.items()) + "."
    if result.changed is None:
        return "every file is unchanged."
    if not result.changed:
        return "every file is unchanged, and the database gives the same bytes today."
    return f"every file is unchanged. Today the database would give another {', '.join(result.changed)}."
