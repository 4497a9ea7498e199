"""Reviewing by a program: the queue of the page, and what becomes of an answer."""

import pytest

from tests.factories import ComparisonFactory, JudgmentFactory, ModelVersionFactory, SuggestionFactory
from workbench.models import Annotator, AuditEvent, Comparison, Decision, Example, Flag, ReviewQueue
from workbench.pipeline.review import decide
from workbench.pipeline.review import queue as review_queue

pytestmark = pytest.mark.django_db


@pytest.fixture
def version(db):
    return ModelVersionFactory.create(state="active", name="reward-1", temperature=1.0)


@pytest.fixture
def make(dataset, version):
    """make("aab"): a pair with a vote of a person for each letter, on which the model picks a."""

    def make(outcomes: str = "ab", margin: float = 1.0) -> Comparison:
        pair = ComparisonFactory.create(prompt__dataset=dataset)
        for outcome in outcomes:
            JudgmentFactory.create(comparison=pair, outcome=outcome, left="a", mode="blind")
        SuggestionFactory.create(comparison=pair, version=version, margin=margin)
        return pair

    return make


@pytest.fixture
def client(program, rita, dataset):
    return program(rita, "review", [dataset])


def post(client, path: str, status: int = 200, **body):
    answer = client.post(f"/api/v1/{path}", body, content_type="application/json")
    assert answer.status_code == status, answer.content
    return answer.json() if answer.content else None


def get(client, path: str, status: int = 200, **query):
    answer = client.get(f"/api/v1/{path}", query)
    assert answer.status_code == status, answer.content
    return answer.json()


def test_the_queue_is_that_of_the_page_page_by_page(client, dataset, version, make):
    for outcomes in ("ab", "aab", "ba", "aa"):
        make(outcomes)
    filters = review_queue.Filters(queue=ReviewQueue.PEOPLE)
    wanted = [case.comparison.pk for case in review_queue.page(dataset, version, filters).cases]
    assert len(wanted) == 3

    found, query = [], {"queue": "people", "limit": 2}
    while True:
        page = get(client, f"datasets/{dataset.pk}/review", **query)
        found += [row["comparison"] for row in page["items"]]
        if not page["after"]:
            break
        query |= {name: page[name] for name in ("after", "as_of", "version")}

    assert found == wanted


def test_the_sides_of_votes_and_of_the_model_are_hidden_until_asked_for(client, dataset, make):
    make("aab")

    (hidden,) = get(client, f"datasets/{dataset.pk}/review", queue="all")["items"]
    (shown,) = get(client, f"datasets/{dataset.pk}/review", queue="all", votes="shown")["items"]

    assert (hidden["split"], hidden["votes"], hidden["suggested"]) == ([2, 1], None, None)
    assert (shown["votes"]["a"], shown["votes"]["b"], shown["suggested"]) == (2, 1, "a")
    assert hidden["sure"] == pytest.approx(0.731, abs=0.001)


def test_counts_are_those_of_the_queue(client, dataset, make):
    make("ab")
    make("ab")
    make("aa", margin=-1.0)

    counts = get(client, f"datasets/{dataset.pk}/review/counts", queue="all")

    assert counts["queues"] == {"people": 2, "labels": 0, "model": 1}
    assert (counts["why"]["people"], counts["why"]["model"]) == (2, 3)


def test_a_filter_that_is_none_names_its_field(client, dataset):
    assert get(client, f"datasets/{dataset.pk}/review", 422, why="odd")["errors"][0]["field"] == "why"


def test_a_case_is_settled_by_what_was_seen_and_opened_again_by_its_decision(client, make, rita):
    pair = make("aab")
    case = get(client, f"review/{pair.pk}")
    assert [vote["outcome"] for vote in case["votes"]] == ["a", "a", "b"]
    assert case["picks"][0]["is_serving"]

    decision = post(client, f"review/{pair.pk}/settle", outcome="b", seen=case["seen"], reason="slip")

    standing = Decision.objects.current().get(comparison=pair)
    assert (standing.outcome, standing.reason, standing.decided_by) == ("b", "slip", rita)
    assert decision["id"] == standing.pk
    assert get(client, f"review/{pair.pk}")["settled"]
    assert AuditEvent.objects.filter(kind="settled", actor=rita).count() == 1

    post(client, f"review/{pair.pk}/unsettle", 204, decision=standing.pk)
    assert not Decision.objects.current().filter(comparison=pair).exists()
    assert (
        post(client, f"review/{pair.pk}/unsettle", 409, decision=standing.pk)["code"] == "changed_meanwhile"
    )


def test_a_case_that_changed_meanwhile_is_not_settled(client, make):
    pair = make("ab")
    seen = get(client, f"review/{pair.pk}")["seen"]
    JudgmentFactory.create(comparison=pair, outcome="b")

    assert (
        post(client, f"review/{pair.pk}/settle", 409, outcome="a", seen=seen)["code"] == "changed_meanwhile"
    )
    assert not Decision.objects.exists()


def test_a_gap_of_the_guidelines_wants_a_note_and_is_listed_with_it(client, dataset, make):
    pair = make("ab")
    answer = {"outcome": "a", "seen": decide.seen(pair), "reason": "guideline_gap"}

    refused = post(client, f"review/{pair.pk}/settle", 422, **answer)
    post(client, f"review/{pair.pk}/settle", **answer, note="Say what to do with poems.")

    assert refused["errors"][0]["field"] == "note"
    (gap,) = get(client, f"datasets/{dataset.pk}/review/gaps")["items"]
    assert (gap["comparison"], gap["note"]) == (pair.pk, "Say what to do with poems.")


def test_a_pair_becomes_a_check_and_ordinary_again(client, make):
    pair = make("ab")

    post(client, f"review/{pair.pk}/gold", 204, outcome="tie", note="Both are fine.")
    case = get(client, f"review/{pair.pk}")
    assert (case["gold_outcome"], case["gold_note"]) == ("tie", "Both are fine.")
    assert post(client, f"review/{pair.pk}/gold", 422, outcome="drop")["errors"][0]["field"] == "outcome"
    post(client, f"review/{pair.pk}/gold", 204, outcome="")
    assert Comparison.objects.get(pk=pair.pk).gold_outcome == ""


def test_a_reply_reaches_whoever_flagged_and_closes_the_flag_until_it_is_undone(client, make, bob):
    pair = make("ab")
    asker = Annotator.objects.for_user(bob)
    Flag.objects.create(comparison=pair, annotator=asker, reason="unsafe", note="Look.")

    body = {"annotator": asker.pk, "text": "Well seen.", "closes_flag": True}
    stored = post(client, f"review/{pair.pk}/reply", **body)

    case = get(client, f"review/{pair.pk}")
    assert [(reply["text"], reply["annotator"]) for reply in case["replies"]] == [("Well seen.", asker.pk)]
    assert not Flag.objects.open().exists()
    post(client, f"replies/{stored['id']}/undo")
    assert Flag.objects.open().exists()
    assert post(client, f"replies/{stored['id']}/undo", 409)["code"] == "changed_meanwhile"


def test_a_settled_pair_becomes_an_example_until_it_is_undone(client, make):
    pair = make("ab")
    post(client, f"review/{pair.pk}/example", 409, text="It is right.")
    post(client, f"review/{pair.pk}/settle", outcome="a", seen=decide.seen(pair))

    stored = post(client, f"review/{pair.pk}/example", text="It is right.")

    assert get(client, f"review/{pair.pk}")["example"]["text"] == "It is right."
    post(client, f"examples/{stored['id']}/undo")
    assert Example.objects.get(is_current=True).text == ""
