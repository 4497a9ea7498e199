"""Django for a benchmark: a database and a data folder of its own, and the memory of a process."""

import atexit
import json
import os
import resource
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import django
from django.apps import apps

ROOT = Path(__file__).resolve().parents[1]


class Measured(TypedDict):
    """Seconds, the most memory above the idle process in MB, and what the measured function returned."""

    seconds: float
    memory: float
    result: dict[str, float]


def start_django(name: str, **settings: str) -> Path:
    """Set Django up with a data folder that is removed at the end, and return the folder.

    DATABASE_URL keeps its value. In a process of `measure_in_child` the parent's folder stays in use. A
    benchmark that imports another keeps its own settings: web processes that it starts have the same.
    """
    if apps.ready:
        return Path(os.environ["BENCHMARK_DATA"])
    if data := os.environ.get("BENCHMARK_DATA"):
        folder = Path(data)
    else:
        folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ |= {
        "SECRET_KEY": "only-for-the-benchmark-" + secrets.token_hex(32),
        "WORKBENCH_DATA": str(folder),
        "BENCHMARK_DATA": str(folder),
        "DJANGO_SETTINGS_MODULE": "workbench.settings",
        **settings,
    }
    django.setup()
    from django.conf import settings as configured

    configured.DEBUG = False  # otherwise Django keeps every query in memory
    return folder


def resident_mb() -> float:
    """Memory of this process now (Linux only)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def measure(work: Callable[[], dict[str, float]]) -> Measured:
    """Call `work` in this process."""
    idle, started = resident_mb(), time.perf_counter()
    result = work()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"seconds": seconds, "memory": peak - idle, "result": result}


def measure_in_child(script: str, variant: str) -> Measured:
    """Run `script --child variant` and read the JSON of its last line."""
    command = [sys.executable, script, "--child", variant]
    child = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: Measured = json.loads(child.stdout.splitlines()[-1])
    return measured
