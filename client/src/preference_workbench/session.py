"""Requests to one workbench, sent again where that is safe."""

import json
import random
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from pydantic import BaseModel, PrivateAttr

from preference_workbench.errors import Unreachable, error_of

KEY = "Idempotency-Key"
SENT_AGAIN = {429, 502, 503, 504}
LONGEST_BACKOFF = 30.0
LONGEST_WAIT = 120.0
"""Seconds. A workbench that asks for more is busy for long: the caller decides."""
NDJSON = "application/x-ndjson"
PIECE = 256 * 1024
sleep = time.sleep

Params = Mapping[str, object]


class Session:
    """Sends requests, from any number of threads.

    A request that got no answer, or 429, 502, 503 or 504, is sent again, at most `tries` times in all. Each
    POST keeps its Idempotency-Key, so nothing is done twice. A DELETE that got no answer, and finds nothing
    when it is sent again, was done."""

    def __init__(self, url: str, token: str, *, tries: int = 6, timeout: float = 60.0) -> None:
        self.url = url.rstrip("/")
        self.tries = tries
        self._client = httpx2.Client(
            base_url=f"{self.url}/api/v1",
            headers={"Authorization": f"Bearer {token}", "User-Agent": _user_agent()},
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 10.0)),
        )

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, params: Params | None = None) -> Any:
        """The JSON document at a path."""
        return self.send("GET", path, params=params).json()

    def post(self, path: str, body: object = None, params: Params | None = None) -> Any:
        """Send a JSON document; the JSON document that comes back, None where nothing does."""
        response = self.send("POST", path, body={} if body is None else body, params=params)
        return response.json() if response.content else None

    def send(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        content: bytes | Path | None = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """The response with its body. Raises ApiError, Unreachable."""
        return self._tried(self._request(method, path, body, content, params, headers), is_streamed=False)

    @contextmanager
    def opened(
        self, path: str, params: Params | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx2.Response]:
        """A response whose body comes in pieces. Raises ApiError, Unreachable; httpx2.TransportError where
        the body breaks off."""
        request = self._request("GET", path, None, None, params, headers)
        response = self._tried(request, is_streamed=True)
        try:
            yield response
        finally:
            response.close()

    def pages(self, path: str, params: Params | None = None) -> Iterator[dict[str, Any]]:
        """The items of a list, which comes in pages."""
        after: object = None
        while True:
            page = self.get(path, {**(params or {}), "after": after, "limit": 1000})
            yield from page["items"]
            after = page["next_after"]
            if after is None:
                return

    def newest_first(self, path: str, params: Params | None = None) -> Iterator[dict[str, Any]]:
        """The items of a list whose pages go back in time."""
        before: object = None
        while True:
            page = self.get(path, {**(params or {}), "before": before})
            yield from page["items"]
            before = page["next_before"]
            if before is None:
                return

    def rows(self, path: str, params: Params | None = None) -> Iterator[dict[str, Any]]:
        """The rows of a file of JSON lines."""
        with self.opened(path, params) as response:
            yield from _rows(response)

    def lines(self, path: str, cursor: str = "after", start: int = 0) -> Iterator[dict[str, Any]]:
        """The rows of a list as a stream of JSON lines, after an id. One that breaks off goes on after its
        last row. cursor: the parameter that names the id."""
        after = start
        failures = 0
        while True:
            try:
                with self.opened(path, {cursor: after}, {"Accept": NDJSON}) as response:
                    for row in _rows(response):
                        after = row["id"]
                        failures = 0
                        yield row
                return
            except httpx2.TransportError as error:
                failures += 1
                if failures >= self.tries:
                    raise Unreachable(f"{self.url} breaks off its answers: {error}") from error
                sleep(_backoff(failures))

    def _request(
        self,
        method: str,
        path: str,
        body: object,
        content: bytes | Path | None,
        params: Params | None,
        headers: Mapping[str, str] | None,
    ) -> httpx2.Request:
        wanted = dict(headers or {})
        if method == "POST":
            wanted.setdefault(KEY, uuid4().hex)
        if body is not None:
            content = json.dumps(body, default=_in_json, ensure_ascii=False).encode("utf-8", "surrogatepass")
            wanted["Content-Type"] = "application/json"
        sent: bytes | _File | None = content if isinstance(content, bytes | None) else _File(content)
        if isinstance(content, Path):
            wanted["Content-Length"] = str(content.stat().st_size)
        asked = {name: _in_query(value) for name, value in (params or {}).items() if value is not None}
        return self._client.build_request(method, path, content=sent, params=asked, headers=wanted)

    def _tried(self, request: httpx2.Request, *, is_streamed: bool) -> httpx2.Response:
        may_be_deleted = False
        for tried in range(1, self.tries + 1):
            try:
                response = self._client.send(request, stream=is_streamed)
                if response.is_success:
                    return response
                response.read()
                if may_be_deleted and response.status_code == 404:
                    return response
            except httpx2.TransportError as error:
                if tried == self.tries:
                    raise Unreachable(
                        f"{self.url} does not answer: {error or type(error).__name__}"
                    ) from error
                may_be_deleted = request.method == "DELETE"
                sleep(_backoff(tried))
                continue
            wait = _wanted_wait(response)
            is_hopeless = wait is not None and wait > LONGEST_WAIT
            if response.status_code not in SENT_AGAIN or tried == self.tries or is_hopeless:
                raise error_of(response)
            # A proxy answers 502 or 504 where the workbench's own answer is lost; 429 and 503 came before.
            may_be_deleted |= request.method == "DELETE" and response.status_code in (502, 504)
            # Those who were told the same moment do not all come back at that moment.
            sleep(_backoff(tried) if wait is None else wait + random.uniform(0, 1))
        raise AssertionError("tries is at least 1")


class _File:
    """The bytes of a file, for each try anew."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece


class Resource(BaseModel):
    """An answer of the workbench that can act: it knows the session that it came by."""

    _session: Session = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        self._session = context


def _rows(response: httpx2.Response) -> Iterator[dict[str, Any]]:
    """Rows end with a line feed alone: texts hold other separators of lines."""
    held = b""
    for piece in response.iter_bytes():
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            yield json.loads(line)
    if held:  # whole rows end with a line feed
        raise httpx2.ReadError("The last row is not whole.")


def _backoff(tried: int) -> float:
    """Seconds to wait after the n-th try, drawn from 0 to a limit that doubles: programs that failed together
    do not come back together."""
    return random.uniform(0, min(LONGEST_BACKOFF, 0.5 * 2**tried))


def _wanted_wait(response: httpx2.Response) -> float | None:
    """The seconds of Retry-After; None where there are none."""
    wanted = response.headers.get("Retry-After", "")
    if re.fullmatch(r"\d{1,9}", wanted):
        return float(wanted)
    try:
        moment = parsedate_to_datetime(wanted)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def _in_json(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


def _in_query(value: object) -> str | list[str]:
    if isinstance(value, list | tuple):
        return [str(_in_query(one)) for one in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


def _user_agent() -> str:
    try:
        return f"preference-workbench-client/{version('preference-workbench-client')}"
    except PackageNotFoundError:
        return "preference-workbench-client"
