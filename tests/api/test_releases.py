"""Releases from a program: count, build, files in pieces, comparison, check, the hub and leakage."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.urls import reverse

from tests.api.conftest import token_of
from tests.factories import ComparisonFactory, DatasetFactory, JudgmentFactory, PromptFactory
from tests.webserver import web
from workbench.models import AuditEvent, Dataset, Download, Judgment, Release, Run
from workbench.pipeline import releases as pipeline
from workbench.worker import tasks

pytestmark = pytest.mark.django_db


def judge(dataset: Dataset, outcome: str = "a") -> Judgment:
    comparison = ComparisonFactory.create(prompt__dataset=dataset)
    return JudgmentFactory.create(comparison=comparison, outcome=outcome)


@pytest.fixture
def ready(dataset) -> Release:
    judge(dataset)
    judge(dataset, "tie")
    return pipeline.build(Release(dataset=dataset, profiles=["preference"]))


def file_of(release: Release) -> tuple[str, bytes]:
    """(name, content) of the one file of rows."""
    (name,) = (name for name, file in release.manifest["files"].items() if file["rows"])
    return name, Path(default_storage.path(f"{release.folder}/{name}")).read_bytes()


def post(client, path, body):
    return client.post(f"/api/v1{path}", json.dumps(body), content_type="application/json")


def get(client, path, **headers):
    return client.get(f"/api/v1{path}", headers=headers)


def test_counted_built_and_downloaded_it_holds_what_was_counted(
    dataset, alice, program, messages, django_capture_on_commit_callbacks
):
    judge(dataset)
    judge(dataset, "tie")
    client = program(alice)
    stale = post(client, f"/datasets/{dataset.pk}/releases/count", {"purpose": "pairs"}).json()
    tasks.carry_out(stale["run"]["id"])

    counted = post(client, f"/datasets/{dataset.pk}/releases/count", {"purpose": "pairs"}).json()
    with django_capture_on_commit_callbacks(execute=True):
        accepted = post(client, f"/datasets/{dataset.pk}/releases", {"purpose": "pairs"})
    tasks.carry_out(accepted.json()["id"])

    assert (stale["total"], stale["decided"], stale["is_stale"]) == (2, 0, True)
    assert (counted["decided"], counted["passing"], counted["is_stale"], counted["run"]) == (
        1,
        1,
        False,
        None,
    )
    assert counted["left_out"] == {"tie": 1}
    assert accepted.status_code == 202
    assert (tasks.carry_out, accepted.json()["id"]) in messages
    read = get(client, f"/releases/{accepted.json()['release_id']}").json()
    assert (read["is_ready"], read["rows"], read["formats"]) == (True, 1, ["jsonl"])
    assert read["manifest"]["profiles"]["pairs"]["rows"] == counted["rows"]
    content = b"".join(get(client, f"/releases/{read['id']}/files/{counted['file']}"))
    assert content.decode().splitlines(keepends=True) == counted["first"]
    assert read["manifest"]["files"][counted["file"]]["sha256"] == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("body", "field", "sentence"),
    [
        ({}, "profiles", "Choose at least one profile."),
        ({"profiles": ["trl-chat"], "formats": ["csv"]}, "", "CSV cannot hold conversations."),
        ({"purpose": "pairs", "min_agreement": 200}, "min_agreement", "less than or equal to 100"),
        ({"purpose": "pairs", "judged_from": "May"}, "judged_from", "Enter a valid date."),
        ({"purpose": "pairs", "view": 7}, "view", "Select a valid choice."),
    ],
)
@pytest.mark.parametrize("act", ["releases", "releases/count"])
def test_what_the_page_refuses_is_refused_with_its_sentence(
    dataset, alice, program, act, body, field, sentence
):
    answer = post(program(alice), f"/datasets/{dataset.pk}/{act}", body)

    (fault,) = answer.json()["errors"]
    assert (answer.status_code, fault["field"]) == (422, field)
    assert sentence in fault["message"]
    assert not Run.objects.exists()
    assert not Release.objects.exists()


def test_a_filter_by_confidence_without_a_calibrated_model_is_refused_when_it_is_counted(
    dataset, alice, program
):
    wanted = {"purpose": "pairs", "min_confidence": 80}

    answer = post(program(alice), f"/datasets/{dataset.pk}/releases/count", wanted)

    assert (answer.status_code, answer.json()["code"]) == (409, "refused")
    assert "calibrated" in answer.json()["detail"]


def test_the_list_goes_on_after_a_number_and_holds_no_manifest(dataset, alice, program, ready):
    for _ in range(2):
        pipeline.build(Release(dataset=dataset, profiles=["preference"]))
    client = program(alice)

    first = get(client, f"/datasets/{dataset.pk}/releases?limit=2").json()
    rest = get(client, f"/datasets/{dataset.pk}/releases?after={first['next_after']}").json()

    assert [one["number"] for one in first["items"]] == [1, 2]
    assert [one["number"] for one in rest["items"]] == [3]
    assert rest["next_after"] is None
    assert "manifest" not in first["items"][0]


def test_a_file_has_its_sha256_as_etag_and_can_be_resumed(alice, program, ready):
    name, data = file_of(ready)
    client, path = program(alice), f"/releases/{ready.pk}/files/{name}"

    whole = get(client, path)
    part = get(client, path, range="bytes=5-9", if_range=whole["ETag"])
    other = get(client, path, range="bytes=5-9", if_range='"another"')
    beyond = get(client, path, range=f"bytes={len(data)}-")

    assert whole["ETag"] == f'"{hashlib.sha256(data).hexdigest()}"'
    assert whole["Accept-Ranges"] == "bytes"
    assert b"".join(whole) == b"".join(other) == data
    assert (part.status_code, b"".join(part)) == (206, data[5:10])
    assert part["Content-Range"] == f"bytes 5-9/{len(data)}"
    assert (beyond.status_code, beyond["Content-Range"]) == (416, f"bytes */{len(data)}")
    assert beyond.json()["code"] == "no_such_range"


def test_a_head_request_tells_size_and_hash_and_is_no_download(alice, program, ready):
    name, data = file_of(ready)
    client = program(alice)

    answer = client.head(f"/api/v1/releases/{ready.pk}/files/{name}")

    assert (answer["Content-Length"], answer["ETag"]) == (
        str(len(data)),
        f'"{hashlib.sha256(data).hexdigest()}"',
    )
    assert client.head(f"/api/v1/releases/{ready.pk}/files.zip").status_code == 200
    assert not Download.objects.exists()


def test_each_download_is_on_record_under_the_account_of_the_token(alice, program, ready):
    client, name = program(alice, "read"), file_of(ready)[0]

    b"".join(get(client, f"/releases/{ready.pk}/files/{name}"))
    b"".join(get(client, f"/releases/{ready.pk}/files.zip"))

    noted = get(client, f"/releases/{ready.pk}/downloads").json()["items"]
    assert [(one["file"], one["username"]) for one in noted] == [(name, "alice"), ("kitchen-1.zip", "alice")]
    assert AuditEvent.objects.filter(kind=AuditEvent.Kind.DOWNLOADED, actor=alice).count() == 2


def test_only_the_files_of_the_manifest_can_be_downloaded(alice, program, ready):
    Path(default_storage.path(f"{ready.folder}/other.jsonl")).write_text("{}")

    assert get(program(alice), f"/releases/{ready.pk}/files/other.jsonl").status_code == 404


def test_the_zip_is_that_of_the_page(alice, as_user, program, ready):
    sent = b"".join(get(program(alice), f"/releases/{ready.pk}/files.zip"))

    assert sent == b"".join(as_user(alice).get(reverse("release_zip", args=[ready.pk])))
    assert set(zipfile.ZipFile(BytesIO(sent)).namelist()) == {
        f"kitchen-1/{name}" for name in pipeline.names_of(ready.manifest)
    }


def test_a_release_that_is_not_ready_has_no_files_and_is_not_pushed_or_compared(
    dataset, alice, program, ready
):
    begun = pipeline.begin(Release(dataset=dataset, profiles=["preference"]), alice).release
    client, path = program(alice), f"/releases/{begun.pk}"

    assert get(client, path).json()["manifest"] == {}
    assert get(client, f"{path}/files/manifest.json").status_code == 404
    assert get(client, f"{path}/files.zip").status_code == 404
    assert get(client, f"{path}/pushes").status_code == 404
    assert post(client, f"{path}/pushes", {"repository": "team/kitchen"}).status_code == 404
    assert get(client, f"{path}/check").status_code == 409
    assert get(client, f"{path}/changes-since/{ready.pk}").status_code == 409


def test_the_changes_since_another_release_are_those_of_the_command(dataset, alice, program, ready):
    judge(dataset)
    after = pipeline.build(Release(dataset=dataset, profiles=["preference"]))

    changes = get(program(alice), f"/releases/{after.pk}/changes-since/{ready.pk}").json()

    assert changes["profiles"] == {"preference": {"added": 1, "removed": 0, "flipped": 0, "moved": 0}}
    assert changes["outcomes"] == {"a": [1, 2]}
    assert changes["missing"] == {}


def test_releases_of_two_datasets_are_not_compared(alice, program, ready):
    elsewhere = DatasetFactory.create(name="Elsewhere")
    elsewhere.members.create(user=alice, role="admin")
    judge(elsewhere)
    other = pipeline.build(Release(dataset=elsewhere, profiles=["preference"]))

    answer = get(program(alice), f"/releases/{ready.pk}/changes-since/{other.pk}")

    assert (answer.status_code, answer.json()["code"]) == (409, "refused")


def test_the_other_release_must_be_ones_own_too(alice, program, ready):
    elsewhere = DatasetFactory.create(name="Elsewhere")
    judge(elsewhere)
    other = pipeline.build(Release(dataset=elsewhere, profiles=["preference"]))

    assert get(program(alice), f"/releases/{ready.pk}/changes-since/{other.pk}").status_code == 404


def test_a_damaged_file_is_named(alice, program, ready):
    name, data = file_of(ready)
    client = program(alice)
    before = get(client, f"/releases/{ready.pk}/check").json()

    Path(default_storage.path(f"{ready.folder}/{name}")).write_bytes(data[:-1])

    assert before == {"is_whole": True, "damaged": {}}
    assert get(client, f"/releases/{ready.pk}/check").json() == {
        "is_whole": False,
        "damaged": {name: "is not the file that was released"},
    }


def test_a_push_is_a_run_and_a_second_one_meanwhile_is_the_same(alice, program, ready, messages):
    client = program(alice)
    wanted = {"repository": "team/kitchen", "private": False}

    first, second = (post(client, f"/releases/{ready.pk}/pushes", wanted).json() for _ in range(2))

    run = Run.objects.get(kind="push")
    assert first["id"] == second["id"] == run.pk
    assert (run.params["repository"], run.params["private"]) == ("team/kitchen", False)
    assert [one["id"] for one in get(client, f"/releases/{ready.pk}/pushes").json()["items"]] == [run.pk]


def test_a_push_needs_the_name_of_a_repository(alice, program, ready):
    answer = post(program(alice), f"/releases/{ready.pk}/pushes", {"repository": "kitchen"})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "repository")
    assert not Run.objects.filter(kind="push").exists()


ALIKE = "how many grams of salt belong into three litres of water for boiling fresh noodles at home"


def test_the_leakage_report_names_prompts_that_the_next_release_can_do_without(
    dataset, alice, program, messages
):
    tested = DatasetFactory.create(name="Benchmark", frozen=True)
    PromptFactory.create(dataset=tested, messages=[{"role": "user", "content": ALIKE}])
    leaked = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"Say, {ALIKE}?"}])
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt=leaked), outcome="a")
    client, path = program(alice), f"/datasets/{dataset.pk}/leakage"
    none_yet = get(client, path)

    begun = post(client, path, {})
    again = post(client, path, {})
    tasks.carry_out(begun.json()["id"])
    report = get(client, path).json()
    post(client, f"/datasets/{dataset.pk}/releases", {"purpose": "pairs", "without_leaked": True})

    assert none_yet.status_code == 404
    assert (begun.status_code, again.status_code) == (202, 409)
    assert (report["run_id"], report["groups"]) == (begun.json()["id"], 1)
    (leak,) = (leak for leak in report["references"] if leak["reference"] == "all of Benchmark")
    assert sum(leak["alike"].values()) == 1
    assert [leaked.pk] in leak["examples"].values()
    assert Release.objects.get().filters == {"without_groups": [leaked.group]}


def test_a_benchmark_that_is_sent_is_one_of_the_references(dataset, alice, program, messages):
    PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"Say, {ALIKE}?"}])
    client, path = program(alice), f"/datasets/{dataset.pk}/leakage"
    benchmark = json.dumps({"question": ALIKE}).encode()

    begun = client.post(
        f"/api/v1{path}/benchmark?name=bench.jsonl&column=question",
        benchmark,
        content_type="application/octet-stream",
    )
    tasks.carry_out(begun.json()["id"])

    assert begun.status_code == 202
    (leak,) = (one for one in get(client, path).json()["references"] if one["reference"] == "bench.jsonl")
    assert (leak["size"], sum(leak["alike"].values())) == (1, 1)


READ = """
import sys, datasets
url, token = sys.argv[1:]
headers = {"Authorization": f"Bearer {token}"}
loaded = {
    streaming: datasets.load_dataset(
        "json", data_files=url, storage_options={"headers": headers}, split="train", streaming=streaming
    )
    for streaming in (False, True)
}
print([list(rows) == list(loaded[False]) and len(list(rows)) for rows in loaded.values()])
"""


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["jsonl", pytest.param("jsonl.gz", marks=pytest.mark.long)])
def test_datasets_loads_and_streams_a_file_by_its_address_with_a_token(dataset, alice, tmp_path, kind):
    pytest.importorskip("aiohttp")  # fsspec reads addresses by it
    for _ in range(3):
        judge(dataset)
    release = pipeline.build(Release(dataset=dataset, profiles=["preference"], formats=[kind]))
    rows = {name: file["rows"] for name, file in release.manifest["files"].items() if file["rows"]}
    name = next(iter(rows))
    alone = {"HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}

    with web(tmp_path / "web.log") as port:
        address = f"http://127.0.0.1:{port}/api/v1/releases/{release.pk}/files/{name}"
        command = [sys.executable, "-c", READ, address, token_of(alice, "read")]
        done = subprocess.run(command, env=os.environ | alone, capture_output=True, text=True, check=False)

    assert done.stdout.split("\n")[-2:] == [f"[{rows[name]}, {rows[name]}]", ""], done.stderr
