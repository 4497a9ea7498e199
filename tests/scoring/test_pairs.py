import csv
import gzip
import io
import json
import re
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from scoring.pairs import DataError, LabelledPair, TrainingData, pair_of_row, read_pairs, read_training_data

ASKED = [{"role": "user", "content": "why"}]
CHAT = [*ASKED, {"role": "assistant", "content": "so"}, {"role": "user", "content": "how"}]


def answer(text):
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "why", "chosen": "rain", "rejected": "sun"},
        {"prompt": "why", "prefered_completions": "rain", "rejected_completions": "sun"},
        {"instruction": "why", "chosen_response": "rain", "rejected_response": "sun"},
        {"chosen": "\n\nHuman: why\n\nAssistant: rain", "rejected": "\n\nHuman: why\n\nAssistant: sun"},
        {"prompt": ASKED, "chosen": [answer("rain")], "rejected": [answer("sun")]},
        {"chosen": [*ASKED, answer("rain")], "rejected": [*ASKED, answer("sun")]},
        {"messages": ASKED, "chosen": answer("rain"), "rejected": answer("sun")},
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
        {"chosen": [*CHAT, answer("rain")], "rejected": [*CHAT, answer("sun")]},
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
        ({"prompt": "p", "chosen": "x"}, 'the column "rejected" is missing'),
        ({"prompt": 3, "chosen": "x", "rejected": "y"}, "prompt should be text, not a number"),
        ({"prompt": " ", "chosen": "x", "rejected": "y"}, "prompt is empty or blank"),
        ({"prompt": "p", "chosen": "x", "rejected": "y", "images": ["a.png"]}, "images holds"),
        ({"prompt": "p", "chosen": "x", "rejected": "y", "margin": "wide"}, "margin should be a number"),
        ({"prompt": "p", "chosen": [*ASKED], "rejected": [answer("y")]}, "end with an assistant's message"),
        (
            {"prompt": "p", "chosen": [*ASKED, answer("x")], "rejected": [*CHAT, answer("y")]},
            "differs from the prompt",
        ),
        ({"prompt": "p", "chosen": "x", "rejected": "\ud800"}, "half a character"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_file_and_line(tmp_path, row, reason):
    file = write(tmp_path / "train.jsonl", [{"prompt": "p", "chosen": "x", "rejected": "y"}, row])

    with pytest.raises(DataError, match=r"train.jsonl, line 2(, \w+)?: .*" + reason):
        read_pairs(file)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "p", "answer": "x"}, "no known format has these columns: prompt, answer"),
        ({"chosen": "x", "rejected": "y"}, "is not a transcript"),
        (
            {"chosen": [*ASKED, answer("x")], "rejected": [{"role": "user", "content": "w"}, answer("y")]},
            "answer different conversations",
        ),
        (
            {"prompt": "p", "completion_a": "x", "completion_b": "y", "p_a": 1.5},
            "p_a should be a number from 0 to 1",
        ),
        (
            {"prompt": "p", "completion_a": "x", "completion_b": "y", "p_a": 1, "strength": -1},
            "strength is -1; it should be 0 or more",
        ),
        ({"prompt": "p", "chosen": "x", "rejected": "\0"}, "U+0000"),
        ({"prompt": "p", "chosen": "x", "rejected": " "}, "pairs with an empty answer"),
    ],
)
def test_a_row_alone_that_cannot_be_read_says_why(row, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        pair_of_row(row)


def test_the_first_bad_row_is_named_although_a_later_one_is_no_json_at_all(tmp_path):
    good = {"prompt": "p", "chosen": "x", "rejected": "y"}
    file = write(tmp_path / "train.jsonl", [good, {**good, "chosen": 3}])
    file.write_bytes(file.read_bytes() + b"{\n")

    with pytest.raises(DataError, match=r"line 2: chosen should be text, .* \(1 more rows can't be read\)"):
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


def long(n):
    return " ".join(f"word{n * place}" for place in range(60))


def turns(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    "kin",
    [
        lambda n: [{"prompt": turns(f"{n} how do rivers find the sea")}],
        lambda n: [
            {"prompt": turns(f"{n} how do rivers find the sea", "So.", f"and {n} then {m}?")} for m in "ab"
        ],
        lambda n: [{"prompt": f"{long(n)} {more}"} for more in ("please", "thanks")],
        lambda n: [{"prompt": f"{n} {more}", "message_tree_id": f"t{n}"} for more in ("rain", "snow")],
        lambda n: [{"prompt": f"{n} RAIN"}, {"prompt": f"{n}  rain"}],
    ],
    ids=["itself", "conversation", "near-duplicate", "tree", "spelling"],
)
def test_what_an_import_keeps_in_one_group_is_not_torn_by_a_made_validation_split(kin, tmp_path):
    families = [kin(n) for n in range(1, 200)]
    whole = [row | {"chosen": "x", "rejected": "y"} for family in families for row in family]
    write(tmp_path / "train.jsonl", whole)

    data = read_training_data(tmp_path)

    side = {pair.prompt: "validation" for pair in data.validation} | {p.prompt: "train" for p in data.train}
    torn = 0
    for family in families:
        sides = {side[pair_of_row(row | {"chosen": "x", "rejected": "y"}).prompt] for row in family}
        torn += len(sides) > 1
    assert torn == 0
    assert 5 <= len(data.validation) / len(families[0]) <= 40


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
    write(tmp_path / "train.jsonl", [{"prompt": "", "chosen": "x", "rejected": "y"}, *rows(2)])
    bad = []

    assert len(read_pairs(tmp_path / "train.jsonl", bad=bad)) == 2
    assert bad == ["train.jsonl, line 1: prompt is empty or blank; there is nothing to answer"]


def test_what_is_no_labelled_pair_is_left_out_and_counted(tmp_path):
    empty = {"prompt": "p", "chosen": "x", "rejected": " \n"}
    same = {"prompt": "p", "chosen": "x", "rejected": "x"}
    write(tmp_path / "train.jsonl", [*rows(50), empty, same])
    write(tmp_path / "validation.jsonl", [*rows(3, 50), empty])

    data = read_training_data(tmp_path)

    assert (len(data.train), len(data.validation)) == (50, 3)
    assert data.left_out == {"pairs with an empty answer": 2, "pairs of two equal answers": 1}


def test_a_file_of_nothing_but_empty_answers_is_refused_with_their_number(tmp_path):
    file = write(tmp_path / "x.jsonl", [{"prompt": "p", "chosen": "x", "rejected": ""}] * 3)

    with pytest.raises(DataError, match=r"x\.jsonl has no labelled pairs: 3 pairs with an empty answer"):
        read_pairs(file)


def voted(*votes):
    return {"instruction": "why", "input": "", "response1": "rain", "response2": "sun"} | {
        f"annotator{n}": vote for n, vote in enumerate(votes, 1)
    }


def test_several_votes_are_their_share_with_half_of_the_ties(tmp_path):
    write(tmp_path / "x.jsonl", [voted(1, 1, 2, 0), voted(2, 2, 2, None), voted(0, 0, 0, 0)])

    assert [pair.target for pair in read_pairs(tmp_path / "x.jsonl")] == [2.5 / 4, 0.0, 0.5]


def test_votes_for_no_side_do_not_count_and_a_pair_of_these_alone_is_left_out(tmp_path):
    def vote(pair, outcome, who):
        sides = {"prompt": f"why {pair}", "completion_a": "rain", "completion_b": "sun"}
        return {"pair_id": pair, **sides, "outcome": outcome, "annotator": who, "current": True}

    votes = [("a", "k"), ("both_bad", "m"), ("cannot_judge", "n")]
    none = [("both_bad", "k"), ("cannot_judge", "m")]
    left_out = Counter()
    write(
        tmp_path / "x.jsonl",
        [vote("1", *answer) for answer in votes] + [vote("2", *answer) for answer in none],
    )

    [pair] = read_pairs(tmp_path / "x.jsonl", left_out=left_out)

    assert (pair.prompt, pair.target) == ("why 1", 1.0)
    assert left_out == {"pairs whose votes all say both bad or can't judge": 1}


def test_the_strength_of_votes_is_the_mean_of_those_for_the_side_that_most_prefer():
    scores = [{"score": -3}, {"score": -2}, {"score": 1}]
    row = {"context": ASKED, "response1": "rain", "response2": "sun", "overall_preference": -2}

    pair = pair_of_row({**row, "individual_preference": scores})

    assert (pair.target, pair.strength) == (2 / 3, 2.5)


def test_an_answer_that_is_a_call_is_trained_on_as_the_text_that_scoring_makes_of_it():
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
    }

    pair = pair_of_row({"prompt": ASKED, "chosen": [call], "rejected": [answer("sun")]})

    assert (pair.prompt, pair.a, pair.b) == ("why", "Call f: {}", "sun")


