"""Which error of an operation is answered with which problem."""

from dataclasses import asdict
from typing import Any

import orjson
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import BaseForm
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError
from ninja.errors import ValidationError as BadRequestParts
from ninja.parser import Parser

from workbench import access
from workbench.api.problems import OF_STATUS, Conflict, Fault, problem
from workbench.pipeline.annotate import answers as votes
from workbench.pipeline.data.fields import BadSelection
from workbench.pipeline.data.search import BadQuery, NotYet
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.scoring import external


class Invalid(Exception):
    """A form that is not valid."""

    def __init__(self, form: BaseForm) -> None:
        super().__init__("invalid")
        self.faults = [
            Fault(
                message=error["message"], code=error["code"] or "invalid", field=name.replace("__all__", "")
            )
            for name, errors in form.errors.get_json_data().items()
            for error in errors
        ]


def of_parts(error: BadRequestParts) -> HttpResponse:
    """422 for a path, query or body of the wrong form."""
    faults = []
    for one in error.errors:
        place, *where = one["loc"]
        # The name of the function's argument says nothing to the sender.
        names = [str(part) for part in where if part != "body"]
        has_no_body = place == "body" and not names and one["type"] == "missing"
        message = "The body is missing: send a JSON object." if has_no_body else one["msg"]
        faults.append(Fault(message=message, code=one["type"], field=".".join(names)))
    first = faults[0] if faults else Fault(message="Not readable", code="unreadable")
    detail = f"{first.field}: {first.message}" if first.field else first.message
    return problem(422, "wrong_form", detail, faults)


def of_form(error: Invalid) -> HttpResponse:
    """422 for values that a form of the pages refuses too."""
    first = error.faults[0]
    return problem(422, "invalid", first.message, error.faults)


class Objects(Parser):
    """Reads bodies of JSON: each is an object, as ninja would look for the attributes of a list."""

    def parse_body(self, request: HttpRequest) -> dict[str, Any]:
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError as error:
            raise HttpError(400, f"The body is not JSON: {error}.") from None
        if not isinstance(body, dict):
            raise HttpError(422, "The body must be a JSON object: {…}.")
        return body


def handle(api: NinjaAPI) -> None:
    """Have the API answer with problems. An error that is not listed here is one of the server's."""

    def answers(status: int, code: str, detail: str = "") -> Any:
        return lambda _request, error: problem(status, code, detail or str(error))

    def of_validation(_request: HttpRequest, error: ValidationError) -> HttpResponse:
        return problem(422, "invalid", error.messages[0])

    def of_http(_request: HttpRequest, error: HttpError) -> HttpResponse:
        # Ninja puts “Cannot parse request body” in the place of what Objects says.
        error = error.__cause__ if isinstance(error.__cause__, HttpError) else error
        return problem(error.status_code, OF_STATUS.get(error.status_code, ("refused", ""))[0], str(error))

    def of_lines(_request: HttpRequest, error: external.BadLines) -> HttpResponse:
        return problem(422, "invalid", str(error), [Fault(**asdict(fault)) for fault in error.faults])

    handlers: dict[type[Exception], Any] = {
        external.BadLines: of_lines,
        HttpError: of_http,
        BadRequestParts: lambda _request, error: of_parts(error),
        Invalid: lambda _request, error: of_form(error),
        Conflict: lambda _request, error: problem(error.status, error.code, str(error)),
        ValidationError: of_validation,
        Http404: answers(404, *OF_STATUS[404]),
        PermissionDenied: answers(403, *OF_STATUS[403]),
        access.OutOfScope: answers(403, "out_of_scope"),
        access.Archived: answers(423, "archived"),
        access.NoVoter: answers(403, "no_voter"),
        access.AgreementDue: answers(403, "agreement_due"),
        Refused: answers(409, "refused"),
        votes.AnsweredBefore: answers(409, "answered_before"),
        votes.AlreadyTold: answers(409, "already_told"),
        votes.NotHandedOut: answers(409, "not_handed_out"),
        votes.NotQualified: answers(409, "must_qualify"),
        votes.Paused: answers(409, "paused"),
        BadSelection: answers(422, "bad_selection"),
        BadQuery: answers(422, "bad_query"),
        NotYet: answers(409, "not_searchable_yet"),
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)
