"""Small files that unfold to gigabytes: refused with their place, or read in bounded memory and time."""

import gzip
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.rows.formats import open_rows
from scoring.rows.reading import read_file
from workbench.pipeline import imports
from workbench.pipeline.runs.progress import Cancelled

MEGABYTE = "a" * 2**20

READ = """
import sys
from pathlib import Path
from scoring.rows.reading import read_file
drafts, problems = read_file(Path(sys.argv[1]))
# Not ru_maxrss: that of a process that was forked begins with its parent's.
(line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
print(int(line.split()[1]) // 1024)
print(len(drafts), *(f"{p.code}: {p.message}" for p in problems[:1]))
"""


def peak(path: Path) -> tuple[int, str]:
    """(MiB at the peak of a process that reads the file, its report)."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True, timeout=100
    )
    megabytes, _, report = done.stdout.partition("\n")
    return int(megabytes), report


def same(text: str, count: int) -> pa.Array:
    """A column of equal texts that is stored as one entry of a dictionary."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), [text])


def written(path: Path, columns: dict[str, pa.Array], **options) -> Path:
    kept = {"compression": "zstd", "dictionary_pagesize_limit": 2**30, **options}
    pq.write_table(pa.table(columns), path, **kept)
    return path


def dictionary(path: Path, text: str = MEGABYTE, count: int = 2000) -> Path:
    short = same("a", count)
    return written(path, {"prompt": short, "chosen": same(text, count), "rejected": same("b", count)})


def one_row_of(path: Path, values: pa.Array, **columns) -> Path:
    lists = pa.ListArray.from_arrays([0, len(values)], values)
    return written(path, {"prompt": pa.array(["p"]), "completions": lists, **columns})


def test_a_dictionary_of_5_kb_that_unfolds_to_2_gb_is_refused(tmp_path):
    """An import took 2.9 GB, a few previews 1,674 MB that stayed."""
    path = dictionary(tmp_path / "bomb.parquet")
    assert path.stat().st_size < 5_000

    megabytes, report = peak(path)

    assert 'bomb: row group 1, column "chosen": the file unpacks to more than 64 MiB' in report
    assert megabytes < 350


def test_one_row_of_some_hundred_bytes_that_unfolds_to_7_gb_is_refused(tmp_path):
    """886 bytes took 7.7 GB in one preview."""
    path = one_row_of(tmp_path / "bomb.parquet", same(MEGABYTE, 7_000))
    assert path.stat().st_size < 3_000

    megabytes, report = peak(path)

    assert 'too_large: row group 1, column "completions" unpacks to 7,000 MiB in one row' in report
    assert megabytes < 350


def test_a_list_of_thirty_million_equal_numbers_is_refused(tmp_path):
    path = one_row_of(tmp_path / "bomb.parquet", pa.array(np.zeros(3 * 10**7, np.int8)))
    assert path.stat().st_size < 200_000

    megabytes, report = peak(path)

    assert 'too_large: row group 1, column "completions.list.element" holds 30,000,000 values' in report
    assert megabytes < 350


def test_a_page_that_packs_too_well_is_refused(tmp_path):
    """A page of 160 MB in some kilobytes was unfolded as a whole, and more than once."""
    columns = {"prompt": pa.array([MEGABYTE] * 160), "chosen": same("a", 160), "rejected": same("b", 160)}
    path = written(tmp_path / "bomb.parquet", columns, use_dictionary=False)
    assert path.stat().st_size < 30_000

    megabytes, report = peak(path)

    assert 'too_large: row group 1, column "prompt" has pages that unpack to' in report
    assert megabytes < 350


@pytest.mark.long
def test_prefixes_that_every_text_shares_are_read_in_small_slices(tmp_path):
    texts = pa.array([f"{MEGABYTE}{n}" for n in range(64)])
    path = written(
        tmp_path / "bomb.parquet",
        {"prompt": texts, "chosen": texts, "rejected": texts},
        use_dictionary=False,
        column_encoding="DELTA_BYTE_ARRAY",
    )

    megabytes, report = peak(path)

    assert "the file unpacks to more than 64 MiB" in report
    assert megabytes < 450


def saved(folder: Path, table: pa.Table, compression: str | None = "zstd", rows: int | None = None) -> Path:
    """A folder as datasets.save_to_disk writes one, of one Arrow file."""
    folder.mkdir()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(folder / "data-0.arrow", table.schema, options=options) as stream:
        stream.write_table(table, rows)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-0.arrow"}]}))
    return folder


