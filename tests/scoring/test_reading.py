"""What the first bytes of a file say of it is read as such, whatever the file's name says."""

import gzip
import io
import json
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.rows.formats import known_name, open_rows
from scoring.rows.reading import read_file
from scoring.rows.rows import Row

ROWS = [
    {"prompt": "Name a prime.", "chosen": "Seven; no, two.", "rejected": "Nine, I think."},
    {"prompt": "Nenne einen Vogel.", "chosen": "Zaunkönig 🐦", "rejected": "Fleder\u2028maus"},
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
ARRAY = json.dumps(ROWS, ensure_ascii=False, indent=1)


def read(content: bytes, name: str):
    """(rows and problems, what the bytes said)."""
    with ExitStack() as stack:
        reading = open_rows(io.BytesIO(content), name, stack, {})
        return list(reading.rows), reading.watch.read_as


def values(content: bytes, name: str):
    entries, _ = read(content, name)
    assert all(isinstance(entry, Row) for entry in entries), entries
    return [entry.values for entry in entries]


def table(*lines: str) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (ARRAY, "rows.jsonl"),
        (json.dumps(ROWS), "rows.ndjson"),
        ("\n\n  " + ARRAY, "rows.jsonl"),
        (LINES, "rows.json"),
        (LINES, "rows.jsonl"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("packed", [True, False])
def test_json_is_read_by_its_first_bytes_in_each_encoding_packed_or_not(content, name, encoding, packed):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    data = (mark + content).encode(encoding)

    assert values(gzip.compress(data) if packed else data, name) == ROWS


def test_the_line_of_a_bad_row_in_an_array_named_jsonl_is_its_own(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps([ROWS[0], {"prompt": "q"}], indent=1))

    _, problems = read_file(tmp_path / "rows.jsonl")

    assert [(problem.line, problem.field) for problem in problems] == [(7, "chosen")]


def test_an_array_followed_by_lines_is_refused_with_its_place(tmp_path):
    (tmp_path / "rows.jsonl").write_text("[]\n" + LINES)

    _, [problem] = read_file(tmp_path / "rows.jsonl")

    assert (problem.line, problem.code) == (2, "not_json")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv"])
def test_the_first_row_is_there_before_the_rest_of_a_large_file_is_read(name, encoding):
    rows = 30_000
    text = json.dumps(ROWS * rows) if name != "rows.csv" else "a;b\n" + "1;2\n" * rows * 60
    file = io.BytesIO(text.encode(encoding))

    with ExitStack() as stack:
        reading = open_rows(file, name, stack, {})
        next(reading.rows)

        assert file.tell() < 2**22 < len(file.getvalue())


def test_utf_16_that_is_damaged_or_cut_off_is_refused_with_the_line(tmp_path):
    whole = LINES.encode("utf-16-le")
    half_a_pair = whole[: len("x\n".encode("utf-16-le"))] + b"\x00\xd8\x41\x00"
    for name, content, line in (
        ("cut.jsonl", whole[:-1], 2),
        ("half.jsonl", LINES.encode("utf-16-le") + half_a_pair, 3),
        ("big.jsonl", LINES.encode("utf-16-be")[:-1], 2),
    ):
        mark = b"\xfe\xff" if name.startswith("big") else b"\xff\xfe"
        (tmp_path / name).write_bytes(mark + content)

        _, problems = read_file(tmp_path / name)

        assert (problems[0].line, problems[0].code) == (line, "not_utf16"), name
        assert "UTF-16" in problems[0].message


def test_utf_32_is_still_refused_by_name(tmp_path):
    (tmp_path / "rows.jsonl").write_bytes(LINES.encode("utf-32"))

    _, [problem] = read_file(tmp_path / "rows.jsonl")

    assert problem.message == "the file is UTF-32; save it as UTF-8"


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv"])
@pytest.mark.parametrize(
    ("separator", "words"), [(",", "commas"), (";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")]
)
def test_a_separator_is_recognised_by_the_first_lines_and_said(name, separator, words):
    content = table(
        separator.join(("prompt", "chosen", "rejected")),
        separator.join(('"Why; or, else | when\t?"', '"a\nb"', '"say ""no"""')),
        "",
        separator.join(("Who?", "x", "")),
    )

    entries, read_as = read(content, name)

    assert [entry.values for entry in entries] == [
        {"prompt": "Why; or, else | when\t?", "chosen": "a\nb", "rejected": 'say "no"'},
        {"prompt": "Who?", "chosen": "x", "rejected": ""},
    ]
    usual = {"rows.csv": ",", "rows.tsv": "\t"}[name]
    assert read_as == ([] if separator == usual else [f"columns separated by {words}"])


def test_a_header_with_commas_does_not_hide_a_separator_by_which_every_line_agrees():
    content = table("prompt, as asked;chosen;rejected", "Why?;a;b", "When?;c, d;e")

    assert values(content, "rows.csv")[1] == {"prompt, as asked": "When?", "chosen": "c, d", "rejected": "e"}


def test_the_separator_of_the_name_wins_where_it_agrees_too():
    content = table("a;x,b;y", "1;2,3;4")

    assert values(content, "rows.csv") == [{"a;x": "1;2", "b;y": "3;4"}]


@pytest.mark.parametrize("bad", ["Who?;a;b;c", "Who?;a"])
def test_a_row_with_a_cell_too_many_or_too_few_is_that_rows_error_and_not_another_separator(bad):
    entries, read_as = read(table("prompt;chosen;rejected", "Why?;a;b", bad), "rows.csv")

    assert read_as == ["columns separated by semicolons"]
    assert (entries[1].line, entries[1].code) == (3, "cell_count")
    assert ("is a semicolon outside quotes?" in entries[1].message) == bad.endswith("c")


def test_a_file_of_one_column_stays_one_column():
    assert values(table("prompt", "Why; or when?", "Who|What"), "rows.csv")[0] == {"prompt": "Why; or when?"}
    assert values(table("prompt; as asked", "Why?", "Who?"), "rows.csv")[0] == {"prompt; as asked": "Why?"}


def test_a_quoted_cell_may_go_on_past_the_lines_that_are_looked_at():
    long = "line\n" * 200

    assert values(table("prompt;chosen", f'"{long}";b'), "rows.csv") == [{"prompt": long, "chosen": "b"}]


@pytest.mark.parametrize("separator", [";", ","])
def test_a_separator_is_recognised_in_utf_16_as_a_spreadsheet_writes_it(separator):
    content = table(separator.join(("prompt", "chosen")), separator.join(("Größe?", "a")))

    assert values(content.decode().encode("utf-16"), "rows.csv") == [{"prompt": "Größe?", "chosen": "a"}]


def test_a_packed_file_whose_name_says_no_more_is_read_by_its_content():
    parquet = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), parquet)

    assert known_name("rows.gz")
    for content in (LINES.encode(), ARRAY.encode("utf-16"), parquet.getvalue()):
        assert values(gzip.compress(content), "rows.gz") == ROWS
    assert values(gzip.compress(table("a|b", "1|2")), "rows.gz") == [{"a": "1", "b": "2"}]


def test_a_packed_table_is_read_under_the_name_of_a_plain_one():
    assert values(gzip.compress(table("a;b", "1;2")), "rows.csv") == [{"a": "1", "b": "2"}]
