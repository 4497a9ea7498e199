"""What every request passes before its view: signs of life, no NUL, no copies of private pages, and whether
its method may change data; and after it: who was seen by which login."""

import logging
from collections.abc import Callable

from django.contrib.auth import SESSION_KEY
from django.core.exceptions import BadRequest
from django.db import Error
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse

from workbench import access, health
from workbench.models import User
from workbench.pipeline.people import logins

Answer = Callable[[HttpRequest], HttpResponseBase]

log = logging.getLogger(__name__)


class SignsOfLife:
    """Answers /healthz and /readyz before any check of host name, scheme or session: a health check calls a
    process by an address of its own."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info == "/healthz":
            return HttpResponse("ok\n", content_type="text/plain", headers={"Cache-Control": "no-store"})
        if request.path_info == "/readyz":
            failures = health.failures()
            report = {"ready": not failures, "failures": failures, "warnings": health.warnings(failures)}
            status = 503 if failures else 200
            return JsonResponse(report, status=status, headers={"Cache-Control": "no-store"})
        return self.get_response(request)


class NoNul:
    """Answers 400 where the path, the query or a cookie holds U+0000, which PostgreSQL refuses in a text."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        query = request.META.get("QUERY_STRING", "")
        if "%00" in query or any(
            "\0" in text for text in (request.path_info, query, *request.COOKIES.values())
        ):
            raise BadRequest("A NUL character in the address or in a cookie.")
        return self.get_response(request)


class PrivatePages:
    """Keeps the pages of logged-in people out of every cache, the browser's included: on a shared machine the
    next person presses Back."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        # In this order: the user cannot be read while the database is away.
        if not response.has_header("Cache-Control") and request.user.is_authenticated:
            response["Cache-Control"] = "private, no-store"
        return response


class SeenLogins:
    """Keeps the list of a person's logins: each new one, its new key, and when it was last seen."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        before = request.session.session_key
        response = self.get_response(request)
        # A page that asks for no session, or was refused by the database, is not the place to begin.
        if request.session.accessed and response.status_code < 500:
            try:
                user_id, user = request.session.get(SESSION_KEY), request.user
                # Not that of a token.
                if user_id and isinstance(user, User) and user_id == str(user.pk):
                    agent = request.headers.get("User-Agent", "")
                    logins.follow(before, request.session.session_key, user, agent)
            except Error:
                # As on a full disk: the page is worth more than the time at which it was seen.
                log.warning("A login could not be noted", exc_info=True)
        return response


class Intents:
    """Tells access.py whether the request may change data: an archived Dataset never changes."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with access.request_by(request.method):
            return self.get_response(request)
