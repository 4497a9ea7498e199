"""The rows of each profile: written, read by its readers, and imported again unchanged."""

import csv
import errno
import gzip
import json
import resource
import subprocess
import sys
from contextlib import chdir
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import Features, Value, load_dataset
from django.core.files.storage import default_storage
from trl.data_utils import extract_prompt

from scoring.formats import flatten_messages
from scoring.pairs import read_training_data
from scoring.rows.defused import FORMULA_STARTS
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    JudgmentFactory,
    PromptFactory,
    UserFactory,
)
from workbench.models import Comparison, Dataset, Decision, Judgment, Release
from workbench.models.dataset import answer_digest, group_digest
from workbench.pipeline import imports, releases
from workbench.pipeline.decisions import aggregation as aggregation_stage
from workbench.pipeline.releases import FORMATS, PROFILES, SPLITS, building, proof, split_of

pytestmark = [pytest.mark.django_db, pytest.mark.portable]

TALK = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Salt?"},
]


def pair(
    dataset: Dataset, outcomes: str = "a", messages: object = "Salt?", texts=("Yes.", "No.")
) -> Comparison:
    """A Comparison of two texts, with one current Judgment for each letter: a, b, t(ie), x (both bad)."""
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    prompt = PromptFactory.create(dataset=dataset, messages=messages)
    a, b = (CompletionFactory.create(prompt=prompt, text=text, source=f"by {text}"[:200]) for text in texts)
    comparison = ComparisonFactory.create(prompt=prompt, a=a, b=b)
    for letter in outcomes:
        outcome = {"t": "tie", "x": "both_bad"}.get(letter, letter)
        JudgmentFactory.create(comparison=comparison, outcome=outcome)
    return comparison


def build(dataset: Dataset, *profiles: str, formats=("jsonl",), filters=None) -> Release:
    release = Release(dataset=dataset, profiles=profiles, formats=list(formats), filters=filters or {})
    return releases.build(release)


def folder(release: Release) -> Path:
    return Path(default_storage.path(release.folder))


def rows(release: Release, profile: str) -> list[dict]:
    paths = [folder(release) / f"{profile}.{split}.jsonl" for split in SPLITS]
    return [json.loads(line) for path in paths if path.exists() for line in path.read_text().split("\n")[:-1]]


CHOSEN, REJECTED = {"role": "assistant", "content": "No."}, {"role": "assistant", "content": "Yes."}
MARGIN = {"prompt": "Salt?", "chosen": "No.", "rejected": "Yes.", "margin": pytest.approx(1 / 3)}


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("pairs", [{"prompt": "Salt?", "preferred": "No.", "rejected": "Yes."}]),
        ("preference", [{"prompt": "Salt?", "chosen": "No.", "rejected": "Yes."}]),
        ("aira", [{"prompt": "Salt?", "prefered_completions": "No.", "rejected_completions": "Yes."}]),
        ("reward-aira", [{"instruction": "Salt?", "chosen_response": "No.", "rejected_response": "Yes."}]),
        (
            "trl-implicit",
            [
                {
                    "chosen": "\n\nHuman: Salt?\n\nAssistant: No.",
                    "rejected": "\n\nHuman: Salt?\n\nAssistant: Yes.",
                }
            ],
        ),
        (
            "trl-chat",
            [{"prompt": [{"role": "user", "content": "Salt?"}], "chosen": [CHOSEN], "rejected": [REJECTED]}],
        ),
        (
            "trl-chat-implicit",
            [
                {
                    "chosen": [{"role": "user", "content": "Salt?"}, CHOSEN],
                    "rejected": [{"role": "user", "content": "Salt?"}, REJECTED],
                }
            ],
        ),
        ("trl-reward", [MARGIN]),
        ("openrlhf", [MARGIN]),
        (
            "kto",
            [
                {"prompt": "Salt?", "completion": "Yes.", "label": False},
                {"prompt": "Salt?", "completion": "No.", "label": True},
            ],
        ),
        (
            "axolotl",
            [{"messages": [{"role": "user", "content": "Salt?"}], "chosen": CHOSEN, "rejected": REJECTED}],
        ),
        (
            "llama-factory",
            [
                {
                    "conversations": [{"from": "human", "value": "Salt?"}],
                    "chosen": {"from": "gpt", "value": "No."},
                    "rejected": {"from": "gpt", "value": "Yes."},
                }
            ],
        ),
        (
            "soft-label",
            [
                {
                    "prompt": "Salt?",
                    "completion_a": "Yes.",
                    "completion_b": "No.",
                    "p_a": pytest.approx(1 / 3),
                    "p_tie": 0.0,
                    "n": 3,
                    "method": "majority",
                    "strength": 0.0,
                    "group": group_digest([{"role": "user", "content": "Salt?"}]),
                }
            ],
        ),
    ],
)
def test_two_votes_of_three_for_b_are_written_as_the_profile_says(dataset, profile, expected):
    pair(dataset, "bba")

    assert rows(build(dataset, profile), profile) == expected


