"""python -m tests: the tests of `make test`. With --long those of `make test-full`, with --fast those of
`make test-fast`.

Tests run on SQLite, and where they answer on PostgreSQL, Redis and Chromium. The last lines name the tests
that were left out, and how to run them. With CI=true only tests of the public sets and of a GPU may be left
out: these sets are not part of the project, and few machines have a GPU."""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from tests import services

CI = os.environ.get("CI") == "true"
SHARED = Path(__file__).resolve().parents[2] / "shared"
PYTEST = [sys.executable, "-m", "pytest", "-q", "--durations=12"]
NODE = [
    str(Path(sys.executable).parent / "node"),
    "--disable-warning=MODULE_TYPELESS_PACKAGE_JSON",
    "--test",
]
PARALLEL = ["-n", "2", "--dist", "loadfile"]
PATIENT = ["--timeout=1800"]  # long tests share the cores with seven other processes
POSTGRESQL = {"TEST_DATABASE": "postgresql"}
WAITING = ["-n", "3"]
"""Three processes, as tests of workers, servers and a browser wait for half of their time."""
PLAIN = "not browser and not services and not long"
TESTS = Path(__file__).parent
OPTIONAL = {"public sets", "a GPU"}
"""What may be missing with CI=true as well."""
SLOWEST = 10
"""Files that a stage names with their seconds."""
AGAIN = 10
"""At most so many failures of a stage are tried once more, alone. More than that are no matter of time."""


