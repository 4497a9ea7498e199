"""Files in the body of a request: most views refuse them; Import and the leakage page receive them. bodies.py
chooses the handler before a byte is read."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler, TemporaryFileUploadHandler


class NoFiles(FileUploadHandler):
    """The upload handler of every view that takes no files."""

    def new_file(self, *args: object, **kwargs: object) -> None:
        raise SuspiciousOperation("Files can be sent to Import only.")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        return None

    def file_complete(self, file_size: int) -> None:
        return None


class ReceivedFile(TemporaryUploadedFile):
    """A file that was sent, with the sha256 of its bytes."""

    digest: "hashlib._Hash"


class Receiver(TemporaryFileUploadHandler):
    """Receives files into temporary files, and hashes their bytes on the way."""

    file: ReceivedFile

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.file.digest = hashlib.sha256()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self.file.digest.update(raw_data)
        with self._deleted_if_it_fails():
            super().receive_data_chunk(raw_data, start)

    def file_complete(self, file_size: int) -> ReceivedFile:
        with self._deleted_if_it_fails():
            super().file_complete(file_size)
        return self.file

    @contextmanager
    def _deleted_if_it_fails(self) -> Iterator[None]:
        """Half a file would fill a disk that is full already, until Python collects it."""
        try:
            yield
        except OSError:
            with suppress(OSError):  # it flushes, too
                self.file.close()
            raise
