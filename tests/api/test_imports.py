"""Import from a program: a file or rows are received before anything else, and each is imported once."""

import gzip
import http.client
import json
import socket
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import orjson
import pytest
from django.db import connection
from django.test import Client

from tests.api.conftest import token_of
from tests.imports.conftest import PREVIEW
from tests.webserver import web_process
from workbench.api import requests
from workbench.db.storage import names_in
from workbench.models import Comparison, KeptAnswer, Run, Upload
from workbench.pipeline import imports as pipeline
from workbench.worker import tasks

pytestmark = pytest.mark.django_db

ROW = '{"id": "r%d", "prompt": "Question %d?", "chosen": "Good %d.", "rejected": "Bad %d."}\n'
GOOD = "".join(ROW % (n, n, n, n) for n in range(3)).encode()
BAD = GOOD + b'{"id": "r9", "prompt": "p", "chosen": "a"}\n'


def send(client: Client, path: str, body: bytes, kind: str = "application/x-ndjson", **headers: str):
    return client.post(f"/api/v1{path}", body, content_type=kind, headers=headers)


def post(client: Client, path: str, body: object):
    return client.post(f"/api/v1{path}", body, content_type="application/json")


@pytest.fixture
def client(program, alice, unhurried) -> Client:
    return program(alice)


@pytest.fixture
def unhurried(monkeypatch):
    monkeypatch.setattr(PREVIEW, "PREVIEW_SECONDS", 60.0)


def carried_out(answer) -> Run:
    assert answer.status_code == 202, answer.content
    run = Run.objects.get(pk=answer.json()["id"])
    tasks.carry_out(run.pk)
    run.refresh_from_db()
    return run


@pytest.mark.django_db(transaction=True)
def test_a_file_is_sent_previewed_and_imported(client, dataset):
    sent = send(client, f"/datasets/{dataset.pk}/uploads?name=rows.jsonl", GOOD, "application/octet-stream")
    upload = Upload.objects.get()
    path = f"/uploads/{upload.pk}"
    assert (sent.status_code, sent["Location"]) == (201, f"/api/v1{path}")
    assert (sent.json()["size"], sent.json()["sha256"]) == (len(GOOD), upload.sha256)

    preview = post(client, f"{path}/preview", {}).json()

    assert preview["title"].startswith("prompt, chosen, rejected")
    assert (preview["read"], preview["whole"]) == (3, True)
    assert (preview["counts"]["comparisons"], preview["accepted"]) == (3, True)
    assert preview["examples"][0]["left"] == "Good 0."
    assert not Comparison.objects.exists()

    run = carried_out(post(client, f"{path}/import", {}))

    assert (run.state, run.result["comparisons"], Comparison.objects.count()) == ("done", 3, 3)
    assert client.get(f"/api/v1{path}").json()["latest_run"] == run.pk
    assert [one["id"] for one in client.get(f"/api/v1/datasets/{dataset.pk}/uploads").json()["items"]] == [
        str(upload.pk)
    ]


def test_files_of_one_moment_come_page_by_page_and_each_once(client, dataset, alice):
    kept = [pipeline.keep_sample("pairs.jsonl", dataset, alice) for _ in range(5)]
    moment = datetime(2026, 11, 29, 12, 0, 0, 123_456, tzinfo=UTC)
    dataset.uploads.update(created_at=moment)
    dataset.uploads.filter(pk=kept[0].pk).update(created_at=moment + timedelta(microseconds=1))
    path = f"/api/v1/datasets/{dataset.pk}/uploads"

    seen, asked = [], {"limit": 2}
    while "before" not in asked or asked["before"]:
        page = client.get(path, asked).json()
        seen.append([one["id"] for one in page["items"]])
        asked["before"] = page["next_before"]
        dataset.uploads.filter(pk=seen[-1][-1]).delete()  # what a page ended with may be gone

    assert [len(ids) for ids in seen] == [2, 2, 1]
    assert seen[0][0] == str(kept[0].pk)
    assert {one for ids in seen for one in ids} == {str(one.pk) for one in kept}


