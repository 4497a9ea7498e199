"""Imports that are killed at any moment, and two of the same file at once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, Processes
from workbench.models import Comparison, Completion, Dataset, Judgment, Prompt, PromptKey

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

ROWS = 1500
WORDS = " ".join(f"word{number}" for number in range(25))
DYING = """
import os, signal, sys, django
django.setup()
from pathlib import Path
from workbench.models import Dataset
from workbench.pipeline import imports
def die(phase, done, total):
    if phase == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)
    return True
imports.import_file(Path(sys.argv[1]), Dataset(name="New"), progress=die)
"""

MEASURED = """
import sys
from pathlib import Path
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", *sys.argv[1:]])
(line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
print(int(line.split()[1]) // 1024)
"""


@pytest.fixture
def rows(tmp_path) -> Path:
    path = tmp_path / "rows.jsonl"
    row = {"chosen": "good", "rejected": "bad"}
    path.write_text(
        "".join(
            json.dumps({"prompt": f"{n} {WORDS.replace('9', str(n))}", **row}) + "\n" for n in range(ROWS)
        )
    )
    return path


def spawn(tmp_path: Path, *command: str) -> subprocess.Popen[str]:
    environment = Processes("filesystem://", tmp_path / "log").environment()
    return subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )


def stored() -> list[int]:
    return [model.objects.count() for model in (Dataset, Prompt, Completion, Comparison, Judgment, PromptKey)]


@pytest.mark.parametrize("phase", [pytest.param("grouping", marks=pytest.mark.long), "storing"])
def test_an_import_killed_at_any_step_leaves_nothing(phase, rows, tmp_path):
    dying = spawn(tmp_path, "-c", DYING, str(rows), phase)
    dying.communicate()

    assert dying.returncode == -9
    assert stored() == [0] * 6


def test_of_two_imports_of_one_file_at_once_one_wins_and_nothing_is_doubled(rows, tmp_path):
    both = [spawn(tmp_path, "manage.py", "import_dataset", "New", str(rows), "--json") for _ in range(2)]

    results = [json.loads(process.communicate()[0].splitlines()[-1]) for process in both]

    assert sorted(result["prompts"] for result in results) == [0, ROWS]
    assert sorted(result["already_there"] for result in results) == [0, ROWS]
    assert stored()[:5] == [1, ROWS, 2 * ROWS, ROWS, ROWS]


@pytest.mark.long
def test_an_import_of_texts_of_megabytes_stays_below_500_mb(tmp_path):
    path, size = tmp_path / "long.jsonl", 3_500_000
    with path.open("w") as file:
        for n in range(10):
            words = f"{n:06d} " * (size // 7)
            file.write(json.dumps({"prompt": f"Write, {n}", "chosen": words, "rejected": f"{words}!"}) + "\n")

    importing = spawn(tmp_path, "-c", MEASURED, "import_dataset", "Long", str(path))
    output, _ = importing.communicate()

    assert importing.returncode == 0
    assert Completion.objects.count() == 20
    assert int(output.splitlines()[-1]) < 500, output
