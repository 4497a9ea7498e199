"""The answer where access.py refuses: somebody may see an object, but not do this to it."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.defaults import permission_denied

from workbench import access

LOCKED = 423


def refused(request: HttpRequest, exception: Exception) -> HttpResponse:
    """423 with a sentence for a change of an archived Dataset, else 403."""
    if not isinstance(exception, access.Archived):
        return permission_denied(request, exception)
    if request.headers.get("X-Requested-With") == "fetch":
        return JsonResponse({"error": str(exception)}, status=LOCKED)
    return render(request, "423.html", {"why": str(exception)}, status=LOCKED)
