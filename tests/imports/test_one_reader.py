"""Training and evaluation read a file as the import does: the same rows, the same texts, the same labels."""

import gzip
import json

import pytest

from scoring.formats import flatten_messages
from scoring.pairs import TARGETS, read_pairs
from tests.imports.test_importing import EXAMPLES, take
from workbench.models import Comparison, Dataset

pytestmark = [pytest.mark.django_db, pytest.mark.portable]

CONTEXT = {
    "system": "Be brief.",
    "chat_history": [["Hello.", "Hello to you."]],
    "passage": "Primes divide by one and themselves.",
}


def stored():
    """What the labelled Comparisons say: prompt, both texts in their order as text, and the target."""
    pairs = []
    for comparison in Comparison.objects.select_related("prompt", "a", "b"):
        votes = [TARGETS[vote.outcome] for vote in comparison.judgments.all() if vote.outcome in TARGETS]
        if votes:
            target = sum(votes) / len(votes)
            pairs.append(in_order(flatten_messages(comparison.prompt.messages), comparison.a.text,
                                  comparison.b.text, target))  # fmt: skip
    return sorted(pairs)


def in_order(prompt, a, b, target):
    return (prompt, a, b, round(target, 9)) if a < b else (prompt, b, a, round(1 - target, 9))


def trained_on(path):
    return sorted(in_order(pair.prompt, pair.a, pair.b, pair.target) for pair in read_pairs(path))


def of_shares(shape, pairs):
    """A Release of shares trains on shares, and an import stores the likeliest outcome."""
    return [(*texts, round(target)) for *texts, target in pairs] if shape == "soft-label" else pairs


@pytest.mark.parametrize("shape", sorted(set(EXAMPLES) - {"prompts"}))
def test_what_is_trained_on_is_what_an_import_of_the_file_stores_in_every_shape(shape, tmp_path):
    result = take(tmp_path, EXAMPLES[shape].encode())

    assert result.accepted
    assert of_shares(shape, trained_on(tmp_path / "rows.jsonl")) == stored()
    assert stored()


@pytest.mark.parametrize("column", CONTEXT)
@pytest.mark.parametrize("shape", sorted(set(EXAMPLES) - {"prompts", "shp", "helpsteer3"}))
def test_a_column_that_belongs_to_the_conversation_is_trained_on_as_it_is_stored(shape, column, tmp_path):
    rows = [{**json.loads(line), column: CONTEXT[column]} for line in EXAMPLES[shape].splitlines()]

    result = take(tmp_path, rows)

    assert result.accepted
    assert of_shares(shape, trained_on(tmp_path / "rows.jsonl")) == stored()
    words = {"chat_history": "Hello to you.", "system": "Be brief.", "passage": "Primes divide"}[column]
    assert all(words in prompt for prompt, *_ in stored())


def test_a_prompt_under_two_names_is_read_from_the_one_that_holds_it(tmp_path):
    rows = [
        {"prompt": None, "question": "Name a prime.", "chosen": "Seven.", "rejected": "Nine."},
        {"prompt": "Name a bird.", "question": None, "chosen": "A wren.", "rejected": "A bat."},
    ]

    take(tmp_path, rows)

    assert trained_on(tmp_path / "rows.jsonl") == stored()
    assert {prompt for prompt, *_ in stored()} == {"Name a prime.", "Name a bird."}


def test_a_conversation_that_a_spreadsheet_made_text_is_trained_on_as_a_conversation(tmp_path):
    question = [{"role": "user", "content": "Name a prime."}]
    answers = [[{"role": "assistant", "content": text}] for text in ("Seven.", "Nine.")]
    rows = [{"prompt": str(question), "chosen": json.dumps(answers[0]), "rejected": str(answers[1])}]
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(json.dumps(rows[0]).encode()))

    result = take(tmp_path, rows)

    assert result.accepted
    assert trained_on(tmp_path / "x.jsonl.gz") == stored() == [("Name a prime.", "Nine.", "Seven.", 0.0)]


def test_what_the_import_refuses_is_refused_with_the_same_words_and_line(tmp_path):
    rows = [
        {"prompt": "Name a prime.", "chosen": "Seven.", "rejected": "Nine."},
        {"prompt": "Name a prime.", "chosen": "Two.", "rejected": "Four.", "images": ["a.png"]},
    ]

    result = take(tmp_path, rows, dataset=Dataset(name="Pictures"))

    problem = result.problems[0]
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2") as refused:
        read_pairs(tmp_path / "rows.jsonl")
    assert problem.line == 2
    assert problem.message in str(refused.value)


def test_messages_and_tools_of_a_release_of_every_vote_are_read_from_their_json(tmp_path):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a prime."}]
    calls = [{"type": "function", "function": {"name": "prime", "arguments": "{}"}}]
    row = {
        "pair_id": "1",
        "prompt": "System: Be brief.\n\nUser: Name a prime.",
        "messages": json.dumps(messages),
        "tools": json.dumps([{"type": "function", "function": {"name": "prime"}}]),
        "completion_a": "Call prime: {}",
        "messages_a": json.dumps([{"role": "assistant", "content": None, "tool_calls": calls}]),
        "completion_b": "Nine.",
        "outcome": "a",
        "annotator": "k",
        "current": True,
    }

    result = take(tmp_path, [row])

    comparison = Comparison.objects.select_related("prompt").get()
    assert (result.accepted, result.format) == (True, "all-votes")
    assert comparison.prompt.messages == messages
    assert comparison.prompt.tools == [{"type": "function", "function": {"name": "prime"}}]
    assert trained_on(tmp_path / "rows.jsonl") == stored()
    assert {"Call prime: {}", "Nine."} == {stored()[0][1], stored()[0][2]}