@pytest.mark.parametrize("before", ["x", "2026-11-29T12:00:00Z", "1_2", f"{10**17}_{UUID(int=0)}"])
def test_a_place_among_files_that_is_none_is_refused(before, client, dataset):
    answer = client.get(f"/api/v1/datasets/{dataset.pk}/uploads", {"before": before})

    assert answer.status_code == 422


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["ndjson", "array", "gzip"])
def test_rows_are_imported_by_one_request(client, dataset, kind):
    rows = [json.loads(line) for line in GOOD.splitlines()]
    body, headers = GOOD, {}
    media = "application/x-ndjson"
    if kind == "array":
        body, media = orjson.dumps(rows), "application/json"
    if kind == "gzip":
        body, headers = gzip.compress(GOOD), {"content-encoding": "gzip"}

    run = carried_out(send(client, f"/datasets/{dataset.pk}/rows", body, media, **headers))

    assert (run.state, run.result.get("comparisons")) == ("done", 3), run.error
    assert run.upload.dataset == dataset


@pytest.mark.django_db(transaction=True)
def test_bad_rows_refuse_all_of_them_and_are_handed_back_by_line(client, dataset):
    run = carried_out(send(client, f"/datasets/{dataset.pk}/rows", BAD))

    assert (run.state, Comparison.objects.count()) == ("failed", 0)
    (fault,) = run.result["problems"]
    assert (fault["line"], fault["field"], fault["code"]) == (4, "rejected", "missing")
    answer = client.get(f"/api/v1/runs/{run.pk}/refused-rows")
    (line,) = b"".join(answer).splitlines()
    assert orjson.loads(line)["line"] == 4


@pytest.mark.django_db(transaction=True)
def test_lenient_keeps_the_good_rows(client, dataset):
    run = carried_out(send(client, f"/datasets/{dataset.pk}/rows?lenient=true", BAD))

    assert (run.state, run.result["rejected"], Comparison.objects.count()) == ("done", 1, 3)


@pytest.mark.django_db(transaction=True)
def test_a_dry_run_stores_nothing(client, dataset):
    send(client, f"/datasets/{dataset.pk}/uploads?name=rows.jsonl", GOOD)
    path = f"/uploads/{Upload.objects.get().pk}/import"

    run = carried_out(post(client, path, {"dry_run": True}))

    assert (run.result["comparisons"], Comparison.objects.count()) == (3, 0)


def test_columns_are_named_by_their_use(client, dataset):
    table = b"q,first,second,which\nWhy?,Because.,No.,1\n"
    send(client, f"/datasets/{dataset.pk}/uploads?name=table.csv", table)
    path = f"/uploads/{Upload.objects.get().pk}/preview"
    columns = {"prompt": "q", "a": "first", "b": "second", "outcome": "which", "says_a": "1"}

    preview = post(client, path, {"columns": columns}).json()
    unknown = post(client, path, {"columns": columns | {"taste": "q"}})
    unmapped = post(client, path, {"format": "columns"})

    assert (preview["counts"]["comparisons"], preview["counts"]["judgments"]) == (1, 1)
    assert (unknown.status_code, "taste" in unknown.json()["detail"]) == (422, True)
    assert unmapped.json()["errors"][0]["field"] == "format"


def test_a_file_of_no_known_kind_is_refused_with_the_sentence_of_the_page(client, dataset):
    answer = send(client, f"/datasets/{dataset.pk}/uploads?name=rows.docx", GOOD)

    assert answer.status_code == 422
    assert "Supported files: .jsonl" in answer.json()["detail"]
    assert not Upload.objects.exists()


def test_a_wrong_option_is_named_and_nothing_is_kept(client, dataset):
    before = names_in("uploads")

    answer = send(client, f"/datasets/{dataset.pk}/rows?pairs=some", GOOD)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "pairs")
    assert not Upload.objects.exists()
    assert names_in("uploads") == before


def test_a_file_that_is_being_imported_is_not_imported_again(client, dataset, messages):
    post(client, f"/datasets/{dataset.pk}/uploads/sample", {"name": "pairs.jsonl"})
    path = f"/uploads/{Upload.objects.get().pk}/import"

    first, second = post(client, path, {}), post(client, path, {})

    assert (first.status_code, second.status_code) == (202, 409)
    assert Run.objects.count() == 1


def test_a_fetch_is_the_run_of_the_page(client, dataset, messages):
    answer = post(client, f"/datasets/{dataset.pk}/fetches", {"repository": "team/kitchen"})

    run = Run.objects.get(kind="fetch")
    assert answer.json()["id"] == run.pk
    assert run.params == {"repository": "team/kitchen", "revision": "main", "wanted": ""}


