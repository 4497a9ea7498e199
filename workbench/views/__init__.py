from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails


class Request(HttpRequest):
    """A request as HtmxMiddleware hands it on."""

    htmx: HtmxDetails
