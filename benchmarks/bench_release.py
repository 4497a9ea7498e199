"""How fast a release is built, in how much memory, and how long people wait meanwhile.

    make bench-release                                      SQLite, 20,000 rows of about 3 kB: five minutes
    make bench-release ARGS="--rows 4000 --repeats 1"       a quick look: one minute
    make bench-release ARGS="--rows 200000"                 600 MB
    make bench-release DATABASE_URL=postgresql://...        an empty PostgreSQL database of yours

The baseline is a plain loop over the ORM with json.dumps. `writing` is our pass over the data alone. `whole`
is a worker's build: it also derives final labels, loads the files with `datasets`, hashes and stores them.
Variants take turns, each in a process of its own. The table has medians, rows/s, the ratio to the plain loop,
and the most memory above the idle process.

The second table has the waits of somebody who judges during a build, and without one. At the end come the
seconds of the release page, of a count by filters, of an order, and of a download.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from benchmarks.environment import Measured, measure, measure_in_child, start_django

DATA = start_django("release", DEBUG="1", ALLOWED_HOSTS="testserver")

# isort: split
from django.core.management import call_command
from django.db import OperationalError, connection
from django.test import Client
from django.urls import reverse

from benchmarks import campaign
from workbench.models import Annotator, Dataset, Decision, Release, User
from workbench.pipeline import releases
from workbench.pipeline.annotate import answers, handout
from workbench.pipeline.releases import building
from workbench.worker import tasks

NAME = "Bench"
STOP = DATA / "stop"


def plain(folder: Path) -> int:
    """The baseline: every decided Comparison with its texts, one json.dumps a row."""
    decided = Decision.objects.filter(
        is_current=True, outcome__in=["a", "b"], comparison__dataset__name=NAME
    ).select_related("comparison__prompt", "comparison__a", "comparison__b")
    with (folder / "plain.jsonl").open("w", encoding="utf-8") as file:
        for decision in decided:
            comparison = decision.comparison
            pair = [comparison.a.text, comparison.b.text]
            chosen, rejected = pair if decision.outcome == "a" else pair[::-1]
            prompt = comparison.prompt.messages[0]["content"]
            row = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return len(decided)


def writing(folder: Path) -> int:
    """Write, hash and count the rows, without proof and storage."""
    recipe = building.Recipe.of(Release(profiles=["preference"], formats=["jsonl"]))
    facts = building.write(Dataset.objects.get(name=NAME), recipe, folder).facts
    return int(facts["comparisons"]["released"])


def whole(folder: Path) -> int:
    """The build of a worker."""
    return releases.build(Release(dataset=Dataset.objects.get(name=NAME), profiles=["preference"])).rows


VARIANTS: dict[str, Callable[[Path], int]] = {"plain": plain, "writing": writing, "whole": whole}


def build(variant: str) -> dict[str, float]:
    """Build by one variant into a scratch folder; count the rows."""
    with tempfile.TemporaryDirectory(dir=DATA) as folder:
        return {"rows": VARIANTS[variant](Path(folder))}


def judge() -> dict[str, list[float]]:
    """Judge without a pause until the file STOP exists; milliseconds of each step."""
    dataset = Dataset.objects.get(name=NAME)
    annotator = Annotator.objects.for_user(User.objects.get_or_create(username="judge")[0])
    times: dict[str, list[float]] = {"next": [], "answer": [], "locked": []}
    while not STOP.exists():
        start = time.perf_counter()
        claim = handout.next_claim(dataset, annotator)
        between = time.perf_counter()
        if claim is None:
            sys.exit("No pair is left to judge: use more --rows")
        try:
            answers.record(annotator, claim.comparison, answers.Answer("left", uuid4()))
        except OperationalError:
            times["locked"].append((time.perf_counter() - between) * 1e3)
            continue
        times["next"].append((between - start) * 1e3)
        times["answer"].append((time.perf_counter() - between) * 1e3)
    return times


def judge_beside(work: Callable[[], object]) -> tuple[dict[str, list[float]], float]:
    """Times of somebody who judges while `work` runs, and the seconds of `work`."""
    STOP.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--child", "judge"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        time.sleep(3)  # the child imports Django first
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        STOP.touch()
        output, _ = child.communicate()
    return json.loads(output.splitlines()[-1]), seconds


def pages() -> dict[str, float]:
    """Seconds of the page, of a count, of an order, and of a download's first bytes and all its bytes."""
    admin = User.objects.create_user("bench", is_staff=True)
    dataset = Dataset.objects.get(name=NAME)
    release = Release.objects.ready().first()
    assert release is not None
    client = Client()
    client.force_login(admin, backend="workbench.backends.NameOrMail")
    tasks.carry_out.apply_async = lambda *_, **__: None  # no broker runs
    times = {}
    page = reverse("releases", args=[dataset.pk])
    for _ in range(2):
        start = time.perf_counter()
        client.get(page)
        times["page"] = time.perf_counter() - start
        start = time.perf_counter()
        client.post(reverse("release_count", args=[dataset.pk]), {"profiles": ["preference"]})
        times["count"] = time.perf_counter() - start
        start = time.perf_counter()
        order = {"profiles": ["preference"], "formats": ["jsonl"]}
        client.post(page, order)
        times["order"] = time.perf_counter() - start
    name = max(release.manifest["files"], key=lambda file: release.manifest["files"][file]["bytes"])
    start = time.perf_counter()
    blocks = iter(client.get(reverse("release_download", args=[release.pk, name])))
    size = len(next(blocks))
    times["first bytes"] = time.perf_counter() - start
    size += sum(len(block) for block in blocks)
    times["download"] = time.perf_counter() - start
    times["MB/s"] = size / 1e6 / times["download"]
    return times


