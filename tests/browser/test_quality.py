"""The Quality page in a browser: pictures of both themes, the tables behind them, every width."""

import pytest
from playwright.sync_api import Page, expect

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
    UserFactory,
)
from workbench.models import Dataset
from workbench.pipeline import quality
from workbench.worker import tasks

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def kitchen(dataset: Dataset) -> Dataset:
    """Two people of whom one leans to the left, and a calibrated model that is often right."""
    version = ModelVersionFactory.create(name="reward-1", state="active", temperature=2.0)
    names = ("ann", "a-rather-long-name-for-an-annotator-of-this-kitchen")
    people = [AnnotatorFactory.create(user=UserFactory.create(username=name)) for name in names]
    for n in range(24):
        comparison = ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset))
        SuggestionFactory.create(comparison=comparison, version=version, margin=(1 + n % 3) * (-1) ** n)
        truth, left = "ba"[n % 4 in (0, 2, 3)], "ab"[n % 2]
        for annotator, outcome in zip(people, (truth, left if n % 3 else truth), strict=True):
            JudgmentFactory.create(
                comparison=comparison,
                annotator=annotator,
                outcome=outcome,
                left=left,
                mode="blind",
                seconds=20,
            )
    return dataset


def all_seen(page: Page) -> None:
    """Scroll through, as pictures are fetched when they come into view."""
    for chart in page.locator(".chart img:visible").all():
        chart.scroll_into_view_if_needed()
        expect(chart).to_have_js_property("complete", True)
        assert chart.evaluate("it => it.naturalWidth") > 300


def test_from_nothing_to_figures_with_their_pictures_and_tables(open_as, kitchen, alice, accessible, picture):
    page = open_as(alice)
    page.goto(f"/datasets/{kitchen.pk}/quality/")
    picture(page, "quality-1-empty")
    run = quality.begin_if_stale(kitchen)
    page.reload()
    expect(page.get_by_text("Updating. The figures appear")).to_be_visible()

    tasks.carry_out(run.pk)

    expect(page.get_by_text("Up to date")).to_be_visible(timeout=20_000)
    all_seen(page)
    accuracy = page.get_by_role("region", name="Is the model right?")
    expect(accuracy.get_by_role("img", name="A dot with its interval for reward-1")).to_be_visible()
    expect(accuracy.get_by_role("table").first).to_be_hidden()
    accuracy.get_by_text("Table and method", exact=True).click()
    expect(accuracy.get_by_role("row").filter(has_text="All").first).to_contain_text("% (")
    page.evaluate("window.scrollTo(0, 0)")
    picture(page, "quality-2-light")
    accessible(page)


@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (390, "light")])
def test_pictures_follow_the_theme_and_the_width(open_as, kitchen, alice, picture, width, scheme):
    tasks.carry_out(quality.begin(kitchen).pk)
    page = open_as(alice, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(f"/datasets/{kitchen.pk}/quality/")

    expect(page.locator(f".chart img.on-{scheme}").first).to_be_visible(timeout=20_000)
    all_seen(page)
    shown = page.locator(".chart img:visible").evaluate_all("all => all.map(it => it.src)")
    assert shown
    assert all(f"-{scheme}-" in src for src in shown)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.evaluate("window.scrollTo(0, 300)")
    picture(page, f"quality-3-{scheme}-{width}")

    page.evaluate("window.scrollTo(0, 0)")
    page.locator("[data-theme-toggle]").click()
    other_theme = {"light": "dark", "dark": "light"}[scheme]
    expect(page.locator(f".chart img.on-{other_theme}").first).to_be_visible()
