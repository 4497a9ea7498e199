"""A second step after the password: codes of an app, recovery codes and passkeys."""

import base64
import hashlib
import hmac
import re
import struct
import time

import pytest
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.test import Client

from tests.factories import UserFactory
from tests.web.test_accounts import later
from workbench.models import User

pytestmark = [pytest.mark.django_db, pytest.mark.portable]

RIGHT = "kitchen-lamp-42-river"


@pytest.fixture(autouse=True)
def no_code_was_used():
    cache.clear()


@pytest.fixture
def ann(db) -> User:
    ann = UserFactory.create(username="ann")
    ann.set_password(RIGHT)
    ann.save()
    return ann


def log_in(client: Client | None = None, **meta: str):
    return (client or Client()).post("/login/", {"username": "ann", "password": RIGHT}, **meta)


def code_of(key: str, steps: int = 0) -> str:
    """The code of an app now, and `steps` times 30 seconds later (RFC 6238)."""
    counter = struct.pack(">Q", int(time.time()) // 30 + steps)
    digest = hmac.new(base64.b32decode(key), counter, hashlib.sha1).digest()
    place = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[place : place + 4])[0] & 0x7FFFFFFF) % 10**6:06}"


def with_app(client: Client) -> tuple[str, list[str]]:
    """Add an app to the account of the client: the app's key, and the recovery codes."""
    log_in(client)
    place = client.get("/account/two-steps/app/").headers["Location"]
    page = client.post(place, {"password": RIGHT}, follow=True).content.decode()
    (key,) = re.findall(r"<code>(\w{32})</code>", page)
    codes = client.post("/account/two-steps/app/", {"code": code_of(key, -1)}, follow=True).content.decode()
    return key, re.findall(r"<li><code>(\w+)</code>", codes)


def test_a_login_with_an_app_asks_for_its_code(ann):
    key, _ = with_app(Client())
    browser = Client()

    first = log_in(browser)
    between = browser.get("/")
    second = browser.post(first.headers["Location"], {"code": code_of(key)})

    assert first.headers["Location"] == "/login/code/"
    assert between.headers["Location"].startswith("/login/")
    assert second.headers["Location"] == "/"
    assert browser.get("/").status_code == 200


def test_the_page_asked_for_is_there_after_the_second_step(ann):
    key, _ = with_app(Client())
    browser = Client()

    browser.post("/login/", {"username": "ann", "password": RIGHT, "next": "/help/"})
    second = browser.post("/login/code/", {"code": code_of(key)})

    assert second.headers["Location"] == "/help/"


def test_a_code_works_once(ann):
    key, _ = with_app(Client())
    browser, other = Client(), Client()
    log_in(browser)
    log_in(other)
    code = code_of(key)

    assert browser.post("/login/code/", {"code": code}).status_code == 302
    assert other.post("/login/code/", {"code": code}).status_code == 200


def test_a_recovery_code_logs_in_once(ann):
    _, codes = with_app(Client())
    browser, other = Client(), Client()
    log_in(browser)
    log_in(other)

    assert len(codes) == 10
    assert browser.post("/login/code/", {"code": codes[0]}).status_code == 302
    assert other.post("/login/code/", {"code": codes[0]}).status_code == 200


def test_guesses_of_codes_are_slowed_down_and_a_wait_checks_no_code(ann):
    key, _ = with_app(Client())
    browser = Client()
    log_in(browser)

    statuses = [browser.post("/login/code/", {"code": "000000"}).status_code for _ in range(6)]
    slowed = browser.post("/login/code/", {"code": code_of(key)})

    assert statuses == [200] * 5 + [429]
    assert slowed.status_code == 429
    assert f"Try again in {slowed['Retry-After']} second" in slowed.content.decode()
    later(61)
    assert browser.post("/login/code/", {"code": code_of(key)}).status_code == 302


def test_a_new_login_is_no_fresh_start_for_guesses_of_codes(ann):
    with_app(Client())
    for number in range(5):
        browser = Client(REMOTE_ADDR=f"192.0.2.{number}")
        log_in(browser)
        browser.post("/login/code/", {"code": "000000"})
    last = Client(REMOTE_ADDR="192.0.2.9")
    log_in(last)

    assert last.post("/login/code/", {"code": "000000"}).status_code == 429


def test_a_login_can_be_cancelled_at_the_second_step(ann):
    with_app(Client())
    browser = Client()
    log_in(browser)

    browser.post("/logout/")

    assert browser.get("/login/").status_code == 200
    assert browser.get("/login/code/").headers["Location"] == "/login/"


def test_what_changes_the_login_asks_for_the_password_first(ann):
    browser = Client()
    with_app(browser)
    session = browser.session
    session["account_authentication_methods"] = []  # as five minutes later
    session.save()

    for place in ("app/remove/", "codes/", "codes/new/", "passkeys/add/"):
        answer = browser.get(f"/account/two-steps/{place}")
        assert answer.headers["Location"].startswith("/account/password/?next=")
    assert Authenticator.objects.count() == 2


def test_without_the_app_the_password_logs_in_alone(ann):
    browser = Client()
    with_app(browser)

    browser.post("/account/two-steps/app/remove/")

    assert log_in().headers["Location"] == "/"
    assert not Authenticator.objects.exists()  # recovery codes go with the last of the others


def test_the_secrets_in_the_database_are_sealed(ann):
    key, codes = with_app(Client())

    stored = " ".join(str(row.data) for row in Authenticator.objects.all())

    assert key not in stored
    assert codes[0] not in stored


def test_secrets_are_read_with_the_key_before_too(ann, settings):
    key, _ = with_app(Client())
    browser = Client()
    old, settings.SECRET_KEY = settings.SECRET_KEY, "another" * 10
    settings.SECRET_KEY_FALLBACKS = [old]

    log_in(browser)

    assert browser.post("/login/code/", {"code": code_of(key)}).status_code == 302


def test_the_admin_pages_know_no_other_login(ann):
    User.objects.update(is_staff=True, is_superuser=True)
    with_app(Client())
    browser = Client()

    asked = browser.get("/admin/", follow=True)
    browser.post("/admin/login/", {"username": "ann", "password": RIGHT, "next": "/admin/"})

    assert asked.redirect_chain[-1][0].startswith("/login/?next=")
    assert browser.get("/admin/").status_code == 302


def test_staff_take_the_second_step_from_whoever_lost_it(ann):
    _, codes = with_app(Client())
    staff = Client()
    staff.force_login(
        UserFactory.create(is_staff=True, is_superuser=True), backend="workbench.backends.NameOrMail"
    )
    for row in Authenticator.objects.all():
        page = staff.get(f"/admin/mfa/authenticator/{row.pk}/change/").content.decode()
        staff.post(f"/admin/mfa/authenticator/{row.pk}/delete/", {"post": "yes"})

    assert codes[0] not in page
    assert log_in().headers["Location"] == "/"


def test_a_passkey_that_nobody_has_logs_nobody_in(ann):
    browser = Client()
    options = browser.get("/login/passkey/").json()["publicKey"]

    refused = browser.post("/login/passkey/", {"credential": '{"id": "x"}'})

    assert options["userVerification"] == "required"
    assert refused.headers["Location"] == "/login/"
    assert browser.get("/").status_code == 302
