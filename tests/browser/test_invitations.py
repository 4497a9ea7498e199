"""From the mail of an invitation to the first vote, by keyboard alone."""

import re
from collections.abc import Callable
from email import message_from_bytes, policy

import pytest
from django.conf import LazySettings
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from tests.browser.conftest import look
from tests.browser.test_pages import OUT_OF_REACH
from tests.browser.test_two_steps import add_passkey, ann, log_out, with_passkeys
from tests.factories import ComparisonFactory
from tests.people.test_invitations import Mailbox, mailbox
from tests.web.test_providers import known, provider, register
from tests.web.test_two_steps import RIGHT, code_of, with_app
from workbench.models import Dataset, Judgment, User
from workbench.pipeline.people import invitations
from workbench.worker import tasks

__all__ = ["ann", "mailbox", "provider"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def pairs(dataset: Dataset, alice: User) -> Dataset:
    ComparisonFactory.create_batch(3, prompt__dataset=dataset)
    dataset.revise_guidelines("Prefer the careful answer.", alice)
    dataset.consent = "Your votes are published without your name.\n\nYou can stop at any time."
    dataset.save()
    return dataset


FOCUSED = "(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"


class Journey:
    """The way from a mail to a vote, of somebody who has a keyboard alone. An act is to type, tick or press
    something; Tab only moves."""

    def __init__(self, page: Page, accessible: Callable[[Page, str], None]) -> None:
        self.page = page
        self.accessible = accessible
        self.acts: list[str] = []

    def open_mail(self, address: str, mailbox: Mailbox) -> None:
        """Follow the link of the one mail that the server has taken."""
        ((to, content),) = mailbox.taken
        assert to == address
        html = message_from_bytes(content, policy=policy.default).get_body(["html"]).get_content()
        self.page.goto("about:blank")
        self.page.set_content(html)
        self.accessible(self.page, "mail")
        self.press("Join Kitchen")
        expect(self.page).to_have_url(re.compile(r"/join/$"))
        self.look_at("join")

    def look_at(self, state: str) -> None:
        self.accessible(self.page, state)
        assert self.page.evaluate(OUT_OF_REACH) == []

    def press(self, control: str, key: str = "Enter") -> None:
        self.tab_to(control)
        self.act(control, key)

    def type(self, control: str, text: str) -> None:
        self.tab_to(control)
        self.page.keyboard.type(text)
        self.acts.append(control)

    def act(self, name: str, key: str) -> None:
        self.page.keyboard.press(key)
        self.acts.append(name)

    def tab_to(self, control: str) -> None:
        """Press Tab until the control of this name has the focus."""
        for _ in range(40):
            if self.page.evaluate(FOCUSED) == control:
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab never reaches {control}")

    def agree_and_join(self) -> None:
        """On the page that shows the consent text."""
        self.press("I agree", "Space")
        self.act("join", "Enter")

    def vote(self) -> None:
        """On the first pair, once it can be seen."""
        expect(self.page.locator("body.has-script .item")).to_be_visible()
        look(self.page)
        self.look_at("the first pair")
        self.act("vote", "1")
        expect(self.page.locator("#saved")).to_have_text("saved ✓")


@pytest.fixture
def journey(
    width: int,
    theme: str,
    pairs: Dataset,
    alice: User,
    open_as: Callable[..., Page],
    live_server,
    mailbox: Mailbox,
    accessible: Callable[[Page, str], None],
) -> Callable[[str], Journey]:
    """Invites an address by mail, and gives the journey of whoever reads it."""

    def invite(address: str) -> Journey:
        invitations.invite(pairs, [address], "annotator", alice, live_server.url)
        tasks.send_invitations(pairs.pk)
        page = open_as(None, viewport={"width": width, "height": 900}, color_scheme=theme)
        return Journey(page, accessible)

    return invite


JOURNEYS = pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1440, "dark")])


@JOURNEYS
def test_the_first_vote_is_six_acts_from_the_mail_by_keyboard_alone(
    width: int,
    theme: str,
    journey: Callable[[str], Journey],
    mailbox: Mailbox,
    picture: Callable[[Page, str], None],
) -> None:
    dora = journey("dora@example.org")

    dora.open_mail("dora@example.org", mailbox)
    picture(dora.page, f"join-{width}-{theme}")
    dora.type("Your name here", "dora")
    dora.type("Password", "kitchen-lamp-42-river")
    dora.agree_and_join()
    dora.vote()
    picture(dora.page, f"joined-{width}-{theme}")

    assert dora.acts == ["Join Kitchen", "Your name here", "Password", "I agree", "join", "vote"]
    assert Judgment.objects.get().annotator.user.email == "dora@example.org"


