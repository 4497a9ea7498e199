import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from scoring import seed
from scoring.config import TOKEN_TYPES, TOKEN_TYPES_HELP
from scoring.learnt import BadRecord
from workbench.management.base import WorkbenchCommand
from workbench.models import ModelVersion
from workbench.pipeline.model import promotion, registry
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.text import learnt
from workbench.worker import training

EXAMPLES = """
examples:
  manage.py model_add nicholasKluge/RewardModel --revision 0123456789abcdef0123456789abcdef01234567
  manage.py model_add checkpoints/my-model --name my-model --max-length 400 --activate
"""


class Command(WorkbenchCommand):
    help = (
        "Register a reward model from the model hub or from a folder: a sequence classifier with one output."
    )
    examples = EXAMPLES
    takes_json = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", help="owner/name on the model hub, or the path of a folder")
        parser.add_argument("--revision", help="commit on the hub, 40 hex digits")
        parser.add_argument("--name", help="name of the model here (default: its own name)")
        parser.add_argument(
            "--max-length", type=int, default=512, help="tokens that a text is cut to (default: 512)"
        )
        parser.add_argument(
            "--precision",
            default="exact-order",
            choices=["exact-order", "fp32", "bf16"],
            help="default: exact-order",
        )
        parser.add_argument("--token-types", choices=TOKEN_TYPES, help=TOKEN_TYPES_HELP)
        parser.add_argument("--notice", default="", help="a sentence to show beside its picks")
        parser.add_argument(
            "--activate", action="store_true", help="make this model the active one if none is active"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        version, new = self.register(options)
        if options["activate"] and version.state != ModelVersion.State.ACTIVE:
            try:
                promotion.put_in_place(version)
            except Refused:
                raise CommandError(
                    f"{version} is registered, but not active: {ModelVersion.objects.active()} is. "
                    f'Compare the two with manage.py promote "{version}".'
                ) from None
            # What was activated is another instance of this row.
            version.refresh_from_db()
        if options["json"]:
            self.stdout.write(json.dumps(_facts_for_json(version, new)))
            return
        state = "registered" if new else "was registered before with the same weights and settings"
        self.stdout.write(
            f"{version.name} {state}: {version.parameters:,} parameters, "
            f"weights {version.weights_sha256[:12]}, {version.template}, {version.max_length} tokens, "
            f"{version.precision}."
        )
        if warning := learnt.warning(version.learnt):
            self.stdout.write(warning)
        if version.state != ModelVersion.State.ACTIVE:
            self.stdout.write("It shows no picks until you promote it: manage.py promote, or the Model page.")
        else:
            self.stdout.write("It is active: its picks appear as workers score each dataset.")

    def register(self, options: dict[str, Any]) -> tuple[ModelVersion, bool]:
        from scoring.checkpoint import CheckpointError

        try:
            folder = _folder_of(options["model"], options["revision"])
            check = seed.check_card_examples if options["model"] == seed.REPOSITORY else None
            found = training.inspect(
                folder, options["max_length"], options["precision"], check, options["token_types"]
            )
        except CheckpointError as error:
            raise CommandError(f"{options['model']}: {error}") from None
        except ValueError as error:
            raise CommandError(f"{options['model']} gives wrong scores: {error}") from None
        facts = {
            **found.facts,
            "origin": options["model"] if options["revision"] else folder.name,
            "revision": options["revision"] or "",
            "notice": options["notice"],
        }
        name = options["name"] or options["model"].rstrip("/").rsplit("/", 1)[-1]
        try:
            version, new = registry.register(name=name, folder=folder, files=found.files, facts=facts)
            learnt.remember_folder(version, folder)
        except (Refused, BadRecord) as error:
            raise CommandError(str(error)) from None
        return version, new


def _folder_of(model: str, revision: str | None) -> Path:
    from scoring.checkpoint import CheckpointError, fetch

    if revision:
        return fetch(model, revision)
    folder = Path(model)
    if folder.is_dir():
        return folder.resolve()
    if model.count("/") == 1 and not folder.exists():
        raise CheckpointError("there is no such folder; to fetch the model from the hub, add --revision")
    raise CheckpointError("there is no such folder; check the path")


def _facts_for_json(version: ModelVersion, new: bool) -> dict[str, Any]:
    return {
        "name": version.name,
        "new": new,
        "state": version.state,
        "parameters": version.parameters,
        "weights_sha256": version.weights_sha256,
        "tokenizer_sha256": version.tokenizer_sha256,
        "template": version.template,
        "max_length": version.max_length,
        "precision": version.precision,
        "guard": version.guard,
        "learnt": version.learnt,
    }
