import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    JudgmentFactory,
    PromptFactory,
    UserFactory,
)
from workbench.models import Annotator, Comparison, Dataset, Decision, Flag
from workbench.pipeline.decisions import majority
from workbench.pipeline.decisions.majority import Derived


def judged(dataset: Dataset, *outcomes: str) -> Comparison:
    """A Comparison with one current Judgment by a different person for each outcome."""
    comparison = ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset))
    for outcome in outcomes:
        JudgmentFactory.create(comparison=comparison, outcome=outcome)
    return comparison


def current_decision(comparison: Comparison) -> tuple[str, str, int, int] | None:
    decision = comparison.decisions.filter(is_current=True).first()
    return decision and (decision.outcome, decision.method, decision.votes, decision.votes_for)


def label(comparison: Comparison, outcome: str) -> None:
    annotator, _ = Annotator.objects.get_or_create(source="labels.jsonl", external_id="", user=None)
    JudgmentFactory.create(comparison=comparison, annotator=annotator, outcome=outcome, stage="imported")


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["a"], ("a", "agreement", 1, 1)),
        (["tie", "tie"], ("tie", "agreement", 2, 2)),
        (["b", "b", "a"], ("b", "majority", 3, 2)),
        (["both_bad", "both_bad", "both_bad", "a", "tie"], ("both_bad", "majority", 5, 3)),
        (["a", "b"], None),
        (["a", "a", "b", "tie"], None),
        (["a", "cannot_judge"], ("a", "agreement", 1, 1)),
        (["cannot_judge"], None),
        ([], None),
    ],
)
def test_what_all_or_more_than_half_of_the_opinions_say_is_decided(dataset, outcomes, expected):
    comparison = judged(dataset, *outcomes)

    majority.derive(dataset)

    assert current_decision(comparison) == expected


def test_settling_again_writes_nothing(dataset):
    for outcomes in ("a", "aab", "ab"):
        judged(dataset, *outcomes)
    first = majority.derive(dataset)
    rows = list(Decision.objects.values())

    second = majority.derive(dataset)

    assert (first, second) == (Derived(decided=2, withdrawn=0), Derived(decided=0, withdrawn=0))
    assert list(Decision.objects.values()) == rows


def test_a_decision_that_no_longer_follows_loses_its_standing_and_stays_as_history(dataset):
    comparison = judged(dataset, "a")
    majority.derive(dataset)
    JudgmentFactory.create(comparison=comparison, outcome="b")

    settled = majority.derive(dataset)

    assert settled == Derived(decided=0, withdrawn=1)
    assert list(comparison.decisions.values_list("outcome", "is_current")) == [("a", False)]


def test_a_further_vote_makes_a_decision_that_counts_it(dataset):
    comparison = judged(dataset, "a")
    majority.derive(dataset)
    JudgmentFactory.create(comparison=comparison, outcome="a")

    majority.derive(dataset)

    assert current_decision(comparison) == ("a", "agreement", 2, 2)


def test_a_further_vote_against_the_majority_is_counted_too(dataset):
    comparison = judged(dataset, "a", "a", "a", "b")
    majority.derive(dataset)
    JudgmentFactory.create(comparison=comparison, outcome="b")

    majority.derive(dataset)

    assert current_decision(comparison) == ("a", "majority", 5, 3)


def test_a_superseded_judgment_has_no_vote(dataset):
    comparison = judged(dataset, "a")
    old = JudgmentFactory.create(comparison=comparison, outcome="b", is_current=False)
    JudgmentFactory.create(comparison=comparison, annotator=old.annotator, outcome="a", supersedes=old)

    majority.derive(dataset)

    assert current_decision(comparison) == ("a", "agreement", 2, 2)


def test_a_reviewers_decision_is_never_touched_whatever_the_people_say(dataset):
    comparison = judged(dataset, "a", "a")
    reviewed = Decision.objects.create(
        comparison=comparison, outcome="b", method="reviewer", decided_by=UserFactory.create()
    )
    Flag.objects.create(comparison=comparison, annotator=AnnotatorFactory.create(), reason="other")

    settled = majority.derive(dataset)

    assert settled == Derived(decided=0, withdrawn=0)
    assert list(comparison.decisions.filter(is_current=True)) == [reviewed]


def test_a_flagged_comparison_is_undecided_until_the_flag_is_closed(dataset):
    comparison = judged(dataset, "a", "a")
    majority.derive(dataset)
    flag = Flag.objects.create(comparison=comparison, annotator=AnnotatorFactory.create(), reason="broken")

    majority.derive(dataset)
    assert current_decision(comparison) is None

    flag.closed_at = flag.created_at
    flag.save()
    majority.derive(dataset)
    assert current_decision(comparison) == ("a", "agreement", 2, 2)


def test_another_dataset_is_left_alone(dataset):
    elsewhere = judged(PromptFactory.create().dataset, "a")

    majority.derive(dataset)

    assert current_decision(elsewhere) is None


def test_settling_takes_as_many_queries_for_thirty_comparisons_as_for_one(dataset):
    judged(dataset, "a")
    with CaptureQueriesContext(
        connection,
    ) as for_one:
        majority.derive(dataset)
    for _ in range(29):
        judged(dataset, "a", "b", "b")

    with CaptureQueriesContext(connection) as for_thirty:
        assert majority.derive(dataset).decided == 29

    assert len(for_thirty) == len(for_one)


def test_nothing_is_locked_while_what_is_to_be_settled_is_looked_for_and_each_chunk_is_kept(
    dataset, monkeypatch
):
    monkeypatch.setattr(majority, "CHUNK", 4)
    comparisons = [judged(dataset, "a") for _ in range(10)]
    with CaptureQueriesContext(connection) as first:
        assert majority.derive(dataset) == Derived(decided=10, withdrawn=0)

    with CaptureQueriesContext(connection) as second:
        assert majority.derive(dataset) == Derived(decided=0, withdrawn=0)

    assert all(current_decision(comparison) for comparison in comparisons)
    assert sum('INSERT INTO "workbench_decision"' in query["sql"] for query in first) == 3
    statements = [query["sql"] for query in second]
    assert not [sql for sql in statements if sql.startswith(("INSERT", "UPDATE", "BEGIN", "SAVEPOINT"))]
