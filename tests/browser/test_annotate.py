"""The annotation page as an annotator meets it: in Chromium, by keyboard."""

import re
from collections.abc import Callable
from itertools import combinations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import look
from tests.corpora import hostile_texts
from tests.factories import (
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
)
from workbench.models import Claim, Comparison, Dataset, Flag, Judgment, ModelVersion, Suggestion, User
from workbench.pipeline.datasets import archiving
from workbench.templatetags.text import is_long

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def compare(dataset: Dataset, left: str, right: str, *turns: str) -> Comparison:
    """A Comparison of two texts; turns alternate between user and assistant and end with the user."""
    roles = ["user", "assistant"] * len(turns)
    messages = [{"role": role, "content": turn} for role, turn in zip(roles, turns, strict=False)]
    prompt = PromptFactory.create(dataset=dataset, messages=messages)
    a = CompletionFactory.create(prompt=prompt, text=left)
    return ComparisonFactory.create(prompt=prompt, a=a, b=CompletionFactory.create(prompt=prompt, text=right))


def comparisons_of(dataset: Dataset, n: int) -> list[Comparison]:
    return [
        compare(
            dataset, f"A short answer to {i}.", f"A longer answer to {i}, with a reason.", f"Question {i}?"
        )
        for i in range(n)
    ]


@pytest.fixture
def model(db) -> ModelVersion:
    return ModelVersionFactory.create(
        state="active", temperature=1.0, notice="Demo model: it shows the loop, not a good reward model."
    )


@pytest.fixture
def bob_annotates(dataset: Dataset, bob: User, open_as: Callable[..., Page]) -> Callable[..., Page]:
    """The page with its script at work. Keywords go to the browser context."""

    def start(**options) -> Page:
        page = open_as(bob, **options)
        annotate(page, dataset)
        return page

    return start


@pytest.fixture
def suggested(dataset: Dataset, model: ModelVersion) -> Callable[..., None]:
    """Some Comparisons of which the model prefers a, the short answer."""

    def create(n: int, margin: float = 1.2) -> None:
        for comparison in comparisons_of(dataset, n):
            SuggestionFactory.create(comparison=comparison, version=model, margin=margin)

    return create


def shown(page: Page) -> str:
    return page.locator(".item").get_attribute("data-comparison")


def another_than(page: Page, comparison: str) -> None:
    """Another one is there, and has been for long enough to be answered."""
    expect(page.locator(".item")).not_to_have_attribute("data-comparison", comparison)
    look(page)


def key_of(page: Page, outcome: str) -> str:
    """The key for a or b of the shown pair, on whichever side."""
    return "1" if Claim.objects.get(comparison=shown(page)).left == outcome else "2"


def saved(page: Page) -> None:
    expect(page.locator("#saved")).to_have_text("saved ✓")


def annotate(page: Page, dataset: Dataset) -> None:
    page.goto(f"/datasets/{dataset.pk}/annotate/")
    expect(page.locator("body.has-script .item")).to_be_visible()
    look(page)


@pytest.fixture
def bob_stops(bob: User) -> None:
    """Bob wants the page to stop after each answer and show what the model says."""
    bob.goes_straight_on = False
    bob.save()


def test_an_annotator_logs_in_judges_ten_by_keyboard_alone_and_undoes_one(dataset, bob, open_as, picture):
    comparisons_of(dataset, 12)
    page = open_as(None)

    page.goto(f"/datasets/{dataset.pk}/annotate/")
    page.keyboard.type("bob")
    page.keyboard.press("Tab")
    page.keyboard.type("correct horse battery")
    page.keyboard.press("Enter")
    expect(page.locator("body.has-script .item")).to_be_visible()
    picture(page, "annotate-open")
    look(page)
    seen = []
    for key in ["1", "2", "3", "4", "5", "ArrowLeft", "ArrowRight", "Shift+1", "Shift+ArrowRight", "1"]:
        seen.append(shown(page))
        page.keyboard.press(key)
        another_than(page, seen[-1])
    page.keyboard.press("u")
    expect(page.locator(".item")).to_have_attribute("data-comparison", seen[-1])
    picture(page, "annotate-undo")
    look(page)
    page.keyboard.press("3")
    saved(page)

    assert len(set(seen)) == 10
    outcomes = [
        "tie"
        if str(j.comparison_id) == seen[-1]
        else (j.outcome if j.outcome not in "ab" else j.outcome == j.left)
        for j in Judgment.objects.current().order_by("pk")
    ]
    assert outcomes == [True, False, "tie", "both_bad", "cannot_judge", True, False, True, False, "tie"]
    assert list(Judgment.objects.filter(strength=2).values_list("comparison", flat=True)) == [
        int(seen[7]),
        int(seen[8]),
    ]
    undone = Judgment.objects.get(superseded_by__isnull=False)
    assert undone.comparison_id == int(seen[-1])
    assert undone.superseded_by.outcome == "tie"


