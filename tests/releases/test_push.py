"""Sending a Release to the hub, against a small hub of our own on this machine."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from tests.factories import ComparisonFactory, JudgmentFactory
from workbench.models import Release
from workbench.pipeline import releases

pytestmark = pytest.mark.django_db

COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """Answers the requests of a push, and keeps what was posted."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.files_there = ["old.jsonl", ".gitattributes"]
        self.posted: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()
        self.refuses = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def files(self) -> dict[str, bytes]:
        lines = [
            json.loads(line) for line in self.posted["/api/datasets/team/kitchen/commit/main"].splitlines()
        ]
        sent = [line["value"] for line in lines if line["key"] == "file"]
        return {part["path"]: base64.b64decode(part["content"]) for part in sent}

    def deleted(self) -> list[str]:
        lines = [
            json.loads(line) for line in self.posted["/api/datasets/team/kitchen/commit/main"].splitlines()
        ]
        return [line["value"]["path"] for line in lines if line["key"] == "deletedFile"]


class Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, value: object, status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.server.refuses:
            self.answer({"error": "You may not read here"}, 403)
            return
        self.answer(
            [{"type": "file", "path": path, "size": 1, "oid": COMMIT} for path in self.server.files_there]
        )

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        self.server.posted[path] = body
        self.server.tokens.add(self.headers.get("Authorization"))
        if self.server.refuses:
            self.answer({"error": "You may not write here"}, 403)
        elif path.endswith("/preupload/main"):
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            self.answer({"files": [{"path": file["path"], **modes} for file in json.loads(body)["files"]]})
        elif path.endswith("/commit/main"):
            url = f"{self.server.url}/datasets/team/kitchen/commit/{COMMIT}"
            self.answer({"commitUrl": url, "commitOid": COMMIT, "success": True})
        elif path.endswith("/validate-yaml"):
            self.answer({"errors": [], "warnings": []})
        else:
            self.answer(
                {"url": f"{self.server.url}/datasets/team/kitchen", "name": "team/kitchen", "id": "1"}
            )


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    with Hub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server
        server.shutdown()


@pytest.fixture
def release(dataset) -> Release:
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset))
    return releases.build(Release(dataset=dataset, profiles=["preference"]))


def test_all_files_go_in_one_commit_that_is_tagged_and_old_ones_leave(release, hub, capsys):
    call_command("release_push", "Kitchen", 1, "team/kitchen", json=True)

    folder = Path(default_storage.path(release.folder))
    assert hub.files() == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert hub.deleted() == ["old.jsonl"]
    assert json.loads(hub.posted[f"/api/datasets/team/kitchen/tag/{COMMIT}"]) == {"tag": "release-1"}
    assert hub.tokens == {"Bearer hf_of_the_test"}
    assert json.loads(capsys.readouterr().out)["url"].endswith(COMMIT)


def test_without_a_token_nothing_is_sent(release, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")

    with pytest.raises(CommandError, match="Set HF_TOKEN"):
        call_command("release_push", "Kitchen", 1, "team/kitchen")

    assert not hub.posted


def test_what_the_hub_says_when_it_refuses_is_passed_on(release, hub):
    hub.refuses = True

    with pytest.raises(CommandError, match=r"(?s)The hub refused the upload: .*You may not"):
        call_command("release_push", "Kitchen", 1, "team/kitchen")


@pytest.mark.parametrize(("number", "repository"), [(2, "team/kitchen"), (1, "kitchen")])
def test_a_release_or_repository_that_cannot_be_meant_is_refused(release, hub, number, repository):
    with pytest.raises(CommandError, match=r"has no release 2|is not a repository"):
        call_command("release_push", "Kitchen", number, repository)

    assert not hub.posted
