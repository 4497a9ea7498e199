"""Datasets by the client, on a running workbench."""

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path

import pytest
from preference_workbench import Archived, Changed, Damaged, Forbidden, Invalid, NotFound, Workbench
from preference_workbench.releases import Release as ReleaseOfClient

from tests.client.failing import Answer, failing
from tests.factories import ComparisonFactory, JudgmentFactory, UserFactory
from workbench.models import Dataset, Release
from workbench.pipeline import releases as pipeline
from workbench.worker import tasks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.portable]


def test_a_dataset_is_created_found_changed_and_put_away(enter, bob, alice):
    staff = UserFactory.create(is_staff=True)
    workbench = enter(staff)

    created = workbench.datasets.create("Chat v2", overlap=2, description="Answers of the week")

    stored = Dataset.objects.get(name="Chat v2")
    assert (stored.pk, stored.overlap, stored.description) == (created.id, 2, "Answers of the week")
    assert workbench.datasets["Chat v2"].id == workbench.datasets[created.id].id == created.id
    assert [dataset.name for dataset in workbench.datasets] == ["Kitchen", "Chat v2"]
    with pytest.raises(KeyError, match="Chat v3"):
        _ = workbench.datasets["Chat v3"]
    with pytest.raises(Invalid) as raised:
        workbench.datasets.create("Chat v3", overlap=0)
    assert [fault.field for fault in raised.value.errors] == ["overlap"]

    # Two programs read the settings; the second to change them learns that they have changed.
    mine, theirs = created.settings, workbench.datasets["Chat v2"].settings
    assert mine.update(overlap=3).overlap == 3
    assert mine.update(max_overlap=4).max_overlap == 4
    with pytest.raises(Changed, match="meanwhile"):
        theirs.update(overlap=5)
    assert Dataset.objects.get(pk=created.id).overlap == 3
    # What is as wanted already was perhaps stored by a first try, whose answer was lost.
    assert theirs.update(overlap=3).max_overlap == 4

    assert created.guidelines.number == 0
    assert created.revise_guidelines("Prefer what is true.").number == 1
    with pytest.raises(Invalid):
        created.revise_guidelines("Prefer what is short.", based_on=0)
    assert created.guidelines.text == "Prefer what is true."

    clone = created.clone("Chat v3")
    assert clone.settings.overlap == 3
    clone.archive()
    with pytest.raises(Archived):
        clone.settings.update(overlap=1)
    clone.bring_back()
    assert clone.delete("Chat v3").kind == "delete"

    # A token reaches what its account reaches, and no more than its scope.
    with pytest.raises(NotFound):
        _ = enter(bob).datasets[created.id]
    with pytest.raises(Forbidden):
        enter(staff, "read").datasets.create("Chat v4")


@pytest.fixture
def release(dataset, alice) -> Release:
    for outcome in ("a", "b", "a", "tie"):
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset), outcome=outcome)
    return pipeline.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl", "parquet"]))


def test_a_release_is_downloaded_and_loaded(release, enter, alice, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "arrow")
    releases = enter(alice).datasets["Kitchen"].releases

    found = releases[1]
    folder = found.download(tmp_path / "release")
    loaded = found.load()

    assert found.id == release.pk == releases.latest().id == next(iter(releases)).id
    with pytest.raises(KeyError):
        _ = releases[2]
    for name, facts in release.manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == facts["sha256"]
    assert json.loads((folder / "manifest.json").read_text()) == release.manifest
    rows = [row for split in loaded.values() for row in split]
    assert len(rows) == release.rows == 3
    assert rows == [row for split in found.load(format="parquet").values() for row in split]
    assert found.check().is_whole
    assert releases.count("preference").passing == 3
    assert {one.username for one in found.downloads()} == {"alice"}
    assert {one.file for one in found.downloads()} >= set(release.manifest["files"])
    assert found.pushes() == []
    assert "preference" in {profile.name for profile in releases.kinds().profiles}
    assert sum(found.training_outlook().rows.values()) == 3
    with pytest.raises(ValueError, match="csv"):
        found.load(format="csv")


