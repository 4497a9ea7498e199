import json
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from workbench.management.base import WorkbenchCommand, dataset_named, version_named
from workbench.models import ModelVersion
from workbench.pipeline.model import calibration, registry
from workbench.pipeline.runs.progress import Refused

EXAMPLES = """
examples:
  manage.py models                                   list the models
  manage.py models --calibrate RewardModel           calibrate on votes given before the model's pick was seen
  manage.py models --calibrate RewardModel --on "Team questions" --labels
  manage.py models --retire old-model                keep its scores, but score nothing new with it
  manage.py models --delete mistake                  delete a model that has no scores
"""


class Command(WorkbenchCommand):
    help = "List the models; calibrate, retire or delete one. (manage.py promote makes one active.)"
    examples = EXAMPLES
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        change = parser.add_mutually_exclusive_group()
        for verb in ("calibrate", "retire", "delete"):
            change.add_argument(f"--{verb}", metavar="NAME", help=f"{verb} this model")
        parser.add_argument("--on", metavar="DATASET", help="calibrate on this dataset only")
        parser.add_argument("--labels", action="store_true", help="calibrate on imported labels too")

    def handle(self, *args: Any, **options: Any) -> None:
        for verb in ("calibrate", "retire", "delete"):
            if name := options[verb]:
                getattr(self, verb)(version_named(name), options)
        if options["json"]:
            self.stdout.write(json.dumps([_facts(version) for version in ModelVersion.objects.all()]))
        else:
            self.show()

    def calibrate(self, version: ModelVersion, options: dict[str, Any]) -> None:
        dataset = dataset_named(options["on"]) if options["on"] else None
        try:
            found = calibration.calibrate(version, dataset, options["labels"])
        except calibration.NotEnoughData as error:
            raise CommandError(f"{version} is not changed: {error}.") from None
        self.stderr.write(calibration.in_words(version, found))

    def retire(self, version: ModelVersion, options: dict[str, Any]) -> None:
        if not version.retire():
            raise CommandError(f"{version} is {version.state}; only a registered model can be retired.")

    def delete(self, version: ModelVersion, options: dict[str, Any]) -> None:
        try:
            registry.delete_unused(version)
        except Refused as error:
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
