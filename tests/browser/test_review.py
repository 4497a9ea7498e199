"""A reviewer at work in Chromium, by keyboard alone."""

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect

from tests.browser.conftest import look
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
    UserFactory,
)
from workbench.models import Comparison, Dataset, Decision, User
from workbench.pipeline.review import decide

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def kitchen(dataset: Dataset) -> Dataset:
    """Three disagreements, told apart by their prompts: the first, the second and the third of the queue."""
    version = ModelVersionFactory.create(state="active")
    people = AnnotatorFactory.create_batch(2)
    for n, name in enumerate(["first", "second", "third"]):
        messages = [{"role": "user", "content": f"The {name} question?"}]
        prompt = PromptFactory.create(dataset=dataset, messages=messages)
        texts = ("Boil it for ten minutes.", "Boil it for two minutes only.")
        a, b = (CompletionFactory.create(prompt=prompt, text=text) for text in texts)
        comparison = ComparisonFactory.create(prompt=prompt, a=a, b=b)
        for annotator, outcome in zip(people, "ab", strict=True):
            JudgmentFactory.create(comparison=comparison, annotator=annotator, outcome=outcome)
        SuggestionFactory.create(comparison=comparison, version=version, margin=3.0 - n)
    return dataset


def shows(page: Page, name: str) -> None:
    """And has been on screen for long enough to be answered."""
    is_open(page, name)
    look(page)


def is_open(page: Page, name: str) -> None:
    expect(page.locator("#case .prompt")).to_contain_text(f"The {name} question?")


def choose(page: Page, answer: str) -> None:
    page.locator(".choice", has_text=answer).click()


def right_of(comparison: Comparison, user: User) -> str:
    return "b" if decide.left_of(comparison, user) == "a" else "a"


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_a_reviewer_settles_by_keyboard_sees_the_votes_after_her_own_and_undoes(
    open_as, kitchen, rita, picture
):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")
    expect(page.locator("#others table").first).to_be_hidden()
    picture(page, "review-1-closed")

    press(page, "1")
    expect(page.locator("#others table").first).to_be_visible()
    picture(page, "review-2-said")
    press(page, "s")
    page.wait_for_timeout(300)
    assert not Decision.objects.exists()
    press(page, "Enter")

    shows(page, "second")
    expect(page.locator("#rows .settled")).to_have_count(1)
    press(page, "4", "Enter")
    shows(page, "third")
    expect(page.locator("#rows .settled")).to_have_count(2)
    picture(page, "review-3-settled")

    press(page, "u")
    shows(page, "second")
    expect(page.locator("#rows .settled")).to_have_count(1)
    expect(page.locator("#status")).to_contain_text("Undone")
    first = Comparison.objects.first()
    settled = Decision.objects.current().get()
    assert (settled.comparison, settled.reason, settled.decided_by) == (first, "slip", rita)
    assert settled.outcome == settled.blind_outcome == decide.left_of(first, rita)


def test_a_side_chosen_with_the_mouse_shows_the_votes_and_settles_nothing(open_as, kitchen, rita, picture):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")

    choose(page, "Tie")
    expect(page.locator("#others table").first).to_be_visible()
    page.wait_for_timeout(300)
    assert not Decision.objects.exists()
    choose(page, "Right")
    press(page, "Enter")
    shows(page, "second")

    settled = Decision.objects.get()
    assert (settled.outcome, settled.blind_outcome) == (right_of(Comparison.objects.first(), rita), "tie")


def test_the_votes_can_be_read_before_the_choice(open_as, kitchen, rita):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")

    press(page, "v")
    expect(page.locator("#others table").first).to_be_visible()
    press(page, "3", "Enter")
    shows(page, "second")

    assert [(d.outcome, d.blind_outcome) for d in Decision.objects.all()] == [("tie", "")]


def test_keys_walk_through_the_queue_and_a_note_takes_letters_as_letters(open_as, kitchen, rita):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")

    press(page, "j")
    shows(page, "second")
    press(page, "j")
    shows(page, "third")
    press(page, "k")
    shows(page, "second")
    page.go_back()
    shows(page, "third")
    page.go_back()
    shows(page, "second")
    press(page, "3", "n")
    page.keyboard.type("much ado, x 1")
    press(page, "Enter")
    shows(page, "third")

    decision = Decision.objects.current().get()
    assert (decision.outcome, decision.note) == ("tie", "much ado, x 1")


def test_nothing_is_settled_before_an_answer_is_chosen(open_as, kitchen, rita):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    look(page)

    press(page, "Enter", "m", "Enter")
    expect(page.get_by_role("alert")).to_contain_text("Choose one of the five options")

    shows(page, "first")
    assert not Decision.objects.exists()


