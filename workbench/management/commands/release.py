import json
from argparse import RawDescriptionHelpFormatter
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from workbench import access
from workbench.management.progress import shown
from workbench.models import Dataset, Release, Run
from workbench.pipeline import release as releases

EXAMPLES = """
examples:
  manage.py release Kitchen --out kitchen-1
  manage.py release Kitchen --out kitchen-1 --profile preference --profile aira
  manage.py release Kitchen --out clear --filter min_votes=3 --filter min_agreement=0.75 --format parquet
  manage.py release Kitchen --out copy-of-3 --number 3      (an old Release, written out again)

then, in Python:
  datasets.load_dataset("kitchen-1", "preference")
"""


class Command(BaseCommand):
    help = "Build a Release of a Dataset: immutable files with a manifest, kept here and copied to a folder."

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="name of the Dataset")
        parser.add_argument("--out", type=Path, required=True, help="a new folder for files and manifest")
        parser.add_argument(
            "--profile",
            action="append",
            help="a shape to write; may be given several times, default "
            f"{' and '.join(releases.DEFAULT_PROFILES)}; there are {', '.join(releases.PROFILES)}",
        )
        parser.add_argument(
            "--format",
            action="append",
            help=f"how to write each profile, default jsonl; there are {', '.join(releases.FORMATS)}",
        )
        parser.add_argument(
            "--filter",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="keep back what does not pass. Several values have a comma between them, or are the lines "
            "of a file named with an @ before it. There are "
            + ", ".join(each.name for each in fields(releases.Filters)),
        )
        parser.add_argument("--number", type=int, help="write out this Release again, and build none")
        parser.add_argument("--json", action="store_true", help="print one machine-readable last line")

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
        self.stdout.write(json.dumps(_facts(release)) if options["json"] else _told(release, options["out"]))

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


def dataset_named(name: str) -> Dataset:
    """Raises CommandError that lists close names."""
    if found := Dataset.objects.filter(name=name).first():
        return found
    names = list(Dataset.objects.there().values_list("name", flat=True))
    close = get_close_matches(name, names) or names[:5]
    raise CommandError(f'There is no Dataset "{name}".' + (f" Is it {' or '.join(close)}?" if close else ""))


def dataset_to_change(name: str) -> Dataset:
    """The same, for whoever writes to it. Raises CommandError also where it is archived."""
    dataset = dataset_named(name)
    refuse_archived(dataset)
    return dataset


def refuse_archived(dataset: Dataset) -> None:
    """Raises CommandError where it is archived."""
    try:
        access.refuse_archived(dataset)
    except access.Archived as archived:
        raise CommandError(str(archived)) from None


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
        raise CommandError(f"{value[1:]} cannot be read: {error}") from None


def release_numbered(dataset: Dataset, number: int) -> Release:
    """A ready one. Raises CommandError."""
    if found := dataset.releases.ready().filter(number=number).first():
        return found
    raise CommandError(f"{dataset} has no Release {number} that is ready.")


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
