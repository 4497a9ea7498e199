"""The progress of a command's Run on the terminal, in the words of the pages."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from workbench.models import Run
from workbench.models.runs import progress_in_words

Told = Callable[..., bool]
"""Called with what is done and in all, and `phase` or `title` where these change; gives True: go on."""


@contextmanager
def shown(kind: Run.Kind, title: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Told]:
    """A bar on stderr while it is a terminal; nothing of it stays."""
    console = Console(stderr=True, quiet=quiet or not sys.stderr.isatty())
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[said]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=total, said="")

        def told(done: int, total: int | None = total, *, phase: str = "", title: str = title) -> bool:
            said = progress_in_words(kind, done, total, phase)
            bar.update(task, completed=done, total=total, description=title, said=said)
            return True

        yield told
