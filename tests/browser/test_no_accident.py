"""Nothing is a vote, and no case is settled, by accident: not by a double click, a key held down, a key that
no button shows, or a sentence that missed its text box."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import look
from tests.browser.test_annotate import (
    annotate,
    another_than,
    bob_annotates,
    bob_stops,
    comparisons_of,
    key_of,
    model,
    saved,
    several,
    shown,
    suggested,
)
from tests.browser.test_review import kitchen, shows
from workbench.models import Comparison, Dataset, Decision, Flag, Judgment, User

__all__ = ["bob_annotates", "bob_stops", "kitchen", "model", "suggested"]
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def votes(page: Page) -> int:
    """How many have arrived, once nothing is on its way."""
    page.wait_for_timeout(100)
    saved(page)
    return Judgment.objects.count()


def pressed(page: Page, key: str, code: str, **more: object) -> bool:
    """Press a key of another keyboard; whether the page has used the key."""
    return page.evaluate(
        "options => !document.activeElement.dispatchEvent(new KeyboardEvent("
        "'keydown', {bubbles: true, cancelable: true, ...options}))",
        {"key": key, "code": code, **more},
    )


@pytest.fixture
def pairs(dataset: Dataset, bob_annotates: Callable[..., Page]) -> Page:
    """The page with the first of four pairs, looked at."""
    comparisons_of(dataset, 4)
    return bob_annotates()


def test_a_double_click_is_one_vote(pairs):
    pairs.get_by_role("button", name="Left is better").dblclick()

    assert votes(pairs) == 1


def test_a_slow_double_click_is_one_vote_as_well(pairs):
    pairs.get_by_role("button", name="Left is better").hover()

    for count in (1, 2):
        pairs.mouse.down(click_count=count)
        pairs.mouse.up(click_count=count)
        look(pairs)

    assert votes(pairs) == 1


def test_a_button_that_was_pressed_before_the_pair_came_gives_it_no_vote(pairs):
    first = shown(pairs)
    pairs.get_by_role("button", name="Left is better").hover()

    pairs.mouse.down()
    pairs.keyboard.press("3")
    another_than(pairs, first)
    pairs.mouse.up()

    assert votes(pairs) == 1


@pytest.mark.parametrize("act", ["1", "ArrowRight", "Shift+2", "s", "y", "click", "tap", "Enter"])
def test_a_pair_that_has_just_come_takes_no_answer(dataset, suggested, bob_annotates, act):
    dataset.blind_share = 0
    dataset.save()
    suggested(4)
    page = bob_annotates(has_touch=True)
    # At once: by way of the driver, each step may take longer than the pair has to be there.
    page.evaluate(
        """act => {
          const press = (key, code) => {
            const how = {key, code, shiftKey: key === "@", bubbles: true, cancelable: true};
            document.activeElement.dispatchEvent(new KeyboardEvent("keydown", how));
          };
          const tie = document.querySelector("[value=tie]");
          press("3", "Digit3");
          if (["click", "tap", "Enter"].includes(act)) tie.click();
          else press(act.at(-1) === "2" ? "@" : act, act.at(-1) === "2" ? "Digit2" : "");
        }""",
        act,
    )
    second = shown(page)
    if act == "tap":
        page.get_by_role("button", name="Tie").tap()
    look(page)

    assert shown(page) == second
    assert votes(page) == 1
    page.keyboard.press("1")
    another_than(page, second)
    assert votes(page) == 2


def test_a_key_that_waited_for_a_busy_page_counts_from_when_it_was_pressed(pairs):
    # In the page: by way of the driver, the second key may be pressed long after the pair came.
    pairs.evaluate(
        """async () => {
          const key = (key, code) =>
            new KeyboardEvent("keydown", {key, code, bubbles: true, cancelable: true});
          const shown = () => document.querySelector(".item")?.dataset.comparison;
          const first = shown();
          document.activeElement.dispatchEvent(key("1", "Digit1"));
          while (!shown() || shown() === first) await new Promise(requestAnimationFrame);
          const event = key("2", "Digit2");
          await new Promise((late) => setTimeout(late, 600));
          document.activeElement.dispatchEvent(event);
        }"""
    )

    assert votes(pairs) == 1


def test_a_key_held_down_does_not_press_the_button_that_comes_under_it(suggested, bob_stops, bob_annotates):
    suggested(3)
    page = bob_annotates()
    side = "Left" if key_of(page, "b") == "1" else "Right"
    keep = page.get_by_role("button", name="Keep")
    page.get_by_role("button", name=f"{side} is better").focus()

    page.keyboard.down("Enter")
    expect(keep).to_be_focused()
    for _ in range(15):
        page.wait_for_timeout(50)
        page.keyboard.down("Enter")
    page.keyboard.up("Enter")

    expect(keep).to_be_focused()
    assert votes(page) == 1


def test_what_is_typed_on_after_a_key_that_opens_a_dialog_does_not_send_it(pairs):
    pairs.keyboard.type("f3\n")
    expect(pairs.locator("#flag")).to_be_visible()
    look(pairs)
    pairs.keyboard.press("Enter")
    pairs.keyboard.press("3")

    assert votes(pairs) == 0
    assert Flag.objects.get().reason == "broken"


NO_VOTES = [
    ("End", "Numpad1"),
    ("ArrowDown", "Numpad2"),
    ("PageDown", "Numpad3"),
    ("ArrowLeft", "Numpad4"),
    ("Clear", "Numpad5"),
    ("ArrowRight", "Numpad6"),
    ("+", "NumpadAdd"),
    ("ArrowDown", "ArrowDown"),
    ("Dead", "Digit1"),
    ("Process", "Digit1"),
    ("F1", "F1"),
    (" ", "Space"),
    ("ё", "Backquote"),
]


@pytest.mark.parametrize(("key", "code"), NO_VOTES)
def test_a_key_that_no_button_shows_is_no_vote_and_stays_the_browsers(pairs, key, code):
    assert not pressed(pairs, key, code)
    assert votes(pairs) == 0


@pytest.mark.parametrize("modifier", ["ctrlKey", "altKey", "metaKey", "repeat", "modifierAltGraph"])
def test_a_shortcut_or_a_key_held_down_is_no_vote(pairs, modifier):
    assert not pressed(pairs, "1", "Digit1", **{modifier: True})
    assert votes(pairs) == 0


def test_shift_with_a_key_that_shows_no_shift_is_no_vote(pairs):
    assert not pressed(pairs, "#", "Digit3", shiftKey=True)
    assert votes(pairs) == 0


VOTES = {
    "the number block": ("4", "Numpad4", {}, "both_bad"),
    "French": ('"', "Digit3", {}, "tie"),
    "French with Shift": ("3", "Digit3", {"shiftKey": True}, "tie"),
    "Thai": ("ภ", "Digit4", {}, "both_bad"),
    "Arabic digits": ("٣", "Digit3", {}, "tie"),
    "an on-screen keyboard": ("3", "", {}, "tie"),
}


@pytest.mark.parametrize("keyboard", VOTES)
def test_the_digits_of_any_keyboard_vote_as_the_buttons_say(pairs, keyboard):
    key, code, more, outcome = VOTES[keyboard]

    assert pressed(pairs, key, code, **more)
    assert votes(pairs) == 1
    assert Judgment.objects.get().outcome == outcome


@pytest.mark.parametrize(
    ("key", "code", "opened"),
    [
        ("с", "KeyC", "textarea[name=comment]"),  # Cyrillic
        ("C", "KeyC", "textarea[name=comment]"),  # CapsLock
        ("ب", "KeyF", "#flag"),
        (",", "Slash", "#keys"),
    ],
)
def test_letters_work_by_their_place_where_another_script_is_written(pairs, key, code, opened):
    assert pressed(pairs, key, code, shiftKey=key == ",")

    expect(pairs.locator(opened)).to_be_visible()


def test_a_latin_letter_counts_by_what_it_prints_and_punctuation_is_no_letter(pairs):
    pairs.evaluate("localStorage.setItem('annotate-keys', 'left-hand')")
    pairs.reload()
    expect(pairs.locator("body.has-script .item")).to_be_visible()
    look(pairs)

    assert not pressed(pairs, ",", "KeyW")  # Dvorak
    assert not pressed(pairs, "a", "KeyQ")  # French
    assert votes(pairs) == 0
    assert pressed(pairs, "Q", "KeyA")  # French, with CapsLock
    assert votes(pairs) == 1


def test_of_two_windows_the_second_shows_what_stands_and_can_change_it(dataset, pairs, picture):
    first_window, second_window = pairs, pairs.context.new_page()
    annotate(second_window, dataset)
    first = shown(first_window)
    assert shown(second_window) == first

    first_window.keyboard.press("1")
    another_than(first_window, first)
    saved(first_window)
    second_window.keyboard.press("2")
    another_than(second_window, first)
    expect(second_window.locator("#notice")).to_contain_text("You voted “Left” in another window")
    expect(second_window.locator("#notice")).to_contain_text("ress u to change it")
    picture(second_window, "annotate-two-windows")
    second_window.keyboard.press("u")
    expect(second_window.locator("#was")).to_have_text("Left")
    assert shown(second_window) == first
    look(second_window)
    second_window.keyboard.press("3")
    another_than(second_window, first)
    saved(second_window)

    current = Judgment.objects.current().get(comparison=first)
    assert current.outcome == "tie"
    assert current.supersedes.outcome == current.left


def test_the_refused_answer_is_what_undo_reopens_though_others_came_after_it(dataset, pairs):
    first_window, second_window = pairs, pairs.context.new_page()
    annotate(second_window, dataset)
    first = shown(first_window)
    first_window.keyboard.press("1")
    another_than(first_window, first)
    saved(first_window)
    held_back = []
    second_window.route("**/judge/", lambda route: held_back.append(route), times=1)

    second_window.keyboard.press("2")
    another_than(second_window, first)
    second_window.keyboard.press("3")
    look(second_window)
    held_back[0].continue_()
    expect(second_window.locator("#notice")).to_contain_text("in another window")
    second_window.keyboard.press("u")

    expect(second_window.locator("#was")).to_have_text("Left")
    assert shown(second_window) == first


def test_a_half_made_ranking_survives_a_reload_and_goes_with_its_answer(dataset, bob_annotates):
    several(dataset)
    page = bob_annotates()

    for key in ("3", "1", "Shift+4"):
        page.keyboard.press(key)
    page.reload()
    expect(page.locator("#places li")).to_have_text(["3", "1 = 4"])
    look(page)
    page.keyboard.press("Enter")
    expect(page.locator(".end")).to_be_visible()
    saved(page)

    assert Judgment.objects.count() == 6
    assert page.evaluate("Object.keys(localStorage).filter(name => name.startsWith('ranking:'))") == []


def test_time_counts_only_while_the_page_is_visible_and_has_the_focus(dataset, bob, open_as):
    comparisons_of(dataset, 2)
    page = open_as(bob)
    page.clock.install(time=0)
    page.goto(f"/datasets/{dataset.pk}/annotate/")
    expect(page.locator("body.has-script .item")).to_be_visible()
    page.clock.pause_at(60)
    page.reload()
    hide = """hidden => {
      Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
      document.dispatchEvent(new Event("visibilitychange"));
    }"""

    page.clock.run_for(2_000)
    page.evaluate("dispatchEvent(new Event('blur'))")
    page.clock.run_for(30_000)
    page.evaluate("dispatchEvent(new Event('focus'))")
    page.clock.run_for(3_000)
    page.evaluate(hide, True)
    page.clock.run_for(30_000)
    page.evaluate(hide, False)
    page.clock.run_for(1_000)
    page.keyboard.press("1")
    page.clock.resume()
    saved(page)

    assert 5.8 <= Judgment.objects.get().seconds <= 6.1


# Review: Enter alone settles


@pytest.fixture
def cases(open_as: Callable[..., Page], kitchen: Dataset, rita: User) -> Page:
    """The page with the first of three cases, looked at."""
    page = open_as(rita)
    page.goto(f"/datasets/{kitchen.pk}/review/")
    shows(page, "first")
    return page


def settled(page: Page) -> list[tuple[int, str]]:
    """(case by its place in the queue, outcome), once nothing is on its way."""
    page.wait_for_load_state("networkidle")
    look(page)
    places = {
        pk: place for place, pk in enumerate(Comparison.objects.order_by("pk").values_list("pk", flat=True))
    }
    decisions = Decision.objects.order_by("pk").values_list("comparison", "outcome")
    return [(places[pk], outcome) for pk, outcome in decisions]


# By way of the driver, the second key may be pressed long after the next case came.
PRESS_AT_ONCE = """keys => {
  for (const [key, code] of keys) {
    const how = {key, code, bubbles: true, cancelable: true};
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", how));
  }
}"""


@pytest.mark.parametrize("key", ["1", "2", "3", "4", "x", "m", "s", "a"])
def test_a_choice_or_a_reason_settles_nothing_by_itself(cases, key):
    cases.keyboard.press(key)
    expect(cases.locator("#case input:checked")).to_have_count(1)

    assert settled(cases) == []


@pytest.mark.parametrize("more", ["3", "x", "Enter"])
def test_keys_at_once_settle_one_case(cases, more):
    cases.evaluate(PRESS_AT_ONCE, [["3", "Digit3"], ["Enter", "Enter"], [more, ""], ["Enter", "Enter"]])
    shows(cases, "second")

    assert settled(cases) == [(0, "tie")]


def test_a_case_that_has_just_come_takes_no_key(cases):
    cases.evaluate(
        """async () => {
          const press = (key) => document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", {key, code: "", bubbles: true, cancelable: true}));
          press("3");
          press("Enter");
          const shown = () => document.querySelector("#case .prompt")?.textContent ?? "";
          while (!shown().includes("second")) await new Promise(requestAnimationFrame);
          for (const key of ["1", "Enter", "x", "Enter"]) press(key);
        }"""
    )
    shows(cases, "second")

    assert settled(cases) == [(0, "tie")]


def test_a_key_held_down_settles_one_case(cases):
    cases.keyboard.press("3")
    cases.keyboard.down("Enter")
    for _ in range(15):
        cases.wait_for_timeout(50)
        cases.keyboard.down("Enter")
    cases.keyboard.up("Enter")
    shows(cases, "second")

    assert settled(cases) == [(0, "tie")]


@pytest.mark.parametrize("modifier", ["ctrlKey", "altKey", "metaKey", "repeat", "modifierAltGraph"])
def test_a_shortcut_or_a_key_held_down_chooses_nothing(cases, modifier):
    # The page drops a key held down; a shortcut stays the browser's.
    assert pressed(cases, "3", "Digit3", **{modifier: True}) == (modifier == "repeat")

    expect(cases.locator("#case input:checked")).to_have_count(0)


@pytest.mark.parametrize("field", [".note", ".filter-search [name=q]"])
def test_a_digit_in_a_text_box_is_text(cases, field):
    cases.locator(field).press_sequentially("1x34")

    expect(cases.locator(field)).to_have_value("1x34")
    assert settled(cases) == []


def test_a_sentence_that_missed_the_note_settles_nothing(cases):
    for key in "he says 1 or 3 words":
        cases.keyboard.press("Space" if key == " " else key)

    assert settled(cases) == []
    shows(cases, "first")
