"""Long work: follow it, wait for it, cancel it."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Self, TextIO, TypeVar

from preference_workbench import answers, session
from preference_workbench.errors import RunCancelled, RunFailed, StillRunning
from preference_workbench.session import Resource, Session

T = TypeVar("T")
Progress = bool | Callable[["Run"], object]
"""Whether to write the progress to stderr, or what to call with the run each time that it was asked for."""
LONGEST_PAUSE = 2.0


@dataclass(frozen=True)
class RefusedRow:
    """A row that was left out. line: its number, from 1; row: as it was sent."""

    line: int
    field: str
    code: str
    message: str
    row: Any


class Run(answers.RunOut, Resource):
    """A long job."""

    def refresh(self) -> Self:
        """Read the run again."""
        return self._take(self._session.get(f"/runs/{self.id}"))

    def wait(self, timeout: float | None = None, progress: Progress = False) -> Self:
        """Return when the run is done. Raises RunFailed with the run's error, StillRunning after `timeout`
        seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        show = Line().show if progress is True else progress or None
        pause = 0.1
        while self.refresh().is_open:
            if show:
                show(self)
            if until is not None and time.monotonic() + pause > until:
                raise StillRunning(self)
            session.sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)
        if show:
            show(self)
        if self.state == "done":
            return self
        raise RunCancelled(self) if self.state == "cancelled" else RunFailed(self)

    def cancel(self) -> Self:
        """Stop the run."""
        return self._take(self._session.post(f"/runs/{self.id}/cancel"))

    def retry(self) -> "Run":
        """Have a failed or cancelled run go on, or begin again: the run that does so."""
        return Run.model_validate(self._session.post(f"/runs/{self.id}/retry"), context=self._session)

    def refused_rows(self) -> Iterator[RefusedRow]:
        """The rows that an import refused or left out. Raises NotFound where there are none."""
        for row in self._session.rows(f"/runs/{self.id}/refused-rows"):
            yield RefusedRow(
                line=row["line"],
                field=row["field"],
                code=row["code"],
                message=row["message"],
                row=_as_sent(row["row"]),
            )

    def _take(self, document: Any) -> Self:
        self.__dict__.update(answers.RunOut.model_validate(document).__dict__)
        return self


class Job(Generic[T]):
    """A run, and what comes of it: `wait` for that."""

    def __init__(self, run: Run, of: Callable[[Run], T]) -> None:
        self.run = run
        self._of = of

    def wait(self, timeout: float | None = None, progress: Progress = False) -> T:
        """What comes of the run, once it is done. Raises as `Run.wait` does."""
        return self._of(self.run.wait(timeout, progress))


class Runs:
    """The runs of a dataset, oldest first."""

    def __init__(self, session: Session, path: str) -> None:
        self._session = session
        self._path = path

    def __iter__(self) -> Iterator[Run]:
        for row in self._session.pages(self._path):
            yield Run.model_validate(row, context=self._session)


class Line:
    """One line of progress. On a terminal it is written anew; in a log it comes every ten seconds."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._written_at = float("-inf")

    def show(self, run: Run) -> None:
        end = "" if run.is_open else f" {run.state}."
        self.write(f"{run.kind}: {run.progress or 'waits for a worker' * run.is_open}{end}", not run.is_open)

    def write(self, text: str, is_last: bool = False) -> None:
        if self._stream.isatty():
            self._stream.write(f"\r\033[K{text}" + "\n" * is_last)
        elif is_last or time.monotonic() - self._written_at > 10:
            self._written_at = time.monotonic()
            self._stream.write(f"{text}\n")
        self._stream.flush()


def _as_sent(raw: Any) -> Any:
    """The row of a line; the line itself where it is no JSON."""
    try:
        return json.loads(raw) if isinstance(raw, str) else raw
    except ValueError:
        return raw
