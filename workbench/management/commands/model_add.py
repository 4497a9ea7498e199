from pathlib import Path

from django.core.management.base import CommandError, CommandParser

from scoring import seed
from scoring.config import TEMPLATE_HELP, TEMPLATES, TOKEN_TYPES, TOKEN_TYPES_HELP
from scoring.learnt import BadRecord
from workbench.management.base import WorkbenchCommand
from workbench.models import ModelVersion
from workbench.pipeline.model import adding
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
            "--max-length",
            type=int,
            help="tokens that a text is cut to (default: 512, for chat 4,096, or all that the model has)",
        )
        parser.add_argument(
            "--precision",
            default="exact-order",
            choices=["exact-order", "fp32", "bf16"],
            help="default: exact-order",
        )
        parser.add_argument("--template", choices=TEMPLATES, help=TEMPLATE_HELP)
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
        max_length: int | None,
        precision: str,
        template: str | None,
        token_types: str | None,
        notice: str,
        activate: bool,
        **options: object,
    ) -> None:
        from scoring.adapter import base_named, opened  # takes seconds to import
        from scoring.checkpoint import CheckpointError

        order = adding.Order(
            name=name or model.rstrip("/").rsplit("/", 1)[-1],
            max_length=max_length,
            precision=precision,
            token_types=token_types or "",
            template=template or "",
            notice=notice,
            repository=model if revision or model == seed.REPOSITORY else "",
            revision=revision or "",
            activate=activate,
        )
        try:
            named = _folder_of(model, revision)
            origin = model if revision else named.name
            if base := base_named(named):
                origin = adding.of_adapter(origin, *base)
            facts = {"origin": origin[:300], "revision": revision or ""}
            with opened(named, is_fetched=bool(revision)) as folder:
                checkpoint = training.inspect_ordered(folder, order)
                added = adding.add(order, folder, checkpoint, facts)
        except CheckpointError as error:
            raise CommandError(f"{model}: {error}") from None
        except (Refused, BadRecord) as error:
            raise CommandError(str(error)) from None
        except ValueError as error:
            raise CommandError(f"{model} gives wrong scores: {error}") from None
        version = added.version
        if activate and not added.serves:
            raise CommandError(
                f"{version} is registered, but not active: {ModelVersion.objects.active()} is. "
                f'Compare the two with manage.py promote "{version}".'
            )
        self.answer(_in_words(version, added.is_new), _facts(version, added.is_new))


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
