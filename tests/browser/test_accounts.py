"""Staff look after accounts, and people after their own, in a browser and by keyboard."""

from collections.abc import Callable

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from tests.browser.test_pages import OUT_OF_REACH, SIZES, watch_console
from tests.factories import ComparisonFactory, UserFactory
from workbench.models import Dataset, User

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True), pytest.mark.portable]


@pytest.mark.parametrize(("width", "theme"), SIZES[:2])
def test_staff_make_an_account_hand_over_its_link_and_erase_the_person(
    width: int,
    theme: str,
    open_as: Callable[..., Page],
    accessible: Callable[[Page, str], None],
    picture: Callable[[Page, str], None],
) -> None:
    sam = UserFactory.create(username="sam", is_staff=True)
    page = open_as(sam, viewport={"width": width, "height": 900}, color_scheme=theme)
    errors = watch_console(page)

    def look_at(state: str) -> None:
        accessible(page, state)
        picture(page, f"accounts-{state}-{width}-{theme}")
        assert page.evaluate(OUT_OF_REACH) == []

    page.goto(reverse("home"))
    page.get_by_role("main").get_by_role("link", name="Accounts").click()
    look_at("list")
    page.get_by_label("Name", exact=True).fill("dora")
    page.get_by_label("Name", exact=True).press("Enter")
    page.get_by_role("button", name="Show a link to set a password").click()
    look_at("link")
    link = page.get_by_label("Link to set a password").input_value()
    assert "/password/reset/" in link
    page.get_by_label("Name", exact=True).fill("theodora")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="theodora", exact=True)).to_be_visible()
    look_at("renamed")
    page.get_by_role("button", name="Close account").click()
    look_at("closed")
    page.get_by_role("link", name="Erase theodora").click()
    look_at("erase")
    page.get_by_label("Type the name of the account to confirm").fill("theodora")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The person is erased.")).to_be_visible()
    look_at("erased")

    assert errors == []
    assert not User.objects.filter(username__endswith="dora").exists()


@pytest.mark.parametrize(("width", "theme"), SIZES[:2])
def test_a_member_added_by_name_agrees_by_keyboard_and_is_at_the_first_pair(
    width: int,
    theme: str,
    dataset: Dataset,
    bob: User,
    open_as: Callable[..., Page],
    accessible: Callable[[Page, str], None],
    picture: Callable[[Page, str], None],
) -> None:
    ComparisonFactory.create(prompt__dataset=dataset)
    Dataset.objects.update(consent="Your votes are published without your name.\n\nYou can stop at any time.")
    page = open_as(bob, viewport={"width": width, "height": 900}, color_scheme=theme)

    page.goto(reverse("annotate", args=[dataset.pk]))
    accessible(page, "agree")
    picture(page, f"agree-{width}-{theme}")
    assert page.evaluate(OUT_OF_REACH) == []
    page.get_by_label("I agree").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")

    expect(page.locator("body.has-script .item")).to_be_visible()


@pytest.mark.parametrize(("width", "theme"), SIZES[:2])
def test_a_person_sees_their_logins_and_ends_one(
    width: int,
    theme: str,
    bob: User,
    open_as: Callable[..., Page],
    accessible: Callable[[Page, str], None],
    picture: Callable[[Page, str], None],
) -> None:
    there, here = (open_as(bob, viewport={"width": width, "height": 900}, color_scheme=theme) for _ in "12")
    there.goto(reverse("home"))
    here.goto(reverse("home"))

    here.goto(reverse("account"))
    rows = here.get_by_role("region", name="Logins").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.filter(has_text="this one")).to_contain_text("Chrome on Linux")
    accessible(here, "logins")
    here.get_by_role("region", name="Logins").scroll_into_view_if_needed()
    picture(here, f"logins-{width}-{theme}")
    assert here.evaluate(OUT_OF_REACH) == []
    rows.filter(has_not_text="this one").get_by_role("button").click()
    expect(rows).to_have_count(1)

    there.goto(reverse("home"))
    expect(there.get_by_role("heading", name="Log in")).to_be_visible()