def texts_of(count: int, text: str) -> dict[str, pa.Array]:
    return {
        "prompt": pa.array(["p"] * count),
        "chosen": pa.array([text] * count),
        "rejected": same("b", count),
    }


@pytest.mark.long
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_compressed_arrow_batch_is_refused_before_it_is_unfolded(compression, tmp_path):
    path = saved(tmp_path / "bomb", pa.table(texts_of(1_500, MEGABYTE)), compression)
    assert (path / "data-0.arrow").stat().st_size < 10 * 2**20

    megabytes, report = peak(path)

    assert 'too_large: batch 1, column "chosen" unpacks to 1,500 MiB' in report
    assert megabytes < 350


@pytest.mark.long
def test_a_compressed_dictionary_of_arrow_is_refused_before_it_is_unfolded(tmp_path):
    entries = pa.DictionaryArray.from_arrays(pa.array([0]), [f"{MEGABYTE * 300}"])
    table = pa.table({"prompt": pa.array(["p"]), "chosen": entries, "rejected": pa.array(["b"])})
    path = saved(tmp_path / "bomb", table)

    megabytes, report = peak(path)

    assert "too_large: a dictionary unpacks to 300 MiB" in report
    assert megabytes < 350


def test_one_value_that_all_rows_repeat_is_refused_by_its_column(tmp_path):
    values = pa.RunEndEncodedArray.from_arrays(pa.array([20_000], pa.int32()), pa.array([MEGABYTE]))
    plain = {"prompt": pa.array(["p"] * 20_000), "rejected": pa.array(["b"] * 20_000)}
    path = saved(tmp_path / "bomb", pa.table({"chosen": values, **plain}), None)

    megabytes, report = peak(path)

    assert 'unknown_type: the column "chosen" is run_end_encoded' in report
    assert megabytes < 350


@pytest.mark.long
def test_texts_that_lie_on_each_other_are_measured_by_their_length(tmp_path):
    views = np.tile(np.array([2**16, int.from_bytes(b"aaaa", "little"), 0, 0], np.int32), 20_000)
    buffers = [None, pa.py_buffer(views.tobytes()), pa.py_buffer(b"a" * 2**16)]
    chosen = pa.Array.from_buffers(pa.string_view(), 20_000, buffers)
    table = pa.table({"prompt": same("p", 20_000), "chosen": chosen, "rejected": same("b", 20_000)})
    path = saved(tmp_path / "bomb", table, None)

    megabytes, report = peak(path)

    assert 'bomb: column "chosen": the file unpacks to more than' in report
    assert megabytes < 350


@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_arrow_in_batches_is_read_whole_compressed_or_not(compression, tmp_path):
    lists = pa.array([[n, n + 300] for n in range(999)], pa.list_(pa.int16(), 2))
    table = pa.table({**texts_of(999, "c"), "pair": lists})

    with ExitStack() as stack:
        read = list(open_rows(saved(tmp_path / "rows", table, compression, 100), "", stack, {}).rows)

    assert [row.values for row in read] == table.to_pylist()


def test_a_folder_of_what_is_no_arrow_is_refused_in_words(tmp_path):
    path = saved(tmp_path / "odd", pa.table(texts_of(2, "c")))
    (path / "data-0.arrow").write_bytes(b"PAR1 is no Arrow" * 9)

    _, (problem,) = read_file(path)

    assert problem.code == "corrupt"


def test_a_row_longer_than_any_line_may_be_is_refused_by_its_column(tmp_path):
    path = dictionary(tmp_path / "long.parquet", "a" * (17 * 2**20), 1)

    _, (problem,) = read_file(path)

    assert problem.message == (
        'row group 1, column "chosen" unpacks to 17 MiB in one row; a row may have 16 MiB'
    )


