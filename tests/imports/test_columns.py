"""Any table is imported by a column mapping, and the Dataset recognises the next such table by itself."""

import json
import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from scoring.rows.shapes.guesses import guess
from workbench.models import Comparison, Completion, Dataset, Judgment, Prompt
from workbench.pipeline import imports

pytestmark = pytest.mark.django_db

TABLE = """\
Frage;links;rechts;Urteil;wer
"Nenne eine Primzahl.","Neun, sagt man.",Sieben.,R,anna
Nenne einen Vogel.,Ein Zaunkönig.,Eine Fledermaus.,L,anna
Nenne einen Baum.,Eiche.,Buche.,=,bert
Nenne ein Tier.,Stein.,Sand.,,bert
""".replace(";", ",")
NAMED = {
    "prompt": "Frage", "a": "links", "b": "rechts", "outcome": "Urteil", "annotator": "wer",
    "says_a": "L", "says_b": "R|rechts", "says_tie": "=",
}  # fmt: skip


def take(tmp_path, content, name="rows.csv", dataset=None, **options):
    path = tmp_path / name
    text = content if isinstance(content, str) else "\n".join(map(json.dumps, content))
    path.write_text(text, newline="")
    return imports.import_file(path, dataset or Dataset(name="New"), imports.ImportOptions(**options))


def preferred() -> list[str]:
    labels = Judgment.objects.order_by("comparison__prompt").select_related("comparison__a", "comparison__b")
    return [getattr(j.comparison, j.outcome).text if j.outcome in {"a", "b"} else j.outcome for j in labels]


def test_two_completions_and_what_the_outcome_column_says_of_them(tmp_path):
    result = take(tmp_path, TABLE, columns=NAMED)

    assert (result.accepted, result.format, result.comparisons, result.judgments) == (True, "columns", 4, 3)
    assert preferred() == ["Sieben.", "Ein Zaunkönig.", "tie"]
    assert {j.annotator.external_id for j in Judgment.objects.all()} == {"anna", "bert"}


def test_the_dataset_knows_the_next_such_table(tmp_path):
    take(tmp_path, TABLE, columns=NAMED)
    dataset = Dataset.objects.get()
    more = TABLE.replace("Nenne", "Sag mir")

    seen = imports.preview(tmp_path / "rows.csv", dataset)
    result = take(tmp_path, more, "more.csv", dataset)
    second = take(tmp_path, [{"prompt": "p", "chosen": "c", "rejected": "r"}], "other.jsonl", dataset)

    assert dataset.columns == NAMED
    assert "prompt = Frage" in seen.title
    assert (result.format, result.prompts) == ("columns", 4)
    assert second.format == "preference"


def test_a_dry_run_and_a_refused_file_leave_no_columns(tmp_path, dataset):
    take(tmp_path, TABLE, dataset=dataset, columns=NAMED, dry_run=True)
    take(tmp_path, TABLE + "kaputt\n", dataset=dataset, columns=NAMED)

    dataset.refresh_from_db()
    assert dataset.columns == {}
    assert not Prompt.objects.exists()


def test_a_better_and_a_worse_column_with_a_system_message_and_a_column_inside_an_object(tmp_path):
    row = {"sys": "Be kind.", "q": {"text": "Name a bird.", "n": 1}, "yes": "A wren.", "no": "A bat.", "x": 3}
    columns = {"system": "sys", "prompt": "q.text", "chosen": "yes", "rejected": "no", "strength": "x"}

    take(tmp_path, [row], "rows.jsonl", columns=columns)

    assert [m["role"] for m in Prompt.objects.get().messages] == ["system", "user"]
    assert preferred() == ["A wren."]
    assert Judgment.objects.get().strength == 3


def test_numbers_for_two_completions_are_compared(tmp_path):
    rows = [{"q": f"q{n}", "x": "one", "y": "two", "sx": sx, "sy": 2} for n, sx in enumerate((1, 2, "3"))]

    take(tmp_path, rows, "rows.jsonl",
         columns={"prompt": "q", "a": "x", "b": "y", "score_a": "sx", "score_b": "sy"})  # fmt: skip

    assert preferred() == ["two", "tie", "one"]


@pytest.mark.parametrize(("word", "best"), [("rank", "a wren"), ("score", "a bat")])
def test_one_completion_a_row_becomes_pairs_of_those_that_stand_together(word, best, tmp_path):
    rows = [
        {"q": "Name a bird.", "text": "a wren", "n": 1, "by": "x"},
        {"q": "Name a bird.", "text": "a bat", "n": 2, "by": "y"},
        {"q": "Name a tree.", "text": "oak", "n": 1},
    ]

    result = take(
        tmp_path,
        rows,
        "rows.jsonl",
        columns={"prompt": "q", "completion": "text", word: "n", "source": "by"},
    )

    assert (result.prompts, result.completions, result.comparisons) == (2, 3, 1)
    assert preferred() == [best]
    assert Completion.objects.get(text="a bat").source == "y"


