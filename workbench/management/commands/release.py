from dataclasses import fields
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, dataset_named, refuse_archived, release_numbered
from workbench.management.progress import shown
from workbench.models import Dataset, Release, Run
from workbench.pipeline import releases

EXAMPLES = """
examples:
  manage.py release Kitchen --out kitchen-1
  manage.py release Kitchen --out kitchen-1 --profile preference --profile aira
  manage.py release Kitchen --out clear --filter min_votes=3 --filter min_agreement=0.75 --format parquet
  manage.py release Kitchen --out copy-of-3 --number 3                  write an old release out again

Then, in Python:
  datasets.load_dataset("kitchen-1", "preference")
"""


class Command(WorkbenchCommand):
    help = "Build a release of a dataset: files that never change, kept here and copied to a folder."
    examples = EXAMPLES
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the dataset")
        parser.add_argument(
            "--out", metavar="DIR", type=Path, required=True, help="a new folder for the files"
        )
        parser.add_argument(
            "--profile",
            action="append",
            help="which rows and columns to write; repeat for several (default: "
            f"{' and '.join(releases.DEFAULT_PROFILES)}). Profiles: {', '.join(releases.PROFILES)}",
        )
        parser.add_argument(
            "--format",
            action="append",
            help=f"file format; repeat for several (default: jsonl). Formats: {', '.join(releases.FORMATS)}",
        )
        parser.add_argument(
            "--filter",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="leave out pairs that don't pass; repeat for several. Separate values by commas, or name "
            "a file of values, one a line, as @FILE. Filters: "
            + ", ".join(each.name for each in fields(releases.Filters)),
        )
        parser.add_argument("--number", type=int, help="write this release out again and build none")

    def handle(self, *args: Any, **options: Any) -> None:
        dataset = dataset_named(options["name"])
        try:
            releases.refuse_unusable(options["out"])
            release = (
                release_numbered(dataset, options["number"])
                if options["number"]
                else self._build(dataset, options)
            )
            releases.copy_to(release, options["out"])
        except releases.ReleaseError as error:
            raise CommandError(str(error)) from None
        self.answer(_told(release, options["out"]), _facts(release), options)

    def _build(self, dataset: Dataset, options: dict[str, Any]) -> Release:
        refuse_archived(dataset)
        release = Release(
            dataset=dataset,
            profiles=list(dict.fromkeys(options["profile"] or releases.DEFAULT_PROFILES)),
            formats=list(dict.fromkeys(options["format"] or ["jsonl"])),
            filters=_filters(options["filter"]),
        )
        with shown(Run.Kind.RELEASE, f"Release of {dataset}") as told:
            return releases.build(release, told)


def _filters(given: list[str]) -> dict[str, Any]:
    """As a Release stores them. Raises CommandError for what is no filter."""
    values: dict[str, Any] = {}
    for each in given:
        name, _, value = each.partition("=")
        values[name] = _several(value) if name in {"method", "source", "without_groups"} else value
    try:
        return releases.Filters.parse(values).as_json()
    except releases.BadFilter as error:
        raise CommandError(str(error)) from None


def _several(value: str) -> list[str]:
    """Values with a comma between them, or one a line of the file that an @ names. Raises CommandError."""
    if not value.startswith("@"):
        return value.split(",")
    try:
        return Path(value[1:]).read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{value[1:]} can't be read: {error}") from None


def _facts(release: Release) -> dict[str, Any]:
    manifest = release.manifest
    return {
        "release": release.number,
        "rows": release.rows,
        "rows_by_profile": {name: sum(it["rows"].values()) for name, it in manifest["profiles"].items()},
        "files": {name: file["sha256"] for name, file in manifest["files"].items()},
        "left_out": {name: it["left_out"] for name, it in manifest["profiles"].items()},
        "not_written": manifest.get("not_written", []),
    }


def _told(release: Release, folder: Path) -> str:
    lines = [f"{release} is in {folder}:"]
    for name, file in release.manifest["files"].items():
        size = f"{file['rows']:>9,} rows " if file["rows"] else f"{file['bytes']:>9,} bytes"
        lines.append(f"  {name:<32} {size} sha256 {file['sha256'][:12]}")
    for name, profile in release.manifest["profiles"].items():
        left = ", ".join(
            f"{count:,} {reason.replace('_', ' ')}" for reason, count in profile["left_out"].items()
        )
        lines.append(f"  left out of {name}: {left or 'nothing'}")
    lines += [f"  {fault['why']}" for fault in release.manifest.get("not_written", ())]
    return "\n".join(lines)