@dataclass
class Stage:
    name: str
    command: list[str]
    more_environment: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Bytecode is written, also where the machine says not to: each process would compile the tests and
        the workbench anew, for half a minute."""
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return kept | self.more_environment | {"TEST_STAGE": self.name.lower().replace(" ", "_")}


def _public_sets() -> str | None:
    lacking = [name for name in ("data", "nasty") if not (SHARED / name).is_dir()]
    return f"no folder ../shared/{lacking[0]} beside the project" if lacking else None


NEEDS: dict[str, tuple[Callable[[], str | None], str]] = {
    "PostgreSQL": (
        services.postgresql,
        "start one on 127.0.0.1:5432, or set TEST_DATABASE_URL; its user creates databases",
    ),
    "a PostgreSQL server to restart": (
        services.postgresql_server,
        "apt-get install postgresql, or put initdb and pg_ctl on the PATH",
    ),
    "Redis": (
        services.broker,
        "start one on 127.0.0.1:6379, or set TEST_BROKER_URL; its database is emptied",
    ),
    "a Redis server to kill": (services.redis_server, "apt-get install redis-server"),
    "Docker Compose": (
        services.compose,
        "apt-get install docker-compose, or give docker its compose plugin",
    ),
    "nginx": (services.nginx, "apt-get install nginx-light, or put nginx on the PATH"),
    "Chromium": (services.browser, "apt-get install chromium, or put chrome on the PATH"),
    "a GPU": (services.gpu, "run `python -m pytest -m gpu` on a machine with CUDA"),
    "public sets": (_public_sets, "put them at ../shared/data and ../shared/nasty"),
}
"""What tests need -> (why it is missing, None where it is there; how to have it)."""


def files_with(marker: str) -> list[str]:
    """The files that name a marker. Each process of a stage imports every file that it is given, and all of
    them take most of a minute."""
    files = sorted(TESTS.rglob("test_*.py"))
    return [str(file.relative_to(TESTS.parent)) for file in files if f"mark.{marker}" in file.read_text()]


def stages(absent: dict[str, str]) -> list[list[Stage]]:
    """Stages in their order. Those of one list run side by side, as some wait more than they compute; at most
    one of them uses the broker."""
    workers = ["-m", f"{_workers(absent)} and not long", *files_with("services")]
    on_sqlite = ["-m", f"{_workers(absent)} and not long and not postgresql", *files_with("services")]
    without_database = ["--ignore=tests/scoring", "--ignore=tests/browser"]  # takes seconds to import
    planned = [
        [
            Stage("lint", ["make", "--no-print-directory", "lint"]),
            Stage("JavaScript", [*NODE, "tests/js/*.test.js"]),
            Stage("workers on SQLite", [*PYTEST, *WAITING, *on_sqlite]),
            Stage("SQLite", [*PYTEST, *PARALLEL, "-m", PLAIN]),
        ],
        [
            Stage("workers on PostgreSQL", [*PYTEST, *WAITING, *workers], POSTGRESQL),
            Stage("PostgreSQL", [*PYTEST, *PARALLEL, "-m", PLAIN, *without_database], POSTGRESQL),
        ],
        # Three, as a browser's tests wait for half of their time; nothing beside them, as they count seconds.
        [Stage("Chromium", [*PYTEST, "-n", "3", "-m", "browser and not long", "tests/browser"])],
    ]
    return _present(planned, absent)


def long_stages(absent: dict[str, str]) -> list[list[Stage]]:
    """With CI=true each test runs once, on the database where it finds most: faults on PostgreSQL, memory and
    odd requests on SQLite. All take their time by waiting, so they run side by side."""
    workers, long = f"{_workers(absent)} and long", files_with("long")
    plain = [*PYTEST, *PATIENT, *PARALLEL, "-m", "long and not browser and not services", *long]
    chromium = Stage(
        "typed sentences and dark pages in Chromium",
        [*PYTEST, *PATIENT, "-n", "2", "-m", "long and browser", "tests/browser"],
    )
    once = [
        Stage("fuzzing, memory and simulations on SQLite", plain),
        Stage(
            "faults and load on PostgreSQL", [*PYTEST, *PATIENT, *WAITING, "-m", workers, *long], POSTGRESQL
        ),
    ]
    again = [
        Stage("fuzzing and memory on PostgreSQL", plain, POSTGRESQL),
        Stage(
            "faults and load on SQLite",
            [*PYTEST, *PATIENT, *WAITING, "-m", f"{workers} and not postgresql", *long],
        ),
    ]
    return _present([[chromium, *once]] if CI else [[chromium], once, again], absent)


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
    """Run the stages side by side; a stage that shares the time prints its output when it has ended."""
    print(f"\n== {', '.join(stage.name for stage in together)}", flush=True)
    run_in_folder = partial(run_one, folder=folder, is_alone=len(together) == 1)
    with ThreadPoolExecutor(len(together)) as pool:
        return list(pool.map(run_in_folder, together))


def run_one(stage: Stage, folder: Path, is_alone: bool) -> tuple[Stage, bool, dict[str, int]]:
    report, output = folder / f"{stage.name}.xml", folder / f"{stage.name}.txt"
    started = time.monotonic()
    own_cache = ["-o", f"cache_dir={folder / stage.name}"]
    with output.open("wb") as file:  # not a pipe: what a test leaves running would hold it open
        streams = {} if is_alone else {"stdout": file, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(
            reporting(stage.command, report, own_cache), env=stage.environment, **streams
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    ok, numbers = process.returncode == 0, counts(report)
    ending = f"== {stage.name}: {'passed' if ok else 'FAILED'} in {time.monotonic() - started:.0f} s"
    # A busy or a slow machine changes the seconds on the clock, and these by less.
    ending += f", {used.ru_utime + used.ru_stime:.0f} s of a core"
    if files := slowest_files(report):
        ending += f"; most of it: {', '.join(f'{name} {seconds:.0f}' for name, seconds in files)}"
    print(output.read_text(errors="replace") + ending, flush=True)
    return stage, ok, numbers


def try_again(stage: Stage, numbers: dict[str, int], folder: Path) -> bool:
    """Whether the failed tests of a stage pass when nothing runs beside them; False where too many failed.

    A busy machine makes a browser or a worker miss its moment. Such a test is named and not forgotten, but it
    does not refuse the work of everybody. A test that fails again does."""
    broken = numbers.get("failures", 0) + numbers.get("errors", 0)
    if stage.command[0] != sys.executable or not 0 < broken <= AGAIN:
        return False
    print(f"\n== {stage.name}: {broken} failed beside other tests; once more, alone", flush=True)
    only_these = ["--last-failed", "--last-failed-no-failures=none", "-o", f"cache_dir={folder / stage.name}"]
    command = [*stage.command, "-n", "0", *only_these]
    return subprocess.run(command, env=stage.environment, check=False).returncode == 0


def reporting(command: list[str], report: Path, own_cache: list[str]) -> list[str]:
    """The command, told to write a report of its tests as well, and to remember which of them failed."""
    if command[0] == sys.executable:
        return [*command, f"--junitxml={report}", *own_cache]
    if command[: len(NODE)] == NODE:
        reporters = ["--test-reporter=junit", f"--test-reporter-destination={report}"]
        reporters += ["--test-reporter=spec", "--test-reporter-destination=stdout"]
        return [*NODE, *reporters, *command[len(NODE) :]]
    return command


def counts(report: Path) -> dict[str, int]:
    if not report.exists():
        return {}
    root = ElementTree.parse(report).getroot()
    suites = list(root.iter("testsuite"))
    if not suites:  # Node's, without suites
        paths = {"tests": "testcase", "failures": "testcase/failure", "skipped": "testcase/skipped"}
        return {key: len(root.findall(path)) for key, path in paths.items()}
    kinds = ("tests", "failures", "errors", "skipped")
    return {kind: sum(int(suite.get(kind, 0)) for suite in suites) for kind in kinds}


def slowest_files(report: Path) -> list[tuple[str, float]]:
    """The files of tests that took the most seconds, of all processes together."""
    took: defaultdict[str, float] = defaultdict(float)
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):
            took[case.get("file", "")] += float(case.get("time", 0))
    took.pop("", None)  # Node's
    return sorted(took.items(), key=lambda file: -file[1])[:SLOWEST]


def run_all(planned: list[list[Stage]], folder: Path) -> tuple[Counter[str], list[str], list[str]]:
    """(what the tests came to, names of stages that failed, of those that failed and then passed alone)."""
    total: Counter[str] = Counter()
    failed, unsteady = [], []
    for together in planned:
        for stage, ok, numbers in run(together, folder):
            total.update(numbers)
            if not ok:
                (unsteady if try_again(stage, numbers, folder) else failed).append(stage.name)
    return total, failed, unsteady


def main() -> int:
    fast = "--fast" in sys.argv[1:]
    checks = {} if fast else {name: check() for name, (check, _) in NEEDS.items()}
    absent = {name: reason for name, reason in checks.items() if reason}
    planned = fast_stages() if fast else (long_stages if "--long" in sys.argv[1:] else stages)(absent)
    needed = {name: reason for name, reason in absent.items() if name not in OPTIONAL}
    if CI and needed:
        for name, reason in needed.items():
            print(f"CI=true, and {name} is missing: {reason}. To have it: {NEEDS[name][1]}.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        total, failed, unsteady = run_all(planned, Path(folder))
    broken = total["failures"] + total["errors"]
    passed = total["tests"] - broken - total["skipped"]
    print(f"\n{passed} passed, {broken} failed, {total['skipped']} skipped")
    if unsteady:
        print(
            f"Unsteady: what failed in {', '.join(unsteady)} passed alone. Mend it: see the failures above."
        )
    if failed:
        print(f"Failed: {', '.join(failed)}.")
    for name, reason in absent.items():
        print(f"Left out, as {name} is missing ({reason}). To have it run: {NEEDS[name][1]}.")
    if fast:
        print("Left out: PostgreSQL, workers, Chromium, long tests and those in tests/slow.txt.")
    elif not absent:
        print("Nothing was left out.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
