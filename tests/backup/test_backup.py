"""What a target keeps, and what is refused. The drill is in test_drill.py."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import CommandError, call_command
from django.utils import timezone

from tests.conftest import output_of
from workbench import health
from workbench.models import AuditEvent, Run
from workbench.pipeline import backup
from workbench.pipeline.backup.target import Backup, Target
from workbench.pipeline.runs.progress import Cancelled, Refused

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return backup.open_target(str(tmp_path / "target"))


@pytest.fixture
def files(tmp_path: Path) -> FileSystemStorage:
    storage = FileSystemStorage(tmp_path / "files", base_url=None)
    storage.save("models/1/weights", ContentFile(b"weights"))
    storage.save("uploads/a.jsonl", ContentFile(b"rows"))
    return storage


@pytest.fixture
def take(target, files, tmp_path):
    return lambda **changes: backup.take(target, tmp_path, storage=files, **changes)


def contents(target: Target) -> set[bytes]:
    return {path.read_bytes() for path in Path(target.storage.path("content")).rglob("*") if path.is_file()}


def test_a_backup_holds_every_file_and_the_database(take, target):
    taken = take()

    assert set(taken.files) == {"models/1/weights", "uploads/a.jsonl"}
    assert contents(target) >= {b"weights", b"rows"}
    assert target.read(taken.name) == taken


def test_a_file_is_kept_once_however_many_backups_hold_it(take, target):
    first, second = take(), take()

    assert first.files == second.files
    assert len(list(Path(target.storage.path("content")).rglob("*/*"))) == len(
        first.contents | second.contents
    )


def test_others_can_read_no_file_of_a_backup(take, target):
    take()

    modes = [path.stat().st_mode & 0o077 for path in Path(target.storage.path("")).rglob("*")]
    assert modes
    assert not any(modes)


def test_a_file_that_comes_while_others_are_copied_is_in_the_backup(take, files):
    def progress(done: int, total: int) -> bool:
        if not files.exists("late"):
            files.save("late", ContentFile(b"late"))
        return True

    assert "late" in take(progress=progress).files


def test_progress_ends_at_the_number_of_files(take):
    told = []

    take(progress=lambda done, total: told.append((done, total)) or True)

    assert told == [(1, 2), (2, 2)]


def test_what_a_killed_backup_has_left_is_written_again(take, target):
    taken = take()
    half = Path(target.storage.path(taken.files["models/1/weights"].name))
    half.write_bytes(b"wei")

    take()

    assert half.read_bytes() == b"weights"


def test_a_cancelled_backup_is_none(take, target):
    with pytest.raises(Cancelled):
        take(progress=lambda done, total: False)

    assert target.names() == []


def test_only_the_latest_are_kept_and_what_only_old_ones_hold_goes_a_day_later(
    take, target, files, monkeypatch
):
    take()
    files.delete("uploads/a.jsonl")
    newest = take()

    assert backup.forget_old(target, 1) == 1
    assert target.names() == [newest.name]
    assert b"rows" in contents(target), "a backup under way may need it"
    later = timezone.now() + timedelta(days=2)
    monkeypatch.setattr("django.utils.timezone.now", lambda: later)
    backup.forget_old(target, 1)
    assert b"rows" not in contents(target)
    assert b"weights" in contents(target)


def test_a_damaged_manifest_is_refused(take, target, tmp_path):
    taken = take()
    path = Path(target.storage.path(f"{taken.name}.json"))
    path.write_text(path.read_text().replace("uploads/a.jsonl", "uploads/b.jsonl"))

    with pytest.raises(Refused, match="is damaged"):
        backup.restore(target, taken.name, tmp_path)


@pytest.mark.parametrize("what", ["models/1/weights", "database"])
def test_a_damaged_content_is_refused_by_name_and_the_database_stays_as_it_was(take, target, tmp_path, what):
    taken = take()
    content = taken.dump if what == "database" else taken.files[what]
    path = Path(target.storage.path(content.name))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    elsewhere = FileSystemStorage(tmp_path / "elsewhere", base_url=None)

    with pytest.raises(Refused, match=f"{content.name} is damaged"):
        backup.restore(target, taken.name, tmp_path, storage=elsewhere)

    assert not elsewhere.exists("models/1/weights") or what == "database"


def test_a_restore_that_was_killed_goes_on(take, target, files, tmp_path):
    taken = take()
    elsewhere = FileSystemStorage(tmp_path / "elsewhere", base_url=None)
    elsewhere.save("models/1/weights", ContentFile(b"wei"))

    backup.restore(target, taken.name, tmp_path, storage=elsewhere)

    with elsewhere.open("models/1/weights") as file:
        assert file.read() == b"weights"


def test_nothing_is_restored_over_a_workbench_with_people(take, target, tmp_path, alice):
    taken = take()

    with pytest.raises(Refused, match="not empty"):
        backup.restore(target, taken.name, tmp_path)


def changed(target: Target, taken: Backup, **changes: object) -> str:
    facts = json.loads(taken.as_json()) | changes
    other = Backup(**facts | {"dump": taken.dump, "files": taken.files})
    target.write(other)
    return other.name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"migrations": {"workbench": "9999_future"}}, "a later version of the workbench"),
        ({"format": 2}, "a later version of the workbench"),
    ],
)
def test_a_backup_of_a_later_version_is_refused(take, target, tmp_path, changes, said):
    name = changed(target, take(), **changes)

    with pytest.raises(Refused, match=said):
        backup.restore(target, name, tmp_path)


def test_a_backup_of_the_other_database_is_refused_with_what_to_set(take, target, tmp_path):
    taken = take()
    other = {"sqlite": "postgresql", "postgresql": "sqlite"}[taken.database]

    with pytest.raises(Refused, match="set DATABASE_URL"):
        backup.restore(target, changed(target, taken, database=other), tmp_path)


def test_no_folder_among_the_files_themselves_is_a_target():
    with pytest.raises(Refused, match="lies among the files"):
        backup.open_target(default_storage.path("backups"))


def test_the_command_names_what_it_took_and_lists_it(tmp_path):
    place = str(tmp_path / "target")

    taken = json.loads(output_of("backup", place, "--json").splitlines()[-1])

    assert output_of("backup", place, "--list").split() == [taken["name"]]


def test_a_target_that_cannot_be_written_is_said_and_leaves_no_backup(tmp_path):
    (tmp_path / "taken").write_text("a file in the way")

    with pytest.raises(CommandError, match="could not be written, and there is none"):
        call_command("backup", str(tmp_path / "taken"))

    assert not Run.objects.exists()


def test_the_command_needs_a_target():
    with pytest.raises(CommandError, match="BACKUP_TARGET"):
        call_command("backup")


def test_a_backup_is_due_once_a_period_and_never_beside_another():
    day = timedelta(days=1)
    first = backup.begin_if_due(day)
    assert first is not None
    assert backup.begin_if_due(timedelta(0)) is None, "one is under way"

    first.start()
    first.fail("The disk is full.")
    assert backup.begin_if_due(day) is None
    Run.objects.update(created_at=timezone.now() - day)
    assert backup.begin_if_due(day) is not None


def test_a_run_takes_the_backup_and_says_how_much_it_holds(target, tmp_path):
    run = backup.begin_if_due(timedelta(days=1))
    run.start()

    backup.carry_out(run, target, tmp_path, keep=3)

    run.refresh_from_db()
    assert run.state == Run.State.DONE
    assert run.result["backup"] == target.names()[0]
    assert run.result["bytes"] > 0


def test_readiness_warns_of_no_backup_and_of_an_old_one(target, take):
    assert health.warnings({})["backup"].startswith("There is no backup yet")

    run = backup.record(take(), timezone.now())
    assert "backup" not in health.warnings({})

    run.result["made_at"] = (timezone.now() - timedelta(hours=49)).isoformat()
    run.save()
    assert health.warnings({})["backup"] == "The last backup is 2 d 1 h old."


def test_a_restore_is_a_row_of_history(take, target, tmp_path):
    taken = take()
    assert not AuditEvent.objects.filter(kind="restored").exists()

    backup.restore(target, taken.name, tmp_path, storage=FileSystemStorage(tmp_path / "elsewhere"))

    row = AuditEvent.objects.get(kind="restored")
    assert (row.actor, row.dataset) == (None, None)
