"""The web worker: gunicorn's threads, which only ever see requests that have arrived whole.

gunicorn gives a thread to a connection as soon as its first byte is there, so eight clients that send a byte
now and then stop the site. Here the main loop, which waits for nobody, collects the head and a body of up to
1 MB. What is larger goes to a thread at once: only people who have logged in may send that (see bodies.py).
"""

import re
import selectors
import socket
import struct
import time
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

COLLECTED_BODY = 2**20
LONGEST_HEAD = 64 * 2**10
MOST_COLLECTED = 64 * 2**20
MOST_ARRIVING = 800
ARRIVAL_SECONDS = 20.0
STALLED_SECONDS = 30

_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,15})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class Arrival:
    """What has come of one request, and until when the rest may take."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.deadline = time.monotonic() + ARRIVAL_SECONDS


def is_whole(received: bytes | bytearray) -> bool:
    """Whether a thread can go on with what has come: the head, and its body unless that is large or the
    client waits to be asked for it."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return len(received) > LONGEST_HEAD  # the parser refuses it
    head = bytes(received[:end])
    length = _LENGTH.search(head)
    if length is None or int(length[1]) > COLLECTED_BODY or b"\nexpect:" in head.lower():
        return True
    return len(received) >= end + 4 + int(length[1])


class CollectingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """A threaded worker whose main loop collects requests. Without TLS of gunicorn's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.arriving: OrderedDict[TConn, Arrival] = OrderedDict()

    def accept(self, listener: socket.socket) -> None:
        try:
            client, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        # A thread that reads a large file or writes an answer is not held by a client that went away.
        stalled = struct.pack("ll", STALLED_SECONDS, 0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, stalled)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, stalled)
        self._collect(TConn(self.cfg, client, address, listener.getsockname()))

    def on_client_socket_readable(self, conn: TConn, client: socket.socket) -> None:
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._collect(conn)

    def murder_pending(self) -> None:
        """Runs each second: ends what takes too long, and everything once the worker stops."""
        super().murder_pending()
        now = time.monotonic()
        for conn, arrival in list(self.arriving.items()):
            if self.alive and arrival.deadline > now:
                break
            self._drop(conn, _TOO_SLOW)

    def _collect(self, conn: TConn) -> None:
        conn.sock.setblocking(False)
        self.arriving[conn] = Arrival()
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._on_more, conn))
        # The slowest give way, so that however many there are, somebody new is let in.
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
