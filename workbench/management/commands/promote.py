import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, dataset_named, user_named, version_named
from workbench.models import Dataset, ModelVersion, Promotion, User
from workbench.pipeline import promotion

EXAMPLES = """
examples:
  manage.py promote kitchen-2                      if it is really better on the Dataset it was trained for
  manage.py promote kitchen-2 --on Kitchen --dry-run
  manage.py promote kitchen-2 --override --by ada --reason "The old one was trained on broken texts"

It exits with 1 when the gate says no or has not enough data; nothing is changed then.
"""


class Command(WorkbenchCommand):
    help = "Make a ModelVersion the active one when it passes the gate, or by an override that is kept."
    examples = EXAMPLES
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", help="name of the ModelVersion")
        parser.add_argument("--on", metavar="DATASET", help="whose pairs decide; default: its Release's")
        parser.add_argument("--override", action="store_true", help="although the gate does not say yes")
        parser.add_argument("--by", metavar="NAME", help="the admin who answers for it")
        parser.add_argument("--reason", default="", help="why, kept with the promotion")
        parser.add_argument("--dry-run", action="store_true", help="say what the gate says, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        version = version_named(options["version"])
        by = user_named(options["by"])
        dataset = _dataset(version, options["on"])
        try:
            if options["dry_run"] and dataset:
                self._show(promotion.weigh(version, dataset), options)
                return
            made = _promoted(version, dataset, by, options)
        except promotion.Refused as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps(promotion_facts(made)))
            return
        before = f"; it replaces {made.replaced}" if made.replaced else ""
        self.stdout.write(f"{version} is active ({made.kind}){before}. {promotion.where_it_serves()}")

    def _show(self, gate: promotion.Gate, options: dict[str, Any]) -> None:
        for condition in gate.conditions:
            met = {True: "yes", False: "no ", None: "?  "}[condition.met]
            self.stdout.write(f"  {met}  {condition.said}")
        self.stdout.write(gate.sentence)
        for on, found in [(None, gate.test), *gate.frozen]:
            if found and found.warning:
                self.stdout.write(f"{on}: {found.warning}" if on else found.warning)
        if names := promotion.served():
            self.stdout.write(f"A promotion changes the model of {names}.")
        if options["json"]:
            self.stdout.write(json.dumps(gate.as_json()))
        if gate.verdict not in ("first", "promote"):
            raise CommandError(f"The gate says: {gate.verdict}.")


def _promoted(
    version: ModelVersion, dataset: Dataset | None, by: User | None, options: dict[str, Any]
) -> Promotion:
    if dataset is not None:
        return promotion.promote(
            version, dataset, by=by, override=options["override"], reason=options["reason"]
        )
    if ModelVersion.objects.active() is not None and not options["override"]:
        raise promotion.Refused(f"{version} was not trained here: name the Dataset to decide by with --on.")
    return promotion.put_in_place(version, by=by, reason=options["reason"])


def _dataset(version: ModelVersion, name: str | None) -> Dataset | None:
    if name:
        return dataset_named(name)
    return version.release.dataset if version.release else None


def promotion_facts(made: Promotion) -> dict[str, Any]:
    return {
        "active": made.version.name,
        "kind": made.kind,
        "replaced": made.replaced.name if made.replaced else None,
        "by": made.by.username if made.by else None,
        "reason": made.reason,
        "gate": made.gate,
        "serves": promotion.served(),
    }
