"""Files into Django's storage, without strays."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.files.storage import default_storage


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
