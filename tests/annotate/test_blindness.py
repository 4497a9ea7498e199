"""An annotator tries to tell gold and repeats from work, and agreement from disagreement, by every byte of
every page and reply, and of every answer to a program. Each test plays the same story twice, in worlds that
differ in one fact alone."""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import orjson
import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.api.conftest import program_with, token_of
from tests.api.tables import OWN, operations, operations_of
from tests.api.test_access import ADDRESSES
from tests.conftest import client_of
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
)
from tests.votes import record_judgment
from tests.web.test_access import PEOPLE, TABLE
from workbench.models import Annotator, Claim, Comparison, Dataset, Judgment, ModelVersion, Suggestion
from workbench.pipeline.annotate import handout, queue
from workbench.pipeline.annotate.answers import Answer
from workbench.pipeline.annotate.handout import next_claim
from workbench.pipeline.questions import replying
from workbench.pipeline.review import decide

# What a page tells is the same on each database, and these tests are a fifth of the time of all.
pytestmark = [pytest.mark.django_db, pytest.mark.portable]

ROLE = PEOPLE.index("annotator")
SAME_IN_EVERY_WORLD = (
    "document", "picture", "link", "old link to reset", "old link to verify", "old passkey", "no provider",
)  # fmt: skip
"""Kinds of objects that are of no dataset."""
OPENED = [
    name
    for name, row in TABLE.items()
    if row.method == "GET" and row.statuses[ROLE] in (200, 302) and row.of not in SAME_IN_EVERY_WORLD
]
"""All that this role can open of a dataset or of itself."""
SENT = {
    "logout",
    "account_logout",
    "log_out_elsewhere",
    "own_languages",
    "annotate_next",
    "judge",
    "annotate_skip",
    "annotate_flag",
    "annotate_hold",
    "qualify_start",
    "qualify_answer",
}
"""What this role can send; the stories below send all that is about a dataset."""
OPERATIONS_OPENED = [
    name
    for name, row in operations().items()
    if row.role in ("", OWN, "annotator") and (ADDRESSES[name][0] == "GET" or name == "reopen_pair")
]
"""All that a program of this role can read; a vote is reopened by POST, which changes nothing."""
OPERATIONS_SENT = {operation for name in SENT for operation in operations_of(name)}
ARGUMENTS: dict[str, Callable[["Story"], list[int]]] = {
    "": lambda story: [],
    "dataset": lambda story: [story.dataset.pk],
    "claimed": lambda story: [story.dataset.pk],
}
WAYS: tuple[tuple[str, dict[str, str]], ...] = (
    ("", {}),
    ("whole=1&now=1&again=1", {}),
    ("", {"HX-Request": "true"}),
    ("", {"X-Requested-With": "fetch", "Accept": "application/json"}),
)
CLOCKS = {"Date", "Expires", "Last-Modified", "Set-Cookie", "X-Request-ID"}
NONCES = re.compile(
    r'(?<=name="csrfmiddlewaretoken" value=")\w+|(?<=X-CSRFToken": ")\w+'
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)"  # when they voted, in a file of their own data
    r'|(?<=<time class="hint">)[^<]+'  # when they asked
)
X, TWIN_OF_X = 770_001, 770_002
WORK, GOLD, REPEAT = 0.9, 0.0, 0.3
"""Throws of the dice."""


def test_every_url_that_an_annotator_can_send_something_to_is_played_here():
    accepted = {
        name for name, row in TABLE.items() if row.method == "POST" and row.statuses[ROLE] in (200, 302)
    }

    assert accepted == SENT
    assert {TABLE[name].of for name in OPENED} <= set(ARGUMENTS)


def test_every_operation_of_annotators_is_played_here():
    of_annotators = {name for name, row in operations().items() if row.role == "annotator"}

    assert of_annotators <= OPERATIONS_SENT | set(OPERATIONS_OPENED)
    assert {operations()[name].of for name in OPERATIONS_OPENED} <= {"", "dataset"}