WAYS = {
    "train.jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows).encode(),
    "train.jsonl.gz": lambda rows: gzip.compress(WAYS["train.jsonl"](rows)),
    "train.jsonl.zst": lambda rows: zstandard.compress(WAYS["train.jsonl"](rows)),
    "train.json": lambda rows: json.dumps(rows, indent=2).encode(),
    "train.csv": lambda rows: _csv(rows).encode(),
    "train.csv.gz": lambda rows: gzip.compress(_csv(rows).encode()),
    "train.tsv": lambda rows: _csv(rows, "\t").encode(),
    "train.parquet": lambda rows: _parquet(rows),
}


def _csv(rows, delimiter=","):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _parquet(rows):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


@pytest.mark.parametrize("name", WAYS)
def test_every_format_that_the_import_reads_is_trained_and_evaluated_on(tmp_path, name):
    briefed = [{**row, "system": "Be brief."} for row in rows(30)]
    (tmp_path / name).write_bytes(WAYS[name](briefed))
    (tmp_path / f"preference.{name}").write_bytes(WAYS[name](briefed))

    data = read_training_data(tmp_path)
    of_profile = read_training_data(tmp_path, profile="preference")

    read = sorted([*data.train, *data.validation], key=lambda pair: int(pair.prompt.split()[-1]))
    assert [pair.prompt for pair in read] == [f"System: Be brief.\n\nUser: why {n}" for n in range(30)]
    assert {(pair.a, pair.b, pair.target) for pair in read} == {("rain", "sun", 1.0)}
    assert list(data.files) == [name]
    assert of_profile.sha256() == data.sha256()
    assert len(read_pairs(tmp_path / name)) == 30


