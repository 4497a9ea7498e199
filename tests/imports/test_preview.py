"""A preview names the use of each column, and takes a second at most for any file."""

import json
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.management import call_command

from tests.imports.test_importing import EXAMPLES
from workbench.models import Dataset
from workbench.pipeline import imports
from workbench.pipeline.text import language

pytestmark = [pytest.mark.django_db, pytest.mark.portable]


def looked_at(path, **options):
    return imports.preview(path, Dataset(name="New"), imports.ImportOptions(**options))


def became(result):
    return {column.name: (column.became, column.held) for column in result.columns}


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ROWS = [
    {
        "id": 1,
        "prompt": "Name a prime.",
        "system": "Be brief.",
        "chosen": "Seven.",
        "rejected": "Nine.",
        "chosen_model": "alder",
        "score_chosen": 3,
        "score_rejected": 1,
        "topic": "numbers",
        "annotator": " ",
        "images": [],
    },
    {"prompt": "Name a bird.", "chosen": "A wren.", "rejected": "", "topic": "", "checked": False},
]
BECAME = {
    "id": ("id", 1),
    "prompt": ("prompt", 2),
    "system": ("system message", 1),
    "chosen": ("better answer", 2),
    "rejected": ("worse answer", 1),
    "chosen_model": ("source of answers", 1),
    "score_chosen": ("rating, and metadata", 1),
    "score_rejected": ("rating, and metadata", 1),
    "topic": ("metadata", 1),
    "annotator": ("nothing (empty)", 0),
    "images": ("refused: pictures can't be shown", 0),
    "checked": ("metadata", 1),
}


@pytest.mark.usefixtures("unhurried")
def test_each_column_is_said_to_be_what_it_became_and_how_many_rows_held_something(tmp_path):
    file = lines(tmp_path / "x.jsonl", ROWS)

    assert became(looked_at(file).result) == BECAME


@pytest.mark.usefixtures("unhurried")
def test_no_preview_loads_the_model_that_tells_languages(tmp_path, monkeypatch):
    monkeypatch.setattr(language, "_identifier", lambda: pytest.fail("90 MB in the web process"))
    file = lines(tmp_path / "x.jsonl", [{"prompt": "Nobody else asks this.", "chosen": "a", "rejected": "b"}])

    assert looked_at(file).result.rows == 1


@pytest.mark.usefixtures("unhurried")
def test_named_columns_are_said_by_their_words_and_all_others_are_metadata(tmp_path):
    rows = [
        {"Frage": "Warum?", "links": "Regen", "rechts": "Sonne", "Urteil": "a", "prompt": "7", "label": 1}
    ]
    columns = {"prompt": "Frage", "a": "links", "b": "rechts", "outcome": "Urteil"}

    assert became(looked_at(lines(tmp_path / "x.jsonl", rows), columns=columns).result) == {
        "Frage": ("prompt", 1),
        "links": ("a", 1),
        "rechts": ("b", 1),
        "Urteil": ("outcome", 1),
        "prompt": ("metadata", 1),
        "label": ("metadata", 1),
    }


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize("shape", EXAMPLES)
def test_no_column_of_an_example_is_without_a_word_of_what_it_became(shape, tmp_path):
    (tmp_path / "x.jsonl").write_text(EXAMPLES[shape])
    rows = [json.loads(line) for line in EXAMPLES[shape].splitlines()]

    words = became(looked_at(tmp_path / "x.jsonl", format="prompts" if shape == "prompts" else "auto").result)

    assert words.keys() == {column for row in rows for column in row}
    assert "read by this format" not in {word for word, _ in words.values()}
    assert "prompt" in {word for word, _ in words.values()} or shape in {
        "transcripts", "arena", "oasst-messages", "label-studio",
    }  # fmt: skip


def test_the_command_prints_the_columns_and_has_them_in_its_json(tmp_path, capsys):
    file = lines(tmp_path / "x.jsonl", ROWS)

    call_command("import_dataset", "Kitchen", str(file), "--json")

    printed = capsys.readouterr().out
    assert "column topic: metadata (1 row)" in printed
    columns = json.loads(printed.splitlines()[-1])["columns"]
    assert {column["name"]: (column["became"], column["held"]) for column in columns} == BECAME


def nested(depth):
    return [nested(depth - 1)] if depth else []


def ranked(count):
    return [{"text": f"Answer {n}. " + "word " * 20, "rank": n} for n in range(count)]


