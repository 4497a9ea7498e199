import json

from django.core.management.base import CommandError, CommandParser

from workbench.management.base import WorkbenchCommand, dataset_named, user_named, version_named
from workbench.models import ModelVersion, Promotion
from workbench.pipeline.model import promotion


class Command(WorkbenchCommand):
    help = "Make a model the active one if it is clearly better, or by an override with a reason."
    examples = """
examples:
  manage.py promote kitchen-2                      if it is clearly better on the dataset it was trained on
  manage.py promote kitchen-2 --on Kitchen --dry-run
  manage.py promote kitchen-2 --override --by ada --reason "The old one was trained on broken texts"

The command exits with 1 and changes nothing when the new model is not clearly better, or when there is not
enough data to tell.
"""
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

    def handle(
        self,
        *,
        version: str,
        on: str | None,
        override: bool,
        by: str | None,
        reason: str,
        dry_run: bool,
        **options: object,
    ) -> None:
        model, admin = version_named(version), user_named(by)
        trained_on = model.release.dataset if model.release else None
        dataset = dataset_named(on) if on else trained_on
        if dataset and dry_run:
            self._show(promotion.weigh(model, dataset))
            return
        if dataset:
            record = promotion.promote(model, dataset, by=admin, override=override, reason=reason)
        elif override or ModelVersion.objects.active() is None:
            record = promotion.put_in_place(model, by=admin, reason=reason)
        else:
            raise CommandError(f"{model} was not trained here. Name the dataset to compare on with --on.")
        replaced = f" in place of {record.supersedes}" if record.supersedes else ""
        self.answer(
            f"{model} is now active{replaced} ({record.kind}). {promotion.where_it_serves()}",
            promotion_facts(record),
        )

    def _show(self, gate: promotion.Gate) -> None:
        for condition in gate.conditions:
            met = {True: "yes", False: "no ", None: "?  "}[condition.met]
            self.stdout.write(f"  {met}  {condition.said}")
        self.stdout.write(gate.sentence)
        for on, compared in [(None, gate.test), *gate.frozen]:
            if compared and compared.warning:
                self.stdout.write(f"{on}: {compared.warning}" if on else compared.warning)
        if names := promotion.served():
            self.stdout.write(f"Promoting changes the model of {names}.")
        if self.as_json:
            self.stdout.write(json.dumps(gate.as_json()))
        if gate.verdict not in ("first", "promote"):
            raise CommandError(f"Nothing was changed. Verdict: {gate.verdict}.")


def promotion_facts(record: Promotion) -> dict[str, object]:
    return {
        "active": record.version.name,
        "kind": record.kind,
        "replaced": record.supersedes.name if record.supersedes else None,
        "by": record.by.username if record.by else None,
        "reason": record.reason,
        "gate": record.gate,
        "serves": promotion.served(),
    }