def test_a_blind_answer_is_stored_before_the_model_is_shown_and_one_key_changes_it(
    suggested, bob_stops, bob_annotates, picture
):
    suggested(3)
    page = bob_annotates()

    assert "Model" not in page.locator("#annotate").inner_text()
    page.keyboard.press(key_of(page, "b"))
    expect(page.locator(".verdict")).to_contain_text("disagrees")
    picture(page, "annotate-reveal")
    assert Judgment.objects.get().stage == "first"
    look(page)
    page.keyboard.press("r")
    expect(page.locator(".verdict")).to_have_count(0)
    saved(page)

    assert list(Judgment.objects.values_list("outcome", "stage")) == [("b", "first"), ("a", "revealed")]


def test_enter_keeps_the_answer_in_view_of_the_model_and_goes_on(suggested, bob_stops, bob_annotates):
    suggested(2)
    page = bob_annotates()
    first = shown(page)

    page.keyboard.press(key_of(page, "b"))
    expect(page.locator(".verdict")).to_be_visible()
    look(page)
    page.keyboard.press("Enter")
    another_than(page, first)
    saved(page)

    assert list(Judgment.objects.values_list("outcome", "stage")) == [("b", "first"), ("b", "revealed")]


def test_the_next_one_is_there_at_once_under_a_line_of_what_the_model_said_of_the_last(
    suggested, bob_annotates, picture
):
    suggested(3)
    page = bob_annotates()
    first = shown(page)

    page.keyboard.press(key_of(page, "b"))
    another_than(page, first)
    line = page.locator(".last-reveal")
    expect(line).to_contain_text("Model: ")
    expect(line).to_contain_text("disagrees")
    picture(page, "annotate-straight-on")
    page.keyboard.press("u")
    expect(page.locator(".item")).to_have_attribute("data-comparison", first)
    expect(line).to_be_empty()
    look(page)
    page.keyboard.press(key_of(page, "a"))
    another_than(page, first)
    saved(page)

    assert list(Judgment.objects.values_list("comparison", "outcome", "stage")) == [
        (int(first), "b", "first"),
        (int(first), "a", "revealed"),
    ]


def test_whether_to_stop_after_an_answer_is_kept_with_the_account(suggested, bob, bob_annotates):
    suggested(4)
    phone = bob_annotates(viewport={"width": 390, "height": 844}, has_touch=True)
    phone.get_by_role("button", name="Keys").tap()
    choice = phone.get_by_label("Go straight to the next pair")
    expect(choice).to_be_checked()
    look(phone)
    with phone.expect_response("**/account/straight-on/"):
        choice.uncheck()
    bob.refresh_from_db()
    assert not bob.goes_straight_on

    page = bob_annotates()
    page.keyboard.press("1")
    expect(page.locator("#answers .verdict")).to_be_visible()


def test_a_slow_server_keeps_nobody_waiting_and_its_word_comes_later(suggested, bob_stops, bob_annotates):
    suggested(3)
    page = bob_annotates()
    first = shown(page)
    held_back = []
    page.route("**/judge/", lambda route: held_back.append(route))

    page.keyboard.press("1")
    another_than(page, first)
    held_back[0].continue_()

    expect(page.locator(".last-reveal")).to_contain_text("You: Left")


def test_in_assisted_mode_y_confirms_and_enter_does_nothing(dataset, suggested, bob_annotates, picture):
    dataset.blind_share = 0
    dataset.save()
    suggested(2, margin=-1.2)
    page = bob_annotates()
    first = shown(page)
    picture(page, "annotate-assisted")

    page.keyboard.press("Enter")
    page.keyboard.press("r")
    assert shown(page) == first
    page.keyboard.press("y")
    another_than(page, first)
    saved(page)

    assert Judgment.objects.get().follows_suggestion


def test_answers_given_without_a_connection_are_sent_when_it_is_back(dataset, bob_annotates, picture):
    comparisons_of(dataset, 3)
    page = bob_annotates()
    page.wait_for_load_state("networkidle")
    first = shown(page)

    page.context.set_offline(True)
    page.keyboard.press("1")
    another_than(page, first)
    page.keyboard.press("2")
    expect(page.locator("#saved")).to_contain_text("2 not saved yet: no connection")
    picture(page, "annotate-offline")
    assert not Judgment.objects.exists()
    page.context.set_offline(False)

    saved(page)
    assert Judgment.objects.count() == 2


def test_forty_pairs_are_voted_on_without_a_connection_once_they_were_taken_along(dataset, bob_annotates):
    Dataset.objects.update(gold_share=0, repeat_share=0)
    comparisons_of(dataset, 450)
    page = bob_annotates()
    page.wait_for_load_state("networkidle")
    page.keyboard.press("?")
    page.get_by_role("button", name="Take 40 pairs along").click()
    expect(page.locator("#along")).to_contain_text("40 pairs are here for two hours", timeout=30_000)
    page.keyboard.press("Escape")
    look(page)
    page.context.set_offline(True)

    for _ in range(40):
        before = shown(page)
        page.keyboard.press("1")
        another_than(page, before)
    expect(page.locator("#saved")).to_contain_text("40 not saved yet: no connection")
    assert not Judgment.objects.exists()
    page.context.set_offline(False)

    saved(page)
    assert Judgment.objects.values("comparison").distinct().count() == 40


