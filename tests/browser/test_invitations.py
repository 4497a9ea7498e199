"""From the mail of an invitation to the first vote, by keyboard alone."""

import re
from collections.abc import Callable

import pytest
from django.conf import LazySettings
from django.core import mail
from django.urls import reverse
from playwright.sync_api import Page, expect

from tests.browser.conftest import look
from tests.browser.test_pages import OUT_OF_REACH
from tests.browser.test_two_steps import add_passkey, ann, log_out, with_passkeys
from tests.factories import ComparisonFactory
from tests.web.test_providers import known, provider, register
from workbench.models import Dataset, Judgment, User
from workbench.pipeline.people import invitations
from workbench.worker import tasks

__all__ = ["ann", "provider"]

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MOST_ACTS = 6


@pytest.fixture
def pairs(dataset: Dataset, alice: User) -> Dataset:
    ComparisonFactory.create_batch(3, prompt__dataset=dataset)
    dataset.revise_guidelines("Prefer the careful answer.", alice)
    dataset.consent = "Your votes are published without your name.\n\nYou can stop at any time."
    dataset.save()
    return dataset


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1440, "dark")])
def test_the_first_vote_is_at_most_six_acts_from_the_mail_by_keyboard_alone(
    width: int,
    theme: str,
    pairs: Dataset,
    alice: User,
    open_as: Callable[..., Page],
    live_server,
    accessible: Callable[[Page, str], None],
    picture: Callable[[Page, str], None],
) -> None:
    invitations.invite(pairs, ["dora@example.org"], "annotator", alice, live_server.url)
    tasks.send_invitations(pairs.pk)
    (link,) = re.findall(r"http\S+/join/\S+", mail.outbox[0].body)
    page = open_as(None, viewport={"width": width, "height": 900}, color_scheme=theme)
    acts = []

    def act(name: str, *keys: str, text: str = "") -> None:
        acts.append(name)
        page.keyboard.type(text)
        for key in keys:
            page.keyboard.press(key)

    acts.append("open the link")
    page.goto(link)
    expect(page).to_have_url(re.compile(r"/join/$"))
    accessible(page, "join")
    picture(page, f"join-{width}-{theme}")
    assert page.evaluate(OUT_OF_REACH) == []
    act("name", "Tab", text="dora")
    act("password", "Tab", text="kitchen-lamp-42-river")
    act("agree", "Space")
    act("join", "Enter")
    expect(page.locator("body.has-script .item")).to_be_visible()
    look(page)
    accessible(page, "the first pair")
    picture(page, f"joined-{width}-{theme}")
    act("vote", "1")
    expect(page.locator("#saved")).to_have_text("saved ✓")

    assert len(acts) <= MOST_ACTS
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


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1440, "dark")])
def test_with_a_provider_the_first_vote_is_at_most_six_acts_from_the_link_by_keyboard_alone(
    width: int,
    theme: str,
    pairs: Dataset,
    alice: User,
    open_as: Callable[..., Page],
    provider: str,
    settings: LazySettings,
    accessible: Callable[[Page, str], None],
) -> None:
    register(settings, provider)
    policy = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
    form_action = [*policy["form-action"], provider]
    settings.CONTENT_SECURITY_POLICY = {"DIRECTIVES": policy | {"form-action": form_action}}
    name = f"dora-{width}"
    known(provider, name, f"{name}@example.org")
    invitation = invitations.create_link(pairs, "annotator", alice)
    page = open_as(None, viewport={"width": width, "height": 900}, color_scheme=theme)

    page.goto(f"/join/{invitation.token}")
    accessible(page, "join")
    tab_to(page, "Join with Mock")
    page.keyboard.press("Enter")
    expect(page.get_by_placeholder("sub")).to_be_focused()
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/join/$"))
    accessible(page, "join with an account")
    tab_to(page, "I agree")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.locator("body.has-script .item")).to_be_visible()
    look(page)
    page.keyboard.press("1")
    expect(page.locator("#saved")).to_have_text("saved ✓")

    # Link, provider's button, name there, agree, join, vote.
    assert Judgment.objects.get().annotator.user.email == f"{name}@example.org"


def test_with_a_passkey_the_first_vote_is_at_most_six_acts_from_the_link(
    pairs: Dataset, alice: User, ann: User, open_as: Callable[..., Page]
) -> None:
    invitation = invitations.create_link(pairs, "annotator", alice)
    page = open_as(None, viewport={"width": 390, "height": 900})
    with_passkeys(page)
    add_passkey(page)
    log_out(page)

    page.goto(f"/join/{invitation.token}")
    page.get_by_role("link", name="Log in and join").press("Enter")
    page.get_by_role("button", name="Log in with a passkey").press("Enter")
    page.get_by_label("I agree").press("Space")
    page.get_by_label("I agree").press("Enter")
    expect(page.locator("body.has-script .item")).to_be_visible()
    look(page)
    page.keyboard.press("1")
    expect(page.locator("#saved")).to_have_text("saved ✓")

    assert Judgment.objects.get().annotator.user == ann


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the control of this name has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"
        )
        if focused == name:
            return
    raise AssertionError(f"Tab never reaches {name}")
