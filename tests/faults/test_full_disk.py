"""A disk that is full: each command that writes says so, keeps nothing by half, and goes on when there is
room."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.http import HttpResponse
from django.test import Client

from scoring.formats import Pair, Scored
from tests import services
from tests.api.conftest import token_of
from tests.backup.places import Place, elsewhere, here
from tests.factories import (
    ComparisonFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    UserFactory,
)
from tests.faults.test_workers import FULL
from tests.faults.voters import ITEM
from tests.hub.conftest import hub
from tests.hub.standin import Repository
from tests.scoring.models import save_bert
from workbench.db.away import DISK_IS_FULL as FULL_DISK_OF_RUNS
from workbench.models import Dataset, Judgment, Member, Role, Run, ScoreBatch, Upload, User
from workbench.pipeline.hub import fetching
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.scoring import batches
from workbench.pipeline.scoring.batches import DISK_IS_FULL
from workbench.worker import scorers, tasks

__all__ = ["elsewhere", "here", "hub"]

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

FILLING = """
import shutil
from pathlib import Path

ballast = Path({folder!r}, "ballast")

def fill():
    ballast.unlink(missing_ok=True)
    free = shutil.disk_usage({folder!r}).free
    ballast.write_bytes(bytes(free - {left_kb} * 1024))

def make_room():
    ballast.unlink()
"""

SCORING = """
import json
from types import SimpleNamespace
from scoring.formats import Scored
from workbench.models import *
from workbench.pipeline.scoring import batches
from workbench.worker import scorers, tasks

said = []

def score(pairs):
    if len(said) < 3:
        fill()  # again: a connection that ends gives back the room of its log
    return [Scored(float(len(text)), 1, 1, 0, 0, "fp32") for _, text in pairs]

def sleep(seconds):  # of the worker that waits
    said.append(Run.objects.get(pk=run.pk).error)
    if len(said) == 3:
        make_room()

version = ModelVersion.objects.create(name="fake", kind="transformer", weights_sha256="0" * 64)
run = batches.plan(Dataset.objects.get(), version)
scorers.load_scorer = lambda version: score
tasks.time = SimpleNamespace(sleep=sleep)
(batch,) = run.batches.all()
tasks.score_batch(batch.pk)
run.refresh_from_db()
batches = list(run.batches.values_list("state", "attempts"))
scores = list(version.scores.values_list("completion", flat=True))
print(json.dumps([run.state, run.error, run.result, batches, scores, said]))
"""

STATISTICS = """
import json
from datetime import timedelta
from django.db import OperationalError
from django.utils import timezone
from workbench.models import *
from workbench.pipeline import quality
from workbench.pipeline.runs import lifecycle
from workbench.worker import tasks

said, plain = [], tasks.ACTS["statistics"]

def act(run):
    if not said:
        fill()
        said.append("full")
    return plain(run)

def state():
    return Run.objects.values_list("state", "error").get(pk=run.pk)

tasks.ACTS["statistics"] = act
run = quality.begin(Dataset.objects.get())
try:
    tasks.carry_out(run.pk)
except (OSError, OperationalError):
    pass  # a worker logs it
said += state(), [str(path) for path in Path({folder!r}).rglob("*.svg")], Statistics.objects.count()
make_room()
lifecycle.retry(run)  # by a person, where it has failed
Run.objects.filter(state="running").update(heartbeat_at=timezone.now() - timedelta(minutes=5))
for due in lifecycle.due():
    tasks.carry_out(due.pk)
