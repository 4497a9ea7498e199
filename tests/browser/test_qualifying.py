"""From an invitation through the qualification to the first vote, by keyboard alone; and without a script."""

import re
from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from tests.browser.conftest import look
from tests.browser.test_pages import OUT_OF_REACH
from tests.factories import ComparisonFactory
from workbench.models import Annotator, Dataset, Judgment, QualificationAnswer, QualificationTry, User
from workbench.pipeline.people import invitations

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

WHY = "One answer names the temperature. The other leaves the cook to guess, which the guidelines forbid."


@pytest.fixture
def asks(dataset: Dataset, alice: User) -> Dataset:
    ComparisonFactory.create_batch(3, prompt__dataset=dataset)
    ComparisonFactory.create_batch(6, prompt__dataset=dataset, gold_outcome="a", required=0, gold_note=WHY)
    dataset.revise_guidelines("# What to prefer\n\nPrefer the careful answer.\n\n- with an oven\n" * 9, alice)
    dataset.qualify_pairs, dataset.qualify_share, dataset.qualify_tries = 3, 0.6, 2
    dataset.save()
    return dataset


def key_of_the_known_answer(right: bool = True) -> str:
    shown = QualificationAnswer.objects.get(outcome="")
    return "1" if (shown.left == "a") == right else "2"


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1440, "light")])
def test_the_invitation_leads_through_the_qualification_to_the_first_vote_by_keyboard_alone(
    width: int,
    theme: str,
    asks: Dataset,
    alice: User,
    open_as: Callable[..., Page],
    accessible: Callable[[Page, str], None],
    picture: Callable[[Page, str], None],
) -> None:
    invitation = invitations.create_link(asks, "annotator", alice)
    page = open_as(None, viewport={"width": width, "height": 900}, color_scheme=theme)

    def seen(state: str) -> None:
        accessible(page, state)
        picture(page, f"qualify-{state}-{width}-{theme}")
        assert page.evaluate(OUT_OF_REACH) == []

    page.goto(reverse("join_link", args=[invitation.token]))
    for text in ("dora", "dora@example.org", "kitchen-lamp-42-river"):
        page.keyboard.type(text)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.get_by_role("button", name="Start with 3 pairs")).to_be_focused()
    expect(page.get_by_text("Prefer the careful answer.").first).to_be_in_viewport()
    seen("before")
    page.keyboard.press("Enter")
    for position, is_right in enumerate((True, False, True), 1):
        expect(page.get_by_text(f"pair {position} of 3").first).to_be_visible()
        expect(page.locator(".scale")).to_be_visible()
        look(page)
        if position == 1:
            seen("pair")
        page.keyboard.press(key_of_the_known_answer(is_right))
        expect(page.locator(".verdict .tag")).to_have_text("right" if is_right else "wrong")
        expect(page.get_by_text(WHY)).to_be_visible()
        look(page)
        if position < 3:
            seen("right" if is_right else "wrong")
        page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="You passed: 2 of 3 right")).to_be_visible()
    seen("passed")
    expect(page.get_by_role("link", name="Start with the first pair")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("body.has-script .item")).to_be_visible()
    look(page)
    page.keyboard.press("1")
    expect(page.locator("#saved")).to_have_text("saved ✓")

    assert Judgment.objects.get().annotator.user.username == "dora"
    attempt = QualificationTry.objects.get()
    assert (attempt.right, attempt.passed) == (2, True)
    assert all(row.seconds > 0 for row in attempt.answers.all())


def test_keys_show_guidelines_differences_and_markdown_and_an_unseen_pair_takes_no_answer(
    asks: Dataset, bob: User, open_as: Callable[..., Page], accessible: Callable[[Page, str], None]
) -> None:
    page = open_as(bob)
    page.goto(reverse("annotate", args=[asks.pk]))
    page.get_by_role("button", name="Start with 3 pairs").click()
    expect(page.locator("body.has-script .item")).to_be_visible()
    # In the page, so that both come before anybody can have looked.
    page.evaluate(
        "() => { const key = { key: '1', code: 'Digit1', bubbles: true };"
        "document.body.dispatchEvent(new KeyboardEvent('keydown', key)) }"
    )
    page.keyboard.press("g")
    expect(page.locator("#guidelines")).to_be_visible()
    accessible(page, "guidelines")
    page.keyboard.press("Escape")
    expect(page.locator("#guidelines")).to_be_hidden()
    page.keyboard.press("d")
    expect(page.locator("del").first).to_be_visible()
    page.keyboard.press("d")
    page.keyboard.press("m")
    expect(page.locator("[data-view=markdown]").first).to_be_visible()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    accessible(page, "keys")
    page.keyboard.press("Escape")
    look(page)
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".verdict")).to_be_visible()
    assert QualificationAnswer.objects.count() == 1


def test_without_a_script_each_step_is_a_form(asks: Dataset, bob: User, open_as: Callable[..., Page]) -> None:
    page = open_as(bob, java_script_enabled=False)
    page.goto(reverse("annotate", args=[asks.pk]))
    for _ in range(2):
        page.get_by_role("button", name=re.compile("^Start")).click()
        for _ in range(3):
            page.get_by_role("button", name=re.compile("^Both bad")).click()
            expect(page.get_by_text(WHY)).to_be_visible()
            page.get_by_role("link", name=re.compile("^(Next pair|See your result)")).click()
    expect(page.get_by_role("heading", name="Not passed: 0 of 3 right")).to_be_visible()
    expect(page.get_by_text("An admin can give you another try.")).to_be_visible()


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1440, "dark")])
def test_an_admin_reads_the_tries_and_gives_another(
    width: int,
    theme: str,
    asks: Dataset,
    alice: User,
    bob: User,
    open_as: Callable[..., Page],
    accessible: Callable[[Page, str], None],
    picture: Callable[[Page, str], None],
) -> None:
    voter = Annotator.objects.for_user(bob)
    asks.qualify_tries, asks.qualify_pairs = 1, 10
    asks.save()
    asks.qualification_tries.create(
        annotator=voter, number=1, pairs=3, needed=2, right=1, passed=False, ended_at="2026-11-03T10:00Z"
    )
    page = open_as(alice, viewport={"width": width, "height": 900}, color_scheme=theme)

    page.goto(reverse("settings", args=[asks.pk]))
    page.locator("summary", has_text="Before the first vote").click()
    expect(page.get_by_text("10 are needed, so nobody has to qualify yet.")).to_be_visible()
    picture(page, f"qualify-settings-{width}-{theme}")
    accessible(page, "settings")
    page.goto(reverse("people", args=[asks.pk]))
    picture(page, f"qualify-people-{width}-{theme}")
    page.get_by_role("link", name="not qualified").click()
    page.get_by_label("Why?").fill("A bad day.")
    page.get_by_role("button", name="Give one more try").click()
    expect(page.get_by_text("One more try,")).to_be_visible()
    page.locator("#qualification").scroll_into_view_if_needed()
    picture(page, f"qualify-person-{width}-{theme}")
    accessible(page, "person")
    assert page.evaluate(OUT_OF_REACH) == []
