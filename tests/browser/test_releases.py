"""Taking out in a browser: the preview follows the purpose, and the lines can be copied."""

import random

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from tests.factories import ComparisonFactory, JudgmentFactory
from workbench.models import Release
from workbench.pipeline import releases
from workbench.pipeline.decisions import aggregation, deciding

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def judged(dataset):
    draw = random.Random(3)
    for number in range(40):
        messages = [{"role": "user", "content": f"How do I boil {number} eggs?"}]
        pair = ComparisonFactory.create(prompt__dataset=dataset, prompt__messages=messages)
        for _ in range(2):
            outcome = draw.choices(["a", "b", "tie", "both_bad"], [6, 4, 1, 1])[0]
            JudgmentFactory.create(comparison=pair, outcome=outcome)
    run = deciding.begin_if_stale(dataset, None)
    aggregation.derive(dataset)
    run.state = "done"
    run.started_at = run.created_at
    run.save()
    return dataset


def test_the_preview_follows_the_purpose_and_the_lines_can_be_copied(
    judged, alice, open_as, picture, accessible
):
    release = releases.build(Release(dataset=judged, profiles=["trl-chat", "openrlhf"]))
    page = open_as(alice)

    page.goto(reverse("releases", args=[judged.pk]))
    expect(page.locator("#count")).to_contain_text("pairs.train.jsonl")
    picture(page, "releases")
    accessible(page, "releases")
    page.get_by_label("Spreadsheet").check()
    expect(page.locator("#count")).to_contain_text("pairs.train.csv")
    expect(page.locator(".by-hand")).to_be_hidden()
    page.get_by_label("Other formats").check()
    expect(page.locator(".by-hand")).to_be_visible()

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(reverse("release", args=[release.pk]))
    picture(page, "release")
    accessible(page, "release")
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == releases.lines_of(release.manifest, "trl-chat", "kitchen-1")[0].text


def test_a_slider_narrows_the_release_by_keyboard_and_by_typing(judged, alice, open_as, picture, accessible):
    for number, pair in enumerate(judged.comparisons.select_related("a", "b")):
        for completion in (pair.a, pair.b):
            completion.text = f"{completion.pk} {'long ' * number}"
            completion.save()
    page = open_as(alice)
    page.goto(reverse("releases", args=[judged.pk]))
    page.get_by_text("Filters", exact=True).click()
    shown = page.locator("#count [role=status] b").first
    expect(page.locator("#histogram-length svg")).to_be_visible()
    everything = int(shown.inner_text())

    shortest = page.get_by_label("Shortest answer in characters, slider")
    typed = page.get_by_role("spinbutton", name="Shortest answer in characters")
    shortest.focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    expect(typed).not_to_have_value("")
    limit = int(typed.input_value())
    long_enough = sum(
        min(len(pair.a.text), len(pair.b.text)) >= limit
        for pair in judged.comparisons.filter(
            decisions__is_current=True, decisions__outcome__in="ab"
        ).select_related("a", "b")
    )
    assert 0 < long_enough < everything
    expect(shown).to_have_text(str(long_enough))
    expect(page.locator("#count .reasons")).to_contain_text("Left out by a filter of this release")
    assert shortest.get_attribute("aria-valuetext") == str(limit)
    picture(page, "releases-sliders")
    accessible(page, "releases-sliders")

    typed.fill("")
    typed.press("Tab")
    expect(shown).to_have_text(str(everything))
    assert shortest.input_value() == "0"
    longest = page.get_by_label("Longest answer in characters, slider")
    longest.focus()
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    assert int(longest.input_value()) == 1  # it does not pass the other handle


def test_filters_and_their_histograms_work_without_javascript(judged, alice, open_as):
    page = open_as(alice, java_script_enabled=False)
    page.goto(reverse("releases", args=[judged.pk]))
    page.get_by_text("Filters", exact=True).click()

    expect(page.locator(".handles").first).to_be_hidden()
    page.get_by_role("spinbutton", name="Least agreement in %").fill("60")
    page.get_by_role("button", name="Preview").click()

    expect(page.locator("#histogram-agreement svg")).to_be_attached()
    expect(page.locator("#count .reasons")).to_contain_text("Left out because")
