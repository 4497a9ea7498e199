"""Messages of a file are kept whole or refused by name, and a conversation is never torn within a call."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scoring.rows.conversations import answer_begins, message_of
from scoring.rows.reading import read_file
from scoring.rows.rows import BadRow

ASK = {"role": "user", "content": "How warm is it?"}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "4"}
SAY = {"role": "assistant", "content": "Four degrees."}


def call(*cities: str) -> dict:
    calls = [
        {"id": city, "type": "function", "function": {"name": "w", "arguments": json.dumps({"c": city})}}
        for city in cities
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def drafts(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_file(path)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": call("Oslo")["tool_calls"]},
        {"content": "Hm.", "role": "assistant", "reasoning_content": "So.", "weight": 0, "refusal": None},
        {
            "role": "user",
            "name": "ann",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        },
        {"role": "function", "name": "w", "content": "4"},
        {"role": "assistant", "function_call": {"name": "w", "arguments": "{}"}},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "w", "input": {"n": 2**53 + 1}}]},
    ],
)
def test_a_message_is_kept_as_it_came(message):
    assert message_of(message, "prompt") is message


def test_the_spelling_of_sharegpt_becomes_role_and_content_and_keeps_the_rest():
    message = message_of({"from": "gpt", "value": "Hi", "weight": 0}, "conversations")

    assert message == {"role": "assistant", "content": "Hi", "weight": 0}
    assert message_of({"role": "human", "content": "Hi", "name": "x"}, "prompt") == {
        "role": "user", "content": "Hi", "name": "x"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "image_url"),
        ({"content": [{"type": "text", "text": "see"}, {"type": "input_image"}]}, "input_image"),
        ({"content": [{"type": "image"}]}, "image"),
        ({"content": [{"type": "input_audio", "input_audio": {}}]}, "input_audio"),
        ({"content": [{"type": "video_url", "video_url": {}}]}, "video_url"),
        ({"content": [{"type": "tool_result", "content": [{"type": "image", "source": {}}]}]}, "image"),
        ({"content": "see", "images": ["x.png"]}, "images"),
    ],
)
def test_pictures_sound_and_video_are_refused_by_name_with_the_line(tmp_path, more, named):
    good = {"prompt": [ASK], "chosen": "a", "rejected": "b"}
    read, problems = drafts(tmp_path, good, {**good, "prompt": [{"role": "user", **more}]})

    assert len(read) == 1
    assert (problems[0].line, problems[0].code) == (2, "media")
    assert f'"{named}"' in problems[0].message


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"role": "assistant", "content": None}, "not_text"),
        ({"role": "assistant", "content": []}, "not_text"),
        ({"role": "assistant", "content": {"parts": ["a"]}}, "not_text"),
        ({"role": "assistant", "content": "a", "n": 2**64}, "number_too_long"),
        ({"role": "assistant", "content": "a", "x": b"bytes"}, "not_storable"),
        ({"role": "assistant", "content": "a", "x": float("nan")}, "not_finite"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(message, code):
    with pytest.raises(BadRow) as refused:
        message_of(message, "chosen")

    assert refused.value.code == code
    assert "chosen" in refused.value.message


@pytest.mark.parametrize(
    ("first", "second", "begins"),
    [
        ([ASK, SAY], [ASK, {**SAY, "content": "No."}], 1),
        ([ASK, SAY], [ASK, SAY], 1),
        ([ASK, call("Oslo"), RESULT, SAY], [ASK, call("Oslo"), RESULT, {**SAY, "content": "No."}], 3),
        ([ASK, call("Oslo"), RESULT, SAY], [ASK, call("Oslo"), {**RESULT, "content": "5"}, SAY], 1),
        ([ASK, call("Oslo", "Rome"), RESULT, RESULT, SAY], [ASK, call("Oslo", "Rome"), RESULT, SAY], 1),
        ([ASK, call("Oslo"), RESULT, SAY], [ASK, call("Rome"), RESULT, SAY], 1),
        ([ASK, SAY, ASK, SAY], [ASK, SAY, ASK, {**SAY, "name": "b"}], 3),
        ([ASK, {**SAY, "content": "x"}, ASK, SAY], [ASK, SAY, ASK, SAY], 1),
        ([ASK, SAY], [{**ASK, "name": "ann"}, SAY], 0),
        ([{**ASK, "x": True}, SAY], [{**ASK, "x": 1}, SAY], 0),
    ],
)
def test_the_prompt_of_two_conversations_ends_where_they_part_and_never_within_a_call(first, second, begins):
    assert answer_begins(first, second) == begins == answer_begins(second, first)


def test_results_that_come_under_the_name_of_a_person_stay_with_their_call():
    used = {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "w", "input": {}}]}
    first, second = (
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": result}]}
        for result in ("4", "5")
    )

    assert answer_begins([ASK, used, first, SAY], [ASK, used, second, SAY]) == 1
    assert answer_begins([ASK, used, first, first, SAY], [ASK, used, first, second, SAY]) == 1


def test_an_answer_may_be_several_messages_and_its_text_is_how_they_read(tmp_path):
    chosen = [call("Oslo"), RESULT, SAY]
    (whole,), _ = drafts(tmp_path, {"chosen": [ASK, *chosen], "rejected": [ASK, SAY]})
    (apart,), _ = drafts(tmp_path, {"prompt": [ASK], "chosen": chosen, "rejected": [SAY]})

    for draft in (whole, apart):
        assert draft.messages == [ASK]
        assert [c.messages for c in draft.completions] == [chosen, None]
        assert draft.completions[0].text == 'Call w: {"c": "Oslo"}\n\nTool: 4\n\nAssistant: Four degrees.'
        assert draft.completions[1].text == "Four degrees."


def test_a_text_and_the_one_message_of_it_are_the_same_answer(tmp_path):
    read, _ = drafts(
        tmp_path,
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": [{**SAY, "content": "a"}], "rejected": {**SAY, "content": "b"}},
    )

    assert read[0].completions == read[1].completions


def test_completions_of_a_list_or_of_rows_may_be_messages(tmp_path):
    answers = [[call("Oslo")], {"messages": [SAY], "score": 1}, {**SAY, "name": "b", "rank": 2}]
    (listed,), _ = drafts(tmp_path, {"prompt": "p", "completions": answers})
    (rows,), _ = drafts(
        tmp_path,
        {"prompt": "p", "completion": [call("Oslo"), RESULT, SAY], "label": True},
        {"prompt": "p", "completion": "No.", "label": False},
    )

    assert [c.messages for c in listed.completions] == [[call("Oslo")], None, [{**SAY, "name": "b"}]]
    assert [c.messages for c in rows.completions] == [[call("Oslo"), RESULT, SAY], None]


def test_parquet_adds_nulls_to_messages_and_they_are_taken_away(tmp_path):
    rows = [
        {"prompt": [ASK], "chosen": [call("Oslo")], "rejected": [SAY]},
        {"prompt": [{**ASK, "name": "ann"}], "chosen": [SAY], "rejected": [{**SAY, "weight": 0}]},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")

    of_parquet, problems = read_file(tmp_path / "rows.parquet")
    of_lines, _ = drafts(tmp_path, *rows)

    assert not problems
    assert [(d.messages, d.completions) for d in of_parquet] == [
        (d.messages, d.completions) for d in of_lines
    ]


def test_json_inside_parquet_is_read(tmp_path):
    kind = pa.list_(pa.json_())
    row = {"prompt": [ASK], "chosen": [call("Oslo"), RESULT, SAY], "rejected": [SAY]}
    columns = [
        pa.array([[json.dumps(m) for m in messages]], pa.list_(pa.string())).cast(kind)
        for messages in row.values()
    ]
    pq.write_table(pa.Table.from_arrays(columns, names=list(row)), tmp_path / "rows.parquet")

    (draft,), _ = read_file(tmp_path / "rows.parquet")

    assert (draft.messages, draft.completions[0].messages) == ([ASK], row["chosen"])
