"""Messages of several parts as people see them: no part is lost, and no part is HTML."""

import pytest
from playwright.sync_api import Page, expect

from scoring.messages import answer_reading
from tests.browser.conftest import look
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    PromptFactory,
)
from workbench.models import Comparison, Dataset

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"city": "<b>string</b>"}}}]


def call(arguments: str) -> dict:
    return {"type": "function", "id": "c1", "function": {"name": "weather", "arguments": arguments}}


def typed(text: str) -> dict:
    return {"type": "text", "text": text}


PROMPT = [
    {"role": "system", "content": "Use the tools."},
    {"role": "user", "name": "ann", "content": [typed("How warm is it "), typed("in <i>Rome</i>?")]},
    {"role": "assistant", "content": None, "tool_calls": [call('{"city": "Rome", "unit": "c"}')]},
    {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": '{"c": 21}'},
    {"role": "assistant", "content": "Twenty-one degrees."},
    {"role": "user", "content": "And in Oslo?"},
]  # fmt: skip
CALLS = [
    {
        "role": "assistant",
        "content": "One moment.",
        "reasoning_content": "I do not know: <script>alert(1)</script>",
        "tool_calls": [call('{"city": "Oslo", "unit": "c"}')],
    },
    {"role": "tool", "tool_call_id": "c1", "name": "weather", "content": "4"},
    {"role": "assistant", "content": "Four degrees.", "weight": 1},
]
PARTS = ["One moment.", "Call weather", '"city": "Oslo"', "tool (weather)", "Four degrees.", '"weight": 1']


@pytest.fixture
def comparison(dataset: Dataset) -> Comparison:
    prompt = PromptFactory.create(dataset=dataset, messages=PROMPT, tools=TOOLS)
    a = CompletionFactory.create(prompt=prompt, text=answer_reading(CALLS), conversation=CALLS)
    b = CompletionFactory.create(prompt=prompt, text="I can't know.")
    pair = ComparisonFactory.create(prompt=prompt, a=a, b=b)
    for outcome in "ab":
        JudgmentFactory.create(comparison=pair, annotator=AnnotatorFactory.create(), outcome=outcome)
    return pair


def shows_all(page: Page, answer: str, prompt: str) -> None:
    """Every part of the answer, the reasoning when it is unfolded, and what could be called."""
    box = page.locator(answer).filter(has_text="One moment.").first
    for part in PARTS:
        expect(box).to_contain_text(part)
    box.locator("summary", has_text="Reasoning").click()
    expect(box.locator(".reasoning")).to_contain_text("<script>alert(1)</script>")
    expect(box.locator(".reasoning")).to_be_visible()
    question = page.locator(prompt).first
    for part in (
        "user (ann)",
        "How warm is it in <i>Rome</i>?",
        "tool (weather)",
        '{"c": 21}',
        "<b>string</b>",
    ):
        expect(question).to_contain_text(part)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


SIZES = [
    {"viewport": {"width": 1440, "height": 1000}, "color_scheme": "light"},
    {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
]


@pytest.mark.parametrize("size", SIZES, ids=["wide", "narrow"])
def test_an_annotator_sees_every_part_of_a_message(open_as, bob, dataset, comparison, picture, size):
    dataset.overlap = 5
    dataset.save()
    page = open_as(bob, **size)
    page.goto(f"/datasets/{dataset.pk}/annotate/")
    look(page)
    if page.locator("details.earlier:not([open])").count():
        page.locator("details.earlier > summary").first.click()

    picture(page, f"messages-annotate-{size['viewport']['width']}")
    shows_all(page, ".pane [data-text]", ".prompt")


@pytest.mark.parametrize("size", SIZES, ids=["wide", "narrow"])
def test_a_reviewer_and_whoever_looks_at_the_data_see_every_part_of_a_message(
    open_as, rita, dataset, comparison, picture, size
):
    page = open_as(rita, **size)
    page.goto(f"/review/{comparison.pk}/")
    look(page)
    page.locator(".turns > summary").click()
    picture(page, f"messages-review-{size['viewport']['width']}")
    shows_all(page, ".pane .judged-text", "#case .prompt")

    page.goto(f"/datasets/{dataset.pk}/data/")
    for summary in page.locator("article summary:not(.judged-text summary)").all():
        summary.click()
    picture(page, f"messages-data-{size['viewport']['width']}")
    shows_all(page, ".completions .judged-text", ".conversation")


def test_the_diff_is_of_what_is_read(open_as, bob, dataset, comparison):
    dataset.overlap = 5
    dataset.save()
    page = open_as(bob)
    page.goto(f"/datasets/{dataset.pk}/annotate/")
    look(page)

    page.keyboard.press("d")

    marked = page.locator(".pane .judged-text:not([hidden])").filter(has_text="Four degrees.")
    expect(marked).to_contain_text('Call weather: {"city": "Oslo", "unit": "c"}')
