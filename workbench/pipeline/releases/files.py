"""The files of a Release: rows in, bytes out, the same bytes for the same rows."""

import csv
import gzip
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from io import StringIO
from pathlib import Path
from types import TracebackType
from typing import Protocol

import orjson
import pyarrow as pa

from workbench.pipeline.text.spreadsheets import plain_cell

Row = Mapping[str, object]
Columns = Mapping[str, str]

# str.splitlines() ends a line at these characters, and JSON does not escape them.
_LINE_ENDS = {"\u0085": rb"\u0085", "\u2028": rb"\u2028", "\u2029": rb"\u2029"}

_ROWS_PER_GROUP = 1_000
_BYTES_PER_GROUP = 4 * 2**20


def json_line(row: Row) -> bytes:
    """The row as one line of JSON in UTF-8, keys in their order.

    U+0085, U+2028 and U+2029 are escaped, as some readers end a line there."""
    line = orjson.dumps(row)
    for character, escape in _LINE_ENDS.items():
        line = line.replace(character.encode(), escape)
    return line + b"\n"


def as_text(row: Row, format: str) -> str:  # noqa: A002 - as above
    """The row as it stands in a file of the format; for a binary format, as JSON."""
    if format != "csv":
        return json_line(row).decode()
    line = StringIO()
    csv.writer(line, _Quoted).writerow([plain_cell(value) for value in row.values()])
    return line.getvalue()


def heading(columns: Columns, format: str) -> str:  # noqa: A002 - as above
    """The first line of a file of the format, before its rows; "" = none."""
    line = StringIO()
    if format == "csv":
        csv.writer(line, _Quoted).writerow(columns)
    return line.getvalue()


class _Quoted(csv.excel):
    lineterminator = "\n"
    quoting = csv.QUOTE_ALL


def _message(role: str, content: str) -> pa.DataType:
    return pa.struct([(role, pa.string()), (content, pa.string())])


_ARROW = {
    "string": pa.string(),
    "float64": pa.float64(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "message": _message("role", "content"),
    "messages": pa.list_(_message("role", "content")),
    "turn": _message("from", "value"),
    "turns": pa.list_(_message("from", "value")),
    "object": pa.json_(),
    "objects": pa.list_(pa.json_()),
}


class _Sink(Protocol):
    """Writes rows to a file, which is complete after `close`."""

    def write(self, row: Row) -> None: ...
    def close(self) -> None: ...


class _Jsonl:
    def __init__(self, path: Path, columns: Columns) -> None:
        self._file = path.open("wb")

    def write(self, row: Row) -> None:
        self._file.write(json_line(row))

    def close(self) -> None:
        self._file.close()


class _GzippedJsonl:
    def __init__(self, path: Path, columns: Columns) -> None:
        self._raw = path.open("wb")
        # Without a name and a time, so that two builds of one state have the same bytes.
        self._file = gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, compresslevel=6, mtime=0)

    def write(self, row: Row) -> None:
        self._file.write(json_line(row))

    def close(self) -> None:
        self._file.close()
        self._raw.close()


class _Parquet:
    """Holds rows until a row group is full, by number or by size."""

    def __init__(self, path: Path, columns: Columns) -> None:
        import pyarrow.parquet as pq  # megabytes of memory that few processes need

        self._schema = pa.schema([(name, _ARROW[kind]) for name, kind in columns.items()])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Row] = []
        self._size = 0

    def write(self, row: Row) -> None:
        self._rows.append(row)
        self._size += sum(len(value) for value in row.values() if isinstance(value, str | list))
        if len(self._rows) >= _ROWS_PER_GROUP or self._size >= _BYTES_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        columns = [_column([row[field.name] for row in self._rows], field.type) for field in self._schema]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._rows, self._size = [], 0

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()


def _column(values: Sequence[object], kind: pa.DataType) -> pa.Array:
    """Values as a column; JSON as the text of each object, which `datasets` parses."""
    if kind == _ARROW["object"]:
        return pa.array([_json_text(value) for value in values], pa.string()).cast(kind)
    if kind == _ARROW["objects"]:
        lists = [
            [_json_text(item) for item in value] if isinstance(value, list) else None for value in values
        ]
        return pa.array(lists, pa.list_(pa.string())).cast(kind)
    return pa.array(values, kind)


def _json_text(value: object) -> str:
    return orjson.dumps(value).decode()


class _Csv:
    def __init__(self, path: Path, columns: Columns) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, _Quoted)
        self._writer.writerow(columns)

    def write(self, row: Row) -> None:
        self._writer.writerow([plain_cell(value) for value in row.values()])

    def close(self) -> None:
        self._file.close()


_SINKS: dict[str, type[_Jsonl | _GzippedJsonl | _Parquet | _Csv]] = {
    "jsonl": _Jsonl,
    "jsonl.gz": _GzippedJsonl,
    "parquet": _Parquet,
    "csv": _Csv,
}
FORMATS = tuple(_SINKS)
"""The formats of a file of rows, and the endings of its name."""


class RowFile(AbstractContextManager["RowFile"]):
    """A file of rows. `rows` counts the rows so far; `sha256` and `size` are set on exit."""

    def __init__(self, path: Path, format: str, columns: Columns) -> None:  # noqa: A002 - the word of the manifest
        self.path = path
        self.rows = self.size = 0
        self.sha256 = ""
        self._sink: _Sink = _SINKS[format](path, columns)

    def write(self, row: Row) -> None:
        self._sink.write(row)
        self.rows += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sink.close()
        if error is None:
            with self.path.open("rb") as written:
                self.sha256 = hashlib.file_digest(written, "sha256").hexdigest()
            self.size = self.path.stat().st_size