def test_leaked_prompts_are_reported_and_history_tells_who_asked(release, enter, alice, dataset, tmp_path):
    prompt = dataset.prompts.first().messages[0]["content"]
    (tmp_path / "bench.jsonl").write_text(json.dumps({"question": prompt}) + "\n")
    kitchen = enter(alice).datasets["Kitchen"]
    with pytest.raises(NotFound):
        kitchen.leakage()

    against = kitchen.find_leakage(tmp_path / "bench.jsonl", column="question")
    tasks.carry_out(against.run.id)
    report = against.wait()
    alone = kitchen.find_leakage()
    tasks.carry_out(alone.run.id)

    alike = {found.reference: sum(found.alike.values()) for found in report.references}
    assert alike["bench.jsonl"] == 1
    assert alone.wait().run_id == kitchen.leakage().run_id == alone.run.id != report.run_id
    people = kitchen.people
    people.add(UserFactory.create(username="dora").username)
    latest = next(kitchen.history(person="alice"))
    assert (latest.who, latest.dataset_id) == ("alice", dataset.pk)
    staff = enter(UserFactory.create(is_staff=True))
    assert latest.id in {row.id for row in staff.history(person="alice")}
    with pytest.raises(Forbidden):
        next(enter(alice).history())


class Stored:
    """A server of one file, as the workbench sends files of releases."""

    content = bytes(range(256)) * 40

    def __init__(self, cuts: list[int]) -> None:
        self.cuts = cuts
        self.sha256 = hashlib.sha256(self.content).hexdigest()

    def manifest(self) -> dict[str, object]:
        facts = {"sha256": self.sha256, "profile": "preference", "format": "jsonl", "split": "train"}
        facts["bytes"] = len(self.content)
        return {
            "id": "0f8fad5b-d9cb-469f-a165-70867728950e",
            "number": 1,
            "dataset_id": 1,
            "is_ready": True,
            "profiles": ["preference"],
            "formats": ["jsonl"],
            "filters": {},
            "rows": 1,
            "run_id": None,
            "created_at": "2026-11-29T12:00:00Z",
            "manifest": {"files": {"train.jsonl": facts}},
        }

    def answer(self, asked) -> Answer:
        if asked.path.endswith("/releases"):
            return Answer(200, json.dumps({"items": [self.manifest()], "next_after": None}).encode())
        if "/files/" not in asked.path:
            return Answer(200, json.dumps(self.manifest()).encode())
        if asked.path.endswith("manifest.json"):
            return Answer(200, b"{}")
        first = int(asked.headers.get("range", "bytes=0-")[6:-1])
        if first >= len(self.content):
            return Answer(416)
        cut = self.cuts.pop(0) if self.cuts else None
        return Answer(206 if first else 200, self.content[first:], cut=cut)


def ranges(server) -> list[str | None]:
    return [asked.headers.get("range") for asked in server.asked if "train.jsonl" in asked.path]


@contextmanager
def offered(stored: Stored):
    """(the server of the file, its release)."""
    with failing() as server, Workbench(server.url, "pw_secret", tries=4) as workbench:
        server.usual = stored.answer
        row = workbench.session.get("/releases/x")
        yield server, ReleaseOfClient.model_validate(row, context=workbench.session)


def test_a_download_that_breaks_off_goes_on_where_it_stopped(tmp_path, naps):
    stored = Stored([1_000, 3_000])
    with offered(stored) as (server, release):
        release.download(tmp_path)

    assert (tmp_path / "train.jsonl").read_bytes() == Stored.content
    assert ranges(server) == [None, "bytes=1000-", "bytes=4000-"]
    assert server.asked[2].headers["if-range"] == f'"{stored.sha256}"'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "train.jsonl"]


def test_a_file_that_is_there_already_is_not_sent_again(tmp_path):
    (tmp_path / "train.jsonl").write_bytes(Stored.content)
    with offered(Stored([])) as (server, release):
        release.download(tmp_path)

    assert ranges(server) == []


@pytest.mark.parametrize(
    "left", [b"of something else", Stored.content + b"too much", b"x" * len(Stored.content)]
)
def test_a_damaged_beginning_is_thrown_away(left, tmp_path, naps):
    (tmp_path / "train.jsonl.part").write_bytes(left)
    with offered(Stored([])) as (_, release):
        release.download(tmp_path)

    assert (tmp_path / "train.jsonl").read_bytes() == Stored.content


def test_a_file_that_is_not_the_released_one_is_refused(tmp_path, naps):
    stored = Stored([])
    stored.sha256 = "0" * 64
    with offered(stored) as (_, release), pytest.raises(Damaged, match=r"train\.jsonl"):
        release.download(tmp_path)

    assert list(Path(tmp_path).iterdir()) == []
