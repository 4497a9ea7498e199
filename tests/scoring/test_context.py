"""Columns that belong to the conversation are read in every shape that has a prompt, or refused by name."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.rows.drafts import ImportOptions
from scoring.rows.reading import read_file

SHAPES = [
    [{"prompt": "Why?", "chosen": "Rain.", "rejected": "Sun."}],
    [{"instruction": "Why?", "input": "", "chosen": "Rain.", "rejected": "Sun."}],
    [
        {
            "prompt": "Why?",
            "chosen": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Rain."}],
            "rejected": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Sun."}],
        }
    ],
    [
        {
            "chosen": "\n\nHuman: Why?\n\nAssistant: Rain.",
            "rejected": "\n\nHuman: Why?\n\nAssistant: Sun.",
        }
    ],
    [{"prompt": "Why?", "completions": [{"text": "Rain.", "rank": 1}, {"text": "Sun.", "rank": 2}]}],
    [{"question": "Why?", "completions": ["Rain.", "Sun."]}],
    [{"prompt": "Why?", "chosen": ["Rain."], "rejected": ["Sun."]}],
    [
        {"prompt": "Why?", "completion": "Rain.", "label": 1},
        {"prompt": "Why?", "completion": "Sun.", "label": 0},
    ],
    [{"input": "Why?", "output_1": "Rain.", "output_2": "Sun.", "label": 1}],
    [{"question": "Why?", "response_A": "Rain.", "response_B": "Sun.", "label": "A>B"}],
]


def drafts_of(tmp_path, rows, name="x.jsonl", **options):
    file = tmp_path / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return read_file(file, ImportOptions(**options))


@pytest.mark.parametrize("rows", SHAPES)
@pytest.mark.parametrize("column", ["system", "system_prompt", "System Message"])
def test_a_system_column_is_a_message_before_the_prompt_in_every_shape(tmp_path, rows, column):
    two = [{**row, column: text} for text in ("Be a pirate.", "Be a poet.") for row in rows]

    drafts, problems = drafts_of(tmp_path, two)

    assert not problems
    assert [draft.messages[0] for draft in drafts] == [
        {"role": "system", "content": text} for text in ("Be a pirate.", "Be a poet.")
    ]
    assert all(draft.messages[-1]["content"] == "Why?" for draft in drafts)


@pytest.mark.parametrize("rows", SHAPES)
@pytest.mark.parametrize(
    "history",
    [
        [["Who?", "Me."]],
        [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}],
        [{"question": "Who?", "answer": "Me."}],
        "[('Who?', 'Me.')]",
    ],
)
def test_a_history_is_earlier_turns_in_every_shape(tmp_path, rows, history):
    drafts, problems = drafts_of(tmp_path, [{**row, "history": history} for row in rows])

    assert not problems
    assert [message["content"] for message in drafts[0].messages] == ["Who?", "Me.", "Why?"]


@pytest.mark.parametrize("rows", SHAPES)
@pytest.mark.parametrize("column", ["images", "image", "video"])
def test_pictures_are_refused_by_name_and_line(tmp_path, rows, column):
    _, problems = drafts_of(tmp_path, [{**row, column: ["1.png"]} for row in rows])

    assert [problem.line for problem in problems] == list(range(1, len(rows) + 1))
    assert all(column in problem.message for problem in problems)
    assert not drafts_of(tmp_path, [{**row, column: []} for row in rows])[1]


@pytest.mark.parametrize("rows", SHAPES)
def test_a_passage_goes_before_the_question_and_tools_to_the_prompt(tmp_path, rows):
    tools = [{"type": "function", "function": {"name": "f"}}]
    rows_with_context = [{**row, "context": "It was wet.", "tools": json.dumps(tools)} for row in rows]

    drafts, problems = drafts_of(tmp_path, rows_with_context)

    assert not problems
    assert drafts[0].messages[-1]["content"] == "It was wet.\n\nWhy?"
    assert drafts[0].tools == tools


@pytest.mark.parametrize(
    "write",
    [json.dumps, str, lambda messages: "[" + "\n ".join(map(str, messages)) + "]"],
    ids=["JSON", "Python", "numpy"],
)
def test_conversations_written_as_text_are_read(tmp_path, write):
    sides = {
        side: write([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": f"It's {side}\n"}])
        for side in ("chosen", "rejected")
    }

    drafts, problems = drafts_of(tmp_path, [{"prompt": "Why?", **sides}])

    assert not problems
    assert [completion.text for completion in drafts[0].completions] == ["It's chosen\n", "It's rejected\n"]


def test_a_conversation_that_was_cut_is_refused_in_words(tmp_path):
    row = {"prompt": "Why?", "chosen": '[{"role": "user", "content": "Wh', "rejected": "Sun."}

    _, [problem] = drafts_of(tmp_path, [row])

    assert "messages" in problem.message


def test_the_pairs_of_one_prompt_are_bounded_and_counted(tmp_path):
    many = {"prompt": "Why?", "completions": [{"text": f"{n}", "rank": n} for n in range(200)]}
    [draft], _ = drafts_of(tmp_path, [many])

    assert len({(pair.first, pair.second) for pair in draft.comparisons}) == 64
    assert draft.comparisons.left_out == 200 * 199 // 2 - 64
    assert all(pair.first < pair.second for pair in draft.comparisons)
    rated = [{"prompt": "Why?", "completion": f"{n}", "label": n % 2} for n in range(100)]
    assert len(drafts_of(tmp_path, rated, max_pairs=7)[0][0].comparisons) == 7


def test_a_named_column_that_holds_nothing_is_refused_with_the_place(tmp_path):
    rows = [{"data": {"prompt": "Why?", "a": "Rain.", "b": "Sun."}, "votes": [{"by": "k", "said": "a"}]}]
    named = {"prompt": "data.prompt", "a": "data.a", "b": "data.b"}

    _, [misspelt] = drafts_of(tmp_path, rows, columns={**named, "annotator": "data.promt"})
    _, [list_] = drafts_of(tmp_path, rows, columns={**named, "outcome": "votes.said"})
    [good], _ = drafts_of(tmp_path, rows, columns={**named, "outcome": "votes.0.said"})

    assert 'did you mean "prompt"?' in misspelt.message
    assert "votes is a list" in list_.message
    assert good.comparisons[0].judgments[0].outcome == "a"


@pytest.mark.parametrize(
    "text",
    [
        '{\n "prompt": "Why?",\n "chosen": "Rain.",\n "rejected": "Sun."\n}\n',
        '{"version": 1, "data": [{"prompt": "Why?", "chosen": "Rain.", "rejected": "Sun."}]}',
        '{\n "data": [\n  {"prompt": "Why?", "chosen": "Rain.", "rejected": "Sun."}\n ]\n}',
    ],
)
def test_json_that_is_one_object_is_read(tmp_path, text):
    (tmp_path / "x.json").write_text(text)

    drafts, problems = read_file(tmp_path / "x.json")

    assert (len(drafts), problems) == (1, [])


def test_json_with_no_rows_in_it_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "x.json").write_text('{\n "a": {\n  "b": 1\n }\n}\n')

    _, [problem] = read_file(tmp_path / "x.json")

    assert "array of objects" in problem.message


def test_a_table_parted_by_semicolons_is_read(tmp_path):
    (tmp_path / "x.csv").write_text('prompt;chosen;rejected\nWhy?;"Rain; wet.";Sun.\n')

    [draft], problems = read_file(tmp_path / "x.csv")

    assert (draft.completions[0].text, problems) == ("Rain; wet.", [])


def test_times_and_durations_beside_the_texts_are_kept_as_iso_text(tmp_path):
    row = {"prompt": "Why?", "chosen": "Rain.", "rejected": "Sun."}
    odd = {"t": datetime.time(1, 2, 3), "d": datetime.timedelta(days=1, seconds=5)}
    pq.write_table(pa.Table.from_pylist([{**row, **odd}]), tmp_path / "x.parquet")

    [draft], problems = read_file(tmp_path / "x.parquet")

    assert not problems
    assert draft.comparisons[0].metadata == odd
