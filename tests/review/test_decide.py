from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.db import connection
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
)
from workbench.models import Claim, Comparison, Dataset, Decision, Flag, ModelVersion, User
from workbench.pipeline.decisions import majority
from workbench.pipeline.review import decide
from workbench.pipeline.review.decide import Conflict


@pytest.fixture
def version(db: None) -> ModelVersion:
    return ModelVersionFactory.create(state="active")


@pytest.fixture
def case(dataset: Dataset, version: ModelVersion) -> Callable[..., Comparison]:
    """Makes a Comparison with a Judgment for each outcome, a margin of the version, and a Flag when asked."""

    def make(
        outcomes: str = "ab", margin: float | None = None, flag: str = "", source: str = ""
    ) -> Comparison:
        prompt = PromptFactory.create(dataset=dataset)
        a = CompletionFactory.create(prompt=prompt, source=source)
        comparison = ComparisonFactory.create(prompt=prompt, a=a)
        for outcome in outcomes:
            JudgmentFactory.create(comparison=comparison, outcome=outcome)
        if margin is not None:
            SuggestionFactory.create(comparison=comparison, version=version, margin=margin)
        if flag:
            Flag.objects.create(comparison=comparison, annotator=AnnotatorFactory.create(), reason=flag)
        return comparison

    return make


def settle(comparison: Comparison, by: User, outcome: str = "a", **more: str) -> Decision:
    decision = decide.settle(comparison, by, outcome, seen_token=decide.seen(comparison), **more)
    assert isinstance(decision, Decision)
    return decision


def test_a_reviewers_decision_settles_the_case(dataset, version, case, rita):
    comparison = case("aab", margin=-1.0)

    decision = settle(
        comparison, rita, "a", reason="model_wrong", note="Left answers it.", blind_outcome="tie"
    )

    assert (decision.method, decision.decided_by, decision.is_current) == ("reviewer", rita, True)
    assert (decision.outcome, decision.reason, decision.note) == ("a", "model_wrong", "Left answers it.")
    assert (decision.votes, decision.votes_for, decision.blind_outcome) == (3, 2, "tie")
    assert not Comparison.objects.in_disagreement(version).exists()


def test_settling_again_keeps_the_old_decision_as_history(case, rita, alice):
    comparison = case("ab")
    old = settle(comparison, rita, "a")

    new = settle(comparison, alice, "drop")

    assert list(comparison.decisions.values_list("pk", "outcome", "is_current")) == [
        (old.pk, "a", False),
        (new.pk, "drop", True),
    ]


def test_settling_closes_open_flags_and_ends_live_claims(case, rita, bob):
    comparison = case("ab", flag="broken")
    Comparison.objects.update(claimed=2)
    in_an_hour = timezone.now() + timedelta(hours=1)
    claims = [
        Claim.objects.create(
            comparison=comparison,
            annotator=AnnotatorFactory.create(),
            state=state,
            slot=slot,
            left="a",
            mode="blind",
            expires_at=in_an_hour,
        )
        for slot, state in enumerate(["live", "done"])
    ]

    decision = settle(comparison, rita)

    assert Flag.objects.get().closed_by == decision
    assert [Claim.objects.get(pk=claim.pk).state for claim in claims] == ["expired", "done"]
    assert Comparison.objects.get().claimed == 1


def _judged_again(comparison: Comparison) -> None:
    JudgmentFactory.create(comparison=comparison, outcome="tie")


def _judgment_taken_back(comparison: Comparison) -> None:
    comparison.judgments.filter(outcome="b").update(is_current=False)


def _flagged(comparison: Comparison) -> None:
    Flag.objects.create(comparison=comparison, annotator=AnnotatorFactory.create(), reason="unsafe")


def _settled_by_another(comparison: Comparison) -> None:
    settle(comparison, User.objects.get(username="alice"), "b")


@pytest.mark.parametrize("change", [_judged_again, _judgment_taken_back, _flagged, _settled_by_another])
def test_a_stale_page_settles_nothing(case, rita, alice, change):
    comparison = case("ab")
    token = decide.seen(comparison)
    change(comparison)
    before = list(Decision.objects.values()), list(Flag.objects.values())

    result = decide.settle(comparison, rita, "a", seen_token=token)

    assert result == Conflict(comparison.decisions.filter(is_current=True).first())
    assert (list(Decision.objects.values()), list(Flag.objects.values())) == before


@pytest.mark.django_db(transaction=True)
def test_of_two_reviewers_at_the_same_moment_one_settles_and_the_other_is_told(case, rita, alice):
    def answer(by: User, comparison: Comparison, token: str, start: Barrier) -> Decision | Conflict:
        start.wait(timeout=10)
        try:
            return decide.settle(comparison, by, "a", seen_token=token)
        finally:
            connection.close()

    outcomes = []
    for _ in range(8):
        comparison, start = case("ab"), Barrier(2)
        token = decide.seen(comparison)
        with ThreadPoolExecutor(2) as pool:
            answers = [pool.submit(answer, by, comparison, token, start) for by in (rita, alice)]
        outcomes.append({type(answer.result()) for answer in answers})

    assert outcomes == [{Decision, Conflict}] * 8


def test_undo_brings_back_what_stood_before_and_the_flags_that_were_closed(dataset, case, rita, alice):
    comparison = case("aa")
    majority.derive(dataset)
    derived = comparison.decisions.get()
    flag = Flag.objects.create(comparison=comparison, annotator=AnnotatorFactory.create(), reason="broken")
    token = decide.seen(comparison)
    decision = settle(comparison, rita, "drop")

    assert decide.undo(decision, alice)

    decision.refresh_from_db()
    assert list(comparison.decisions.filter(is_current=True)) == [derived]
    assert (decision.is_current, decision.undone_by) == (False, alice)
    assert list(Flag.objects.open()) == [flag]
    assert decide.seen(comparison) == token


def test_undoing_a_second_decision_brings_back_the_first_and_not_one_that_was_undone(case, rita):
    comparison = case("ab")
    first = settle(comparison, rita, "a")
    decide.undo(settle(comparison, rita, "b"), rita)

    assert decide.undo(settle(comparison, rita, "tie"), rita)

    assert list(comparison.decisions.filter(is_current=True)) == [first]


def test_a_decision_that_does_not_stand_cannot_be_undone(case, rita, alice):
    comparison = case("ab")
    old = settle(comparison, rita, "a")
    new = settle(comparison, alice, "b")

    assert not decide.undo(old, rita)

    assert list(comparison.decisions.filter(is_current=True)) == [new]


def test_a_derived_decision_is_not_undone_by_hand(dataset, case, rita):
    comparison = case("a")
    majority.derive(dataset)

    assert not decide.undo(comparison.decisions.get(), rita)

    assert comparison.decisions.get().is_current


def test_undo_does_not_reopen_the_flag_of_somebody_who_has_raised_a_new_one(case, rita):
    comparison = case("ab", flag="broken")
    decision = settle(comparison, rita)
    again = Flag.objects.create(comparison=comparison, annotator=Flag.objects.get().annotator, reason="other")

    decide.undo(decision, rita)

    assert list(Flag.objects.open()) == [again]


def test_sides_are_the_reviewers_own_and_stay_as_they_are(dataset, case, rita, alice):
    comparisons = [case("ab") for _ in range(40)]

    orders = {
        user: [decide.left_of(comparison, user) for comparison in comparisons] for user in (rita, alice)
    }

    assert orders[rita] == [decide.left_of(comparison, rita) for comparison in comparisons]
    assert orders[rita] != orders[alice]
    assert 8 <= orders[rita].count("a") <= 32
