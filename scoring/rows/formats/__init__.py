"""Files to rows: JSONL, JSON array, CSV, TSV and Parquet, each plain, gz or zst, and folders saved by
`datasets.save_to_disk`.

The ending of the name decides between JSON, a table and Parquet; the first bytes decide on the layout of the
JSON, the separator of the table, the encoding and the packing. Readers hold one row or one
small batch at a time. A fault of one row is yielded as a Problem with its line; a fault of the file raises
FileFault.
"""

import codecs
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, cast

from scoring.rows.formats.arrow import parquet, saved_folder
from scoring.rows.formats.base import Entry, Reading, Watch, WatchedFile, as_utf8, name_faults
from scoring.rows.formats.compressed import PACKINGS, seekable, unpacked
from scoring.rows.formats.documents import json_lines_by_name, json_values
from scoring.rows.formats.tables import table_rows
from scoring.rows.rows import FileFault

__all__ = ["PACKINGS", "Entry", "Reading", "endings", "is_table", "known_name", "open_rows"]


KINDS = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "tsv",
    ".parquet": "parquet",
}  # fmt: skip


BY_CONTENT = "by its first bytes"
"""The kind of a compressed file whose name has no other ending, as in "answers.gz"."""


def known_name(name: str) -> bool:
    """True for a name with an ending that can be imported."""
    return _kind_of(name) is not None


def endings() -> str:
    """The endings that can be imported, for messages."""
    return ", ".join(KINDS) + ", each also with .gz or .zst"


def _kind_of(name: str) -> tuple[str, str] | None:
    """(kind, packing) that the name claims, packing "" for none."""
    suffixes = [suffix.lower() for suffix in Path(name.strip()).suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKINGS else ""
    kind = KINDS.get(suffixes[-1]) if suffixes else BY_CONTENT if packing else None
    return (kind, packing) if kind else None


def is_table(name: str) -> bool:
    """True for the name of a CSV or TSV file."""
    return (_kind_of(name) or ("", ""))[0] in {"csv", "tsv"}


def _kind_by_content(file: BinaryIO) -> str:
    """The kind of an unpacked file: Parquet and JSON have a mark of their own, a table has none."""
    start: bytes = file.peek(2**12)[: 2**12]  # type: ignore[attr-defined]
    if start.startswith(b"PAR1"):
        return "parquet"
    # The zero bytes of UTF-16 stand before or after its ASCII characters.
    first = start.removeprefix(codecs.BOM_UTF8).lstrip(b"\xff\xfe\0 \t\r\n")[:1]
    return "json" if first in {b"{", b"["} else "csv"


def _rows_of(reader: Callable[[BinaryIO], Iterator[Entry]], file: BinaryIO, watch: Watch) -> Iterator[Entry]:
    yield from reader(as_utf8(file, watch))


def open_rows(
    source: Path | BinaryIO,
    name: str,
    stack: ExitStack,
    columns: Mapping[str, str],
    *,
    formula_safe: bool = False,
) -> Reading:
    """Open `source` in the format of the ending of `name`; a path without `name` uses its own.

    `stack` closes every file opened here. `columns`: known column names by their lower case, for CSV headers.
    `formula_safe`: remove the ' of a Release from each CSV cell, even if the file is not recognised as one of
    a Release (see rows.defused). Raises FileFault.
    """
    if isinstance(source, Path):
        if source.is_dir():
            return saved_folder(source)
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
    file = unpacked(raw, packing, stack)
    if kind == BY_CONTENT:
        kind = _kind_by_content(file)
    if kind == "parquet":
        return parquet(seekable(file, stack), raw, size)
    watch = Watch()
    readers: dict[str, Callable[[BinaryIO], Iterator[Entry]]] = {
        "jsonl": json_lines_by_name,
        "json": json_values,
        "csv": lambda f: table_rows(f, ",", columns, formula_safe, watch),
        "tsv": lambda f: table_rows(f, "\t", columns, formula_safe, watch),
    }
    header_line = 1 if kind in {"csv", "tsv"} else None
    watched = cast("BinaryIO", io.BufferedReader(WatchedFile(file, watch), 2**18))
    rows = name_faults(_rows_of(readers[kind], watched, watch))
    return Reading(kind, rows, raw.tell, size, header_line=header_line, watch=watch)
