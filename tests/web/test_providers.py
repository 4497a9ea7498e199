"""Logging in by an OpenID Connect provider, which is a real process here."""

import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount
from django.db.models import F
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.conftest import client_of
from tests.factories import UserFactory
from tests.webserver import free_port
from workbench.models import AuditEvent, Dataset, Invitation, User
from workbench.pipeline.people import invitations

pytestmark = [pytest.mark.django_db, pytest.mark.portable]


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    """The address of a provider."""
    port = free_port()
    command = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://localhost:{port}"
    for _ in range(300):
        try:
            requests.get(f"{address}/.well-known/openid-configuration", timeout=5)
            break
        except requests.ConnectionError:
            time.sleep(0.1)
    yield address
    process.terminate()
    process.wait()


@pytest.fixture(autouse=True)
def registered(provider: str, settings) -> None:
    register(settings, provider)


def register(settings, address: str) -> None:
    app = {"provider_id": "mock", "name": "Mock", "client_id": "workbench", "secret": "secret"}
    app["settings"] = {"server_url": address, "oauth_pkce_enabled": True}
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app]}}
    settings.OIDC_PROVIDERS = [{"id": "mock", "name": "Mock", "url": address}]


def known(provider: str, sub: str, address: str, *, verified: bool = True) -> None:
    """Have the provider know somebody."""
    claims = {"email": address, "email_verified": verified}
    requests.put(f"{provider}/users/{sub}", json=claims, timeout=10).raise_for_status()


def asked(browser: Client, sub: str, **form: str) -> str:
    """The address that the provider sends the browser back to, once `sub` has agreed there."""
    there = browser.post("/login/with/mock/", form).headers["Location"]
    back = requests.post(there, data={"sub": sub}, allow_redirects=False, timeout=10).headers["Location"]
    parts = urlsplit(back)
    return f"{parts.path}?{parts.query}"


def name_on(browser: Client) -> str:
    """Who is logged in; "" for nobody."""
    user_id = browser.session.get("_auth_user_id")
    return User.objects.get(pk=user_id).username if user_id else ""


@pytest.fixture
def ann(provider: str) -> User:
    ann = UserFactory.create(username="ann", email="ann@example.org")
    known(provider, "ann-there", "ann@example.org")
    return ann


def test_the_login_page_has_a_button_for_each_provider(db):
    assert "Log in with Mock" in Client().get("/login/").content.decode()


def test_an_account_is_found_by_the_address_that_the_provider_vouches_for(ann):
    browser = Client()

    answer = browser.get(asked(browser, "ann-there", next="/help/"))

    assert answer.headers["Location"] == "/help/"
    assert name_on(browser) == "ann"


def test_a_login_is_asked_for_with_pkce(ann):
    there = Client().post("/login/with/mock/").headers["Location"]

    assert parse_qs(urlsplit(there).query)["code_challenge_method"] == ["S256"]


def test_a_link_of_another_site_begins_no_login(ann):
    page = Client().get("/login/with/mock/")

    assert page.status_code == 200
    assert "Continue to Mock" in page.content.decode()


def test_an_address_that_the_provider_does_not_vouch_for_opens_no_account(ann, provider):
    known(provider, "mallory", "ann@example.org", verified=False)
    browser = Client()

    page = browser.get(asked(browser, "mallory")).content.decode()

    assert name_on(browser) == ""
    assert "Ask whoever runs this workbench for an invitation." in page
    assert not SocialAccount.objects.exists()


def test_the_link_counts_when_the_address_changes_at_the_provider(ann, provider):
    UserFactory.create(username="bob", email="bob@example.org")
    first, second = Client(), Client()
    first.get(asked(first, "ann-there"))
    known(provider, "ann-there", "bob@example.org")

    second.get(asked(second, "ann-there"))

    assert name_on(second) == "ann"
    assert SocialAccount.objects.get().user == ann


def test_staff_unlink_an_account_from_its_provider_and_the_address_counts_again(ann, provider):
    UserFactory.create(username="bob", email="bob@example.org")
    sam = UserFactory.create(username="sam", is_staff=True)
    first, second = Client(), Client()
    first.get(asked(first, "ann-there"))
    known(provider, "ann-there", "bob@example.org")
    place = reverse("accounts_change", args=[ann.pk])

    pages = [client_of(sam).post(place, {"act": "unlink"}, follow=True).content.decode() for _ in "12"]
    second.get(asked(second, "ann-there"))

    assert "ann is linked to no provider any more." in pages[0]
    assert "Nothing was changed: ann is linked to no provider." in pages[1]
    assert name_on(second) == "bob"
    (row,) = AuditEvent.objects.filter(kind="account")
    assert (row.actor, row.target_id, row.fields) == (sam, str(ann.pk), ["provider"])