@pytest.mark.parametrize("profile", ["trl-chat", "trl-chat-implicit", "axolotl"])
def test_a_message_goes_out_as_it_came_its_keys_in_their_order_whatever_the_database_keeps(dataset, profile):
    came = {"name": "Bob", "content": "Salt?", "weight": 0, "role": "user"}
    pair(dataset, "a", [came])

    (row,) = rows(build(dataset, profile), profile)

    (message,) = row.get("prompt") or row.get("messages") or row["chosen"][:1]
    assert list(message.items()) == list(came.items())


@pytest.mark.parametrize(
    ("outcomes", "kto", "soft", "preference"),
    [
        ("a", [True, False], [1.0], 1),
        ("b", [False, True], [0.0], 1),
        ("x", [False, False], [], 0),
        ("t", [], [0.5], 0),
        ("att", [], [pytest.approx(2 / 3)], 0),
        ("ab", [], [], 0),
    ],
)
def test_each_profile_has_its_own_use_for_an_outcome(dataset, outcomes, kto, soft, preference):
    pair(dataset, outcomes)
    pair(dataset, "a", "Another?")

    release = build(dataset, "kto", "soft-label", "preference")

    salt = [row for row in rows(release, "kto") if row["prompt"] == "Salt?"]
    assert [row["label"] for row in salt] == kto
    assert [row["p_a"] for row in rows(release, "soft-label") if row["prompt"] == "Salt?"] == soft
    assert sum(row["prompt"] == "Salt?" for row in rows(release, "preference")) == preference
    used_by = {"kto": bool(kto), "soft-label": bool(soft), "preference": bool(preference)}
    left = {name: sum(counts["left_out"].values()) for name, counts in release.manifest["profiles"].items()}
    assert left == {name: int(not used) for name, used in used_by.items()}


@pytest.mark.parametrize(
    ("votes", "strength"),
    [
        ([("a", 2), ("a", 1), ("a", None), ("b", 2)], 1.5),
        ([("a", None)], 0.0),
        ([("tie", None), ("tie", None), ("a", 2)], 0.0),
    ],
)
def test_strength_is_the_mean_of_what_those_said_who_prefer_the_outcome(dataset, votes, strength):
    comparison = pair(dataset, "")
    for outcome, strength_of_vote in votes:
        JudgmentFactory.create(comparison=comparison, outcome=outcome, strength=strength_of_vote)

    assert [row["strength"] for row in rows(build(dataset, "soft-label"), "soft-label")] == [strength]


def test_a_trainer_can_tell_the_splits_by_file_name_and_check_that_no_group_is_in_two(dataset):
    for number in range(40):
        pair(dataset, "ab"[number % 2], f"Question {number}?")
        pair(dataset, "t", f" question  {number}? ")

    release = build(dataset, "soft-label")

    groups: dict[str, set[str]] = {}
    for path in folder(release).glob("*.jsonl"):
        profile, split, form = path.name.split(".")
        assert (profile, form) == ("soft-label", "jsonl")
        assert release.manifest["files"][path.name]["split"] == split
        for line in path.read_text().splitlines():
            groups.setdefault(json.loads(line)["group"], set()).add(split)
    assert len(groups) == 40
    assert all(splits == {split_of(group)} for group, splits in groups.items())
    assert not [name for name in PROFILES if "." in name]


