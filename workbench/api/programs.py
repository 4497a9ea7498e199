"""What each request of a program passes before it comes to an operation: whose token it has, and how often it
may ask. In every web process, so nothing here loads the operations."""

import threading
from collections.abc import Callable
from datetime import timedelta
from time import time

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from workbench import access
from workbench.api.problems import of_page, problem
from workbench.models import Token

OPEN = "/api/v1/openapi.json"
ADDRESSES = "workbench.api_urls"

Answer = Callable[[HttpRequest], HttpResponseBase]


class Problems:
    """Answers programs with a problem document where people get the page of an error."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        is_page = response.get("Content-Type", "").startswith("text/html")
        if response.status_code >= 400 and is_page and request.path_info.startswith("/api/"):
            return of_page(response)  # type: ignore[arg-type]
        return response


class Programs:
    """Lets a request to the API in by its token alone: a session of a browser counts for nothing here, so no
    other site can act by it."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith("/api/"):
            return self.get_response(request)
        request.urlconf = ADDRESSES  # type: ignore[attr-defined]
        request.user = AnonymousUser()
        if request.path_info == OPEN:
            return self.get_response(request)
        secret = request.headers.get("Authorization", "")
        token = Token.objects.by_secret(secret[7:].strip()) if secret[:7].lower() == "bearer " else None
        now = timezone.now()
        if token is None or not token.is_usable(now):
            return problem(401, *_why_not(token), headers={"WWW-Authenticate": "Bearer"})
        if wait := _pace.seconds_to_wait(token):
            most = f"{settings.API_REQUESTS_A_MINUTE:,}"
            detail = f"A token may send {most} requests in a minute. Wait {wait} s."
            return problem(429, "too_many", detail, headers={"Retry-After": str(wait)})
        if token.last_used_at is None or now - token.last_used_at > timedelta(minutes=1):
            Token.objects.filter(pk=token.pk).update(last_used_at=now)
        request.user = token.user
        request.token = token  # type: ignore[attr-defined]
        with access.limited_to(access.Limits.of(token)):
            return self.get_response(request)


def _why_not(token: Token | None) -> tuple[str, str]:
    if token is None:
        return "no_token", "Send a token of this workbench: “Authorization: Bearer pw_…”."
    if token.revoked_at:
        return "revoked", f"The token {token} was revoked. Make another on the page of your account."
    if not token.user.is_active:
        return "ended", "The account of this token is closed."
    return "expired", f"The token {token} has expired. Make another on the page of your account."


class _Pace:
    """Lets each token send API_REQUESTS_A_MINUTE requests in a minute of the clock, over all processes.

    A process takes requests from the row of the token some at a time, A_TAKE of the limit, and gives them out
    by itself: a write for each would cost more than most reads. What a process has taken and nobody asks it
    for is lost to the minute, so with many processes a token may get up to so much less each, never more."""

    A_TAKE = 1 / 24

    def __init__(self) -> None:
        self._left: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def seconds_to_wait(self, token: Token) -> int:
        """Seconds until the token may ask again; 0 = now, and this request is counted."""
        most = settings.API_REQUESTS_A_MINUTE
        if not most:
            return 0
        minute, second = divmod(int(time()), 60)
        if self._one_of_the_taken(token.digest, minute):
            return 0
        some = max(1, int(most * self.A_TAKE))
        if not Token.objects.take(token.pk, minute, some, most):
            return 60 - second
        with self._lock:
            self._left = {digest: kept for digest, kept in self._left.items() if kept[0] == minute}
            # Another thread may have taken some as well.
            left = self._left.get(token.digest, (minute, 0))[1]
            self._left[token.digest] = (minute, left + some - 1)
        return 0

    def _one_of_the_taken(self, digest: str, minute: int) -> bool:
        with self._lock:
            of, left = self._left.get(digest, (0, 0))
            if of != minute or not left:
                return False
            self._left[digest] = (minute, left - 1)
            return True


_pace = _Pace()
