import errno
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from datasets import load_dataset
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import CommandError, call_command

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
    UserFactory,
)
from workbench.db.away import FULL_DISK
from workbench.db.snapshot import snapshot
from workbench.models import Comparison, Dataset, Decision, Flag, Guidelines, Judgment, Release
from workbench.models.dataset import group_digest
from workbench.pipeline import releases
from workbench.pipeline.releases import SPLITS, proof, split_of
from workbench.pipeline.releases.cases import cases
from workbench.pipeline.runs.progress import Cancelled

pytestmark = pytest.mark.django_db

UGLY = [
    "  leading and trailing  \n",
    "tabs\tand\r\nCRLF and lone \r",
    "line ends that are none: \u2028 \u2029 \u0085 \u000b \u000c",
    "emoji 👩‍🔬, عربي, 中文, e\u0301 not \u00e9",
    '"quotes" \\ back </script> \x01\x1f\x7f',
    "def f():\n    return 1\n",
]


class FullStorage(FileSystemStorage):
    """A storage whose disk is full."""

    def _save(self, name, content):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def full_disk(settings, tmp_path):
    @contextmanager
    def full() -> Iterator[None]:
        good = settings.STORAGES
        options = {"location": str(tmp_path)}
        settings.STORAGES = {**good, "default": {"BACKEND": f"{__name__}.FullStorage", "OPTIONS": options}}
        yield
        settings.STORAGES = good

    return full


def judged(
    dataset: Dataset, outcome: str = "a", prompt: str = "", answers: tuple[str, str] = ("", "")
) -> Comparison:
    """A Comparison with one Judgment, of a Prompt with one user message."""
    messages = {"messages": [{"role": "user", "content": prompt}]} if prompt else {}
    of_prompt = PromptFactory.create(dataset=dataset, **messages)
    texts = [{"text": text} if text else {} for text in answers]
    a, b = (CompletionFactory.create(prompt=of_prompt, **text) for text in texts)
    comparison = ComparisonFactory.create(prompt=of_prompt, a=a, b=b)
    JudgmentFactory.create(comparison=comparison, outcome=outcome)
    return comparison


def asks(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def built(dataset: Dataset, *profiles: str) -> Release:
    return releases.build(Release(dataset=dataset, profiles=profiles or ["preference"]))


def content(release: Release) -> dict[str, bytes]:
    folder = Path(default_storage.path(release.folder))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rows(release: Release, profile: str = "preference") -> list[dict[str, str]]:
    """All rows of a profile, its splits one after the other."""
    files = content(release)
    names = [f"{profile}.{split}.jsonl" for split in SPLITS if f"{profile}.{split}.jsonl" in files]
    return [json.loads(line) for name in names for line in files[name].split(b"\n")[:-1]]


def digests(release: Release) -> dict[str, str]:
    """sha256 of each file of rows."""
    return {name: file["sha256"] for name, file in release.manifest["files"].items() if file["rows"]}


def test_a_decided_pair_is_written_with_the_preferred_text_as_chosen(dataset):
    judged(dataset, "a", "First?", ("yes", "no"))
    judged(dataset, "b", "Second?", ("bad", "good"))

    written = rows(built(dataset))

    assert sorted(written, key=lambda row: row["prompt"]) == [
        {"prompt": "First?", "chosen": "yes", "rejected": "no"},
        {"prompt": "Second?", "chosen": "good", "rejected": "bad"},
    ]


def test_the_aira_profile_has_the_seeds_own_columns(dataset):
    judged(dataset, "b", "Second?", ("bad", "good"))

    assert rows(built(dataset, "aira"), "aira") == [
        {"prompt": "Second?", "prefered_completions": "good", "rejected_completions": "bad"}
    ]


def test_texts_come_out_byte_for_byte_and_one_row_is_one_line_for_every_reader(dataset):
    for text in UGLY:
        judged(dataset, "a", f"p{text}", (f"a{text}", f"b{text}"))

    release = built(dataset)

    expected = {(f"p{text}", f"a{text}", f"b{text}") for text in UGLY}
    assert {(row["prompt"], row["chosen"], row["rejected"]) for row in rows(release)} == expected
    lines = b"".join(text for name, text in content(release).items() if name.endswith(".jsonl"))
    assert len(lines.decode().splitlines()) == len(UGLY)


def test_a_conversation_is_flattened_for_a_profile_of_strings(dataset):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    comparison = ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset, messages=messages))
    JudgmentFactory.create(comparison=comparison)

    assert rows(built(dataset))[0]["prompt"] == "System: Be brief.\n\nUser: Hi"