def test_answers_given_while_the_database_is_away_are_sent_when_it_is_back(dataset, bob_annotates):
    comparisons_of(dataset, 3)
    page = bob_annotates()
    page.wait_for_load_state("networkidle")
    first = shown(page)

    page.route(
        "**/judge/", lambda route: route.fulfill(status=503, headers={"Retry-After": "10"}, body="Away.")
    )
    page.keyboard.press("1")
    another_than(page, first)
    expect(page.locator("#saved")).to_contain_text("1 not saved yet")
    assert not Judgment.objects.exists()
    page.unroute("**/judge/")

    saved(page)
    assert Judgment.objects.get().comparison_id == int(first)


def test_an_unsaved_answer_survives_a_reload(dataset, bob_annotates):
    comparisons_of(dataset, 3)
    page = bob_annotates()
    page.route("**/judge/", lambda route: route.abort())
    first = shown(page)
    page.keyboard.press("1")
    expect(page.locator("#saved")).to_contain_text("1 not saved yet")

    page.unroute("**/judge/")
    page.reload()

    saved(page)
    another_than(page, first)
    assert Judgment.objects.get().comparison_id == int(first)


def test_an_answer_after_the_login_expired_waits_for_a_login_in_another_tab(dataset, bob_annotates, picture):
    comparisons_of(dataset, 4)
    page = bob_annotates()
    page.wait_for_load_state("networkidle")
    page.context.clear_cookies()

    page.keyboard.press("1")
    link = page.get_by_role("link", name="Log in in a new tab")
    expect(link).to_be_visible()
    picture(page, "annotate-login-expired")
    with page.context.expect_page() as opened:
        link.click()
    tab = opened.value
    tab.fill("[name=username]", "bob")
    tab.fill("[name=password]", "correct horse battery")
    tab.keyboard.press("Enter")
    expect(tab.locator(".item")).to_be_visible()
    tab.close()
    page.bring_to_front()

    expect(page.locator("#saved")).to_have_text("saved ✓", timeout=10_000)
    assert Judgment.objects.count() == 1


def test_a_lost_answer_of_the_network_is_sent_again_with_the_same_key(dataset, bob_annotates):
    comparisons_of(dataset, 3)
    page = bob_annotates()
    keys = []

    def lose_the_first_reply(route):
        keys.append(re.search(r"key=([\w-]+)", route.request.post_data).group(1))
        if len(keys) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    page.route("**/judge/", lose_the_first_reply)
    page.keyboard.press("1")
    saved(page)

    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert Judgment.objects.count() == 1


def test_a_key_held_down_judges_one(dataset, bob_annotates):
    comparisons_of(dataset, 4)
    page = bob_annotates()

    for _ in range(5):
        page.keyboard.down("3")
    page.keyboard.up("3")
    saved(page)

    assert Judgment.objects.count() == 1


def test_a_comment_in_progress_survives_a_reload_and_goes_with_the_answer(dataset, bob_annotates):
    comparisons_of(dataset, 2)
    page = bob_annotates()
    first = shown(page)

    page.keyboard.press("c")
    page.keyboard.type("1 is wrong about the year")
    page.reload()
    expect(page.locator("textarea[name=comment]")).to_have_value("1 is wrong about the year")
    look(page)
    page.keyboard.press("2")
    another_than(page, first)
    saved(page)

    assert Judgment.objects.get().comment == "1 is wrong about the year"
    assert page.locator("textarea[name=comment]").input_value() == ""


def test_a_flag_is_two_keys_and_the_comparison_stays_to_be_judged(dataset, bob_annotates, picture):
    comparisons_of(dataset, 2)
    page = bob_annotates()
    first = shown(page)

    page.keyboard.press("f")
    look(page)
    page.keyboard.press("3")
    picture(page, "annotate-flag")
    page.keyboard.press("Enter")
    expect(page.locator(".flag-mark")).to_have_text("Flagged: An answer names its own model")
    saved(page)

    assert Flag.objects.get().reason == "identity"
    assert shown(page) == first


def test_a_flag_is_sent_though_its_dialog_is_opened_again_at_once(dataset, bob_annotates):
    comparisons_of(dataset, 2)
    page = bob_annotates()
    first = shown(page)

    page.keyboard.press("f")
    look(page)
    # The browser tells of a closed dialog only after the script that closed it has ended.
    page.evaluate("""() => {
        document.querySelector("#flag [value=flag]").click();
        document.querySelector("#answers [data-do=flag]").click();
    }""")
    expect(page.locator(".flag-mark")).to_be_attached()
    saved(page)

    assert Flag.objects.get().comparison_id == int(first)


