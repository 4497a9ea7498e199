"""What is written to the outbox: each event in the transaction of its fact, and nothing where nobody asks."""

import json
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.annotate.test_answers import answer, comparisons_in
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    RunFactory,
)
from tests.votes import record_judgment
from tests.webhooks.conftest import ALL
from tests.webhooks.test_docs import fields_of
from workbench.models import Decision, Event, Flag, Judgment, Promotion, Release, Run
from workbench.models.webhooks import EventQuerySet
from workbench.pipeline import releases
from workbench.pipeline.annotate.answers import flag
from workbench.pipeline.annotate.handout import next_claim
from workbench.pipeline.data import acts
from workbench.pipeline.data.changes import SendToReview
from workbench.pipeline.decisions import aggregation, majority
from workbench.pipeline.model.promotion import activate, roll_back
from workbench.pipeline.review import decide
from workbench.pipeline.runs import lifecycle

pytestmark = pytest.mark.django_db


def facts(event: str) -> list[dict[str, object]]:
    return list(Event.objects.filter(type=event).values_list("facts", flat=True))


def vote(dataset, annotator, outcome="a", **more):
    claim = next_claim(dataset, annotator)
    return record_judgment(annotator, claim.comparison, answer(outcome, **more))


# --- votes --------------------------------------------------------------------------------------------------


def test_a_vote_is_told_with_keys_outcome_and_times(dataset, add_webhook):
    comparisons_in(dataset)
    add_webhook("judgment.created")
    annotator = AnnotatorFactory.create()

    judgment = vote(dataset, annotator, "b", strength=2, seconds=3.5)

    assert facts("judgment.created") == [
        {
            "judgment": judgment.pk,
            "comparison": judgment.comparison_id,
            "annotator": str(annotator.pseudonym),
            "outcome": "b",
            "strength": 2,
            "purpose": "work",
            "is_current": True,
            "stage": "first",
            "mode": "blind",
            "left": judgment.left,
            "seconds": 3.5,
            "guidelines": None,
            "ranking": None,
            "supersedes": None,
            "created_at": judgment.created_at.isoformat(),
        }
    ]
    event = Event.objects.get()
    assert (event.dataset_id, event.number) == (dataset.pk, None)


def test_a_changed_vote_names_the_vote_before(dataset, add_webhook):
    comparisons_in(dataset)
    add_webhook("judgment.created")
    annotator = AnnotatorFactory.create()
    first = vote(dataset, annotator, "a")

    record_judgment(annotator, first.comparison, answer("b", supersedes=first.idempotency_key))

    assert [one["supersedes"] for one in facts("judgment.created")] == [None, first.pk]


def test_a_vote_sent_twice_is_told_once(dataset, add_webhook):
    comparisons_in(dataset)
    add_webhook("judgment.created")
    annotator = AnnotatorFactory.create()
    claim = next_claim(dataset, annotator)
    same = answer("a")

    for _ in range(2):
        record_judgment(annotator, claim.comparison, same)

    assert len(facts("judgment.created")) == 1


def test_a_vote_costs_nothing_where_no_webhook_asks_for_votes(dataset, add_webhook):
    comparisons_in(dataset, 3)
    annotator = AnnotatorFactory.create()
    vote(dataset, annotator)  # what is prepared once

    with CaptureQueriesContext(
        connection,
    ) as without:
        vote(dataset, annotator)
    add_webhook("run.finished", "release.ready")
    with CaptureQueriesContext(connection) as with_others:
        vote(dataset, annotator)

    assert len(with_others) == len(without)
    tables = "workbench_event", "workbench_webhook"
    assert not [query for query in with_others for table in tables if table in query["sql"]]
    assert not Event.objects.exists()


def test_a_vote_that_is_told_costs_one_statement_more(dataset, add_webhook):
    comparisons_in(dataset, 3)
    annotator = AnnotatorFactory.create()
    vote(dataset, annotator)

    with CaptureQueriesContext(connection) as without:
        vote(dataset, annotator)
    add_webhook("judgment.created")
    with CaptureQueriesContext(connection) as told:
        vote(dataset, annotator)

    assert len(told) == len(without) + 1


