"""Clients that send a byte now and then hold no thread: the site answers others at once."""

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.webserver import ask, web
from workbench.serving import COLLECTED_BODY, LONGEST_HEAD, LONGEST_LINE, is_whole

pytestmark = pytest.mark.services

SLOW = 200


@pytest.fixture
def port(transactional_db: None, tmp_path: Path) -> Iterator[int]:
    with web(tmp_path / "web.log") as port:
        yield port


HEAD = b"POST /login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"P", marks=pytest.mark.long, id="byte"),
        pytest.param(HEAD[:40], marks=pytest.mark.long, id="head"),
        pytest.param(HEAD, marks=pytest.mark.long, id="body"),
        pytest.param(HEAD + b"a" * 1000, id="more"),
    ],
)
def test_two_hundred_slow_clients_keep_nobody_waiting(sent, port):
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(SLOW)]
        for client in slow:
            client.sendall(sent)

        seconds = []
        for _ in range(5):
            status, _, took = ask(port, "/healthz")
            assert status == 200
            seconds.append(took)
            for client in slow:
                client.send(b"a")

    assert sorted(seconds)[2] < 1, seconds


def test_what_arrives_in_pieces_is_answered_once_it_is_whole(port):
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as client:
        for piece in (b"GET /heal", b"thz HTTP/1.1\r\nHo", b"st: localhost\r\n\r", b"\n"):
            client.sendall(piece)
            time.sleep(0.05)

        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(("bytes_", "status"), [(LONGEST_LINE, 200), (LONGEST_LINE + 1, 414)])
def test_an_address_is_read_up_to_its_limit(bytes_, status, port):
    rest = len("GET /healthz?q= HTTP/1.1")

    assert ask(port, f"/healthz?q={'a' * (bytes_ - rest)}")[0] == status


def test_a_connection_is_used_again(port):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        for _ in range(3):
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"ok\n")


def test_a_large_body_of_a_stranger_is_refused_and_stored_nowhere(port, tmp_path):
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as client:
        client.sendall(HEAD.replace(b"900000", b"600000000"))

        assert b" 413 " in client.recv(100)


def test_a_body_that_asks_to_be_asked_for_is_asked_for(port):
    head = HEAD.replace(b"900000", b"3").replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as client:
        client.sendall(head)
        time.sleep(0.2)
        client.sendall(b"a=b")

        assert client.recv(20).startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    ("received", "whole"),
    [
        (b"", False),
        (b"GET / HTTP/1.1\r\nHost: a", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", False),
        (b"POST / HTTP/1.1\r\ncontent-length:3\r\n\r\nabc", True),
        (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (COLLECTED_BODY + 1), True),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", True),
        (b"a" * (LONGEST_HEAD + 1), True),
    ],
)
def test_a_request_is_whole_with_its_head_and_a_small_body(received, whole):
    assert is_whole(received) is whole
