"""Push rows: in chunks, each imported by a run of its own."""

import gzip
import json
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2

from preference_workbench.answers import Fault
from preference_workbench.errors import Invalid, RowsRefused, RunFailed
from preference_workbench.runs import Line, RefusedRow, Run
from preference_workbench.session import NDJSON, Session

ROWS_A_CHUNK = 5_000
BYTES_A_CHUNK = 8 * 1024 * 1024
RUNS_AT_ONCE = 4
"""How many chunks the workers may have before the next is sent."""
LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")

Rows = Iterable[Mapping[str, Any]] | str | os.PathLike[str]


@dataclass
class Pushed:
    """What a push stored. counts: new prompts, completions, comparisons, ..., summed over its runs."""

    runs: list[Run] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    refused: list[RefusedRow] = field(default_factory=list)

    def __str__(self) -> str:
        names = ("prompts", "completions", "comparisons", "judgments", "already_there")
        new = ", ".join(f"{self.counts[name]:,} {name.replace('_', ' ')}" for name in names)
        return f"{self.counts['rows']:,} rows: {new}; {len(self.refused):,} refused"


@dataclass(frozen=True)
class _Chunk:
    """Rows from `first` on, as the caller counts them, and the run that imports them."""

    first: int
    rows: int
    run: Run


class Push:
    """One push of rows to a dataset."""

    def __init__(self, session: Session, dataset: int, *, lenient: bool, progress: bool) -> None:
        self._session = session
        self._path = f"/datasets/{dataset}"
        self._lenient = lenient
        self._line = Line() if progress else None
        self._sent = 0
        self._pushed = Pushed()

    def rows(self, rows: Rows, chunk: int, options: Mapping[str, Any]) -> Pushed:
        """Send the rows in chunks and wait for their imports. Raises RowsRefused."""
        waiting: deque[_Chunk] = deque()
        for first, lines in chunks(_lines(rows), chunk):
            run = self._send(lines, options)
            waiting.append(_Chunk(first, len(lines), run))
            self._sent += len(lines)
            if len(waiting) >= RUNS_AT_ONCE:
                self._wait(waiting.popleft())
        while waiting:
            self._wait(waiting.popleft())
        self._show(is_last=True)
        return self._pushed

    def file(self, path: Path, options: Mapping[str, Any]) -> Pushed:
        """Send a file as it is and wait for its import. Raises RowsRefused."""
        upload = self._session.send(
            "POST", f"{self._path}/uploads", content=path, params={"name": path.name}
        ).json()
        wanted = {**options, "lenient": self._lenient}
        document = self._session.post(f"/uploads/{upload['id']}/import", wanted)
        self._wait(_Chunk(1, 0, Run.model_validate(document, context=self._session)))
        self._show(is_last=True)
        return self._pushed

    def _send(self, lines: list[bytes], options: Mapping[str, Any]) -> Run:
        wanted = {**options, "lenient": self._lenient}
        response = send_lines(self._session, f"{self._path}/rows", lines, self._sent + 1, wanted)
        return Run.model_validate(response.json(), context=self._session)

    def _wait(self, chunk: _Chunk) -> None:
        try:
            run = chunk.run.wait(progress=self._show_run if self._line else False)
        except RunFailed as failed:
            if problems := failed.run.result.get("problems"):
                raise _refused(problems, chunk.first - 1) from failed
            raise
        self._pushed.runs.append(run)
        self._pushed.counts.update({name: value for name, value in run.result.items() if type(value) is int})
        if run.result.get("rejected"):
            self._pushed.refused += (
                replace(row, line=row.line + chunk.first - 1) for row in run.refused_rows()
            )
        self._show()

    def _show_run(self, run: Run) -> None:
        if self._line and run.is_open and run.progress:
            self._line.write(f"{run.progress}; {self._sent:,} rows sent")

    def _show(self, is_last: bool = False) -> None:
        if self._line:
            self._line.write(str(self._pushed), is_last)


def push(
    session: Session,
    dataset: int,
    rows: Rows,
    *,
    lenient: bool,
    progress: bool,
    chunk: int,
    options: Mapping[str, Any],
) -> Pushed:
    """See `Dataset.push`."""
    one = Push(session, dataset, lenient=lenient, progress=progress)
    if isinstance(rows, str | os.PathLike) and not str(rows).lower().endswith(LINES):
        return one.file(Path(rows), options)
    return one.rows(rows, chunk, options)


def send_lines(
    session: Session, path: str, lines: list[bytes], first: int, params: Mapping[str, Any] | None = None
) -> httpx2.Response:
    """Send lines, of which `first` is the number of the first. Raises RowsRefused where lines are refused at
    once."""
    try:
        return session.send(
            "POST",
            path,
            content=gzip.compress(b"\n".join(lines) + b"\n", 1),
            params=params,
            headers={"Content-Type": NDJSON, "Content-Encoding": "gzip"},
        )
    except Invalid as error:
        if any(fault.line for fault in error.errors):
            raise _refused([fault.model_dump() for fault in error.errors], first - 1) from error
        raise


def _refused(problems: list[dict[str, Any]], before: int) -> RowsRefused:
    """before: the number of rows before the first of the chunk."""
    faults = [
        Fault(
            message=problem["message"],
            code=problem["code"],
            field=problem["field"],
            line=None if problem["line"] is None else problem["line"] + before,
        )
        for problem in problems
    ]
    first = faults[0]
    where = "" if first.line is None else f"Row {first.line}: "
    return RowsRefused(422, "invalid", where + first.message, faults)


def _lines(rows: Rows) -> Iterator[bytes]:
    """Each row as a line of JSON, without its end. Lines of a file are sent as they are."""
    if isinstance(rows, str | os.PathLike):
        path = Path(rows)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                yield line.rstrip(b"\r\n")
    else:
        for row in rows:
            yield json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def chunks(lines: Iterable[bytes], most: int) -> Iterator[tuple[int, list[bytes]]]:
    """(number of the first line, lines) of each chunk."""
    held: list[bytes] = []
    size, first = 0, 1
    for line in lines:
        if held and (len(held) >= most or size + len(line) > BYTES_A_CHUNK):
            yield first, held
            first, held, size = first + len(held), [], 0
        held.append(line)
        size += len(line)
    if held:
        yield first, held