def test_the_last_one_leads_to_a_page_that_says_why_and_undo_still_works(dataset, bob_annotates, picture):
    comparisons_of(dataset, 2)
    page = bob_annotates()

    first = shown(page)
    page.keyboard.press("s")
    another_than(page, first)
    page.keyboard.press("1")
    expect(page.locator(".end")).to_contain_text("You skipped 1 pair.")
    picture(page, "annotate-end")
    page.keyboard.press("u")
    expect(page.locator(".reopened")).to_be_visible()
    look(page)
    page.keyboard.press("4")
    expect(page.locator(".end")).to_be_visible()
    saved(page)
    page.get_by_role("link", name="Show skipped pairs").click()
    expect(page.locator(".item")).to_be_visible()

    assert Judgment.objects.current().get().outcome == "both_bad"


def test_undo_twice_reopens_the_answer_before_though_the_last_has_not_arrived(dataset, bob, bob_annotates):
    comparisons_of(dataset, 3)
    page = bob_annotates()
    first = shown(page)
    page.keyboard.press("1")
    another_than(page, first)
    saved(page)
    page.reload()
    expect(page.locator("body.has-script .item")).to_be_visible()
    look(page)
    second = shown(page)
    held_back = []
    page.route("**/judge/", lambda route: held_back.append(route), times=1)

    page.keyboard.press("1")
    another_than(page, second)
    page.keyboard.press("u")
    expect(page.locator(".item")).to_have_attribute("data-comparison", second)
    for _ in range(2):  # the second time while the first still waits
        page.keyboard.press("u")
    held_back.pop().continue_()
    expect(page.locator(".item")).to_have_attribute("data-comparison", first)
    look(page)
    page.keyboard.press("Enter")
    expect(page.locator(".item")).not_to_have_attribute("data-comparison", first)
    assert shown(page) != second
    assert {str(j.comparison_id) for j in Judgment.objects.current()} == {first, second}


def test_the_diff_marks_what_differs_and_leaves_every_character(dataset, bob_annotates, picture):
    same = "The same words in both of the answers, and quite a lot of them. " * 8
    left, right = f"{same}Boil it for ten minutes.\n\nServe.", f"{same}Boil it for two minutes.\n\nServe."
    compare(dataset, left, right, "How long do I boil it?")
    page = bob_annotates()

    page.keyboard.press("d")
    marked = ["ten", "two"] if key_of(page, "a") == "1" else ["two", "ten"]
    expect(page.locator("del, ins")).to_have_text(marked)
    picture(page, "annotate-diff")
    for _ in range(2):
        page.get_by_role("button", name="identical characters").first.click()
    texts = [
        page.evaluate("e => e.innerText", view.element_handle()) for view in page.locator("[data-view]").all()
    ]
    page.keyboard.press("d")

    assert sorted(texts) == sorted([left, right])
    expect(page.locator("[data-view]")).to_have_count(0)


@pytest.mark.parametrize(
    "markup", ["This is **bold**.", "# Title", "```\nx = 1\n```", "| a | b |\n|---|---|"]
)
def test_text_with_markup_is_shown_as_it_is_and_says_how_to_see_it_rendered(markup, dataset, bob_annotates):
    compare(dataset, markup, "Plain words.", "Which?")
    page = bob_annotates()

    said = "These texts have Markdown. The Markdown button (m) renders it."
    expect(page.locator("#view-hint")).to_have_text(said)
    expect(page.locator("[data-view]")).to_have_count(0)
    page.keyboard.press("m")

    expect(page.locator("[data-view=markdown]")).to_have_count(3)
    expect(page.locator("#view-hint")).to_have_text("")


def test_text_without_markup_says_nothing_of_it(dataset, bob_annotates):
    compare(dataset, "- one\n- two * three * four", "1. One\n2. 2**3 and `code`", "Which?")
    page = bob_annotates()
    page.wait_for_timeout(500)

    expect(page.locator("#view-hint")).to_have_text("")


def test_without_guidelines_an_annotator_reads_that_there_are_none(dataset, bob_annotates):
    comparisons_of(dataset, 1)
    page = bob_annotates()
    expect(page.locator(".crumbs")).to_contain_text("No guidelines yet")

    dataset.guidelines.create(number=1, text="Be kind.")
    page.reload()

    expect(page.locator(".crumbs")).not_to_contain_text("No guidelines yet")


def test_what_cannot_be_seen_is_named_in_the_raw_view(dataset, bob_annotates, picture):
    compare(dataset, "one\u200bword \u202eback\u202c\tand a tab", "two spaces  \nat an end\r\n", "Which?")
    page = bob_annotates()

    page.keyboard.press("m")
    expect(page.locator("[data-view=markdown]")).to_have_count(3)
    page.keyboard.press("m")
    expect(page.locator("[data-view=raw]")).to_have_count(3)
    picture(page, "annotate-raw")
    marks = page.locator(".unseen").all_inner_texts()
    page.keyboard.press("m")

    assert sorted(marks) == sorted(["U+200B", "U+202E", "U+202C", "⇥\t", "··", "U+000D"])
    expect(page.locator("[data-view]")).to_have_count(0)


