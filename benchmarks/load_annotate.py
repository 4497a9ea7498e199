"""Many annotators at once on one Dataset: is every Comparison judged by exactly as many people as asked?

    make load                                       SQLite: 50 clients, 2,000 Comparisons, overlap 2
    make load DATABASE_URL=postgresql://...         an empty PostgreSQL database of yours
    make load ARGS="--clients 10 --pairs 100"       a quick look

One submit in five is sent twice. Exits with 1 unless nothing was lost, doubled or answered with an error.
"""

import argparse
import random
import sys
import time
from collections import Counter

# First: it settles where the data goes, and sets Django up.
from benchmarks.bench_annotate import Client, all_at_once, logged_in, make_dataset, percentiles, web

# isort: split
from django.core.management import call_command
from django.db import connection

from workbench.models import Dataset, Judgment


def work(client: Client) -> None:
    """Answer until nothing comes for two seconds: what others hold may still be given back."""
    idle = 0
    while idle < 10:
        if client.judge_one(send_twice=random.random() < 0.2):
            idle = 0
        else:
            idle += 1
            time.sleep(0.2)


def wrong_in(dataset: Dataset, overlap: int) -> list[str]:
    """What is not as it should be: each Comparison judged by `overlap` different people, once by each."""
    people = Judgment.objects.of(dataset).order_by().values_list("comparison", "annotator")
    rows = list(people)
    different = Counter(comparison for comparison, _ in set(rows))
    comparisons = dataset.comparisons.values_list("pk", flat=True)
    problems = {
        "Comparisons with too few people": sum(different[pk] < overlap for pk in comparisons),
        "Comparisons with too many people": sum(different[pk] > overlap for pk in comparisons),
        "Judgments doubled": len(rows) - len(set(rows)),
    }
    return [f"{n} {what}" for what, n in problems.items() if n]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--overlap", type=int, default=2)
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    dataset = make_dataset(options.pairs, options.overlap)
    with web() as (port, memory):
        clients = [Client(port, dataset, *logged_in(dataset)) for _ in range(options.clients)]
        taken = all_at_once(clients, work)
        largest = memory()
    claim = percentiles([ms for client in clients for ms in client.next_ms])
    submit = percentiles([ms for client in clients for ms in client.submit_ms])
    judged = sum(len(client.handed) for client in clients)
    failures = [failure for client in clients for failure in client.failures]
    print(
        f"{connection.vendor}: {options.clients} clients judged {judged:,} in {taken:.0f} s\n"
        f"claim p50 {claim[0]:.0f} ms, p95 {claim[1]:.0f} ms; submit p50 {submit[0]:.0f} ms, "
        f"p95 {submit[1]:.0f} ms; web {largest:.0f} MB\n"
        f"{len(failures)} failures"
    )
    problems = [*wrong_in(dataset, options.overlap), *failures[:5]]
    print("\n".join(problems) or f"every Comparison was judged by exactly {options.overlap} people")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
