"""Files to rows: JSONL, JSON array, CSV, TSV and Parquet, each plain, gz or zst, and folders saved by
`datasets.save_to_disk`.

The name decides what a file claims to be and its first bytes are checked against that. Readers hold one row
(or one small batch) at a time. Whatever is wrong with one row is yielded as a Problem with its line;
whatever is wrong with the file raises FileFault.
"""

import codecs
import csv
import gzip
import io
import json
import math
import shutil
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from scoring.rows import columnar
from scoring.rows.defused import Telling, as_written, is_of_release
from scoring.rows.rows import (
    MAX_DEPTH,
    BadRow,
    FileFault,
    Problem,
    Row,
    Values,
    escaped,
    refuse_bad_text,
)

MAX_LINE_BYTES = 8 * 2**20
MAX_RATIO = 200
"""Unpacked over packed bytes that a compressed file may reach. Text rarely passes 20."""
FREE_BYTES = 64 * 2**20
"""Unpacked bytes before the ratio is looked at: a small file may well hold one repetitive text."""
MAX_UNPACKED_BYTES = 64 * 2**30
MAX_COLUMNS = 1_000
MAX_DOCUMENT_VALUES = 2_000_000
MAX_DOCUMENT_BYTES = 64 * 2**20
"""Of a JSON file that is neither an array nor lines: it is held as a whole."""

_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
KINDS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv",
    ".parquet": "parquet",
}  # fmt: skip
PACKINGS = {".gz": _GZIP, ".zst": _ZSTD}

Entry = Row | Problem


@dataclass(frozen=True)
class Reading:
    """An open file: its rows, and how far (in bytes of `size`) they have been read. `schema` is known for
    columnar files only."""

    kind: str
    rows: Iterator[Entry]
    position: Callable[[], int]
    size: int
    schema: pa.Schema | None = None
    header_line: int | None = None
    watch: "Watch" = field(default_factory=lambda: Watch())


class Watch:
    """`look` is called as bytes are read, also where they hold no row; what it raises ends the reading.
    `note` is told what was done with odd rows, and on which lines."""

    def __init__(self) -> None:
        self.look: Callable[[], None] = lambda: None
        self.note: Callable[[str, int], None] = lambda *_: None


class _Watched(io.RawIOBase):
    """The file, read in pieces of which each is looked at."""

    def __init__(self, file: BinaryIO, watch: Watch) -> None:
        self._file = file
        self._watch = watch

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._watch.look()
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def known_name(name: str) -> bool:
    """True when the ending of the name is one that can be imported."""
    return _kind_of(name) is not None


def endings() -> str:
    """The endings that can be imported, for messages."""
    return ", ".join(KINDS) + ", each also with .gz or .zst"


