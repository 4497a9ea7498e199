"""How fast a Release is built, and in how much memory, beside the loop that anyone would write first.

    python benchmarks/bench_release.py                      20,000 rows of some 3 kB, on SQLite
    python benchmarks/bench_release.py --rows 200000        600 MB
    DATABASE_URL=postgresql://... python benchmarks/bench_release.py       an empty database of that server

Makes a Dataset in a scratch folder (or in the empty database that is named), and in turn, each in a process
of its own, builds it: by a plain loop over the ORM with json.dumps; by our writing alone; and by our whole
build, which also settles, proves with `datasets` that the files load, hashes and stores them. Prints medians,
rows/s, the ratio to the plain loop, and the most memory each held above its idle process. Then it builds
once more while somebody goes on judging in another process, and prints how long they wait for the next
Comparison and for an answer to be stored, beside the same with nothing built. At the end, how long the
requests take that show the page, count what the filters let through and order a Release, and how long the
first bytes and the whole of a download.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
NAME = "Bench"
CHUNK = 2_000


def fill(rows: int, characters: int) -> None:
    """A Dataset of `rows` Comparisons, each of a Prompt of its own and with one Judgment for a side."""
    from workbench.models import Annotator, Comparison, Completion, Dataset, Judgment, Prompt
    from workbench.models.dataset import answer_digest, group_digest, messages_digest

    random.seed(7)
    words = [hashlib.sha256(str(n).encode()).hexdigest()[: 3 + n % 8] for n in range(4_000)]
    dataset = Dataset.objects.create(name=NAME)
    label_source = Annotator.objects.create(source="bench")

    def text(length: int) -> str:
        return " ".join(random.choices(words, k=max(1, length // 8)))

    for start in range(0, rows, CHUNK):
        size = min(CHUNK, rows - start)
        asked = [[{"role": "user", "content": f"{start + n} {text(characters // 10)}"}] for n in range(size)]
        prompts = Prompt.objects.bulk_create(
            Prompt(dataset=dataset, messages=m, sha256=messages_digest(m), group=group_digest(m))
            for m in asked
        )
        texts = [[text(int(characters * 0.45)) for _ in "ab"] for _ in prompts]
        completions = Completion.objects.bulk_create(
            Completion(prompt=prompt, text=it, sha256=answer_digest(it))
            for prompt, pair in zip(prompts, texts, strict=True)
            for it in pair
        )
        comparisons = Comparison.objects.bulk_create(
            Comparison(dataset=dataset, prompt=prompt, a=completions[2 * n], b=completions[2 * n + 1])
            for n, prompt in enumerate(prompts)
        )
        Judgment.objects.bulk_create(
            Judgment(comparison=it, annotator=label_source, outcome="ab"[n % 2], stage="imported")
            for n, it in enumerate(comparisons)
        )


def plain(folder: Path) -> int:
    """What one writes first: every decided Comparison with its texts, one json.dumps a row."""
    from workbench.models import Decision

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
    """Our pass over the snapshot that writes, hashes and counts, without proof and storage."""
    from workbench.models import Dataset, Release
    from workbench.pipeline.releases import building

    recipe = building.Recipe.of(Release(profiles=["preference"], formats=["jsonl"]))
    facts = building.write(Dataset.objects.get(name=NAME), recipe, folder).facts
    return int(facts["comparisons"]["released"])


def whole(folder: Path) -> int:
    """Our build as a worker runs it."""
    from workbench.models import Dataset, Release
    from workbench.pipeline import releases

    return releases.build(Release(dataset=Dataset.objects.get(name=NAME), profiles=["preference"])).rows


VARIANTS: dict[str, Callable[[Path], int]] = {"plain": plain, "writing": writing, "whole": whole}


def resident() -> float:
    """Memory of this process now, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def child(variant: str) -> dict[str, float]:
    """One measured run in this process."""
    from workbench.models import Dataset
    from workbench.pipeline import releases  # noqa: F401 - imported before the clock starts, as in a worker

    Dataset.objects.count()
    idle = resident()
    with tempfile.TemporaryDirectory(dir=os.environ["WORKBENCH_DATA"]) as folder:
        start = time.perf_counter()
        rows = VARIANTS[variant](Path(folder))
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"rows": rows, "seconds": seconds, "memory": peak - idle}


