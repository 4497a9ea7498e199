"""The list of one's logins: each is ended by one click, and ordinary requests ask the database nothing."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tests.conftest import client_of
from tests.factories import UserFactory
from workbench.models import AuditEvent, Login, User
from workbench.pipeline.people import logins

pytestmark = pytest.mark.django_db

PASSWORD = "kitchen-lamp-42-river"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.0 Mobile/15E148 Safari/604.1"
)
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"


@pytest.fixture
def ann(db) -> User:
    ann = UserFactory.create(username="ann")
    ann.set_password(PASSWORD)
    ann.save()
    return ann


def logged_in(agent: str = FIREFOX) -> Client:
    client = Client(headers={"User-Agent": agent})
    assert client.post("/login/", {"username": "ann", "password": PASSWORD}).status_code == 302
    return client


def listed(client: Client) -> list[tuple[str, bool]]:
    return [(login.browser, login.is_this) for login in client.get(reverse("account")).context["logins"]]


def is_in(client: Client) -> bool:
    return client.get(reverse("home")).status_code == 200


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        (PHONE, "Safari on iPhone"),
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36 Edg/140.0.0.0",
            "Edge on Windows",
        ),
        (f"Mozilla/5.0 (Linux; Android 15) {CHROME} Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.5.0", "Unknown browser"),
        ("", "Unknown browser"),
    ],
)
def test_a_browser_is_named_in_words(agent, words):
    assert logins.browser_in_words(agent) == words


def test_the_page_lists_ones_own_logins_and_says_which_is_this_one(ann):
    there, here = logged_in(PHONE), logged_in()
    UserFactory.create().logins.create(session_key="other", browser="Opera on Windows")

    assert sorted(listed(here)) == [("Firefox on Linux", True), ("Safari on iPhone", False)]
    assert sorted(listed(there)) == [("Firefox on Linux", False), ("Safari on iPhone", True)]


def test_a_login_that_is_ended_is_out_at_its_next_request(ann):
    there, here, third = logged_in(PHONE), logged_in(), logged_in()
    of_there = Login.objects.get(browser="Safari on iPhone")

    here.post(reverse("login_end", args=[of_there.pk]))

    assert [is_in(client) for client in (there, here, third)] == [False, True, True]
    assert len(listed(here)) == 2


def test_nobody_ends_the_login_of_somebody_else_or_the_one_in_use(ann):
    here = logged_in()
    other = UserFactory.create().logins.create(session_key="other")

    assert here.post(reverse("login_end", args=[other.pk])).status_code == 404
    html = here.post(reverse("login_end", args=[ann.logins.get().pk]), follow=True).content.decode()

    assert "Press Log out to end it." in html
    assert Login.objects.count() == 2


def test_logging_out_and_changing_the_password_leave_no_dead_login_on_the_list(ann):
    here, there, third = logged_in(), logged_in(PHONE), logged_in()
    there.post(reverse("logout"))
    assert len(listed(here)) == 2

    new = {"new_password1": "river-lamp-42-kitchen", "new_password2": "river-lamp-42-kitchen"}
    here.post(reverse("password_change"), {"old_password": PASSWORD, **new})

    assert listed(here) == [("Firefox on Linux", True)]  # though its session is there until it is used
    assert not is_in(third)


def test_a_session_with_a_new_key_is_the_same_login(ann):
    here = logged_in()
    before = Login.objects.get()

    here.post(reverse("log_out_elsewhere"))

    after = Login.objects.get()
    assert (after.pk, after.since) == (before.pk, before.since)
    assert after.session_key == here.session.session_key != before.session_key
    assert listed(here) == [("Firefox on Linux", True)]


def test_an_expired_login_is_not_listed_and_goes_with_the_next_login(ann):
    logged_in(PHONE)
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    here = logged_in()

    assert listed(here) == [("Firefox on Linux", True)]
    assert Login.objects.count() == 1


def statements_of_logins(client: Client) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert is_in(client)
    return [query["sql"] for query in captured if "workbench_login" in query["sql"]]


def test_a_request_notes_the_login_once_in_five_minutes_and_else_asks_nothing(ann, monkeypatch):
    client = logged_in()
    Login.objects.update(last_seen=timezone.now() - timedelta(hours=1))
    assert statements_of_logins(client) == []
    later = logins.monotonic() + logins.EVERY.total_seconds()
    monkeypatch.setattr(logins, "monotonic", lambda: later)

    assert len(statements_of_logins(client)) == 1
    assert statements_of_logins(client) == []

    assert timezone.now() - Login.objects.get().last_seen < timedelta(minutes=1)


def test_another_process_notes_a_login_that_it_sees_for_the_first_time(ann, monkeypatch):
    client = logged_in()
    since = Login.objects.get().since
    monkeypatch.setattr(logins, "_noted", {})

    assert len(statements_of_logins(client)) == 1
    assert Login.objects.get().since == since


def test_a_login_of_before_this_list_appears_with_its_next_request(ann):
    client = Client(headers={"User-Agent": FIREFOX})
    client.force_login(ann, backend="workbench.backends.NameOrMail")
    assert is_in(client)

    assert listed(client) == [("Firefox on Linux", True)]


def test_a_page_is_shown_where_the_login_cannot_be_noted(ann, monkeypatch):
    client = logged_in()

    def fails(*_: object) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(logins, "follow", fails)

    assert is_in(client)


def test_a_page_for_everybody_asks_for_no_login(db):
    with CaptureQueriesContext(connection) as captured:
        answer = Client().get(reverse("help_picture", args=["annotate.webp"]))

    assert answer.status_code == 200
    assert len(captured) == 0


def test_an_ended_login_is_a_row_of_staff_and_none_of_annotators(ann):
    here = logged_in()
    for is_staff in (False, True):
        User.objects.update(is_staff=is_staff)
        other = client_of(User.objects.get())
        other.get(reverse("home"))
        login = User.objects.get().logins.create(session_key=f"{is_staff}")
        here.post(reverse("login_end", args=[login.pk]))

    (row,) = AuditEvent.objects.filter(kind="sessions_ended")
    assert (row.actor, row.count) == (ann, 1)
