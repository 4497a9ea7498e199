"""Equal conversations have equal digests, and messages have a reading view."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.messages import (
    answer_reading,
    canonical,
    message_reading,
    messages_digest,
    pieces,
    reading,
    says_text_alone,
    search_text,
)

WEATHER = {"type": "function", "id": "c1", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0.0, "0"), (-0.0, "0"), (1.0, "1"), (-1.5, "-1.5"), (1e20, "100000000000000000000"), (1e21, "1e+21"),
        (1e-6, "0.000001"), (1e-7, "1e-7"), (1.5e-7, "1.5e-7"), (5e-324, "5e-324"),
        (333333333.33333329, "333333333.3333333"),
        (9007199254740993, "9007199254740993"), (2**70, "1180591620717411303424"), (True, "true"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_rfc_8785_has_them_and_whole_ones_digit_by_digit(number, written):
    assert canonical(number) == written


def test_keys_are_sorted_as_utf_16_and_text_is_escaped_as_little_as_can_be():
    """The example of RFC 8785, section 3.2.3."""
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\u00f6"]

    in_order = list(json.loads(canonical(dict.fromkeys(keys, 0))))

    assert in_order == ["\r", "1", "\x80", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert canonical('\x01\x7f\u2028/"é') == '"\\u0001\x7f\u2028/\\"é"'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_json_number_has_no_canonical_form(value):
    with pytest.raises(ValueError, match="no JSON number"):
        canonical([value])


# Beyond 2**53 a number with a point reads as the whole number of its shortest digits: so RFC 8785 has it.
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-(2.0**53), 2.0**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(anything)
def test_canonical_json_says_the_same_and_says_it_in_one_way(value):
    written = canonical(value)

    assert json.loads(written) == value
    assert canonical(json.loads(written)) == written


@given(st.dictionaries(st.text(max_size=4), anything, max_size=4))
def test_one_key_more_makes_another_message(extra):
    plain = {"role": "user", "content": "Hi"}
    message = {**extra, **plain}

    assert (messages_digest([message]) == messages_digest([plain])) == (message == plain)


def test_the_sole_message_of_a_user_reads_as_its_text_byte_for_byte():
    text = " a\r\n\tb \u2028"

    assert reading([{"role": "user", "content": text}]) == text
    assert reading([{"role": "user", "content": text, "weight": 0}]) == text
    assert reading([{"role": "user", "content": [{"type": "text", "text": text}]}]) == text


def test_typed_parts_of_text_read_as_one_text():
    parts = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there."}]

    assert message_reading({"role": "user", "content": parts}) == "Hello there."
    assert says_text_alone({"role": "user", "content": parts})


def test_every_message_but_a_sole_one_is_led_by_its_role_and_name():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": "How warm?"},
        {"role": "assistant", "content": None, "tool_calls": [WEATHER]},
        {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": '{"c": 4}'},
    ]

    assert reading(messages) == (
        'System: Be brief.\n\nUser (ann): How warm?\n\nAssistant: Call weather: {"city": "Oslo"}\n\n'
        'Tool (weather): {"c": 4}'
    )


def test_an_answer_of_several_messages_reads_from_its_first_words_on():
    answer = [
        {
            "role": "assistant",
            "content": "One.",
            "reasoning_content": "I must look.",
            "tool_calls": [WEATHER],
        },
        {"role": "tool", "content": "4"},
        {"role": "assistant", "content": "Four degrees."},
    ]

    assert answer_reading(answer) == (
        'Reasoning: I must look.\n\nOne.\n\nCall weather: {"city": "Oslo"}\n\nTool: 4\n\n'
        "Assistant: Four degrees."
    )


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ([{"type": "thinking", "thinking": "Hm.", "signature": "x"}], [("reasoning", "", "Hm.")]),
        ([{"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}], [("call", "f", '{"a": 1}')]),
        ([{"type": "tool_result", "content": [{"type": "text", "text": "4"}]}], [("result", "", "4")]),
        ([{"type": "other", "x": 1}], [("other", "other", '{"type": "other", "x": 1}')]),
    ],
)
def test_what_typed_parts_say_is_told_by_their_type(content, parts):
    assert pieces({"role": "assistant", "content": content}) == parts
    assert not says_text_alone({"role": "assistant", "content": content})


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, [("call", "f", "{}")]),
        ({"content": "", "tool_calls": [{"name": "f", "arguments": {"é": 1}}]}, [("call", "f", '{"é": 1}')]),
        ({"content": None, "refusal": "No."}, [("refusal", "", "No.")]),
    ],
)  # fmt: skip
def test_what_a_message_says_is_told_in_the_forms_of_openai_and_anthropic(message, parts):
    assert pieces({"role": "assistant", **message}) == parts
    assert not says_text_alone({"role": "assistant", **message})


def test_plain_messages_need_no_text_of_their_own_to_be_found_by():
    assert search_text([{"role": "user", "content": "Hi"}]) is None
    assert "weather" in search_text([{"role": "assistant", "content": None, "tool_calls": [WEATHER]}])
