"""Files in Django's storage."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, default_storage

PART = ".part"
ABANDONED_SECONDS = 24 * 3600.0
"""A part of this age is of a process that was killed."""


class WholeFiles(FileSystemStorage):
    """Files in a folder, where a file has its name when it is whole. Django writes under the name itself, so
    that a full disk or a killed process leaves half a file that readers take for all of it."""

    def _save(self, name: str, content: "File[Any]") -> str:
        folder = Path(self.location)
        folder.mkdir(parents=True, exist_ok=True)
        if hasattr(content, "temporary_file_path"):
            source = Path(content.temporary_file_path())
            if source.stat().st_dev == folder.stat().st_dev:
                return self._renamed(name, content)
        _delete_abandoned(folder)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=PART, delete=False) as part:
            try:
                for chunk in content.chunks():
                    part.write(chunk.encode() if isinstance(chunk, str) else chunk)
                part.flush()
                return self._renamed(name, Moved(part))
            except BaseException:
                Path(part.name).unlink(missing_ok=True)
                raise

    def _renamed(self, name: str, content: "File[Any]") -> str:
        return str(super()._save(name, content))  # type: ignore[misc]  # the stubs leave it out


class Moved(File):  # type: ignore[type-arg]  # generic in the stubs only
    """A file that a local storage may rename into place. Other storages read it."""

    def temporary_file_path(self) -> str:
        return str(self.name)


def _delete_abandoned(folder: Path) -> None:
    for part in folder.glob(f"*{PART}"):
        with suppress(FileNotFoundError):  # another process may delete the same
            if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                part.unlink()


@contextmanager
def stored(path: str, file: IO[bytes]) -> Iterator[str]:
    """Store the file at `path`, which must be new, and give the path that the storage chose. The file is
    deleted when storing it or the body of `with` fails."""
    try:
        path = default_storage.save(path, file)
        yield path
    except BaseException:
        default_storage.delete(path)
        raise


def _listed(folder: str, storage: Storage) -> tuple[list[str], list[str]]:
    """(folders, files) in a folder."""
    try:  # `exists` is no test: a bucket has no folders
        folders, files = storage.listdir(folder)
    except FileNotFoundError:
        return [], []
    return folders, [name for name in files if not name.endswith(PART)]


def names_in(folder: str, storage: Storage = default_storage) -> list[str]:
    """Names of the files in a folder, [] for no folder."""
    return _listed(folder, storage)[1]


def paths_below(folder: str, storage: Storage = default_storage) -> Iterator[str]:
    """Paths of all files in a folder and in its folders; "" = of all files of the storage."""
    folders, files = _listed(folder, storage)
    before = f"{folder}/" if folder else ""
    yield from (f"{before}{name}" for name in files)
    for name in folders:
        yield from paths_below(f"{before}{name}", storage)


def delete_folder(folder: str, storage: Storage = default_storage) -> None:
    """Delete a folder with its files; do nothing for no folder."""
    for name in names_in(folder, storage):
        storage.delete(f"{folder}/{name}")
    storage.delete(folder)
