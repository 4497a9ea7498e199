"""The first minute after the start of the workbench, with real processes."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import migrated
from tests.processes import ROOT, wait_until
from tests.webserver import ask, free_port
from workbench.management.commands import demo
from workbench.management.commands.up import processes
from workbench.management.screen import ORDINARY

SECRET = "0123456789-abcdefghij-" * 3
OURS = {"DATABASE_URL", "CELERY_BROKER_URL", "DEBUG", "DJANGO_SETTINGS_MODULE", "DJANGO_ALLOW_ASYNC_UNSAFE"}
UNMIGRATED = "The database lacks migrations: run manage.py migrate."
NAMES = set(processes("127.0.0.1", 1))


def environment(data: Path, **extra: str) -> dict[str, str]:
    """The environment of a user with a data folder, SQLite and the broker of files."""
    kept = {name: value for name, value in os.environ.items() if name not in OURS}
    settings = {"WORKBENCH_ENV_FILE": "/nonexistent", "WORKBENCH_DATA": str(data), "SECRET_KEY": SECRET}
    return kept | settings | extra


def manage(data: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT, env=environment(data, **extra), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a database and static files. It holds what the demo would make, but for texts and
    models, which take a minute."""
    data = tmp_path_factory.mktemp("doors")
    data.chmod(0o700)
    migrated.copy_to(str(data / "workbench.sqlite3"))
    for command in (["migrate", "-v0"], ["collectstatic", "-v0", "--no-input"]):
        assert manage(data, *command).returncode == 0
    script = (
        "from workbench.models import Dataset, ModelVersion, Release; "
        f"dataset = Dataset.objects.create(name={demo.NAME!r}); "
        f"ModelVersion.objects.create(name={demo.MODEL!r}, kind='external', state='retired', temperature=1); "
        "Release.objects.create(dataset=dataset, number=1, state='ready')"
    )
    result = manage(data, "shell", "-c", script)
    assert result.returncode == 0, result.stderr
    return data


@dataclass
class Started:
    """A command that runs until somebody stops it."""

    process: subprocess.Popen[bytes]
    file: Path
    data: Path

    @property
    def screen(self) -> str:
        return self.file.read_text()

    def log(self, name: str) -> str:
        return (self.data / "log" / f"{name}.log").read_text()

    def ids(self) -> dict[str, int]:
        """Process ids of the last start, by name."""
        return {name: int(pid) for name, pid in re.findall(r"(\w+) started \(pid=(\d+)\)", self.log("up"))}

    def interrupt(self) -> None:
        """As Ctrl+C in a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)


@contextmanager
def started(data: Path, *arguments: str, **extra: str) -> Iterator[Started]:
    file = data / "screen"
    with file.open("wb") as screen:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=environment(data, **extra), stdout=screen, stderr=screen, start_new_session=True,
        )  # fmt: skip
    running = Started(process, file, data)
    try:
        yield running
    finally:
        process.terminate()
        process.wait(30)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("command", ["models", "migrate", "demo", "no_such_command", "--help"])
def test_a_command_without_settings_says_in_one_sentence_what_to_do(command, tmp_path):
    result = manage(tmp_path, command, SECRET_KEY="")

    assert result.returncode == 1
    assert result.stdout == ""
    (sentence,) = result.stderr.strip().split("\n")
    assert sentence.startswith("SECRET_KEY is missing")
    assert "WORKBENCH_ENV_FILE=var/env" in sentence


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        (["models"], [UNMIGRATED]),
        (["up", "--port", "1"], [UNMIGRATED, "Static files are missing: run manage.py collectstatic."]),
    ],
)
def test_a_command_on_a_new_installation_says_what_to_run_first(arguments, faults, tmp_path):
    tmp_path.chmod(0o700)

    result = manage(tmp_path, *arguments)

    assert (result.returncode, result.stderr) == (1, f"CommandError: {' '.join(faults)}\n")


def test_a_command_whose_database_is_away_says_so(tmp_path):
    tmp_path.chmod(0o700)

    result = manage(tmp_path, "models", DATABASE_URL=f"postgresql://x@127.0.0.1:{free_port()}/x")

    (sentence,) = result.stderr.strip().split("\n")
    assert sentence.startswith("CommandError: The database does not answer: check")


def test_the_demo_ends_with_the_address_and_the_logins_and_ctrl_c_stops_everything(installed):
    port = free_port()
    with started(installed, "demo", "--port", str(port)) as demonstration:
        wait_until(lambda: "annotator" in demonstration.screen, seconds=240)

        # Also after the last worker has come, nothing follows.
        wait_until(lambda: json.loads(ask(port, "/readyz")[1])["warnings"].keys() == {"backup"}, seconds=240)
        assert re.search(
            rf"The workbench is on http://127\.0\.0\.1:{port}\n"
            r"Log in .*\n  admin +\S{16}\n  reviewer +\S{16}\n  annotator +\S{16}\n$",
            demonstration.screen,
        ), demonstration.screen
        assert demonstration.ids().keys() == NAMES
        wait_until(lambda: "Listening at" in demonstration.log("web"))
        ids = demonstration.ids().values()
        shown = demonstration.screen

        demonstration.interrupt()

        assert demonstration.process.wait(30) == 130
        assert demonstration.screen.removeprefix(shown) == "Stopping …\n"
        assert not [pid for pid in ids if is_alive(pid)]


def test_an_error_of_a_worker_is_on_the_screen_and_in_its_log(installed):
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    with started(installed, "up", "--port", str(free_port()), CELERY_BROKER_URL=nobody) as running:
        wait_until(lambda: f"worker: {nobody}" in running.screen or "Cannot connect" in running.screen)

        wait_until(lambda: "Cannot connect" in running.log("worker"))
        assert [line for line in running.screen.split("\n") if re.match(r"worker: .*ERROR.*Cannot", line)]


def test_a_process_that_ends_is_named_on_the_screen_with_its_log(installed):
    with started(installed, "up", "--port", str(free_port())) as running:
        wait_until(lambda: "The workbench is on" in running.screen)

        os.kill(running.ids()["scorer"], signal.SIGKILL)

        assert running.process.wait(30) != 0
        assert re.search(r"(?m)^scorer ended .*, so everything stops\. See .*scorer\.log", running.screen)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "2026-11-28 14:02:11,123 INFO workbench.worker.tasks demo-minilm: fp32",
        "[2026-11-28 14:02:11 +0000] [4711] [INFO] Listening at: http://127.0.0.1:8000 (4711)",
        "[2026-11-28 14:02:11,123: INFO/MainProcess] Connected to filesystem://localhost//",
        "worker: Warm shutdown (MainProcess)",
    ],
)
def test_a_line_that_tells_of_no_fault_stays_in_the_log(line):
    assert ORDINARY.match(line)


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-28 14:02:11,123 WARNING workbench.ringing The broker does not answer (INFO)",
        "[2026-11-28 14:02:11 +0000] [4711] [ERROR] Exception in worker process",
        "[2026-11-28 14:02:11,123: ERROR/MainProcess] consumer: Cannot connect to redis://h:6379/0",
        "Traceback (most recent call last):",
        '  File "manage.py", line 3, in <module>',
        "MemoryError",
    ],
)
def test_a_line_that_may_tell_of_a_fault_is_shown(line):
    assert not ORDINARY.match(line)
