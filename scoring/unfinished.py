"""The files of a run that is not finished: held by one process, and whole or not there at all."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from scoring.config import TrainingError


class Diverged(TrainingError):
    """The loss is no number any more. To go on from the last state would only come here again."""


@contextmanager
def working_folder(out: Path, restart: bool) -> Iterator[Path]:
    """The hidden folder of a run, held by one process; gone when the run ends, unless it can be resumed.

    Raises TrainingError when another process holds it, and for a disk that is full.
    """
    work = out.with_name(f".{out.name}.training")
    try:
        work.mkdir(parents=True, exist_ok=True)
        with (work / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise TrainingError(f"another process is training {out} now") from None
            if restart:
                _forget(work)
            try:
                yield work
            except BaseException as error:
                if isinstance(error, Diverged) or not list(work.glob("state-*")):
                    shutil.rmtree(work, ignore_errors=True)
                raise
            shutil.rmtree(work, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        kept = "; the same command continues from the last saved step" if list(work.glob("state-*")) else ""
        raise TrainingError(f"{out.parent} can't be written: {error}{kept}") from error


def _forget(work: Path) -> None:
    for entry in work.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file that takes its name only when all of it is on the disk."""
    scratch = path.with_name(f".{path.name}")
    save_file(dict(tensors), scratch)
    sync(scratch)
    os.replace(scratch, path)


def sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
