"""The vectors of a Dataset in files that the processes of one machine share by mapping them.

The files lie in DATA_DIR/vectors/<dataset>/<encoder>/<kind>:

    keys      int64 (N, 2), primary keys: of the text, and of its Prompt
    exact     float32 (N, width), each row of length 1, or 0 for a text without a vector
    scanned   int8 (N, width), the same rows rounded: exact = scanned * scale
    scales    float32 (N,)
    published JSON, the number of rows N and their width

Rows are only added. A writer appends to the four files, syncs them, and then publishes the new number of rows
by a rename; whatever lies behind the published rows is overwritten. So a reader never sees half a row,
whenever a writer dies. Another encoder writes into another folder. `current` names the encoder to read."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from django.conf import settings

from workbench.pipeline.runs.progress import Cancelled

Kind = Literal["prompts", "completions"]
KINDS: tuple[Kind, ...] = ("prompts", "completions")

Vectors = npt.NDArray[np.float32]
Keys = npt.NDArray[np.int64]
Rounded = npt.NDArray[np.int8]

FORMAT = 1
STEPS = 127


@dataclass(frozen=True)
class Rows:
    """The published rows of one kind, mapped: the columns that the module names."""

    keys: Keys
    exact: Vectors
    scanned: Rounded
    scales: Vectors

    def __len__(self) -> int:
        return len(self.keys)

    def place_of(self, key: int) -> int | None:
        """The row of a text; None for a text without a vector."""
        (places,) = np.nonzero(self.keys[:, 0] == key)
        return int(places[0]) if len(places) else None


@dataclass(frozen=True)
class Published:
    rows: int = 0
    width: int = 0


def round_rows(exact: Vectors) -> tuple[Rounded, Vectors]:
    """(N, width) -> int8 rows and their scales (N,); the largest number of each row becomes ±127."""
    largest = np.abs(exact).max(axis=1, initial=0)
    scales = (largest / STEPS).astype(np.float32)
    safe = np.where(scales > 0, scales, 1)
    return np.rint(exact / safe[:, None]).astype(np.int8), scales


# --- places -------------------------------------------------------------------------------------------------


def folder(dataset: int) -> Path:
    return Path(settings.DATA_DIR) / "vectors" / str(dataset)


def _place(dataset: int, encoder: str, kind: Kind) -> Path:
    return folder(dataset) / encoder[:32] / kind


def current(dataset: int) -> str | None:
    """The encoder whose rows are read; None before the first vectors, and where another machine has them."""
    try:
        return (folder(dataset) / "current").read_text().strip() or None
    except FileNotFoundError:
        return None


def adopt(dataset: int, encoder: str) -> None:
    """Read this encoder's rows from now on, and remove those of any other."""
    home = folder(dataset)
    home.mkdir(parents=True, exist_ok=True)
    _replace(home / "current", encoder)
    for other in home.iterdir():
        if other.is_dir() and other.name != encoder[:32]:
            shutil.rmtree(other, ignore_errors=True)


def delete_files(dataset: int) -> None:
    shutil.rmtree(folder(dataset), ignore_errors=True)


# --- reading ------------------------------------------------------------------------------------------------


def published(dataset: int, encoder: str, kind: Kind) -> Published:
    try:
        facts = json.loads((_place(dataset, encoder, kind) / "published").read_text())
    except FileNotFoundError:
        return Published()
    if facts["format"] != FORMAT:
        return Published()
    return Published(facts["rows"], facts["width"])


def counts(dataset: int) -> dict[Kind, int]:
    """The number of rows that are read now, by kind."""
    encoder = current(dataset)
    return {kind: published(dataset, encoder, kind).rows if encoder else 0 for kind in KINDS}


def rows(dataset: int, kind: Kind, encoder: str | None = None) -> Rows | None:
    """The published rows of an encoder, by default of the current one; None where there are none."""
    chosen = encoder or current(dataset)
    size = published(dataset, chosen, kind) if chosen else Published()
    if chosen is None or not size.rows:
        return None
    place, n, width = _place(dataset, chosen, kind), size.rows, size.width
    try:
        return Rows(
            keys=np.memmap(place / "keys", np.int64, "r", shape=(n, 2)),
            exact=np.memmap(place / "exact", np.float32, "r", shape=(n, width)),
            scanned=np.memmap(place / "scanned", np.int8, "r", shape=(n, width)),
            scales=np.memmap(place / "scales", np.float32, "r", shape=(n,)),
        )
    except FileNotFoundError:  # another encoder was adopted meanwhile
        return None


# --- writing ------------------------------------------------------------------------------------------------


def append(dataset: int, encoder: str, kind: Kind, before: int, keys: Keys, exact: Vectors) -> int:
    """Add rows after the first `before`, and give their new number. Raises Cancelled where the number of
    published rows is another: then a second worker is at the same work."""
    place = _place(dataset, encoder, kind)
    place.mkdir(parents=True, exist_ok=True)
    scanned, scales = round_rows(exact)
    columns = {"keys": keys, "exact": exact, "scanned": scanned, "scales": scales}
    with _lock(place):
        if published(dataset, encoder, kind).rows != before:
            raise Cancelled
        for name, column in columns.items():
            content = np.ascontiguousarray(column)
            _write(place / name, before * content[:1].nbytes, content)
        after = before + len(keys)
        facts = {"format": FORMAT, "rows": after, "width": exact.shape[1], "encoder": encoder}
        _replace(place / "published", json.dumps(facts))
    return after


def _write(path: Path, start: int, content: npt.NDArray[np.generic]) -> None:
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(start)
        file.seek(start)
        file.write(content.data.cast("B"))
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, text: str) -> None:
    """Write a small file as a whole: a reader finds the old content or the new."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _lock(place: Path) -> Iterator[None]:
    """One writer at a time; the lock of a process that dies is free."""
    with (place / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