def test_the_same_key_and_bytes_are_one_upload(client, dataset, messages):
    path = f"/datasets/{dataset.pk}/rows"

    first, again = (send(client, path, GOOD, **{"idempotency-key": "k"}) for _ in range(2))

    assert (first.status_code, again.content, again["Idempotency-Replayed"]) == (202, first.content, "true")
    assert (Upload.objects.count(), Run.objects.count()) == (1, 1)


def test_the_same_key_with_other_bytes_is_refused(client, dataset, messages):
    path = f"/datasets/{dataset.pk}/rows"
    send(client, path, GOOD, **{"idempotency-key": "k"})

    other = send(client, path, GOOD.replace(b"Bad", b"Sad"), **{"idempotency-key": "k"})

    assert (other.status_code, other.json()["code"]) == (422, "key_of_another")
    assert Upload.objects.count() == 1


def test_the_body_is_on_disk_before_the_transaction_begins(client, dataset, monkeypatch, messages):
    seen, receive = [], requests.receive
    depth = len(connection.savepoint_ids)

    def noted(request):
        seen.append(len(connection.savepoint_ids) - depth)
        return receive(request)

    monkeypatch.setattr(requests, "receive", noted)

    send(client, f"/datasets/{dataset.pk}/rows", GOOD, **{"idempotency-key": "k"})

    assert seen == [0]


def test_nobody_without_the_right_has_a_byte_received(dataset, bob, monkeypatch, program):
    monkeypatch.setattr(requests, "receive", lambda _: pytest.fail("read"))

    assert send(program(bob), f"/datasets/{dataset.pk}/rows", GOOD).status_code == 403


def test_an_encoding_that_nobody_reads_is_refused(client, dataset):
    answer = send(client, f"/datasets/{dataset.pk}/rows", GOOD, **{"content-encoding": "br"})

    assert (answer.status_code, answer.json()["code"]) == (415, "unknown_encoding")


def test_an_error_after_the_file_was_stored_leaves_no_file(client, dataset, monkeypatch):
    client.raise_request_exception = False
    before = names_in("uploads")
    monkeypatch.setattr("workbench.pipeline.imports.run._new", lambda *_: 1 / 0)

    assert send(client, f"/datasets/{dataset.pk}/rows", GOOD).status_code == 500

    assert not Upload.objects.exists()
    assert names_in("uploads") == before


@pytest.mark.django_db(transaction=True)
def test_a_request_that_dies_half_way_keeps_nothing(dataset, alice, tmp_path):
    path = f"/api/v1/datasets/{dataset.pk}/rows"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token_of(alice)}\r\n"
        f"Content-Type: application/x-ndjson\r\nIdempotency-Key: k\r\nContent-Length: {4 * 2**20}\r\n\r\n"
    )
    with web_process(tmp_path / "web.log", TMPDIR=str(tmp_path)) as (port, _):
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(head.encode() + GOOD * 10_000)
            half.shutdown(socket.SHUT_WR)
            answer = b""
            while b"cut_short" not in answer and (more := half.recv(2**16)):
                answer += more
        assert b" 400 " in answer
        assert b"cut_short" in answer
        wait_for = time.monotonic() + 10
        while list(tmp_path.glob("*.upload*")) and time.monotonic() < wait_for:
            time.sleep(0.1)

    assert not list(tmp_path.glob("*.upload*"))
    assert [kind.objects.count() for kind in (Upload, Run, KeptAnswer)] == [0, 0, 0]


@pytest.mark.django_db(transaction=True)
def test_a_large_body_takes_little_memory_of_the_web_process(dataset, alice, tmp_path):
    row = orjson.dumps({"prompt": "Why?", "chosen": "Because. " * 200, "rejected": "No. " * 200}) + b"\n"
    body = row * (64 * 2**20 // len(row))
    with web_process(tmp_path / "web.log") as (port, pid):
        headers = {"Authorization": f"Bearer {token_of(alice)}", "Content-Type": "application/x-ndjson"}
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as ask:
            ask.request("POST", f"/api/v1/datasets/{dataset.pk}/rows", body, headers)
            with ask.getresponse() as answer:
                assert answer.status == 202
        status = Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

    assert peak < 200 * 1024
