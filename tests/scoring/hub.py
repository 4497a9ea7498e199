"""A model hub on loopback, with the part of the protocol that a download of a pinned revision needs."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from scoring.checkpoint import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FETCH = """
import sys
from scoring.checkpoint import CheckpointError, fetch
try:
    print(fetch(*sys.argv[1:]))
except CheckpointError as error:
    sys.exit(str(error))
"""


class Hub:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def fetch(self, target: Path, repo_id: str = "owner/reward", revision: str = COMMIT) -> Path:
        """`scoring.checkpoint.fetch` in a process of its own, because the hub's address is read at import."""
        done = subprocess.run(
            [sys.executable, "-c", FETCH, repo_id, revision, str(target)],
            env={**os.environ, "HF_ENDPOINT": self.url, "HF_HOME": str(target.parent / "cache")},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise CheckpointError(done.stderr.strip().splitlines()[-1])
        return Path(done.stdout.strip())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.requests.append(self.path)
                owner, _, path = self.path.lstrip("/").partition("/owner/")
                if not path.startswith("reward/") and not self.path.startswith("/owner/reward/"):
                    return self.answer(404, {"X-Error-Code": "RepoNotFound"})
                if f"/{COMMIT}" not in self.path:
                    return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
                files = sorted(hub.folder.iterdir())
                if "/tree/" in self.path:
                    tree = [
                        {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0" * 40}
                        for file in files
                    ]
                    return self.answer(200, {"Content-Type": "application/json"}, json.dumps(tree).encode())
                if owner == "api/models":
                    names = [{"rfilename": file.name} for file in files]
                    body = {"_id": "1", "id": "owner/reward", "sha": COMMIT, "siblings": names}
                    return self.answer(200, {"Content-Type": "application/json"}, json.dumps(body).encode())
                content = (hub.folder / self.path.rpartition("/")[2]).read_bytes()
                etag = hashlib.sha256(content).hexdigest()
                return self.answer(200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, content)

            do_HEAD = do_GET  # noqa: N815

            def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def hub_with(folder: Path) -> Iterator[Hub]:
    hub = Hub(folder)
    thread = threading.Thread(target=hub.server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        hub.server.server_close()
        thread.join()
