"""Releases against their files, the database and each other."""

import json
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from tests.factories import ComparisonFactory, JudgmentFactory, PromptFactory
from workbench.models import Comparison, Dataset, Judgment, Release
from workbench.pipeline import releases

pytestmark = pytest.mark.django_db


def judged(dataset: Dataset, outcome: str = "a", prompt: str = "Salt?") -> Comparison:
    prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": prompt}])
    comparison = ComparisonFactory.create(prompt=prompt)
    JudgmentFactory.create(comparison=comparison, outcome=outcome)
    return comparison


def build(dataset: Dataset, *profiles: str, **recipe) -> Release:
    return releases.build(Release(dataset=dataset, profiles=profiles or ["preference"], **recipe))


def folder(release: Release) -> Path:
    return Path(default_storage.path(release.folder))


def turn(comparison: Comparison) -> None:
    """Change its one Judgment to the other side."""
    old = comparison.judgments.get(is_current=True)
    Judgment.objects.filter(pk=old.pk).update(is_current=False)
    other_side = {"a": "b", "b": "a"}[old.outcome]
    JudgmentFactory.create(comparison=comparison, annotator=old.annotator, outcome=other_side, supersedes=old)


def test_a_release_verifies_and_the_same_state_gives_the_same_bytes(dataset):
    judged(dataset)
    release = build(dataset, "preference", "trl-chat", formats=["jsonl", "parquet"])

    result = releases.verify(release)

    assert (result.damaged, result.changed) == ({}, [])


def test_what_people_judged_since_is_no_damage_but_said(dataset):
    judged(dataset)
    release = build(dataset)
    judged(dataset, prompt="Pepper?")

    result = releases.verify(release)

    assert not result.damaged
    assert "README.md" in result.changed
    assert any(name.endswith(".jsonl") for name in result.changed)


def test_what_only_the_manifest_would_say_otherwise_today_is_said_too(dataset):
    judged(dataset)
    release = build(dataset)
    Release.objects.update(manifest={**release.manifest, "software": {"python": "3.0"}})
    release.refresh_from_db()

    assert releases.verify(release).changed == ["manifest.json"]


def test_each_kind_of_damage_is_named(dataset):
    for number in range(20):
        judged(dataset, prompt=f"Question {number}?")
    release = build(dataset)
    first, second, *_ = release.manifest["files"]
    with (folder(release) / first).open("ab") as file:
        file.write(b" ")
    (folder(release) / second).unlink()
    (folder(release) / "extra.txt").write_text("")
    (folder(release) / "manifest.json").write_text("{}")

    result = releases.verify(release, rebuild=False)

    assert result.damaged == {
        first: "is not the file that was released",
        second: "is missing",
        "extra.txt": "is not a file of this release",
        "manifest.json": "does not match the database",
    }


@pytest.mark.parametrize("broken", [b"{", b"", "missing"])
def test_a_manifest_that_is_gone_or_no_json_is_damage(dataset, broken):
    judged(dataset)
    release = build(dataset)
    path = folder(release) / "manifest.json"
    path.unlink() if broken == "missing" else path.write_bytes(broken)

    result = releases.verify(release, rebuild=False)

    assert result.damaged == {"manifest.json": "is missing" if broken == "missing" else "is not JSON"}


def test_the_command_fails_on_damage_and_names_the_release(dataset, tmp_path, capsys):
    judged(dataset)
    release = build(dataset)
    build(dataset)
    releases.copy_to(release, tmp_path / "copy")
    call_command("release_verify", "Kitchen", json=True)
    assert json.loads(capsys.readouterr().out) == {
        "1": {"damaged": {}, "changed": []},
        "2": {"damaged": {}, "changed": []},
    }
    call_command("release_verify", "Kitchen", number=1, folder=tmp_path / "copy")
    (tmp_path / "copy" / "README.md").write_text("mine")

    with pytest.raises(CommandError, match="Damaged: release 1"):
        call_command("release_verify", "Kitchen", number=1, folder=tmp_path / "copy", files_only=True)

    assert "README.md is not the file that was released" in capsys.readouterr().out


@pytest.mark.parametrize("profile", ["preference", "trl-chat", "trl-implicit"])
@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "parquet"])
def test_a_diff_counts_rows_added_removed_and_flipped(dataset, profile, form):
    stays, flips, goes = (judged(dataset, prompt=f"Question {n}?") for n in range(3))
    old = build(dataset, profile, formats=[form])
    turn(flips)
    JudgmentFactory.create(comparison=goes, outcome="b")
    judged(dataset, prompt="New?")

    changes = releases.diff(old, build(dataset, profile, formats=[form]))

    assert changes.profiles == {profile: releases.ProfileDiff(added=1, removed=1, flipped=1, moved=0)}
    assert changes.outcomes == {"a": (3, 2), "b": (0, 1), "undecided": (0, 1)}
    assert changes.settings == {}
    assert stays.judgments.count() == 1


def test_a_diff_names_profiles_and_settings_that_only_one_has(dataset):
    for _ in range(2):
        comparison = judged(dataset, prompt=f"Question {_}?")
        JudgmentFactory.create(comparison=comparison)
    old = build(dataset, "preference", "kto")
    Dataset.objects.update(licence="mit")
    dataset.refresh_from_db()

    changes = releases.diff(old, build(dataset, "preference", "aira", filters={"min_votes": 2}))

    assert changes.missing == {"kto": "only in release 1", "aira": "only in release 2"}
    assert changes.settings["filters"] == ({}, {"min_votes": 2})
    assert changes.settings["dataset"][1]["licence"] == "mit"
    assert set(changes.settings) == {"filters", "dataset"}


def test_the_diff_command_tells_it_in_words_and_as_json(dataset, capsys):
    flips = judged(dataset)
    build(dataset)
    turn(flips)
    build(dataset)

    call_command("release_diff", "Kitchen", 1, 2)
    printed = capsys.readouterr().out
    call_command("release_diff", "Kitchen", 1, 2, json=True)

    assert "preference: 0 rows added, 0 removed, 1 flipped\n" in printed
    assert json.loads(capsys.readouterr().out)["profiles"]["preference"]["flipped"] == 1


def test_a_diff_with_a_release_that_is_not_there_says_so(dataset):
    judged(dataset)
    build(dataset)

    with pytest.raises(CommandError, match="Kitchen has no release 2 that is ready"):
        call_command("release_diff", "Kitchen", 1, 2)