def test_of_a_split_in_several_formats_the_one_that_keeps_most_is_read(tmp_path):
    for name in ("train.csv", "train.parquet", "train.jsonl.gz"):
        (tmp_path / name).write_bytes(WAYS[name](rows(30)))

    assert list(read_training_data(tmp_path).files) == ["train.jsonl.gz"]


def test_a_folder_saved_by_datasets_is_a_file_and_its_splits_are_splits(tmp_path):
    datasets = pytest.importorskip("datasets")
    splits = {"train": rows(20), "validation": rows(5, 20)}
    saved = datasets.DatasetDict({name: datasets.Dataset.from_list(of) for name, of in splits.items()})
    saved.save_to_disk(str(tmp_path / "saved"))

    data = read_training_data(tmp_path / "saved")

    assert (len(data.train), len(data.validation), data.made_validation) == (20, 5, False)
    assert sorted(data.files) == ["train", "validation"]
    assert len(read_pairs(tmp_path / "saved")) == 25


def test_the_mark_that_keeps_a_spreadsheet_from_running_a_cell_is_no_part_of_a_releases_text(tmp_path):
    formulas = [{"prompt": f"'why {n}", "chosen": "'=1+1", "rejected": "sun"} for n in range(30)]
    (tmp_path / "preference.train.csv").write_bytes(WAYS["train.csv"](formulas))

    as_it_stands = read_training_data(tmp_path).train[0]
    (tmp_path / "manifest.json").write_text("{}")
    of_release = read_training_data(tmp_path).train[0]

    assert (as_it_stands.a, of_release.a) == ("'=1+1", "=1+1")
