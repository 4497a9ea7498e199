"""What a request passes on its way into an operation: its body, whether it was answered before, and whether
it is based on what is there now."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import wraps
from typing import Any, TypeVar

from django.db import IntegrityError, transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase

from workbench.api.problems import Conflict, problem
from workbench.api.sending import receive
from workbench.models import KeptAnswer, Token
from workbench.upload_handlers import ReceivedFile

KEY = "Idempotency-Key"
LARGEST_KEPT = 2**20
"""Bytes of an answer that is kept. Of a larger one, only that the request was done."""

Operation = TypeVar("Operation", bound=Callable[..., object])
Row = TypeVar("Row", bound=Model)


class ApiRequest(HttpRequest):
    """A request to an operation: it has a token."""

    token: Token
    received: ReceivedFile
    """The body, for an operation that `receives` it."""
    shows_secret: bool
    """Set by an operation whose answer holds a secret: it is shown once, so its text is not kept."""


def receives(may_send: Callable[..., object]) -> Callable[[Operation], Operation]:
    """Mark an operation whose body is a file or rows of any length. `may_send` is asked with the request and
    the parts of its path before a byte is read; it raises for those who may not send."""

    def mark(operation: Operation) -> Operation:
        operation.may_send = may_send  # type: ignore[attr-defined]
        return operation

    return mark


def once_per_key(run: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Answer a request that is sent again with its Idempotency-Key as before, and do nothing twice.

    The key is written in the transaction of the effect: a process that dies in between leaves neither. Of two
    requests at once, the second waits for the first. A refused request keeps nothing: it changed nothing.

    A body that the operation receives is on disk before the transaction begins: SQLite would hold its lock
    for as long as the slowest client sends."""
    operation: Any = run.__self__  # type: ignore[attr-defined]  # ninja's: `run` is a method of it
    may_send = getattr(operation.view_func, "may_send", None)

    @wraps(run)
    def answer(request: ApiRequest, **parts: object) -> HttpResponseBase:
        if may_send is None:
            return once(request, **parts)
        try:
            may_send(request, **parts)
            request.received = receive(request)
        except Exception as error:  # noqa: BLE001  # ninja's handlers know which ones are answers
            refused: HttpResponseBase = operation.api.on_exception(request, error)
            return refused
        with closing(request.received):
            return once(request, **parts)

    def once(request: ApiRequest, **parts: object) -> HttpResponseBase:
        key = request.headers.get(KEY, "")
        if request.method != "POST" or not key:
            return run(request, **parts)
        if len(key) > 200:
            return problem(422, "wrong_key", f"{KEY} has at most 200 characters.")
        digest = digest_of(request)
        try:
            return _first_time(request, key, digest, lambda: run(request, **parts))
        except IntegrityError:
            kept = KeptAnswer.objects.filter(token=request.token, key=key).first()
            if kept is None:
                raise  # of the operation itself
        if kept.request != digest:
            detail = f"This {KEY} was sent with another request. Choose a new one."
            return problem(422, "key_of_another", detail)
        return _again(kept)

    return answer


def digest_of(request: ApiRequest) -> str:
    """sha256 of method, address and body; of the digest of a body that was received."""
    seen = hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode())
    received = getattr(request, "received", None)
    seen.update(received.digest.digest() if received else request.body)
    return seen.hexdigest()


def _first_time(
    request: ApiRequest, key: str, digest: str, run: Callable[[], HttpResponseBase]
) -> HttpResponseBase:
    """Raises IntegrityError where the key is there already."""
    with transaction.atomic():
        kept = KeptAnswer.objects.create(token=request.token, key=key, request=digest)
        response = run()
        if response.status_code >= 400 or not isinstance(response, HttpResponse):
            transaction.set_rollback(response.status_code >= 400)
            return response
        is_large = len(response.content) > LARGEST_KEPT
        if not getattr(request, "shows_secret", False) and not is_large:
            kept.body = response.content
        kept.status = response.status_code
        kept.content_type = response.get("Content-Type", "")
        kept.headers = {name: response[name] for name in ("ETag", "Location") if response.has_header(name)}
        kept.save()
    return response


def _again(kept: KeptAnswer) -> HttpResponse:
    body = bytes(kept.body)
    if kept.status == 0 or (not body and kept.status != 204):
        detail = "This was done when the key was first sent. Its answer, a secret or a long one, is not kept."
        return problem(409, "shown_once", detail)
    headers = {**kept.headers, "Idempotency-Replayed": "true"}
    return HttpResponse(body, status=kept.status, content_type=kept.content_type, headers=headers)


def refuse_stale(request: HttpRequest, etag: str) -> None:
    """Raise Conflict where the request says by If-Match that it is based on another state than this one."""
    wanted = request.headers.get("If-Match", "")
    if wanted and wanted != "*" and etag not in [one.strip() for one in wanted.split(",")]:
        raise Conflict(412, "changed_meanwhile", "Somebody changed this meanwhile. Read it again first.")


@contextmanager
def unless_stale(
    request: HttpRequest, row: Row, etag: Callable[[Row], str], after: QuerySet[Any] | None = None
) -> Iterator[None]:
    """Read the row again and lock it for as long as the block lasts: of two requests that are based on the
    same state, one changes it. after: rows that the change locks too, and others lock before this one. Raises
    Conflict as `refuse_stale` does; Http404 where the row is gone."""
    with transaction.atomic():
        if after is not None:
            list(after.order_by("pk").select_for_update())
        # Votes and imports name the row as their key meanwhile: no_key lets them.
        locked = type(row)._default_manager.select_for_update(no_key=True)
        try:
            row.refresh_from_db(from_queryset=locked)
        except type(row).DoesNotExist:  # type: ignore[attr-defined]  # each model has its own
            raise Http404 from None
        refuse_stale(request, etag(row))
        yield
