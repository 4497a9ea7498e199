import json
from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from workbench.models import Dataset, ModelVersion
from workbench.pipeline import calibration, versions

EXAMPLES = """
examples:
  manage.py models                                   what is registered
  manage.py models --calibrate RewardModel           fit its temperature on what people judged blind
  manage.py models --calibrate RewardModel --on "Team questions" --labels
  manage.py models --retire old-model                it keeps its Scores and scores nothing new
  manage.py models --delete mistake                  only one that has no Scores
"""


class Command(BaseCommand):
    help = "List the ModelVersions; calibrate, retire or delete one. (manage.py promote makes one active.)"

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=EXAMPLES, formatter_class=RawDescriptionHelpFormatter, **kwargs
        )

    def add_arguments(self, parser: CommandParser) -> None:
        change = parser.add_mutually_exclusive_group()
        for verb in ("calibrate", "retire", "delete"):
            change.add_argument(f"--{verb}", metavar="NAME", help=f"{verb} this one")
        parser.add_argument("--on", metavar="DATASET", help="calibrate on this Dataset alone")
        parser.add_argument("--labels", action="store_true", help="calibrate on labels of the file too")
        parser.add_argument("--json", action="store_true", help="print one machine-readable last line")

    def handle(self, *args: Any, **options: Any) -> None:
        for verb in ("calibrate", "retire", "delete"):
            if name := options[verb]:
                getattr(self, verb)(version_named(name), options)
        if options["json"]:
            self.stdout.write(json.dumps([_facts(version) for version in ModelVersion.objects.all()]))
        else:
            self.show()

    def calibrate(self, version: ModelVersion, options: dict[str, Any]) -> None:
        dataset = Dataset.objects.filter(name=options["on"]).first() if options["on"] else None
        if options["on"] and dataset is None:
            raise CommandError(f"There is no Dataset named {options['on']}.")
        try:
            found = calibration.calibrate(version, dataset, options["labels"])
        except calibration.NotEnoughData as error:
            raise CommandError(f"{version} stays as it was: {error}.") from None
        self.stderr.write(calibration.in_words(version, found))

    def retire(self, version: ModelVersion, options: dict[str, Any]) -> None:
        if not version.retire():
            raise CommandError(f"{version} is {version.state}: only a registered model can be retired.")

    def delete(self, version: ModelVersion, options: dict[str, Any]) -> None:
        try:
            versions.delete_unused(version)
        except versions.Refused as error:
            raise CommandError(str(error)) from None

    def show(self) -> None:
        table = Table(
            "name", "state", "kind", "parameters", "encoding", "weights", "learnt", "temperature", box=None
        )
        for version in ModelVersion.objects.all():
            table.add_row(
                version.name,
                version.state,
                version.kind,
                f"{version.parameters:,}" if version.parameters else "",
                f"{version.template} {version.max_length} {version.precision}" if version.parameters else "",
                version.weights_sha256[:12],
                version.learnt.label.partition(":")[0],
                f"{version.temperature:.3f}" if version.temperature else "uncalibrated",
            )
        console = Console(width=140)
        with console.capture() as shown:
            console.print(table)
        self.stdout.write(shown.get())


def version_named(name: str) -> ModelVersion:
    """Raises CommandError that lists those there are."""
    version = ModelVersion.objects.filter(name=name).first()
    if version is None:
        known = ", ".join(ModelVersion.objects.values_list("name", flat=True))
        raise CommandError(f"There is no model named {name}; there are {known}.")
    return version


def _facts(version: ModelVersion) -> dict[str, Any]:
    return {
        "name": version.name,
        "state": version.state,
        "kind": version.kind,
        "parameters": version.parameters,
        "weights_sha256": version.weights_sha256,
        "temperature": version.temperature,
        "calibration": version.calibration,
        "learnt": version.learnt,
    }