class Story:
    """Bob in one world: he opens and sends, and every byte that comes back is kept."""

    least = 20

    def __init__(self, dataset: Dataset, client: Client, bob: Annotator) -> None:
        self.dataset, self.client, self.bob = dataset, client, bob
        self.seen: list[tuple[str, str]] = []

    def keep(self, request: str, reply: HttpResponse) -> HttpResponse:
        headers = sorted((name, value) for name, value in reply.headers.items() if name not in CLOCKS)
        body = b"".join(reply).decode()
        response = NONCES.sub("~", f"{reply.status_code} {headers}\n{body}")
        twin, x = str(TWIN_OF_X), str(X)
        self.seen.append((request.replace(twin, x), response.replace(twin, x)))
        return reply

    def open_all(self, moment: str, but: tuple[str, ...] = ()) -> None:
        claim = Claim.objects.filter(annotator=self.bob).order_by("number").last()
        for name in OPENED:
            if name in but:
                continue
            path = reverse(name, args=ARGUMENTS[TABLE[name].of](self))
            about = ""
            if TABLE[name].of == "claimed":
                about = f"comparison={claim.comparison_id}&claim={claim.pk}&"
            for query, headers in WAYS:
                where = f"{path}?{about}{query}"
                self.keep(f"{moment}: GET {where} {headers}", self.client.get(where, headers=headers))

    def send(self, name: str, **fields: object) -> HttpResponse:
        path = reverse(name, args=[self.dataset.pk])
        headers = {"X-Requested-With": "fetch", "Accept": "application/json"}
        return self.keep(f"POST {path}", self.client.post(path, fields, headers=headers))

    def next(self) -> Claim:
        self.send("annotate_next")
        return Claim.objects.filter(annotator=self.bob).select_related("comparison").order_by("number").last()

    def on(self, claim: Claim, name: str, **fields: object) -> HttpResponse:
        about = {"comparison": claim.comparison_id, "claim": claim.pk, "user": self.bob.user_id}
        return self.send(name, **about, **fields)

    def judge(self, claim: Claim, answer: str = "left", **fields: object) -> None:
        self.on(claim, "judge", answer=answer, key=fields.pop("key", uuid4()), **fields)


class StoryOfProgram(Story):
    """The same, by a program with Bob's token."""

    least = 10

    def open_all(self, moment: str, but: tuple[str, ...] = ()) -> None:
        for name in OPERATIONS_OPENED:
            if name not in {operation for page in but for operation in operations_of(page)}:
                self.ask(name, {}, moment)

    def send(self, name: str, **fields: object) -> HttpResponse:
        fields.pop("user", None)  # the token says who it is
        body = {key: str(value) if key in ("key", "supersedes") else value for key, value in fields.items()}
        if "have" in body:
            body["have"] = [body["have"]]
        if "again" in body:
            body["again"] = bool(body["again"])
        (operation,) = operations_of(name)
        return self.ask(operation, body, "sent")

    def ask(self, name: str, body: dict[str, object], moment: str) -> HttpResponse:
        method, path = ADDRESSES[name]
        path = path.format(pk=self.dataset.pk)
        sent = orjson.dumps(body) if method == "POST" else b""
        answer = self.client.generic(method, path, sent, content_type="application/json")
        assert answer.status_code in (200, 204, 409), answer.content
        return self.keep(f"{moment}: {method} {path}", answer)


@contextmanager
def world(dice: Callable[[float], None]) -> Iterator[None]:
    """Whatever happens in here is undone, and the next world gives out the same numbers."""
    random.seed(1)
    cache.clear()
    dice(WORK)
    before = numbers_given_out()
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
    give_out_from(before)


def numbers_given_out() -> list[tuple[str, int | None]]:
    if connection.vendor != "postgresql":
        return []  # SQLite takes numbers back with the transaction
    with connection.cursor() as cursor:
        cursor.execute("SELECT schemaname || '.' || sequencename, last_value FROM pg_sequences")
        return cursor.fetchall()


def give_out_from(before: list[tuple[str, int | None]]) -> None:
    with connection.cursor() as cursor:
        for sequence, last in before:
            cursor.execute("SELECT setval(%s, %s, %s)", [sequence, last or 1, last is not None])


@pytest.fixture
def dice(monkeypatch) -> Callable[[float], None]:
    monkeypatch.setattr(handout, "REPEAT_AFTER", 1)
    return lambda at: monkeypatch.setattr(handout.random, "random", lambda: at)


