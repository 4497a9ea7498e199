"""How fast a program pushes pairs and reads them back by the client, and what people who vote notice of it.

    make bench-api                                     SQLite, 100,000 pairs: ten minutes or more
    make bench-api DATABASE_URL=postgresql://...       an empty PostgreSQL database of yours
    make bench-api ARGS="--pairs 5000 --singles 50"    a quick look: a minute

A pair has a prompt of 60 words and two answers of 180. Real parts: two web processes, a worker and the
broker of CELERY_BROKER_URL. Ratios are against `import_dataset` of the same file in one process, which makes
its words searchable as well. A push ends when its rows are stored; the worker then makes their words
searchable, on a line of its own. The plain loop sends each row as a request of its own, waits for the answer
and not for the import; its figure is of --singles rows. While rows are pushed and read, 20 people vote in
another dataset, each about once a second. Memory is the private memory of the largest web process. At the
end every pair is looked for by SQL.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Before the models are imported: bench_annotate sets Django up.
from benchmarks.bench_annotate import Client, logged_in, percentiles

# isort: split
from django.core.management import call_command
from django.db import connection
from preference_workbench import Workbench
from rich.console import Console
from rich.table import Table

from benchmarks.bench_import import WORDS
from benchmarks.campaign import make_uniform
from benchmarks.environment import ROOT
from benchmarks.web import Web, memory_of, web
from workbench.models import Comparison, Dataset, Token, User
from workbench.pipeline.people import tokens

VOTERS = 20
SECONDS_A_VOTE = 1.0


def write_rows(path: Path, rows: int) -> None:
    draw = random.Random(1)
    with path.open("w") as file:
        for number in range(rows):
            prompt, a, b = (" ".join(draw.choices(WORDS, k=k)) for k in (60, 180, 180))
            file.write(json.dumps({"prompt": f"{number} {prompt}?", "chosen": a, "rejected": b}) + "\n")


@contextmanager
def worker() -> Iterator[None]:
    """A worker of the queue for imports, as `manage.py up` starts one."""
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "workbench", "worker", "--pool=solo"]
    process = subprocess.Popen([*command, "--queues=work", "--loglevel=warning"], cwd=ROOT, env=os.environ)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def voting(port: int, dataset: Dataset) -> Iterator[list[Client]]:
    """People who vote in another dataset for as long as the block lasts."""
    over = threading.Event()
    people = [Client(port, dataset, *logged_in(dataset)) for _ in range(VOTERS)]

    def vote(client: Client) -> None:
        while not over.wait(random.uniform(0.5, 1.5) * SECONDS_A_VOTE):
            if not client.judge_one():
                return

    threads = [threading.Thread(target=vote, args=[client]) for client in people]
    for thread in threads:
        thread.start()
    try:
        yield people
    finally:
        over.set()
        for thread in threads:
            thread.join()


class Peak:
    """The most private memory of a web process, looked at ten times a second."""

    def __init__(self, served: Web) -> None:
        self.mb, self._served, self._over = 0.0, served, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(0.1):
            for pid in self._served.workers():
                memory = memory_of(pid)
                self.mb = max(self.mb, memory["Private_Clean"] + memory["Private_Dirty"])

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--singles", type=int, default=300)
    options = parser.parse_args()
    os.environ["API_REQUESTS_A_MINUTE"] = "0"
    call_command("migrate", verbosity=0)
    folder = Path(os.environ["BENCHMARK_DATA"])
    path = folder / "rows.jsonl"
    write_rows(path, options.pairs)
    voted_on = make_uniform(options.pairs // 10, overlap=2)

    table = Table(title=f"{options.pairs:,} pairs, {connection.vendor}", title_justify="left")
    for head in ("what", "rows/s", "ratio", "web MB", "vote p95 ms", "failures"):
        table.add_column(head, justify="left" if head == "what" else "right")

    took = seconds(lambda: call_command("import_dataset", "By command", str(path), verbosity=0))
    baseline = options.pairs / took
    table.add_row("import_dataset", f"{baseline:,.0f}", "1.00", "", "", "")
    print(f"import_dataset: {baseline:,.0f} rows/s; load {os.getloadavg()[0]:.1f}", flush=True)

    staff = User.objects.create(username="program", is_staff=True)
    _, secret = tokens.make(staff, "bench", Token.Scope.MANAGE, datasets=None, days=1, by=staff)
    with web(worker_class="workbench.serving.CollectingWorker") as served, worker():
        wb = Workbench(f"http://127.0.0.1:{served.port}", secret)
        pushed, single = wb.datasets.create("Pushed"), wb.datasets.create("Single")
        rows = [json.loads(line) for line in path.read_text().splitlines()[: options.singles]]

        def one_by_one() -> None:
            for row in rows:
                wb.session.post(f"/datasets/{single.id}/rows", [row])

        def words_of_push() -> None:
            while Dataset.objects.get(pk=pushed.id).indexed_to is not None:
                time.sleep(0.05)

        works: list[tuple[str, int, Callable[[], object]]] = [
            ("push", options.pairs, lambda: pushed.push(path)),
            ("its words made searchable", options.pairs, words_of_push),
            ("read", options.pairs, lambda: sum(1 for _ in pushed.comparisons())),
            ("plain loop of single POSTs", options.singles, one_by_one),
        ]
        for name, count, work in works:
            with Peak(served) as peak, voting(served.port, voted_on) as people:
                rate = count / seconds(work)
            times = [ms for client in people for ms in client.next_ms + client.submit_ms]
            failed = [failure for client in people for failure in client.failures]
            for failure in failed[:3]:
                print(failure[:80])
            p95 = percentiles(times)[1] if len(times) > 1 else 0.0
            figures = (f"{rate:,.0f}", f"{rate / baseline:.2f}", f"{peak.mb:.0f}", f"{p95:.0f}")
            table.add_row(name, *figures, str(len(failed)))
            print(
                f"{name}: {rate:,.0f} rows/s; {len(times):,} requests of voters, median "
                f"{statistics.median(times or [0]):.0f} ms, p95 {p95:.0f}, {len(failed)} failed; "
                f"{peak.mb:.0f} MB; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    Console().print(table)
    stored = Comparison.objects.filter(dataset__name="Pushed").count()
    print(f"{stored:,} pairs are stored, {options.pairs - stored:,} lost")
    sys.exit(stored != options.pairs)


if __name__ == "__main__":
    main()
