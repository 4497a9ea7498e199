import io
import json
import pickle

import pytest

from scoring.formats import (
    BadLine,
    BadText,
    flatten_messages,
    line_of_row,
    pair_of_row,
    read_rows,
    refuse_bad_pairs,
)


def test_one_user_message_is_its_content_byte_for_byte():
    content = "  Two spaces,\r\na CRLF and a tab\t "

    assert flatten_messages([{"role": "user", "content": content}]) == content


def test_a_conversation_becomes_turns_led_by_their_role():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is a lease?"},
        {"role": "assistant", "content": "A claim that expires."},
        {"role": "user", "content": "Who renews it?"},
    ]

    assert flatten_messages(messages) == (
        "System: Be brief.\n\nUser: What is a lease?\n\n"
        "Assistant: A claim that expires.\n\nUser: Who renews it?"
    )


def test_a_lone_message_that_is_not_the_users_keeps_its_role():
    assert flatten_messages([{"role": "system", "content": "Be brief."}]) == "System: Be brief."


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "no messages"),
        ([{"role": "user"}], "message 1 has no text"),
        ([{"role": "user", "content": "Hi"}, {"content": "Hi"}], "message 2 has no role"),
        ([{"role": "user", "content": None}], "message 1 has no text"),
        (["Hi"], "message 1 has no role"),
    ],
)
def test_a_conversation_that_lacks_something_is_refused_with_the_place(messages, reason):
    with pytest.raises(ValueError, match=reason):
        flatten_messages(messages)


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (("", "Yes."), "the prompt is empty"),
        (("Why?", " \n\t"), "the answer is empty"),
        (("Why?", "half \ud83d a smile"), "half a character"),
        (("Why?", True), "the answer is not text but bool"),
        ((None, "Yes."), "the prompt is not text but NoneType"),
    ],
)
def test_a_pair_that_no_scorer_can_score_is_refused_with_its_index(pair, reason):
    with pytest.raises(BadText, match=reason) as caught:
        refuse_bad_pairs([("Why?", "Because."), pair])

    assert caught.value.index == 1


def test_a_bad_text_survives_the_trip_between_processes():
    copy = pickle.loads(pickle.dumps(BadText(7, "the prompt is empty")))

    assert (copy.index, copy.reason, str(copy)) == (7, "the prompt is empty", "text 7: the prompt is empty")


def test_rows_come_with_the_number_of_their_line():
    file = io.BytesIO(b'\xef\xbb\xbf{"a": 1}\n\n{"a": 2}\r\n{"a": 3}')

    assert list(read_rows(file)) == [(1, {"a": 1}), (3, {"a": 2}), (4, {"a": 3})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "not JSON"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[1, 2]", "not list"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_line_is_named(line, reason):
    with pytest.raises(BadLine, match=reason) as caught:
        list(read_rows(io.BytesIO(b'{"a": 1}\n' + line)))

    assert caught.value.line == 2


@pytest.mark.parametrize("text", ["", "plain", "ελληνικά 🌧", "\u2028\x00\x7f", "half \ud83d a smile"])
def test_a_row_survives_being_written_and_read(text):
    row = {"z": text, "a": [1, 2.5, None, {"k": text}]}

    written = line_of_row(row)

    assert written.count(b"\n") == 1
    assert list(json.loads(written).items()) == list(row.items())


def test_a_missing_column_is_named_with_those_that_are_there():
    with pytest.raises(ValueError, match='"completion" is missing; the row has prompt, response'):
        pair_of_row({"prompt": "Why?", "response": "Because."})


def test_a_prompt_may_be_a_list_of_messages():
    row = {"prompt": [{"role": "user", "content": "Why?"}], "completion": "Because."}

    assert pair_of_row(row) == ("Why?", "Because.")
