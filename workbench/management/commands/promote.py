import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, dataset_named, user_named, version_named
from workbench.models import Dataset, ModelVersion, Promotion, User
from workbench.pipeline.model import promotion
from workbench.pipeline.runs.progress import Refused

EXAMPLES = """
examples:
  manage.py promote kitchen-2                      if it is clearly better on the dataset it was trained on
  manage.py promote kitchen-2 --on Kitchen --dry-run
  manage.py promote kitchen-2 --override --by ada --reason "The old one was trained on broken texts"

The command exits with 1 and changes nothing when the new model is not clearly better, or when there is not
enough data to tell.
"""


class Command(WorkbenchCommand):
    help = "Make a model the active one if it is clearly better, or by an override with a reason."
    examples = EXAMPLES
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", help="name of the model")
        parser.add_argument(
            "--on", metavar="DATASET", help="compare on this dataset (default: the one it was trained on)"
        )
        parser.add_argument(
            "--override", action="store_true", help="promote although the model is not shown to be better"
        )
        parser.add_argument("--by", metavar="NAME", help="the admin who decides")
        parser.add_argument("--reason", default="", help="why, kept on record")
        parser.add_argument("--dry-run", action="store_true", help="compare the models and change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        version = version_named(options["version"])
        by = user_named(options["by"])
        dataset = _dataset(version, options["on"])
        try:
            if options["dry_run"] and dataset:
                self._show(promotion.weigh(version, dataset), options)
                return
            made = _promoted(version, dataset, by, options)
        except Refused as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps(promotion_facts(made)))
            return
        before = f" in place of {made.supersedes}" if made.supersedes else ""
        self.stdout.write(f"{version} is now active{before} ({made.kind}). {promotion.where_it_serves()}")

    def _show(self, gate: promotion.Gate, options: dict[str, Any]) -> None:
        for condition in gate.conditions:
            met = {True: "yes", False: "no ", None: "?  "}[condition.met]
            self.stdout.write(f"  {met}  {condition.said}")
        self.stdout.write(gate.sentence)
        for on, found in [(None, gate.test), *gate.frozen]:
            if found and found.warning:
                self.stdout.write(f"{on}: {found.warning}" if on else found.warning)
        if names := promotion.served():
            self.stdout.write(f"Promoting changes the model of {names}.")
        if options["json"]:
            self.stdout.write(json.dumps(gate.as_json()))
        if gate.verdict not in ("first", "promote"):
            raise CommandError(f"Nothing was changed. Verdict: {gate.verdict}.")


def _promoted(
    version: ModelVersion, dataset: Dataset | None, by: User | None, options: dict[str, Any]
) -> Promotion:
    if dataset is not None:
        return promotion.promote(
            version, dataset, by=by, override=options["override"], reason=options["reason"]
        )
    if ModelVersion.objects.active() is not None and not options["override"]:
        raise Refused(f"{version} was not trained here. Name the dataset to compare on with --on.")
    return promotion.put_in_place(version, by=by, reason=options["reason"])


def _dataset(version: ModelVersion, name: str | None) -> Dataset | None:
    if name:
        return dataset_named(name)
    return version.release.dataset if version.release else None


def promotion_facts(made: Promotion) -> dict[str, Any]:
    return {
        "active": made.version.name,
        "kind": made.kind,
        "replaced": made.supersedes.name if made.supersedes else None,
        "by": made.by.username if made.by else None,
        "reason": made.reason,
        "gate": made.gate,
        "serves": promotion.served(),
    }
