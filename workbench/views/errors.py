"""The answer where an error ends a request: 503 while the database is away, 507 on a full disk, else 500."""

import sys
import traceback
from contextlib import suppress

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.views.defaults import server_error

from workbench import request_ids
from workbench.db.away import is_database_away, is_disk_full
from workbench.models import ServerError

ROOT = settings.BASE_DIR / "workbench"
RETRY_SECONDS = 10


def failed(request: HttpRequest) -> HttpResponse:
    """The answer to a request that ended in an exception; Django calls it while handling the exception."""
    error = sys.exception()
    if is_disk_full(error):
        ask = "Ask whoever runs this workbench to make room, then send it again."
        return _cannot_now(507, "The disk is full", f"Nothing was kept of what you sent. {ask}")
    if is_database_away(error):
        says = f"The database does not answer. Try again in {RETRY_SECONDS} seconds."
        response = _cannot_now(503, "Not available right now", says)
        response["Retry-After"] = str(RETRY_SECONDS)
        return response
    if error is not None:
        _note(request, error)
    return server_error(request)


def _cannot_now(status: int, title: str, says: str) -> HttpResponse:
    # Rendered without the request: session and account cannot be read.
    page = render_to_string("cannot_now.html", {"title": title, "says": says, "stylesheet": _stylesheet()})
    return HttpResponse(page, status=status, headers={"Cache-Control": "no-store"})


def _note(request: HttpRequest, error: BaseException) -> None:
    """Keep where the error was, for the system page. The log has the rest."""
    frames = traceback.extract_tb(error.__traceback__)
    line = next((f"{f.filename}:{f.lineno}" for f in reversed(frames) if str(ROOT) in f.filename), "")
    where = line.removeprefix(f"{ROOT}/") or "a library"
    view = request.resolver_match.view_name if request.resolver_match else ""
    with suppress(Exception):  # whatever is broken now may break this too, and the answer must be given
        ServerError.objects.create(
            view=view[:100],
            error=f"{type(error).__name__} at {where}"[:300],
            request_id=request_ids.current(),
        )


def _stylesheet() -> str:
    """The URL of the stylesheet; "" where collectstatic has not run."""
    try:
        return static("workbench/base.css")
    except ValueError:
        return ""
