import json
from dataclasses import asdict

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, dataset_named, release_numbered
from workbench.pipeline import releases


class Command(WorkbenchCommand):
    help = "Show what changed between two releases of a dataset: rows, final labels and settings."
    examples = """
example:
  manage.py release_diff Kitchen 2 3
"""
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the dataset")
        parser.add_argument("old", type=int, help="number of the earlier release")
        parser.add_argument("new", type=int, help="number of the later release")

    def handle(self, *, name: str, old: int, new: int, **options: object) -> None:
        dataset = dataset_named(name)
        before, after = release_numbered(dataset, old), release_numbered(dataset, new)
        try:
            changes = releases.diff(before, after)
        except releases.ReleaseError as error:
            raise CommandError(str(error)) from None
        self.answer(_in_words(changes), asdict(changes))


def _in_words(changes: releases.Diff) -> str:
    lines = [
        f"{name}: {rows.added:,} rows added, {rows.removed:,} removed, {rows.flipped:,} flipped"
        + (f", {rows.moved:,} in another split" if rows.moved else "")
        for name, rows in changes.profiles.items()
    ]
    lines += [f"{name}: {where}" for name, where in sorted(changes.missing.items())]
    lines += [
        f"{name.replace('_', ' ')}: {before:,} -> {after:,} pairs"
        for name, (before, after) in changes.outcomes.items()
    ]
    lines += [
        f"{name.replace('_', ' ')}: {json.dumps(before)} -> {json.dumps(after)}"
        for name, (before, after) in changes.settings.items()
    ]
    return "\n".join(lines)