def test_text_that_is_not_there_or_says_nothing_known_is_told_by_the_columns_own_name(tmp_path):
    rows = [
        {"q": "q1", "x": "one", "y": "two", "w": "who knows"},
        {"q": "q2", "x": "one", "y": None, "w": "a"},
        {"q": "q3", "x": "one", "y": 3, "w": "a"},
        {"q": "q4", "x": "one", "y": "two", "w": 1.0},
        {"q": "", "x": "one", "y": "two", "w": "a"},
    ]
    columns = {"prompt": "q", "a": "x", "b": "y", "outcome": "w", "says_b": "1"}

    result = take(tmp_path, rows, "rows.jsonl", columns=columns, lenient=True)

    problems = [(p.line, p.field, p.code) for p in result.problems]
    assert problems[:2] == [(1, "w", "unknown_value"), (2, "y", "missing")]
    assert problems[2:] == [(3, "y", "not_text"), (5, "q", "empty")]
    assert Comparison.objects.count() == 1
    assert preferred() == ["two"]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"prompt": "Frage"}, "name the column of the prompt, and those of chosen and rejected"),
        ({"a": "links", "b": "rechts"}, "name the column of the prompt"),
        ({"prompt": "Frage", "a": "links"}, "name the column of the prompt"),
        ({"prompt": "Frage", "chosen": "links", "a": "links", "b": "rechts"}, "name the column"),
        ({"prompt": "Frage", "a": "links", "b": "rechts", "score_a": "wer"}, "but score_b is not"),
        (
            {"prompt": "Fragen", "a": "links", "b": "rechts"},
            'no column "Fragen" for prompt; the file has Frage',
        ),
    ],
)
def test_names_that_cannot_work_are_one_clear_error(columns, sentence, tmp_path):
    result = take(tmp_path, TABLE, columns=columns)

    assert not result.accepted
    assert [p.line for p in result.problems] == [None]
    assert sentence in result.problems[0].message


def test_the_command_takes_columns(tmp_path):
    (tmp_path / "rows.csv").write_text(TABLE)
    named = [f"{word}={column}" for word, column in NAMED.items()]

    call_command("import_dataset", "New", str(tmp_path / "rows.csv"), column=named, stdout=StringIO())

    assert Dataset.objects.get().columns == NAMED
    with pytest.raises(CommandError, match="WORD=COLUMN"):
        call_command("import_dataset", "New", str(tmp_path / "rows.csv"), column=["frage=x"])


def named_by(names: str) -> dict[str, str]:
    """The guessed word of each name; one with a question mark is not sure."""
    guesses = guess(names.split(","))
    return {name: one.word + ("" if one.sure else "?") for name, one in guesses.items()}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("Prompt,chosen_response,REJECTED ANSWER", ("prompt", "chosen", "rejected")),
        (" prompt ,better,worse", ("prompt", "chosen", "rejected")),
        ("userPrompt,answer_1,answer_2,Winner", ("prompt", "a", "b", "outcome")),
        ("question,Answer one,second answer,winner", ("prompt", "a", "b", "outcome")),
        ("question,model_a,model_b,a,b", ("prompt", "source_a", "source_b", "a", "b")),
        ("instruction,output,rating,model", ("prompt", "completion", "score", "source")),
        ("promt,choosen,rejceted", ("prompt?", "chosen?", "rejected?")),
        ("full question text,left,right", ("prompt?", "a", "b")),
        ("question.text,best,worst", ("prompt?", "chosen", "rejected")),
    ],
)
def test_a_name_says_what_its_column_is_whatever_its_capitals_spaces_and_underscores(names, words):
    assert named_by(names) == dict(zip(names.split(","), words, strict=True))


@pytest.mark.parametrize("name", ["Frage", "topic", "x", "ab", "time", "current", "", "_", "ß", "a" * 10_000])
def test_a_name_that_says_nothing_and_a_column_that_takes_votes_away_are_not_guessed(name):
    assert named_by(f"{name},unknown") == {} or name == "a" * 10_000


def test_of_two_columns_of_one_use_the_sure_one_is_guessed_and_no_word_that_the_table_cannot_use():
    assert named_by("promt,prompt,chosen,rejected,answer,score_a") == {
        "prompt": "prompt",
        "chosen": "chosen",
        "rejected": "rejected",
    }


def test_the_command_guesses_the_columns_that_nobody_named(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("Query;left;Right;Urteil;memo\nWhy?;Rain.;Sun.;L;x\n")
    named = ["outcome=Urteil", "says_a=L"]

    call_command("import_dataset", "New", str(file), guess_columns=True, column=named, stdout=StringIO())

    assert Dataset.objects.get().columns == {
        "prompt": "Query", "a": "left", "b": "Right", "outcome": "Urteil", "says_a": "L",
    }  # fmt: skip
    assert preferred() == ["Rain."]


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("Qestion;chosen;rejected", 'Did you mean --column "prompt=Qestion"'),
        ("Frage;x;y", "the file has Frage, x, y"),
    ],
)
def test_the_command_asks_where_a_name_is_not_clear_and_stores_nothing(header, sentence, tmp_path):
    (tmp_path / "rows.csv").write_text(f"{header}\nWhy?;Rain.;Sun.\n")

    with pytest.raises(CommandError, match=re.escape(sentence)):
        call_command("import_dataset", "New", str(tmp_path / "rows.csv"), guess_columns=True)

    assert not Dataset.objects.exists()


def test_the_command_names_a_file_whose_columns_cannot_be_read(tmp_path):
    (tmp_path / "rows.csv").write_text("a;a\n1;2\n")

    with pytest.raises(CommandError, match='two columns are named "a"'):
        call_command("import_dataset", "New", str(tmp_path / "rows.csv"), guess_columns=True)


def test_columns_are_listed_in_the_files_order_with_the_rows_that_hold_something(tmp_path):
    first = {"note": " ", "prompt": "p0", "chosen": "c", "rejected": "r", "score": 0}
    odd = [{"prompt": f"p{n}", "chosen": "c", "rejected": "r", f"odd{n}": n} for n in range(1, 300)]

    result = take(
        tmp_path, [first, *odd, first | {"prompt": "p300", "note": "x", "score": None}], "rows.jsonl"
    )

    held = [(column.name, column.held) for column in result.columns]
    assert held[:6] == [
        ("note", 1),
        ("prompt", 301),
        ("chosen", 301),
        ("rejected", 301),
        ("score", 1),
        ("odd1", 1),
    ]
