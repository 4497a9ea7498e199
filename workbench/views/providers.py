"""Logging in by an OpenID Connect provider."""

import logging
from collections.abc import Callable

from allauth.socialaccount.providers.openid_connect import views as oidc
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache
from requests import RequestException

log = logging.getLogger(__name__)


@login_not_required
@never_cache
def provider_login(request: HttpRequest, provider_id: str) -> HttpResponse:
    """POST: on to the provider. GET asks first, as a link of another site must not begin a login."""
    return _answer(oidc.login, request, provider_id)


@login_not_required
@never_cache
def provider_callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Back from the provider, with what proves who somebody is."""
    return _answer(oidc.callback, request, provider_id)


def _answer(
    view: Callable[[HttpRequest, str], HttpResponse], request: HttpRequest, provider_id: str
) -> HttpResponse:
    try:
        return view(request, provider_id)
    except (RequestException, PermissionDenied, KeyError, ValueError) as error:
        # Away, or its answer is not what the standard says: the person can do nothing but try again.
        log.warning("A login by %s failed: %s", provider_id, error)
        messages.error(request, "The provider did not answer as it should. You are not logged in; try again.")
        return redirect("login")
