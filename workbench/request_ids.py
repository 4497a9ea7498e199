"""The id of a request, from the browser to the logs of web and workers: so that one click can be followed
through all processes. An id says nothing of a person or an item."""

import logging
import re
import uuid
from collections.abc import Callable

from celery import Task
from celery.signals import task_postrun, task_prerun
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from workbench.origin import request_id as _now

HEADER = "X-Request-ID"
IN_MESSAGE = "workbench_request_id"
"""The header of a message to a worker."""

_FORM = re.compile(r"[A-Za-z0-9_-]{8,64}")


def current() -> str:
    """The id of the request that this thread works for; "" for none."""
    return _now.get()


class RequestIds:
    """Gives each request an id, or keeps the id that a proxy or a client gave it, and answers with it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        given = request.headers.get(HEADER, "")
        # Anything else could forge lines of a log.
        name = given if _FORM.fullmatch(given) else uuid.uuid4().hex
        token = _now.set(name)
        try:
            response = self.get_response(request)
        finally:
            _now.reset(token)
        response[HEADER] = name
        return response


class WithRequestId(logging.Filter):
    """Sets `request_id` of each line, "-" for a line that belongs to no request."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = current() or "-"
        return True


def headers() -> dict[str, str]:
    """The headers of a message that carries on the work of this request."""
    return {IN_MESSAGE: current()} if current() else {}


@task_prerun.connect
def _begin(task: Task, **_: object) -> None:
    given = (task.request.headers or {}).get(IN_MESSAGE, "")
    _now.set(given if _FORM.fullmatch(str(given)) else "")


@task_postrun.connect
def _end(**_: object) -> None:
    _now.set("")
