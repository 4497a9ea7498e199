from django.core.management.base import CommandError, CommandParser
from rich.table import Table

from workbench.management.base import WorkbenchCommand, as_text, dataset_named, version_named
from workbench.models import Dataset, ModelVersion
from workbench.pipeline.model import calibration, registry


class Command(WorkbenchCommand):
    help = "List the models; calibrate, retire or delete one. (manage.py promote makes one active.)"
    examples = """
examples:
  manage.py models                                   list the models
  manage.py models --calibrate RewardModel           calibrate on votes given before the model's pick was seen
  manage.py models --calibrate RewardModel --on "Team questions" --labels
  manage.py models --retire old-model                keep its scores, but score nothing new with it
  manage.py models --delete mistake                  delete a model that has no scores
"""
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        change = parser.add_mutually_exclusive_group()
        for verb in ("calibrate", "retire", "delete"):
            change.add_argument(f"--{verb}", metavar="NAME", help=f"{verb} this model")
        parser.add_argument("--on", metavar="DATASET", help="calibrate on this dataset only")
        parser.add_argument("--labels", action="store_true", help="calibrate on imported labels too")

    def handle(
        self,
        *,
        calibrate: str | None,
        retire: str | None,
        delete: str | None,
        on: str | None,
        labels: bool,
        **options: object,
    ) -> None:
        if calibrate:
            self.calibrate(version_named(calibrate), dataset_named(on) if on else None, labels)
        if retire:
            registry.retire(version_named(retire))
        if delete:
            registry.delete_unused(version_named(delete))
        versions = list(ModelVersion.objects.all())
        self.answer(_table(versions), [_facts(version) for version in versions])

    def calibrate(self, version: ModelVersion, dataset: Dataset | None, labels: bool) -> None:
        try:
            calibration.calibrate(version, dataset, labels)
        except calibration.NotEnoughData as error:
            raise CommandError(f"{version} is not changed: {error}.") from None
        self.stderr.write(calibration.summary(version))


def _table(versions: list[ModelVersion]) -> str:
    table = Table(
        "name", "state", "kind", "parameters", "encoding", "weights", "learnt", "temperature", box=None
    )
    for version in versions:
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
    return as_text(table, width=140)


def _facts(version: ModelVersion) -> dict[str, object]:
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
