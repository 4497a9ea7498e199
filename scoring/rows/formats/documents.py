"""JSON over several lines: an array of objects, objects in sequence, or one object around the rows."""

import codecs
import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from scoring.rows.formats.base import MAX_LINE_BYTES, Entry, fill, refuse_other_encodings
from scoring.rows.formats.jsonl import Decoder, as_row, json_lines
from scoring.rows.rows import MAX_DEPTH, BadRow, FileFault, Row

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


MAX_DOCUMENT_VALUES = 2_000_000
MAX_DOCUMENT_BYTES = 64 * 2**20
"""Of a JSON file that is neither an array nor lines: such a file is read into memory."""
HINT = "write an array of objects, or one object a line"
_ROW_COLUMNS = frozenset(
    {
        "prompt", "chosen", "rejected", "completions", "completion", "question", "instruction", "messages",
        "conversations", "conversation_a", "answers", "summaries", "response", "response_1", "message_id",
        "message_tree_id", "title", "fields",
    }
)  # fmt: skip


class _Window:
    """A moving window of a text file, for JSON values over several lines. The next value begins at
    `text[at]`, on `line` of the file."""

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
            piece = self.text[self.at : self.at + 64]
            if stripped := piece.lstrip(" \t\r\n"):
                self.pass_to(self.at + len(piece) - len(stripped))
                return stripped[0]
            if self.at + 64 < len(self.text):
                self.pass_to(self.at + 64)
            elif self.ended:
                self.pass_to(len(self.text))
                return ""
            else:
                self.pass_to(len(self.text))
                self.more()

    def value(self, decoder: Decoder) -> tuple[Any, str]:
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


class _Rejoined(io.RawIOBase):
    """Bytes already read from a file, followed by the remainder of the file."""

    def __init__(self, begun: bytes, remainder: BinaryIO) -> None:
        self._begun = begun
        self._remainder = remainder

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        size = len(memoryview(buffer))
        if not self._begun:
            return fill(buffer, self._remainder.read(size))
        data, self._begun = self._begun[:size], self._begun[size:]
        return fill(buffer, data)


def json_lines_by_name(file: BinaryIO) -> Iterator[Entry]:
    """A .jsonl file: one object a line. Some tools write an object over several lines, or one array."""
    start = _start_of(file)
    if start.startswith(b"["):
        return _json_array(file)
    first, end, _ = start.partition(b"\n")
    if start.startswith(b"{") and end and not first.rstrip().endswith(b"}"):
        return _json_object(file)
    return json_lines(file)


def json_values(file: BinaryIO) -> Iterator[Entry]:
    """A .json file: one array of objects, or JSON lines, which many tools write."""
    start = _start_of(file)
    if start.startswith(b"["):
        return _json_array(file)
    first = start.partition(b"\n")[0].rstrip()
    if start.startswith(b"{") and (not first.endswith(b"}") or b"\n" not in start.strip()):
        return _json_object(file)
    return json_lines(file)


def _start_of(file: BinaryIO) -> bytes:
    start: bytes = file.peek(2**12)[: 2**12]  # type: ignore[attr-defined]
    return start.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")


def _json_object(file: BinaryIO) -> Iterator[Entry]:
    """A file of objects in sequence, in any layout, or of one object around the list of rows."""
    data = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        yield from json_lines(
            cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", _Rejoined(data, file))))
        )
        return
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_DOCUMENT_VALUES:
        message = f"the file is one JSON document of more than {MAX_DOCUMENT_VALUES:,} values"
        raise FileFault("too_large", f"{message}; write one object a line")
    decoder = Decoder()
    try:
        outer = decoder.decode(data.decode("utf-8-sig"))
    except (BadRow, UnicodeDecodeError):
        yield from json_lines(io.BytesIO(data)) if _has_lines(data) else _json_stream(io.BytesIO(data))
        return
    if (rows := _rows_inside(outer)) is None:
        yield from _json_stream(io.BytesIO(data))
        return
    for number, value in enumerate(rows, start=1):
        try:
            yield as_row(number, value, b"", True)
        except BadRow as bad:
            yield bad.at(Row(number, {}))