def test_what_is_wrong_stands_at_its_field_and_a_link_that_is_over_says_so(
    pairs: Dataset, alice: User, open_as: Callable[..., Page], accessible: Callable[[Page, str], None]
) -> None:
    invitation = invitations.create_link(pairs, "annotator", alice)
    page = open_as(None, viewport={"width": 320, "height": 900})
    page.goto(reverse("join_link", args=[invitation.token]))

    page.get_by_label("Your name here").fill("alice")
    page.get_by_label("Mail address").fill("dora@example.org")
    page.get_by_label("Password").fill("password1234")
    page.get_by_label("I agree").check()
    page.get_by_role("button", name="Join and vote").click()
    expect(page.get_by_text("The name alice is taken.")).to_be_visible()
    accessible(page, "errors")
    assert page.evaluate(OUT_OF_REACH) == []

    invitations.revoke(invitation)
    page.goto(reverse("join_link", args=[invitation.token]))
    expect(page.get_by_text("This invitation was withdrawn. Ask alice for a new one.")).to_be_visible()
    accessible(page, "closed")


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1440, "light")])
def test_an_admin_invites_and_copies_a_link(
    width: int,
    theme: str,
    pairs: Dataset,
    alice: User,
    open_as: Callable[..., Page],
    accessible: Callable[[Page, str], None],
    picture: Callable[[Page, str], None],
) -> None:
    page = open_as(
        alice,
        viewport={"width": width, "height": 900},
        color_scheme=theme,
        permissions=["clipboard-read", "clipboard-write"],
    )
    page.goto(reverse("people", args=[pairs.pk]))
    page.get_by_role("link", name="Invite people").first.click()
    page.get_by_label("Mail addresses, up to 500").fill("ann@example.org\nnonsense")
    page.get_by_role("button", name="Invite by mail").click()
    expect(page.get_by_text("Line 2: “nonsense” is no mail address.")).to_be_visible()
    page.get_by_label("Skip lines that are no address").check()
    page.get_by_role("button", name="Invite by mail").click()
    expect(page.locator(".invitations")).to_contain_text("ann@example.org")

    page.get_by_role("button", name="Make link").click()
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()

    link = page.evaluate("navigator.clipboard.readText()")
    newest = pairs.invitations.first()
    assert link.endswith(reverse("join_link", args=[newest.token]))
    accessible(page, "invitations")
    picture(page, f"invitations-{width}-{theme}")
    assert page.evaluate(OUT_OF_REACH) == []


@JOURNEYS
def test_with_a_provider_the_first_vote_is_six_acts_from_the_mail_by_keyboard_alone(
    width: int,
    journey: Callable[[str], Journey],
    mailbox: Mailbox,
    provider: str,
    settings: LazySettings,
) -> None:
    """To say there who one is, a name and Enter, is one act: the form is the provider's own, and whoever is
    logged in at the provider never sees it."""
    register(settings, provider)
    directives = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
    form_action = [*directives["form-action"], provider]
    settings.CONTENT_SECURITY_POLICY = {"DIRECTIVES": directives | {"form-action": form_action}}
    name = f"dora-{width}"
    known(provider, name, f"{name}@example.org")
    dora = journey(f"{name}@example.org")

    dora.open_mail(f"{name}@example.org", mailbox)
    dora.press("Join with Mock")
    expect(dora.page.get_by_placeholder("sub")).to_be_focused()
    dora.page.keyboard.type(name)
    dora.act("name there", "Enter")
    expect(dora.page.get_by_text("You are logged in as")).to_be_visible()
    dora.look_at("join with an account")
    dora.agree_and_join()
    dora.vote()

    assert dora.acts == ["Join Kitchen", "Join with Mock", "name there", "I agree", "join", "vote"]
    assert Judgment.objects.get().annotator.user.email == f"{name}@example.org"


@JOURNEYS
def test_with_a_passkey_the_first_vote_is_six_acts_from_the_mail_by_keyboard_alone(
    journey: Callable[[str], Journey], mailbox: Mailbox, ann: User
) -> None:
    user = journey("ann@example.org")
    with_passkeys(user.page)
    add_passkey(user.page)
    log_out(user.page)

    user.open_mail("ann@example.org", mailbox)
    user.press("Log in and join")
    expect(user.page.get_by_role("button", name="Log in with a passkey")).to_be_visible()
    user.look_at("login")
    user.press("Log in with a passkey")
    expect(user.page.get_by_text("You are logged in as ann")).to_be_visible()
    user.look_at("join with an account")
    user.agree_and_join()
    user.vote()

    assert user.acts == [
        "Join Kitchen", "Log in and join", "Log in with a passkey", "I agree", "join", "vote",
    ]  # fmt: skip
    assert Judgment.objects.get().annotator.user == ann


@JOURNEYS
def test_with_a_password_and_a_code_the_first_vote_is_ten_acts_from_the_mail_by_keyboard_alone(
    journey: Callable[[str], Journey], mailbox: Mailbox, ann: User
) -> None:
    """Four more than with a passkey, which is a name, a password and a second step in one press: here the
    name, the password and the code are typed each, and password and code are sent each."""
    key, _ = with_app(Client())
    user = journey("ann@example.org")

    user.open_mail("ann@example.org", mailbox)
    user.press("Log in and join")
    expect(user.page.get_by_role("heading", name="Log in")).to_be_visible()
    user.look_at("login")
    user.type("Name or mail address", "ann")
    user.type("Password", RIGHT)
    user.act("send the password", "Enter")
    expect(user.page.get_by_role("heading", name="Second step")).to_be_visible()
    user.look_at("second step")
    user.type("Code", code_of(key))
    user.act("send the code", "Enter")
    expect(user.page.get_by_text("You are logged in as ann")).to_be_visible()
    user.look_at("join with an account")
    user.agree_and_join()
    user.vote()

    assert user.acts == [
        "Join Kitchen", "Log in and join", "Name or mail address", "Password", "send the password",
        "Code", "send the code", "I agree", "join", "vote",
    ]  # fmt: skip
    assert Judgment.objects.get().annotator.user == ann