@pytest.fixture(params=[Story, StoryOfProgram])
def story(request, dataset: Dataset, bob, monkeypatch) -> Callable[[], Story]:
    """A Dataset with a model that is active, work that others have begun, and X, which Bob gets first."""
    dataset.gold_share = dataset.repeat_share = 0.2
    dataset.overlap, dataset.max_overlap, dataset.blind_share = 2, 3, 1
    dataset.save()
    annotator = Annotator.objects.for_user(bob)
    version = ModelVersionFactory.create(state="active", temperature=1.0)
    longest = ModelVersion.objects.get(name="longest")
    done = ComparisonFactory.create_batch(3, prompt__dataset=dataset)
    more = ComparisonFactory.create_batch(3, prompt__dataset=dataset)
    for pk in (TWIN_OF_X, X):
        messages = [{"role": "user", "content": "Which?"}]
        prompt = PromptFactory.create(dataset=dataset, messages=messages, sha256=uuid4().hex * 2)
        texts = {"a__text": "One text.", "b__text": "Two texts."}
        ComparisonFactory.create(pk=pk, prompt=prompt, **texts)
    for comparison in Comparison.objects.all():
        for scorer, margin in ((version, 1.0), (longest, -1.0)):
            SuggestionFactory.create(comparison=comparison, version=scorer, margin=margin)
    everything = Comparison.objects.filter(dataset=dataset)
    everything.exclude(pk__in=[comparison.pk for comparison in done]).update(required=0)
    for _ in done:
        for person in (annotator, AnnotatorFactory.create()):
            claim = next_claim(dataset, person)
            record_judgment(person, claim.comparison, Answer("left", uuid4()), claim.pk)
    everything.filter(pk__in=[comparison.pk for comparison in more]).update(required=None)
    queue.renew_all(dataset)
    # All that is open comes in one order, X first where it is open at all.
    everything.update(random_rank=0.5)
    everything.filter(pk__in=[X, TWIN_OF_X]).update(random_rank=0.1)
    monkeypatch.setattr("workbench.pipeline.annotate.handout.draw", lambda *seed: 0.0)
    is_program = request.param is StoryOfProgram
    client = program_with(token_of(bob, "annotate")) if is_program else client_of(bob)
    return lambda: request.param(Dataset.objects.get(pk=dataset.pk), client, annotator)


def make_work(pk: int = X) -> None:
    Comparison.objects.filter(pk=pk).update(required=None, gold_outcome="")


def make_gold(outcome: str = "a") -> None:
    Comparison.objects.filter(pk=X).update(required=0, gold_outcome=outcome)


def vote(dataset: Dataset, outcome: str, pk: int = X) -> None:
    """Somebody else's vote on X, as the product takes it."""
    voter = AnnotatorFactory.create()
    unfilled = Comparison.objects.filter(dataset=dataset).exclude(pk=pk)
    places = dict(unfilled.values_list("pk", "required"))
    unfilled.update(required=0)
    claim = next_claim(dataset, voter)
    for unfilled_pk, number in places.items():
        Comparison.objects.filter(pk=unfilled_pk).update(required=number)
    record_judgment(voter, claim.comparison, Answer(outcome, uuid4()), claim.pk)


def same(first: Story, second: Story) -> None:
    assert len(first.seen) > first.least
    assert [request for request, _ in first.seen] == [request for request, _ in second.seen]
    for (request, answer), (_, other_answer) in zip(first.seen, second.seen, strict=True):
        assert answer == other_answer, request


def answer_and_look(story: Story) -> None:
    claim = story.next()
    assert claim.comparison_id in (X, TWIN_OF_X)
    story.open_all("shown")
    story.send("annotate_hold", have=claim.comparison_id)
    story.on(claim, "annotate_flag", reason="unsafe", note="")
    key = uuid4()
    story.judge(claim, "left", key=key)
    story.open_all("answered")
    story.judge(claim, "tie", supersedes=key)
    story.send("qualify_start")
    story.send("qualify_answer", pair=claim.comparison_id, answer="left")
    story.open_all("changed")
    story.judge(story.next(), "right")
    story.open_all("after the next")


def skip_and_look(story: Story) -> None:
    first = story.next()
    story.on(first, "annotate_skip")
    story.open_all("skipped")
    for _ in range(3):
        story.judge(story.next(), "left")
    story.open_all("at the end")
    story.send("annotate_next")
    story.send("annotate_next", again="1")
    story.open_all("again")
    story.judge(first, "left")
    story.open_all("taken up")


def come_too_late(story: Story) -> None:
    """The lease runs out; meanwhile others take what places there were."""
    claim = story.next()
    Claim.objects.update(expires_at=timezone.now() - timedelta(minutes=1))
    handout.give_back_expired()
    if claim.purpose == "work":
        Comparison.objects.filter(pk=X).update(required=0)
    story.send("annotate_hold", have=claim.comparison_id)
    story.judge(claim, "left")
    story.open_all("late")
    story.judge(story.next(), "left")
    story.open_all("after the next")


TALES = [answer_and_look, skip_and_look, come_too_late]


@pytest.mark.parametrize("tale", TALES)
def test_gold_cannot_be_told_from_work(story, dice, tale):
    played = []
    for kind in ("work", "gold"):
        with world(dice):
            make_work() if kind == "work" else make_gold()
            bob = story()
            first_throws(dice, WORK if kind == "work" else GOLD, bob)
            tale(bob)
            assert Claim.objects.get(annotator=bob.bob, comparison=X).purpose == kind
            played.append(bob)

    same(*played)


