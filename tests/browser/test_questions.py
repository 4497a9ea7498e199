"""From a flag to the reply that its annotator reads, in Chromium."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import look
from tests.factories import ComparisonFactory, CompletionFactory, PromptFactory
from workbench.models import Comparison, Dataset, Judgment

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SIZES = [{"width": 390, "height": 844}, {"width": 1440, "height": 900}]


@pytest.fixture
def case(dataset: Dataset, alice) -> Comparison:
    """The only pair, for one person."""
    Dataset.objects.update(overlap=1, max_overlap=1)
    dataset.revise_guidelines("Prefer the safe answer.", alice)
    prompt = PromptFactory.create(
        dataset=dataset, messages=[{"role": "user", "content": "How do I cook an egg?"}]
    )
    texts = ("Boil it for ten minutes, then cool it.", "Put it in the microwave.")
    a, b = (CompletionFactory.create(prompt=prompt, text=text) for text in texts)
    return ComparisonFactory.create(prompt=prompt, a=a, b=b)


def wide_as_the_window(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def each_size(page: Page, name: str, picture, accessible) -> None:
    for size in SIZES:
        page.set_viewport_size(size)
        picture(page, f"questions-{name}-{size['width']}")
        accessible(page, f"{name} at {size['width']}")
        assert wide_as_the_window(page), name
    page.set_viewport_size(SIZES[1])


def test_an_annotator_flags_a_reviewer_replies_and_the_annotator_reads_it(
    open_as, case, dataset, bob, rita, picture, accessible
):
    of_bob = open_as(bob)
    of_bob.goto(f"/datasets/{dataset.pk}/annotate/")
    look(of_bob)
    of_bob.keyboard.press("f")
    look(of_bob)
    of_bob.keyboard.press("6")
    of_bob.locator("#flag [name=note]").fill("Is the microwave safe?")
    of_bob.get_by_role("button", name="Send flag").click()
    expect(of_bob.locator(".flag-mark")).to_contain_text("Something else")
    look(of_bob)
    of_bob.keyboard.press("1")
    expect(of_bob.locator("[data-end]")).to_be_visible()
    assert Judgment.objects.filter(annotator__user=bob).count() == 1
    of_bob.get_by_role("link", name="Your questions").first.click()
    expect(of_bob.locator(".question")).to_contain_text("Is the microwave safe?")
    expect(of_bob.locator(".question .tag")).to_have_text(["Open"])

    of_rita = open_as(rita)
    of_rita.goto(f"/review/{case.pk}/")
    look(of_rita)
    of_rita.keyboard.press("v")
    of_rita.locator(".asked summary", has_text="Reply").click()
    each_size(of_rita, "to-reply", picture, accessible)
    of_rita.get_by_label("Reply to bob").fill("No: it may burst.")
    of_rita.get_by_role("button", name="Send reply", exact=True).click()
    expect(of_rita.locator(".asked .reply")).to_have_text("No: it may burst.")
    expect(of_rita.locator(".asked").first).to_contain_text("bob can read this now.")

    of_bob.goto(f"/datasets/{dataset.pk}/annotate/")
    expect(of_bob.locator(".questions-link .tag")).to_have_text("new")
    each_size(of_bob, "mark", picture, accessible)
    of_bob.get_by_role("link", name="Questions new").click()
    expect(of_bob.locator(".question .reply")).to_contain_text("No: it may burst.")
    of_bob.locator(".question summary").click()
    each_size(of_bob, "replied", picture, accessible)
    of_bob.goto(f"/datasets/{dataset.pk}/annotate/")
    expect(of_bob.locator(".questions-link")).to_be_visible()
    expect(of_bob.locator(".questions-link .tag")).to_have_count(0)


def test_an_example_stands_beside_the_annotation_page_once_its_pair_is_settled(
    open_as, case, dataset, bob, rita, picture, accessible
):
    of_rita = open_as(rita)
    of_rita.goto(f"/review/{case.pk}/")
    look(of_rita)
    of_rita.keyboard.press("1")
    of_rita.keyboard.press("Enter")
    expect(of_rita.locator("#rows, .empty").first).to_be_visible()
    of_rita.wait_for_timeout(500)
    of_rita.goto(f"/review/{case.pk}/")
    of_rita.locator(".asked summary", has_text="example").click()
    of_rita.get_by_label("Why is the final label right?").fill("A whole egg bursts in a microwave.")
    of_rita.get_by_role("button", name="Save example").click()
    expect(of_rita.locator(".asked").last).to_contain_text("Annotators see it.")
    each_size(of_rita, "example", picture, accessible)

    of_bob = open_as(bob)
    of_bob.goto(f"/datasets/{dataset.pk}/annotate/")
    expect(of_bob.locator("#guidelines")).to_be_visible()  # as they are new
    expect(of_bob.locator("#guidelines .example")).to_contain_text("A whole egg bursts in a microwave.")
    each_size(of_bob, "beside", picture, accessible)
    of_bob.goto(f"/datasets/{dataset.pk}/annotate/guidelines/")
    each_size(of_bob, "guidelines", picture, accessible)
