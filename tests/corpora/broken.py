"""Files that are damaged, mislabelled, too large or wrong in a row, and their good neighbours."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq

from tests.corpora.table import CorpusFile, dish, lines, text_of

COLUMNS = ("id", "prompt", "chosen", "rejected")
MEGABYTE = 2**20


def _jsonl() -> list[CorpusFile]:
    good = text_of(dish(1), dish(2), dish(3))
    return [
        CorpusFile(
            "bom.jsonl",
            lambda: b"\xef\xbb\xbf" + text_of(dish(1), dish(2)).encode(),
            "a byte order mark",
            rows=2,
        ),
        CorpusFile("crlf.jsonl", lambda: good.replace("\n", "\r\n").encode(), "lines end with CR LF", rows=3),
        CorpusFile(
            "mixed-ends.jsonl",
            lambda: (good.replace("\n", "\r\n", 1) + json.dumps(dish(4))).encode(),
            "line ends of both kinds, and none after the last row",
            rows=4,
        ),
        CorpusFile(
            "lone-cr.jsonl",
            lambda: good.replace("\n", "\r").encode(),
            "a lone CR ends no line",
            line=1,
            says="carriage return",
        ),
        CorpusFile(
            "blank-lines.jsonl",
            lines(dish(1), "", "", dish(2), "", "{broken", dish(3)),
            "blank lines count as lines",
            line=6,
            lenient=(3, (6,)),
        ),
        CorpusFile("utf16.jsonl", lambda: good.encode("utf-16"), "UTF-16", rows=3),
        CorpusFile(
            "latin1.jsonl",
            lambda: (
                text_of(dish(1), dish(2)).encode()
                + text_of(dish(3, chosen="Crème")).encode("latin-1")
                + text_of(dish(4)).encode()
            ),
            "one line in Latin-1",
            line=3,
            says="UTF-8",
            lenient=(3, (3,)),
        ),
        CorpusFile(
            "syntax.jsonl",
            lines(
                dish(1),
                '{"prompt": "p", "chosen": "c",}',
                "{'prompt': 'p'}",
                "# note",
                '{"prompt": "tab\there", "chosen": "c", "rejected": "r"}',
                dish(2),
            ),
            "a comma too many, single quotes, a comment, a raw tab",
            line=2,
            lenient=(2, (2, 3, 4, 5)),
        ),
        CorpusFile(
            "no-objects.jsonl",
            lines(dish(1), "12", '"words"', "null", "true", "[1]", dish(2)),
            "JSON, but no objects",
            line=2,
            lenient=(2, (2, 3, 4, 5, 6)),
        ),
        CorpusFile(
            "two-on-a-line.jsonl",
            lines(dish(1), json.dumps(dish(2)) + " " + json.dumps(dish(3)), dish(4)),
            "two objects on one line",
            line=2,
            lenient=(2, (2,)),
        ),
        CorpusFile(
            "array.jsonl",
            lambda: json.dumps([dish(1), dish(2)], indent=1).encode(),
            "an array under the name of JSON lines",
            rows=2,
        ),
        CorpusFile(
            "cut.jsonl", lambda: good.encode()[:-30], "the last line is cut", line=3, lenient=(2, (3,))
        ),
        CorpusFile(
            "no-numbers.jsonl",
            lines(
                dish(1),
                *(
                    json.dumps(dish(2))[:-1] + f', "margin": {number}}}'
                    for number in ("NaN", "-Infinity", "2e999")
                ),
                dish(3),
            ),
            "numbers that JSON does not have",
            line=2,
            lenient=(2, (2, 3, 4)),
        ),
        CorpusFile(
            "long-number.jsonl",
            lines(dish(1), json.dumps(dish(2))[:-1] + f', "views": {"7" * 6000}}}', dish(3)),
            "a number of 6,000 digits",
            line=2,
            lenient=(2, (2,)),
        ),
        CorpusFile(
            "large-ids.jsonl",
            lines(*(dish(n, id=number) for n, number in enumerate((2**53, 2**53 + 1, 2**70)))),
            "ids that a float would round",
            rows=3,
        ),
        CorpusFile(
            "half-characters.jsonl",
            lines(
                dish(1),
                r'{"prompt": "p", "chosen": "\ud83c", "rejected": "r"}',
                r'{"prompt": "p", "chosen": "c", "rejected": "\udf4b!"}',
                r'{"prompt": "q", "chosen": "\ud83c\udf4b", "rejected": "r"}',
            ),
            "halves of surrogate pairs, and a whole pair",
            line=2,
            lenient=(2, (2, 3)),
        ),
        CorpusFile(
            "nul.jsonl",
            lines(
                dish(1),
                r'{"prompt": "p\u0000", "chosen": "c", "rejected": "r"}',
                r'{"prompt": "q", "chosen": "c", "rejected": "r", "source": {"a\u0000": 1}}',
                dish(2),
            ),
            "U+0000 in a text and in a name",
            line=2,
            lenient=(2, (2, 3)),
        ),
        CorpusFile(
            "deep.jsonl",
            lines(dish(1), '{"prompt": ' + "[" * 50_000 + "]" * 50_000 + "}", dish(2)),
            "50,000 levels",
            line=2,
            lenient=(2, (2,)),
        ),
        CorpusFile(
            "types.jsonl",
            lines(
                dish(1),
                dish(2, rejected=...),
                dish(3, chosen=5),
                dish(4, chosen=["c"]),
                dish(5, prompt=None),
                dish(6, rejected={"text": "r"}),
                dish(7),
            ),
            "columns that are missing or hold no text",
            line=2,
            lenient=(2, (2, 3, 4, 5, 6)),
        ),
        CorpusFile(
            "empty-texts.jsonl",
            lines(
                dish(1),
                dish(2, prompt=""),
                dish(3, prompt=" \n\t"),
                dish(4, chosen=""),
                dish(5, rejected="\u200b"),
            ),
            "blank prompts are refused, empty answers are answers",
            line=2,
            lenient=(3, (2, 3)),
        ),
        CorpusFile(
            "same-answers.jsonl",
            lines(dish(1), dish(2, chosen="Salt.", rejected="Salt."), dish(3)),
            "a pair of one answer",
            rows=3,
        ),
        CorpusFile(
            "ids-twice.jsonl",
            lines(
                dish(1),
                dish(2),
                dish(3),
                dish(4),
                dish(2, chosen="Thyme."),
            ),
            "one id for two rows",
            line=5,
            says="line 2",
            lenient=(4, (5,)),
        ),
        CorpusFile(
            "repeats.jsonl",
            lines(*(dish(n, id=...) for n in (1, 2, 1, 1))),
            "rows that repeat another",
            rows=2,
        ),
        CorpusFile(
            "our-columns.jsonl",
            lines(
                dish(1, dataset_id=1, is_superuser=True, sha256="0" * 64),
                dish(2, split="test", created_at="1999-01-01"),
            ),
            "names of columns that only we fill",
            rows=2,
        ),
        CorpusFile(
            "three-bad-of-ten.jsonl",
            lines(*(dish(n, chosen=...) if n in (2, 5, 9) else dish(n) for n in range(1, 11))),
            "each problem with its line",
            line=2,
            lenient=(7, (2, 5, 9)),
        ),
        CorpusFile("nothing.jsonl", lambda: b"", "no bytes"),
    ]


def _many() -> bytes:
    return text_of(*map(dish, range(2_000))).encode()


def _gzip(content: bytes, name: str = "") -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=buffer, mtime=0) as file:
        file.write(content)
    return buffer.getvalue()


def _wrong_checksum() -> bytes:
    packed = bytearray(_gzip(_many()))
    packed[-8] ^= 0xFF
    return bytes(packed)


def _run_of(part: bytes, megabytes: int) -> bytes:
    """gzip of so many MiB of equal parts, without holding them."""
    packing = zlib.compressobj(9, wbits=31)
    piece = part * (MEGABYTE // len(part))
    return b"".join(packing.compress(piece) for _ in range(megabytes)) + packing.flush()


def _packed() -> list[CorpusFile]:
    rows = text_of(*map(dish, range(4))).encode()
    return [
        CorpusFile("good.jsonl.gz", lambda: _gzip(rows), "a good file", rows=4),
        CorpusFile("cut.jsonl.gz", lambda: _gzip(_many())[:-500], "the end is missing", says="truncated"),
        CorpusFile(
            "checksum.jsonl.gz", _wrong_checksum, "all rows decode before the checksum fails", says="damaged"
        ),
        CorpusFile("plain.jsonl.gz", lambda: rows, "a plain file under the name of gzip", says="gzip"),
        CorpusFile(
            "inner-name.jsonl.gz", lambda: _gzip(rows, "../../../etc/cron.d/rows"), "a path inside", rows=4
        ),
        CorpusFile(
            "spaces.jsonl.gz", lambda: _run_of(b" ", 20), "one line of 20 MiB of blanks", line=1, says="8 MiB"
        ),
        CorpusFile(
            "blanks.jsonl.gz",
            lambda: _run_of(b" " * 63 + b"\n", 70),
            "70 MiB of blank lines",
            says="200 times",
        ),
        CorpusFile(
            "long-answer.jsonl.gz",
            lambda: _gzip(text_of(dish(1), dish(2, chosen="Stir. " * (MEGABYTE // 6)), dish(3)).encode()),
            "an answer of 1 MiB",
            rows=3,
        ),
        CorpusFile(
            "long-line.jsonl.gz",
            lambda: _gzip(text_of(dish(1, chosen="x" * (9 * MEGABYTE))).encode()),
            "a row of 9 MiB",
            line=1,
            says="8 MiB",
        ),
    ]


def _table(*rows: tuple[str, ...], header: tuple[str, ...] = COLUMNS) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *rows])
    return out.getvalue().encode()


def _csv() -> list[CorpusFile]:
    first = ("1", 'He said "stir",\nthen\n"wait"', "Salt, pepper", "Sand")
    return [
        CorpusFile(
            "cells.csv", lambda: _table(first, ("2", "p", "c", "r")), "line ends, quotes and commas", rows=2
        ),
        CorpusFile(
            "short-row.csv",
            lambda: _table(first, ("2", "p", "c", "r")) + b"3,p,c\n",
            "a row that lacks a cell, after cells of several lines",
            line=6,
            lenient=(2, (6,)),
        ),
        CorpusFile(
            "open-quote.csv",
            lambda: _table(("1", "p", "c", "r")) + b'2,"p,c,r\n3,p,c,r\n',
            "a quote never closes",
            line=3,
            says="never closed",
        ),
        CorpusFile(
            "long-row.csv",
            lambda: _table(("1", "p", "c", "r")) + b"2,p,salt, pepper,r\n3,q,c,r\n",
            "a comma outside quotes",
            line=3,
            lenient=(2, (3,)),
        ),
        CorpusFile(
            "no-header.csv",
            lambda: b"1,What?,Lemon,Sugar\n2,Why?,Mint,Salt\n",
            "data where names should be",
            line=1,
            says="prompt",
        ),
        CorpusFile(
            "semicolons.csv", lambda: _table(("1", "p", "c", "r")).replace(b",", b";"), "parted by ;", rows=1
        ),
        CorpusFile(
            "odd-header.csv",
            lambda: (
                b"\xef\xbb\xbf"
                + _table(("1", "p", " c ", "r"), header=(" ID", "Prompt ", "CHOSEN", "rejected"))
            ),
            "blanks, capitals and a mark in the header",
            rows=1,
        ),
        CorpusFile(
            "long-cell.csv", lambda: _table(("1", "p", "salt " * 50_000, "r")), "a cell of 250 kB", rows=1
        ),
        CorpusFile(
            "nul.csv",
            lambda: _table(("1", "p", "c", "r"), ("2", "q\0", "c", "r")),
            "U+0000 in a cell",
            line=3,
            lenient=(1, (3,)),
        ),
    ]


def _columns(count: int = 3) -> dict[str, list[object]]:
    rows = [dish(n) for n in range(count)]
    return {name: [row[name] for row in rows] for name in COLUMNS}


def _parquet(table: pa.Table, **options: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def _with(column: str, values: list[object]) -> Callable[[], bytes]:
    return lambda: _parquet(pa.table(_columns() | {column: values}))


def _string_kinds() -> bytes:
    columns = _columns()
    arrays = {
        "id": pa.array(columns["id"]),
        "prompt": pa.array(columns["prompt"], pa.large_string()),
        "chosen": pa.array(columns["chosen"]).dictionary_encode(),
        "rejected": pa.array(columns["rejected"], pa.string_view()).cast(pa.string()),
    }
    return _parquet(pa.table(arrays), compression="zstd")


def _damaged_page() -> bytes:
    content = bytearray(_parquet(pa.table(_columns(200)), compression="snappy"))
    content[40:400] = b"\xff" * 360
    return bytes(content)


def _python_extension() -> bytes:
    marks = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": b"cos\nnothing\n.",
    }
    fields = [pa.field(name, pa.string(), metadata=marks if name == "chosen" else None) for name in COLUMNS]
    columns = _columns(1)
    return _parquet(pa.table([pa.array(columns[name]) for name in COLUMNS], schema=pa.schema(fields)))


def _of_parquet() -> list[CorpusFile]:
    return [
        CorpusFile("good.parquet", lambda: _parquet(pa.table(_columns())), "a good file", rows=3),
        CorpusFile("strings.parquet", _string_kinds, "strings of several kinds, zstd", rows=3),
        CorpusFile("cut.parquet", lambda: _parquet(pa.table(_columns()))[:-40], "no footer"),
        CorpusFile("damaged.parquet", _damaged_page, "a page is damaged, the footer is not"),
        CorpusFile(
            "null.parquet", _with("rejected", ["r", None, "r"]), "null in row 2", line=2, lenient=(2, (2,))
        ),
        CorpusFile(
            "nul.parquet", _with("chosen", ["c", "c\0", "c"]), "U+0000 in row 2", line=2, lenient=(2, (2,))
        ),
        CorpusFile(
            "types.parquet",
            lambda: _parquet(pa.table(_columns() | {"prompt": [1, 2, 3], "chosen": [["c"], ["c"], ["c"]]})),
            "numbers and lists for texts",
            says="prompt",
        ),
        CorpusFile("no-rows.parquet", lambda: _parquet(pa.table(_columns()).slice(0, 0)), "no rows"),
        CorpusFile(
            "extension.parquet",
            _python_extension,
            "a column marked to run Python (CVE-2023-47248)",
            says="extension",
        ),
    ]


BROKEN: tuple[CorpusFile, ...] = (*_jsonl(), *_packed(), *_csv(), *_of_parquet())
