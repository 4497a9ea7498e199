"""How soon a password may be tried again after many wrong ones, and a mail of an account asked for again.

A lock would let anybody lock out anybody else. So nobody waits more than a minute because of others; an
address without a wrong password never waits; a browser that has logged in before has a signed cookie and
never waits (device cookies, from OWASP's "Slow Down Online Guessing Attacks").
"""

import unicodedata
from datetime import timedelta

from axes.helpers import get_client_ip_address
from axes.models import AccessFailureLog
from django.core.signing import BadSignature
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils import timezone

from workbench import backends

WINDOW = timedelta(hours=1)
FREE_OF_ACCOUNT = 10
FREE_OF_ADDRESS = 20
FREE_OF_CHANGE = 5
LONGEST_WAIT = 60
DEVICE_COOKIE = "device"
DEVICE_SALT = "workbench.device"
DEVICE_AGE = 180 * 24 * 60 * 60


def name_of_attempt(request: HttpRequest | None, credentials: dict[str, str] | None) -> str:
    """What the failures of a login are counted under, for axes."""
    return _counted((credentials or {}).get("username", ""))


def before_login(request: HttpRequest, typed: str) -> int:
    """Seconds that this browser waits before the name or mail address may be tried again; 0 = now."""
    username = _counted(typed)
    if _is_known_device(request, username):
        return 0
    # Somebody else's slips, in the same office, and what is no guess.
    others = [reverse(name) for name in ("join", "account_reset_password", "account_email")]
    recent = _recent().exclude(path_info__in=others)
    of_address = recent.filter(ip_address=get_client_ip_address(request))
    return max(
        _wait(recent.filter(username=username), of_address.filter(username=username), FREE_OF_ACCOUNT),
        _wait(of_address, of_address, FREE_OF_ADDRESS),
    )


def before_secret(request: HttpRequest, username: str) -> int:
    """Seconds before this account may try its old password, or a code of the second step, again on this page;
    0 = now."""
    failures = _recent().filter(username=username, path_info=request.path)
    return _wait(failures, failures, FREE_OF_CHANGE)


def before_join(request: HttpRequest) -> int:
    """Seconds before somebody at this address may send the page to join again; 0 = now."""
    failures = _recent().filter(ip_address=get_client_ip_address(request), path_info=reverse("join"))
    return _wait(failures, failures, FREE_OF_ADDRESS)


def before_mail(request: HttpRequest, address: str) -> int:
    """Seconds before this page may send a mail to this address again, or any from this network address: one
    to reset a password, or to verify the address; 0 = now. Looks no account up."""
    asked = _recent().filter(path_info=request.path)
    for_address = asked.filter(username=_counted(address))
    from_here = asked.filter(ip_address=get_client_ip_address(request))
    return max(_wait(for_address, for_address, FREE_OF_CHANGE), _wait(from_here, from_here, FREE_OF_ADDRESS))


def note_mail(request: HttpRequest, address: str) -> None:
    """Count a mail that was asked for."""
    note_wrong_secret(request, _counted(address))


def note_refused_join(request: HttpRequest) -> None:
    """Count a page to join that was refused: it says which names and addresses have an account."""
    note_wrong_secret(request, "")


def note_wrong_secret(request: HttpRequest, username: str) -> None:
    """Count a wrong old password or code; axes counts logins alone."""
    AccessFailureLog.objects.create(
        username=username,
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
    if account is None or account == username:
        return account is not None
    # The cookie proves who asks, so the answer tells nobody else whose address this is.
    owner = backends.by_mail(username)
    return owner is not None and owner.username == account


def _counted(typed: str) -> str:
    """One writing of a name as the login form reads it, and of a mail address: spaces and capitals are no
    fresh start."""
    name = unicodedata.normalize("NFKC", typed).strip()
    return name.lower() if "@" in name else name


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
