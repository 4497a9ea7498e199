"""Parquet and Arrow in slices of bounded size: the unpacked size is known before anything is unpacked.

A file of some kilobytes may hold gigabytes: a page that compresses well, a dictionary entry that every row
refers to, a list of a billion equal numbers. So all page headers of a row group are read first, texts are
read as dictionary indices, and rows are measured before they become Python objects.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pyarrow as pa

from scoring.rows.formats.compressed import FREE_BYTES, MAX_RATIO
from scoring.rows.rows import FileFault, escaped

if TYPE_CHECKING:
    import pyarrow.parquet as pq

MAX_ROWS = 500
SLICE_BYTES = 8 * 2**20
READ_BYTES = 32 * 2**20
"""Unpacked bytes of one read of all columns."""
MAX_ROW_BYTES = 16 * 2**20
MAX_PAGES_BYTES = 128 * 2**20
"""Unpacked bytes of the largest page and the dictionary of each column, over all columns: they are in memory
at the same time."""
MAX_LIST_VALUES = 2**24
"""Values of a column of lists in a row group: one row may hold all of them."""
MAX_UNSEEN_BYTES = 128 * 2**20
"""Unpacked bytes, at worst, of a column of lists whose texts can't be measured."""
A_VALUE = 56
"""Bytes of any Python object without its content."""

_DELTA_BYTE_ARRAY = 7
_PLAIN = {"PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY"}


class _Thrift:
    """Reads structs of Thrift's compact protocol: field number -> number, boolean or struct."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def number(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def struct(self, depth: int = 0) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        field = 0
        while head := self.data[self.at]:
            self.at += 1
            field = field + (head >> 4) if head >> 4 else self.number()
            fields[field] = self._value(head & 15, depth)
        self.at += 1
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind in (4, 5, 6):
            return self.number()
        if kind in (3, 7, 8):
            length = {3: 1, 7: 8}.get(kind) or self.varint()
            self.at += length
            return None
        if kind == 12 and depth < 4:
            return self.struct(depth + 1)
        raise ValueError("unexpected data in a page header")


@dataclass(frozen=True)
class _Page:
    unfolded: int
    values: int
    encoding: int
    is_dictionary: bool


def _pages(file: BinaryIO, start: int, length: int) -> Iterator[_Page]:
    """The pages of a column chunk, from their headers. Raises ValueError for a damaged header."""
    at, end = start, start + length
    while at < end:
        head, size = _head(file, at)
        packed, unfolded = head.get(3, -1), head.get(2, -1)
        if packed < 0 or unfolded < 0:
            raise ValueError("a page without a size")
        details: dict[int, Any] = head.get(5) or head.get(7) or head.get(8) or {}
        encoding = details.get(4 if 8 in head else 2, 0)
        yield _Page(unfolded, details.get(1, 0), encoding, 7 in head)
        at += size + packed


def _head(file: BinaryIO, at: int) -> tuple[dict[int, Any], int]:
    for size in (2**8, 2**16, 2**24):  # statistics in a head may hold long texts
        file.seek(at)
        thrift = _Thrift(file.read(size))
        try:
            return thrift.struct(), thrift.at
        except IndexError:
            continue
    raise ValueError("a page header without an end")


class _Chunk:
    """One column of one row group, measured by its page headers."""

    def __init__(self, file: BinaryIO, group: "pq.RowGroupMetaData", index: int, where: str) -> None:
        column = group.column(index)
        self.where = where
        offsets = (column.dictionary_page_offset, column.data_page_offset)
        start = min(offset for offset in offsets if offset)
        pages = list(_pages(file, start, column.total_compressed_size))
        data = [page for page in pages if not page.is_dictionary]
        self.values = sum(page.values for page in data)
        self.dictionary = max((page.unfolded for page in pages if page.is_dictionary), default=0)
        self.largest = self.dictionary + max((page.unfolded for page in data), default=0)
        self.a_row = max((page.unfolded / max(1, page.values) for page in data), default=0.0)
        self.delta = max((page.unfolded for page in data if page.encoding == _DELTA_BYTE_ARRAY), default=0)

    def refuse_unbounded(self, in_lists: bool, measured: bool) -> None:
        """Raise FileFault if a single row may hold too much."""
        longest = self.longest(measured)
        if in_lists and self.values > MAX_LIST_VALUES:
            self._refuse(
                f"holds {self.values:,} values; write row groups of at most {MAX_LIST_VALUES:,} values"
            )
        if in_lists and longest * self.values > MAX_UNSEEN_BYTES:
            self._refuse(
                "may unpack to more than can be checked beforehand; save it as plain text or JSON lines"
            )

    def longest(self, measured: bool) -> int:
        """The largest possible size of a value in bytes; 0 if the size of the pages bounds it."""
        return max(self.delta, 0 if measured else self.dictionary)

    def _refuse(self, reason: str) -> None:
        raise FileFault("too_large", f"{self.where} {reason}")


def batches(file: BinaryIO, table: "pq.ParquetFile", size: int) -> Iterator[pa.RecordBatch]:
    """The rows of the file in slices of at most 500 rows and 8 MiB; texts may come as dictionaries. Raises
    FileFault with row group and column beyond the limits above, and where all unfolds to more than
    `Unfolded` allows of a file of `size` bytes."""
    import pyarrow.parquet as pq  # megabytes of memory that few processes need

    texts = _measurable(table.metadata)
    # Without extensions, since Arrow makes no dictionaries of JSON; its text is the same.
    reader = pq.ParquetFile(file, read_dictionary=texts, buffer_size=2**20, arrow_extensions_enabled=False)
    total = Unfolded(size)
    for number in range(table.num_row_groups):
        group = table.metadata.row_group(number)
        if group.num_rows == 0:
            continue
        rows = _rows_a_read(file, table, number, set(texts))
        for batch in reader.iter_batches(rows, row_groups=[number], use_threads=False):
            yield from slices(batch, total, f"row group {number + 1}, ")


def _measurable(metadata: "pq.FileMetaData") -> list[str]:
    """The text columns that Arrow can read as dictionary indices, which depends on their encoding."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [(index, metadata.schema.column(index)) for index in range(metadata.num_columns)]
    return [
        column.path
        for index, column in columns
        if column.physical_type == "BYTE_ARRAY"
        and column.logical_type.type in ("STRING", "NONE", "JSON", "ENUM")
        and all(_PLAIN.issuperset(group.column(index).encodings) for group in groups)
    ]