def test_a_stale_page_shows_what_has_changed_and_keeps_the_answer(open_as, kitchen, rita, picture):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")
    comparison = Comparison.objects.first()
    alice = UserFactory.create(username="alice")
    decide.settle(comparison, alice, "drop", seen_token=decide.seen(comparison))

    press(page, "3", "a", "Enter")

    expect(page.get_by_role("alert")).to_contain_text("Final label now: Excluded, by alice")
    expect(page.get_by_role("radio", name="Tie")).to_be_checked()
    picture(page, "review-4-conflict")
    look(page)
    press(page, "Enter")
    shows(page, "second")
    assert Decision.objects.current().get().outcome == "tie"


def test_the_diff_marks_what_is_in_one_text_only_and_gives_the_texts_back(open_as, kitchen, rita):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    texts = page.locator("[data-text]")
    before = texts.all_text_contents()
    look(page)

    press(page, "d")

    assert texts.all_text_contents() == before
    marked = sorted("".join(page.locator(f".only.{side}").all_text_contents()) for side in ("left", "right"))
    assert marked == ["ten", "two only"]
    press(page, "d")
    expect(page.locator(".only")).to_have_count(0)
    assert texts.all_text_contents() == before


def test_the_page_works_without_scripts(open_as, kitchen, rita):
    page = open_as(rita, java_script_enabled=False)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    page.get_by_role("link", name="The second question?").click()

    choose(page, "Both bad")
    choose(page, "Bad data")
    page.get_by_role("button", name="Settle").click()
    expect(page.get_by_role("alert")).to_contain_text("what is wrong with the data")
    page.get_by_role("textbox", name="Note").fill("Both are cut off.")
    page.get_by_role("button", name="Settle").click()

    is_open(page, "third")
    assert Decision.objects.current().get().outcome == "both_bad"
    page.get_by_role("button", name="Undo").click()
    is_open(page, "second")
    assert not Decision.objects.current().exists()


