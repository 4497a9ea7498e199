"""gz and zst, unpacked within limits."""

import gzip
import io
import shutil
import tempfile
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import zstandard

from scoring.rows.formats.base import fill
from scoring.rows.rows import FileFault

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_RATIO = 200
"""The largest ratio of unpacked to packed bytes. Text rarely passes 20."""
FREE_BYTES = 64 * 2**20
"""Unpacked bytes from which the ratio counts: a small file may hold one repetitive text."""
MAX_UNPACKED_BYTES = 64 * 2**30

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
PACKINGS = {".gz": _GZIP, ".zst": _ZSTD}
"""The first bytes of a compressed file, by its ending."""


def unpacked(raw: BinaryIO, packing: str, stack: ExitStack) -> BinaryIO:
    """The unpacked file. The first bytes decide how to unpack; they must agree with the ending `packing`.
    Raises FileFault."""
    start = raw.read(4)
    raw.seek(0)
    if packing and not start.startswith(PACKINGS[packing]):
        word = {".gz": "gzip", ".zst": "zstd"}[packing]
        raise FileFault("not_packed", f"the name says {word}, but the file is not {word} data; rename it")
    if start.startswith(_GZIP):
        return io.BufferedReader(_LimitedFile(stack.enter_context(gzip.GzipFile(fileobj=raw)), raw), 2**18)
    if start.startswith(_ZSTD):
        return io.BufferedReader(_LimitedFile(_ZstdFile(raw), raw), 2**18)
    return raw if hasattr(raw, "peek") else cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", raw)))


class _Unpacking(Protocol):
    def read1(self, size: int, /) -> bytes: ...


class _LimitedFile(io.RawIOBase):
    """Unpacks a file within MAX_RATIO and MAX_UNPACKED_BYTES. Raises FileFault beyond."""

    def __init__(self, unpacking: _Unpacking, raw: BinaryIO) -> None:
        self._unpacking = unpacking
        self._raw = raw
        self._unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        try:
            data = self._unpacking.read1(len(memoryview(buffer)))
        except EOFError:
            raise FileFault("truncated", "the compressed file is truncated: its end is missing") from None
        except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
            raise FileFault("corrupt", f"the compressed data is damaged: {error}") from None
        self._unpacked += len(data)
        packed = max(1, self._raw.tell())
        if self._unpacked > FREE_BYTES and self._unpacked > MAX_RATIO * packed:
            raise FileFault(
                "bomb", f"the file unpacks to more than {MAX_RATIO} times its size, which is refused"
            )
        if self._unpacked > MAX_UNPACKED_BYTES:
            raise FileFault("too_large", f"the file unpacks to more than {MAX_UNPACKED_BYTES // 2**30} GiB")
        return fill(buffer, data)


class _ZstdFile:
    """zstd frames one after another. The library's own reader reports no error for a cut file."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._packed = b""
        self._data = memoryview(b"")

    def read1(self, size: int) -> bytes:
        while not self._data:
            if not self._packed:
                self._packed = self._raw.read(2**16)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError
                return b""
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor(max_window_size=2**27).decompressobj()
            # Four bytes can unpack to 128 KiB; small pieces bound the memory.
            piece, self._packed = self._packed[:512], self._packed[512:]
            self._data = memoryview(self._frame.decompress(piece))
            if self._frame.eof:
                self._packed = self._frame.unused_data + self._packed
                self._frame = None
        data, self._data = self._data[:size], self._data[size:]
        return bytes(data)


def seekable(file: BinaryIO, stack: ExitStack) -> BinaryIO:
    """The file, or a temporary copy of a file that can't seek."""
    if file.seekable():
        return file
    copy: BinaryIO = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  the stack closes it
    shutil.copyfileobj(file, copy, 2**20)
    return copy
