"""How long the deletion of a large Dataset takes, what memory it needs, and how long it keeps others waiting.

    make bench-delete                                      SQLite, 100,000 Comparisons, 300,000 Judgments
    make bench-delete DATABASE_URL=postgresql://...        an empty PostgreSQL database of yours
    make bench-delete ARGS="--comparisons 10000"           a quick look

Makes the campaign of bench_review and deletes it as a worker does. Prints the rows that went, the time of all
and of the longest step (SQLite lets nobody else write for so long), how the last tenth compares with the
first, and by how much the process grew.
"""

import argparse
import resource
import sys
import time
from itertools import pairwise
from pathlib import Path

from django.apps import apps
from django.core.management import call_command
from django.db import connection
from rich.console import Console
from rich.table import Table

from benchmarks.bench_review import make_campaign  # sets Django up on a database of its own
from workbench.models import Dataset, Run, User
from workbench.pipeline.datasets import deleting
from workbench.worker import tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=100_000)
    given = parser.parse_args()
    call_command("migrate", verbosity=0)
    dataset = make_campaign(given.comparisons)
    run = deleting.begin(dataset, User.objects.get_or_create(username="alice")[0])
    if run is None:
        sys.exit("It is being deleted already.")
    before, memory = _rows(), [_memory()]
    moments = [(time.perf_counter(), 0)]
    beat = Run.update_progress

    def noted(self: Run, done: int, total: int | None = None, *more: object) -> bool:
        answer = beat(self, done, total)
        moments.append((time.perf_counter(), done))
        memory.append(_memory())
        return answer

    Run.update_progress = noted  # type: ignore[method-assign, assignment]
    tasks.delete_dataset(run.pk)
    run.refresh_from_db()
    if run.state != Run.State.DONE or Dataset.objects.filter(pk=dataset.pk).exists():
        sys.exit(f"It was not deleted: {run.error}")
    _tell(before, moments, max(memory) - memory[0], given.comparisons)


def _rows() -> int:
    return sum(model._default_manager.count() for model in apps.get_app_config("workbench").get_models())


def _memory() -> float:
    """What this process holds now, in MB; Linux alone tells."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _tell(before: int, moments: list[tuple[float, int]], grown: float, comparisons: int) -> None:
    took = moments[-1][0] - moments[0][0]
    gone = before - _rows()
    steps = [later[0] - earlier[0] for earlier, later in pairwise(moments)]
    of_pairs = [step for step, (_, done) in zip(steps, moments[1:], strict=True) if done <= comparisons]
    tenth = max(1, len(of_pairs) // 10)
    table = Table("Deleting a Dataset", connection.vendor)
    table.add_row("rows gone", f"{gone:,}")
    table.add_row("seconds", f"{took:.1f}")
    table.add_row("rows a second", f"{gone / took:,.0f}")
    table.add_row("longest step, seconds", f"{max(steps):.2f}")
    table.add_row("last tenth of pairs to first", f"{sum(of_pairs[-tenth:]) / sum(of_pairs[:tenth]):.2f}")
    table.add_row("memory grown by at most, MB", f"{grown:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
