"""Parquet, and folders of Arrow files saved by `datasets.save_to_disk`."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from scoring.rows.formats import columnar
from scoring.rows.formats.base import Entry, Reading, refuse_columns
from scoring.rows.rows import BadRow, FileFault, Problem, Row, Values, refuse_bad_text


def parquet(file: BinaryIO, raw: BinaryIO, size: int) -> Reading:
    import pyarrow.parquet as pq  # megabytes of memory that few processes need

    try:
        table = pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise FileFault(
            "corrupt", "the Parquet file can't be opened: it is cut off, or not Parquet"
        ) from error
    _refuse_extension_types(table.schema_arrow)
    refuse_columns(table.schema_arrow.names)
    columnar.refuse_unmeasured(table.schema_arrow)
    if table.metadata.num_rows == 0:
        raise FileFault("empty", "the file has no rows")
    batches = _safely(columnar.batches(file, table, size))
    return Reading("parquet", _batch_rows(batches, table.schema_arrow), raw.tell, size, table.schema_arrow)


def saved_folder(path: Path) -> Reading:
    """A folder saved by `datasets.save_to_disk`: one split, or several in folders of their own."""
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
    refuse_columns(schema.names)
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
    restorers = {column.name: restore for column in schema if (restore := _restorer(column))}
    labels = _suggested_labels(schema)
    number = 0
    for batch in batches:
        for values in _values_of(batch, restorers):
            number += 1
            if values is None:
                message = "the row holds a value out of range, such as a date after the year 9999"
                yield Problem(number, "", "out_of_range", message)
                continue
            _name_labels(values, labels)
            row = Row(number, values)
            try:
                refuse_bad_text(values)
            except BadRow as bad:
                yield bad.at(row)
            else:
                yield row


def _values_of(batch: pa.RecordBatch, restorers: Mapping[str, Callable[[Any], Any]]) -> list[Values | None]:
    """The rows; None for a row with a value beyond the range of its Python type."""
    try:
        rows: list[Values | None] = batch.to_pylist()
    except (OverflowError, pa.ArrowInvalid):
        if batch.num_rows == 1:
            return [None]
        return [_values_of(batch.slice(at, 1), restorers)[0] for at in range(batch.num_rows)]
    except UnicodeDecodeError:
        raise FileFault("not_utf8", "the file holds text that is not valid UTF-8; save it as UTF-8") from None
    for name, restore in restorers.items():
        for row in rows:
            if row is not None:
                row[name] = restore(row[name])
    return rows


_MESSAGE_KEYS = ({"role", "content"}, {"from", "value"})


def _restorer(column: pa.Field) -> Callable[[Any], Any] | None:
    """A function that restores the values of a column; None if there is nothing to restore.

    JSON is parsed. Messages and tools lose the nulls of keys that only other rows have: a struct has all
    keys.
    """
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    if isinstance(kind, pa.JsonType):
        return _read_json
    if pa.types.is_struct(kind):
        names = {kind.field(n).name for n in range(kind.num_fields)}
        if column.name == "tools" or any(names >= keys for keys in _MESSAGE_KEYS):
            return _without_nulls
    return None


def _suggested_labels(schema: pa.Schema) -> dict[str, Mapping[int, str]]:
    """The labels by their numbers, of the columns Q.suggestion in which Argilla writes numbers. The names are
    in the metadata that `datasets` adds."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: dict(enumerate(feature["names"]))
            for column, feature in features.items()
            if column.endswith(".suggestion") and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _name_labels(row: Values, labels: Mapping[str, Mapping[int, str]]) -> None:
    """Put the names of labels in the place of their numbers. Without an agent, a number means "none"."""
    for column, names in labels.items():
        if column in row:
            row[column] = names.get(row[column]) if row.get(f"{column}.agent") is not None else None


def _read_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_read_json(item) for item in value]
    return json.loads(value) if isinstance(value, str) else value


def _without_nulls(value: Any) -> Any:
    """The value without nulls in objects, except for the content of a message: null beside tool calls."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {
            key: _without_nulls(item)
            for key, item in value.items()
            if item is not None or (key == "content" and "role" in value)
        }
    return value
