"""How soon a password may be tried again, once many were wrong.

A lock would let anybody lock out anybody else. So nobody waits for what others did for more than a minute, an
address that has not tried yet is never kept waiting, and a browser that has logged in before has a signed
cookie and does not wait at all (the device cookies of OWASP's "Slow Down Online Guessing Attacks").
"""

from datetime import timedelta

from axes.helpers import get_client_ip_address
from axes.models import AccessFailureLog
from django.core.signing import BadSignature
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

WINDOW = timedelta(hours=1)
FREE_OF_ACCOUNT = 10
FREE_OF_ADDRESS = 20
FREE_OF_CHANGE = 5
LONGEST_WAIT = 60
DEVICE_COOKIE = "device"
DEVICE_SALT = "workbench.device"
DEVICE_AGE = 180 * 24 * 60 * 60


def before_login(request: HttpRequest, username: str) -> int:
    """Seconds that this browser waits before `username` may be tried again; 0 = now."""
    if _is_known_device(request, username):
        return 0
    recent = _recent()
    here = recent.filter(ip_address=get_client_ip_address(request))
    return max(
        _wait(recent.filter(username=username), here.filter(username=username), FREE_OF_ACCOUNT),
        _wait(here, here, FREE_OF_ADDRESS),
    )


def before_change(request: HttpRequest) -> int:
    """Seconds that the person who has logged in waits before their old password may be tried again."""
    own = _recent().filter(username=request.user.get_username(), path_info=request.path)
    return _wait(own, own, FREE_OF_CHANGE)


def note_wrong_old_password(request: HttpRequest) -> None:
    """Count a wrong old password; axes counts logins alone."""
    AccessFailureLog.objects.create(
        username=request.user.get_username(),
        ip_address=get_client_ip_address(request),
        path_info=request.path,
        locked_out=False,
    )


def remember_device(request: HttpRequest, response: HttpResponseBase, username: str) -> None:
    """Have the browser say from now on that this account has logged in on it."""
    response.set_signed_cookie(
        DEVICE_COOKIE,
        username,
        salt=DEVICE_SALT,
        max_age=DEVICE_AGE,
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )


def _is_known_device(request: HttpRequest, username: str) -> bool:
    try:
        known = request.get_signed_cookie(DEVICE_COOKIE, None, salt=DEVICE_SALT, max_age=DEVICE_AGE)
    except BadSignature:
        return False
    return known == username


def _recent() -> QuerySet[AccessFailureLog]:
    failures: QuerySet[AccessFailureLog] = AccessFailureLog.objects.filter(
        attempt_time__gte=timezone.now() - WINDOW
    )
    return failures


def _wait(counted: QuerySet[AccessFailureLog], own: QuerySet[AccessFailureLog], free: int) -> int:
    """Doubling with each failure beyond the free ones, from the newest failure of this address's own."""
    newest = own.order_by("-attempt_time").first()
    beyond: int = counted.count() - free
    if newest is None or beyond < 0:
        return 0
    passed: float = (timezone.now() - newest.attempt_time).total_seconds()
    wait: int = min(LONGEST_WAIT, 2 ** min(beyond, 10))
    return max(0, round(wait - passed))
