"""Sentences typed into every page and dialog that takes keys, with a server that answers late: no case or
pair that had been on screen for less than 300 ms is answered, and every note is on its own case.

The long stage types 10,000 sentences under Playwright's fake clock, which no pause of the machine disturbs.
Most of their keys are events of a script (typing.js says what it does for the browser); every 25th sentence,
and all of those typed in real time, are of trusted keys, as a keyboard's."""

import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser.test_annotate import compare
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
)
from workbench.models import Claim, Comparison, Dataset, Decision, Flag, Judgment, ModelVersion, User

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LOOK = 300
SENTENCES = int(os.environ.get("TYPED_SENTENCES", "10000"))
BATCH = 50
SCRIPT = (Path(__file__).parent / "typing.js").read_text()
WORDS = (
    "a an the xylophone jumps vague maybe unsure both fine good bad n g m 1 2 3 4 5 x k j r y u s d b is "
    "longer than other says nothing of question guideline lacks answer broken wrong note tie"
)
# What somebody does before the sentence, on purpose or not.
REVIEW_STARTS = ["1g", "2n", "3bn", "xn", "4mn", "n", "g", "b", "1", "j", "u", ""]
ANNOTATE_STARTS = ["c", "c", "f", "f2", "?", "g", "u", "1", "2", "31", "s", "d", "", "1u"]
PLACES = ["review", "straight on", "stopping", "ranking"]
# What answers for certain, typed slowly: whatever the dice say, something is answered.
ANSWER = {"review": ["1", "Enter"], "ranking": ["1", "2", "3", "Enter"]}


def sentence(dice: random.Random, place: str) -> list[tuple[str, int]]:
    """Keys, each with the milliseconds before it."""
    start = dice.choice(REVIEW_STARTS if place == "review" else ANNOTATE_STARTS)
    words = " ".join(dice.choice(WORDS.split()) for _ in range(dice.randint(1, 5)))
    end = dice.choice([["Enter"], ["Enter"], ["Enter", "Enter"], ["Escape"], []])
    return [(key, dice.randint(30, 200)) for key in [*start, *words, *end]]


class FakeClock:
    """Stands still until `run`, so that the time is known without a question to the page."""

    slice = 500

    def __init__(self, page: Page) -> None:
        self.page = page
        page.clock.pause_at(page.evaluate("Date.now() / 1000") + 1)
        self.now = page.evaluate("performance.now()")

    def run_for(self, ms: float) -> None:
        self.page.clock.run_for(round(ms))
        self.now += round(ms)


class RealClock:
    slice = 20

    def __init__(self, page: Page) -> None:
        self.page = page

    @property
    def now(self) -> float:
        return self.page.evaluate("performance.now()")

    def run_for(self, ms: float) -> None:
        self.page.wait_for_timeout(ms)


@dataclass
class Typist:
    """Types on a page, and holds what the server says for up to two seconds of the page's clock."""

    page: Page
    dice: random.Random
    clock: FakeClock | RealClock = field(init=False)
    held: list[tuple[float, Route]] = field(default_factory=list)
    released: int = 0

    def hold(self, route: Route, request: Request) -> None:
        at = request.headers.get("x-typed-at")
        if at is None:
            return route.continue_()
        return self.held.append((float(at) + self.dice.uniform(0, 2_000), route))

    def type(self, keys: list[tuple[str, int]], trusted: bool) -> None:
        if trusted:
            for key, pause in keys:
                self.let_pass(pause)
                self.page.keyboard.press("Space" if key == " " else key)
        else:
            self.page.evaluate("keys => typing.plan(keys)", keys)
            self.let_pass(sum(pause for _, pause in keys) + 1)

    def let_pass(self, ms: float) -> None:
        """Let so much time pass, and release held responses when they are due."""
        until = self.clock.now + ms
        while (left := until - self.clock.now) > 0:
            first = min((due for due, _ in self.held), default=until)
            self.clock.run_for(max(1, min(left, self.clock.slice, first - self.clock.now)))
            self._release(self.clock.now)

    def _release(self, now: float) -> None:
        due = [response for response in self.held if response[0] <= now]
        for response in due:
            self.held.remove(response)
            response[1].continue_()
        self.released += len(due)
        if due and isinstance(self.clock, FakeClock):
            self.page.evaluate("n => typing.until(n)", self.released)

    def finish(self) -> list[dict]:
        """Let everything arrive, and give what the page has sent."""
        for _ in range(60):
            self.let_pass(500)
            quiet = (
                self.page.evaluate("document.querySelector('#saved')?.dataset.state ?? 'saved'") == "saved"
            )
            if not self.held and quiet:
                break
        return self.page.evaluate("typing.sent")


@pytest.fixture
def model(db) -> ModelVersion:
    return ModelVersionFactory.create(state="active", temperature=1.0)


def disagreements(dataset: Dataset, model: ModelVersion, n: int) -> None:
    people = AnnotatorFactory.create_batch(2)
    for i in range(n):
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"Which, {i}?"}])
        a, b = (CompletionFactory.create(prompt=prompt, text=f"{text} {i}.") for text in ("One", "Another"))
        comparison = ComparisonFactory.create(prompt=prompt, a=a, b=b)
        for annotator, outcome in zip(people, "ab", strict=True):
            JudgmentFactory.create(comparison=comparison, annotator=annotator, outcome=outcome)
        SuggestionFactory.create(comparison=comparison, version=model, margin=2.0)


def pairs(dataset: Dataset, model: ModelVersion, n: int) -> None:
    for i in range(n):
        comparison = compare(dataset, f"One {i}.", f"Another {i}.", f"Which, {i}?")
        SuggestionFactory.create(comparison=comparison, version=model, margin=2.0)


