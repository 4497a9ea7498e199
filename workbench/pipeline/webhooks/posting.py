"""One request to a receiver: signed as Standard Webhooks says, to a checked address, within ten seconds."""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpcore2
from standardwebhooks import Webhook as Signer

from workbench.pipeline.outbound.connecting import CheckedAddresses
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.webhooks import targets

SECONDS = 10.0
"""For all of a request: look-up of the host, connection, TLS, request and answer."""
MOST_OF_ANSWER = 64 * 1024
"""Bytes of an answer that are read. Nothing is done with them: the connection can be used again then."""
IDLE_SECONDS = 2.0
GONE = 410
BUSY = (429, 503)
LONGEST_WAIT = timedelta(days=1)
"""A receiver that asks for more is tried all the same: three days are all that an event has."""


@dataclass(frozen=True)
class Answer:
    """What came of a request. status: None where there was no HTTP answer; error: "" for 2xx, else a sentence
    that names no part of the answer's body; wait: how long a busy receiver asks to be left alone."""

    status: int | None
    ms: int
    error: str
    wait: timedelta = timedelta()


@dataclass(frozen=True)
class Request:
    """A signed request."""

    url: str
    headers: Mapping[str, str]
    body: bytes


Post = Callable[[Request], Answer]


def signed(url: str, uid: str, body: bytes, secrets: Sequence[str], now: datetime) -> Request:
    """The request with a signature by each secret."""
    moment = now.astimezone(UTC)
    signatures = [Signer(secret).sign(uid, moment, body.decode()) for secret in secrets]
    headers = {
        "content-type": "application/json",
        "user-agent": "preference-workbench",
        "webhook-id": uid,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    return Request(url, headers, body)


@contextmanager
def opened(seconds: float = SECONDS) -> Iterator[Post]:
    """A function that sends requests, with connections that are used again. For one thread."""
    backend = CheckedAddresses(lambda host, port: targets.addresses_of(host, port, backend.left(None)))
    with httpcore2.ConnectionPool(
        ssl_context=ssl.create_default_context(),
        max_connections=1,
        keepalive_expiry=IDLE_SECONDS,
        network_backend=backend,
    ) as pool:

        def post(request: Request) -> Answer:
            began = time.monotonic()
            backend.until = began + seconds
            status, error, wait = _send(pool, request)
            return Answer(status, round(1000 * (time.monotonic() - began)), error, wait)

        yield post


def _send(pool: httpcore2.ConnectionPool, request: Request) -> tuple[int | None, str, timedelta]:
    """Status, fault and wait, as of an Answer."""
    try:
        targets.refuse_scheme(*targets.scheme_and_host(request.url))
        with pool.stream(
            "POST", request.url, headers=list(request.headers.items()), content=request.body
        ) as response:
            size = 0
            for block in response.iter_stream():
                size += len(block)
                if size > MOST_OF_ANSWER:
                    break  # closes the connection
            return response.status, _fault(response), _wait(response)
    except Refused as refused:
        error = str(refused)
    except httpcore2.TimeoutException:
        error = f"No answer within {SECONDS:.0f} seconds."
    except httpcore2.ProtocolError:
        error = "The answer is not HTTP."
    except (httpcore2.NetworkError, OSError) as broken:
        error = f"No connection: {_words(broken)}."
    return None, error, timedelta()


def _fault(response: httpcore2.Response) -> str:
    if 200 <= response.status < 300:
        return ""
    if 300 <= response.status < 400:
        return f"Answered {response.status}: redirects are not followed. Change the address instead."
    if response.status == GONE:
        return "Answered 410: the receiver is gone for good, so the webhook was paused."
    return f"Answered {response.status}."


def _wait(response: httpcore2.Response) -> timedelta:
    """What Retry-After asks for (RFC 9110, 10.2.3: seconds or a date), LONGEST_WAIT at most."""
    headers = {name.lower(): value for name, value in response.headers}
    said = headers.get(b"retry-after", b"") if response.status in BUSY else b""
    word = said.decode("ascii", "replace").strip()
    if word.isascii() and word.isdigit():
        # Of a number of any length: no wait is longer than a day.
        return min(timedelta(seconds=int(word[:9])), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(word)
    except ValueError:
        return timedelta()
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max(until - datetime.now(UTC), timedelta()), LONGEST_WAIT)


def _words(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:150].rstrip(".")
