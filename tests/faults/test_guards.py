"""Each guard is taken away, and what it guards against happens. The tests beside these show that it does not
happen with the guard."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from scoring.formats import Pair, Scored
from tests.backup.places import Place, elsewhere, here
from tests.factories import (
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
)
from tests.faults.servers import Server
from tests.faults.test_campaign import dying_web
from tests.faults.test_full_disk import Disk, disk, files_of
from tests.faults.test_workers import cut_off, ended, is_done
from tests.faults.voters import Voter, toll, voters_of, voting
from tests.processes import Processes, wait_until
from workbench.models import Dataset, Judgment, Release, Run, Score, Statistics, Upload
from workbench.pipeline import backup, quality, releases
from workbench.pipeline.backup import taking
from workbench.pipeline.backup.target import Backup, Content, Target, content_of
from workbench.pipeline.quality import charts
from workbench.pipeline.releases import ReleaseError
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.scoring import batches
from workbench.pipeline.vectors import store
from workbench.worker import scorers, tasks
from workbench.worker.celery import app

__all__ = ["disk", "elsewhere", "here"]

pytestmark = [pytest.mark.services, pytest.mark.long, pytest.mark.django_db(transaction=True)]

AWAY = (OperationalError, InterfaceError)


def planned() -> Run:
    """A Run of one batch."""
    prompt = PromptFactory.create()
    CompletionFactory.create_batch(2, prompt=prompt)
    run = batches.plan(prompt.dataset, ModelVersionFactory.create())
    assert run is not None
    return run


# --- the database goes away, and workers wait ---------------------------------------------------------------


@pytest.mark.postgresql
def test_without_workers_that_wait_a_crashed_database_holds_work_up_until_its_lease_ends(
    own_postgresql: Server, monkeypatch, settings
):
    settings.LEASE_SECONDS = 1200
    crashes = [True]

    def score(pairs: Sequence[Pair]) -> list[Scored]:
        if crashes.pop():
            own_postgresql.crash()
        return [Scored(float(len(text)), 1, 1, 0, 0, "fp32") for _, text in pairs]

    def sleep(seconds: float) -> None:
        own_postgresql.start()
        crashes.append(False)

    monkeypatch.setattr(scorers, "load_scorer", lambda version: score)
    monkeypatch.setattr(tasks, "time", SimpleNamespace(sleep=sleep))
    with_guard, without_guard = planned().batches.get(), planned().batches.get()

    tasks.score_batch(with_guard.pk)
    crashes.append(True)
    monkeypatch.setattr(tasks, "hand_back_when_database_is_back", lambda *_: False)
    with pytest.raises(AWAY):
        tasks.score_batch(without_guard.pk)
    connection.close()
    own_postgresql.start()

    for batch in (with_guard, without_guard):
        batch.refresh_from_db()
    assert (with_guard.state, with_guard.attempts, with_guard.scored) == ("done", 1, 2)
    assert (without_guard.state, without_guard.scored) == ("leased", 0)
    assert batches.due(timedelta(seconds=600)) == [], "nobody is told of it"


def test_without_the_look_at_heartbeats_a_run_whose_worker_died_is_never_done(dataset, monkeypatch):
    JudgmentFactory.create(comparison__prompt__dataset=dataset)
    run = quality.begin(dataset)
    assert run.start()
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(hours=1))

    with monkeypatch.context() as without:
        without.setattr(lifecycle, "LOST_AFTER", timedelta(days=365))
        assert lifecycle.due() == []

    (lost,) = lifecycle.due()
    tasks.carry_out(lost.pk)
    assert Statistics.objects.filter(run=run).exists()


# --- Redis forgets, and the reconciler sends again ----------------------------------------------------------


def answers(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url).ping())
    except redis.ConnectionError:
        return False


@pytest.mark.redis
@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_without_the_reconciler_what_redis_has_forgotten_is_never_done(
    processes: Processes, own_redis, monkeypatch
):
    server = own_redis()
    processes.broker_url = server.url
    for name, value in {"broker_url": server.url, "broker_write_url": server.url}.items():
        monkeypatch.setattr(app.conf, name, value)
    monkeypatch.setattr(app, "_pool", None)
    monkeypatch.setattr(app.amqp, "_producer_pool", None)
    run = planned()
    wait_until(lambda: answers(server.url))
    tasks.enqueue_batches()
    assert redis.Redis.from_url(server.url).llen("score") == 1
    server.kill()
    server.wait()
    own_redis()
    wait_until(lambda: answers(server.url))
    assert redis.Redis.from_url(server.url).llen("score") == 0

    worker = processes.worker(WITHOUT="reconcile")
    processes.clock()
    wait_until(lambda: processes.log.read_text().count("reconcile is taken away") >= 3)
    assert not Score.objects.exists()
    assert not is_done(run)

    processes.kill(worker)
    processes.worker()
    ended(run, 120)
    assert Score.objects.count() == 2


# --- the database goes away, and people vote on -------------------------------------------------------------


@contextmanager
def cut_while_people_vote(voters: list[Voter], folder: Path, **environment: str) -> Iterator[None]:
    """The database goes away again and again, until submits have met it."""
    voted_before = 5
    with dying_web(folder, 0, **environment) as (port, _), voting(voters, port):
        wait_until(lambda: toll(voters).acknowledged > voted_before)
        while not (toll(voters).unanswered or toll(voters).errors):
            cut_off(connection.settings_dict["NAME"], 1)
        yield


@pytest.fixture
def large(transactional_db: None) -> Dataset:
    """More pairs than people judge before the database has gone away."""
    dataset = DatasetFactory.create(overlap=2)
    for _ in range(300):
        ComparisonFactory.create(prompt__dataset=dataset)
    return dataset


@pytest.mark.postgresql
def test_without_the_503_people_are_told_of_a_fault_of_the_program(large: Dataset, tmp_path):
    voters = voters_of(large, 8)

    with cut_while_people_vote(voters, tmp_path, WITHOUT="503"):
        wait_until(lambda: toll(voters).errors > 0)

    assert {error[:3] for voter in voters for error in voter.errors} == {"500"}


@pytest.mark.postgresql
def test_without_sending_again_votes_are_lost_while_the_database_is_away(large: Dataset, tmp_path):
    voters = voters_of(large, 8)
    for voter in voters:
        voter.sends_again = False

    with cut_while_people_vote(voters, tmp_path):
        before = toll(voters).acknowledged
        wait_until(lambda: toll(voters).acknowledged > before)

    assert toll(voters).unanswered
    assert sum(voter.given for voter in voters) - toll(voters).acknowledged >= toll(voters).unanswered
    assert toll(voters).errors == 0


# --- a full disk, and files that are written by half --------------------------------------------------------


@pytest.fixture
def files_on_disk(disk: Disk, settings) -> Path:
    """Files and data folder on the small disk; the database is not."""
    settings.DATA_DIR = disk.folder
    options = settings.STORAGES["default"]["OPTIONS"] | {"location": str(disk.folder / "files")}
    default = settings.STORAGES["default"] | {"OPTIONS": options}
    settings.STORAGES = settings.STORAGES | {"default": default}
    return disk.folder


def test_without_whole_files_a_chart_is_left_by_half_and_taken_for_whole(
    dataset, disk: Disk, files_on_disk: Path, settings
):
    JudgmentFactory.create(comparison__prompt__dataset=dataset)
    report = quality.compute(dataset)
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'>" + b"<g></g>" * 30_000 + b"</svg>"

    def stored() -> list[bytes]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(charts, "draw", lambda *_: iter([("pace", svg)]))
            return [Path(default_storage.path(path)).read_bytes() for path in charts.store(dataset, report)]

    disk.fill(64)
    with pytest.raises(OSError, match="No space"):
        stored()
    assert files_of(files_on_disk) == set()

    django_own = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    settings.STORAGES = settings.STORAGES | {"default": settings.STORAGES["default"] | django_own}
    with pytest.MonkeyPatch.context() as without:
        without.setattr(FileSystemStorage, "delete", lambda *_: None)
        with pytest.raises(OSError, match="No space"):
            stored()
    assert files_of(files_on_disk)
    disk.make_room()
    assert stored() != [svg], "a page shows half a picture from now on"


def test_without_the_clean_up_a_build_on_a_full_disk_leaves_its_files(
    dataset, disk: Disk, files_on_disk: Path, monkeypatch
):
    for number in range(5):
        a, b = (f"{letter}{number} " * 20_000 for letter in "ab")
        comparison = ComparisonFactory.create(prompt__dataset=dataset, a__text=a, b__text=b)
        JudgmentFactory.create(comparison=comparison)
    disk.fill(64)

    def build() -> set[str]:
        with pytest.raises(ReleaseError, match="The disk is full"):
            releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))
        return files_of(files_on_disk)

    assert build() == set()
    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", lambda self: self._finalizer.detach())
    assert build()


def test_without_the_clean_up_vectors_on_a_full_disk_leave_half_a_file(
    disk: Disk, files_on_disk: Path, monkeypatch
):
    disk.fill(0)

    def adopt() -> set[str]:
        with pytest.raises(OSError, match="No space"):
            store.adopt(1, "encoder")
        return files_of(files_on_disk)

    assert adopt() == set()
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    assert adopt()


@pytest.fixture
def small_dump(monkeypatch) -> None:
    """A database that is in the target already, so that a backup writes nothing more than its manifest."""
    monkeypatch.setattr(taking, "dump", lambda path: path.write_bytes(b"the database"))


def test_without_whole_files_half_a_manifest_is_in_the_way_of_every_backup(
    disk: Disk, tmp_path: Path, small_dump
):
    files = FileSystemStorage(tmp_path / "files")
    for number in range(100):
        files.save(f"uploads/{number}", ContentFile(b"rows"))
    target = backup.open_target(str(disk.folder / "target"))
    take = partial(backup.take, scratch=tmp_path, storage=files)
    whole = take(target)
    disk.fill(4)

    with pytest.raises(OSError, match="No space"):
        take(target)
    assert target.names() == [whole.name]

    without_guard = Target(FileSystemStorage(disk.folder / "target"))
    with pytest.raises(OSError, match="No space"):
        take(without_guard)
    disk.make_room()
    assert len(target.names()) == 2
    with pytest.raises(Refused, match="is damaged"):
        take(target)


# --- the order of a backup ----------------------------------------------------------------------------------


@pytest.fixture
def restored(here: Place, elsewhere: Place, tmp_path: Path):
    """Take a backup and restore it elsewhere: the Judgments there, and the files that rows name and that are
    missing."""

    def restored() -> tuple[set[int], set[str]]:
        target = backup.open_target(str(tmp_path / "target"))
        backup.take(target, tmp_path)
        elsewhere.does("restore", str(tmp_path / "target"))
        rows = elsewhere.does("shell", "-v", "0", "-c", ROWS).splitlines()
        votes, paths = rows[0].split(), rows[1].split()
        missing = {path for path in paths if not (elsewhere.data / "files" / path).exists()}
        return set(map(int, votes)), missing

    return restored


ROWS = """
from workbench.models import Judgment, Upload
print(*Judgment.objects.values_list("pk", flat=True))
print(*Upload.objects.values_list("path", flat=True))
"""


def upload(dataset: Dataset) -> Upload:
    """A file that is acknowledged: stored, with its row."""
    path = default_storage.save("uploads/late", ContentFile(b"rows"))
    return Upload.objects.create(dataset=dataset, shown_name="late", path=path, size=4, sha256="0" * 64)


@pytest.mark.parametrize("is_copied_again", [True, False])
def test_without_a_copy_after_the_dump_a_file_acknowledged_before_the_mark_is_missing(
    is_copied_again, restored, dataset, monkeypatch
):
    copy, rounds = taking._copy_files, []

    def in_rounds(*arguments: object) -> None:
        rounds.append(len(rounds))
        if is_copied_again or len(rounds) < 3:
            copy(*arguments)
        if len(rounds) == 2:
            upload(dataset)

    monkeypatch.setattr(taking, "_copy_files", in_rounds)

    _, missing = restored()

    assert missing == (set() if is_copied_again else {Upload.objects.get().path})


@pytest.mark.parametrize("is_before", [True, False])
def test_with_its_mark_after_the_dump_a_backup_lacks_votes_acknowledged_before_it(
    is_before, restored, dataset, monkeypatch
):
    dump, marks = taking.dump, []

    def dumped(path: Path) -> None:
        dump(path)
        JudgmentFactory.create(comparison__prompt__dataset=dataset)

    def marked(made_at: str, *facts: object) -> Backup:
        marks.append(made_at if is_before else datetime.now(UTC).isoformat())
        return Backup(marks[0], *facts)

    JudgmentFactory.create(comparison__prompt__dataset=dataset)
    monkeypatch.setattr(taking, "dump", dumped)
    monkeypatch.setattr(taking, "Backup", marked)

    votes, _ = restored()

    before = Judgment.objects.filter(created_at__lt=datetime.fromisoformat(marks[0]))
    assert (set(before.values_list("pk", flat=True)) <= votes) == is_before
    assert Judgment.objects.count() == 2


class ManifestFirst(Target):
    """A target that writes the manifest before what it names."""

    def add(self, file) -> Content:
        return content_of(file)

    def write(self, backup: Backup) -> None:
        super().write(backup)
        raise OSError("killed")


def test_with_the_manifest_first_a_killed_backup_is_listed_and_cannot_be_restored(tmp_path: Path, small_dump):
    files = FileSystemStorage(tmp_path / "files")
    files.save("uploads/1", ContentFile(b"rows"))
    target = backup.open_target(str(tmp_path / "target"))

    with pytest.raises(OSError, match="killed"):
        backup.take(ManifestFirst(target.storage), tmp_path, storage=files)

    (name,) = target.names()
    with pytest.raises(Refused, match="is missing"):
        backup.restore(target, name, tmp_path, storage=FileSystemStorage(tmp_path / "elsewhere"))


def test_without_the_digests_half_a_file_is_restored(tmp_path: Path, small_dump, monkeypatch):
    files = FileSystemStorage(tmp_path / "files")
    files.save("uploads/1", ContentFile(b"rows"))
    target = backup.open_target(str(tmp_path / "target"))
    taken = backup.take(target, tmp_path, storage=files)
    Path(target.storage.path(taken.files["uploads/1"].name)).write_bytes(b"ro")
    there = FileSystemStorage(tmp_path / "elsewhere")

    with pytest.raises(Refused, match="is damaged"):
        backup.restore(target, taken.name, tmp_path, storage=there)
    assert not there.exists("uploads/1")

    def unchecked(self: Target, content: Content) -> list[bytes]:
        return [Path(self.storage.path(content.name)).read_bytes()]

    monkeypatch.setattr(Target, "blocks", unchecked)
    with pytest.raises(Refused):  # the dump of this test is no database
        backup.restore(target, taken.name, tmp_path, storage=there)
    assert Path(there.path("uploads/1")).read_bytes() == b"ro"
