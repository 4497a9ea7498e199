"""A disk that is full: each command that writes says so, keeps nothing by half, and goes on when there is
room."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from django.db import connection

from tests import migrated, services
from tests.backup.places import Place, elsewhere
from tests.factories import ComparisonFactory
from tests.faults.test_workers import FULL
from tests.faults.voters import ITEM
from tests.scoring.models import save_bert
from workbench.models import Judgment

__all__ = ["elsewhere"]

pytestmark = [pytest.mark.services, pytest.mark.long, pytest.mark.django_db(transaction=True)]

DISK_MB = 48
# On PostgreSQL an import writes to the database alone, which has a disk of its own here.
STEPS = [*(["import"] if connection.vendor == "sqlite" else []), "release", "model", "training", "backup"]
VOTES = """
from workbench.models import *
bob = Annotator.objects.create(user=User.objects.create(username="bob"))
for comparison in Comparison.objects.all():
    Judgment.objects.create(comparison=comparison, annotator=bob, outcome="a", left="a", mode="blind")
"""

VECTORS = """
from django.conf import settings
from workbench.models import Dataset
from workbench.pipeline.vectors import run as vectors
from workbench.worker import tasks
settings.ENCODER_FOLDER = ""  # the package's
run = vectors.begin(Dataset.objects.get())
try:
    tasks.carry_out(run.pk)
except OSError:
    pass  # a worker logs it
run.refresh_from_db()
print(run.state, run.error)
"""


class Disk:
    """A small file system, with a workbench on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, left_kb: int) -> None:
        """Leave so many KB free."""
        free = shutil.disk_usage(self.folder).free
        (self.folder / "ballast").write_bytes(bytes(free - left_kb * 1024))

    def make_room(self) -> None:
        (self.folder / "ballast").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    services.require(None if os.geteuid() == 0 else "only root mounts a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", folder], check=True)
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def workbench(disk: Disk, elsewhere: Place, tmp_path: Path) -> Place:
    """With votes on each pair of a dataset. On SQLite, the database is on the small disk too."""
    data = disk.folder / "data"
    data.mkdir()
    database = elsewhere.database
    if connection.vendor == "sqlite":
        database = f"sqlite:///{data / 'workbench.sqlite3'}"
        migrated.copy_to(str(data / "workbench.sqlite3"))
    place = Place(database, data, tmp_path / "workbench.log")
    place.does("migrate", "-v", "0")
    rows = tmp_path / "rows.jsonl"
    write_rows(rows, 60)
    place.does("import_dataset", "Kitchen", str(rows))
    place.does("shell", "-v", "0", "-c", VOTES)
    return place


def write_rows(path: Path, count: int) -> None:
    with path.open("w") as file:
        for number in range(count):
            row = {
                "prompt": f"Question {number}?",
                "chosen": f"a{number} " * 1500,
                "rejected": f"b{number} " * 1500,
            }
            file.write(json.dumps(row) + "\n")


def files_of(folder: Path) -> set[str]:
    """All files but those of the database and its log."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "sqlite3" not in path.name and path.name != "ballast"
    }


def published(folder: Path) -> dict[str, int]:
    """The rows of vectors that a reader finds, by kind."""
    files = (folder / "data" / "vectors").rglob("published")
    return {file.parent.name: json.loads(file.read_text())["rows"] for file in files}


def prepare(step: str, place: Place, tmp_path: Path) -> None:
    """What the step needs, while there is room."""
    if step == "training":
        model = save_bert(tmp_path / "model")
        place.does("model_add", str(model), "--name", "tiny", "--precision", "fp32", "--max-length", "64")
        place.does("release", "Kitchen", "--out", str(tmp_path / "release"))


def command(step: str, disk: Disk, tmp_path: Path) -> tuple[str, ...]:
    if step == "import":
        write_rows(tmp_path / "more.jsonl", 500)
        return ("import_dataset", "More", str(tmp_path / "more.jsonl"))
    if step == "release":
        return ("release", "Kitchen", "--out", str(disk.folder / "out"))
    if step == "model":
        return ("model_add", str(save_bert(tmp_path / "model")), "--name", "tiny", "--precision", "fp32")
    if step == "training":
        return ("train", "Kitchen", "--base", "tiny", "--set", "steps=2", "--set", "max_length=64")
    return ("backup", str(disk.folder / "target"))


@pytest.mark.parametrize("left_kb", [0, 16, 64, 300] if FULL else [0, 64])
@pytest.mark.parametrize("step", STEPS)
def test_a_command_says_that_the_disk_is_full_and_goes_on_when_there_is_room(
    step, left_kb, disk, workbench, tmp_path
):
    prepare(step, workbench, tmp_path)
    arguments = command(step, disk, tmp_path)
    before = files_of(disk.folder)
    disk.fill(left_kb)

    refused = workbench.manage(*arguments)

    assert refused.returncode
    assert "The disk is full" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert files_of(disk.folder) == before
    disk.make_room()
    workbench.does(*arguments)


@pytest.mark.parametrize("left_kb", [0, 64])
def test_vectors_on_a_full_disk_fail_with_the_reason_and_go_on_when_there_is_room(
    left_kb, disk, elsewhere, tmp_path
):
    """The vectors lie in files beside the database, which has a disk of its own here."""
    if connection.vendor == "sqlite":
        database = tmp_path / "workbench.sqlite3"
        migrated.copy_to(str(database))
        elsewhere = replace(elsewhere, database=f"sqlite:///{database}")
    place = replace(elsewhere, data=disk.folder / "data")
    place.data.mkdir()
    place.does("migrate", "-v", "0")
    write_rows(tmp_path / "rows.jsonl", 60)
    place.does("import_dataset", "Kitchen", str(tmp_path / "rows.jsonl"))
    disk.fill(left_kb)

    refused = place.manage("shell", "-v", "0", "-c", VECTORS)

    assert "failed The disk is full. Make room and try again to continue." in refused.stdout
    assert not published(disk.folder)
    assert not list(disk.folder.rglob(".*.*")), "half a file is left"
    disk.make_room()
    assert "done" in place.does("shell", "-v", "0", "-c", VECTORS)
    assert published(disk.folder) == {"prompts": 60, "completions": 120}


@pytest.mark.portable  # SQLite alone has a limit that a test can set
def test_a_vote_on_a_full_disk_is_refused_whole_and_taken_when_there_is_room(dataset, bob, as_user):
    for _ in range(300):
        ComparisonFactory.create(prompt__dataset=dataset)
    client = as_user(bob)
    client.raise_request_exception = False

    def vote(text: str) -> int:
        """The status of the answer to a vote with a comment that needs room."""
        page = client.post(f"/datasets/{dataset.pk}/annotate/next/", {"have": ""}).content.decode()
        comparison, claim, key = ITEM.search(page).groups()
        answer = {"user": bob.pk, "comparison": comparison, "claim": claim, "key": key, "answer": "left"}
        return client.post(f"/datasets/{dataset.pk}/annotate/judge/", answer | {"comment": text}).status_code

    assert vote("") == 302
    with connection.cursor() as cursor:
        cursor.execute("VACUUM")  # what tests before this one deleted would be room as well
        cursor.execute("PRAGMA page_count")
        cursor.execute(f"PRAGMA max_page_count = {cursor.fetchone()[0]}")
        statuses = [vote("long " * 900) for _ in range(20)]
        kept = Judgment.objects.count()
        cursor.execute("PRAGMA max_page_count = 1073741823")

    assert 507 in statuses
    assert kept == 1 + statuses.count(302)
    assert vote("") == 302