def test_nothing_is_written_for_a_paused_webhook_or_another_dataset(dataset, alice, add_webhook):
    from workbench.pipeline.webhooks import managing

    comparisons_in(dataset)
    paused, _ = add_webhook()
    managing.change(paused, alice, is_active=False)
    add_webhook(to=DatasetFactory.create())
    dataset.refresh_from_db()

    vote(dataset, AnnotatorFactory.create())

    assert not Event.objects.exists()


# --- pairs that need a reviewer -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "reasons"),
    [
        (["a"], []),
        (["a", "a"], []),
        (["a", "b"], ["disagreement"]),
        (["a", "cannot_judge"], []),
        (["cannot_judge", "cannot_judge"], ["no_opinion"]),
    ],
)
def test_a_pair_whose_last_vote_leaves_no_final_label_needs_a_reviewer(
    outcomes, reasons, dataset, add_webhook
):
    dataset.overlap = 2
    dataset.save()
    (pair,) = comparisons_in(dataset)
    add_webhook("review.needed")

    for outcome in outcomes:
        vote(dataset, AnnotatorFactory.create(), outcome)

    assert facts("review.needed") == [{"comparison": pair.pk, "reason": reason} for reason in reasons]


def test_a_pair_that_gets_one_more_person_needs_no_reviewer_yet(dataset, add_webhook):
    dataset.overlap, dataset.max_overlap = 2, 3
    dataset.save()
    comparisons_in(dataset)
    add_webhook("review.needed")

    for outcome in ("a", "b"):
        vote(dataset, AnnotatorFactory.create(), outcome)
    assert facts("review.needed") == []
    vote(dataset, AnnotatorFactory.create(), "tie")

    assert [one["reason"] for one in facts("review.needed")] == ["disagreement"]


def test_a_flag_needs_a_reviewer_with_its_reason_and_without_its_note(dataset, add_webhook):
    (pair,) = comparisons_in(dataset)
    add_webhook("review.needed")
    annotator = AnnotatorFactory.create()
    next_claim(dataset, annotator)
    pair.dataset = dataset

    for reason in ("broken", "unsafe"):  # the second corrects the first
        flag(annotator, pair, reason, "A secret note.")

    assert facts("review.needed") == [{"comparison": pair.pk, "reason": "flagged", "flag": "broken"}]


def test_what_an_admin_sends_to_review_needs_a_reviewer(dataset, alice, add_webhook):
    pairs = comparisons_in(dataset, 2)
    add_webhook("review.needed")

    acts.do(dataset, SendToReview("A secret note."), [pair.prompt_id for pair in pairs], by=alice)

    assert facts("review.needed") == [
        {"comparison": pair.pk, "reason": "sent_to_review", "flag": "review"} for pair in pairs
    ]


# --- final labels -------------------------------------------------------------------------------------------


def test_a_reviewer_s_label_is_told_and_so_is_its_undoing(dataset, rita, add_webhook):
    pair = ComparisonFactory.create(prompt__dataset=dataset)
    JudgmentFactory.create(comparison=pair, outcome="a")
    add_webhook("comparison.decided")
    pair.dataset.refresh_from_db()

    decision = decide.settle(pair, rita, "a", seen_token=decide.seen(pair), note="A secret note.")
    decide.undo(decision, rita)

    settled, undone = facts("comparison.decided")
    assert settled == {
        "comparison": pair.pk,
        "decision": decision.pk,
        "outcome": "a",
        "method": "reviewer",
        "reason": "",
        "votes": 1,
        "votes_for": 1,
        "probability": None,
        "created_at": decision.created_at.isoformat(),
    }
    assert undone == {
        "comparison": pair.pk, "decision": None, "outcome": None, "method": None, "reason": "", "votes": 0,
        "votes_for": 0, "probability": None, "created_at": None,
    }  # fmt: skip


