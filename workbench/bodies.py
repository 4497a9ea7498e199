"""How large the body of a request may be, and who may send files: decided before a byte of it is read."""

from collections.abc import Callable
from typing import TypeVar

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render
from django.urls import Resolver404, resolve

from workbench import access
from workbench.models import Role
from workbench.upload_handlers import Receiver

MEGABYTE = 2**20
USUAL_BODY = MEGABYTE
LONG_TEXT = 10 * MEGABYTE

View = TypeVar("View", bound=Callable[..., HttpResponseBase])
Answer = Callable[[HttpRequest], HttpResponseBase]


def takes_long_text(view: View) -> View:
    """Mark a view whose body may be 10 MB."""
    view.body_limit = LONG_TEXT  # type: ignore[attr-defined]
    return view


def takes_files(view: View) -> View:
    """Mark a view that admins of the Dataset `pk` send files to, up to UPLOAD_MAX_BYTES."""
    view.takes_files = True  # type: ignore[attr-defined]
    return view


class BoundedBodies:
    """Refuses a body that is too large for its view, and files from people who may not send any, before it
    reads a byte. Must run before the CSRF check, which parses any body.

    Django does not read a body without a length (chunked)."""

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        length = _length(request)
        if length <= 0:
            return self.get_response(request)
        if request.path_info.startswith("/api/"):
            is_file = request.content_type != "application/json"
            return self._within(request, length, settings.UPLOAD_MAX_BYTES if is_file else LONG_TEXT)
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return self._within(request, length, USUAL_BODY)
        if getattr(match.func, "takes_files", False):
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            access.dataset_for(request.user, match.kwargs["pk"], Role.ADMIN)
            request.upload_handlers = [Receiver(request)]
            return self._within(request, length, settings.UPLOAD_MAX_BYTES)
        return self._within(request, length, getattr(match.func, "body_limit", USUAL_BODY))

    def _within(self, request: HttpRequest, length: int, limit: int) -> HttpResponseBase:
        # Only people who have logged in may send a body that takes long to receive.
        if length > limit or (length > USUAL_BODY and not request.user.is_authenticated):
            return render(request, "413.html", {"limit": limit // MEGABYTE}, status=413)
        return self.get_response(request)


def _length(request: HttpRequest) -> int:
    """Bytes of the body; 0 where the length is no number, for which Django reads nothing."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0
