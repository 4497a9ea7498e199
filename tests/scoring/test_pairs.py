import gzip
import json

import pytest

from scoring.pairs import DataError, LabelledPair, TrainingData, pair_of_row, read_pairs, read_training_data

ASKED = [{"role": "user", "content": "why"}]
CHAT = [*ASKED, {"role": "assistant", "content": "so"}, {"role": "user", "content": "how"}]


def said(text):
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "why", "chosen": "rain", "rejected": "sun"},
        {"prompt": "why", "prefered_completions": "rain", "rejected_completions": "sun"},
        {"instruction": "why", "chosen_response": "rain", "rejected_response": "sun"},
        {"chosen": "\n\nHuman: why\n\nAssistant: rain", "rejected": "\n\nHuman: why\n\nAssistant: sun"},
        {"prompt": ASKED, "chosen": [said("rain")], "rejected": [said("sun")]},
        {"chosen": [*ASKED, said("rain")], "rejected": [*ASKED, said("sun")]},
        {"messages": ASKED, "chosen": said("rain"), "rejected": said("sun")},
        {
            "conversations": [{"from": "human", "value": "why"}],
            "chosen": {"from": "gpt", "value": "rain"},
            "rejected": {"from": "gpt", "value": "sun"},
        },
        {"prompt": "why", "completion_a": "rain", "completion_b": "sun", "p_a": 1, "n": 3},
        {
            "question": {"full_text": "why", "id": "q"},
            "answer_0": "rain",
            "answer_1": "sun",
            "score_0": 1,
            "score_1": -1,
        },
        {"id": "x", "prompt": "why", "chosen": "rain", "rejected": "sun", "chosen_model": "m"},
        {"prompt": "why", "preferred": "rain", "rejected": "sun"},
    ],
)
def test_every_shape_gives_the_same_pair(row):
    pair = pair_of_row(row)

    assert (pair.prompt, pair.a, pair.b, pair.target) == ("why", "rain", "sun", 1.0)
    assert pair.group == pair_of_row({"prompt": " WHY ", "chosen": "x", "rejected": "y"}).group


def test_a_conversation_is_the_text_that_scoring_makes_of_it():
    rows = [
        {"prompt": CHAT, "chosen": "rain", "rejected": "sun"},
        {"chosen": [*CHAT, said("rain")], "rejected": [*CHAT, said("sun")]},
        {
            "chosen": "\n\nHuman: why\n\nAssistant: so\n\nHuman: how\n\nAssistant: rain",
            "rejected": "\n\nHuman: why\n\nAssistant: so\n\nHuman: how\n\nAssistant: sun",
        },
    ]

    assert {pair_of_row(row).prompt for row in rows} == {"User: why\n\nAssistant: so\n\nUser: how"}


def test_posteriors_ties_strength_and_parts_are_kept():
    sides = {"prompt": "p", "completion_a": "x", "completion_b": "y"}
    soft = pair_of_row({**sides, "p_a": 0.8, "method": "majority", "strength": 2, "group": "g"})
    tie = pair_of_row(
        {"question": {"full_text": "p"}, "answer_0": "x", "answer_1": "y", "score_0": 0, "score_1": 0.0}
    )
    clear = pair_of_row({"prompt": "p", "chosen": "x", "rejected": "y", "margin": 0.25, "subset": "hard"})

    assert (soft.target, soft.part, soft.strength, soft.group) == (0.8, "majority", 2.0, "g")
    assert tie.is_tie
    assert (clear.strength, clear.part) == (0.25, "hard")


def test_citations_are_kept_unless_asked():
    row = {"prompt": "p", "chosen": "rain [1][2, 3] falls", "rejected": "a[0]"}

    assert pair_of_row(row).a == "rain [1][2, 3] falls"
    assert pair_of_row(row, strip_citations=True).a == "rain  falls"