def test_labels_by_votes_are_told_once_when_they_change(dataset, add_webhook):
    pairs = comparisons_in(dataset, 3)
    for pair in pairs[:2]:
        JudgmentFactory.create(comparison=pair, outcome="a")
    add_webhook("comparison.decided")

    majority.derive(dataset)
    majority.derive(dataset)
    assert [(one["comparison"], one["outcome"]) for one in facts("comparison.decided")] == [
        (pairs[0].pk, "a"), (pairs[1].pk, "a"),
    ]  # fmt: skip
    JudgmentFactory.create(comparison=pairs[0], outcome="b")
    majority.derive(dataset)

    last = facts("comparison.decided")[2:]
    assert [(one["comparison"], one["outcome"], one["decision"]) for one in last] == [
        (pairs[0].pk, None, None)
    ]


def test_labels_by_skill_are_told_with_their_probability(dataset, add_webhook):
    dataset.aggregation = "skill"
    dataset.save()
    people = AnnotatorFactory.create_batch(3)
    for pair in comparisons_in(dataset, 25):
        for person in people:
            JudgmentFactory.create(comparison=pair, annotator=person, outcome="b")
    add_webhook("comparison.decided")

    aggregation.derive(dataset)

    told = facts("comparison.decided")
    assert len(told) == 25
    assert {(one["method"], one["outcome"]) for one in told} == {("aggregation", "b")}
    assert all(one["probability"] > 0.5 for one in told)


# --- runs, releases and models ------------------------------------------------------------------------------


def started(dataset, **fields) -> Run:
    run = RunFactory.create(dataset=dataset, kind="import", **fields)
    assert run.start()
    return run


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (lambda run: run.finish(rows=3), "done"),
        (lambda run: run.fail("A secret file name."), "failed"),
        (lifecycle.cancel, "cancelled"),
    ],
)
def test_the_end_of_a_run_is_told_however_it_ends(end, state, dataset, add_webhook):
    add_webhook("run.finished")
    run = started(dataset)

    end(run)
    end(run)  # it has ended

    assert facts("run.finished") == [
        {
            "run": run.pk,
            "kind": "import",
            "state": state,
            "done": 0,
            "total": None,
            "started_at": run.started_at.isoformat(),
            "finished_at": run.finished_at.isoformat(),
        }
    ]


def test_a_run_that_lost_its_last_worker_has_ended(dataset, add_webhook):
    add_webhook("run.finished")
    run = started(dataset)
    long_ago = timezone.now() - timedelta(hours=1)
    Run.objects.filter(pk=run.pk).update(heartbeat_at=long_ago, attempts=lifecycle.MAX_ATTEMPTS)

    lifecycle.due()

    assert [one["state"] for one in facts("run.finished")] == ["failed"]


def test_a_run_of_no_dataset_is_told_to_nobody(dataset, add_webhook):
    add_webhook("run.finished")
    run = started(None)

    assert run.finish()

    assert not Event.objects.exists()


def test_a_release_is_told_when_its_files_are_there(dataset, add_webhook):
    add_webhook("release.ready")
    pair = ComparisonFactory.create(prompt__dataset=dataset)
    JudgmentFactory.create(comparison=pair)

    release = releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))
    releases.build(release)

    assert facts("release.ready") == [
        {
            "release": str(release.pk),
            "number": 1,
            "rows": release.rows,
            "profiles": ["preference"],
            "formats": ["jsonl"],
        }
    ]


def test_a_new_active_model_is_told_to_each_dataset_that_asks_and_is_in_use(dataset, alice, add_webhook):
    other, archived = DatasetFactory.create(), DatasetFactory.create(archived_at=timezone.now())
    for one in (dataset, other, archived):
        add_webhook("model.promoted", to=one)
    DatasetFactory.create()
    first, second = ModelVersionFactory.create_batch(2)

    activate(first)
    activate(second, reason="better", by=alice)
    roll_back(by=alice)

    assert set(Event.objects.values_list("dataset", flat=True)) == {dataset.pk, other.pk}
    told = list(Event.objects.filter(dataset=other.pk).order_by("pk").values_list("facts", flat=True))
    assert [(one["version"], one["kind"], one["replaces"]) for one in told] == [
        (first.pk, "first", None), (second.pk, "override", first.pk), (first.pk, "rollback", second.pk),
    ]  # fmt: skip
    assert told[0]["weights_sha256"] == first.weights_sha256