def test_a_reviewers_word_is_certain_and_its_margin_full(dataset):
    comparison = pair(dataset, "aab")
    Decision.objects.create(
        comparison=comparison, outcome="b", method="reviewer", decided_by=UserFactory.create()
    )

    release = build(dataset, "soft-label", "trl-reward")

    assert [(row["p_a"], row["method"]) for row in rows(release, "soft-label")] == [(0.0, "reviewer")]
    assert [(row["chosen"], row["margin"]) for row in rows(release, "trl-reward")] == [("No.", 1.0)]


def test_all_votes_holds_every_judgment_under_a_pseudonym_also_superseded_and_undecided_ones(dataset):
    comparison, person = pair(dataset, "a"), AnnotatorFactory.create()
    first = JudgmentFactory.create(
        comparison=comparison,
        annotator=person,
        outcome="a",
        stage="first",
        mode="blind",
        left="b",
        is_current=False,
    )
    JudgmentFactory.create(
        comparison=comparison,
        annotator=person,
        outcome="b",
        stage="revealed",
        mode="blind",
        left="b",
        suggested="b",
        strength=2,
        supersedes=first,
    )

    written = rows(build(dataset, "all-votes"), "all-votes")

    facts = [
        (row["outcome"], row["stage"], row["left"], row["current"], row["strength"]) for row in written[1:]
    ]
    assert facts == [("a", "first", "b", False, -1), ("b", "revealed", "b", True, 2)]
    assert {row["annotator"] for row in written[1:]} == {str(person.pseudonym)}
    assert person.user.username not in json.dumps(written)
    assert {row["decided"] for row in written} == {""}
    assert [row["judged_at"] for row in written] == [
        int(at.timestamp()) for at in Judgment.objects.order_by("pk").values_list("created_at", flat=True)
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("aggregation", ["majority", "skill"])
def test_what_all_votes_says_is_decided_follows_from_the_votes_beside_it(dataset, monkeypatch, aggregation):
    """People change their votes between settling and the snapshot: exactly there, and not by luck."""
    Dataset.objects.filter(pk=dataset.pk).update(aggregation=aggregation)
    dataset.refresh_from_db()
    settled = aggregation_stage.derive
    for number in range(12):
        pair(dataset, "aab", f"Question {number}?")

    def settle_and_change(of: Dataset) -> object:
        before = settled(of)
        for n, old in enumerate(Judgment.objects.filter(outcome="a", is_current=True).order_by("pk")):
            if n % 3:  # both, one or none of the two that said a
                Judgment.objects.filter(pk=old.pk).update(is_current=False)
                JudgmentFactory.create(
                    comparison=old.comparison, annotator=old.annotator, outcome="b", supersedes=old
                )
        return before

    monkeypatch.setattr(aggregation_stage, "derive", settle_and_change)

    written = rows(build(dataset, "all-votes"), "all-votes")

    votes: dict[str, list[str]] = {}
    for row in written:
        if row["current"]:
            votes.setdefault(row["pair_id"], []).append(row["outcome"])
    majority = {pair: max(set(outcomes), key=outcomes.count) for pair, outcomes in votes.items()}
    assert {row["pair_id"]: row["decided"] for row in written} == majority
    assert set(majority.values()) == {"b"}
    assert Decision.objects.filter(is_current=True, outcome="a").exists()


def test_rows_that_trl_would_misread_are_counted_and_named(dataset):
    pair(dataset, "a", "Which?", ("The Elbe", "The Alps"))
    pair(dataset, "a", "Where?", ("Here", "There"))

    release = build(dataset, "trl-implicit", "preference")

    assert release.manifest["profiles"]["trl-implicit"]["torn"] == 1
    assert release.manifest["profiles"]["preference"]["torn"] == 0
    assert "TRL would misread 1 row of trl-implicit" in (folder(release) / "README.md").read_text()
    torn = [extract_prompt(row)["prompt"] for row in rows(release, "trl-implicit")]
    assert sum(not prompt.endswith("\n\nAssistant:") for prompt in torn) == 1


def test_an_empty_answer_is_left_out_of_pairs_and_counted(dataset):
    pair(dataset, "a")
    pair(dataset, "a", "Pepper?", ("Yes.", " \n"))

    release = build(dataset, "preference", "kto", "all-votes")

    assert release.manifest["profiles"]["preference"]["left_out"] == {"empty": 1}
    assert release.manifest["profiles"]["kto"]["left_out"] == {"empty": 1}
    assert release.manifest["profiles"]["all-votes"]["left_out"] == {}
    assert release.manifest["comparisons"]["by_outcome"] == {"a": 1, "empty": 1}


def test_the_evaluation_set_is_of_the_test_split_alone_and_names_the_writers(dataset):
    for number in range(40):
        pair(dataset, "a", f"Question {number}?")

    release = build(dataset, "rewardbench")

    tested = [p for p in dataset.prompts.all() if split_of(p.group) == "test"]
    assert {row["prompt"] for row in rows(release, "rewardbench")} == {
        p.messages[0]["content"] for p in tested
    }
    assert rows(release, "rewardbench")[0]["chosen_model"] == "by Yes."
    assert list(release.manifest["profiles"]["rewardbench"]["rows"]) == ["test"]
    assert release.manifest["profiles"]["rewardbench"]["left_out"] == {"other_split": 40 - len(tested)}


@pytest.mark.parametrize(
    ("profile", "messages"),
    [
        ("llama-factory", [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Salt?"}]),
        ("llama-factory", [*TALK, {"role": "assistant", "content": "Yes"}]),
        ("llama-factory", [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]),
        ("trl-implicit", [{"role": "system", "content": "Be brief."}, *TALK]),
    ],
)
def test_turns_that_a_profiles_readers_refuse_are_left_out(dataset, profile, messages):
    pair(dataset, "a", messages)
    pair(dataset, "a", TALK)

    release = build(dataset, profile)

    assert release.manifest["profiles"][profile]["left_out"] == {"turns": 1}
    assert len(rows(release, profile)) == 1


def test_llama_factory_gets_its_dataset_info(dataset):
    for number in range(30):
        pair(dataset, "a", f"Question {number}?")

    release = build(dataset, "llama-factory")

    info = json.loads((folder(release) / "dataset_info.json").read_bytes())
    assert sorted(info) == ["Kitchen_test", "Kitchen_train", "Kitchen_validation"]
    assert info["Kitchen_train"] == {
        "file_name": "llama-factory.train.jsonl",
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
    }


def test_every_format_holds_the_same_rows(dataset):
    texts = ("=1+1", "plain\r\nwith \"quotes\", 'and' a comma")
    pair(dataset, "a", "'quoted'", texts)

    release = build(dataset, "preference", formats=FORMATS)

    (name,) = {file["split"] for file in release.manifest["files"].values() if file["split"]}
    (row,) = rows(release, "preference")
    base = folder(release) / f"preference.{name}"
    zipped = Path(f"{base}.jsonl.gz").read_bytes()
    assert json.loads(gzip.decompress(zipped)) == row
    assert zipped[4:8] == bytes(4), "a time inside would make each build another file"
    assert pq.read_table(f"{base}.parquet").to_pylist() == [row]
    with open(f"{base}.csv", newline="", encoding="utf-8") as file:
        (cells,) = csv.DictReader(file)
    assert {column: cell.removeprefix("'") for column, cell in cells.items()} == {**row, "prompt": "'quoted'"}


@pytest.mark.parametrize("start", [*"=+-@|%\t\r\n＝＋－＠'"])
def test_no_cell_of_a_csv_begins_as_a_formula_does_and_one_quote_taken_away_gives_the_text(dataset, start):
    text = f"{start}cmd|' /C calc'!A0"
    pair(dataset, "a", text, (text, f"{text}!"))

    release = build(dataset, "preference", formats=["jsonl", "csv"])

    (name,) = [name for name in release.manifest["files"] if name.endswith(".csv")]
    with (folder(release) / name).open(newline="", encoding="utf-8") as file:
        (cells,) = csv.DictReader(file)
    assert {cell[0] for cell in cells.values()} == {"'"}
    assert {column: cell[1:] for column, cell in cells.items()} == rows(release, "preference")[0]


def test_conversations_as_csv_are_refused_before_anything_is_built(dataset):
    pair(dataset)

    with pytest.raises(releases.ReleaseError, match="CSV cannot hold the conversations of trl-chat"):
        build(dataset, "preference", "trl-chat", formats=["jsonl", "csv"])


@pytest.mark.parametrize(
    ("profiles", "formats"),
    [(list(PROFILES), ["jsonl"]), (["preference", "all-votes"], FORMATS), (["trl-chat"], FORMATS[:3])],
)
def test_a_release_is_the_same_to_the_byte_when_built_again(dataset, profiles, formats):
    for number in range(30):
        pair(dataset, "abx"[number % 3] * 2, f"Question {number}?")

    first, again = (build(dataset, *profiles, formats=formats) for _ in range(2))

    stored = [{path.name: path.read_bytes() for path in folder(r).iterdir()} for r in (first, again)]
    assert stored[0] == stored[1]
    assert {file["profile"] for file in first.manifest["files"].values()} - {None} == set(profiles)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_every_profile_loads_by_the_card_alone(dataset, tmp_path):
    for number in range(30):
        pair(dataset, "ab"[number % 2], f"Question {number}?")
    releases.copy_to(build(dataset, *PROFILES), tmp_path / "out")

    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())

    for name, profile in PROFILES.items():
        loaded = load_dataset(str(tmp_path / "out"), name, cache_dir=str(tmp_path / "cache"))
        assert {split: len(part) for split, part in loaded.items()} == manifest["profiles"][name]["rows"]
        assert set(loaded.column_names[next(iter(loaded))]) == set(profile.columns)


def of_dates(dataset: Dataset, times: bool = True) -> None:
    """A pair in which every text looks like a date: `datasets` takes such a column for dates."""
    clock = "T00:00:00Z" if times else ""
    pair(dataset, "a", "Which day?", [f"2024-01-0{day}{clock}" for day in (2, 3)])


def test_what_the_process_that_loads_files_says_of_an_error_is_told_by_its_type_alone(
    dataset, monkeypatch, tmp_path
):
    pair(dataset, "a", "Which day?")
    failing = tmp_path / "proof.py"
    written = Path(proof.__file__).read_text()
    failing.write_text(
        written.replace("        faults = check(", "        int('secret text')\n        check(")
    )
    monkeypatch.setattr(proof, "__file__", str(failing))
    monkeypatch.setattr(building, "LOADED_HERE_BYTES", 0)

    with pytest.raises(releases.ReleaseError) as refused:
        build(dataset, "preference")

    assert str(refused.value) == (
        "The files were written but not kept, as they could not be loaded (ValueError)."
    )
    assert not Release.objects.exists()


@pytest.mark.parametrize("times", [True, False])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_column_of_dates_alone_is_refused_in_words_and_kept_as_parquet(
    dataset, monkeypatch, times, elsewhere
):
    if elsewhere:
        monkeypatch.setattr("workbench.pipeline.releases.building.LOADED_HERE_BYTES", 0)
    of_dates(dataset, times)

    with pytest.raises(releases.ReleaseError) as refused:
        build(dataset, "preference")

    assert str(refused.value) == (
        "Nothing was kept. preference as jsonl was not written: every text in the columns chosen and "
        "rejected looks like a date, so it would load as dates. Parquet keeps every text as it is: build it "
        "as Parquet."
    )
    assert not Release.objects.exists()
    assert build(dataset, "preference", formats=["parquet"]).rows == 1


def test_what_loads_is_kept_beside_what_does_not_and_the_release_says_why(dataset, tmp_path):
    of_dates(dataset)

    release = build(dataset, "preference", "trl-implicit", formats=["jsonl", "parquet"])

    assert {
        (file["profile"], file["format"]) for file in release.manifest["files"].values() if file["rows"]
    } == {
        ("preference", "parquet"),
        ("trl-implicit", "jsonl"),
        ("trl-implicit", "parquet"),
    }
    (fault,) = release.manifest["not_written"]
    assert (fault["profile"], fault["format"]) == ("preference", "jsonl")
    assert fault["why"] in (folder(release) / "README.md").read_text()
    assert {path.name for path in folder(release).iterdir()} == {*release.manifest["files"], "manifest.json"}
    assert loaded_texts(release, tmp_path, "preference", "parquet") == {"2024-01-02T00:00:00Z"}


WORDS = ["null", "None", "NA", "nan", "N/A", "", "  ", "True", "007", "1.50", "1e5", "2024-01-01", "-", "inf"]


def loaded_texts(release: Release, scratch: Path, profile: str, form: str) -> set[str]:
    """The preferred answers, by the call that the card shows."""
    releases.copy_to(release, scratch / "out")
    call = release.manifest["profiles"][profile]["load"][form]
    assert call in (scratch / "out" / "README.md").read_text()
    with chdir(scratch):
        names = {"Features": Features, "Value": Value}
        names["load_dataset"] = partial(load_dataset, cache_dir=str(scratch / "cache"))
        loaded = eval(call.replace("FOLDER", "out"), names)
    texts = [row["chosen"] for rows in loaded.values() for row in rows]
    assert {type(text) for text in texts} == {str}
    return set(texts)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("formats", [["csv"], ["jsonl"], ["jsonl", "csv"], ["csv", "parquet"], ["jsonl.gz"]])
def test_the_call_on_the_card_loads_every_text_as_that_text(dataset, tmp_path, formats):
    words = [word for word in WORDS if word.strip() and not word.startswith("-")]
    for word in words:
        pair(dataset, "a", f"Say {word!r}.", (word, f"not {word}"))

    release = build(dataset, "preference", formats=formats)

    assert release.manifest["not_written"] == []
    for form in formats:
        assert loaded_texts(release, tmp_path / form, "preference", form) == set(words)


@pytest.mark.parametrize("word", WORDS)
def test_one_kind_of_odd_text_alone_in_a_csv_loads_as_that_text(dataset, tmp_path, word):
    for number in range(3):
        prompt = PromptFactory.create(
            dataset=dataset, messages=[{"role": "user", "content": f"Say {number}"}]
        )
        a, b = (CompletionFactory.create(prompt=prompt, text=text) for text in (word, f"{word}{number}"))
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt, a=a, b=b), outcome="a")

    if not word.strip():
        with pytest.raises(releases.ReleaseError, match="3 empty"):
            build(dataset, "preference", formats=["csv"])
        return
    release = build(dataset, "preference", formats=["csv"])

    assert loaded_texts(release, tmp_path, "preference", "csv") == {f"'{word}" if word == "-" else word}