def test_an_answer_that_begins_like_the_other_is_not_cut_short():
    pair = pair_of_row(
        {
            "chosen": "\n\nHuman: why\n\nAssistant: Sure, rain",
            "rejected": "\n\nHuman: why\n\nAssistant: Sure, sun",
        }
    )

    assert (pair.a, pair.b) == ("Sure, rain", "Sure, sun")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "p", "answer": "x"}, "no pair of completions among the columns prompt, answer"),
        ({"prompt": "p", "chosen": "x", "rejected": ""}, "the completion is empty"),
        ({"prompt": 3, "chosen": "x", "rejected": "y"}, "a prompt is text or a list of messages"),
        (
            {"prompt": "p", "completion_a": "x", "completion_b": "y", "p_a": 1.5},
            "p_a is 1.5, not from 0 to 1",
        ),
        ({"prompt": "p", "completion_a": "x", "completion_b": "y", "p_a": "1"}, "p_a is not a number"),
        ({"chosen": "x", "rejected": "y"}, "before its last turn"),
        (
            {"chosen": [*ASKED, said("x")], "rejected": [*CHAT, said("y")]},
            "answer different conversations",
        ),
        ({"prompt": "p", "chosen": [], "rejected": []}, "does not end with an assistant's message"),
        ({"prompt": "p", "chosen": "x", "rejected": "\ud800"}, "a lone surrogate"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_file_and_line(tmp_path, row, reason):
    file = write(tmp_path / "train.jsonl", [{"prompt": "p", "chosen": "x", "rejected": "y"}, row])

    with pytest.raises(DataError, match="train.jsonl, line 2: .*" + reason):
        read_pairs(file)


def write(path, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def rows(count, start=0):
    return [{"prompt": f"why {n}", "chosen": "rain", "rejected": "sun"} for n in range(start, start + count)]


def test_a_release_folder_is_read_by_its_splits(tmp_path):
    write(tmp_path / "preference.train.jsonl", rows(5))
    write(tmp_path / "preference.validation.jsonl.gz", rows(2, 5))
    write(tmp_path / "preference.test.jsonl", rows(3, 7))
    (tmp_path / "manifest.json").write_text("{}")

    data = read_training_data(tmp_path)

    assert (len(data.train), len(data.validation), len(data.test)) == (5, 2, 3)
    assert sorted(data.files) == [
        "preference.test.jsonl",
        "preference.train.jsonl",
        "preference.validation.jsonl.gz",
    ]
    assert not data.made_validation


def test_of_several_profiles_the_one_that_says_most_is_read(tmp_path):
    write(tmp_path / "preference.train.jsonl", rows(5))
    soft = {"prompt": "p", "completion_a": "x", "completion_b": "y", "p_a": 0.5}
    write(tmp_path / "soft-label.train.jsonl", [soft])

    assert read_training_data(tmp_path).train[0].is_tie
    assert len(read_training_data(tmp_path, profile="preference").train) > 1
    with pytest.raises(DataError, match=r"no kto.train.jsonl; it has preference, soft-label"):
        read_training_data(tmp_path, profile="kto")


def test_a_missing_validation_split_is_made_of_whole_groups_the_same_every_time(tmp_path):
    write(tmp_path / "train.jsonl", rows(400) + rows(400))

    data = read_training_data(tmp_path)

    held_out = {pair.group for pair in data.validation}
    assert data.made_validation
    assert 50 <= len(data.validation) <= 110
    assert held_out.isdisjoint(pair.group for pair in data.train)
    assert read_training_data(tmp_path).validation == data.validation


@pytest.mark.parametrize(
    ("name", "reason"), [("x.jsonl", "has no train.jsonl"), ("train.jsonl", "has no rows")]
)
def test_a_folder_without_training_rows_is_refused(tmp_path, name, reason):
    write(tmp_path / name, [])

    with pytest.raises(DataError, match=reason):
        read_training_data(tmp_path)


def test_what_is_trained_on_has_a_hash_of_its_own():
    pair = LabelledPair("p", "x", "y", 1.0, "g")
    flipped = LabelledPair("p", "x", "y", 0.0, "g")

    assert TrainingData([pair], []).sha256() == TrainingData([pair], [], files={"f": "h"}).sha256()
    assert TrainingData([pair], []).sha256() != TrainingData([flipped], []).sha256()


def test_a_split_without_rows_is_no_split(tmp_path):
    write(tmp_path / "train.jsonl", rows(100))
    write(tmp_path / "validation.jsonl", [])
    write(tmp_path / "test.jsonl.gz", [])

    data = read_training_data(tmp_path)

    assert (data.made_validation, bool(data.validation), data.test) == (True, True, [])


def test_bad_rows_may_be_left_out_and_are_told(tmp_path):
    write(tmp_path / "train.jsonl", [{"prompt": "p", "chosen": "x", "rejected": ""}, *rows(2)])
    bad = []

    assert len(read_pairs(tmp_path / "train.jsonl", bad=bad)) == 2
    assert bad == ["train.jsonl, line 1: the completion is empty"]
