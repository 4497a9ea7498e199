"""The results of fault tests, as the table that `make faults` prints at the end."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.db.models import Count
from rich.console import Console
from rich.table import Table

from workbench.models import Run, Score

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


def pytest_terminal_summary(terminalreporter):
    lines = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "fault"
    ]
    if not lines:
        return
    table = Table(box=None, header_style="")
    for number, heading in enumerate(COLUMNS):
        table.add_column(heading, justify="left" if number < 3 else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    console = Console(width=150)
    with console.capture() as shown:
        console.print(table)
    terminalreporter.section("faults")
    terminalreporter.write_line(shown.get())
