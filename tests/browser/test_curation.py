"""What people do to data, each from the Overview of the demo in at most three acts: a click, or a line and
Enter. The demo is prepared once, and each test begins with a copy of it."""

import json
from collections.abc import Iterator
from io import StringIO

import pytest
from django.apps import apps
from django.core.management import call_command
from django.core.serializers import serialize
from django.db import connection
from django.test.utils import override_settings
from django.urls import reverse
from playwright.sync_api import Locator, Page, expect

from tests.factories import UserFactory
from workbench.models import (
    Act,
    Comparison,
    Completion,
    Dataset,
    Decision,
    Member,
    ModelVersion,
    Prompt,
    Role,
    Suggestion,
    User,
)

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MOST_ACTS = 3


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, django_db_setup, django_db_blocker) -> Iterator[str]:
    """The demo as a text from which the rows of its tables can be read back."""
    folder = tmp_path_factory.mktemp("demo")
    with override_settings(DATA_DIR=folder, STATIC_ROOT=folder / "static"), django_db_blocker.unblock():
        call_command("demo", no_serve=True, stdout=StringIO(), stderr=StringIO())
        models = apps.get_app_config("workbench").get_models()
        rows = serialize("json", [row for model in models for row in model._base_manager.all()])
        call_command("flush", verbosity=0, interactive=False, reset_sequences=False)
        django_db_blocker.block()
        yield rows
        django_db_blocker.unblock()


@pytest.fixture
def demo(prepared, transactional_db) -> Dataset:
    ModelVersion.objects.all().delete()  # a flush leaves the baselines
    connection.creation.deserialize_db_from_string(prepared)
    return Dataset.objects.get()


@pytest.fixture
def admin(demo) -> User:
    user = UserFactory.create(username="alice")
    Member.objects.create(dataset=demo, user=user, role=Role.ADMIN)
    return user


