"""All files of a Release as one zip, made while it is sent: no copy on disk, one block in memory."""

from collections.abc import Iterator
from io import RawIOBase
from stat import S_IFREG
from zipfile import ZipFile, ZipInfo

from django.core.files.storage import default_storage

from workbench.models import Release
from workbench.pipeline.releases.building import names_of

BLOCK = 256 * 1024


class _Blocks(RawIOBase):
    """A file to write only, so that zipfile does not seek. `take` gives the bytes since the last call."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def write(self, block: bytes) -> int:  # type: ignore[override]  # zipfile writes bytes alone
        self._blocks.append(block)
        return len(block)

    def take(self) -> bytes:
        content = b"".join(self._blocks)
        self._blocks.clear()
        return content


def zip_blocks(release: Release, folder: str) -> Iterator[bytes]:
    """The bytes of a zip with the files of a ready release in `folder`, stored and not compressed. The same
    release gives the same bytes."""
    blocks = _Blocks()
    with ZipFile(blocks, "w") as archive:
        for name in names_of(release.manifest):
            path = f"{release.folder}/{name}"
            entry = ZipInfo(f"{folder}/{name}", release.created_at.timetuple()[:6])
            entry.external_attr = (S_IFREG | 0o644) << 16
            entry.file_size = default_storage.size(path)  # zipfile takes ZIP64 where the size needs it
            with archive.open(entry, "w") as target, default_storage.open(path) as source:
                for block in source.chunks(BLOCK):
                    target.write(block)
                    yield blocks.take()
    yield blocks.take()