@pytest.mark.parametrize("tale", TALES[:2])
def test_a_repeat_cannot_be_told_from_a_pair_of_the_same_texts(story, dice, tale, monkeypatch):
    played = []
    for kind in ("work", "repeat"):
        with world(dice):
            monkeypatch.setattr(handout, "side_at", lambda *_: "a")
            make_work()
            bob = story()
            bob.judge(bob.next(), "left")
            monkeypatch.setattr(handout, "side_at", lambda *_: "b")
            Comparison.objects.filter(pk=TWIN_OF_X).update(required=None if kind == "work" else 0)
            other_claims = Claim.objects.filter(annotator=bob.bob).exclude(comparison=X)
            other_claims.update(number=0)  # so that the throw falls on X
            first_throws(dice, WORK if kind == "work" else REPEAT, bob)
            monkeypatch.setattr(handout, "side_at", lambda *_: "a")
            tale(bob)
            played.append(bob)

    same(*played)


def first_throws(dice: Callable[[float], None], at: float, bob: Story) -> None:
    """Have the next pair handed out by this throw; all later ones are work."""
    dice(at)
    next_claim(bob.dataset, bob.bob)
    dice(WORK)


def test_right_on_gold_cannot_be_told_from_wrong(story, dice):
    played = []
    for gold_outcome in ("a", "b"):
        with world(dice):
            make_gold(gold_outcome)
            bob = story()
            first_throws(dice, GOLD, bob)
            answer_and_look(bob)
            played.append(bob)

    same(*played)


@pytest.mark.parametrize("other_votes", ["before", "after"])
@pytest.mark.parametrize("single_vote_threshold", [None, 0.6])
def test_agreement_cannot_be_told_from_disagreement(story, dice, other_votes, single_vote_threshold):
    played = []
    for outcome in ("a", "b"):
        with world(dice):
            make_work()
            Dataset.objects.update(single_vote_threshold=single_vote_threshold)
            bob = story()
            if other_votes == "before" and single_vote_threshold is None:
                vote(bob.dataset, outcome)
            answer_and_look(bob)
            if other_votes == "after":
                Comparison.objects.filter(pk=X).update(required=2)
                vote(bob.dataset, outcome)
                bob.open_all("the other has voted")
            judgments = Judgment.objects.current().filter(comparison=X)
            assert judgments.filter(annotator=bob.bob).exists()
            played.append(bob)

    same(*played)


def test_what_a_reviewer_decided_is_not_told(story, dice, rita):
    played = []
    for outcome in ("a", "b"):
        with world(dice):
            make_work()
            bob = story()
            answer_and_look(bob)
            x = Comparison.objects.get(pk=X)
            decided = decide.settle(x, rita, outcome, seen_token=decide.seen(x))
            assert decided.outcome == outcome
            bob.open_all("settled", but=("questions",))  # tests/questions: there Bob asked, and votes no more
            played.append(bob)

    same(*played)


@pytest.mark.parametrize("how", ["gold", "repeat", "skipped"])
def test_what_reviewers_write_is_not_told_while_somebody_may_still_judge(story, dice, rita, how):
    """Bob has asked about X and may still judge it. In one world a reviewer has replied, settled X and made
    it an example; in the other, nobody has."""
    played = []
    for written in (False, True):
        with world(dice):
            make_work()
            bob = story()
            claim = bob.next()
            bob.on(claim, "annotate_flag", reason="unsafe", note="")
            if how == "skipped":
                bob.on(claim, "annotate_skip")
            else:
                bob.judge(claim, "left", comment="Odd.")
            if how == "repeat":
                put_off = {"state": "expired", "left": "b", "mode": "blind", "expires_at": timezone.now()}
                Claim.objects.create(
                    annotator=bob.bob, comparison=claim.comparison, purpose="repeat", **put_off
                )
            x = Comparison.objects.get(pk=X)
            if written:
                replying.reply(x, bob.bob, "The left one.", rita)
                if how != "skipped":
                    decide.settle(x, rita, "a", seen_token=decide.seen(x))
                    replying.make_example(x, "It is better.", rita)
            if how == "gold":
                make_gold()
            Claim.objects.filter(comparison=X).exclude(annotator=bob.bob).delete()
            bob.open_all("written")
            played.append(bob)

    same(*played)


@pytest.mark.parametrize("single_vote_threshold", [None, 0.6])
def test_what_the_model_says_is_told_by_its_suggestion_and_nowhere_else(story, dice, single_vote_threshold):
    """In a blind Dataset: not before the answer, and after it by the reply, and by undo, alone."""
    played = []
    for margin in (1.0, -1.0):
        with world(dice):
            make_work()
            Dataset.objects.update(single_vote_threshold=single_vote_threshold)
            Suggestion.objects.filter(comparison=X, version__state="active").update(margin=margin)
            bob = story()
            claim = bob.next()
            bob.open_all("shown")
            bob.judge(claim, "left")
            _, response = bob.seen.pop()
            assert "Model" in response or '"pick": {' in response
            bob.open_all("answered", but=("annotate_undo",))
            played.append(bob)

    same(*played)
