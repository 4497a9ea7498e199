"""Decisions by the skill of annotators: their probabilities, and their columns in a Release."""

import json

import pytest
from django.core.files.storage import default_storage

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    JudgmentFactory,
    PromptFactory,
    UserFactory,
)
from workbench.models import Annotator, Comparison, Dataset, Decision, Flag, Judgment, Release
from workbench.pipeline import releases
from workbench.pipeline.decisions import aggregation, majority
from workbench.pipeline.decisions.majority import Derived
from workbench.pipeline.releases.filters import Filters

pytestmark = pytest.mark.django_db

PAIRS = 40


@pytest.fixture
def people(dataset: Dataset) -> list[Annotator]:
    """Two who are always right and three who say a, b, a, b whatever they see."""
    dataset.aggregation = Dataset.Aggregation.SKILL
    dataset.save()
    return AnnotatorFactory.create_batch(5)


@pytest.fixture
def comparisons(dataset: Dataset, people: list[Annotator]) -> list[Comparison]:
    """a is better in the first half and b in the other. Four say so of most; of the last, the two who are
    always right are against the three who are not."""
    prompt = PromptFactory.create_batch(8, dataset=dataset)
    comparisons = [ComparisonFactory.create(prompt=prompt[n % 8]) for n in range(PAIRS)]
    votes = []
    for n, comparison in enumerate(comparisons):
        truth = "a" if n < PAIRS // 2 else "b"
        for who, annotator in enumerate(people):
            outcome = truth if who < 2 else "ab"[(n * (who + 1) // 2) % 2]
            if n == PAIRS - 1 and who >= 2:
                outcome = "a"
            votes.append(Judgment(comparison=comparison, annotator=annotator, outcome=outcome, stage="first"))
    Judgment.objects.bulk_create(votes)
    return comparisons


def current_decision(comparison: Comparison) -> Decision:
    return comparison.decisions.get(is_current=True)


def test_two_who_are_right_outweigh_three_who_are_not(dataset, comparisons):
    aggregation.derive(dataset)

    last = current_decision(comparisons[-1])

    assert (last.outcome, last.method, last.votes, last.votes_for) == ("b", "aggregation", 5, 2)
    assert last.probability == last.posterior["b"] > 0.9
    assert sum(last.posterior.values()) == pytest.approx(1, abs=1e-3)
    assert [current_decision(comparison).outcome for comparison in comparisons] == ["a"] * 20 + ["b"] * 20


def test_settling_again_writes_nothing(dataset, comparisons):
    first = aggregation.derive(dataset)
    rows = list(Decision.objects.values())

    second = aggregation.derive(dataset)
    on_a_page = majority.derive(dataset)

    assert (second, on_a_page) == (Derived(decided=0, withdrawn=0), Derived(decided=0, withdrawn=0))
    assert first == Derived(decided=PAIRS, withdrawn=0)
    assert list(Decision.objects.values()) == rows


def test_a_new_vote_puts_the_majority_in_its_place_until_the_next_aggregation(dataset, comparisons):
    aggregation.derive(dataset)
    JudgmentFactory.create(comparison=comparisons[-1], outcome="a")

    majority.derive(dataset)
    meanwhile = current_decision(comparisons[-1])
    aggregation.derive(dataset)

    assert (meanwhile.outcome, meanwhile.method, meanwhile.posterior) == ("a", "majority", None)
    assert current_decision(comparisons[-1]).method == "aggregation"


def test_where_annotators_share_few_votes_the_majority_decides(dataset, people):
    comparison = ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset))
    for annotator, outcome in zip(people, "bbaaa", strict=True):
        JudgmentFactory.create(comparison=comparison, annotator=annotator, outcome=outcome)

    aggregation.derive(dataset)

    assert (current_decision(comparison).outcome, current_decision(comparison).method) == ("a", "majority")


def test_back_to_the_majority_means_back_to_the_majority(dataset, comparisons):
    aggregation.derive(dataset)
    dataset.aggregation = Dataset.Aggregation.MAJORITY
    dataset.save()

    aggregation.derive(dataset)

    assert current_decision(comparisons[-1]).outcome == "a"
    assert not Decision.objects.current().filter(method="aggregation").exists()


def test_reviewers_and_flags_come_first(dataset, comparisons):
    Decision.objects.create(
        comparison=comparisons[0], outcome="b", method="reviewer", decided_by=UserFactory.create()
    )
    aggregation.derive(dataset)
    Flag.objects.create(comparison=comparisons[1], annotator=AnnotatorFactory.create(), reason="other")

    settled = aggregation.derive(dataset)

    assert settled == Derived(decided=0, withdrawn=1)
    assert current_decision(comparisons[0]).method == "reviewer"
    assert not comparisons[1].decisions.filter(is_current=True).exists()


def test_a_decision_whose_votes_were_all_taken_back_loses_its_standing(dataset, comparisons):
    aggregation.derive(dataset)
    comparisons[3].judgments.update(is_current=False)

    aggregation.derive(dataset)

    assert list(comparisons[3].decisions.values_list("is_current", flat=True)) == [False]


def released(dataset: Dataset, profile: str, **filters) -> list[dict]:
    release = releases.build(Release(dataset=dataset, profiles=[profile], filters=filters))
    rows = []
    for name, file in release.manifest["files"].items():
        if file["rows"]:
            with default_storage.open(f"{release.folder}/{name}") as lines:
                rows += [json.loads(line) for line in lines]
    return rows


def test_a_release_writes_the_probabilities_as_soft_labels_with_their_method(dataset, comparisons):
    tie = ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset))
    for annotator in Annotator.objects.all()[:2]:
        JudgmentFactory.create(comparison=tie, annotator=annotator, outcome="tie")

    rows = {row["completion_a"]: row for row in released(dataset, "soft-label")}

    last = current_decision(comparisons[-1]).posterior
    assert {row["method"] for row in rows.values()} == {"aggregation"}
    assert rows[comparisons[-1].a.text]["p_a"] == pytest.approx(last["a"] + last["tie"] / 2, abs=1e-3)
    assert rows[tie.a.text]["p_tie"] == pytest.approx(current_decision(tie).posterior["tie"], abs=1e-3)


def test_a_release_can_be_narrowed_to_what_is_sure(dataset, people, comparisons):
    Decision.objects.create(
        comparison=comparisons[0], outcome="b", method="reviewer", decided_by=UserFactory.create()
    )
    lone = ComparisonFactory.create(prompt=PromptFactory.create(dataset=dataset))
    JudgmentFactory.create(comparison=lone, annotator=people[0], outcome="a")

    everything = released(dataset, "preference")
    sure = released(dataset, "preference", min_posterior=0.99)

    assert len(everything) > len(sure)
    assert comparisons[0].b.text in {row["chosen"] for row in sure}
    least = Decision.objects.current().filter(method="aggregation", probability__gte=0.99).count()
    assert len(sure) == least + 1
    assert Filters.parse({"min_posterior": "0.9"}).min_posterior == 0.9