print(json.dumps([said, state(), Statistics.objects.count()]))
"""


class Disk:
    """A small file system, with a workbench on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, left_kb: int) -> None:
        """Leave so many KB free, also where it is full already."""
        (self.folder / "ballast").unlink(missing_ok=True)
        free = shutil.disk_usage(self.folder).free
        (self.folder / "ballast").write_bytes(bytes(free - left_kb * 1024))

    def make_room(self) -> None:
        (self.folder / "ballast").unlink()


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Disk]:
    services.require(None if os.geteuid() == 0 else "only root mounts a file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, DISK_MB) as disk:
        yield disk


@pytest.fixture
def workbench(disk: Disk, elsewhere: Place, tmp_path: Path) -> Place:
    """With votes on each pair of a dataset. On SQLite, the database is on the small disk too."""
    data = disk.folder / "data"
    data.mkdir()
    place = replace(elsewhere, data=data)
    if connection.vendor == "sqlite":
        place.database = f"sqlite:///{data / 'workbench.sqlite3'}"
    place.has_tables()
    rows = tmp_path / "rows.jsonl"
    write_rows(rows, 60)
    place.does("import_dataset", "Kitchen", str(rows))
    place.does("shell", "-v", "0", "-c", VOTES)
    return place


def without_database(elsewhere: Place, disk: Disk, tmp_path: Path) -> Place:
    """A workbench with its files on the small disk, and its database elsewhere."""
    place = replace(elsewhere, data=disk.folder / "data")
    if connection.vendor == "sqlite":
        place.database = f"sqlite:///{tmp_path / 'workbench.sqlite3'}"
    place.data.mkdir()
    place.has_tables()
    write_rows(tmp_path / "rows.jsonl", 60)
    place.does("import_dataset", "Kitchen", str(tmp_path / "rows.jsonl"))
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


@pytest.mark.parametrize("step", STEPS)
def test_a_command_says_that_the_disk_is_full_and_goes_on_when_there_is_room(step, disk, workbench, tmp_path):
    prepare(step, workbench, tmp_path)
    arguments = command(step, disk, tmp_path)
    before = files_of(disk.folder)
    for left_kb in [0, 16, 64, 300] if FULL else [0, 64]:
        disk.fill(left_kb)

        refused = workbench.manage(*arguments)

        assert refused.returncode
        assert "The disk is full" in refused.stderr
        assert "Traceback" not in refused.stderr
        assert files_of(disk.folder) == before
    disk.make_room()
    workbench.does(*arguments)


def test_vectors_on_a_full_disk_fail_with_the_reason_and_go_on_when_there_is_room(disk, elsewhere, tmp_path):
    """The vectors lie in files beside the database, which has a disk of its own here."""
    place = without_database(elsewhere, disk, tmp_path)
    for left_kb in [0, 64]:
        disk.fill(left_kb)

        refused = place.manage("shell", "-v", "0", "-c", VECTORS)

        assert "failed The disk is full. Make room and try again to continue." in refused.stdout
        assert not published(disk.folder)
        assert not list(disk.folder.rglob(".*.*")), "half a file is left"
    disk.make_room()
    assert "done" in place.does("shell", "-v", "0", "-c", VECTORS)
    assert published(disk.folder) == {"prompts": 60, "completions": 120}


def in_one_process(code: str, place: Place, disk: Disk, left_kb: int) -> list[Any]:
    """What the code prints. It fills the disk, and makes room."""
    filling = FILLING.format(folder=str(disk.folder), left_kb=left_kb)
    return json.loads(
        place.does("shell", "-v", "0", "-c", filling + code.replace("{folder!r}", repr(str(disk.folder))))
    )


@pytest.mark.portable  # PostgreSQL has a test of its own
@pytest.mark.parametrize("left_kb", [0, 16, 64] if FULL else [0, 16])
def test_scoring_on_a_full_disk_waits_and_goes_on_when_there_is_room(left_kb, disk, workbench):
    before = files_of(disk.folder)

    state, error, result, batches, scores, said = in_one_process(SCORING, workbench, disk, left_kb)

    assert (state, error, result) == ("done", "", {"scored": 120, "failed": 0})
    assert batches == [["done", 1]], "a full disk is no fault of a text, and costs no attempt"
    assert len(scores) == len(set(scores)) == 120
    assert len(said) == 3, "the worker waited until there was room"
    assert {*said} <= {"", DISK_IS_FULL}
    assert left_kb == 0 or DISK_IS_FULL in said, "the page of the Run says why it waits"
    assert not {path for path in files_of(disk.folder) - before if "broker" not in path}


def all_charts_are_whole(disk: Disk) -> bool:
    charts = [path.read_bytes() for path in disk.folder.rglob("*.svg")]
    return bool(charts) and all(chart.rstrip().endswith(b"</svg>") for chart in charts)


@pytest.mark.parametrize("left_kb", [0, 24])
def test_charts_on_a_full_disk_fail_the_run_with_the_reason_and_are_drawn_when_there_is_room(
    left_kb, disk, elsewhere, tmp_path
):
    """The charts lie in files beside the database, which has a disk of its own here."""
    place = without_database(elsewhere, disk, tmp_path)

    (_, then, charts, reports), now, stored = in_one_process(VOTES + STATISTICS, place, disk, left_kb)

    assert then == ["failed", FULL_DISK_OF_RUNS]
    assert (charts, reports) == ([], 0)
    assert (now, stored) == (["done", ""], 1)
    assert all_charts_are_whole(disk)


@pytest.mark.portable  # PostgreSQL has a test of its own
@pytest.mark.parametrize("left_kb", [0, 16])
def test_figures_that_a_full_database_cannot_take_are_computed_again_when_there_is_room(
    left_kb, disk, workbench
):
    """Not even the reason can be stored, so the Run looks like one whose worker has died."""
    (_, then, charts, reports), now, stored = in_one_process(STATISTICS, workbench, disk, left_kb)

    assert then[0] in ("running", "failed")
    assert (charts, reports) == ([], 0)
    assert (now, stored) == (["done", ""], 1)
    assert all_charts_are_whole(disk)


FILES = """
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
for name in "ab":
    default_storage.save(f"uploads/{name}", ContentFile(name.encode() * 1_000_000))
"""
COUNT = "from workbench.models import Judgment, User; print(User.objects.count(), Judgment.objects.count())"


def test_a_restore_to_a_full_disk_says_so_and_goes_on_when_there_is_room(
    disk, here, elsewhere, dataset, tmp_path
):
    """There is room for no file, for one, or for both and not for the database."""
    JudgmentFactory.create(comparison__prompt__dataset=dataset)
    here = replace(here, data=tmp_path / "here")  # with no file of another test
    here.does("shell", "-v", "0", "-c", FILES)
    here.does("backup", str(tmp_path / "target"))
    place = replace(elsewhere, data=disk.folder / "data")
    place.data.mkdir()
    if connection.vendor == "sqlite":
        place.database = f"sqlite:///{place.data / 'workbench.sqlite3'}"
    for left_kb in [0, 1200, 4500] if connection.vendor == "sqlite" else [0, 1200]:
        disk.fill(left_kb)

        refused = place.manage("restore", str(tmp_path / "target"))

        assert refused.returncode
        assert "The disk is full" in refused.stderr
        assert "Traceback" not in refused.stderr
        left = {path.stat().st_size for path in (place.data / "files").rglob("*") if path.is_file()}
        assert left <= {1_000_000}, "half a file is left"
    disk.make_room()
    place.does("restore", str(tmp_path / "target"))
    there = [place.does("shell", "-v", "0", "-c", COUNT), here.does("shell", "-v", "0", "-c", COUNT)]
    assert there[0] == there[1]
    for name in "ab":
        assert (place.data / "files" / "uploads" / name).read_bytes() == name.encode() * 1_000_000


@pytest.fixture
def files_on_disk(disk: Disk, settings: Any) -> None:
    """The product's files lie on the small disk; the database does not."""
    options = settings.STORAGES["default"]["OPTIONS"] | {"location": str(disk.folder / "files")}
    default = settings.STORAGES["default"] | {"OPTIONS": options}
    settings.STORAGES = settings.STORAGES | {"default": default}


@pytest.fixture
def temporary_on_disk(disk: Disk, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So do the system's temporary files; the product's files do not."""
    monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))


PLACES = ["files_on_disk", "temporary_on_disk"]


@pytest.mark.parametrize("left_kb", [0, 64])
@pytest.mark.parametrize("place", PLACES)
def test_a_fetch_from_the_hub_to_a_full_disk_says_so_and_is_tried_again(
    place, left_kb, disk, dataset, alice, hub, request
):
    request.getfixturevalue(place)
    content = b'{"prompt": "Why?", "chosen": "So.", "rejected": "No."}\n' * 20_000
    hub.repositories["acme/votes"] = repository = Repository()
    repository.commit({"train.jsonl": content})
    run = fetching.begin(dataset, fetching.Order("acme/votes", "main", "train.jsonl"), alice)
    before = files_of(disk.folder)
    disk.fill(left_kb)

    with pytest.raises(OSError, match="No space left"):
        tasks.carry_out(run.pk)

    run.refresh_from_db()
    assert (run.state, run.error) == ("failed", FULL_DISK_OF_RUNS)
    assert not Upload.objects.exists()
    assert files_of(disk.folder) == before
    disk.make_room()
    assert lifecycle.retry(run)
    tasks.carry_out(run.pk)
    with default_storage.open(Upload.objects.get().path) as file:
        assert file.read() == content


@pytest.mark.parametrize("left_kb", [0, 64])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("by", ["page", "api"])
def test_an_upload_to_a_full_disk_is_answered_507_and_taken_when_there_is_room(
    by, place, left_kb, disk, dataset, alice, as_user, request
):
    request.getfixturevalue(place)
    client = as_user(alice)
    client.raise_request_exception = False
    content = b'{"prompt": "Why?", "chosen": "So.", "rejected": "No."}\n' * 20_000
    token = {"Authorization": f"Bearer {token_of(alice)}"}

    def send() -> HttpResponse:
        if by == "page":
            file = SimpleUploadedFile("rows.jsonl", content)
            return client.post(f"/datasets/{dataset.pk}/import/", {"file": file})
        address = f"/api/v1/datasets/{dataset.pk}/uploads?name=rows.jsonl"
        return client.post(address, content, "application/octet-stream", headers=token)

    before = files_of(disk.folder)
    disk.fill(left_kb)

    refused = send()

    assert (refused.status_code, "disk is full" in refused.content.decode()) == (507, True)
    assert not Upload.objects.exists()
    assert files_of(disk.folder) == before
    disk.make_room()
    assert send().status_code == {"page": 302, "api": 201}[by]
    with default_storage.open(Upload.objects.get().path) as file:
        assert file.read() == content


def voter(dataset: Dataset, bob: User, client: Client) -> Callable[[str], int]:
    """Votes with a comment, which needs room; gives the status of the answer."""
    client.raise_request_exception = False

    def vote(comment: str) -> int:
        page = client.post(f"/datasets/{dataset.pk}/annotate/next/", {"have": ""}).content.decode()
        comparison, claim, key = ITEM.search(page).groups()
        answer = {"user": bob.pk, "comparison": comparison, "claim": claim, "key": key, "answer": "left"}
        answer |= {"comment": comment}
        return int(client.post(f"/datasets/{dataset.pk}/annotate/judge/", answer).status_code)

    return vote


@pytest.mark.portable  # SQLite alone has a limit that a test can set
def test_a_vote_on_a_full_disk_is_refused_whole_and_taken_when_there_is_room(dataset, bob, as_user):
    for _ in range(300):
        ComparisonFactory.create(prompt__dataset=dataset)
    vote = voter(dataset, bob, as_user(bob))

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


@pytest.fixture
def postgresql_disk(postgresql_folder: Path) -> Iterator[Disk]:
    """The small disk of a PostgreSQL of the test's own: named before `own_postgresql`."""
    with mounted(postgresql_folder, 256) as disk:
        yield disk


@pytest.mark.postgresql
def test_postgresql_on_a_full_disk_refuses_votes_whole_and_lets_scoring_wait(
    postgresql_disk, own_postgresql, as_user, monkeypatch
):
    dataset, bob = DatasetFactory.create(), UserFactory.create()
    Member.objects.create(dataset=dataset, user=bob, role=Role.ANNOTATOR)
    for _ in range(60):
        ComparisonFactory.create(prompt__dataset=dataset)
    vote = voter(dataset, bob, as_user(bob))
    monkeypatch.setattr(ScoreBatch, "MAX_SIZE", 30)
    run = batches.plan(dataset, ModelVersionFactory.create())
    waits: list[str] = []

    def sleep(seconds: float) -> None:
        waits.append(Run.objects.get(pk=run.pk).error)
        if len(waits) == 3:
            postgresql_disk.make_room()

    def score(pairs: Sequence[Pair]) -> list[Scored]:
        return [Scored(float(len(text)), 1, 1, 0, 0, "fp32") for _, text in pairs]

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_switch_wal()")  # a server that can't begin the next file of its log stops
    connection.close()  # the first connection after the last change of a table writes what the next ones read
    assert vote("") == 302
    postgresql_disk.fill(0)
    statuses = [vote(f"{number} {os.urandom(2000).hex()}") for number in range(20)]
    kept = Judgment.objects.count()
    monkeypatch.setattr(scorers, "load_scorer", lambda version: score)
    monkeypatch.setattr(tasks, "time", SimpleNamespace(sleep=sleep))
    for batch in run.batches.all():
        tasks.score_batch(batch.pk)

    assert set(statuses) <= {302, 507}
    assert 507 in statuses
    assert kept == 1 + statuses.count(302)
    run.refresh_from_db()
    assert (run.state, run.error, run.result) == ("done", "", {"scored": 120, "failed": 0})
    assert set(run.batches.values_list("state", "attempts")) == {("done", 1)}
    assert len(waits) == 3
    assert vote(os.urandom(2000).hex()) == 302
