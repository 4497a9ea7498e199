"""The results of fault tests, as the table that `make faults` prints at the end."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.db.models import Count
from rich.console import Console
from rich.table import Table

from tests.faults.servers import own_postgresql, own_redis, postgresql_folder
from tests.faults.voters import Toll
from workbench.models import Run, Score

__all__ = ["own_postgresql", "own_redis", "postgresql_folder"]

COLUMNS = (
    "what happened",
    "database",
    "broker",
    "completions",
    "missing",
    "twice",
    "failed",
    "most attempts",
    "seconds",
    "x undisturbed",
)
COLUMNS_OF_VOTES = (
    "what happened",
    "database",
    "people",
    "acknowledged",
    "lost",
    "twice",
    "beyond overlap",
    "submits unanswered",
    "errors",
)


@pytest.fixture
def tell(request: pytest.FixtureRequest, broker_url: str) -> Callable[..., None]:
    """Adds a line to the table: the fault, and its effect on a Run, counted from the rows."""

    def put_line(fault: str, run: Run, seconds: float, undisturbed: float | None = None) -> None:
        scores = Score.objects.filter(version=run.version)
        twice = scores.values("completion").annotate(n=Count("pk")).filter(n__gt=1).count()
        failed = run.batches.failed().count()
        attempts = max(run.batches.values_list("attempts", flat=True))
        line = (
            fault,
            connection.vendor,
            broker_url.partition(":")[0],
            f"{run.total:,}",
            f"{run.total - failed - scores.count():,}",
            f"{twice:,}",
            f"{failed:,}",
            str(attempts),
            f"{seconds:.1f}",
            f"{seconds / undisturbed:.2f}" if undisturbed else "",
        )
        request.node.user_properties.append(("fault", line))

    return put_line


@pytest.fixture
def tell_votes(request: pytest.FixtureRequest) -> Callable[[str, Toll], None]:
    """Adds a line to the table of votes: the fault, and what it did to them."""

    def put_line(fault: str, counted: Toll) -> None:
        numbers = (counted.people, counted.acknowledged, counted.lost, counted.twice, counted.beyond)
        line = (
            fault,
            connection.vendor,
            *(f"{number:,}" for number in (*numbers, counted.unanswered, counted.errors)),
        )
        request.node.user_properties.append(("fault to votes", line))

    return put_line


def pytest_terminal_summary(terminalreporter):
    for kind, columns in (("fault", COLUMNS), ("fault to votes", COLUMNS_OF_VOTES)):
        lines = [
            value
            for report in terminalreporter.stats.get("passed", [])
            for name, value in report.user_properties
            if name == kind
        ]
        if not lines:
            continue
        table = Table(box=None, header_style="")
        for heading in columns:
            is_text = heading in ("what happened", "database", "broker")
            table.add_column(heading, justify="left" if is_text else "right", no_wrap=True)
        for line in lines:
            table.add_row(*line)
        console = Console(width=150)
        with console.capture() as shown:
            console.print(table)
        terminalreporter.section(kind)
        terminalreporter.write_line(shown.get())
