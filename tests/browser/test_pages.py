"""The pages of a Dataset in a browser: live parts, every width, both themes."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, Route, expect

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    RunFactory,
    ScoreFactory,
    SuggestionFactory,
    UserFactory,
)
from tests.web.test_access import TABLE, paths_in
from workbench.models import Dataset, Member, ModelVersion, Run, ScoreBatch, User, Worker
from workbench.pipeline.datasets import overview

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LONG = "unbroken" * 40
# What is seen to the right of the window and in no box that scrolls, and the page itself where it is wider.
OUT_OF_REACH = """() => {
  const { clientWidth, scrollWidth } = document.documentElement;
  const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  const isInBox = (element) => element && (scrolls(element) || isInBox(element.parentElement));
  const elements = [...document.body.querySelectorAll("*:not(svg *, .visually-hidden, .visually-hidden *)")];
  return elements
    .filter((element) => element.checkVisibility()) // what is folded away has a place too
    .filter((element) => element.getBoundingClientRect().right > clientWidth + 1 && !isInBox(element))
    .map((element) => element.outerHTML.slice(0, 120))
    .concat(scrollWidth > clientWidth ? ["the page"] : []);
}"""
PATIENCE = 20_000  # ms: a page polls each two seconds, and less often on a slow machine
NO_PAGES = {
    "join_link": "a redirect to the page to join",
    "agree": "staff are not asked; tests/people/test_agreeing.py shows it",
    "running": "a part of a page",
    "openapi": "JSON",
    "annotate_undo": "a redirect to the page of annotation",
    "annotate_markdown": "a part of a page",
    "quality_report": "JSON",
    "quality_table": "CSV",
    "quality_chart": "a picture",
    "sources_report": "JSON",
    "sources_table": "CSV",
    "sources_chart": "a picture",
    "time_sheet_csv": "CSV",
    "history_csv": "CSV",
    "dataset_history_csv": "CSV",
    "account_data": "JSON",
    "release_download": "a file",
    "release_zip": "a file",
    "import_rejects": "a file",
    "help_picture": "a picture",
    **dict.fromkeys(
        (
            "mfa_authenticate", "mfa_login_webauthn", "mfa_reauthenticate", "mfa_activate_totp",
            "mfa_generate_recovery_codes", "mfa_add_webauthn", "mfa_reauthenticate_webauthn",
            "mfa_remove_webauthn", "mfa_edit_webauthn",
        ),
        "asks for a password first; tests/browser/test_two_steps.py shows it",
    ),
}  # fmt: skip
"""Addresses that a browser does not show as a page, by name, with the reason."""
SIZES = [
    (390, "light"), (1440, "dark"),
    (320, "light"), (320, "dark"), (390, "dark"), (1024, "light"), (1024, "dark"), (1440, "light"),
]  # fmt: skip
"""The first two are for each run of the tests, the others for the long tests."""


@pytest.fixture
def sam(db) -> User:
    return UserFactory.create(username="sam", is_staff=True)


@pytest.fixture
def busy(dataset: Dataset, alice: User, bob: User) -> Dataset:
    """A Dataset with some of everything that the pages show, and text that is hard to lay out."""
    version = ModelVersionFactory.create(
        name="demo", state="active", parameters=22_713_601, notice="Demo model: it shows the loop. " * 4
    )
    longest, _ = ModelVersion.objects.get_or_create(name="longest", kind="baseline")
    for number in range(6):
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        for completion in (comparison.a, comparison.b):
            ScoreFactory.create(completion=completion, version=version, value=number - 2.5)
        for rule in (version, longest):
            SuggestionFactory.create(comparison=comparison, version=rule, margin=2.5 - number)
        JudgmentFactory.create(comparison=comparison, annotator=AnnotatorFactory.create())
    CompletionFactory.create(prompt=comparison.prompt, text=LONG, source=LONG[:200])
    Member.objects.create(dataset=dataset, user=UserFactory.create(username=LONG[:100]), role="annotator")
    dataset.revise_guidelines("Prefer the careful answer.\n" + LONG, alice)
    now = timezone.now()
    run = RunFactory.create(
        dataset=dataset, version=version, state="running", done=3, total=12, started_at=now, heartbeat_at=now
    )
    ScoreBatch.objects.create(
        run=run,
        version=version,
        completion_ids=[1],
        size=1,
        state="failed",
        error="the output is nan " + LONG,
    )
    RunFactory.create(dataset=dataset, kind="import", state="failed", error="line 17: " + LONG)
    Worker.objects.create(
        name=f"{LONG[:60]}:1", queues="work", started_at=now, last_seen=now - timedelta(minutes=5)
    )
    return dataset


def addresses(dataset: Dataset) -> list[str]:
    """All pages of the URLconf: a new page is among them once it stands in TABLE, where a test wants it. Of
    some more than one: each Run, a prompt with pairs and a list that was searched. None that says 404 here,
    as /metrics without a token: the browser notes it as an error."""
    path_of = paths_in(dataset)
    shown = [name for name, row in TABLE.items() if row.method == "GET" and row.statuses[-1] != 404]
    names = [name for name in shown if name not in NO_PAGES]
    prompt = dataset.prompts.exclude(comparisons=None).first()
    more = [reverse("run", args=[run.pk]) for run in Run.objects.all()]
    more += [reverse("prompt", args=[prompt.pk]), reverse("data", args=[dataset.pk]) + "?q=answer"]
    return [*(path_of(name) for name in names), *more, reverse("admin:index")]


def watch_console(page: Page) -> list[str]:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    return errors


def test_what_is_walked_is_a_page_and_the_rest_is_not(busy, sam, as_user):
    client, path_of = as_user(sam), paths_in(busy)

    for name, row in TABLE.items():
        if row.method == "GET" and name not in {"login", "account_login"}:  # that sends on who is logged in
            answer = client.get(path_of(name))
            body = b"".join(answer).lstrip()
            assert body.startswith(b"<!doctype html>") == (name not in NO_PAGES), name


@pytest.mark.parametrize(
    ("width", "theme"),
    [*SIZES[:2], *(pytest.param(*size, marks=pytest.mark.long) for size in SIZES[2:])],
)
def test_each_page_is_accessible_as_wide_as_the_window_and_within_the_content_policy(
    width, theme, busy, sam, open_as, picture, accessible
):
    page = open_as(sam, viewport={"width": width, "height": 900}, color_scheme=theme)
    errors = watch_console(page)

    out_of_reach = []
    for address in addresses(busy):
        page.goto(address)
        picture(page, f"pages{address.replace('/', '-')}{width}-{theme}")
        if elements := page.evaluate(OUT_OF_REACH):
            out_of_reach.append((address, elements))
        accessible(page, address)

    assert out_of_reach == []
    assert errors == []


SENT = """([address, answers]) => {
  const form = document.createElement("form");
  form.method = "post";
  form.action = address;
  for (const [name, value] of answers)
    form.append(Object.assign(document.createElement("input"), { name, value }));
  form.append(document.querySelector("[name=csrfmiddlewaretoken]").cloneNode());
  document.body.append(form);
  form.submit();
}"""


@pytest.mark.parametrize(("width", "theme"), SIZES[:2])
def test_the_pages_of_annotators_and_newcomers_and_those_that_count_or_ask_are_accessible(
    width, theme, busy, sam, alice, bob, open_as, picture, accessible, monkeypatch
):
    """What the walk by staff above does not see. Nothing that a page asks for later comes, so that a large
    dataset goes on counting."""

    def answer(route: Route) -> None:
        route.fulfill(status=204) if "hx-request" in route.request.headers else route.continue_()

    def walk(user: User, *addresses: str) -> Page:
        page = open_as(user, viewport={"width": width, "height": 900}, color_scheme=theme)
        page.route("**/*", answer)
        for address in addresses:
            page.goto(address)
            look(page, address)
        return page

    def look(page: Page, place: str) -> None:
        picture(page, f"pages-others{place.replace('/', '-')}{width}-{theme}")
        accessible(page, place)
        assert page.evaluate(OUT_OF_REACH) == [], place

    at = [busy.pk]
    own = [reverse(name, args=at) for name in ("dataset", "annotate", "questions")]
    walk(bob, reverse("home"), *own, reverse("account"))

    page = walk(alice, reverse("data", args=at))
    answers = [["all", "1"], ["kind", "tag"], ["tag", "hard"]]
    page.evaluate(SENT, [reverse("data_act", args=at), answers])
    expect(page.get_by_text("6 prompts").first).to_be_visible()
    look(page, "act-preview")

    monkeypatch.setattr(overview, "LARGE", 0)
    walk(alice, reverse("home"), reverse("dataset", args=at), reverse("data", args=at))

    Dataset.objects.all().delete()
    page = walk(sam, reverse("home"))
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()


def test_the_login_page_is_accessible(open_as, accessible, dataset):
    page = open_as(None, viewport={"width": 320, "height": 900}, color_scheme="dark")
    page.goto(reverse("login"))

    accessible(page)
    assert page.evaluate(OUT_OF_REACH) == []


def test_scores_appear_and_the_run_ends_on_the_page_without_a_reload(dataset, alice, open_as):
    version = ModelVersionFactory.create(state="active")
    completions = CompletionFactory.create_batch(3, prompt__dataset=dataset)
    run = RunFactory.create(dataset=dataset, version=version, state="running", done=0, total=3)
    page = open_as(alice)
    errors = watch_console(page)
    page.goto(dataset.get_absolute_url())
    page.evaluate("window.sameDocument = true")
    scored = page.locator(".loop li").nth(1).locator("b")
    expect(scored).to_have_text("0")

    for completion in completions[:2]:
        ScoreFactory.create(completion=completion, version=version)
    run.update_progress(done=2)

    expect(scored).to_have_text("2", timeout=PATIENCE)
    expect(page.locator(".runs")).to_contain_text("2 of 3 answers")

    ScoreFactory.create(completion=completions[2], version=version)
    run.finish()

    expect(scored).to_have_text("3", timeout=PATIENCE)
    expect(page.locator(".runs")).to_have_count(0)
    assert page.evaluate("window.sameDocument")
    assert errors == []


def test_a_page_stops_asking_when_nothing_is_open(dataset, alice, open_as):
    run = RunFactory.create(dataset=dataset, state="running")
    page = open_as(alice)
    statuses: list[int] = []
    page.on("response", lambda answer: statuses.append(answer.status))
    page.goto(reverse("run", args=[run.pk]))
    with page.expect_request(lambda request: "hx-request" in request.headers, timeout=PATIENCE):
        pass

    run.finish()
    with page.expect_response(lambda answer: answer.status == 286, timeout=PATIENCE):
        pass
    statuses.clear()
    page.wait_for_timeout(3_000)

    assert statuses == []


def test_a_page_goes_on_asking_after_the_server_was_away(dataset, alice, open_as):
    run = RunFactory.create(dataset=dataset, state="running", done=1, total=9)
    page = open_as(alice)
    page.goto(dataset.get_absolute_url())
    page.context.set_offline(True)
    with page.expect_event("requestfailed", timeout=PATIENCE):
        pass

    page.context.set_offline(False)
    run.update_progress(done=5)

    expect(page.locator(".runs")).to_contain_text("5 of 9", timeout=PATIENCE)


def test_the_focus_stays_where_it_was_when_the_page_changes_under_it(dataset, alice, open_as):
    run = RunFactory.create(dataset=dataset, state="running", done=1, total=9)
    page = open_as(alice)
    page.goto(dataset.get_absolute_url())
    page.focus(f"#to-run-{run.pk}")

    run.update_progress(done=5)

    expect(page.locator(".runs")).to_contain_text("5 of 9", timeout=PATIENCE)
    expect(page.locator(f"#to-run-{run.pk}")).to_be_focused()


def test_html_in_a_text_is_read_and_not_obeyed(dataset, rita, open_as):
    text = '<img src="x" onerror="document.title = \'obeyed\'"><script>document.title = "obeyed"</script>'
    CompletionFactory.create(prompt__dataset=dataset, text=text)
    page = open_as(rita)

    page.goto(reverse("data", args=[dataset.pk]))
    page.locator(".completions summary").click()

    expect(page.locator(".completions .judged-text")).to_have_text(text)
    expect(page).to_have_title("Data of Kitchen · Preference workbench")


def test_guidelines_come_back_from_the_browser_as_they_were_typed(dataset, alice, open_as):
    text = "\n  First line is empty.\n\n\tA tab, and trailing space: \n"
    page = open_as(alice)
    page.goto(reverse("settings", args=[dataset.pk]))

    page.fill("textarea[name=text]", text)
    page.get_by_role("button", name="Save new version").click()

    expect(page.locator(".toasts")).to_contain_text("version 1 of the guidelines")
    assert dataset.current_guidelines.text == text
    expect(page.locator("textarea[name=text]")).to_have_value(text)


def test_the_chosen_theme_is_remembered(dataset, alice, open_as):
    page = open_as(alice, color_scheme="light")
    page.goto("/")
    page.get_by_role("button", name="Switch between light and dark").click()

    page.goto(dataset.get_absolute_url())

    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"


def test_settings_and_members_can_be_changed_without_a_script(dataset, alice, charlie, open_as):
    page = open_as(alice, java_script_enabled=False)

    page.goto(reverse("people", args=[dataset.pk]))
    page.get_by_label("Name").fill("charlie")
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".people")).to_contain_text("charlie")

    page.goto(reverse("settings", args=[dataset.pk]))
    page.get_by_label("People per pair").fill("3")
    page.get_by_role("button", name="Save settings").click()
    expect(page.locator(".toasts")).to_contain_text("Settings saved")
    dataset.refresh_from_db()
    assert dataset.overlap == 3


def test_a_toast_leaves_by_itself_and_one_with_an_undo_stays(dataset, alice, open_as):
    page = open_as(alice)
    page.clock.install()
    page.goto(reverse("settings", args=[dataset.pk]))

    page.get_by_role("button", name="Save settings").click()
    expect(page.locator(".toast")).to_contain_text("Settings saved.")
    assert page.evaluate("document.activeElement === document.body")
    page.clock.run_for(20_000)
    expect(page.locator(".toast")).to_have_count(0)

    page.get_by_role("button", name="Archive Kitchen").click()
    page.clock.run_for(20_000)
    expect(page.locator(".toast")).to_contain_text("Kitchen is archived.")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".toast")).to_contain_text("Kitchen is in use again.")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.locator(".toast")).to_have_count(0)


def test_without_a_script_a_toast_stays(dataset, alice, open_as):
    page = open_as(alice, java_script_enabled=False)
    page.goto(reverse("settings", args=[dataset.pk]))

    page.get_by_role("button", name="Save settings").click()

    expect(page.locator(".toast")).to_contain_text("Settings saved.")
    expect(page.locator(".toast")).to_have_css("position", "static")
    expect(page.get_by_role("button", name="Dismiss")).to_be_hidden()


def test_the_sentence_of_the_settings_follows_what_is_typed(dataset, alice, open_as, accessible, picture):
    ComparisonFactory.create_batch(3, prompt__dataset=dataset)
    page = open_as(alice)
    page.goto(reverse("settings", args=[dataset.pk]))
    sentence = page.locator("#effort")
    expect(sentence).to_contain_text("3 votes to come")

    page.get_by_label("People per pair").fill("4")

    expect(sentence).to_contain_text("Each pair is judged by 4 people", timeout=PATIENCE)
    expect(sentence).to_contain_text("12 votes to come")
    picture(page, "settings-sentence")
    accessible(page)


def test_a_preset_fills_the_settings_and_is_saved_without_a_script(dataset, alice, open_as):
    page = open_as(alice, java_script_enabled=False)
    page.goto(reverse("settings", args=[dataset.pk]))

    page.get_by_role("link", name="Careful").click()
    expect(page.get_by_text("Nothing is saved yet.")).to_be_visible()
    page.get_by_role("button", name="Save settings").click()

    expect(page.locator("#effort")).to_contain_text("Each pair is judged by 2 people")
    dataset.refresh_from_db()
    assert (dataset.overlap, dataset.max_overlap) == (2, 3)
