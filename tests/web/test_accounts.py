"""Logging in and changing a password: guesses are slowed down, and nobody can lock out anybody else."""

from datetime import timedelta

import pytest
from axes.models import AccessFailureLog
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from tests.factories import UserFactory

RIGHT = "kitchen-lamp-42-river"


@pytest.fixture
def ann(db):
    ann = UserFactory.create(username="ann")
    ann.set_password(RIGHT)
    ann.save()
    return ann


def log_in(password, *, name="ann", client=None, **meta):
    return (client or Client()).post("/login/", {"username": name, "password": password}, **meta)


def from_address(number: int) -> dict[str, str]:
    return {"REMOTE_ADDR": f"192.0.2.{number}"}


def later(seconds: int) -> None:
    """Move all attempts so many seconds into the past."""
    for failure in AccessFailureLog.objects.all():
        earlier = failure.attempt_time - timedelta(seconds=seconds)
        AccessFailureLog.objects.filter(pk=failure.pk).update(attempt_time=earlier)


# --- behind proxies -----------------------------------------------------------------------------------------


def address_of(count: int, forwarded: str | None, settings) -> str:
    settings.AXES_IPWARE_PROXY_COUNT = count - 1 if count else None
    settings.AXES_IPWARE_META_PRECEDENCE_ORDER = ["HTTP_X_FORWARDED_FOR" if count else "REMOTE_ADDR"]
    meta = {"REMOTE_ADDR": "172.18.0.2"} | ({"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {})
    log_in("wrong", **meta)
    return AccessFailureLog.objects.latest("pk").ip_address


@pytest.mark.parametrize(
    ("count", "forwarded", "address"),
    [
        (0, None, "172.18.0.2"),
        (0, "203.0.113.9", "172.18.0.2"),  # forged: there is no proxy to set it
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "198.51.100.7, 203.0.113.9", "203.0.113.9"),  # the client's word stands left of the proxy's
        (1, "nonsense, 203.0.113.9", "203.0.113.9"),
        (2, "203.0.113.9, 192.0.2.1", "203.0.113.9"),
        (2, "198.51.100.7, 203.0.113.9, 192.0.2.1", "203.0.113.9"),
    ],
)
def test_the_address_is_the_one_that_the_outermost_proxy_saw(count, forwarded, address, ann, settings):
    assert address_of(count, forwarded, settings) == address


# --- guesses ------------------------------------------------------------------------------------------------


def test_one_address_that_tries_many_accounts_is_slowed_down(ann):
    for number in range(20):
        assert log_in("wrong", name=f"somebody-{number}", **from_address(1)).status_code == 200

    slowed = log_in("wrong", name="somebody-21", **from_address(1))

    assert slowed.status_code == 429
    assert int(slowed["Retry-After"]) >= 1
    assert log_in(RIGHT, **from_address(2)).status_code == 302


def test_many_addresses_that_try_one_account_are_each_slowed_down(ann):
    for number in range(30):
        log_in("wrong", **from_address(number))

    assert {log_in("wrong", **from_address(number)).status_code for number in range(30)} == {429}


def test_the_owner_of_an_account_that_others_guess_logs_in_at_once(ann):
    for number in range(30):
        log_in("wrong", **from_address(number))

    assert log_in(RIGHT, **from_address(200)).status_code == 302


def test_a_browser_that_has_logged_in_before_never_waits_for_others_at_its_address(ann):
    browser = Client()
    assert log_in(RIGHT, client=browser).status_code == 302
    browser.post("/logout/")
    for number in range(25):
        log_in("wrong", name=f"somebody-{number}")

    assert log_in(RIGHT).status_code == 429
    assert log_in(RIGHT, client=browser).status_code == 302


def test_the_cookie_of_one_account_opens_no_other(ann):
    browser = Client()
    log_in(RIGHT, client=browser)
    browser.post("/logout/")
    for number in range(30):
        log_in("wrong", name="bea", **from_address(number))

    assert log_in("wrong", name="bea", client=browser, **from_address(3)).status_code == 429


def test_the_wait_ends_within_a_minute(ann):
    for number in range(60):
        log_in("wrong", name=f"somebody-{number}", **from_address(1))
        later(61)

    assert log_in(RIGHT, **from_address(1)).status_code == 302


def test_a_wait_says_how_long_and_checks_no_password(ann):
    for number in range(20):
        log_in("wrong", name=f"somebody-{number}")

    slowed = log_in(RIGHT)

    assert f"Try again in {slowed['Retry-After']} second" in slowed.content.decode()
    assert "_auth_user_id" not in Client().session


def test_wrong_old_passwords_are_slowed_down_and_keep_nobody_from_logging_in(ann):
    client = Client()
    log_in(RIGHT, client=client)
    new = {"new_password1": "river-lamp-42-kitchen", "new_password2": "river-lamp-42-kitchen"}
    statuses = [client.post("/password/", {"old_password": "wrong"} | new).status_code for _ in range(7)]

    assert statuses == [200] * 5 + [429] * 2
    assert client.post("/password/", {"old_password": RIGHT} | new).status_code == 429
    later(61)
    assert client.post("/password/", {"old_password": RIGHT} | new).status_code == 302
    assert log_in("river-lamp-42-kitchen", **from_address(9)).status_code == 302


def test_old_failures_are_forgotten_after_an_hour(ann):
    for number in range(20):
        log_in("wrong", name=f"somebody-{number}")
    AccessFailureLog.objects.update(attempt_time=timezone.now() - timedelta(hours=2))

    assert log_in(RIGHT).status_code == 302


# --- passwords ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password", ["passwordpassword", "123456789012", "aaaaaaaaaaaa", "qwertyuiopas", "abcabcabcabc"]
)
def test_a_password_that_is_guessed_soon_is_refused(password, ann):
    with pytest.raises(ValidationError):
        validate_password(password, ann)


def test_a_password_made_of_one_s_own_name_is_refused(db):
    bob = UserFactory.create(username="bartholomew", first_name="Zebediah")

    with pytest.raises(ValidationError):
        validate_password("bartholomewzebediah", bob)


@pytest.mark.parametrize("password", [RIGHT, "correct horse battery staple", "x7#Lq9$pT2!v"])
def test_a_password_of_uncommon_words_is_taken(password, ann):
    validate_password(password, ann)


def test_a_very_long_password_is_looked_at_at_once(ann):
    validate_password("one uncommon sentence after another " * 200, ann)
