from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.middleware import HtmxDetails

POLL_SECONDS = 2
STOP_POLLING = 286
"""The status of the answer after which htmx asks no more."""


class Request(HttpRequest):
    """A request as HtmxMiddleware hands it on."""

    htmx: HtmxDetails


def page_to_return_to(request: HttpRequest) -> str:
    """The page of this site that `next` names, "" for none: where somebody came from."""
    page = request.POST.get("next") or request.GET.get("next", "")
    return page if page.startswith("/") and url_has_allowed_host_and_scheme(page, allowed_hosts=None) else ""
