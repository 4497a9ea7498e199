"""python -m tests: the tests of `make test`. With --long those of `make test-full`, with --fast those of
`make test-fast`.

SQLite always; PostgreSQL, Redis and Chromium wherever they answer. The last lines say what was left out, and
how to have it run. With CI=true only tests of the public sets may be left out: these are no part of the
project."""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from tests import services

CI = os.environ.get("CI") == "true"
SHARED = Path(__file__).resolve().parents[2] / "shared"
PYTEST = [sys.executable, "-m", "pytest", "-q"]
NODE = [
    str(Path(sys.executable).parent / "node"),
    "--disable-warning=MODULE_TYPELESS_PACKAGE_JSON",
    "--test",
]
PARALLEL = ["-n", "2", "--dist", "loadfile"]
POSTGRESQL = {"TEST_DATABASE": "postgresql"}
PLAIN = "not browser and not services and not long"
HOW_TO = {
    "PostgreSQL": "start one on 127.0.0.1:5432, or set TEST_DATABASE_URL; its user creates databases",
    "a PostgreSQL server to restart": "apt-get install postgresql, or put initdb and pg_ctl on the PATH",
    "Redis": "start one on 127.0.0.1:6379, or set TEST_BROKER_URL; its database is emptied",
    "a Redis server to kill": "apt-get install redis-server",
    "Docker Compose": "apt-get install docker-compose, or give docker its compose plugin",
    "nginx": "apt-get install nginx-light, or put nginx on the PATH",
    "Chromium": "apt-get install chromium, or put chrome on the PATH",
    "public sets": "put them at ../shared/data and ../shared/nasty",
}
OPTIONAL = {"public sets"}
"""What may be missing with CI=true as well."""


@dataclass
class Stage:
    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)


def missing() -> dict[str, str]:
    """What is not here -> why."""
    found = {
        "PostgreSQL": services.postgresql(),
        "a PostgreSQL server to restart": services.postgresql_server(),
        "Redis": services.broker(),
        "a Redis server to kill": services.redis_server(),
        "Docker Compose": services.compose(),
        "nginx": services.nginx(),
        "Chromium": services.browser(),
        "public sets": _public_sets(),
    }
    return {name: reason for name, reason in found.items() if reason}


def _public_sets() -> str | None:
    lacking = [name for name in ("data", "nasty") if not (SHARED / name).is_dir()]
    return f"no folder ../shared/{lacking[0]} beside the project" if lacking else None


def stages(absent: dict[str, str]) -> list[list[Stage]]:
    """Stages in their order. Those of one list run side by side, as some wait more than they compute; at most
    one of them uses the broker."""
    workers = f"{_workers(absent)} and not long"
    planned = [
        [
            Stage("lint", ["make", "--no-print-directory", "lint"]),
            Stage("JavaScript", [*NODE, "tests/js/*.test.js"]),
            Stage("workers on SQLite", [*PYTEST, "-m", f"{workers} and not postgresql"]),
        ],
        [Stage("SQLite", [*PYTEST, *PARALLEL, "-m", PLAIN])],
        [
            Stage("PostgreSQL", [*PYTEST, *PARALLEL, "-m", PLAIN], POSTGRESQL),
            Stage("workers on PostgreSQL", [*PYTEST, "-m", workers], POSTGRESQL),
        ],
        [Stage("Chromium", [*PYTEST, "-n", "2", "-m", "browser and not long"])],
    ]
    return _present(planned, absent)


def long_stages(absent: dict[str, str]) -> list[list[Stage]]:
    workers = f"{_workers(absent)} and long"
    others = [*PYTEST, "-m", "long and not browser and not services"]
    planned = [
        [Stage("typed sentences in Chromium", [*PYTEST, "-n", "2", "-m", "long and browser"])],
        [
            Stage("fuzzing, memory and simulations on SQLite", others),
            Stage("faults and load on PostgreSQL", [*PYTEST, "-m", workers], POSTGRESQL),
        ],
        [
            Stage("fuzzing and memory on PostgreSQL", others, POSTGRESQL),
            Stage("faults and load on SQLite", [*PYTEST, "-m", f"{workers} and not postgresql"]),
        ],
    ]
    return _present(planned, absent)