@pytest.mark.parametrize("profile", ["preference", "aira"])
def test_what_is_left_out_is_counted_with_its_reason(dataset, profile):
    judged(dataset, "a")
    for outcome in ("tie", "both_bad", "cannot_judge"):
        judged(dataset, outcome)
    ComparisonFactory.create(prompt__dataset=dataset)
    JudgmentFactory.create(comparison=judged(dataset, "a"), outcome="b")
    Flag.objects.create(comparison=judged(dataset), annotator=AnnotatorFactory.create(), reason="broken")
    Decision.objects.create(
        comparison=judged(dataset, "b"), outcome="drop", method="reviewer", decided_by=UserFactory.create()
    )

    release = built(dataset, profile)

    assert release.manifest["profiles"][profile]["left_out"] == {
        "both_bad": 1,
        "cannot_judge": 1,
        "dropped": 1,
        "flagged": 1,
        "not_judged": 1,
        "tie": 1,
        "undecided": 1,
    }
    assert len(rows(release, profile)) == release.rows == 1
    assert release.manifest["comparisons"]["total"] == 8


def test_texts_that_differ_in_white_space_alone_are_still_two_texts(dataset):
    judged(dataset, "a", answers=("same", "same\n"))

    assert len(rows(built(dataset))) == 1


def test_a_flag_keeps_back_even_what_a_reviewer_decided(dataset):
    judged(dataset)
    comparison = judged(dataset)
    Decision.objects.create(
        comparison=comparison, outcome="b", method="reviewer", decided_by=UserFactory.create()
    )
    Flag.objects.create(comparison=comparison, annotator=AnnotatorFactory.create(), reason="unsafe")

    assert built(dataset).manifest["profiles"]["preference"]["left_out"] == {"flagged": 1}


def test_a_reviewers_decision_stands_against_all_votes(dataset):
    comparison = judged(dataset, "a", "Q?", ("x", "y"))
    Decision.objects.create(
        comparison=comparison, outcome="b", method="reviewer", decided_by=UserFactory.create()
    )

    assert rows(built(dataset)) == [{"prompt": "Q?", "chosen": "y", "rejected": "x"}]


def test_a_judgment_changed_after_a_decision_counts_in_the_next_release(dataset):
    comparison = judged(dataset, "a", "Q?", ("x", "y"))
    built(dataset)
    old = comparison.judgments.get()
    Judgment.objects.filter(pk=old.pk).update(is_current=False)
    JudgmentFactory.create(comparison=comparison, annotator=old.annotator, outcome="b", supersedes=old)

    assert rows(built(dataset)) == [{"prompt": "Q?", "chosen": "y", "rejected": "x"}]


def test_a_judgment_between_settling_and_snapshot_keeps_its_comparison_back(dataset):
    comparison = judged(dataset)
    built(dataset)
    JudgmentFactory.create(comparison=comparison, outcome="b")

    with snapshot() as using:
        case = next(cases(dataset, using))

    assert case.outcome == "a"
    assert case.barred == "changed"


