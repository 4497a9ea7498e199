"""The answer where access.py refuses: somebody may see an object, but not do this to it."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.defaults import permission_denied
from django_htmx.http import HttpResponseClientRedirect

from workbench import access

LOCKED = 423


def refused(request: HttpRequest, exception: Exception) -> HttpResponse:
    """To the text that is to be agreed to; 423 with a sentence for a change of an archived Dataset; else
    403."""
    if isinstance(exception, access.AgreementDue):
        page = reverse("agree", args=[exception.dataset.pk])
        # A part of a page must not be replaced by a page.
        return HttpResponseClientRedirect(page) if "HX-Request" in request.headers else redirect(page)
    if not isinstance(exception, access.Archived):
        return permission_denied(request, exception)
    if request.headers.get("X-Requested-With") == "fetch":
        return JsonResponse({"error": str(exception)}, status=LOCKED)
    return render(request, "423.html", {"why": str(exception)}, status=LOCKED)


def too_many(request: HttpRequest) -> HttpResponse:
    """429 for more requests than allauth's limits allow; a minute frees all of them."""
    response = render(request, "429.html", status=429)
    response["Retry-After"] = "60"
    return response
