"""A real web process on the database of the test, as `manage.py up` starts one."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from django.conf import settings

from tests.processes import ROOT, database_url, wait_until
from workbench.management.commands.up import MEMORY_GOES_BACK


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, path: str, **headers: str) -> tuple[int, bytes, float]:
    """(status, body, seconds) of a GET."""
    began = time.monotonic()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), time.monotonic() - began


def answers(port: int) -> bool:
    try:
        return ask(port, "/healthz")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


@contextmanager
def web(log: Path, **environment: str) -> Iterator[int]:
    """The port of a web process with six threads."""
    with web_process(log, **environment) as (port, _):
        yield port


@contextmanager
def web_process(
    log: Path, application: str = "workbench.wsgi", **environment: str
) -> Iterator[tuple[int, int]]:
    """(port, process id) of a web process with six threads, as `manage.py up` starts it."""
    port = free_port()
    ours = (
        MEMORY_GOES_BACK
        | os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "workbench.settings",
            "DATABASE_URL": database_url(),
            "WORKBENCH_DATA": str(settings.DATA_DIR),
        }
    )
    command = [
        sys.executable, "-m", "gunicorn", application, "--bind", f"127.0.0.1:{port}",
        "--worker-class", "workbench.serving.CollectingWorker", "--threads", "6", "--log-level", "warning",
    ]  # fmt: skip
    with running(command, log, env=ours | environment) as gunicorn:
        wait_until(lambda: answers(port))
        children = Path(f"/proc/{gunicorn}/task/{gunicorn}/children").read_text().split()
        yield port, int(children[0])


@contextmanager
def running(command: list[str], log: Path, **options: object) -> Iterator[int]:
    """The id of a process that ends with the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, **options)  # type: ignore[call-overload]
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)
