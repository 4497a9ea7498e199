"""The progress of a command's Run on the terminal, in the words of the pages."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from workbench.models import Run
from workbench.models.runs import progress_in_words

ShowProgress = Callable[..., bool]
"""Called with (units done, units in all), and `phase` or `title` where these change; always True: go on."""


@contextmanager
def shown(
    kind: Run.Kind, title: str, total: int | None = None, *, quiet: bool = False
) -> Iterator[ShowProgress]:
    """A bar on stderr where that is a terminal; the bar disappears at the end."""
    console = Console(stderr=True, quiet=quiet or not sys.stderr.isatty())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=total, state="")

        def show(done: int, total: int | None = total, *, phase: str = "", title: str = title) -> bool:
            state = progress_in_words(kind, done, total, phase)
            bar.update(task, completed=done, total=total, description=title, state=state)
            return True

        yield show