def test_whoever_was_removed_is_told_so_and_keeps_the_page(dataset, bob, bob_annotates, picture):
    comparisons_of(dataset, 1)
    page = bob_annotates()
    page.wait_for_load_state("networkidle")
    dataset.members.filter(user=bob).delete()

    page.keyboard.press("1")

    expect(page.locator(".end")).to_contain_text("You have no access to this dataset any more")
    expect(page.locator("#notice")).to_contain_text("You are not a member of this dataset any more")
    picture(page, "annotate-removed")


def test_answers_to_a_dataset_that_was_archived_wait_in_the_browser_until_it_is_brought_back(
    dataset, bob, bob_annotates, picture
):
    comparisons_of(dataset, 2)
    page = bob_annotates()
    page.wait_for_load_state("networkidle")
    archiving.archive(dataset)

    page.keyboard.press("1")

    expect(page.locator("#notice")).to_contain_text("This dataset is archived and takes no votes now.")
    expect(page.locator("#saved")).to_contain_text("1 not saved yet: the dataset is archived")
    picture(page, "annotate-archived")
    assert not Judgment.objects.exists()
    # The answers to another Dataset do not wait for those to this one.
    pantry = DatasetFactory.create(name="Pantry")
    pantry.members.create(user=bob, role="annotator")
    comparisons_of(pantry, 1)
    annotate(page, pantry)
    page.keyboard.press("2")
    expect(page.locator("#saved")).to_contain_text("1 not saved yet")
    assert Judgment.objects.get().comparison.dataset == pantry

    archiving.bring_back(dataset)
    page.reload()
    expect(page.locator("#saved")).to_have_text("saved ✓")
    assert Judgment.objects.filter(comparison__dataset=dataset).count() == 1


# Rankings


def several(dataset: Dataset, model: ModelVersion | None = None, n: int = 4) -> None:
    """A Prompt with n completions and a Comparison of each two; the model prefers the longer ones."""
    dataset.allows_ranking = True
    dataset.save()
    prompt = PromptFactory.create(
        dataset=dataset, messages=[{"role": "user", "content": "How do I get a stain of wine out?"}]
    )
    texts = [
        f"Answer {i}.\n\n" + "Dab it with cold water and salt, and wash it soon. " * i
        for i in range(1, n + 1)
    ]
    completions = [CompletionFactory.create(prompt=prompt, text=text) for text in texts]
    for a, b in combinations(sorted(completions, key=lambda completion: completion.sha256), 2):
        comparison = ComparisonFactory.create(prompt=prompt, a=a, b=b)
        if model:
            SuggestionFactory.create(
                comparison=comparison, version=model, margin=(len(a.text) - len(b.text)) / 50
            )


def in_order(judgment: Judgment) -> tuple[int, int]:
    """Where the preferred and the other stood, from 1."""
    shown = judgment.ranking.shown
    a, b = (1 + shown.index(pk) for pk in (judgment.comparison.a_id, judgment.comparison.b_id))
    return (a, b) if judgment.outcome == "a" else (b, a)


def test_four_are_ranked_by_keys_revealed_changed_undone_and_done_again(
    dataset, model, bob_annotates, picture
):
    several(dataset, model)
    page = bob_annotates()

    for key in ["3", "1", "Shift+4", "Backspace", "Shift+2"]:
        page.keyboard.press(key)
    expect(page.locator("#places li")).to_have_text(["3", "1 = 2"])
    expect(page.locator("#ranking-said")).to_have_text("4 comes last")
    page.keyboard.press("Enter")
    expect(page.locator(".verdict")).to_contain_text("You: 3 > 1 = 2 > 4")
    first = list(Judgment.objects.order_by("pk"))
    page.keyboard.press("u")
    expect(page.locator(".reopened")).to_contain_text("You voted 3 > 1 = 2 > 4")
    expect(page.locator("#places li")).to_have_text(["3", "1 = 2", "4"])
    look(page)
    for key in ["Backspace"] * 4 + ["4", "3", "2", "Enter"]:
        page.keyboard.press(key)
    expect(page.locator(".end")).to_be_visible()
    saved(page)

    assert len(first) == 6
    preferred = {in_order(j) for j in first if j.outcome != "tie"}
    assert preferred == {(3, 1), (3, 2), (3, 4), (1, 4), (2, 4)}
    current = Judgment.objects.current()
    assert {in_order(j) for j in current} == {(4, 3), (4, 2), (4, 1), (3, 2), (3, 1), (2, 1)}
    assert all(j.supersedes for j in current)


def test_a_ranking_is_changed_to_the_models_with_one_key(dataset, model, bob_stops, bob_annotates):
    several(dataset, model, n=3)
    page = bob_annotates()
    shown_texts = [len(text) for text in page.locator(".pane [data-text]").all_inner_texts()]
    by_length = sorted(range(1, 4), key=lambda n: shown_texts[n - 1])

    for n in by_length:
        page.keyboard.press(str(n))
    page.keyboard.press("Enter")
    expect(page.locator(".verdict")).to_contain_text("agrees with you on 0 of 3 pairs")
    look(page)
    page.keyboard.press("r")
    expect(page.locator(".end")).to_be_visible()
    saved(page)

    assert [j.outcome == j.suggested for j in Judgment.objects.current()] == [True] * 3
    assert set(Judgment.objects.current().values_list("stage", flat=True)) == {"revealed"}


