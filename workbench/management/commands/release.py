from dataclasses import fields
from pathlib import Path

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, dataset_named, refuse_archived, release_numbered
from workbench.management.progress import shown
from workbench.models import Dataset, Release, Run
from workbench.pipeline import releases
from workbench.pipeline.history.recording import File, record_download
from workbench.pipeline.releases import FilterValue, Manifest


class Command(WorkbenchCommand):
    help = "Build a release of a dataset: files that never change, kept here and copied to a folder."
    examples = """
examples:
  manage.py release Kitchen --out kitchen-1
  manage.py release Kitchen --out kitchen-1 --profile preference --profile aira
  manage.py release Kitchen --out clear --filter min_votes=3 --filter min_agreement=0.75 --format parquet
  manage.py release Kitchen --out short --filter view="Short answers"     what a saved view finds
  manage.py release Kitchen --out copy-of-3 --number 3                  write an old release out again

Then, in Python:
  datasets.load_dataset("kitchen-1", "preference")
"""
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
            + ", ".join(field.name for field in fields(releases.Filters)),
        )
        parser.add_argument("--number", type=int, help="write this release out again and build none")

    def handle(
        self,
        *,
        name: str,
        out: Path,
        number: int | None,
        profile: list[str] | None,
        format: list[str] | None,  # noqa: A002
        filter: list[str],  # noqa: A002
        **options: object,
    ) -> None:
        dataset = dataset_named(name)
        try:
            releases.refuse_unusable(out)
            if number:
                release = release_numbered(dataset, number)
            else:
                release = _build(dataset, profile, format, filter)
            releases.copy_to(release, out)
            record_download(File.RELEASE, by=None, dataset=dataset, target=release)
        except releases.ReleaseError as error:
            raise CommandError(str(error)) from None
        self.answer(_in_words(release, out), _facts(release))


def _build(
    dataset: Dataset, profiles: list[str] | None, formats: list[str] | None, filters: list[str]
) -> Release:
    refuse_archived(dataset)
    release = Release(
        dataset=dataset,
        profiles=list(dict.fromkeys(profiles or releases.DEFAULT_PROFILES)),
        formats=list(dict.fromkeys(formats or ["jsonl"])),
        filters=_filters(dataset, filters),
    )
    with shown(Run.Kind.RELEASE, f"Release of {dataset}") as progress:
        return releases.build(release, progress)


def _filters(dataset: Dataset, arguments: list[str]) -> dict[str, FilterValue]:
    """The filters of NAME=VALUE arguments, as a Release stores them. Raises CommandError for a bad filter."""
    values: dict[str, object] = {}
    try:
        for argument in arguments:
            name, _, value = argument.partition("=")
            if name == "view":
                values[name] = releases.view_named(dataset, value)
            else:
                values[name] = _values(value) if name in {"method", "source", "without_groups"} else value
        return releases.Filters.parse(values).as_json()
    except releases.BadFilter as error:
        raise CommandError(str(error)) from None


def _values(text: str) -> list[str]:
    """Values separated by commas; for @FILE, the lines of the file. Raises CommandError."""
    if not text.startswith("@"):
        return text.split(",")
    try:
        return Path(text[1:]).read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{text[1:]} can't be read: {error}") from None


def _facts(release: Release) -> dict[str, object]:
    manifest: Manifest = release.manifest
    profiles = manifest["profiles"].items()
    return {
        "release": release.number,
        "rows": release.rows,
        "rows_by_profile": {name: sum(profile["rows"].values()) for name, profile in profiles},
        "files": {name: file["sha256"] for name, file in manifest["files"].items()},
        "left_out": {name: profile["left_out"] for name, profile in profiles},
        "not_written": manifest["not_written"],
    }


def _in_words(release: Release, folder: Path) -> str:
    manifest: Manifest = release.manifest
    lines = [f"{release} is in {folder}:"]
    for name, file in manifest["files"].items():
        size = f"{file['rows']:>9,} rows " if file["rows"] else f"{file['bytes']:>9,} bytes"
        lines.append(f"  {name:<32} {size} sha256 {file['sha256'][:12]}")
    for name, profile in manifest["profiles"].items():
        left_out = ", ".join(
            f"{count:,} {reason.replace('_', ' ')}" for reason, count in profile["left_out"].items()
        )
        lines.append(f"  left out of {name}: {left_out or 'nothing'}")
    lines += [f"  {fault['why']}" for fault in manifest["not_written"]]
    return "\n".join(lines)