def _has_lines(data: bytes) -> bool:
    """True if the first or the second line is a whole object."""
    for line in data.removeprefix(codecs.BOM_UTF8).lstrip().split(b"\n")[:2]:
        try:
            if isinstance(json.loads(line), dict):
                return True
        except (ValueError, RecursionError):
            continue
    return False


def _rows_inside(outer: Any) -> list[Any] | None:
    """The one list of objects in the object `outer`; None where `outer` may itself be a row."""
    if isinstance(outer, dict) and (records := _records_of_columns(outer) or _records_by_id(outer)):
        return records
    if not isinstance(outer, dict) or not outer.keys().isdisjoint(_ROW_COLUMNS):
        return None
    lists = [rows for rows in outer.values() if isinstance(rows, list) and rows and isinstance(rows[0], dict)]
    if len(lists) != 1:
        contents = "several lists of objects" if lists else "no list of objects in it"
        raise FileFault("one_object", f"the file is one JSON object with {contents}; {HINT}", 1)
    return lists[0]


_OF_ARGILLA = "_server_id"
"""A key of every record that Argilla exports. It also writes all records as one object."""


def _records_of_columns(outer: dict[str, Any]) -> list[Any] | None:
    """The records of an object of columns, {"id": [...], "_server_id": [...]}."""
    columns = list(outer.values())
    if _OF_ARGILLA not in outer or not all(isinstance(column, list) for column in columns):
        return None
    lengths = {name: len(column) for name, column in outer.items()}
    if len(set(lengths.values())) > 1:
        short, long = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        message = f"the column {short} has {lengths[short]} values, and {long} has {lengths[long]}"
        raise FileFault("unequal_columns", f"{message}; export a list of records")
    return [dict(zip(outer, row, strict=True)) for row in zip(*columns, strict=True)]


def _records_by_id(outer: dict[str, Any]) -> list[Any] | None:
    """The records of an object by id, {"ext-1": {"_server_id": ...}}."""
    records = list(outer.values())
    is_records = records and all(isinstance(record, dict) and _OF_ARGILLA in record for record in records)
    return records if is_records else None


def _json_stream(file: BinaryIO) -> Iterator[Entry]:
    """Objects one after another, each over any number of lines."""
    window, decoder = _Window(cast("BinaryIO", io.BufferedReader(cast("io.RawIOBase", file)))), Decoder()
    while window.next():
        line = window.line
        try:
            value, text = window.value(decoder)
        except FileFault as fault:
            message = f"{fault.problem.message}; {HINT}"
            raise FileFault("not_json", message, fault.problem.line, fault.problem.excerpt) from None
        try:
            if decoder.faults:
                raise decoder.faults[0]
            yield as_row(line, value, text.encode(errors="backslashreplace"), True)
        except BadRow as bad:
            yield bad.at(Row(line, {}))


def _json_array(file: BinaryIO) -> Iterator[Entry]:
    refuse_other_encodings(file.peek(4)[:4])  # type: ignore[attr-defined]
    window, decoder = _Window(file), Decoder()
    window.next()
    window.pass_to(window.at + 1)
    if window.next() == "]":
        window.pass_to(window.at + 1)
    else:
        yield from _array_elements(window, decoder)
    if window.next():
        raise FileFault("not_json", "there is text after the end of the array", window.line)


def _array_elements(window: _Window, decoder: Decoder) -> Iterator[Entry]:
    while True:
        window.next()
        line = window.line
        value, text = window.value(decoder)
        raw = text.encode(errors="backslashreplace")
        try:
            if decoder.faults:
                raise decoder.faults[0]
            yield as_row(line, value, raw, "\\u" in text or text.count("[") + text.count("{") > MAX_DEPTH)
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
