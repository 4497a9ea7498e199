"""A server that answers as it is told, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """status 0: the connection is cut without an answer. cut: bytes of the body that come before a cut."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Failing(ThreadingHTTPServer):
    """Gives `answers` one after the other, then the answer of `usual`."""

    daemon_threads = True
    request_queue_size = 50

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []
        self.usual: Callable[[Asked], Answer] = lambda asked: Answer()
        self.asked: list[Asked] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Failing
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        names = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, names, body)
        with self.server.lock:
            self.server.asked.append(asked)
            planned = self.server.answers.pop(0) if self.server.answers else None
        planned = planned or self.server.usual(asked)
        if planned.status == 0:
            self.close_connection = True
            return
        self.send_response(planned.status)
        for name, value in planned.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(planned.body)))
        self.end_headers()
        self.wfile.write(planned.body[: planned.cut])
        self.close_connection = planned.cut is not None

    do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass


def problem(status: int, code: str, detail: str, *errors: dict[str, object], **headers: str) -> Answer:
    document = {
        "type": f"/help/reference/api/#{code}",
        "title": "-",
        "status": status,
        "code": code,
        "detail": detail,
        "errors": list(errors),
    }
    return Answer(status, json.dumps(document).encode(), headers)


@contextmanager
def failing() -> Iterator[Failing]:
    server = Failing()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
