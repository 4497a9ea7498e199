"""The files of a Release: rows in, bytes out, the same bytes for the same rows."""

import csv
import gzip
import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.pipeline.text.spreadsheets import plain_cell

Row = dict[str, Any]
Columns = Mapping[str, str]

# Characters that str.splitlines() takes for the end of a line and JSON does not escape by itself.
_LINE_ENDS = {"\u0085": rb"\u0085", "\u2028": rb"\u2028", "\u2029": rb"\u2029"}

_ROWS_A_GROUP = 1_000
_BYTES_A_GROUP = 4 * 2**20


def json_line(row: Row) -> bytes:
    """The row as one line of JSON in UTF-8, keys in their order. A line stays one line also for readers that
    take U+0085, U+2028 or U+2029 for a line's end: these are written as escapes, which decode to the same."""
    line = orjson.dumps(row)
    for character, escape in _LINE_ENDS.items():
        line = line.replace(character.encode(), escape)
    return line + b"\n"


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
    """Something that takes rows and, when closed, has written a file."""

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
        # No name and no time inside, or two builds of one state would differ.
        self._file = gzip.GzipFile(filename="", mode="wb", fileobj=self._raw, compresslevel=6, mtime=0)

    def write(self, row: Row) -> None:
        self._file.write(json_line(row))

    def close(self) -> None:
        self._file.close()
        self._raw.close()


class _Parquet:
    """Rows are held until there are enough for a row group, by number or by size."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self._schema = pa.schema([(name, _ARROW[kind]) for name, kind in columns.items()])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Row] = []
        self._size = 0

    def write(self, row: Row) -> None:
        self._rows.append(row)
        self._size += sum(len(value) for value in row.values() if isinstance(value, str | list))
        if len(self._rows) >= _ROWS_A_GROUP or self._size >= _BYTES_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        columns = [_column([row[it.name] for row in self._rows], it.type) for it in self._schema]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))
        self._rows, self._size = [], 0

    def close(self) -> None:
        if self._rows:
            self._flush()
        self._writer.close()


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """JSON goes into its column as the text of each object, which `datasets` reads again."""
    if kind == _ARROW["object"]:
        return pa.array([_json_text(value) for value in values], pa.string()).cast(kind)
    if kind == _ARROW["objects"]:
        lists = [None if value is None else [_json_text(item) for item in value] for value in values]
        return pa.array(lists, pa.list_(pa.string())).cast(kind)
    return pa.array(values, kind)


def _json_text(value: Any) -> str:
    return orjson.dumps(value).decode()


class _Csv:
    def __init__(self, path: Path, columns: Columns) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n", quoting=csv.QUOTE_ALL)
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
"""How a profile may be written; also the ending of the file's name."""


class RowFile(AbstractContextManager["RowFile"]):
    """One file of rows being written. `rows` counts them; `sha256` and `size` are there once it is closed."""

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
