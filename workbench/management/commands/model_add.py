from pathlib import Path

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


class Command(WorkbenchCommand):
    help = (
        "Register a reward model from the model hub or from a folder: a sequence classifier with one output."
    )
    examples = """
examples:
  manage.py model_add nicholasKluge/RewardModel --revision 0123456789abcdef0123456789abcdef01234567
  manage.py model_add checkpoints/my-model --name my-model --max-length 400 --activate
"""
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

    def handle(
        self,
        *,
        model: str,
        revision: str | None,
        name: str | None,
        max_length: int,
        precision: str,
        token_types: str | None,
        notice: str,
        activate: bool,
        **options: object,
    ) -> None:
        from scoring.checkpoint import CheckpointError

        try:
            folder = _folder_of(model, revision)
            check = seed.check_card_examples if model == seed.REPOSITORY else None
            checkpoint = training.inspect(folder, max_length, precision, check, token_types)
        except CheckpointError as error:
            raise CommandError(f"{model}: {error}") from None
        except ValueError as error:
            raise CommandError(f"{model} gives wrong scores: {error}") from None
        facts = {
            **checkpoint.facts,
            "origin": model if revision else folder.name,
            "revision": revision or "",
            "notice": notice,
        }
        name = name or model.rstrip("/").rsplit("/", 1)[-1]
        version, is_new = registry.register(name=name, folder=folder, files=checkpoint.files, facts=facts)
        try:
            learnt.remember_folder(version, folder)
        except BadRecord as error:
            raise CommandError(str(error)) from None
        if activate and version.state != ModelVersion.State.ACTIVE:
            _activate(version)
        self.answer(_in_words(version, is_new), _facts(version, is_new))


def _activate(version: ModelVersion) -> None:
    try:
        promotion.put_in_place(version)
    except Refused:
        raise CommandError(
            f"{version} is registered, but not active: {ModelVersion.objects.active()} is. "
            f'Compare the two with manage.py promote "{version}".'
        ) from None
    version.refresh_from_db()  # another instance of this row was activated


def _in_words(version: ModelVersion, is_new: bool) -> str:
    state = "registered" if is_new else "was registered before with the same weights and settings"
    is_active = version.state == ModelVersion.State.ACTIVE
    settings = (
        f"{version.name} {state}: {version.parameters:,} parameters, weights {version.weights_sha256[:12]}, "
        f"{version.template}, {version.max_length} tokens, {version.precision}."
    )
    lines = [
        settings,
        learnt.warning(version.learnt),
        "It is active: its picks appear as workers score each dataset."
        if is_active
        else "It shows no picks until you promote it: manage.py promote, or the Model page.",
    ]
    return "\n".join(line for line in lines if line)


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


def _facts(version: ModelVersion, is_new: bool) -> dict[str, object]:
    return {
        "name": version.name,
        "new": is_new,
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
