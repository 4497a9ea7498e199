"""Builds of a Release that are killed at any moment: no half file is ever seen, and the next try succeeds."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.utils import timezone

from tests.factories import ComparisonFactory, CompletionFactory, JudgmentFactory, PromptFactory
from tests.processes import ROOT, Processes
from workbench.models import Dataset, Release, Run
from workbench.pipeline import releases
from workbench.pipeline.runs import lifecycle
from workbench.worker import tasks

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = 60


@pytest.fixture
def judged(dataset) -> Dataset:
    for number in range(ROWS):
        prompt = PromptFactory.create(dataset=dataset)
        a, b = (CompletionFactory.create(prompt=prompt, text=f"{letter}{number} " * 2_000) for letter in "ab")
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt, a=a, b=b))
    return dataset


def spawn(tmp_path: Path, *command: str, **extra: str) -> subprocess.Popen[bytes]:
    environment = Processes("filesystem://", tmp_path / "log").environment(**extra)
    with (tmp_path / "log").open("ab") as log:
        return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stdout=log, stderr=log)


def kill_when(process: subprocess.Popen[bytes], seen: Callable[[], bool]) -> None:
    """Kill it the moment that something is seen on the disk, or let it end."""
    while process.poll() is None:
        if seen():
            process.kill()
            break
        time.sleep(0.0005)
    process.wait()


def moments(tmp_path: Path) -> dict[str, Callable[[], bool]]:
    """What to look for on the disk; what earlier builds have left there does not count."""
    scratch = Path(settings.DATA_DIR, "releases-being-built")
    kept = Path(default_storage.path("releases"))
    before = {*scratch.glob("*"), *kept.glob("*")}

    def new(folder: Path, inside: str = "*") -> Callable[[], bool]:
        return lambda: any(
            path.is_file()
            for release_folder in {*folder.glob("*")} - before
            for path in release_folder.glob(inside)
        )

    return {
        "the first file is begun": new(scratch, "*.jsonl"),
        "datasets opens the files": new(scratch, "*/*/**/*"),
        "the files are put into storage": new(kept),
        "the copy is begun": new(tmp_path, "out/*"),
    }


def killed_at(moment: str, dataset: Dataset, tmp_path: Path, tries: int = 10) -> Path:
    """The folder that a release command was to write when it was killed at that moment. A moment is short,
    and on a busy machine a command may slip through it: then the next one is tried."""
    for number in range(tries):
        folder = tmp_path / f"try-{number}"
        folder.mkdir()
        process = spawn(tmp_path, "manage.py", "release", dataset.name, "--out", str(folder / "out"))
        kill_when(process, moments(folder)[moment])
        if process.returncode == -signal.SIGKILL:
            return folder / "out"
    raise AssertionError((tmp_path / "log").read_text())


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(moment, marks=[pytest.mark.long] if moment != "the files are put into storage" else [])
        for moment in moments(Path())
    ],
)
def test_a_command_killed_at_any_moment_leaves_all_or_nothing_and_can_be_repeated(judged, tmp_path, moment):
    out = killed_at(moment, judged, tmp_path)

    left = list(Release.objects.all())
    assert not any(releases.verify(release, rebuild=False).damaged for release in left)
    assert not out.exists() or not releases.verify(left[-1], out, rebuild=False).damaged
    call_command("release", judged.name, out=tmp_path / "again")
    release = Release.objects.order_by("-number")[0]
    assert release.number == len(left) + 1
    assert not releases.verify(release, tmp_path / "again", rebuild=False).damaged
    assert release.rows == ROWS


def test_another_process_in_another_zone_with_other_hashes_gives_the_same_bytes(judged, tmp_path):
    everything = [f"--profile={name}" for name in releases.PROFILES]
    call_command("release", judged.name, out=tmp_path / "here", profile=list(releases.PROFILES))

    elsewhere = {"PYTHONHASHSEED": "7", "TZ": "Pacific/Auckland", "TIME_ZONE": "Asia/Tokyo"}
    out = f"--out={tmp_path / 'there'}"
    process = spawn(tmp_path, "manage.py", "release", judged.name, out, *everything, **elsewhere)

    assert process.wait() == 0, (tmp_path / "log").read_text()
    first_files, second_files = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("here", "there")
    )
    assert first_files == second_files


def test_a_worker_killed_in_a_build_leaves_its_run_to_the_next_one(judged, alice, tmp_path):
    run = releases.begin(Release(dataset=judged, profiles=["preference"]), alice)
    release = run.release
    work = f"import django; django.setup(); from workbench.worker import tasks; tasks.carry_out({run.pk})"
    kill_when(spawn(tmp_path, "-c", work), moments(tmp_path)["the first file is begun"])
    run.refresh_from_db()
    assert run.state == "running", (tmp_path / "log").read_text()
    release.refresh_from_db()
    assert not release.is_ready
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(minutes=5))

    (lost,) = lifecycle.due()
    tasks.carry_out(run.pk)

    release.refresh_from_db()
    run.refresh_from_db()
    assert lost == run
    assert (run.state, run.attempts) == ("done", 2)
    assert (release.number, release.rows) == (1, ROWS)
    assert not releases.verify(release).damaged


def test_two_workers_that_build_the_same_release_at_once_leave_one_whole(judged, tmp_path):
    release = releases.begin(Release(dataset=judged, profiles=["preference"])).release
    work = (
        "import django; django.setup(); from workbench.models import Release; from workbench.pipeline "
        f"import releases; releases.build(Release.objects.get(pk='{release.pk}'))"
    )

    both = [spawn(tmp_path, "-c", work) for _ in range(2)]

    assert [process.wait() for process in both] == [0, 0], (tmp_path / "log").read_text()
    release.refresh_from_db()
    assert not releases.verify(release).damaged
    assert Release.objects.count() == 1