def _kind_of(name: str) -> tuple[str, str] | None:
    """(kind, packing) that the name claims, packing "" for none."""
    suffixes = [suffix.lower() for suffix in Path(name.strip()).suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKINGS else ""
    kind = KINDS.get(suffixes[-1]) if suffixes else None
    return (kind, packing) if kind else None


def is_table(name: str) -> bool:
    """Whether a file of this name is one of CSV or TSV."""
    return (_kind_of(name) or ("", ""))[0] in {"csv", "tsv"}


def open_rows(
    source: Path | BinaryIO,
    name: str,
    stack: ExitStack,
    columns: Mapping[str, str],
    *,
    formula_safe: bool = False,
) -> Reading:
    """Open `source` as what `name` (or its own) says it is; `stack` closes what is opened here. `columns`
    gives known column names by their lower case, for the headers of CSV files; with `formula_safe` one ' is
    taken away where a cell of theirs begins with it, as Releases put it there; a file that is told to be one
    of a Release needs no telling (see rows.defused). Raises FileFault."""
    if isinstance(source, Path):
        if source.is_dir():
            return _folder(source)
        name = name or source.name
    claimed = _kind_of(name)
    if claimed is None:
        raise FileFault("unknown_format", f"this kind of file can't be read; use {endings()}")
    kind, packing = claimed
    raw = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
    size = raw.seek(0, io.SEEK_END)
    raw.seek(0)
    if size == 0:
        raise FileFault("empty", "the file is empty")
    file = _unpacked(raw, packing, stack)
    if kind == "parquet":
        return _parquet(_seekable(file, raw, stack), raw, size)
    watch = Watch()
    readers: dict[str, Callable[[BinaryIO], Iterator[Entry]]] = {
        "jsonl": _json_lines_by_name,
        "json": _json_values,
        "csv": lambda f: _table(f, ",", columns, formula_safe, watch),
        "tsv": lambda f: _table(f, "\t", columns, formula_safe, watch),
    }
    header_line = 1 if kind in {"csv", "tsv"} else None
    watched = cast("BinaryIO", io.BufferedReader(_Watched(file, watch), 2**18))
    rows = _faults_named(readers[kind](watched))
    return Reading(kind, rows, raw.tell, size, header_line=header_line, watch=watch)


def _unpacked(raw: BinaryIO, packing: str, stack: ExitStack) -> BinaryIO:
    """The file's own bytes. What is packed is told by the first bytes; a name that says so must be right."""
    magic = raw.read(4)
    raw.seek(0)
    if packing and not magic.startswith(PACKINGS[packing]):
        word = {".gz": "gzip", ".zst": "zstd"}[packing]
        raise FileFault("not_packed", f"the name says {word}, but the file is not {word} data; rename it")
    if magic.startswith(_GZIP):
        return io.BufferedReader(_Limited(stack.enter_context(gzip.GzipFile(fileobj=raw)), raw), 2**18)
    if magic.startswith(_ZSTD):
        return io.BufferedReader(_Limited(_ZstdFile(raw), raw), 2**18)
    return raw if hasattr(raw, "peek") else cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", raw)))


class _Limited(io.RawIOBase):
    """Unpacks within limits: stops a file that opens to far more than it has any reason to."""

    def __init__(self, unpacking: Any, raw: BinaryIO) -> None:
        self._unpacking = unpacking
        self._raw = raw
        self._unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._unpacking.read1(len(buffer))
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
        buffer[: len(data)] = data
        return len(data)


class _ZstdFile:
    """zstd frames one after another. The library's own reader takes a cut file for a complete one."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame: Any = None
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
            # Four bytes can open to 128 KiB, so the piece that goes in bounds what comes out at once.
            piece, self._packed = self._packed[:512], self._packed[512:]
            self._data = memoryview(self._frame.decompress(piece))
            if self._frame.eof:
                self._packed = self._frame.unused_data + self._packed
                self._frame = None
        data, self._data = self._data[:size], self._data[size:]
        return bytes(data)


def _seekable(file: BinaryIO, raw: BinaryIO, stack: ExitStack) -> BinaryIO:
    if file.seekable():
        return file
    unpacked: BinaryIO = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  the stack closes it
    shutil.copyfileobj(file, unpacked, 2**20)
    return unpacked


def _faults_named(rows: Iterator[Entry]) -> Iterator[Entry]:
    """Faults of reading that say nothing to a user, in words."""
    try:
        yield from rows
    except OSError as error:
        raise FileFault(
            "unreadable", f"the file can't be read: {error.strerror or type(error).__name__}"
        ) from None


def _refuse_other_encodings(start: bytes) -> None:
    for name, marks in (
        ("UTF-32", (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),
        ("UTF-16", (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
    ):
        if start.startswith(marks):
            raise FileFault("encoding", f"the file is {name}; save it as UTF-8", 1)
    if start.startswith(_PARQUET):
        raise FileFault("wrong_name", "the file is Parquet; rename it to end in .parquet", 1)


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line) split on \n only: other line ends (U+2028, a lone \r) may be part of a text.
    A UTF-8 byte order mark is stripped."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise FileFault(
                "line_too_long", f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB", number, line
            )
        if number == 1:
            _refuse_other_encodings(line)
            line = line.removeprefix(codecs.BOM_UTF8)
        yield number, line


class _Decoder:
    """JSON as the standard says it: what Python's own reader takes silently (NaN, 1e999, a key twice,
    numbers too long to keep) is collected in `faults` instead."""

    def __init__(self) -> None:
        self.faults: list[BadRow] = []
        self._json = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_constant=self._constant,
            parse_float=self._float,
            parse_int=self._int,
        )

    def decode(self, text: str) -> Any:
        """The one value that the text is. Raises BadRow."""
        self.faults.clear()
        try:
            value, end = self._json.raw_decode(text)
            if end < len(text):
                self._json.decode(text)  # says where what follows begins
        except json.JSONDecodeError as error:
            message = f"not JSON at column {error.colno}: {error.msg}"
            if "\r" in text.rstrip("\r\n"):
                message += "; the line holds a bare carriage return, which does not end a line"
            raise BadRow(f"column {error.colno}", "not_json", message) from None
        except RecursionError:
            raise BadRow("", "too_deep", f"nested deeper than {MAX_DEPTH} levels") from None
        return self._checked(value)

    def decode_at(self, text: str, position: int) -> tuple[Any, int]:
        """(value, end) of the value that begins at `position`. Raises json.JSONDecodeError, RecursionError;
        look at `faults` afterwards."""
        self.faults.clear()
        return self._json.raw_decode(text, position)

    def _checked(self, value: Any) -> Any:
        if self.faults:
            raise self.faults[0]
        return value

    def _object(self, pairs: list[tuple[str, Any]]) -> Values:
        values = dict(pairs)
        if len(values) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key, count in Counter(keys).items() if count > 1)
            self.faults.append(
                BadRow(twice, "duplicate_key", "the same key appears twice in one object", twice)
            )
        return values

    def _constant(self, name: str) -> float:
        self.faults.append(BadRow("", "not_finite", f"{name} is not a JSON number", name))
        return 0.0

    def _float(self, digits: str) -> float:
        number = float(digits)
        if math.isinf(number):
            self.faults.append(BadRow("", "not_finite", "a number is too large to store", digits))
        return number

    def _int(self, digits: str) -> int:
        try:
            return int(digits)
        except ValueError:
            self.faults.append(
                BadRow(
                    "", "number_too_long", "a number has too many digits to store; write it as text", digits
                )
            )
            return 0


def _as_row(line: int, value: Any, raw: bytes, suspicious: bool) -> Row:
    """The value as a Row. Raises BadRow. Only `suspicious` text (one with escapes) is walked: UTF-8 that
    decodes and JSON that parses can hold no bad character without one."""
    if not isinstance(value, dict):
        raise BadRow("", "not_an_object", 'a row should be an object with columns, like {"prompt": ...}')
    if suspicious:
        refuse_bad_text(value)
    return Row(line, value, raw)


def _json_lines(file: BinaryIO) -> Iterator[Entry]:
    decoder = _Decoder()
    first = True
    for number, line in _lines(file):
        content = line.strip(b" \t\r\n")
        if not content:
            continue
        if first and content.startswith(b"["):
            raise FileFault(
                "json_array",
                "the file is a JSON array, not one object a line; rename it to end in .json",
                number,
                content,
            )
        first = False
        try:
            suspicious = b"\\u" in content or content.count(b"[") + content.count(b"{") > MAX_DEPTH
            yield _as_row(number, decoder.decode(content.decode()), content, suspicious)
        except UnicodeDecodeError as error:
            bad = BadRow(
                f"byte {error.start + 1}", "not_utf8", "the line is not valid UTF-8; save the file as UTF-8"
            )
            yield bad.at(Row(number, {}, content))
        except BadRow as bad:
            yield bad.at(Row(number, {}, content))


def _json_lines_by_name(file: BinaryIO) -> Iterator[Entry]:
    """A .jsonl file: one object a line, or (as some tools name them so) objects over several lines."""
    start = _start_of(file)
    first, end, _ = start.partition(b"\n")
    if start.startswith(b"{") and end and not first.rstrip().endswith(b"}"):
        return _json_object(file)
    return _json_lines(file)


def _start_of(file: BinaryIO) -> bytes:
    start: bytes = file.peek(2**12)[: 2**12]  # type: ignore[attr-defined]
    return start.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")


def _json_values(file: BinaryIO) -> Iterator[Entry]:
    """A .json file: one array of objects, or (as many tools name them so) JSON lines."""
    start = _start_of(file)
    if start.startswith(b"["):
        return _json_array(file)
    first = start.partition(b"\n")[0].rstrip()
    if start.startswith(b"{") and (not first.endswith(b"}") or b"\n" not in start.strip()):
        return _json_object(file)
    return _json_lines(file)


WANTED = "write an array of objects, or one object a line"


def _json_object(file: BinaryIO) -> Iterator[Entry]:
    """A file that is no array: objects one after another, however they are laid out, or one object around the
    one list of rows."""
    data = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        yield from _json_lines(cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", _Both(data, file)))))
        return
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_DOCUMENT_VALUES:
        message = f"the file is one JSON document of more than {MAX_DOCUMENT_VALUES:,} values"
        raise FileFault("too_large", f"{message}; write one object a line")
    decoder = _Decoder()
    try:
        outer = decoder.decode(data.decode("utf-8-sig"))
    except (BadRow, UnicodeDecodeError):
        yield from _json_lines(io.BytesIO(data)) if _has_lines(data) else _json_stream(io.BytesIO(data))
        return
    if (rows := _rows_inside(outer)) is None:
        yield from _json_stream(io.BytesIO(data))
        return
    for number, value in enumerate(rows, start=1):
        try:
            yield _as_row(number, value, b"", True)
        except BadRow as bad:
            yield bad.at(Row(number, {}))


def _has_lines(data: bytes) -> bool:
    """True where the first line, or the second, is an object by itself."""
    for line in data.removeprefix(codecs.BOM_UTF8).lstrip().split(b"\n")[:2]:
        try:
            if isinstance(json.loads(line), dict):
                return True
        except (ValueError, RecursionError):
            continue
    return False


def _rows_inside(outer: Any) -> list[Any] | None:
    """The one list of objects in an object that is itself no row; None where it may be a row."""
    if not isinstance(outer, dict) or not outer.keys().isdisjoint(_ROW_COLUMNS):
        return None
    lists = [v for v in outer.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
    if len(lists) != 1:
        what = "several lists of objects" if lists else "no list of objects in it"
        raise FileFault("one_object", f"the file is one JSON object with {what}; {WANTED}", 1)
    return lists[0]


_ROW_COLUMNS = frozenset(
    {
        "prompt", "chosen", "rejected", "completions", "completion", "question", "instruction", "messages",
        "conversations", "conversation_a", "answers", "summaries", "response", "response_1", "message_id",
        "message_tree_id", "title",
    }
)  # fmt: skip


def _json_stream(file: BinaryIO) -> Iterator[Entry]:
    """Objects one after another, each over as many lines as it likes."""
    window, decoder = _Window(cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", file)))), _Decoder()
    while window.next():
        line = window.line
        try:
            value, text = window.value(decoder)
        except FileFault as fault:
            message = f"{fault.problem.message}; {WANTED}"
            raise FileFault("not_json", message, fault.problem.line, fault.problem.excerpt) from None
        try:
            if decoder.faults:
                raise decoder.faults[0]
            yield _as_row(line, value, text.encode(errors="backslashreplace"), True)
        except BadRow as bad:
            yield bad.at(Row(line, {}))


class _Both(io.RawIOBase):
    """What was read of a file, and then the rest of it."""

    def __init__(self, begun: bytes, rest: BinaryIO) -> None:
        self._begun = memoryview(begun)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._begun:
            data = self._rest.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)
        size = min(len(buffer), len(self._begun))
        buffer[:size], self._begun = self._begun[:size], self._begun[size:]
        return size


class _Window:
    """A moving part of a text file, for reading JSON values that span lines."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self.text = ""
        self.at = 0
        self.line = 1
        self.ended = False

    def more(self) -> None:
        data = self._file.read(2**20)
        self.ended = not data
        try:
            self.text = self.text[self.at :] + self._utf8.decode(data, final=self.ended)
        except UnicodeDecodeError as error:
            line = self.line + self.text.count("\n", self.at) + data.count(b"\n", 0, error.start)
            raise FileFault("not_utf8", "the file is not valid UTF-8; save it as UTF-8", line) from None
        self.at = 0

    def pass_to(self, end: int) -> None:
        self.line += self.text.count("\n", self.at, end)
        self.at = end

    def next(self) -> str:
        """The next character that is not white space, or "" at the end of the file."""
        while True:
            rest = self.text[self.at : self.at + 64].lstrip(" \t\r\n")
            if rest:
                self.pass_to(self.at + len(self.text[self.at : self.at + 64]) - len(rest))
                return rest[0]
            if self.at + 64 < len(self.text):
                self.pass_to(self.at + 64)
            elif self.ended:
                self.pass_to(len(self.text))
                return ""
            else:
                self.pass_to(len(self.text))
                self.more()

    def value(self, decoder: _Decoder) -> tuple[Any, str]:
        """(value, its text) of the value that begins here. Raises FileFault."""
        while True:
            try:
                value, end = decoder.decode_at(self.text, self.at)
            except json.JSONDecodeError as error:
                if not self.ended and len(self.text) - self.at <= MAX_LINE_BYTES:
                    self.more()
                    continue
                line = self.line + self.text.count("\n", self.at, error.pos)
                raise FileFault(
                    "not_json", f"not JSON: {error.msg}", line, self.text[error.pos :][:80]
                ) from None
            except RecursionError:
                raise FileFault("too_deep", f"nested deeper than {MAX_DEPTH} levels", self.line) from None
            text = self.text[self.at : end]
            self.pass_to(end)
            return value, text