def table(results: dict[str, list[Measured]]) -> Table:
    rows_table = Table("variant", "seconds", "rows/s", "to plain", "memory above idle")
    medians = {name: statistics.median(run["seconds"] for run in runs) for name, runs in results.items()}
    for name, runs in results.items():
        memory = max(run["memory"] for run in runs)
        rate = runs[0]["result"]["rows"] / medians[name]
        ratio = medians["plain"] / medians[name]
        cells = f"{medians[name]:.1f}", f"{rate:,.0f}", f"{ratio:.2f} x", f"{memory:.0f} MB"
        rows_table.add_row(name, *cells)
    return rows_table


def waits() -> Table:
    waits_table = Table(
        "beside judging", "seconds", "judged/s", "next p50", "p95", "answer p50", "p95", "most", "refused"
    )
    work: dict[str, Callable[[], object]] = {
        "no build": lambda: time.sleep(10),
        "a build": lambda: measure_in_child(__file__, "whole"),
    }
    for name, beside in work.items():
        times, seconds = judge_beside(beside)
        cells = [f"{seconds:.1f}", f"{len(times['answer']) / (seconds + 3):.0f}"]
        for step in ("next", "answer"):
            hundredths = statistics.quantiles(times[step], n=100)
            cells += [f"{hundredths[49]:.1f} ms", f"{hundredths[94]:.1f} ms"]
        waits_table.add_row(name, *cells, f"{max(times['answer']):.0f} ms", str(len(times["locked"])))
    return waits_table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--characters", type=int, default=3_000, help="of a row, prompt and both texts")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", choices=[*VARIANTS, "judge"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        Dataset.objects.count()  # connects
        print(json.dumps(judge() if options.child == "judge" else measure(lambda: build(options.child))))
        return
    console = Console()
    call_command("migrate", verbosity=0)
    start = time.perf_counter()
    campaign.make_imported(NAME, options.rows, options.characters)
    console.print(
        f"{options.rows:,} Comparisons on {connection.vendor}, made in {time.perf_counter() - start:.0f} s"
    )
    results: dict[str, list[Measured]] = {name: [] for name in VARIANTS}
    results["first build"] = [measure_in_child(__file__, "whole")]  # derives all final labels
    for _ in range(options.repeats):
        for name in VARIANTS:
            results[name].append(measure_in_child(__file__, name))
    console.print(table(results))
    console.print(waits())
    for name, value in pages().items():
        console.print(f"{name}: {value:,.3f}{'' if name == 'MB/s' else ' s'}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
