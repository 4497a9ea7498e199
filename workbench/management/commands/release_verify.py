import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, dataset_named, release_numbered
from workbench.pipeline import release as releases

EXAMPLES = """
examples:
  manage.py release_verify Kitchen                      every Release of the Dataset, as it is kept here
  manage.py release_verify Kitchen --number 3 --folder kitchen-3     a copy of Release 3
  manage.py release_verify Kitchen --files-only         does not build it again to see what changed since
"""


class Command(WorkbenchCommand):
    help = (
        "Check the files of Releases against their manifests, and say what the database would give otherwise "
        "today. Fails when a file is damaged, missing or too many."
    )
    examples = EXAMPLES
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the Dataset")
        parser.add_argument("--number", type=int, help="this Release alone")
        parser.add_argument("--folder", type=Path, help="a copy of that Release, made with --out")
        parser.add_argument(
            "--files-only", action="store_true", help="do not build it again from the database"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        dataset = dataset_named(options["name"])
        if options["folder"] and not options["number"]:
            raise CommandError("--folder needs the --number of the Release that it is a copy of.")
        numbered = [release_numbered(dataset, options["number"])] if options["number"] else None
        chosen = numbered or list(dataset.releases.ready().order_by("number"))
        if not chosen:
            raise CommandError(f"{dataset} has no Release that is ready.")
        results = {}
        for release in chosen:
            found = releases.verify(release, options["folder"], rebuild=not options["files_only"])
            results[release.number] = {"damaged": found.damaged, "changed": found.changed}
            if not options["json"]:
                self.stdout.write(f"{release}: {_told(found)}")
        if options["json"]:
            self.stdout.write(json.dumps(results))
        if damaged := [number for number, it in results.items() if it["damaged"]]:
            raise CommandError(f"Damaged: Release {', '.join(map(str, damaged))}.")


def _told(found: releases.Verified) -> str:
    if found.damaged:
        return "; ".join(f"{name} {what}" for name, what in found.damaged.items()) + "."
    if found.changed is None:
        return "every file is as it was released."
    if not found.changed:
        return "every file is as it was released, and the database gives the same bytes today."
    return f"every file is as it was released; today the database gives another {', '.join(found.changed)}."
