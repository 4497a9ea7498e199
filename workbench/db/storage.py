"""Files in Django's storage."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from django.core.files.storage import Storage, default_storage


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
        return storage.listdir(folder)
    except FileNotFoundError:
        return [], []


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