def test_a_ranking_by_touch_and_one_without_a_script(dataset, bob, bob_annotates, open_as, picture):
    several(dataset, n=3)
    page = bob_annotates(viewport={"width": 390, "height": 844}, has_touch=True)
    page.locator("[data-do=place][value='2']").tap()
    page.locator("[data-do=level]").tap()
    page.locator("[data-do=place][value='3']").tap()
    picture(page, "annotate-ranking-touch")
    page.locator("[data-do=rank]").tap()
    expect(page.locator(".end")).to_be_visible()
    saved(page)
    assert Judgment.objects.filter(outcome="tie").count() == 1

    page = open_as(bob, java_script_enabled=False)
    page.goto(f"/datasets/{dataset.pk}/annotate/undo/")
    picture(page, "annotate-ranking-no-script")
    page.get_by_role("button", name="Submit ranking").click()
    expect(page.locator(".toasts")).to_contain_text("Rank every answer")
    page.goto(f"/datasets/{dataset.pk}/annotate/undo/")
    for select, n in zip(page.get_by_role("combobox").all(), "312", strict=True):
        select.select_option(n)
    page.get_by_role("button", name="Submit ranking").click()

    assert {in_order(j) for j in Judgment.objects.current()} == {(2, 3), (2, 1), (3, 1)}


def test_without_a_script_the_page_is_a_form_that_does_the_same(dataset, suggested, bob, open_as, picture):
    suggested(2)
    page = open_as(bob, java_script_enabled=False)
    page.goto(f"/datasets/{dataset.pk}/annotate/")
    page.get_by_role("button", name="Left is better").click()
    expect(page.locator(".verdict")).to_contain_text("You: Left")
    picture(page, "annotate-no-script")
    page.goto(f"/datasets/{dataset.pk}/annotate/")
    page.get_by_role("button", name="Tie").click()

    assert sorted(j.outcome in "ab" for j in Judgment.objects.current()) == [False, True]


PROSE = ("Some words of a long answer, and of another. " * 8 + "\n\n") * 2_700
MEGABYTES = {
    "prose": (PROSE, PROSE.replace("another", "a third", 1)),
    "lines": ("line\n" * 200_000, " " * 1_000_000),
    "fences": ("```\n\n```\n" * 110_000, "x" * 1_000_000),
}
LATE = """
  window.late = [];
  let last = performance.now();
  setInterval(() => { const now = performance.now(); late.push(now - last); last = now; }, 10);
"""

HANGING = 5_000
"""Milliseconds in which the page does nothing else. Many times what it takes on an idle machine, and few
beside a page that hangs."""


@pytest.mark.parametrize("kind", MEGABYTES)
def test_a_megabyte_on_each_side_stops_nobody(kind, dataset, bob, open_as):
    compare(dataset, *MEGABYTES[kind], "Which?")
    compare(dataset, "One.", "Two.", "Which then?")
    page = open_as(bob)
    page.set_default_timeout(20_000)
    page.add_init_script(LATE)
    annotate(page, dataset)
    if page.locator(".block").count() == 0:
        page.keyboard.press("s")
    expect(page.locator(".block").first).to_be_attached(timeout=20_000)
    page.wait_for_timeout(1_000)
    first = shown(page)

    for key in ["d", "d", "m", "m", "End", "Home", "m", "1"]:
        page.keyboard.press(key)
        page.wait_for_timeout(200)
    expect(page.locator(f".item[data-comparison='{first}']")).to_have_count(0)

    assert max(page.evaluate("late")) < HANGING


@pytest.mark.parametrize("text", ["\u200b\t" * 40_000, "a\u00a0 \n" * 20_000], ids=["marks", "lines"])
def test_a_text_of_what_cannot_be_seen_stops_nobody(text, dataset, bob, open_as):
    compare(dataset, text, "Short.", "Which?")
    page = open_as(bob, viewport={"width": 1440, "height": 900})
    page.add_init_script(LATE)
    annotate(page, dataset)

    for key in ["m", "m", "End", "Home", "m"]:
        page.keyboard.press(key)
        page.wait_for_timeout(200)
    expect(page.locator("[data-view]")).to_have_count(0)

    assert max(page.evaluate("late")) < HANGING


def test_a_long_fold_of_the_diff_opens_in_steps_and_keeps_every_word(dataset, bob_annotates):
    compare(dataset, PROSE[:50_000] + "One.", PROSE[:50_000] + "Two.", "Which?")
    page = bob_annotates()

    page.keyboard.press("d")
    folds = page.locator("[data-side=left] [data-view] .same")
    steps = 0
    while folds.count():
        folds.first.click()
        steps += 1

    assert steps == 3
    assert page.locator("[data-side=left] [data-view]").inner_text().startswith(PROSE[:49_000])


