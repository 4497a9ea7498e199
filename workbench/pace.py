"""How soon a password may be tried again after many wrong ones.

A lock would let anybody lock out anybody else. So nobody waits more than a minute because of others; an
address without a wrong password never waits; a browser that has logged in before has a signed cookie and
never waits (device cookies, from OWASP's "Slow Down Online Guessing Attacks").
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
    of_address = recent.filter(ip_address=get_client_ip_address(request))
    return max(
        _wait(recent.filter(username=username), of_address.filter(username=username), FREE_OF_ACCOUNT),
        _wait(of_address, of_address, FREE_OF_ADDRESS),
    )


def before_change(request: HttpRequest) -> int:
    """Seconds before the logged-in person may try their old password again; 0 = now."""
    failures = _recent().filter(username=request.user.get_username(), path_info=request.path)
    return _wait(failures, failures, FREE_OF_CHANGE)


def note_wrong_old_password(request: HttpRequest) -> None:
    """Count a wrong old password; axes counts logins alone."""
    AccessFailureLog.objects.create(
        username=request.user.get_username(),
        ip_address=get_client_ip_address(request),
        path_info=request.path,
        locked_out=False,
    )


def remember_device(request: HttpRequest, response: HttpResponseBase, username: str) -> None:
    """Give the browser a cookie that says that this account has logged in on it."""
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
        account = request.get_signed_cookie(DEVICE_COOKIE, None, salt=DEVICE_SALT, max_age=DEVICE_AGE)
    except BadSignature:
        return False
    return account == username


def _recent() -> QuerySet[AccessFailureLog]:
    failures: QuerySet[AccessFailureLog] = AccessFailureLog.objects.filter(
        attempt_time__gte=timezone.now() - WINDOW
    )
    return failures


def _wait(counted: QuerySet[AccessFailureLog], timed: QuerySet[AccessFailureLog], free: int) -> int:
    """Seconds left of min(60, 2^(failures - free)), from the newest of the `timed` failures; 0 while
    failures < free."""
    newest = timed.order_by("-attempt_time").first()
    beyond: int = counted.count() - free
    if newest is None or beyond < 0:
        return 0
    passed: float = (timezone.now() - newest.attempt_time).total_seconds()
    wait: int = min(LONGEST_WAIT, 2 ** min(beyond, 10))
    return max(0, round(wait - passed))