def _rows_a_read(file: BinaryIO, table: "pq.ParquetFile", number: int, measured: set[str]) -> int:
    """The number of rows of the row group to read at once. Raises FileFault."""
    group = table.metadata.row_group(number)
    a_row, held = 0.0, 0
    for index in range(group.num_columns):
        column = table.metadata.schema.column(index)
        where = f'row group {number + 1}, column "{escaped(column.path)}"'
        try:
            chunk = _Chunk(file, group, index, where)
        except ValueError as error:
            raise FileFault("corrupt", f"{where} is damaged: {error}") from None
        held += chunk.largest
        if held > MAX_PAGES_BYTES:
            raise FileFault(
                "too_large",
                f"{where} has pages that unpack to {_mebibytes(chunk.largest)}; "
                f"the pages of all columns may have {_mebibytes(MAX_PAGES_BYTES)} together",
            )
        is_measured = column.path in measured
        chunk.refuse_unbounded(column.max_repetition_level > 0, is_measured)
        if column.max_repetition_level == 0:
            a_row += max(chunk.a_row, chunk.longest(is_measured)) + 8
        else:
            a_row += (chunk.a_row + 16) * max(1.0, chunk.values / group.num_rows)
    return int(max(1, min(MAX_ROWS, READ_BYTES // max(1.0, a_row))))


def _mebibytes(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"


# --- Arrow --------------------------------------------------------------------------------------------------


class _Table:
    """A FlatBuffers table, as in the header of an Arrow message; fields go by number."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._fields = at - struct.unpack_from("<i", data, at)[0]

    @classmethod
    def first(cls, data: bytes) -> "_Table":
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def place(self, number: int) -> int:
        """The offset of the field; 0 for a missing field."""
        (size,) = struct.unpack_from("<H", self._data, self._fields)
        if 4 + 2 * number >= size:
            return 0
        (offset,) = struct.unpack_from("<H", self._data, self._fields + 4 + 2 * number)
        return self._at + offset if offset else 0

    def _followed(self, number: int) -> int:
        place = self.place(number)
        return place and place + struct.unpack_from("<I", self._data, place)[0]

    def table(self, number: int) -> "_Table":
        return _Table(self._data, self._followed(number))

    def places(self, number: int) -> list[tuple[int, int]]:
        """A list of pairs of 64-bit numbers."""
        start = self._followed(number)
        (count,) = struct.unpack_from("<I", self._data, start) if start else (0,)
        return list(struct.iter_unpack("<qq", self._data[start + 4 : start + 4 + 16 * count]))


def refuse_unfolding(source: pa.NativeFile, schema: pa.Schema) -> None:
    """Check all batches of an Arrow stream before any is unpacked, since Arrow unpacks a batch as a whole.

    Raises FileFault with batch and column for a compressed batch of more than 128 MiB.
    """
    names = [name for column in schema for name in [column.name] * _buffers(column.type)]
    if any("_view" in str(column.type) for column in schema):
        names = []  # each batch has another number of buffers
    source.seek(0)
    reader = pa.ipc.MessageReader.open_stream(source)
    number = 0
    while True:
        try:
            message = reader.read_next_message()
        except StopIteration:
            return
        if message.type == "schema":
            continue
        number += message.type == "record batch"
        sizes = _unfolded(message)
        if sum(sizes) > MAX_PAGES_BYTES:
            widest = sizes.index(max(sizes))
            where = f"batch {number}" if message.type == "record batch" else "a dictionary"
            if message.type == "record batch" and widest < len(names):
                where += f', column "{escaped(names[widest])}"'
            raise FileFault(
                "too_large",
                f"{where} unpacks to {_mebibytes(max(sizes))}; a compressed batch may have "
                f"{_mebibytes(MAX_PAGES_BYTES)}",
            )


def _unfolded(message: pa.Message) -> list[int]:
    """Unpacked bytes of each buffer of a batch; 0 for an uncompressed one, which is read in place. Raises
    pa.ArrowInvalid for a damaged batch."""
    try:
        head = _Table.first(message.metadata.to_pybytes()).table(2)
        batch = head.table(1) if message.type == "dictionary" else head
        if not batch.place(3):
            return [0]
        return [_stated_size(message.body, start) if length >= 8 else 0 for start, length in batch.places(2)]
    except (struct.error, IndexError, OverflowError) as error:
        raise pa.ArrowInvalid(f"no head of a batch: {error}") from None


def _stated_size(body: pa.Buffer, start: int) -> int:
    """The unpacked size in front of a compressed buffer. There, -1 means not compressed; here that is 0."""
    if not 0 <= start <= body.size - 8:
        raise IndexError(start)
    size: int = struct.unpack("<q", body.slice(start, 8).to_pybytes())[0]
    return max(0, size)


def _buffers(kind: pa.DataType) -> int:
    """The number of buffers of a column of this type in a batch."""
    if isinstance(kind, pa.BaseExtensionType):
        return _buffers(kind.storage_type)
    if pa.types.is_null(kind):
        return 0
    children = sum(_buffers(kind.field(n).type) for n in range(kind.num_fields))
    if pa.types.is_struct(kind) or pa.types.is_fixed_size_list(kind):
        return 1 + children
    return 2 + _is_text(kind) + children


def refuse_unmeasured(schema: pa.Schema) -> None:
    """Raise FileFault for a column type that repeats values without copies, such as run-end encoding: its
    size in Python can't be measured beforehand."""
    for column in schema:
        if not _is_measured(column.type):
            message = f'the column "{escaped(column.name)}" is {column.type}, which can\'t be read; '
            raise FileFault("unknown_type", message + "save it as plain text, numbers or lists")


def _is_measured(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _is_measured(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _is_measured(kind.value_type)
    if pa.types.is_nested(kind):
        lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
        is_known = any(test(kind) for test in (*lists, pa.types.is_struct, pa.types.is_map))
        return is_known and all(_is_measured(kind.field(n).type) for n in range(kind.num_fields))
    return not pa.types.is_run_end_encoded(kind)


class Unfolded:
    """The unpacked bytes of a file of `size` bytes: at most max(FREE_BYTES, MAX_RATIO * size)."""

    def __init__(self, size: int) -> None:
        self.limit = max(FREE_BYTES, MAX_RATIO * size)
        self._bytes = 0

    def add(self, count: int, where: Callable[[], str]) -> None:
        self._bytes += count
        if self._bytes > self.limit:
            raise FileFault(
                "bomb", f"{where()}: the file unpacks to more than {_mebibytes(self.limit)}, which is refused"
            )


def slices(batch: pa.RecordBatch, total: Unfolded, where: str = "") -> Iterator[pa.RecordBatch]:
    """The batch in slices of at most 500 rows and 8 MiB. Raises FileFault for a row of more than 16 MiB."""
    of_columns = [measured(column) for column in batch.columns]

    def widest(first: int, last: int) -> str:
        sizes = [int(column[first:last].sum()) for column in of_columns]
        return f'{where}column "{escaped(batch.schema.names[sizes.index(max(sizes))])}"'

    sizes = sum(of_columns, np.zeros(batch.num_rows))
    ends = np.cumsum(sizes)
    first = 0
    while first < batch.num_rows:
        before = ends[first - 1] if first else 0
        last = int(np.searchsorted(ends, before + SLICE_BYTES, side="right"))
        last = min(batch.num_rows, first + MAX_ROWS, max(first + 1, last))
        if sizes[first] > MAX_ROW_BYTES:
            raise FileFault(
                "too_large",
                f"{widest(first, first + 1)} unpacks to {_mebibytes(sizes[first])} in one row; "
                f"a row may have {_mebibytes(MAX_ROW_BYTES)}",
            )
        total.add(int(ends[last - 1] - before), lambda: widest(0, batch.num_rows))
        yield batch.slice(first, last - first)
        first = last


def measured(array: pa.Array) -> Any:
    """(N,) bytes of each of N rows as Python objects, computed without unpacking."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return measured(array.storage)
    if pa.types.is_dictionary(kind):
        entries = np.append(measured(array.dictionary), A_VALUE)
        return entries[array.indices.fill_null(len(entries) - 1).to_numpy(zero_copy_only=False)]
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        ends = np.append(0.0, np.cumsum(measured(array.values) + 8.0))
        return np.diff(ends[(np.arange(len(array) + 1) + array.offset) * size]) + A_VALUE
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        views = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)
        lengths = views[array.offset : array.offset + len(array), 0]  # the texts may lie on each other
        return np.where(array.is_valid().to_numpy(zero_copy_only=False), lengths, 0) + float(A_VALUE)
    if _is_text(kind):
        import pyarrow.compute as pc  # megabytes of memory that few processes need

        return pc.binary_length(array).fill_null(0).to_numpy(zero_copy_only=False) + float(A_VALUE)
    if pa.types.is_struct(kind):
        fields = (measured(array.field(index)) for index in range(kind.num_fields))
        return sum(fields, np.full(len(array), float(A_VALUE * (1 + kind.num_fields))))
    if pa.types.is_map(kind):
        return _of_lists(array, measured(array.keys) + measured(array.items) + A_VALUE)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _of_lists(array, measured(array.values))
    return np.full(len(array), A_VALUE + array.nbytes / max(1, len(array)) * 4)


def _of_lists(array: Any, of_values: Any) -> Any:
    ends = np.append(0.0, np.cumsum(of_values + 8.0))
    offsets = array.offsets.to_numpy(zero_copy_only=False)
    return np.diff(ends[offsets]) + A_VALUE


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(test(kind) for test in tests)