@pytest.mark.parametrize("size", [1, 700, 20_000])
@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}])
def test_slices_hold_what_the_file_holds(size, options, tmp_path):
    rows = [
        {
            "prompt": [{"role": "user", "content": f"q{n % 50}"}],
            "chosen": f"good {n % 7}" * (n % 40 + 1),
            "rejected": None if n % 11 == 3 else f"bad {n}",
            "more": {"n": n, "tags": ["x", None, "y"][: n % 4], "of": [("k", n)]},
        }
        for n in range(size)
    ]
    schema = pa.schema(
        [
            ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
            ("chosen", pa.string()),
            ("rejected", pa.large_string()),
            (
                "more",
                pa.struct(
                    [
                        ("n", pa.int64()),
                        ("tags", pa.list_(pa.string())),
                        ("of", pa.map_(pa.string(), pa.int8())),
                    ]
                ),
            ),
        ]
    )
    for row in rows:
        row["more"]["of"] = [("k", row["more"]["n"] % 100)]
    path = tmp_path / "rows.parquet"
    table = pa.Table.from_pylist(rows, schema)
    pq.write_table(table, path, row_group_size=3_000, **options)

    with ExitStack() as stack:
        values = [row.values for row in open_rows(path, "", stack, {}).rows]

    assert values == table.to_pylist()


@pytest.mark.parametrize("name", ["wide.csv", "wide.tsv", "wide.parquet"])
def test_a_hundred_thousand_columns_are_refused_at_once(name, tmp_path):
    """A CSV of 0.9 MB took 101 s in the preview."""
    path = tmp_path / name
    names = [f"column{n}" for n in range(100_000 if name != "wide.parquet" else 2_000)]
    if name == "wide.parquet":
        pq.write_table(pa.table({column: ["a"] for column in names}), path)
    else:
        path.write_text(("," if name == "wide.csv" else "\t").join(names) + "\n")
    began = time.monotonic()

    _, (problem,) = read_file(path)

    assert time.monotonic() - began < 2
    assert problem.code == "too_many_columns"
    assert problem.message == f"the file has {len(names):,} columns; at most 1,000 can be read"


def test_many_names_in_a_json_object_take_no_longer_than_their_size(tmp_path):
    """Counting each of the names took minutes for one that stood twice."""
    path = tmp_path / "wide.jsonl"
    path.write_text("{" + ", ".join(f'"c{n}": 1' for n in range(200_000)) + ', "c199999": 1}\n')
    began = time.monotonic()

    _, problems = read_file(path)

    assert time.monotonic() - began < 5
    assert "duplicate_key" in {problem.code for problem in problems}


@pytest.fixture
def blank(tmp_path):
    path = tmp_path / "blank.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" * (60 * 2**20), 1))
    return path


@pytest.mark.django_db
def test_a_preview_of_blank_lines_keeps_its_second(blank, dataset):
    """A gz of 1 MB that is a gigabyte of blank lines held a web thread for 13 s."""
    began = time.monotonic()

    preview = imports.preview(blank, dataset)

    assert time.monotonic() - began < 3
    assert not preview.whole
    assert [problem.code for problem in preview.result.problems] == ["no_rows_yet"]


@pytest.mark.django_db
def test_an_import_of_blank_lines_tells_how_far_it_is_and_can_be_cancelled(blank, dataset):
    """The same file held a worker for 55 s, without progress or cancel."""
    phases = []

    def progress(phase, done, total):
        phases.append(phase)
        return len(phases) < 2

    began = time.monotonic()
    with pytest.raises(Cancelled):
        imports.import_file(blank, dataset, progress=progress)

    assert phases == ["reading", "reading"]
    assert time.monotonic() - began < 4


def test_more_completions_than_anybody_compares_are_refused_with_their_line(tmp_path):
    """One row of 3,000 ranked completions (97 kB) took 35 s."""
    path = tmp_path / "ranked.jsonl"
    ranked = [{"text": f"text {n}", "rank": n} for n in range(3_000)]
    rows = [{"prompt": "p", "completions": ranked[:256]}, {"prompt": "q", "completions": ranked}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    drafts, (problem,) = read_file(path)

    assert [draft.line for draft in drafts] == [1]
    assert (problem.line, problem.code) == (2, "too_many")
    assert problem.message == (
        "3,000 answers to one prompt make 4,498,500 pairs; at most 256 answers can be read"
    )


def test_a_document_of_nothing_but_empty_lists_is_refused_before_it_is_built(tmp_path):
    """60 MB of [] in one object were more than a gigabyte of Python's lists."""
    path = tmp_path / "nested.json"
    path.write_bytes(b'{"rows": [' + b"[]," * (20 * 2**20) + b"[]]}")

    megabytes, report = peak(path)

    assert "too_large: the file is one JSON document of more than 2,000,000 values" in report
    assert megabytes < 350
