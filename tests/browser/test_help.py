"""The help as a browser shows it, and the pictures in it: `make pictures` takes them anew."""

import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from playwright.sync_api import Page, expect

from tests.browser.test_pages import OUT_OF_REACH, watch_console
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    ScoreFactory,
    SuggestionFactory,
)
from workbench.models import Dataset, Upload

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SIZES = {"wide": (1440, 900), "middle": (1024, 768), "zoomed": (720, 450), "narrow": (390, 844)}
PAGES = [
    "/help/",
    "/help/how-to/imports/",
    "/help/how-to/vote/",
    "/help/search/?q=import",
    "/help/no/such/page/",
]
MOST_LETTERS = 72

# How many characters each line of the prose has as it is laid out.
LETTERS = """() => [...document.querySelectorAll("article :is(p, li)")].flatMap((element) => {
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const lines = [];
  let last = Infinity;
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    for (let at = 0; at < text.length; at++) {
      const range = document.createRange();
      range.setStart(text, at);
      range.setEnd(text, at + 1);
      const box = range.getBoundingClientRect();
      if (!box.width) continue;
      if (box.left < last) lines.push(0);
      lines[lines.length - 1] += 1;
      last = box.left;
    }
  }
  return lines;
})"""


def test_a_stranger_comes_from_the_login_page_to_the_answer(open_as):
    page = open_as(None)
    page.goto("/login/")

    page.get_by_role("link", name="Read what the workbench does").click()
    page.get_by_role("searchbox", name="Search the help").fill("near duplicate")
    page.keyboard.press("Enter")
    expect(page.locator("mark").first).to_be_visible()
    page.get_by_role("link", name="Near-duplicates").click()

    expect(page.get_by_role("heading", name="Near-duplicates")).to_be_in_viewport()
    assert page.url.endswith("/help/how-to/imports/#near-duplicates")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_a_help_page_is_accessible_at_every_width(path, theme, open_as, accessible, picture):
    page = open_as(None, color_scheme=theme)
    console = watch_console(page)
    page.goto(path)

    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        picture(page, f"help{path.replace('/', '-').partition('?')[0]}{size}-{theme}")
        assert page.evaluate(OUT_OF_REACH) == []
        accessible(page, f"{path} at {width} px")
    assert [line for line in console if "404" not in line] == []


@pytest.mark.parametrize("path", ["/help/tutorial/", "/help/how-to/quality/"])
def test_a_line_of_the_help_has_at_most_72_characters(path, open_as):
    page = open_as(None)
    page.goto(path)

    lines = page.evaluate(LETTERS)

    assert len(lines) > 20
    assert 50 < max(lines) <= MOST_LETTERS


def test_the_headings_of_a_page_are_beside_the_text_where_there_is_room_and_above_it_elsewhere(open_as):
    page = open_as(None)
    page.goto("/help/how-to/imports/")
    headings, text = page.get_by_role("navigation", name="On this page"), page.locator("article")

    beside = headings.bounding_box(), text.bounding_box()
    page.set_viewport_size({"width": 390, "height": 844})
    above = headings.bounding_box(), text.bounding_box()

    assert beside[0]["x"] >= beside[1]["x"] + beside[1]["width"]
    assert above[0]["y"] + above[0]["height"] <= above[1]["y"]


# The pictures

KITCHEN = [
    (
        "How do I keep pasta from sticking together?",
        "Use plenty of salted water at a full boil, and stir in the first two minutes.",
        "Add oil to the water.",
    ),
    (
        "My bread comes out dense. What should I change?",
        "Let it rise longer, until it has doubled. In a cool kitchen that takes two hours or more.",
        "Use more flour and knead it until it is stiff.",
    ),
    (
        "Can I freeze cooked rice?",
        "Yes. Cool it within an hour, freeze it flat in small bags, and use it within a month.",
        "Rice is best fresh. It can be frozen as well.",
    ),
    (
        "What can stand in for an egg in pancakes?",
        "Half a mashed banana, or a spoon of ground linseed in three spoons of water.",
        "Milk.",
    ),
    (
        "How do I know that a pan is hot enough?",
        "Flick in a drop of water: it should dance, and not just hiss.",
        "Wait for five minutes, then begin.",
    ),
    (
        "Why does my soup taste flat?",
        "It mostly lacks acid or salt. Try a squeeze of lemon first, then a pinch of salt.",
        "Cook it for another hour so that the taste comes out.",
    ),
]
LARGEST_PICTURE = 60_000
"""Bytes."""