def test_the_same_content_gives_the_same_bytes_whatever_the_primary_keys(dataset):
    second_dataset = DatasetFactory.create(name="Elsewhere")
    judgments = [(f"Question {n}?", (f"x{n}", f"y{n}"), "ab"[n % 2]) for n in range(40)]
    for prompt, answers, outcome in judgments:
        judged(dataset, outcome, prompt, answers)
    for prompt, answers, outcome in reversed(judgments):
        judged(second_dataset, outcome, prompt, answers)

    for place, pairs in ((dataset, [(0, 1), (0, 2), (1, 2)]), (second_dataset, [(1, 2), (0, 2), (0, 1)])):
        prompt = PromptFactory.create(
            dataset=place, messages=[{"role": "user", "content": "Which of three?"}]
        )
        texts = [CompletionFactory.create(prompt=prompt, text=text) for text in ("red", "green", "blue")]
        for a, b in pairs:
            JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=prompt, a=texts[a], b=texts[b]))

    first, again, elsewhere = built(dataset), built(dataset), built(second_dataset)

    assert content(first) == content(again)
    assert len(digests(first)) == 3
    assert digests(first) == digests(elsewhere)


def test_the_manifest_tells_the_sha256_size_and_rows_of_each_file(dataset):
    for _ in range(5):
        judged(dataset)

    release = built(dataset, "preference", "aira")

    stored, files = content(release), release.manifest["files"]
    assert json.loads(stored.pop("manifest.json")) == release.manifest
    assert {name: (hashlib.sha256(data).hexdigest(), len(data)) for name, data in stored.items()} == {
        name: (file["sha256"], file["bytes"]) for name, file in files.items()
    }
    lines = {name: data.count(b"\n") for name, data in stored.items() if name.endswith(".jsonl")}
    assert lines == {name: files[name]["rows"] for name in digests(release)}


def test_releases_of_a_dataset_are_numbered_one_by_one(dataset):
    judged(dataset)
    second_dataset = DatasetFactory.create()
    judged(second_dataset)

    assert [built(place).number for place in (dataset, dataset, second_dataset)] == [1, 2, 1]


def test_a_prompt_group_is_in_the_same_split_in_every_dataset_and_release(dataset):
    prompts = [f"How do I make dish number {n}?" for n in range(60)]
    for prompt in prompts:
        judged(dataset, prompt=prompt)
        judged(dataset, prompt=f"  {prompt.upper()} ")

    files = content(built(dataset))

    splits_of: dict[str, set[str]] = {}
    for split in SPLITS:
        for line in files[f"preference.{split}.jsonl"].split(b"\n")[:-1]:
            splits_of.setdefault(json.loads(line)["prompt"].strip().lower(), set()).add(split)
    groups = {prompt.lower(): group_digest([{"role": "user", "content": prompt}]) for prompt in prompts}
    assert splits_of == {prompt: {split_of(group)} for prompt, group in groups.items()}


def test_outcomes_are_counted_by_split(dataset):
    for number in range(30):
        judged(dataset, ("a", "tie")[number % 2], f"Question {number}?")

    counted = built(dataset).manifest["comparisons"]

    splits = Counter(split_of(prompt.group) for prompt in dataset.prompts.all())
    assert {split: sum(outcomes.values()) for split, outcomes in counted["by_split"].items()} == dict(splits)
    assert {
        name: sum(outcomes.get(name, 0) for outcomes in counted["by_split"].values()) for name in ("a", "tie")
    } == {
        "a": 15,
        "tie": 15,
    }


@pytest.mark.parametrize("change", [{"salt": "another"}, {"shares": {"train": 1.0}}])
def test_after_a_release_that_was_split_otherwise_nothing_is_built(dataset, change):
    judged(dataset)
    old = built(dataset)
    Release.objects.update(manifest={**old.manifest, "split": {**old.manifest["split"], **change}})

    with pytest.raises(releases.ReleaseError, match=r"Release 1 of .* move its test prompts into training"):
        built(dataset)

    assert Release.objects.count() == 1


