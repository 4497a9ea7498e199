"""What scoring costs besides the model, and how many workers one database and one broker can serve.

    make bench-workers                                        SQLite and the broker of files: one minute
    make bench-workers ARGS="--completions 2000"              a quick look
    make bench-workers DATABASE_URL=... CELERY_BROKER_URL=...   an empty database of yours, and Redis

Measures answers a second in planning and in everything but the model (lease, scores and suggestions), and
messages a second through the broker. Then it simulates 1 to 64 workers from these figures and the speed of a
model. The baseline is that speed: --texts-per-second, as `make bench-scoring` prints it.
"""

import argparse
import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.environment import start_django

start_django("workers", DEBUG="1")

from django.core.management import call_command
from django.db import connection, transaction

from benchmarks import campaign
from scoring.formats import Pair, Scored
from workbench.models import ModelVersion, Run
from workbench.pipeline.scoring import batches as scoring_batches
from workbench.worker.celery import app


@dataclass(frozen=True)
class Costs:
    """Seconds for a batch of `batch` completions: in the model, in the database, in the broker."""

    batch: int
    model: float
    database: float
    broker: float


def instant(pairs: Sequence[Pair]) -> list[Scored]:
    return [Scored(float(len(text)), 1, 1, 0, 0, "fp32") for _, text in pairs]


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_database(completions: int) -> tuple[float, float, int]:
    """(seconds of planning, seconds a batch, batches) with a model that takes no time."""
    dataset = campaign.make_uniform(completions // 2, question_words=2, answer_words=180)
    version = ModelVersion.objects.create(name=dataset.name, kind="transformer", weights_sha256=dataset.name)
    planning = timed(lambda: scoring_batches.plan(dataset, version))
    run = Run.objects.get(dataset=dataset, version=version)
    working = timed(lambda: [None for _ in scoring_batches.score_here(run, instant, "bench", 60)])
    batches = run.batches.count()
    return planning, working / batches, batches


def measure_broker(messages: int = 500) -> float:
    """Seconds to send and receive one message, on a queue of its own."""
    with app.connection_for_write() as conn:
        queue = conn.SimpleQueue(f"bench-{time.time_ns()}")

        def exchange() -> None:
            for number in range(messages):
                queue.put({"batch": number})
            for _ in range(messages):
                queue.get(timeout=10).ack()

        seconds = timed(exchange) / messages
        queue.clear()
        queue.close()
    return seconds


def simulate(costs: Costs, workers: int, batches: int = 4000) -> tuple[float, float, float]:
    """(completions a second, share of time the database is busy, share of time the broker is busy).

    Each worker takes a message, runs the model, then waits for the database. Broker and database serve one
    worker at a time, in order of arrival. This is true of SQLite and too pessimistic for PostgreSQL. The cost
    of the database includes the worker's own share, so real workers do better.
    """
    ready = [(0.0, worker) for worker in range(workers)]
    heapq.heapify(ready)
    broker_free = database_free = 0.0
    for _ in range(batches):
        now, worker = heapq.heappop(ready)
        broker_free = max(now, broker_free) + costs.broker
        database_free = max(broker_free + costs.model, database_free) + costs.database
        heapq.heappush(ready, (database_free, worker))
    elapsed = max(when for when, _ in ready)
    return (
        batches * costs.batch / elapsed,
        batches * costs.database / elapsed,
        batches * costs.broker / elapsed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--completions", type=int, default=10_000)
    parser.add_argument("--texts-per-second", type=float, nargs="+", default=[13.0, 500.0])
    arguments = parser.parse_args()
    call_command("migrate", verbosity=0)
    with transaction.atomic():  # leaves no rows in a database of yours
        planning, batch_seconds, batches = measure_database(arguments.completions)
        transaction.set_rollback(True)
    message = measure_broker()
    size = arguments.completions // batches
    rate = size / batch_seconds
    print(f"database {connection.vendor}, broker {app.connection_for_write().transport_cls}")
    print(f"planning            {arguments.completions / planning:>8,.0f} completions/s")
    print(f"all but the model   {rate:>8,.0f} completions/s, {batch_seconds * 1e3:.0f} ms a batch of {size}")
    print(f"messages            {1 / message:>8,.0f} a second, there and back")
    for speed in arguments.texts_per_second:
        show(Costs(size, size / speed, batch_seconds, message), speed)


def show(costs: Costs, speed: float) -> None:
    print(f"\nsimulated, at {speed:g} texts/s in the model of each worker")
    print("workers  completions/s  100 million take  database busy  broker busy")
    for workers in (1, 2, 4, 8, 16, 32, 64):
        rate, database, broker = simulate(costs, workers)
        hours = 1e8 / rate / 3600
        print(f"{workers:>7}  {rate:>13,.0f}  {hours:>14,.1f} h  {database:>12.0%}  {broker:>10.1%}")


if __name__ == "__main__":
    main()
