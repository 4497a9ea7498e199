"""An open file as rows, the watch over its reading, and limits of lines and columns."""

import codecs
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, cast

import pyarrow as pa

from scoring.rows.rows import FileFault, Problem, Row, escaped

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_LINE_BYTES = 8 * 2**20
MAX_COLUMNS = 1_000

Entry = Row | Problem


class Watch:
    """`look` is called for each piece of bytes, with rows in it or not; an exception of `look` ends the
    reading. `note` gets (a sentence on an odd row, its line). `read_as`: what the bytes said of the file and
    its name did not, in words, as in "columns separated by semicolons"; filled once the first row is read.
    `spelled`: the columns as the header writes them, by their known names; filled with the header."""

    def __init__(self) -> None:
        self.look: Callable[[], None] = lambda: None
        self.note: Callable[[str, int], None] = lambda *_: None
        self.read_as: list[str] = []
        self.spelled: dict[str, str] = {}


@dataclass(frozen=True)
class Reading:
    """An open file: its rows, and the bytes of `size` read so far. Only columnar files have a `schema`."""

    kind: str
    rows: Iterator[Entry]
    position: Callable[[], int]
    size: int
    schema: pa.Schema | None = None
    header_line: int | None = None
    watch: Watch = field(default_factory=Watch)


class WatchedFile(io.RawIOBase):
    """A file that calls `watch.look` before each read."""

    def __init__(self, file: BinaryIO, watch: Watch) -> None:
        self._file = file
        self._watch = watch

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        self._watch.look()
        return fill(buffer, self._file.read(len(memoryview(buffer))))


def fill(buffer: "WriteableBuffer", data: bytes) -> int:
    """Copy the data to the start of the buffer, and return their length."""
    memoryview(buffer)[: len(data)] = data
    return len(data)


def name_faults(rows: Iterator[Entry]) -> Iterator[Entry]:
    """The rows; an OSError becomes a FileFault."""
    try:
        yield from rows
    except OSError as error:
        raise FileFault(
            "unreadable", f"the file can't be read: {error.strerror or type(error).__name__}"
        ) from None


_UTF32_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _FromUtf16(io.RawIOBase):
    """A file of UTF-16, past its byte order mark, as UTF-8. Raises FileFault with the line."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file = file
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._data = memoryview(b"")
        self._line = 1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        ended = False
        while not self._data and not ended:
            encoded = self._file.read(2**18)
            ended = not encoded
            try:
                text = self._decoder.decode(encoded, final=ended)
            except UnicodeDecodeError as error:
                before = error.object[: error.start].decode(self._encoding, "ignore")
                message = "the file is UTF-16, and damaged in this line; save it as UTF-8"
                raise FileFault("not_utf16", message, self._line + before.count("\n")) from None
            self._line += text.count("\n")
            self._data = memoryview(text.encode())
        size = len(memoryview(buffer))
        data, self._data = self._data[:size], self._data[size:]
        return fill(buffer, bytes(data))


def as_utf8(file: BinaryIO, watch: Watch) -> BinaryIO:
    """The file; one that begins with the byte order mark of UTF-16 is decoded piece by piece."""
    start: bytes = file.peek(4)[:4]  # type: ignore[attr-defined]
    if start.startswith(_UTF32_MARKS) or not start.startswith(_UTF16_MARKS):
        return file
    encoding = "utf-16-le" if file.read(2) == codecs.BOM_UTF16_LE else "utf-16-be"
    watch.read_as.append("UTF-16")
    return cast("BinaryIO", io.BufferedReader(_FromUtf16(file, encoding), 2**18))


def refuse_other_encodings(start: bytes) -> None:
    """Raise FileFault for the first bytes of UTF-32 or Parquet."""
    if start.startswith(_UTF32_MARKS):
        raise FileFault("encoding", "the file is UTF-32; save it as UTF-8", 1)
    if start.startswith(b"PAR1"):
        raise FileFault("wrong_name", "the file is Parquet; rename it to end in .parquet", 1)


def numbered_lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line), split on \\n only: other line ends (U+2028, a lone \\r) may be part of a text.
    A UTF-8 byte order mark is removed."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise FileFault(
                "line_too_long", f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB", number, line
            )
        if number == 1:
            refuse_other_encodings(line)
            line = line.removeprefix(codecs.BOM_UTF8)
        yield number, line


def refuse_columns(names: Sequence[str], line: int | None = None) -> None:
    """Raise FileFault for too many columns, and for two of one name: a row would keep only one."""
    if len(names) > MAX_COLUMNS:
        raise FileFault(
            "too_many_columns",
            f"the file has {len(names):,} columns; at most {MAX_COLUMNS:,} can be read",
            line,
        )
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise FileFault(
            "duplicate_column", f'two columns are named "{escaped(min(repeated))}"; rename one', line
        )