# --- all of them --------------------------------------------------------------------------------------------


def voting(dataset):
    comparisons_in(dataset)
    return lambda: vote(dataset, AnnotatorFactory.create()), Judgment.objects.all()


def deciding(dataset):
    JudgmentFactory.create(comparison=comparisons_in(dataset)[0], outcome="a")
    return lambda: majority.derive(dataset), Decision.objects.all()


def flagging(dataset):
    (pair,) = comparisons_in(dataset)
    annotator = AnnotatorFactory.create()
    next_claim(dataset, annotator)
    pair.dataset = dataset
    return lambda: flag(annotator, pair, "broken", ""), Flag.objects.all()


def ending(dataset):
    run = started(dataset)
    return run.finish, Run.objects.filter(state="done")


def building(dataset):
    JudgmentFactory.create(comparison__prompt__dataset=dataset)
    wanted = Release(dataset=dataset, profiles=["preference"], formats=["jsonl"])
    return lambda: releases.build(wanted), Release.objects.filter(state="ready")


def promoting(_):
    version = ModelVersionFactory.create()
    return lambda: activate(version), Promotion.objects.all()


FACTS = {
    "judgment.created": voting,
    "comparison.decided": deciding,
    "review.needed": flagging,
    "run.finished": ending,
    "release.ready": building,
    "model.promoted": promoting,
}
"""Event -> what prepares the fact: gives the act, and the rows that it adds."""


def test_a_fact_of_each_event_is_tried_here():
    assert list(FACTS) == ALL


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("event", FACTS)
def test_a_fact_that_is_rolled_back_is_not_told(event, dataset, add_webhook):
    add_webhook()
    act, rows = FACTS[event](dataset)

    with transaction.atomic():
        act()
        assert rows.exists()
        assert facts(event)
        transaction.set_rollback(True)

    assert not rows.exists()
    assert not Event.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("event", FACTS)
def test_a_fact_that_cannot_be_told_is_none(event, dataset, add_webhook, monkeypatch):
    """Both are of one transaction, whatever the caller holds open: who dies leaves both or neither."""
    add_webhook()
    act, rows = FACTS[event](dataset)

    def die(kept, dataset_pk, kind, found):
        if kind == event and list(found):
            raise KeyboardInterrupt

    monkeypatch.setattr(EventQuerySet, "note", die)
    with pytest.raises(KeyboardInterrupt):
        act()

    assert not rows.exists()


def test_no_event_holds_a_text_or_a_name_and_the_reference_names_each_field(
    dataset, alice, rita, bob, add_webhook
):
    secret = "secret"
    dataset.name, dataset.overlap = f"{secret} dataset", 2
    dataset.save()
    prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"A {secret}?"}])
    pair = ComparisonFactory.create(prompt=prompt, a__text=f"One {secret}.", b__text=f"Two {secret}.")
    add_webhook()
    people = [AnnotatorFactory.create(user=bob), AnnotatorFactory.create(user=rita)]
    for person, outcome in zip(people, ("a", "b"), strict=True):
        person.user.username = f"{secret} {outcome}"
        person.user.save()
        vote(dataset, person, outcome, comment=f"A {secret}.")
    pair = people[0].judgments.get().comparison
    pair.dataset = dataset
    flag(people[0], pair, "other", f"A {secret}.")
    decide.settle(pair, rita, "a", seen_token=decide.seen(pair), note=f"A {secret}.", reason="slip")
    activate(ModelVersionFactory.create(name=f"{secret} model"))
    started(dataset).fail(f"A {secret}.")
    releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))

    told = Event.objects.all()
    assert {event.type for event in told} == {name for name, _ in Event.Type.to_ask_for()}
    assert secret not in json.dumps([event.facts for event in told])
    for name, _ in Event.Type.to_ask_for():
        named = {field for one in facts(name) for field in one}
        assert named == fields_of(name), f"docs/reference/webhooks.md, {name}"
