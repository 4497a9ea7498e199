"""How long the deletion of a large dataset takes, how much memory it needs, and how long others wait for it.

    make bench-delete                                      SQLite, 100,000 pairs, 300,000 votes: five minutes
    make bench-delete DATABASE_URL=postgresql://...        an empty PostgreSQL database of yours
    make bench-delete ARGS="--comparisons 10000"           a quick look: half a minute

Deletes a simulated campaign as a worker does. The table has the deleted rows, the time of the whole deletion
and of the longest step (SQLite lets nobody else write in a step), and the growth of the process's memory. The
baseline is the first tenth of the deletion: the last tenth should take as long.
"""

import argparse
import sys
import time
from itertools import pairwise

from benchmarks.environment import resident_mb, start_django

start_django("delete")

# isort: split
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from rich.console import Console
from rich.table import Table

from benchmarks import campaign
from workbench.models import Dataset, Run, User
from workbench.pipeline.datasets import deleting
from workbench.worker import tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=100_000)
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    dataset = campaign.make_simulated(options.comparisons)
    run = deleting.begin(dataset, User.objects.get_or_create(username="alice")[0])
    if run is None:
        sys.exit("The dataset is being deleted already.")
    rows_before, memory = _rows(), [resident_mb()]
    moments = [(time.perf_counter(), 0)]
    update_progress = Run.update_progress

    def update_and_note(self: Run, done: int, total: int | None = None, *_: object) -> bool:
        going_on = update_progress(self, done, total)
        moments.append((time.perf_counter(), done))
        memory.append(resident_mb())
        return going_on

    Run.update_progress = update_and_note  # type: ignore[method-assign, assignment]
    tasks.carry_out(run.pk)
    run.refresh_from_db()
    if run.state != Run.State.DONE or Dataset.objects.filter(pk=dataset.pk).exists():
        sys.exit(f"The dataset was not deleted: {run.error}")
    _print(rows_before - _rows(), moments, max(memory) - memory[0], options.comparisons)


def _rows() -> int:
    return sum(model._default_manager.count() for model in apps.get_app_config("workbench").get_models())


def _print(deleted: int, moments: list[tuple[float, int]], growth: float, comparisons: int) -> None:
    seconds = moments[-1][0] - moments[0][0]
    steps = [later[0] - earlier[0] for earlier, later in pairwise(moments)]
    of_pairs = [step for step, (_, done) in zip(steps, moments[1:], strict=True) if done <= comparisons]
    tenth = max(1, len(of_pairs) // 10)
    table = Table("Deleting a Dataset", connection.vendor)
    table.add_row("rows deleted", f"{deleted:,}")
    table.add_row("seconds", f"{seconds:.1f}")
    table.add_row("rows a second", f"{deleted / seconds:,.0f}")
    table.add_row("longest step, seconds", f"{max(steps):.2f}")
    table.add_row("last tenth of pairs to first", f"{sum(of_pairs[-tenth:]) / sum(of_pairs[:tenth]):.2f}")
    table.add_row("largest growth of memory, MB", f"{growth:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