def _json_array(file: BinaryIO) -> Iterator[Entry]:
    _refuse_other_encodings(file.peek(4)[:4])  # type: ignore[attr-defined]
    window, decoder = _Window(file), _Decoder()
    window.next()
    window.pass_to(window.at + 1)
    if window.next() == "]":
        window.pass_to(window.at + 1)
    else:
        yield from _array_elements(window, decoder)
    if window.next():
        raise FileFault("not_json", "there is text after the end of the array", window.line)


def _array_elements(window: _Window, decoder: _Decoder) -> Iterator[Entry]:
    while True:
        window.next()
        line = window.line
        value, text = window.value(decoder)
        raw = text.encode(errors="backslashreplace")
        try:
            if decoder.faults:
                raise decoder.faults[0]
            yield _as_row(line, value, raw, "\\u" in text or text.count("[") + text.count("{") > MAX_DEPTH)
        except BadRow as bad:
            yield bad.at(Row(line, {}, raw))
        following = window.next()
        if following not in {",", "]"}:
            expected = (
                "the array has no end; is the file cut off?" if not following else 'expected "," or "]"'
            )
            raise FileFault("not_json", f"not JSON: {expected}", window.line)
        window.pass_to(window.at + 1)
        if following == "]":
            return


def _table(
    file: BinaryIO, delimiter: str, columns: Mapping[str, str], formula_safe: bool, watch: Watch
) -> Iterator[Entry]:
    """A CSV or TSV file. Quoted cells may hold line ends; a row's line is where it begins."""
    csv.field_size_limit(MAX_LINE_BYTES)
    # Bytes that are not UTF-8 become lone surrogates here, and an error with its line below.
    lines = (line.decode("utf-8", "surrogateescape") for _, line in _lines(file))
    header_text = next(lines, "")
    delimiter = _delimiter_of(header_text, delimiter)
    text = chain([header_text], lines)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    records = _records(reader)
    header: list[str] | None = None
    telling = Telling(lambda note, line: watch.note(note, line)) if is_of_release(header_text) else None
    for line, cells in records:
        if isinstance(cells, Problem):
            if header is None:
                raise FileFault("bad_header", f"the header can't be read: {cells.message}", line)
            yield cells
        elif header is None:
            header = _header(cells, columns)
        else:
            if formula_safe:
                cells = as_written(cells)
            elif telling:
                cells = telling.plain(line, cells)
            yield _record_row(line, header, cells)