HEAVY = {
    "one row of 3,000 ranked completions": lambda: [{"prompt": "Why?", "completions": ranked(3000)}],
    "many rows of 100 ranked completions": lambda: [
        {"prompt": f"Why {n}?", "completions": ranked(100)} for n in range(600)
    ],
    "rows of four megabytes": lambda: [
        {"prompt": f"Why {n}? " + "word " * 400_000, "chosen": "x " * 900_000, "rejected": "y"}
        for n in range(12)
    ],
    "one message of 80,000 typed parts": lambda: [
        {
            "prompt": [{"role": "user", "content": [{"type": "text", "text": "word " * 12}] * 80_000}],
            "chosen": "x",
            "rejected": "y",
        }
    ],
    "one row of 100,000 columns": lambda: [
        {"prompt": "Why?", "chosen": "x", "rejected": "y", **{f"column{n}": [n] for n in range(100_000)}}
    ],
    "one row of lists in lists": lambda: [
        {"prompt": "Why?", "chosen": "x", "rejected": "y", "deep": nested(60), "wide": [[]] * 1_000_000}
    ],
    "one conversation of 60,000 turns": lambda: [
        {"prompt": [{"role": "user", "content": "Why?"}] * 60_000, "chosen": "x", "rejected": "y"}
    ],
    "one prompt of 20,000 rows": lambda: [
        {"prompt": "Why?", "completion": f"Answer {n}.", "label": n % 2 == 0} for n in range(20_000)
    ],
}


@pytest.mark.parametrize("kind", HEAVY)
def test_a_preview_keeps_its_second_whatever_the_file_holds(kind, tmp_path):
    file = lines(tmp_path / "x.jsonl", HEAVY[kind]())
    began = time.process_time()

    preview = looked_at(file, max_pairs=10_000)

    assert time.process_time() - began < 6  # of a slow machine; a second and a bit on ours
    assert preview.result.rows or preview.result.problems


def test_one_object_over_several_lines_that_is_named_as_lines_is_read(tmp_path):
    (tmp_path / "one.jsonl").write_text(json.dumps(ROWS[0], indent=2) + "\n")
    (tmp_path / "two.jsonl").write_text("\n".join(json.dumps(row, indent=2) for row in ROWS))
    (tmp_path / "outer.jsonl").write_text(json.dumps({"data": ROWS}, indent=2))

    readings = [imports.read_file(tmp_path / f"{name}.jsonl") for name in ("one", "two", "outer")]

    assert [(len(drafts), problems) for drafts, problems in readings] == [(1, []), (2, []), (2, [])]


def test_a_rating_against_the_label_is_told_of_named_columns_too(tmp_path):
    rows = [
        {"q": f"Why {n}?", "best": "Rain.", "worst": "Sun.", "chosen_rating": 1, "rejected_rating": 5 - 4 * n}
        for n in range(2)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    columns = {"prompt": "q", "chosen": "best", "rejected": "worst"}

    [note] = looked_at(tmp_path / "x.parquet", columns=columns).result.notes

    assert "chosen_rating is below rejected_rating: the rating contradicts the label" in note
    assert "(1 row: line 1)" in note


def test_the_pairs_shown_are_of_different_prompts_from_all_over_the_file(tmp_path):
    """Forty prompts of four rows each: the first rows alone would show one prompt four times."""
    rows = [
        {"prompt": f"Name {n}.", "chosen": f"Yes {n} {k}.", "rejected": f"No {n} {k}."}
        for n in range(40)
        for k in range(4)
    ]

    seen = looked_at(lines(tmp_path / "rows.jsonl", rows))

    asked = [example.messages[-1]["content"] for example in seen.examples]
    assert asked[0] == "Name 0."
    assert len(set(asked)) == 5
    assert seen.examples[-1].line > 100
    assert {example.more for example in seen.examples} == {3}


def test_the_pairs_of_prompts_are_those_that_are_counted(tmp_path):
    rows = [
        {"prompt": "Which?", "chosen": "One.", "rejected": "Two."},
        {"prompt": "Which?", "chosen": "One.", "rejected": "Three."},
        {"prompt": "Which?", "chosen": "One.", "rejected": "Three."},
        {"prompt": "What then?", "chosen": "One.", "rejected": "Three."},
    ]

    seen = looked_at(lines(tmp_path / "rows.jsonl", rows))

    assert sorted(seen.pairs) == [1, 2]
    assert (len(seen.pairs), sum(seen.pairs)) == (seen.result.prompts, seen.result.comparisons)