def test_on_a_phone_the_queue_comes_first_and_nothing_is_wider_than_the_screen(
    open_as, kitchen, rita, picture
):
    page = open_as(rita, viewport={"width": 390, "height": 780})
    page.goto(f"/datasets/{kitchen.pk}/review/")
    expect(page.locator("#case")).to_be_hidden()
    picture(page, "review-5-phone-queue")

    page.get_by_role("link", name="The first question?").click()
    expect(page.locator("#rows")).to_be_hidden()
    shows(page, "first")
    choose(page, "Tie")
    choose(page, "Guideline gap")
    picture(page, "review-6-phone-case")

    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_reason_only_selects_and_one_that_says_nothing_by_itself_opens_the_note(
    open_as, kitchen, rita, picture
):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")

    press(page, "1", "g")
    expect(page.locator(".note")).to_be_focused()
    press(page, "Enter")
    expect(page.get_by_role("alert")).to_have_text("Write a note: what do the guidelines leave open?")
    expect(page.locator(".note")).to_be_focused()
    page.keyboard.type("may an answer be this short, x 1")
    picture(page, "review-7-note")
    assert not Decision.objects.exists()
    press(page, "Enter")
    shows(page, "second")

    decision = Decision.objects.get()
    assert (decision.reason, decision.note) == ("guideline_gap", "may an answer be this short, x 1")
    assert decision.comparison == Comparison.objects.first()


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1440, "dark"),
        (390, "light"),
        pytest.param(1440, "light", marks=pytest.mark.long),
        pytest.param(390, "dark", marks=pytest.mark.long),
    ],
)
def test_a_note_that_is_asked_for_is_accessible(open_as, kitchen, rita, picture, accessible, scheme, width):
    page = open_as(rita, viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    if width == 390:
        page.get_by_role("link", name="The first question?").click()
        expect(page.locator("#rows")).to_be_hidden()
    shows(page, "first")

    choose(page, "Tie")
    choose(page, "Guideline gap")
    page.get_by_role("button", name="Settle").click()
    expect(page.get_by_role("alert")).to_contain_text("what do the guidelines leave open")
    picture(page, f"review-note-{width}-{scheme}")

    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_the_mouse_settles_as_the_keys_do(open_as, kitchen, rita):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")

    choose(page, "Tie")
    choose(page, "Bad data")
    page.get_by_role("button", name="Settle").click()
    expect(page.get_by_role("alert")).to_have_text("Write a note: what is wrong with the data?")
    expect(page.locator(".note")).to_be_focused()
    page.keyboard.type("cut off")
    page.get_by_role("button", name="Settle").dblclick()
    shows(page, "second")

    assert [(d.outcome, d.note) for d in Decision.objects.all()] == [("tie", "cut off")]
    expect(page.get_by_role("alert")).to_have_count(0)


# In the page: on a busy machine the 300 ms would pass between two keys that the test presses.
ACT_AS_SOON_AS_IT_COMES = """name => {
  const act = () => {
    if (!document.querySelector("#case .prompt")?.textContent.includes(name) || window.acted) return;
    window.acted = true;
    setTimeout(() => {
      for (const key of ["1", "Enter"]) {
        const where = document.activeElement;
        where.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
      }
      [...document.querySelectorAll(".choice")].find(one => one.textContent.includes("Tie")).click();
    });
  };
  new MutationObserver(act).observe(document, {childList: true, subtree: true, characterData: true});
}"""


def test_what_is_typed_while_a_case_loads_or_has_just_come_acts_on_none(open_as, kitchen, rita):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")
    held_back = []
    page.route("**/settle/*", lambda route: held_back.append(route))

    press(page, "3", "n")
    page.keyboard.type("the first")
    press(page, "Enter")
    page.keyboard.type(" and more 1\n")
    expect(page.locator(".note")).to_have_value("the first")
    page.evaluate(ACT_AS_SOON_AS_IT_COMES, "The second question?")
    held_back[0].continue_()
    shows(page, "second")
    assert page.evaluate("window.acted")

    expect(page.locator("#case input:checked")).to_have_count(0)
    assert [(d.comparison, d.note) for d in Decision.objects.all()] == [
        (Comparison.objects.first(), "the first")
    ]


def test_a_case_that_was_asked_for_while_an_answer_is_on_its_way_does_not_take_its_place(
    open_as, kitchen, rita
):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")
    held_back = []
    page.route("**/settle/*", lambda route: held_back.append(route))

    press(page, "3", "Enter")
    page.get_by_role("link", name="The third question?").click()
    page.wait_for_timeout(300)
    shows(page, "first")
    held_back[0].continue_()
    shows(page, "second")


def test_the_note_of_a_case_that_was_settled_is_not_kept_in_the_browser(open_as, kitchen, rita):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")

    press(page, "3", "n")
    page.keyboard.type("soup either way")
    press(page, "Enter")
    shows(page, "second")
    press(page, "u")
    shows(page, "first")

    expect(page.locator(".note")).to_have_value("")


def test_a_note_that_was_left_is_still_there_on_its_own_case(open_as, kitchen, rita):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")

    press(page, "n")
    page.keyboard.type("half a thou")
    press(page, "Escape", "j")
    shows(page, "second")
    expect(page.locator(".note")).to_have_value("")
    press(page, "k")
    shows(page, "first")

    expect(page.locator(".note")).to_have_value("half a thou")


@pytest.mark.parametrize("trouble", ["connection", "login"])
def test_a_note_is_kept_when_its_answer_could_not_be_saved(open_as, kitchen, rita, trouble):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")
    if trouble == "login":
        page.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
    else:
        page.context.set_offline(True)

    press(page, "3", "n")
    page.keyboard.type("kept")
    press(page, "Enter")

    reason = {"connection": "there is no connection", "login": "your login has expired"}[trouble]
    expect(page.get_by_role("alert")).to_contain_text(f"Nothing was saved: {reason}")
    expect(page.locator(".note")).to_have_value("kept")
    shows(page, "first")


KEYS_ELSEWHERE = {
    "French digits": ("&", "Digit1", "left"),
    "CapsLock": ("X", "KeyX", "drop"),
    "Cyrillic": ("\u0447", "KeyX", "drop"),
    "the number block": ("3", "Numpad3", "tie"),
}


@pytest.mark.parametrize("keyboard", KEYS_ELSEWHERE)
def test_another_keyboard_chooses_as_the_keys_on_the_page_say(open_as, kitchen, rita, keyboard):
    key, code, meant = KEYS_ELSEWHERE[keyboard]
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")

    page.evaluate(
        "([key, code]) => document.activeElement.dispatchEvent("
        "new KeyboardEvent('keydown', {key, code, bubbles: true, cancelable: true}))",
        [key, code],
    )

    chosen = page.locator("#case input:checked")
    expect(chosen).to_have_count(1)
    left = decide.left_of(Comparison.objects.first(), rita)
    expect(chosen).to_have_value(left if meant == "left" else meant)


def test_the_number_block_without_numlock_chooses_nothing(open_as, kitchen, rita):
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")

    page.evaluate(
        "document.activeElement.dispatchEvent("
        "new KeyboardEvent('keydown', {key: 'End', code: 'Numpad1', bubbles: true, cancelable: true}))"
    )

    expect(page.locator("#case input:checked")).to_have_count(0)
