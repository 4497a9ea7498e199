"""A receiver of webhooks, as a process of its own: python -m tests.webhooks.receiver LOG.

It verifies each request with the official library, by the secret that the file SECRETS names for the path,
writes what came to LOG, one JSON object a line, and answers as the path says. It prints its port."""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from standardwebhooks import Webhook, WebhookVerificationError

HANGS_SECONDS = 60


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    log: Path
    lock = threading.Lock()

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:  # the sender was killed in the middle of it
            self.close_connection = True
            return
        self.keep(body)
        behave = getattr(self, self.path.strip("/").partition("-")[0].partition("/")[0])
        behave()

    def do_GET(self) -> None:
        self.keep(b"")
        self.ok()

    def keep(self, body: bytes) -> None:
        secrets = json.loads(self.log.with_suffix(".secrets").read_text() or "{}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            Webhook(secrets[self.path]).verify(body, headers)
        except (KeyError, WebhookVerificationError) as error:
            verified = f"{type(error).__name__}: {error}"
        else:
            verified = "yes"
        row = {
            "path": self.path,
            "method": self.command,
            "verified": verified,
            "id": headers.get("webhook-id"),
            "payload": json.loads(body or "null"),
            "headers": headers,
            "at": time.time(),
        }
        with self.lock, self.log.open("a") as log:
            log.write(json.dumps(row) + "\n")

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    # --- how it behaves, by path ---

    def ok(self) -> None:
        self.answer(204)

    def fails(self) -> None:
        self.answer(500, b"A secret of the receiver")

    def gone(self) -> None:
        self.answer(410)

    def busy(self) -> None:
        """/busy/STATUS/RETRY-AFTER"""
        _, _, status, asked = unquote(self.path).split("/")
        self.answer(int(status), **{"Retry-After": asked})

    def redirects(self) -> None:
        self.answer(307, Location="/ok")

    def hangs(self) -> None:
        time.sleep(HANGS_SECONDS)

    def drips(self) -> None:
        """A byte of a header each half second: no single read takes long."""
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: 1\r\n" * 1000:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.5)

    def rubbish(self) -> None:
        self.wfile.write(b"\x00\xff this is no HTTP \r\n\r\n" * 10)
        self.close_connection = True

    def huge(self) -> None:
        """An answer without an end."""
        self.send_response(200)
        self.end_headers()
        for _ in range(10_000):
            self.wfile.write(b"x" * 2**16)
        self.close_connection = True

    def closes(self) -> None:
        self.close_connection = True

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, BrokenPipeError):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


def main(log: str) -> None:
    Receiver.log = Path(log)
    server = Server(("127.0.0.1", 0), Receiver)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1])