def test_a_group_that_was_tested_on_stays_out_of_training_with_other_filters_and_later_prompts(dataset):
    number = next(n for n in range(100) if split_of(group_digest(asks(f"Dish {n}?"))) == "test")
    judged(dataset, "a", f"Dish {number}?")
    judged(dataset, "a", "Any dish?")
    first = built(dataset)
    judged(dataset, "b", f"  dish  {number}? ", ("a longer text", "another text"))

    release = Release(dataset=dataset, profiles=["preference", "all-votes"], filters={"min_length": 3})
    later = content(releases.build(release))

    assert "preference.test.jsonl" in first.manifest["files"]
    assert b"a longer text" in later["preference.test.jsonl"]
    training = b"".join(data for name, data in later.items() if ".train." in name or ".validation." in name)
    assert f"ish {number}?".encode() not in training.lower()


def test_groups_fall_into_splits_by_the_shares():
    groups = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(20_000)]

    counts = {split: sum(split_of(group) == split for group in groups) for split in SPLITS}

    assert counts["train"] == pytest.approx(16_000, abs=300)
    assert counts["validation"] == pytest.approx(2_000, abs=200)
    assert split_of("f" * 64) == "train"


def test_each_file_loads_with_the_datasets_library(dataset, tmp_path):
    for number, text in enumerate(UGLY * 3):
        judged(dataset, "a", f"{number}{text}", (f"a{text}", f"b{text}"))
    release = built(dataset, "preference", "aira")
    releases.copy_to(release, tmp_path / "out")

    for name in ("preference", "aira"):
        files = sorted(str(path) for path in (tmp_path / "out").glob(f"{name}.*.jsonl"))
        loaded = load_dataset("json", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
        assert {name: kind.dtype for name, kind in loaded.features.items()} == releases.PROFILES[name].columns
        assert len(loaded) == release.rows


def test_nothing_decided_is_an_error_that_counts_what_there_is_and_leaves_no_release(dataset):
    judged(dataset, "tie")
    ComparisonFactory.create_batch(2, prompt__dataset=dataset)

    with pytest.raises(
        releases.ReleaseError, match=r"nothing to release yet. Its pairs: 2 not judged, 1 tie"
    ):
        built(dataset)

    assert not Release.objects.exists()


def test_a_cancelled_build_keeps_nothing(dataset):
    judged(dataset)

    with pytest.raises(Cancelled):
        releases.build(Release(dataset=dataset, profiles=["preference"]), lambda done, total: False)

    assert not Release.objects.exists()


def test_a_full_disk_is_a_clear_error_and_keeps_nothing(dataset, full_disk):
    judged(dataset)

    with full_disk(), pytest.raises(releases.ReleaseError, match="The disk is full"):
        built(dataset)

    assert not Release.objects.exists()


def test_a_copy_to_a_full_disk_says_so_and_that_the_release_is_ready(dataset, tmp_path, monkeypatch):
    judged(dataset)
    release = built(dataset)

    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("workbench.pipeline.releases.building.os.rename", full)

    with pytest.raises(releases.ReleaseError, match=r"The disk is full: .* is ready, but cannot be copied"):
        releases.copy_to(release, tmp_path / "out")

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_build_left_is_swept_away_a_day_later(dataset, settings):
    judged(dataset)
    old, new = (settings.DATA_DIR / "releases-being-built" / name for name in ("old", "new"))
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "half.jsonl").write_text("{")
    os.utime(old, (0, 0))

    built(dataset)

    assert not old.exists()
    assert new.exists()
    shutil.rmtree(new)


def test_a_failed_build_can_be_tried_again_under_its_number(dataset, alice, full_disk):
    judged(dataset)
    release = releases.begin(Release(dataset=dataset, profiles=["preference"]), alice).release
    with full_disk(), pytest.raises(releases.ReleaseError):
        releases.build(release)
    half = ContentFile(b"{", name="half")
    for split in SPLITS:
        default_storage.save(f"{release.folder}/preference.{split}.jsonl", half)

    again = releases.build(Release.objects.get())

    assert (again.number, again.state, len(rows(again))) == (1, "ready", 1)
    assert set(content(again)) == {*again.manifest["files"], "manifest.json"}


