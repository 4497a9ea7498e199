"""Names that other programs read: profiles and manifests of Releases, `--json` of commands, settings, and the
columns that an import knows. frozen.json holds them. A change breaks programs, so it needs a line in the
changelog; `FREEZE=1 pytest tests/test_frozen.py` then writes the file."""

import json
import os
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import CommandError

from scoring.rows.shapes import SHAPES
from scoring.rows.shapes.mapped import COLUMN_WORDS, OUTCOME_WORDS
from tests.factories import UserFactory
from tests.releases.test_push import hub  # noqa: F401
from tests.scoring.models import save_bert, sentence
from workbench.models import Release
from workbench.pipeline.releases.profiles import PROFILES

FILE = Path(__file__).parent / "frozen.json"
# Keys that are names of the user's, not ours: files, models, profiles, and the labels of slices.
DATA = re.compile(
    r"^(\d+|.*\.(md|jsonl|json|parquet|csv)|preference|aira|soft-label|longest|random|untrained)$"
)


def frozen(part: str, names: Any) -> None:
    """Assert that these are the frozen names of this part, or freeze them."""
    kept = json.loads(FILE.read_text()) if FILE.exists() else {}
    if os.environ.get("FREEZE"):
        FILE.write_text(json.dumps(kept | {part: names}, indent=1, sort_keys=True) + "\n")
        return
    assert names == kept[part], "see the first lines of this file"


def keys(value: Any, path: str = "") -> Iterator[str]:
    """Every path to a value: "model.accuracy", "conditions[].met"; "*" stands for names of the user's."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from keys(inner, f"{path}.{'*' if DATA.match(name) else name}")
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from keys(inner, f"{path}[]")
    else:
        yield path.removeprefix(".")


def test_the_columns_of_each_profile_are_frozen():
    frozen("profiles", {name: dict(profile.columns) for name, profile in PROFILES.items()})


def test_the_columns_that_tell_a_shape_and_the_words_for_columns_are_frozen():
    frozen("shapes", {name: sorted(shape.columns) for name, shape in SHAPES.items()})
    frozen("columns that can be named", sorted([*COLUMN_WORDS, *OUTCOME_WORDS]))


def test_the_environment_variables_are_frozen():
    reference = (Path(__file__).parent.parent / "docs/reference/settings.md").read_text()
    frozen("settings", sorted(re.findall(r"^\| `(\w+)` \|", reference, re.MULTILINE)))


@pytest.mark.usefixtures("hub")
@pytest.mark.django_db(transaction=True)
def test_what_commands_print_for_programs_and_the_manifest_are_frozen(tmp_path):
    printed: dict[str, list[str]] = {}

    def manage(command: str, *arguments: str, **options: Any) -> None:
        out = StringIO()
        try:
            call_command(command, *arguments, stdout=out, stderr=StringIO(), json=True, **options)
        except CommandError:
            if not out.getvalue():  # else it says no, and says it to programs as well
                raise
        printed_keys = keys(json.loads(out.getvalue().splitlines()[-1]))
        if options.get("dry_run"):
            command += " --dry-run"
        printed[command] = sorted({*printed.get(command, []), *printed_keys})

    rows = (
        {"prompt": f"{sentence(10, n)} {n}", "chosen": f"{sentence(3, n)} water", "rejected": sentence(4, -n)}
        for n in range(1, 61)
    )
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {}]))
    (tmp_path / "known.txt").write_text(f"{sentence(10, 1)} 1\n")
    UserFactory.create(username="ada", is_staff=True, is_superuser=True)
    tiny = save_bert(tmp_path / "tiny")
    settings = ["learning_rate=3e-3", "batch=16", "steps=30", "dropout=0", "max_length=48", "evaluations=2"]

    manage("import_dataset", "Weather", str(tmp_path / "rows.jsonl"), lenient=True)
    manage("model_add", str(tiny), name="untrained", precision="fp32", max_length=48, activate=True)
    manage("score", "Weather")
    manage("models")
    manage("evaluate", "untrained", on="Weather")
    manage("release", "Weather", out=tmp_path / "1")
    manage("release", "Weather", out=tmp_path / "2", profile=["preference"])
    manage("release_verify", "Weather")
    manage("release_diff", "Weather", "1", "2")
    manage("release_leakage", "Weather", against=[tmp_path / "known.txt"])
    manage("release_push", "Weather", "1", "team/weather")
    manage("train", "Weather", number=1, name="rainy", set=settings)
    manage("promote", "rainy", on="Weather", dry_run=True)
    manage("promote", "rainy", on="Weather", override=True, by="ada", reason="The client asked for it.")
    manage("rollback", by="ada")
    manage("statistics", "Weather")
    manage("workers")
    manage("backup", str(tmp_path / "backups"))

    frozen("commands", printed)
    frozen("manifest", sorted(set(keys(Release.objects.get(number=1).manifest))))
    parsers = {
        name: load_command_class(app, name).create_parser("manage.py", name)
        for name, app in get_commands().items()
        if app == "workbench"
    }
    takes_json = {name for name, parser in parsers.items() if "--json" in parser._option_string_actions}
    assert {name.split()[0] for name in printed} == takes_json
