"""A hub of data sets and models on loopback: real HTTP with the part of the protocol that fetching, pushing
and large files need, for huggingface_hub's real client."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"
LARGE = 100_000
"""Files of this size and more are LFS files here, and are sent from and to another host."""


def blob_of(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@dataclass
class Repository:
    private: bool = False
    card: dict[str, Any] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        oid = hashlib.sha1(json.dumps([len(self.commits), sorted(files)]).encode()).hexdigest()
        self.commits[oid] = files
        self.branches[branch] = oid
        return oid

    def at(self, revision: str) -> str | None:
        named = self.branches.get(revision) or self.tags.get(revision)
        return named or (revision if revision in self.commits else None)

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the branch main."""
        return self.commits.get(self.branches.get("main", ""), {})


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    token: str | None


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: "Hub") -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.hub = hub
        self.asked: list[Asked] = []

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.name}"


class Hub:
    """`main` is the hub itself, `cdn` the host of its large files. `owners` are those that TOKEN may write
    to. `spoils`: how the next downloads differ from what the tree says."""

    def __init__(self) -> None:
        self.main, self.cdn = Server(self), Server(self)
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.owners = {"team"}
        self.spoils = lambda content: content
        self.redirects_to = ""
        self.refuses = 0

    @property
    def writes(self) -> list[str]:
        """What changed something, but for the creation of a repository that was there."""
        return [f"{asked.method} {asked.path}" for asked in self.main.asked if "/commit/" in asked.path]


class Answers(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, value: object = None, status: int = 200, **headers: str) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _note(self) -> str:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.server.asked.append(Asked(self.command, self.path, token))
        return unquote(urlsplit(self.path).path)

    def do_GET(self) -> None:
        path, hub = self._note(), self.server.hub
        if hub.refuses:
            return self.answer({"error": "You may not do that"}, hub.refuses)
        if stored := re.fullmatch(r"/large/([0-9a-f]{64})", path):
            return self.answer(hub.spoils(hub.large[stored[1]]))
        info = re.fullmatch(r"/api/(?:datasets|models)/([^/]+/[^/]+)(?:/revision/([^/]+))?", path)
        tree = re.fullmatch(r"/api/(?:datasets|models)/([^/]+/[^/]+)/tree/([^/]+)", path)
        file = re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        asked = info or tree or file
        repository = hub.repositories.get(asked[1]) if asked else None
        if not asked or repository is None or (repository.private and not self._may_read(asked[1])):
            return self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        commit = repository.at(asked[2] or "main")
        if asked[2] and commit is None:
            code = "RevisionNotFound" if asked[2] != "main" else "EntryNotFound"
            return self.answer({"error": "Not here"}, 404, X_Error_Code=code)
        files = repository.commits.get(commit or "", {})
        if info:
            private, card = repository.private, repository.card
            return self.answer(
                {
                    "_id": "1",
                    "id": asked[1],
                    "sha": commit,
                    "private": private,
                    "cardData": card,
                    "siblings": [],
                }
            )
        if tree:
            return self.answer([entry_of(path, content) for path, content in files.items()])
        if asked[3] not in files:
            return self.answer({"error": "Entry not found"}, 404, X_Error_Code="EntryNotFound")
        content = files[asked[3]]
        if hub.redirects_to:
            return self.answer(None, 302, Location=hub.redirects_to)
        if len(content) >= LARGE:
            digest = hashlib.sha256(content).hexdigest()
            hub.large[digest] = content
            return self.answer(None, 302, Location=f"{hub.cdn.url}/large/{digest}?Signature=secret")
        return self.answer(hub.spoils(content))

    do_HEAD = do_GET  # noqa: N815

    def _may_read(self, repository: str) -> bool:
        return self._token() == TOKEN and repository.partition("/")[0] in self.server.hub.owners

    def _token(self) -> str | None:
        return self.server.asked[-1].token

    def do_PUT(self) -> None:
        path = self._note()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.hub.large[path.rpartition("/")[2]] = body
        self.answer({})

    def do_POST(self) -> None:
        path, hub = self._note(), self.server.hub
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if self._token() != TOKEN or hub.refuses:
            return self.answer({"error": "You may not do that"}, hub.refuses or 401)
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if lfs := re.fullmatch(r"/datasets/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._batch(json.loads(body)) if self._owns(lfs[1]) else None
        act = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/(preupload|commit|tag)/([^/]+)", path)
        if not act or not self._owns(act[1]):
            return None if act else self.answer({}, 404)
        repository = hub.repositories[act[1]]
        if act[2] == "tag":
            repository.tags[json.loads(body)["tag"]] = act[3]
            return self.answer({})
        if act[2] == "preupload":
            return self._preupload(repository, json.loads(body))
        return self._commit(act[1], repository, [json.loads(line) for line in body.splitlines()])

    def _owns(self, repository: str) -> bool:
        if repository.partition("/")[0] in self.server.hub.owners:
            return True
        self.answer({"error": "You have no right to write here"}, 403)
        return False

    def _create(self, order: dict[str, Any]) -> None:
        name = f"{order.get('organization') or 'team'}/{order['name']}"
        told = {"url": f"{self.server.url}/datasets/{name}", "name": name, "id": "1"}
        if name in self.server.hub.repositories:
            return self.answer({"error": "It exists", **told}, 409)
        if self._owns(name):
            created = Repository(private=order.get("visibility") == "private")
            created.commit({".gitattributes": b""})
            self.server.hub.repositories[name] = created
            self.answer(told)
        return None

    def _preupload(self, repository: Repository, order: dict[str, Any]) -> None:
        self.answer(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["size"] >= LARGE else "regular",
                        "shouldIgnore": False,
                        "oid": blob_of(repository.files[file["path"]])
                        if file["path"] in repository.files and file["size"] < LARGE
                        else None,
                    }
                    for file in order["files"]
                ]
            }
        )

    def _batch(self, order: dict[str, Any]) -> None:
        hub = self.server.hub
        objects = [
            {"oid": one["oid"], "size": one["size"]}
            | (
                {}
                if one["oid"] in hub.large
                else {"actions": {"upload": {"href": f"{hub.cdn.url}/large/{one['oid']}", "header": {}}}}
            )
            for one in order["objects"]
        ]
        self.answer({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, repository: Repository, lines: list[dict[str, Any]]) -> None:
        files = dict(repository.files)
        for line in lines:
            value = line["value"]
            if value.get("parentCommit", repository.branches["main"]) != repository.branches["main"]:
                return self.answer({"error": "A commit has happened since"}, 412)
            if line["key"] == "deletedFile":
                del files[value["path"]]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.hub.large[value["oid"]]
        oid = repository.commit(files)
        url = f"{self.server.url}/datasets/{name}/commit/{oid}"
        return self.answer({"commitUrl": url, "commitOid": oid, "success": True})


def entry_of(path: str, content: bytes) -> dict[str, object]:
    entry = {"type": "file", "path": path, "size": len(content), "oid": blob_of(content)}
    if len(content) >= LARGE:
        lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return {**entry, "oid": "0" * 40, "lfs": lfs}
    return entry


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    servers = (hub.main, hub.cdn)
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()