class Hand:
    """A person at a page, whose acts are counted."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.acts = 0

    def click(self, what: Locator) -> None:
        what.click()
        self.acts += 1

    def type(self, line: str, into: Locator | None = None) -> None:
        """Into the search box, or into the field that the last act gave the focus."""
        if into is not None:
            into.focus()
        expect(self.page.locator("input:focus")).to_have_count(1)
        self.page.keyboard.type(line)
        self.page.keyboard.press("Enter")
        self.acts += 1

    def search(self, words: str) -> None:
        self.type(words, self.page.get_by_role("searchbox"))
        self.expect_found()

    def choose(self, facet: str) -> None:
        self.click(self.page.locator(".facets").get_by_role("link", name=facet))
        self.expect_found()

    def expect_found(self) -> None:
        """Until then the page may still show all prompts."""
        expect(self.page.locator(".chosen")).to_be_visible()

    def row(self, prompt: Prompt) -> Locator:
        return self.page.locator(f"#prompt-{prompt.pk}")

    def open(self, prompt: Prompt) -> None:
        self.click(self.row(prompt).get_by_role("link", name=f"#{prompt.pk}"))
        expect(self.page.get_by_role("heading", name="Pairs")).to_be_visible()


@pytest.fixture
def hand(demo, admin, open_as) -> Iterator[Hand]:
    hand = Hand(open_as(admin))
    hand.page.goto(demo.get_absolute_url())
    yield hand
    assert 0 < hand.acts <= MOST_ACTS


@pytest.fixture
def heat_pump(demo) -> Prompt:
    (prompt,) = (prompt for prompt in Prompt.objects.all() if "heat pump" in json.dumps(prompt.messages))
    return prompt


def shown(page: Page) -> set[int]:
    """The prompts of the Data page, on all of its pages."""
    pks: set[int] = set()
    while True:
        ids = page.locator("article.prompt").evaluate_all("rows => rows.map(row => row.id)")
        pks |= {int(text.removeprefix("prompt-")) for text in ids}
        following = page.get_by_role("link", name="Next")
        if not following.count():
            return pks
        page.goto(page.evaluate("link => link.href", following.element_handle()))


def test_find_the_prompts_that_mention_something(hand, demo):
    hand.search("FRIDGE")

    mention = {
        prompt.pk
        for prompt in Prompt.objects.prefetch_related("completions")
        if "fridge" in str([prompt.messages, *(c.text for c in prompt.completions.all())]).lower()
    }
    expect(hand.page.locator(".found mark").first).to_be_visible()
    assert shown(hand.page) == mention
    assert len(mention) > 1


def test_find_all_answers_of_one_source(hand, demo):
    hand.click(hand.page.get_by_role("link", name="Data", exact=True))
    hand.choose("rowan")

    of_source = Completion.objects.filter(source="rowan")
    row = hand.page.locator("article.prompt").first
    expect(row.locator(".completions li:not(.other) .source")).to_have_text(["rowan"])
    assert shown(hand.page) == set(of_source.values_list("prompt", flat=True))


def test_find_the_pairs_the_model_is_unsure_about(hand, demo):
    hand.click(hand.page.get_by_role("link", name="Data", exact=True))
    hand.choose("50 to 59 %")

    version = ModelVersion.objects.active()
    limit = version.temperature * 0.4055  # the margin at which the model is sure by 60 %
    unsure = Suggestion.objects.filter(version=version, margin__gt=-limit, margin__lt=limit)
    assert f"{unsure.count()} pairs" in hand.page.locator(".chosen").inner_text()
    assert shown(hand.page) == set(unsure.values_list("comparison__prompt", flat=True))


def test_exclude_a_bad_prompt(hand, heat_pump):
    hand.search("heat pump")
    hand.click(hand.row(heat_pump).get_by_label("Exclude prompt"))
    hand.type("Asks for physics")

    expect(hand.page.get_by_text("Excluded 1 prompt from the queue and releases")).to_be_visible()
    heat_pump.refresh_from_db()
    assert (heat_pump.excluded_from, heat_pump.excluded_reason) == ("both", "Asks for physics")
    hand.page.get_by_role("button", name="Undo").click()
    expect(hand.page.get_by_text("Undone for 1 prompt")).to_be_visible()
    heat_pump.refresh_from_db()
    assert heat_pump.excluded_from == ""


def test_fix_a_wrong_label(hand, heat_pump, admin):
    pair = Comparison.objects.filter(prompt=heat_pump, decisions__outcome="a").first()
    first = min(pair.a_id, pair.b_id) == pair.a_id

    hand.search("heat pump")
    hand.open(heat_pump)
    choices = hand.page.locator(f"#pair-{pair.pk} .settle").get_by_role("button", name="Answer")
    hand.click(choices.nth(1 if first else 0))

    expect(hand.page.get_by_text("Settled the pair.")).to_be_visible()
    label = Decision.objects.current().get(comparison=pair)
    assert (label.outcome, label.method, label.decided_by) == ("b", "reviewer", admin)


def test_set_gold(hand, heat_pump):
    labels = Decision.objects.current().filter(comparison__prompt=heat_pump)
    known = {pk: outcome for pk, outcome in labels.values_list("comparison", "outcome") if outcome}

    hand.search("heat pump")
    hand.click(hand.row(heat_pump).get_by_label("Gold"))
    hand.type("Only one answer explains the refrigerant")

    expect(hand.page.get_by_text("Made gold 6 pairs")).to_be_visible()
    gold = Comparison.objects.filter(prompt=heat_pump).exclude(gold_outcome="")
    assert dict(gold.values_list("pk", "gold_outcome")) == known
    assert {pair.gold_note for pair in gold} == {"Only one answer explains the refrigerant"}


def test_open_one_prompt_with_everything_about_it(hand, heat_pump):
    hand.search("heat pump")
    hand.open(heat_pump)

    text = hand.page.locator("main").inner_text()
    for answer in heat_pump.completions.all():
        assert " ".join(answer.text.split())[:60] in " ".join(text.split())
        assert answer.source in text
    pairs = Comparison.objects.filter(prompt=heat_pump)
    expect(hand.page.locator("article.pair")).to_have_count(pairs.count())
    for part in ("Who won", "History", "Raw JSON", "train split"):
        assert part in text


def test_enter_in_a_note_settles_nothing(open_as, admin, heat_pump):
    page = open_as(admin)
    page.goto(reverse("prompt", args=[heat_pump.pk]))
    pair = page.locator("article.pair").first
    pair.get_by_text("Reason and note").click()

    pair.get_by_label("Note").fill("Answer 2 has the wrong unit")
    pair.get_by_label("Note").press("Enter")
    page.wait_for_timeout(500)

    assert not Decision.objects.filter(method="reviewer").exists()
    assert not Act.objects.exists()