def fast_stages() -> list[list[Stage]]:
    quick = [*PYTEST, *PARALLEL, "-m", f"{PLAIN} and not slow"]
    lint = ["make", "--no-print-directory", "lint-python"]
    return [[Stage("lint of Python", lint), Stage("quick tests on SQLite", quick)]]


def _workers(absent: dict[str, str]) -> str:
    return "services and not redis" if "Redis" in absent else "services"


def _present(planned: list[list[Stage]], absent: dict[str, str]) -> list[list[Stage]]:
    """Without the stages whose database or browser is absent."""
    present = [
        [stage for stage in together if not any(name in stage.name for name in absent)]
        for together in planned
    ]
    return [together for together in present if together]


def run(together: list[Stage], folder: Path) -> list[tuple[Stage, bool, dict[str, int]]]:
    """Run the stages side by side; a stage that shares the time prints what it has to say when it ends."""
    alone = len(together) == 1
    print(f"\n== {', '.join(stage.name for stage in together)}", flush=True)
    started = time.monotonic()
    running = []
    for stage in together:
        report, said = folder / f"{stage.name}.xml", folder / f"{stage.name}.txt"
        command = reporting(stage.command, report)
        with said.open("wb") as file:
            into = {} if alone else {"stdout": file, "stderr": subprocess.STDOUT}
            process = subprocess.Popen(command, env=os.environ | stage.environment, **into)
        running.append((stage, process, report, said))
    ended = []
    for stage, process, report, said in running:
        ok = process.wait() == 0
        took = time.monotonic() - started
        print(said.read_text(errors="replace"), end="")
        print(f"== {stage.name}: {'passed' if ok else 'FAILED'} in {took:.0f} s", flush=True)
        ended.append((stage, ok, counts(report)))
    return ended


def reporting(command: list[str], report: Path) -> list[str]:
    """The command, told to write a report of its tests as well."""
    if command[0] == sys.executable:
        return [*command, f"--junitxml={report}"]
    if command[: len(NODE)] == NODE:
        told = ["--test-reporter=junit", f"--test-reporter-destination={report}"]
        told += ["--test-reporter=spec", "--test-reporter-destination=stdout"]
        return [*NODE, *told, *command[len(NODE) :]]
    return command


def counts(report: Path) -> dict[str, int]:
    if not report.exists():
        return {}
    root = ElementTree.parse(report).getroot()
    suites = list(root.iter("testsuite"))
    if not suites:  # Node's, without suites
        found = {"tests": "testcase", "failures": "testcase/failure", "skipped": "testcase/skipped"}
        return {key: len(root.findall(path)) for key, path in found.items()}
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in suites:
        for key in totals:
            totals[key] += int(suite.get(key, 0))
    return totals


def main() -> int:
    fast = "--fast" in sys.argv[1:]
    absent = {} if fast else missing()
    planned = fast_stages() if fast else (long_stages if "--long" in sys.argv[1:] else stages)(absent)
    needed = {name: reason for name, reason in absent.items() if name not in OPTIONAL}
    if CI and needed:
        for name, reason in needed.items():
            print(f"CI=true, and {name} is missing: {reason}. To have it: {HOW_TO[name]}.", file=sys.stderr)
        return 1
    total: dict[str, int] = {}
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for together in planned:
            for stage, ok, found in run(together, Path(folder)):
                failed += [] if ok else [stage.name]
                for key, count in found.items():
                    total[key] = total.get(key, 0) + count
    broken = total.get("failures", 0) + total.get("errors", 0)
    skipped = total.get("skipped", 0)
    passed = total.get("tests", 0) - broken - skipped
    print(f"\n{passed} passed, {broken} failed" + (f", {skipped} skipped" if skipped else ""))
    if failed:
        print(f"Failed: {', '.join(failed)}.")
    for name, reason in absent.items():
        print(f"Left out, as {name} is missing ({reason}). To have it run: {HOW_TO[name]}.")
    if fast:
        print("Left out: PostgreSQL, workers, Chromium, long tests and those in tests/slow.txt.")
    elif not absent:
        print("Nothing was left out.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