def test_characters_can_be_switched_off_and_arrows_and_buttons_remain(dataset, bob_annotates):
    comparisons_of(dataset, 3)
    page = bob_annotates()
    first = shown(page)

    page.keyboard.press("?")
    page.get_by_label("Keys to vote with").select_option("none")
    page.keyboard.press("Escape")
    look(page)
    for key in ["1", "j", "s", "u", "f", "c"]:
        page.keyboard.press(key)
    assert shown(page) == first
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(page.locator("#answers kbd:not(.wide-only):visible")).to_have_count(0)
    page.keyboard.press("ArrowLeft")
    another_than(page, first)
    saved(page)

    assert Judgment.objects.get().outcome == Judgment.objects.get().left


def test_the_end_page_keeps_the_focus_while_it_looks_again(dataset, bob_annotates):
    comparisons_of(dataset, 1)
    page = bob_annotates()
    page.clock.install()
    page.keyboard.press("1")
    expect(page.locator(".end")).to_be_focused()
    link = page.get_by_role("link", name="My votes")
    link.focus()

    with page.expect_response("**/next/"):
        page.clock.fast_forward(20_000)
    page.wait_for_timeout(300)

    expect(link).to_be_focused()


def test_code_keeps_its_lines_and_scrolls_while_other_keys_still_judge(dataset, bob_annotates):
    code = "So:\n\n```python\nif x:\n    return " + "y + " * 60 + "z\n```\nDone."
    compare(dataset, code, code + " Really.", "How?")
    compare(dataset, code, code + " Truly.", "How then?")
    page = bob_annotates()
    first = shown(page)
    block = page.locator(".pane .code").first

    assert sorted(page.locator(".pane [data-text]").all_inner_texts()) in (
        [code, code + " Really."],
        [code, code + " Truly."],
    )
    block.click()
    expect(block).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(block).not_to_have_js_property("scrollLeft", 0)
    assert shown(page) == first
    page.keyboard.press("2")
    another_than(page, first)


HOSTILE = [
    "</div></article></main><h1>out of its place</h1>",
    '"><svg/onload=window.__nasty=1>',
    "</textarea><script>window.__nasty=1</script>",
    "<!-- <iframe src=javascript:window.__nasty=1> -->",
    "<style>body{display:none}</style><base href=//elsewhere.example/><meta http-equiv=refresh content=0>",
    "<form action=//elsewhere.example><input name=csrfmiddlewaretoken autofocus onfocus=window.__nasty=1>",
    "{{ csrf_token }} {% include 'base.html' %} ${window.__nasty=1} &lt;b&gt; &amp;amp; &#x3c;",
    "[a](javascript:window.__nasty=1) ![b](https://elsewhere.example/pixel.png) <https://elsewhere.example>",
    "[c]: data:text/html,<script>window.__nasty=1</script> '\"><script>'\n\n[c]\n\n```html\n<b>\n```",
    "\u202eright to left\u202c \u200b\u200d\ufeff zero width, \u0430\u0440\u0440le of other letters",
    "\x1b[31mred\x1b[0m\u2028line\u2029paragraph\x85 bell\x07",
    "  two spaces before\n\n\n\tand a tab, three ends of line, two spaces after  ",
    "% _ \\ ' \" ; -- DROP TABLE",
    "../../etc/passwd /static/x?y=1&z=2#<b>",
    "a" * 5_000 + " " + "wide " * 4_000,
    "\U0001f469\u200d\U0001f52c e\u0301 \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
]


def test_hostile_texts_are_shown_letter_for_letter_and_do_nothing(dataset, bob, open_as):
    texts = HOSTILE + hostile_texts()
    # All in one page: as the turns of a conversation, with two of them as its completions.
    compare(
        dataset, "</script><script>window.__nasty=1</script>", "<img src=x onerror=window.__nasty=1>", *texts
    )
    page = open_as(bob)
    requests, reports = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: reports.append(message.text))

    annotate(page, dataset)
    page.locator(".earlier summary").click()
    # innerText leaves out what is not laid out yet, as the ends of long texts.
    shown_texts = page.evaluate(
        "[...document.querySelectorAll('.prompt [data-text]')].map("
        "it => it.querySelector('.block') ? it.textContent : it.innerText)"
    )
    page.keyboard.press("m")
    short = sum(not is_long(text) for text in texts)
    expect(page.locator("[data-view=markdown]")).to_have_count(short + 2)

    assert [(t[:100], s[:100]) for t, s in zip(texts, shown_texts, strict=True) if t != s] == []
    assert page.evaluate("window.__nasty") is None
    assert {url.split("/")[2] for url in requests} == {page.url.split("/")[2]}
    assert reports == []


def test_the_answers_can_be_given_with_another_set_of_keys(dataset, bob_annotates):
    comparisons_of(dataset, 3)
    page = bob_annotates()

    page.keyboard.press("?")
    page.get_by_label("Keys to vote with").select_option("right-hand")
    page.keyboard.press("Escape")
    page.reload()
    expect(page.get_by_role("button", name="Left is better J")).to_be_visible()
    look(page)
    for key in ["1", "j", "Shift+L"]:
        before = shown(page)
        page.keyboard.press(key)
        if key != "1":
            another_than(page, before)
    saved(page)

    left, right = Judgment.objects.order_by("pk")
    assert (left.outcome == left.left, left.strength) == (True, 1)
    assert (right.outcome != right.left, right.strength) == (True, 2)