def test_no_room_for_the_proof_is_told_from_files_that_do_not_load(dataset, tmp_path):
    for number in range(8):
        pair(dataset, "a", f"Question {number}?", ("yes " * 4_000, "no " * 4_000))
    release = build(dataset, "preference")

    command = [sys.executable, "-P", proof.__file__, str(folder(release)), str(tmp_path)]
    small = subprocess.run(
        command,
        check=False,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )

    assert small.returncode == errno.EFBIG


OF_TEXTS = ["preference", "aira", "reward-aira", "trl-reward", "openrlhf", "rewardbench"]
OF_TALK = ["trl-implicit", "trl-chat", "trl-chat-implicit", "axolotl", "llama-factory"]


def imported(release: Release) -> Dataset:
    """Another Dataset with the files of rows of the release."""
    dataset = DatasetFactory.create()
    for name, file in release.manifest["files"].items():
        if file["rows"]:
            result = imports.import_file(folder(release) / name, dataset)
            assert result.accepted, result.problems
    return dataset


def digests(release: Release) -> dict[str, str]:
    return {name: file["sha256"] for name, file in release.manifest["files"].items() if file["rows"]}


@pytest.mark.parametrize(
    ("profile", "form"),
    [
        *((profile, "jsonl") for profile in (*OF_TEXTS, *OF_TALK, "kto")),
        *((profile, form) for profile in ("preference", "trl-chat") for form in ("jsonl.gz", "parquet")),
    ],
)
def test_what_intake_can_read_goes_out_in_and_out_again_unchanged(dataset, profile, form):
    texts = sorted(("  yes\n", "No \u2028 é e\u0301"), key=answer_digest)  # as an import puts them
    for number in range(30):
        pair(dataset, "ab"[number % 2], f"Question {number}?\r\n", texts)
    if profile in OF_TALK:
        pair(dataset, "a", TALK)

    first = build(dataset, profile, formats=[form])

    assert digests(first) == digests(build(imported(first), profile, formats=[form]))


