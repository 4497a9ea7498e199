"""Passkeys and codes in a real browser, whose passkeys are kept by a virtual authenticator."""

import re

import pytest
from django.core.cache import cache
from playwright.sync_api import Page

from tests.browser.test_pages import OUT_OF_REACH, watch_console
from tests.factories import UserFactory
from tests.web.test_two_steps import RIGHT, code_of
from workbench.models import User

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.portable]


@pytest.fixture
def ann(transactional_db) -> User:
    cache.clear()
    ann = UserFactory.create(username="ann")
    ann.set_password(RIGHT)
    ann.save()
    return ann


def with_passkeys(page: Page) -> None:
    """Give the browser a place for passkeys that says yes to each question."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def log_in(page: Page) -> None:
    page.goto("/login/")
    page.get_by_label("Name or mail address").fill("ann")
    page.get_by_label("Password").fill(RIGHT)
    page.get_by_role("button", name="Log in", exact=True).click()


def log_out(page: Page) -> None:
    page.get_by_role("button", name="Account of ann").click()
    page.get_by_role("button", name="Log out").click()


def add_passkey(page: Page) -> None:
    """Log in, and add a passkey."""
    log_in(page)
    page.goto("/account/two-steps/")
    page.get_by_role("link", name="Add passkey").click()
    page.get_by_label("Password").fill(RIGHT)
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Add passkey").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()


def test_a_passkey_is_the_second_step_and_a_login_of_its_own(ann, open_as, accessible, picture):
    page = open_as(None, viewport={"width": 390, "height": 900})
    errors = watch_console(page)
    with_passkeys(page)
    log_in(page)
    page.goto("/account/two-steps/")
    page.get_by_role("link", name="Add passkey").click()
    page.get_by_label("Password").fill(RIGHT)
    page.get_by_role("button", name="Continue").click()
    accessible(page, "add")
    picture(page, "two-steps-add-passkey")
    page.get_by_role("button", name="Add passkey").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()
    page.goto("/account/two-steps/")
    accessible(page, "index")
    picture(page, "two-steps-index")

    log_out(page)
    log_in(page)
    page.get_by_role("heading", name="Second step").wait_for()
    accessible(page, "second step")
    picture(page, "two-steps-second-step")
    page.get_by_role("button", name="Use a passkey").click()
    page.get_by_role("button", name="Account of ann").wait_for()
    log_out(page)
    page.get_by_role("button", name="Log in with a passkey").click()
    page.get_by_role("button", name="Account of ann").wait_for()

    assert errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_page_of_two_steps_is_accessible_and_within_the_content_policy(
    theme, ann, open_as, accessible, picture
):
    page = open_as(None, viewport={"width": 320, "height": 900}, color_scheme=theme)
    errors = watch_console(page)
    log_in(page)

    def look_at(place: str) -> None:
        page.goto(place)
        accessible(page, place)
        picture(page, f"two-steps{place.replace('/', '-')}{theme}")
        assert page.evaluate(OUT_OF_REACH) == []

    page.goto("/account/two-steps/app/")
    page.get_by_label("Password").fill(RIGHT)
    page.get_by_role("button", name="Continue").click()
    look_at("/account/two-steps/app/")
    (key,) = re.findall(r"<code>(\w{32})</code>", page.content())
    page.get_by_label("Code of the app").fill(code_of(key))
    page.get_by_role("button", name="Turn on two-step login").click()
    page.get_by_role("heading", name="Recovery codes").wait_for()
    for place in ("", "codes/", "codes/new/", "app/remove/", "code/"):
        look_at(f"/account/two-steps/{place}")
    look_at("/account/mail/")

    assert errors == []