def rankings(dataset: Dataset, model: ModelVersion, n: int) -> None:
    dataset.allows_ranking = True
    dataset.save()
    for i in range(n):
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"Rank, {i}."}])
        completions = [
            CompletionFactory.create(prompt=prompt, text=f"{text} {i}.") for text in ("A", "B", "C")
        ]
        for a, b in combinations(sorted(completions, key=lambda completion: completion.sha256), 2):
            comparison = ComparisonFactory.create(prompt=prompt, a=a, b=b)
            SuggestionFactory.create(comparison=comparison, version=model, margin=2.0)


@pytest.fixture
def prepared(
    dataset: Dataset, model: ModelVersion, bob: User, rita: User
) -> Callable[[str], tuple[User, str]]:
    """Who answers in one of PLACES, and its URL: made once, and opened again for each batch."""
    datasets: dict[str, Dataset] = {}

    def prepare(place: str) -> tuple[User, str]:
        if place not in datasets:
            datasets[place] = Dataset.objects.create(name=place)
            for user, role in ((rita, "reviewer"), (bob, "annotator")):
                datasets[place].members.create(user=user, role=role)
            make = {"review": disagreements, "ranking": rankings}.get(place, pairs)
            make(datasets[place], model, 2 * BATCH)
        User.objects.filter(pk=bob.pk).update(goes_straight_on=place != "stopping")
        page = "review" if place == "review" else "annotate"
        return (rita if place == "review" else bob), f"/datasets/{datasets[place].pk}/{page}/"

    return prepare


def forget_answers(bob: User) -> None:
    Flag.objects.all().delete()
    Decision.objects.update(supersedes=None)
    Decision.objects.all().delete()
    answers = Judgment.objects.filter(annotator__user=bob)
    answers.update(supersedes=None)
    answers.delete()
    Claim.objects.all().delete()
    Comparison.objects.update(claimed=0)


@pytest.fixture
def typist(open_as) -> Callable[..., Typist]:
    def sit_down(user: User, url: str, dice: random.Random, fake: bool) -> Typist:
        page = open_as(user, viewport={"width": 800, "height": 600})  # less to paint
        page.set_default_timeout(30_000)
        page.add_init_script(SCRIPT)
        if fake:
            page.clock.install(time=0)
        seated = Typist(page, dice)
        page.route(lambda url: "/static/" not in url, seated.hold)
        page.goto(url)
        expect(page.locator("#case .answer, body.has-script .item").first).to_be_visible()
        seated.clock = FakeClock(page) if fake else RealClock(page)
        return seated

    return sit_down


def type_batch(
    place: str, n: int, seed: str, prepared: Callable, typist: Callable, bob: User, fake: bool
) -> int:
    """Type n sentences in one place, and check the requests; returns the number of answers."""
    dice = random.Random(seed)
    user, url = prepared(place)
    seated = typist(user, url, dice, fake)
    seated.let_pass(2 * LOOK)
    seated.type([(key, 2 * LOOK) for key in ANSWER.get(place, ["1"])], trusted=True)
    seated.let_pass(3_000)
    for i in range(n):
        seated.type(sentence(dice, place), trusted=not fake or i % 25 == 24)
        seated.let_pass(dice.choice([0, 100, 400, 1_500]))
    sent = seated.finish()
    where = f"{place}, seed {seed!r}"
    early = [post for post in sent if post["since"] is None or post["at"] - post["since"] < LOOK]
    assert early == [], f"{where}: answered before anybody could look"
    assert [post for post in sent if post["asked"] != post["comparison"]] == [], f"{where}: a flag on another"
    astray = [request for request in sent if request["words"].strip() != request["written"].strip()]
    assert astray == [], f"{where}: words on another case than the one that they were written on"
    answers = [request for request in sent if re.search("/(settle|judge)/", request["to"])]
    sent_words = {
        (int(request["comparison"]), "\n".join(request["words"].splitlines()).strip()) for request in answers
    }
    if place == "review":
        stored = set(Decision.objects.filter(method="reviewer").values_list("comparison", "note"))
    else:
        judgments = Judgment.objects.filter(annotator__user=bob).values_list("comparison", "comment")
        stored = {(pk, "\n".join(comment.splitlines()).strip()) for pk, comment in judgments}
    # A ranking is stored as several Comparisons, of which the page names one.
    assert place == "ranking" or stored <= sent_words, f"{where}: stored, and never sent"
    seated.page.context.close()
    forget_answers(bob)
    return len(answers)


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES)
def test_sentences_typed_in_real_time_answer_nothing_unseen(place, prepared, typist, bob):
    seed = os.environ.get("TYPED_SEED", f"real {time.time_ns()}")

    assert type_batch(place, 15, seed, prepared, typist, bob, fake=False) > 0, f"{place}, seed {seed!r}"


@pytest.mark.parametrize("place", PLACES)
def test_typed_sentences_answer_nothing_unseen(place, prepared, typist, bob):
    assert type_batch(place, 25, f"short, {place}", prepared, typist, bob, fake=True) > 0


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_typed_sentences_answer_nothing_unseen(part, prepared, typist, bob):
    answers = 0
    for n, begun in enumerate(range(0, SENTENCES // 10, BATCH)):
        place = PLACES[n % len(PLACES)]
        seed = os.environ.get("TYPED_SEED", f"part {part}, batch {n}")
        size = min(BATCH, SENTENCES // 10 - begun)
        answers += type_batch(place, size, seed, prepared, typist, bob, fake=True)

    assert answers > SENTENCES / 10 / 20