# 720 by 450 is what the wide window has left when it is zoomed to 200 %.
SIZES = {"wide": (1440, 900), "middle": (1024, 768), "zoomed": (720, 450), "narrow": (390, 844)}


@pytest.fixture(params=["light", pytest.param("dark", marks=pytest.mark.long)])
def scheme(request) -> str:
    return request.param


@pytest.fixture
def good_at_every_width(accessible, picture, scheme) -> Callable[[Page, str], None]:
    """Assert that the page in the state so called passes axe and is not wider than the window."""

    def check(page: Page, state: str) -> None:
        for size, (width, height) in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            picture(page, f"annotate-{state}-{size}-{scheme}")
            overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, f"{state} is {overflow} px too wide at {width} px"
            accessible(page, f"{state} at {width} px")
        width, height = SIZES["wide"]
        page.set_viewport_size({"width": width, "height": height})

    return check


def test_every_state_is_accessible_at_every_width(
    dataset, model, bob_stops, bob_annotates, scheme, good_at_every_width
):
    dataset.guidelines.create(
        number=1, text="# What to prefer\n\nThe answer that is *right*.\n\n1. First\n2. Second"
    )
    code = (
        "So:\n\n```python\ndef twice(n):\n    return 2 * n  # a line that is too long for a narrow pane\n```"
    )
    turns = ["كيف حالك؟", "بخير، شكرا.", "And in Python? " * 110]
    comparison = compare(dataset, code, f"{code}\n\nOr use `n + n`.", *turns)
    SuggestionFactory.create(comparison=comparison, version=model, margin=1.2)
    page = bob_annotates(color_scheme=scheme)

    good_at_every_width(page, "guidelines")
    page.keyboard.press("g")
    good_at_every_width(page, "open")
    page.keyboard.press("m")
    expect(page.locator("[data-view=markdown]").first).to_be_visible()
    good_at_every_width(page, "markdown")
    page.keyboard.press("m")
    good_at_every_width(page, "raw")
    page.keyboard.press("d")
    expect(page.locator("[data-view=diff]").first).to_be_visible()
    good_at_every_width(page, "diff")
    page.keyboard.press("d")
    page.keyboard.press("f")
    good_at_every_width(page, "flag")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    good_at_every_width(page, "keys")
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    good_at_every_width(page, "comment")
    page.keyboard.press("Escape")
    page.keyboard.press("1")
    expect(page.locator(".verdict")).to_be_visible()
    good_at_every_width(page, "reveal")
    page.keyboard.press("u")
    good_at_every_width(page, "reopened")
    page.keyboard.press("Enter")
    expect(page.locator(".end")).to_be_visible()
    good_at_every_width(page, "end")


def test_the_line_of_the_last_pair_is_accessible_at_every_width(
    suggested, bob_annotates, scheme, good_at_every_width
):
    suggested(3)
    page = bob_annotates(color_scheme=scheme)

    page.keyboard.press(key_of(page, "b"))
    expect(page.locator(".last-reveal")).to_contain_text("Model: ")
    good_at_every_width(page, "last-pair")


def test_a_ranking_is_accessible_at_every_width(
    dataset, model, bob_stops, bob_annotates, scheme, good_at_every_width
):
    several(dataset, model)
    page = bob_annotates(color_scheme=scheme)

    good_at_every_width(page, "ranking")
    for key in ["2", "Shift+3", "1"]:
        page.keyboard.press(key)
    good_at_every_width(page, "ranking-begun")
    page.keyboard.press("Enter")
    expect(page.locator(".verdict")).to_be_visible()
    good_at_every_width(page, "ranking-reveal")


def test_suggestions_and_troubles_are_accessible_at_every_width(
    dataset, suggested, bob_annotates, scheme, good_at_every_width
):
    dataset.blind_share = 0
    dataset.save()
    suggested(4)
    Suggestion.objects.filter(pk__in=list(Suggestion.objects.values_list("pk", flat=True)[:2])).update(
        margin=0
    )
    page = bob_annotates(color_scheme=scheme)
    page.wait_for_load_state("networkidle")

    good_at_every_width(page, "suggested")
    page.route("**/judge/", lambda route: route.fulfill(status=409, json={"error": "Others were first."}))
    page.keyboard.press("y")
    expect(page.locator("#notice")).to_contain_text("Others were first.")
    good_at_every_width(page, "refused")
    page.unroute("**/judge/")
    page.context.set_offline(True)
    page.keyboard.press("y")
    expect(page.locator("#saved")).to_contain_text("not saved yet")
    good_at_every_width(page, "unsaved")
    page.context.clear_cookies()
    page.context.set_offline(False)
    expect(page.locator("#saved")).to_contain_text("your login has expired", timeout=20_000)
    good_at_every_width(page, "login-expired")
