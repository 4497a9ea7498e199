"""Files into Django's storage, without strays."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.files.storage import Storage, default_storage


@contextmanager
def kept(path: str, file: Any) -> Iterator[str]:
    """Store the file at `path`, a new name of our own; gives where it lies. When storing it, even halfway, or
    the body of `with` fails, nothing of it is left."""
    try:
        path = default_storage.save(path, file)
        yield path
    except BaseException:
        default_storage.delete(path)
        raise


def names_in(folder: str, storage: Storage = default_storage) -> list[str]:
    """The files in a folder, [] where there is none. Not by asking whether it exists: a bucket has no
    folders, and says no."""
    try:
        return storage.listdir(folder)[1]
    except FileNotFoundError:
        return []


def delete_folder(folder: str, storage: Storage = default_storage) -> None:
    """Delete a folder with its files, where there is one."""
    for name in names_in(folder, storage):
        storage.delete(f"{folder}/{name}")
    storage.delete(folder)
