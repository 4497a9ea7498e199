"""Errors as problem documents (RFC 9457): the sentences that the pages show, with field and code.

Without ninja: the middleware answers with them in every web process, also where no program ever comes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import orjson
from django.http import HttpResponse

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with what was sent. line: of the file or of the rows; null where none."""

    message: str
    code: str
    field: str = ""
    line: int | None = None


@dataclass(frozen=True)
class Problem:
    """Why a request was refused. Nothing was changed. code: a word that stays the same; detail: a sentence
    for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[Fault]


class Conflict(Exception):
    """What the request was based on has changed meanwhile, or its body is in a form that nobody reads."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.code = status, code


def problem(
    status: int,
    code: str,
    detail: str,
    faults: Iterable[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    """The answer that says why a request was refused."""
    document = Problem(
        type=f"/help/reference/api/#{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        errors=list(faults),
    )
    return HttpResponse(
        orjson.dumps(document),
        status=status,
        content_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


# A page of an error that Django or a middleware rendered: the same in the form of a problem.
OF_STATUS = {
    400: ("bad_request", "The request cannot be read."),
    405: ("no_such_method", "There is no such operation at this address."),
    403: ("forbidden", "The account may not do this."),
    404: ("not_found", "There is nothing here, or the token does not reach it."),
    413: ("too_large", "The body is larger than this operation takes."),
    416: ("no_such_range", "The file has no such bytes: see Content-Range."),
    500: ("failed", "The workbench failed. Whoever runs it finds the error by the request id."),
    503: ("away", "The database does not answer. Try again in 10 seconds."),
    422: ("wrong_form", "A part of the request has the wrong form."),
    507: ("disk_full", "The disk is full, so nothing was kept. Make room and try again."),
}


def of_page(response: HttpResponse) -> HttpResponse:
    """The problem that an error page means."""
    code, detail = OF_STATUS.get(response.status_code, ("refused", "The request was refused."))
    kept = {
        name: response[name]
        for name in ("Retry-After", "Allow", "Content-Range")
        if response.has_header(name)
    }
    return problem(response.status_code, code, detail, headers=kept)
