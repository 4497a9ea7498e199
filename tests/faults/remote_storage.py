"""A storage that, like an S3 bucket, is no local folder: files are read and written by name alone."""

from pathlib import Path
from typing import IO, Any

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage


class RemoteStorage(Storage):
    def __init__(self, location: str) -> None:
        self._files = FileSystemStorage(location, base_url=None)

    def _open(self, name: str, mode: str = "rb") -> File:
        return self._files.open(name, mode)

    def _save(self, name: str, content: IO[Any]) -> str:
        return self._files.save(name, content)

    def exists(self, name: str) -> bool:
        return Path(self._files.path(name)).is_file()

    def size(self, name: str) -> int:
        return self._files.size(name)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        return self._files.listdir(path) if self._files.exists(path) else ([], [])

    def delete(self, name: str) -> None:
        if self.exists(name):
            self._files.delete(name)