@pytest.mark.parametrize("profile", ["preference", "rewardbench", "kto"])
def test_a_csv_goes_out_in_and_out_again_unchanged(dataset, profile):
    for number in range(40):
        start = (*FORMULA_STARTS, "''=", "  =", "")[number % 17]
        texts = (f"{start}  yes\n{number}", f'{start}No, "no" {number}')
        texts = sorted(texts, key=answer_digest)  # as an import puts them
        pair(dataset, "ab"[number % 2], f"{start}Question {number}?\r\nx\ry", texts)

    first = build(dataset, profile, formats=["csv", "jsonl"])
    again = DatasetFactory.create()
    for name in first.manifest["files"]:
        if name.endswith(".csv"):
            options = imports.ImportOptions(formula_safe=True)
            assert imports.import_file(folder(first) / name, again, options).accepted

    assert digests(first) == digests(build(again, profile, formats=["csv", "jsonl"]))


@pytest.mark.parametrize("profile", OF_TEXTS[:-1])
def test_a_conversation_written_as_text_comes_back_as_that_text(dataset, profile):
    pair(dataset, "a", TALK)

    first = build(dataset, profile)

    assert rows(build(imported(first), profile), profile) == rows(first, profile)


def test_the_reference_names_every_profile_with_its_columns():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "profiles.md").read_text()
    table = page.partition("\n\nA message is")[0].split("\n")
    documented = {line.split("`")[1]: line.split("|")[2] for line in table if line.startswith("| `")}

    columns = {name: cell.split("`")[1::2] for name, cell in documented.items()}

    assert columns == {name: list(profile.columns) for name, profile in PROFILES.items()}


@pytest.mark.parametrize("profile", sorted(PROFILES.keys() - {"kto", "kto-chat", "all-votes", "rewardbench"}))
def test_training_reads_every_profile_of_pairs_and_sees_what_scoring_sees(profile, tmp_path):
    dataset = DatasetFactory.create(name="kitchen")
    comparisons = [pair(dataset, "bba", f"Salt {n}?") for n in range(40)]
    comparisons.append(pair(dataset, "bba", TALK))
    release = build(dataset, profile, formats=("jsonl.gz",))

    data = read_training_data(folder(release))

    read = [read_pair for split in data.splits().values() for read_pair in split]
    assert {read_pair.prompt for read_pair in read} == {
        flatten_messages(comparison.prompt.messages) for comparison in comparisons
    }
    assert {
        (read_pair.a, read_pair.b) if read_pair.target > 0.5 else (read_pair.b, read_pair.a)
        for read_pair in read
    } == {("No.", "Yes.")}