def measured(variant: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", variant]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {name: float(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def judge(stop: Path) -> dict[str, list[float]]:
    """Somebody who judges without a pause until the file `stop` is there: milliseconds of each step."""
    from uuid import uuid4

    from django.db import OperationalError

    from workbench.models import Annotator, Dataset, User
    from workbench.pipeline.annotate import answers, handout

    dataset = Dataset.objects.get(name=NAME)
    annotator = Annotator.objects.for_user(User.objects.get_or_create(username="judge")[0])
    times: dict[str, list[float]] = {"next": [], "answer": [], "locked": []}
    while not stop.exists():
        start = time.perf_counter()
        claim = handout.next_claim(dataset, annotator)
        between = time.perf_counter()
        assert claim is not None
        try:
            answers.record(annotator, claim.comparison, answers.Answer("left", uuid4()))
        except OperationalError:
            times["locked"].append((time.perf_counter() - between) * 1e3)
            continue
        times["next"].append((between - start) * 1e3)
        times["answer"].append((time.perf_counter() - between) * 1e3)
    return times


def judging(seconds: float) -> tuple[dict[str, list[float]], float]:
    """Times of somebody who judges while a Release is built, or for `seconds` when they are not 0 and nothing
    is; and how long that went on."""
    stop = Path(os.environ["WORKBENCH_DATA"]) / "stop"
    stop.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--child", "judge"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        time.sleep(3)  # it imports Django first
        start = time.perf_counter()
        if seconds:
            time.sleep(seconds)
        else:
            measured("whole")
        took = time.perf_counter() - start
        stop.touch()
        said, _ = child.communicate()
    return json.loads(said.splitlines()[-1]), took


def pages() -> dict[str, float]:
    """Seconds for the request that orders a Release, for a download's first bytes, and for all of it."""
    from django.test import Client
    from django.urls import reverse

    from workbench.models import Dataset, Release, User
    from workbench.worker import tasks

    admin = User.objects.create_user("bench", is_staff=True)
    dataset = Dataset.objects.get(name=NAME)
    release = Release.objects.ready().first()
    assert release is not None
    client = Client()
    client.force_login(admin, backend="django.contrib.auth.backends.ModelBackend")
    tasks.build_release.delay = lambda *_: None  # the message is not what is measured, and no broker runs
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
    name = max(release.manifest["files"], key=lambda it: release.manifest["files"][it]["bytes"])
    start = time.perf_counter()
    blocks = iter(client.get(reverse("release_download", args=[release.pk, name])))
    size = len(next(blocks))
    times["first bytes"] = time.perf_counter() - start
    size += sum(len(block) for block in blocks)
    times["download"] = time.perf_counter() - start
    times["MB/s"] = size / 1e6 / times["download"]
    return times


def setup(data: str) -> None:
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workbench.settings")
    os.environ |= {"DEBUG": "1", "WORKBENCH_DATA": data, "ALLOWED_HOSTS": "testserver"}
    import django
    from django.conf import settings

    django.setup()
    settings.DEBUG = False  # or every query would be kept in memory


def table(results: dict[str, list[dict[str, float]]]) -> Table:
    shown = Table("variant", "seconds", "rows/s", "to plain", "memory above idle")
    medians = {name: statistics.median(run["seconds"] for run in runs) for name, runs in results.items()}
    for name, runs in results.items():
        memory = max(run["memory"] for run in runs)
        rate = runs[0]["rows"] / medians[name]
        ratio = medians["plain"] / medians[name]
        shown.add_row(name, f"{medians[name]:.1f}", f"{rate:,.0f}", f"{ratio:.2f} x", f"{memory:.0f} MB")
    return shown


def waits() -> Table:
    shown = Table(
        "beside judging", "seconds", "judged/s", "next p50", "p95", "answer p50", "p95", "most", "refused"
    )
    for name, seconds in (("no build", 10.0), ("a build", 0.0)):
        times, took = judging(seconds)
        cells = [f"{took:.1f}", f"{len(times['answer']) / (took + 3):.0f}"]
        for step in ("next", "answer"):
            hundredths = statistics.quantiles(times[step], n=100)
            cells += [f"{hundredths[49]:.1f} ms", f"{hundredths[94]:.1f} ms"]
        shown.add_row(name, *cells, f"{max(times['answer']):.0f} ms", str(len(times["locked"])))
    return shown


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
        setup(os.environ["WORKBENCH_DATA"])
        stop = Path(os.environ["WORKBENCH_DATA"]) / "stop"
        print(json.dumps(judge(stop) if options.child == "judge" else child(options.child)))
        return
    with tempfile.TemporaryDirectory(prefix="bench-release-") as data:
        setup(data)
        run(options, Console())


def run(options: argparse.Namespace, console: Console) -> None:
    from django.core.management import call_command
    from django.db import connection

    call_command("migrate", verbosity=0)
    start = time.perf_counter()
    fill(options.rows, options.characters)
    console.print(
        f"{options.rows:,} Comparisons on {connection.vendor}, made in {time.perf_counter() - start:.0f} s"
    )
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    results["first build"] = [measured("whole")]  # settles all; the others find it done
    for _ in range(options.repeats):
        for name in VARIANTS:
            results[name].append(measured(name))
    console.print(table(results))
    console.print(waits())
    for name, value in pages().items():
        console.print(f"{name}: {value:,.3f}{'' if name == 'MB/s' else ' s'}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