def test_an_account_that_is_switched_off_stays_closed(ann):
    first, second, third = Client(), Client(), Client()
    first.get(asked(first, "ann-there"))
    User.objects.update(is_active=False)

    page = second.get(asked(second, "ann-there"), follow=True).content.decode()
    SocialAccount.objects.all().delete()
    third.get(asked(third, "ann-there"))

    assert "The account ann is switched off." in page
    assert [name_on(browser) for browser in (second, third)] == ["", ""]


def test_an_answer_of_the_provider_counts_once_and_in_the_browser_that_asked(ann):
    browser, other = Client(), Client()
    back = asked(browser, "ann-there")

    other.get(back)
    browser.get(back)
    browser.post("/logout/")
    page = browser.get(back, follow=True).content.decode()

    assert [name_on(one) for one in (browser, other)] == ["", ""]
    assert "did not log you in. Nothing was changed; try again." in page


def test_nobody_gets_an_account_but_people_of_the_domains_in_the_settings(provider, settings, db):
    settings.OIDC_SIGNUP_DOMAINS = ["example.org"]
    known(provider, "new", "new@example.org")
    known(provider, "stranger", "new@example.com")
    known(provider, "unproven", "other@example.org", verified=False)
    browsers = {sub: Client() for sub in ("new", "stranger", "unproven")}

    for sub, browser in browsers.items():
        browser.get(asked(browser, sub))

    assert [bool(name_on(browser)) for browser in browsers.values()] == [True, False, False]
    assert list(EmailAddress.objects.values_list("email", "verified")) == [("new@example.org", True)]
    assert not User.objects.get().has_usable_password()


@pytest.fixture
def invitation(dataset) -> Invitation:
    return invitations.create_link(dataset, "annotator", UserFactory.create(), domain="example.net")


def join(browser: Client, invitation: Invitation, sub: str) -> str:
    """Open the link and choose the provider there; the page that this leads to."""
    browser.get(f"/join/{invitation.token}", follow=True)
    return browser.get(asked(browser, sub, next="/join/"), follow=True).content.decode()


def test_a_provider_opens_an_account_to_whoever_has_the_link_of_an_invitation(provider, invitation):
    known(provider, "dora-there", "dora@example.net")
    browser = Client()

    page = join(browser, invitation, "dora-there")
    browser.post("/join/")

    assert "Join Kitchen" in page
    assert [member.user.email for member in invitation.dataset.members.all()] == ["dora@example.net"]
    assert invitation.acceptances.get().user.email == "dora@example.net"


@pytest.mark.parametrize("what", ["another domain", "not vouched for", "withdrawn", "used up", "archived"])
def test_a_provider_opens_no_account_to_whom_the_invitation_does_not_fit(what, provider, invitation):
    address = "eve@example.com" if what == "another domain" else "eve@example.net"
    known(provider, f"eve-{what}", address, verified=what != "not vouched for")
    if what == "withdrawn":
        invitations.revoke(invitation)
    if what == "used up":
        Invitation.objects.update(uses=F("max_uses"))
    if what == "archived":
        Dataset.objects.update(archived_at=timezone.now())

    join(Client(), invitation, f"eve-{what}")

    assert not User.objects.filter(email__startswith="eve").exists()


def test_a_login_links_no_account_to_who_is_logged_in(ann, provider):
    known(provider, "mallory", "mallory@example.org")
    browser = Client()
    browser.post("/login/", {"username": "ann", "password": "correct horse battery"})
    assert name_on(browser) == "ann"
    # Once more, and just now: else django-allauth would ask for it before it links anything.
    browser.post("/account/password/", {"password": "correct horse battery"})

    browser.get(asked(browser, "mallory", process="connect"))

    assert not SocialAccount.objects.exists()


def test_a_provider_that_is_away_is_said_on_the_login_page(settings, db):
    register(settings, f"http://localhost:{free_port()}")

    answer = Client().post("/login/with/mock/", follow=True)

    assert "The provider did not answer as it should." in answer.content.decode()