@pytest.fixture
def help_picture() -> Callable[[Page, str], None]:
    """Save what is on screen as NAME.webp, when PICTURES names a folder: docs/pictures in `make pictures`."""
    folder = os.environ.get("PICTURES")

    def take(page: Page, name: str) -> None:
        if folder:
            Path(folder).mkdir(exist_ok=True)
            page.wait_for_load_state("networkidle")
            browser = page.context.new_cdp_session(page)
            taken = browser.send("Page.captureScreenshot", {"format": "webp", "quality": 82})
            Path(folder, f"{name}.webp").write_bytes(base64.b64decode(taken["data"]))

    return take


@pytest.fixture
def kitchen(dataset: Dataset) -> Dataset:
    """Six questions of a kitchen, scored and voted on; people disagree over two of them."""
    dataset.overlap = 2
    dataset.description = "Questions that cooks ask, each with two answers"
    dataset.save()
    version = ModelVersionFactory.create(name="reward-1", state="active", temperature=1.0)
    people = AnnotatorFactory.create_batch(2)
    for number, (question, better, worse) in enumerate(KITCHEN):
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": question}])
        a, b = (CompletionFactory.create(prompt=prompt, text=text) for text in (better, worse))
        for completion, value in ((a, 1.4 - number / 5), (b, -0.3)):
            ScoreFactory.create(completion=completion, version=version, value=value)
        pair = ComparisonFactory.create(prompt=prompt, a=a, b=b)
        SuggestionFactory.create(comparison=pair, version=version, margin=1.7 - number / 5)
        for annotator, outcome in zip(people, "ab" if number in (1, 3) else "aa", strict=True):
            if number:  # the first is left for whoever annotates
                JudgmentFactory.create(comparison=pair, annotator=annotator, outcome=outcome)
    return dataset


def test_the_pictures_of_the_help_show_the_pages_that_it_explains(
    kitchen, alice, rita, bob, open_as, help_picture
):
    size = {"width": 1000, "height": 620}

    annotating = open_as(bob, viewport=size)
    annotating.goto(f"/datasets/{kitchen.pk}/annotate/")
    expect(annotating.locator("body.has-script .item")).to_be_visible()
    help_picture(annotating, "annotate")

    reviewing = open_as(rita, viewport=size)
    reviewing.goto(f"/datasets/{kitchen.pk}/review/")
    expect(reviewing.locator("#case .prompt")).to_be_visible()
    help_picture(reviewing, "review")

    overview = open_as(alice, viewport=size)
    overview.goto(kitchen.get_absolute_url())
    expect(overview.locator(".loop li")).to_have_count(6)
    help_picture(overview, "overview")

    overview.goto(f"/datasets/{kitchen.pk}/data/")
    expect(overview.locator("article.prompt")).to_have_count(6)
    help_picture(overview, "data")

    rows = b"".join(
        b'{"prompt": "%s", "chosen": "%s", "rejected": "%s"}\n' % tuple(text.encode() for text in row)
        for row in KITCHEN
    )
    upload = Upload.objects.create(
        dataset=kitchen,
        shown_name="kitchen.jsonl",
        path=default_storage.save("uploads/kitchen", ContentFile(rows)),
        size=len(rows),
        sha256=hashlib.sha256(rows).hexdigest(),
        uploaded_by=alice,
    )
    importing = open_as(alice, viewport=size)
    importing.goto(f"/imports/{upload.pk}/")
    expect(importing.locator("#found")).to_contain_text("How do I keep pasta")
    help_picture(importing, "import")

    if folder := os.environ.get("PICTURES"):
        sizes = {file.name: file.stat().st_size for file in Path(folder).glob("*.webp")}
        assert len(sizes) == 5
        assert {name for name, size in sizes.items() if size > LARGEST_PICTURE} == set()
