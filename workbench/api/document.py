"""The OpenAPI document, with the problems that every operation may answer with."""

from functools import cache
from typing import Any

import orjson
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from workbench.api.problems import MEDIA_TYPE, Problem

_OF_ALL = {
    "401": "No token, or one that has ended",
    "403": "The account or the token may not do this",
    "404": "Nothing here, or nothing that the token reaches",
    "409": "Refused: see `detail`",
    "429": "More requests in a minute than one token may send; see Retry-After",
}
_OF_CHANGES = {
    "413": "The body is too large",
    "423": "The dataset is archived",
}
_OF_PARTS = {"400": "Not readable", "422": "A part of the request is not valid: see `errors`"}
_KEY = {
    "in": "header",
    "name": "Idempotency-Key",
    "required": False,
    "description": "A word of your own: sent again with it, a request is answered as before, for 48 hours.",
    "schema": {"type": "string", "maxLength": 200},
}
_IF_MATCH = {
    "in": "header",
    "name": "If-Match",
    "required": False,
    "description": "The ETag of what the change is based on: 412 where somebody changed it meanwhile.",
    "schema": {"type": "string"},
}
_GUARDED = ("change_person_role", "set_gold")
"""Operations that take If-Match too, though they are no PATCH."""


@cache
def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document of all operations."""
    # Megabytes that a process of pages alone does not need.
    from pydantic import TypeAdapter

    from workbench.api.operations import api

    schema = dict(api.get_openapi_schema(path_prefix="/api/v1/"))
    written: dict[str, Any] = orjson.loads(orjson.dumps(schema, default=str, option=orjson.OPT_NON_STR_KEYS))
    schemas = written["components"].setdefault("schemas", {})
    problem = TypeAdapter(Problem).json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path in written["paths"].values():
        for method, operation in path.items():
            possible = _OF_ALL | _OF_PARTS | ({} if method == "get" else _OF_CHANGES)
            if method == "patch" or operation["operationId"] in _GUARDED:
                possible = possible | {"412": "Changed meanwhile"}
                operation["parameters"].append(_IF_MATCH)
            if method == "post":
                operation["parameters"].append(_KEY)
            for status, words in possible.items():
                operation["responses"].setdefault(status, {"description": words, "content": content})
            operation["responses"]["414"] = {"description": "The address is longer than 8,190 bytes"}
    return written


@login_not_required
@require_safe
def openapi(request: HttpRequest) -> HttpResponse:
    """The document, for everybody: it says nothing of this installation."""
    return HttpResponse(orjson.dumps(document()), content_type="application/json")
