"""An admin says what a dataset requires and what somebody reads; the annotator gets pairs by it."""

import pytest
from django.core.cache import cache
from django.urls import reverse
from playwright.sync_api import expect

from tests.factories import ComparisonFactory, PromptFactory
from workbench.models import Claim, Dataset
from workbench.worker.tasks import order_queue

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def polish(dataset: Dataset, messages) -> Dataset:
    """Twelve pairs whose rows name Polish, and a view of them."""
    cache.clear()
    for _ in range(12):
        prompt = PromptFactory.create(dataset=dataset, metadata={"reads": "Polish"})
        ComparisonFactory.create(prompt=prompt)
    dataset.views.create(name="All", query="", shared=True)
    return dataset


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
    ],
    ids=["1440 light", "390 dark"],
)
def test_from_a_setting_to_nothing_for_you_to_the_first_pair_by_the_keyboard(
    polish, alice, bob, open_as, accessible, picture, options
):
    width = options.get("viewport", {}).get("width", 1440)
    admin, annotator = open_as(alice, **options), open_as(bob, **options)

    admin.goto(reverse("settings", args=[polish.pk]))
    group = admin.locator("summary", has_text="Who gets which pair")
    group.focus()
    admin.keyboard.press("Enter")
    admin.get_by_label("Metadata key of the language to read").focus()
    admin.keyboard.type("reads")
    accessible(admin, "settings")
    picture(admin, f"assign-settings-{width}")
    admin.keyboard.press("Enter")
    expect(admin.get_by_text("Settings saved.")).to_be_visible()
    order_queue(polish.pk)

    annotator.goto(reverse("annotate", args=[polish.pk]))
    expect(annotator.get_by_text("12 pairs wait for somebody who reads Polish.")).to_be_visible()
    accessible(annotator, "nothing for you")
    picture(annotator, f"assign-nothing-{width}")

    admin.goto(reverse("people", args=[polish.pk]))
    expect(
        admin.get_by_text("12 pairs wait for somebody who reads Polish. Nobody here does.")
    ).to_be_visible()
    accessible(admin, "people")
    picture(admin, f"assign-people-{width}")
    admin.get_by_role("link", name="bob", exact=True).click()
    admin.get_by_label("Languages").focus()
    admin.keyboard.type("Polish, English")
    accessible(admin, "person")
    picture(admin, f"assign-person-{width}")
    admin.keyboard.press("Enter")
    expect(admin.get_by_text("Saved what bob reads, knows and gets.")).to_be_visible()
    assert admin.evaluate("document.documentElement.scrollWidth") <= width

    annotator.get_by_role("link", name="Check again").focus()
    annotator.keyboard.press("Enter")
    expect(annotator.locator("article[data-comparison]").first).to_be_visible()
    assert Claim.objects.filter(annotator__user=bob).exists()
