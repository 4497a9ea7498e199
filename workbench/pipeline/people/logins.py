"""Where a person is logged in: for the list on their own page, by which they end a login.

A row is written at the login, and its time at most once in EVERY by each web process: ordinary requests look
into the memory of their process, and ask the database nothing."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from workbench.models import Login, User
from workbench.pipeline.history.recording import Kind, is_of_interest, record

EVERY = timedelta(minutes=5)
MOST_NOTED = 10_000

BROWSERS = {
    "Edge": r"\bEdg(e|A|iOS)?/",
    "Opera": r"\bOPR/",
    "Samsung Internet": r"\bSamsungBrowser/",
    "Firefox": r"\b(Firefox|FxiOS)/",
    "Chrome": r"\b((Headless)?Chrome|CriOS|Chromium)/",
    "Safari": r"\bSafari/",
}
SYSTEMS = {
    "Android": r"\bAndroid\b",
    "iPhone": r"\biPhone\b",
    "iPad": r"\biPad\b",
    "Windows": r"\bWindows\b",
    "macOS": r"\bMac OS X\b",
    "ChromeOS": r"\bCrOS\b",
    "Linux": r"\bLinux\b",
}
"""By words of a User-Agent; the first that is found, as Edge also calls itself Chrome and Safari."""

_noted: dict[str, float] = {}
"""When this process last noted the login of a session: seconds of a clock, by the key of the session."""


@dataclass(frozen=True)
class Shown:
    """A login as its list shows it."""

    pk: int
    browser: str
    since: datetime
    last_seen: datetime
    is_this: bool


def browser_in_words(agent: str) -> str:
    """ "Firefox on Linux", by the User-Agent of a request."""
    browser = _first(BROWSERS, agent) or "Unknown browser"
    system = _first(SYSTEMS, agent)
    return f"{browser} on {system}" if system else browser


def _first(kinds: dict[str, str], agent: str) -> str:
    return next((name for name, pattern in kinds.items() if re.search(pattern, agent)), "")


def follow(before: str | None, now: str | None, user: User, agent: str) -> None:
    """Note a request of a logged-in person. before, now: keys of the session when the request came, and
    after it: they differ after a login and where Django has given the session a new key."""
    if now is None or (now == before and not _is_due(now)):
        return
    if now != before:
        moved = user.logins.filter(session_key=before or "").update(session_key=now)
        if not moved:
            _forget_ended(user)
    login = Login(user=user, session_key=now, browser=browser_in_words(agent))
    Login.objects.bulk_create(
        [login], update_conflicts=True, unique_fields=["session_key"], update_fields=["last_seen"]
    )
    noted(now)


def noted(session_key: str) -> None:
    """Remember that this process has noted the login."""
    if len(_noted) >= MOST_NOTED:
        _noted.clear()
    _noted[session_key] = monotonic()


def _is_due(session_key: str) -> bool:
    at = _noted.get(session_key)
    return at is None or monotonic() - at >= EVERY.total_seconds()


def _forget_ended(user: User) -> None:
    """Delete what is left of logins whose session is over."""
    open_now = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    user.logins.exclude(session_key__in=open_now).delete()


def of(user: User, this: str | None) -> list[Shown]:
    """The person's logins that are still open, the last seen first. this: key of the session that asks."""
    logins = list(user.logins.all())
    keys = [login.session_key for login in logins]
    sessions = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    # A new password, or a logout everywhere else, ends sessions by this hash.
    hashes = {user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()}
    still_open = {row.pk for row in sessions if row.get_decoded().get(HASH_SESSION_KEY) in hashes}
    return [
        Shown(login.pk, login.browser, login.since, login.last_seen, login.session_key == this)
        for login in logins
        if login.session_key in still_open
    ]


@transaction.atomic
def end(login: Login) -> None:
    """End the session of the login: its next request is one of nobody."""
    SessionStore().delete(login.session_key)
    login.delete()
    if is_of_interest(login.user):
        record(Kind.SESSIONS_ENDED, by=login.user, target=login.user, count=1)