def _delimiter_of(header: str, delimiter: str) -> str:
    """What parts the names of the header: what the file's name says, unless that parts nothing."""
    return next(
        (
            each
            for each in (delimiter, ";", "\t", ",")
            if len(next(csv.reader([header.rstrip("\r\n")], delimiter=each), [])) > 1
        ),
        delimiter,
    )


def _records(reader: Any) -> Iterator[tuple[int, list[str] | Problem]]:
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise FileFault("open_quote", "a quote opens in this row and is never closed", line) from None
            message = "a bare carriage return" if "new-line character" in str(error) else str(error)
            yield line, Problem(line, "", "not_csv", f"not CSV: {message}")
            continue
        if cells:
            yield line, cells


def _header(cells: list[str], columns: Mapping[str, str]) -> list[str]:
    names = [columns.get(cell.strip().lower(), cell.strip()) for cell in cells]
    _refuse_columns(names, 1)
    return names


def _refuse_columns(names: Sequence[str], line: int | None = None) -> None:
    """Raises FileFault for too many columns, and for two of one name, of which a row would keep the last."""
    if len(names) > MAX_COLUMNS:
        raise FileFault(
            "too_many_columns",
            f"the file has {len(names):,} columns; at most {MAX_COLUMNS:,} can be read",
            line,
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise FileFault(
            "duplicate_column", f'two columns are named "{escaped(min(twice))}"; rename one', line
        )


def _record_row(line: int, header: list[str], cells: list[str]) -> Entry:
    values = dict(zip(header, cells, strict=False))
    row = Row(line, values)
    try:
        if len(cells) != len(header):
            hint = "; is a comma outside quotes?" if len(cells) > len(header) else ""
            raise BadRow(
                "",
                "cell_count",
                f"the row has {len(cells)} cells, the header has {len(header)}{hint}",
                str(cells),
            )
        for name, cell in values.items():
            if any("\udc80" <= c <= "\udcff" for c in cell) if not cell.isascii() else False:
                raise BadRow(name, "not_utf8", f"{name} is not valid UTF-8; save the file as UTF-8", cell)
            if "\0" in cell:
                refuse_bad_text(cell, name)
    except BadRow as bad:
        return bad.at(row)
    return row


def _parquet(file: BinaryIO, raw: BinaryIO, size: int) -> Reading:
    try:
        table = pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise FileFault(
            "corrupt", "the Parquet file can't be opened: it is cut off, or not Parquet"
        ) from error
    _refuse_extension_types(table.schema_arrow)
    _refuse_columns(table.schema_arrow.names)
    columnar.refuse_unmeasured(table.schema_arrow)
    if table.metadata.num_rows == 0:
        raise FileFault("empty", "the file has no rows")
    batches = _safely(columnar.batches(file, table, size))
    return Reading("parquet", _batch_rows(batches, table.schema_arrow), raw.tell, size, table.schema_arrow)


def _safely(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except (pa.ArrowException, OSError) as error:
        raise FileFault("corrupt", "the file is damaged: part of it can't be read") from error


def _refuse_extension_types(schema: pa.Schema) -> None:
    """Python extension types were a way to run code (CVE-2023-47248); nothing here needs them."""
    for column in schema:
        marked = (column.metadata or {}).get(b"ARROW:extension:name", b"")
        if marked == b"arrow.py_extension_type":
            raise FileFault(
                "extension_type", f'the column "{column.name}" has a Python extension type, which is refused'
            )


def _batch_rows(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[Entry]:
    menders = {column.name: mend for column in schema if (mend := _mender(column))}
    number = 0
    for batch in batches:
        for values in _values_of(batch, menders):
            number += 1
            if values is None:
                message = "the row holds a value out of range, such as a date after the year 9999"
                yield Problem(number, "", "out_of_range", message)
                continue
            row = Row(number, values)
            try:
                refuse_bad_text(values)
            except BadRow as bad:
                yield bad.at(row)
            else:
                yield row


def _values_of(batch: pa.RecordBatch, menders: Mapping[str, Callable[[Any], Any]]) -> list[Values | None]:
    """The rows; None for one with a value that Python has no room for."""
    try:
        rows: list[Values | None] = batch.to_pylist()
    except (OverflowError, pa.ArrowInvalid):
        if batch.num_rows == 1:
            return [None]
        return [_values_of(batch.slice(at, 1), menders)[0] for at in range(batch.num_rows)]
    except UnicodeDecodeError:
        raise FileFault("not_utf8", "the file holds text that is not valid UTF-8; save it as UTF-8") from None
    for name, mend in menders.items():
        for row in rows:
            if row is not None:
                row[name] = mend(row[name])
    return rows


_SPELLINGS = ({"role", "content"}, {"from", "value"})


def _mender(column: pa.Field) -> Callable[[Any], Any] | None:
    """What makes of a column's values what its writer had: JSON inside is read, and of messages and tools the
    nulls are taken away that a struct has for each key that only other rows have."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    if isinstance(kind, pa.JsonType):
        return _read_json
    if pa.types.is_struct(kind):
        names = {kind.field(n).name for n in range(kind.num_fields)}
        if column.name == "tools" or any(names >= spelling for spelling in _SPELLINGS):
            return _without_nulls
    return None


def _read_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_read_json(item) for item in value]
    return json.loads(value) if isinstance(value, str) else value


def _without_nulls(value: Any) -> Any:
    """A content of null stays: a message with calls has one."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {
            key: _without_nulls(item)
            for key, item in value.items()
            if item is not None or (key == "content" and "role" in value)
        }
    return value


def _folder(path: Path) -> Reading:
    """A folder saved by `datasets.save_to_disk`: one split, or one folder a split."""
    if (path / "dataset_dict.json").is_file():
        splits = json.loads((path / "dataset_dict.json").read_bytes())["splits"]
        folders = [path / Path(split).name for split in splits]
    else:
        folders = [path]
    files = [file for folder in folders for file in _arrow_files(folder)]
    read = [0]
    try:
        with pa.memory_map(str(files[0])) as first:
            schema = pa.ipc.open_stream(first).schema
    except (pa.ArrowException, OSError):
        raise FileFault(
            "corrupt", "the Arrow files in the folder can't be read: they are cut off, or not Arrow"
        ) from None
    _refuse_extension_types(schema)
    _refuse_columns(schema.names)
    columnar.refuse_unmeasured(schema)
    sizes = [file.stat().st_size for file in files]
    return Reading(
        "folder",
        _batch_rows(_safely(_arrow_batches(files, read, sum(sizes))), schema),
        lambda: read[0],
        sum(sizes),
        schema,
    )


def _arrow_files(folder: Path) -> list[Path]:
    try:
        names = [
            entry["filename"] for entry in json.loads((folder / "state.json").read_bytes())["_data_files"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        raise FileFault(
            "not_saved", "the folder was not saved by datasets.save_to_disk: state.json is missing"
        ) from None
    # Only names inside the folder: a path in state.json must not lead elsewhere.
    files = [folder / Path(name).name for name in names]
    if not files or not all(file.is_file() for file in files):
        raise FileFault("truncated", "the folder lacks files that are named in its state.json")
    return files


def _arrow_batches(files: list[Path], read: list[int], size: int) -> Iterator[pa.RecordBatch]:
    total = columnar.Unfolded(size)
    for file in files:
        with pa.memory_map(str(file)) as source:
            columnar.refuse_unfolding(source, pa.ipc.open_stream(source).schema)
            source.seek(0)
            for batch in pa.ipc.open_stream(source):
                yield from columnar.slices(batch, total)
        read[0] += file.stat().st_size
