"""The real web processes for a benchmark: gunicorn on loopback, and the memory of its processes (Linux only).

They take the environment of this process, so set Django up before."""

import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environment import ROOT
from workbench.management.commands.up import MEMORY_GOES_BACK

COLLECTING = "workbench.serving.CollectingWorker"
"""The worker of the Dockerfile."""


@dataclass(frozen=True)
class Web:
    """A running gunicorn: its port, and the process id of its master."""

    port: int
    pid: int

    def workers(self) -> list[int]:
        """Process ids of the processes that answer."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def largest_mb(self) -> float:
        """Resident memory of the largest process."""
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in self.workers()]
        sizes = [re.search(r"VmRSS:\s+(\d+)", status) for status in statuses]
        return max((int(size[1]) / 1024 for size in sizes if size), default=0.0)


def memory_of(pid: int) -> dict[str, float]:
    """The sums of a process's memory by kind, as /proc/PID/smaps_rollup names them, in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(value.split()[0]) * 1024 / 1e6 for name, value in (line.split(":") for line in lines)}


@contextmanager
def web(
    database_url: str = "", workers: int = 2, threads: int = 8, worker_class: str = "gthread"
) -> Iterator[Web]:
    """gunicorn on a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "workbench.wsgi", "--bind", f"127.0.0.1:{port}"]
    command += ["--worker-class", worker_class, "--workers", str(workers), "--threads", str(threads)]
    environment = os.environ | MEMORY_GOES_BACK | ({"DATABASE_URL": database_url} if database_url else {})
    process = subprocess.Popen([*command, "--log-level", "warning"], cwd=ROOT, env=environment)
    try:
        _wait_for(port, process)
        yield Web(port, process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/healthz")
            connection.getresponse()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("The web processes did not start.")