def test_a_ready_release_is_never_built_again(dataset):
    judged(dataset)
    release = built(dataset)
    before = content(release)
    judged(dataset)

    again = releases.build(Release.objects.get(pk=release.pk))

    assert again.manifest == release.manifest
    assert content(again) == before


def test_the_command_writes_files_and_manifest_into_the_folder_and_tells_them_as_json(
    dataset, tmp_path, capsys
):
    judged(dataset, "a", "Q?", ("x", "y"))
    judged(dataset, "tie")

    call_command("release", "Kitchen", out=tmp_path / "out", json=True)

    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    hashes = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "out").iterdir()
    }
    assert hashes.pop("manifest.json")
    assert printed == {
        "release": 1,
        "rows": 1,
        "rows_by_profile": {"preference": 1, "aira": 1},
        "files": hashes,
        "left_out": {"preference": {"tie": 1}, "aira": {"tie": 1}},
        "not_written": [],
    }
    assert sorted(name.split(".")[0] for name in hashes) == ["README", "aira", "preference"]
    assert Release.objects.get().state == "ready"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_command_writes_an_old_release_out_again(dataset, tmp_path):
    judged(dataset)
    call_command("release", "Kitchen", out=tmp_path / "first")
    judged(dataset)

    call_command("release", "Kitchen", out=tmp_path / "again", number=1)

    first, again = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "again")
    )
    assert first == again
    assert Release.objects.count() == 1


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("Kitchn", {}, 'There is no dataset "Kitchn". Is it Kitchen?'),
        ("Kitchen", {"profile": ["dpo"]}, 'There is no profile "dpo"; there are pairs, preference'),
        ("Kitchen", {"number": 7}, "Kitchen has no release 7 that is ready"),
    ],
)
def test_a_command_that_cannot_be_followed_says_why_and_leaves_nothing(
    dataset, tmp_path, name, options, sentence
):
    judged(dataset)

    with pytest.raises(CommandError, match=re.escape(sentence)):
        call_command("release", name, out=tmp_path / "out", **options)

    assert not Release.objects.exists()
    assert not list(tmp_path.iterdir())


def test_the_command_never_writes_into_a_folder_that_has_something_in_it(dataset, tmp_path):
    judged(dataset)
    (tmp_path / "mine.txt").write_text("keep me")

    with pytest.raises(CommandError, match="not an empty folder"):
        call_command("release", "Kitchen", out=tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert not Release.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_people_go_on_judging_while_a_release_is_built_and_it_shows_one_moment(dataset, monkeypatch):
    monkeypatch.setattr("workbench.pipeline.releases.cases.CHUNK", 2)
    Guidelines.objects.create(dataset=dataset, number=1, text="Prefer what is true.")
    SuggestionFactory.create(version=ModelVersionFactory.create(state="active"))
    comparisons = [judged(dataset) for _ in range(6)]
    seen = []

    def judge_meanwhile(done: int, total: int) -> bool:
        seen.append((done, total))
        judged(dataset)
        for comparison in comparisons:
            JudgmentFactory.create(comparison=comparison, outcome="b")
        return True

    release = releases.build(Release(dataset=dataset, profiles=["preference"]), judge_meanwhile)

    assert seen == [(0, 6), (6, 6)]
    assert Judgment.objects.count() == 20
    assert release.manifest["comparisons"]["by_outcome"] == {"a": 6}
    assert [version["number"] for version in release.manifest["guidelines"]] == [1]
    assert len(rows(release)) == 6


def test_the_program_that_loads_a_release_knows_a_full_disk_as_all_others_do():
    assert proof.FULL == FULL_DISK
