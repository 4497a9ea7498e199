"""The pages of a Dataset in a browser: live parts, every width, both themes."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

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

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LONG = "unbroken" * 40
# What stands to the right of the window and in no box that scrolls, and the page itself where it is wider.
OUT_OF_REACH = """() => {
  const { clientWidth, scrollWidth } = document.documentElement;
  const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  const isInBox = (element) => element && (scrolls(element) || isInBox(element.parentElement));
  const elements = [...document.body.querySelectorAll("*:not(svg *, .visually-hidden, .visually-hidden *)")];
  return elements
    .filter((element) => element.getBoundingClientRect().right > clientWidth + 1 && !isInBox(element))
    .map((element) => element.outerHTML.slice(0, 120))
    .concat(scrollWidth > clientWidth ? ["the page"] : []);
}"""
PATIENCE = 20_000  # ms: a page polls each two seconds, and less often on a slow machine
NO_PAGES = {"annotate_undo", "annotate_markdown"}  # a redirect, and a part of a page


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
    """All pages of the URLconf, and one of each Run."""
    path_of = paths_in(dataset)
    kinds = {"", "dataset", "comparison", "upload", "version", "dataset_version", "document"}
    names = [name for name, row in TABLE.items() if row.method == "GET" and row.of in kinds]
    runs = [reverse("run", args=[run.pk]) for run in Run.objects.all()]
    return [*runs, path_of("release"), *(path_of(name) for name in names if name not in NO_PAGES)]


def watch_console(page: Page) -> list[str]:
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    return errors


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1024, "dark"), (1440, "light")])
def test_no_page_is_wider_than_the_window_or_breaks_the_content_policy(
    width, theme, busy, sam, open_as, picture
):
    page = open_as(sam, viewport={"width": width, "height": 900}, color_scheme=theme)
    errors = watch_console(page)

    out_of_reach = []
    for address in addresses(busy):
        page.goto(address)
        picture(page, f"pages{address.replace('/', '-')}{width}-{theme}")
        if elements := page.evaluate(OUT_OF_REACH):
            out_of_reach.append((address, elements))

    assert out_of_reach == []
    assert errors == []


def test_scores_appear_and_the_run_ends_on_the_page_without_a_reload(dataset, alice, open_as):
    version = ModelVersionFactory.create(state="active")
    completions = CompletionFactory.create_batch(3, prompt__dataset=dataset)
    run = RunFactory.create(dataset=dataset, version=version, state="running", done=0, total=3)
    page = open_as(alice)
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

    expect(page.locator(".messages")).to_contain_text("version 1 of the guidelines")
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
    expect(page.locator(".messages")).to_contain_text("Settings saved")
    dataset.refresh_from_db()
    assert dataset.overlap == 3
