from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

POLL_SECONDS = 2
STOP_POLLING = 286
"""The status of the answer after which htmx asks no more."""


class Request(HttpRequest):
    """A request as HtmxMiddleware hands it on."""

    htmx: HtmxDetails
