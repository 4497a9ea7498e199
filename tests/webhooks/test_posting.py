"""The request itself, to a receiver in another process."""

import ssl
import time
from urllib.parse import quote

import httpcore2
import pytest
from django.utils import timezone

from workbench.pipeline.outbound import addresses
from workbench.pipeline.webhooks import posting

SECRET = "whsec_" + "c2VjcmV0" * 5
LIMIT = 1.0


@pytest.fixture
def send(receiving, settings):
    """Send requests to paths of the receiver, one after the other, and give the answers."""
    settings.DEBUG = True

    def send(*paths: str, seconds: float = LIMIT) -> list[posting.Answer]:
        receiving.know(dict.fromkeys(paths, SECRET))
        with posting.opened(seconds) as post:
            return [
                post(posting.signed(receiving.url(path), f"id{n}", b'{"n":1}', [SECRET], timezone.now()))
                for n, path in enumerate(paths)
            ]

    return send


def test_a_receiver_verifies_the_signature_with_the_official_library(send, receiving):
    (answer,) = send("/ok")

    assert (answer.status, answer.error) == (204, "")
    (got,) = receiving.got()
    assert (got["verified"], got["id"], got["payload"]) == ("yes", "id0", {"n": 1})
    assert got["headers"]["content-type"] == "application/json"
    assert got["headers"]["host"] == f"127.0.0.1:{receiving.port}"


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/fails", 500, "Answered 500."),
        ("/gone", 410, "Answered 410: the receiver is gone for good, so the webhook was paused."),
        ("/redirects", 307, "Answered 307: redirects are not followed. Change the address instead."),
        ("/rubbish", None, "The answer is not HTTP."),
        ("/closes", None, "The answer is not HTTP."),
        ("/hangs", None, "No answer within 10 seconds."),
        ("/drips", None, "No answer within 10 seconds."),
        ("/huge", 200, ""),
    ],
)
def test_what_a_receiver_does_is_named_within_the_limit(path, status, error, send, receiving):
    began = time.monotonic()

    (answer,) = send(path)

    assert time.monotonic() - began < LIMIT + 1
    assert (answer.status, answer.error) == (status, error)
    assert [row["path"] for row in receiving.got()] == [path]  # a redirect leads to no second request


@pytest.mark.parametrize(
    ("path", "seconds"),
    [
        ("/busy/429/120", 120),
        ("/busy/503/30", 30),
        ("/busy/503/999999999999", 24 * 3600),
        ("/busy/429/Fri, 31 Dec 1999 23:59:59 GMT", 0),
        ("/busy/429/Fri, 31 Dec 9998 23:59:59 GMT", 24 * 3600),
        ("/busy/429/-5", 0),
        ("/busy/429/soon", 0),
        ("/busy/500/120", 0),
    ],
)
def test_a_busy_receiver_says_how_long_to_wait_a_day_at_most(path, seconds, send):
    (answer,) = send(quote(path))

    assert answer.wait.total_seconds() == seconds


def test_a_receiver_that_is_not_there_is_named(settings):
    settings.DEBUG = True
    url = "http://127.0.0.1:9/"

    with posting.opened(LIMIT) as post:
        answer = post(posting.signed(url, "id", b"{}", [SECRET], timezone.now()))

    assert answer.status is None
    assert answer.error.startswith("No connection: ")


def test_a_connection_is_used_again_and_a_broken_one_is_not(send, receiving):
    answers = send("/ok", "/ok", "/rubbish", "/ok", "/huge", "/ok")

    assert [answer.status for answer in answers] == [204, 204, None, 204, 200, 204]


def test_a_name_that_changes_to_a_private_address_is_refused_at_the_request(monkeypatch):
    """Registered while it was public; rebound to the receiver's own machine since."""
    found = [(2, 1, 6, "", ("127.0.0.1", 443))]
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: found)
    tried = []
    monkeypatch.setattr(httpcore2.SyncBackend, "connect_tcp", lambda *args, **_: tried.append(args))

    with posting.opened(LIMIT) as post:
        answer = post(posting.signed("https://hooks.example/", "id", b"{}", [SECRET], timezone.now()))

    assert "hooks.example has a private address" in answer.error
    assert tried == []


def test_a_request_connects_to_the_address_that_was_checked_with_the_name_for_tls(monkeypatch):
    """The resolver would answer otherwise the second time: nobody asks it a second time."""
    answers = iter([[(2, 1, 6, "", ("93.184.216.34", 443))], [(2, 1, 6, "", ("127.0.0.1", 443))]])
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: next(answers))
    connected = []

    class Stream(httpcore2.NetworkStream):
        def start_tls(self, ssl_context, server_hostname=None, timeout=None):
            connected.append(server_hostname)
            assert ssl_context.verify_mode == ssl.CERT_REQUIRED
            assert ssl_context.check_hostname
            raise httpcore2.ConnectError("Enough")

    def connect(self, host, port, *_, **__):
        connected.append((host, port))
        return Stream()

    monkeypatch.setattr(httpcore2.SyncBackend, "connect_tcp", connect)

    with posting.opened(LIMIT) as post:
        answer = post(posting.signed("https://hooks.example/", "id", b"{}", [SECRET], timezone.now()))

    assert connected == [("93.184.216.34", 443), "hooks.example"]
    assert answer.error == "No connection: Enough."


def test_http_is_refused_at_the_request_too(receiving):
    with posting.opened(LIMIT) as post:
        answer = post(posting.signed(receiving.url("/ok"), "id", b"{}", [SECRET], timezone.now()))

    assert "Only https is allowed" in answer.error
    assert receiving.got() == []
