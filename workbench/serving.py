"""The web worker: gunicorn's threads, which only see requests that have arrived whole.

gunicorn gives a thread to a connection at its first byte, so a few clients that each send a byte now and then
hold all threads and stop the site. Here the main loop, which waits for nobody, collects the head and a body
of up to 1 MB. A larger body goes to a thread at once: only people who have logged in may send one (see
bodies.py).
"""

import ctypes
import gc
import os
import re
import resource
import selectors
import socket
import struct
import time
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path

from django.db import connections
from gunicorn.workers.gthread import TConn, ThreadWorker

# Before pyarrow is loaded, which reads files for the preview: its own pool would keep the memory of the
# largest file for each thread.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

COLLECTED_BODY = 2**20
LONGEST_HEAD = 64 * 2**10
LONGEST_LINE = 8190
"""The most that gunicorn allows: a search in another script takes nine bytes a character."""
MOST_COLLECTED = 64 * 2**20
MOST_ARRIVING = 800
ARRIVAL_SECONDS = 20.0
STALLED_SECONDS = 30
SMALL = 160 * 2**20  # more than a process uses for ordinary pages
TIDY_SECONDS = 5.0

_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,15})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Arrival:
    """The bytes of a request so far, and the deadline for the rest."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.deadline = time.monotonic() + ARRIVAL_SECONDS


def is_whole(received: bytes | bytearray) -> bool:
    """Whether a thread can take the request: its head has arrived, and its body, unless the body is large or
    the client waits to be asked for it."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return len(received) > LONGEST_HEAD  # the parser refuses it
    head = bytes(received[:end])
    length = _LENGTH.search(head)
    if length is None or int(length[1]) > COLLECTED_BODY or b"\nexpect:" in head.lower():
        return True
    return len(received) >= end + 4 + int(length[1])


def resident() -> int:
    """Bytes of memory of this process; 0 where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def give_memory_back() -> None:
    """Return the memory of large requests to the system. glibc alone keeps free pages between used blocks, in
    an arena for each thread, for as long as the process lives."""
    gc.collect()
    with suppress(OSError, AttributeError):  # other libraries than glibc have no malloc_trim
        ctypes.CDLL(None).malloc_trim(0)


class CollectingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """A threaded worker whose main loop collects requests. Without TLS of gunicorn's own."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.cfg.set("limit_request_line", LONGEST_LINE)
        self.arriving: OrderedDict[TConn, Arrival] = OrderedDict()
        self.untidy = False
        self.tidied_at = 0.0

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        # A client that went away must not hold a thread that reads a large file or writes an answer.
        stalled = struct.pack("ll", STALLED_SECONDS, 0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, stalled)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, stalled)
        self._collect(TConn(self.cfg, client, address, listener.getsockname()))

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._collect(conn)

    def handle(self, conn: TConn) -> object:
        try:
            return super().handle(conn)
        finally:
            # In the thread of the connection: libpq keeps the memory of its largest answer.
            if resident() > SMALL:
                connections.close_all()

    def finish_request(self, conn: TConn, fs: "Future[object]") -> None:
        super().finish_request(conn, fs)
        self.untidy = True

    def murder_pending(self) -> None:
        """Runs each second: ends late requests, and all requests once the worker stops."""
        super().murder_pending()
        now = time.monotonic()
        if self.untidy and now - self.tidied_at > TIDY_SECONDS:
            self.untidy, self.tidied_at = False, now
            if resident() > SMALL:
                give_memory_back()
        for conn, arrival in list(self.arriving.items()):
            if self.alive and arrival.deadline > now:
                break
            self._drop(conn, _TOO_SLOW)

    def _collect(self, conn: TConn) -> None:
        conn.sock.setblocking(False)
        self.arriving[conn] = Arrival()
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_more, conn))
        # The slowest give way, so that a new client always gets in.
        while len(self.arriving) > MOST_ARRIVING or self._collected() > MOST_COLLECTED:
            self._drop(next(iter(self.arriving)), _TOO_SLOW)

    def _collected(self) -> int:
        return sum(len(arrival.received) for arrival in self.arriving.values())

    def _on_more(self, conn: TConn, client: socket.socket) -> None:
        received = self.arriving[conn].received
        try:
            more = client.recv(2**16)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        if not more:
            self._drop(conn)
            return
        received += more
        if is_whole(received):
            self._hand_over(conn, bytes(received))

    def _hand_over(self, conn: TConn, received: bytes) -> None:
        self.poller.unregister(conn.sock)
        del self.arriving[conn]
        conn.init()
        conn.parser.unreader.unread(received)
        conn.data_ready = True
        self.enqueue_req(conn)

    def _drop(self, conn: TConn, word: bytes = b"") -> None:
        self.poller.unregister(conn.sock)
        del self.arriving[conn]
        self.nr_conns -= 1
        with suppress(OSError):
            conn.sock.send(word)
        conn.close()
