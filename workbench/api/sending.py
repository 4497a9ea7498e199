"""How operations read and answer: forms of the pages, rows by key, streams of rows, files in pieces."""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, TypeVar

import orjson
from django import forms
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict, StreamingHttpResponse, UnreadablePostError
from django.utils.cache import patch_vary_headers
from ninja import Field, Schema
from pydantic import ConfigDict, field_validator
from pydantic_core import PydanticCustomError

from workbench.api.problems import Conflict
from workbench.api.refusals import Invalid
from workbench.upload_handlers import ReceivedFile

NDJSON = "application/x-ndjson"
ROWS_A_READ = 2_000
PIECE = 256 * 1024
_PACKED = ".gz"

M = TypeVar("M", bound=Model)
F = TypeVar("F", bound=forms.BaseForm)
_SEVERAL = (forms.SelectMultiple, forms.CheckboxSelectMultiple)


# --- what is sent -------------------------------------------------------------------------------------------


def form_data(form: type[forms.BaseForm] | forms.BaseForm, values: Mapping[str, object]) -> QueryDict:
    """The values as a browser would send them in this form."""
    # Django gives it to each class of forms; its types do not say so.
    fields = form.base_fields if isinstance(form, type) else form.fields  # type: ignore[attr-defined]
    prefix = getattr(form, "prefix", None)
    data = QueryDict(mutable=True)
    for name, value in values.items():
        if name not in fields or value is None or value is False:
            continue
        key = f"{prefix}-{name}" if prefix else name
        if isinstance(value, list | tuple):
            words = [_written(one) for one in value]
            data.setlist(key, words if isinstance(fields[name].widget, _SEVERAL) else [", ".join(words)])
        else:
            data[key] = "on" if value is True else _written(value)
    return data


def _written(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, float | Decimal):
        return f"{value:f}" if isinstance(value, Decimal) else repr(value)
    return str(value)


def patched(form: forms.BaseForm, changes: Mapping[str, object]) -> QueryDict:
    """The values of an unsent form with these changed, as a browser would send them."""
    now = {name: form[name].value() for name in form.fields}
    return form_data(form, {**now, **changes})


def valid(form: F) -> F:
    """The form. Raises Invalid where it is not valid."""
    if not form.is_valid():
        raise Invalid(form)
    return form


def receive(request: HttpRequest) -> ReceivedFile:
    """The body of the request as a file with its digest, received in pieces: no more than one is in memory.
    Raises Conflict for a body without a length, in an encoding that nobody reads, or that ended early."""
    encoding = request.headers.get("Content-Encoding", "")
    if encoding not in ("", "identity", "gzip"):
        raise Conflict(415, "unknown_encoding", "Send the body as it is, or with Content-Encoding: gzip.")
    if "Transfer-Encoding" in request.headers:
        raise Conflict(411, "no_length", "Send the body with its Content-Length, not in chunks.")
    name = f"body{_PACKED}" if encoding == "gzip" else "body"
    file = ReceivedFile(name, request.content_type or "application/octet-stream", 0, None)
    file.digest = hashlib.sha256()
    try:
        file.size = sum(_pieces_into(file, request))
        file.seek(0)  # what is still in memory is written now
    except BaseException:
        file.close()
        raise
    return file


def _pieces_into(file: ReceivedFile, request: HttpRequest) -> Iterator[int]:
    """The bytes of each piece of the body that was written to the file."""
    expected = int(request.META.get("CONTENT_LENGTH") or 0)
    try:
        while piece := request.read(PIECE):
            file.digest.update(piece)
            file.write(piece)
            expected -= len(piece)
            yield len(piece)
    except UnreadablePostError:
        pass  # the client is gone
    if expected > 0:
        raise Conflict(400, "cut_short", "The body ended before its Content-Length. Nothing was kept.")


def named(file: ReceivedFile, name: str) -> ReceivedFile:
    """The received file under the sender's name, with ".gz" for a body in that encoding."""
    packed = (file.name or "").endswith(_PACKED) and not name.lower().endswith(_PACKED)
    file.name = f"{name}{_PACKED}" if packed else name
    return file


# --- what is answered ---------------------------------------------------------------------------------------


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(map(_has_nul, (*value, *value.values())))
    return isinstance(value, list) and any(map(_has_nul, value))


class Body(Schema):
    """What a program sends. A field that nobody knows is refused, as it may be a slip of the pen; and so is 0
    in the place of false."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @field_validator("*", mode="before")
    @classmethod
    def refuse_nul(cls, value: object) -> object:
        """PostgreSQL stores no NUL character, in a text or in JSON."""
        if _has_nul(value):
            raise PydanticCustomError("null_characters_not_allowed", "Null characters are not allowed.")
        return value


class Asked(Body):
    """What the query of an address says, where all is text. A name that nobody knows is refused."""

    model_config = ConfigDict(strict=False)


class After(Schema):
    """Which rows of a list: those after the key `after`, at most `limit`."""

    after: int = Field(0, ge=0, lt=2**63)
    limit: int = Field(100, ge=1, le=1_000)


class AfterEitherWay(After):
    """The same from either end: with sort=newest, the rows before the key `after`, the latest first."""

    sort: Literal["oldest", "newest"] = "oldest"


def page_of(rows: QuerySet[M], after: After, to: Callable[[M], object], key: str = "pk") -> dict[str, object]:
    """The rows after a key in the order of their keys, or from the newest on: {"items", "next_after"}. Rows
    that come meanwhile move none of them. next_after: what to ask for next; null at the end. key: a field
    that is unique in `rows`, and that grows."""
    if isinstance(after, AfterEitherWay) and after.sort == "newest":
        asked = rows.filter(**{f"{key}__lt": after.after}) if after.after else rows
        ordered = asked.order_by(f"-{key}")
    else:
        ordered = rows.filter(**{f"{key}__gt": after.after}).order_by(key)
    found = list(ordered[: after.limit + 1])
    shown = found[: after.limit]
    more = len(found) > after.limit
    return {"items": [to(row) for row in shown], "next_after": getattr(shown[-1], key) if more else None}


def stream(request: HttpRequest, rows: Iterable[Mapping[str, Any]]) -> StreamingHttpResponse:
    """The rows as JSON lines, gzipped for whoever accepts that."""
    lines = _pieces(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    zipped = "gzip" in request.headers.get("Accept-Encoding", "")
    response = StreamingHttpResponse(_gzipped(lines) if zipped else lines, content_type=NDJSON)
    if zipped:
        response["Content-Encoding"] = "gzip"
    response["Cache-Control"] = "private, no-store"
    patch_vary_headers(response, ["Accept-Encoding", "Authorization"])
    return response


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines in larger pieces: a system call for each would take longer than the rows."""
    held, size = [], 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()


def etag_of(document: object) -> str:
    """A strong ETag: the digest of what a JSON document says."""
    said = orjson.dumps(document, option=orjson.OPT_SORT_KEYS, default=str)
    return f'"{hashlib.sha256(said).hexdigest()[:32]}"'


def created(document: Schema, location: str) -> HttpResponse:
    """201 with what was created, and where it is."""
    text = document.model_dump_json()
    return HttpResponse(text, status=201, content_type="application/json", headers={"Location": location})
