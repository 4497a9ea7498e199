"""The files of an unfinished run: one process holds them, and each file is whole or absent."""

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
    """The loss is NaN or infinite. A run resumed from the last state would fail again."""


@contextmanager
def working_folder(out: Path, restart: bool) -> Iterator[Path]:
    """The hidden folder of a run, locked by one process. It is removed unless the run can be resumed.

    Raises TrainingError if another process holds the folder, or it can't be written.
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
                for entry in work.iterdir():
                    if entry.is_dir():
                        shutil.rmtree(entry)
                    elif entry.name != "lock":
                        entry.unlink()
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


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file that gets its name once it is whole on the disk."""
    scratch = path.with_name(f".{path.name}")
    save_file(dict(tensors), scratch)
    sync(scratch)
    os.replace(scratch, path)


def sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
