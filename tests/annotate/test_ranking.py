"""Ranking three or more completions at once: leases, positions and answers of all implied pairs."""

from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    CompletionFactory,
    ModelVersionFactory,
    PromptFactory,
    SuggestionFactory,
)
from workbench.models import Claim, Comparison, Completion, Dataset, Decision, Flag, Judgment
from workbench.pipeline.annotate import answers, handout
from workbench.pipeline.annotate.answers import Answer, Refused, record
from workbench.pipeline.annotate.handout import next_claim
from workbench.pipeline.annotate.items import ranks_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def ranked(dataset) -> Dataset:
    dataset.allows_ranking = True
    dataset.save()
    return dataset


def prompt_with(dataset: Dataset, n: int, pairs: bool = True) -> list[Completion]:
    """The completions of a new Prompt, with a Comparison of each two, or of the first two only."""
    prompt = PromptFactory.create(dataset=dataset)
    completions = sorted(
        CompletionFactory.create_batch(n, prompt=prompt), key=lambda completion: completion.sha256
    )
    pairs_of_prompt = [(a, b) for i, a in enumerate(completions) for b in completions[i + 1 :]]
    for a, b in pairs_of_prompt if pairs else pairs_of_prompt[:1]:
        ComparisonFactory.create(prompt=prompt, a=a, b=b)
    return completions


def rank(claim: Claim, ranks: list[int], **more) -> list[Judgment]:
    answer = Answer(more.pop("outcome", "ranks"), more.pop("key", None) or uuid4(), **more)
    return record(claim.annotator, claim.comparison, answer, ranks, claim.pk)


def preferred(judgments: list[Judgment]) -> dict[frozenset[int], int | str]:
    """Which completion each pair prefers, by the pair."""
    return {
        frozenset((j.comparison.a_id, j.comparison.b_id)): getattr(j.comparison, f"{j.outcome}_id")
        if j.outcome in ("a", "b")
        else j.outcome
        for j in judgments
    }


def test_a_ranking_is_stored_as_every_pair_that_it_implies(ranked):
    prompt_with(ranked, 4)
    claim = next_claim(ranked, AnnotatorFactory.create())
    first, second, third, fourth = claim.ranking.shown

    judgments = rank(claim, [2, 1, 2, 4])

    assert preferred(judgments) == {
        frozenset((first, second)): second,
        frozenset((first, third)): "tie",
        frozenset((first, fourth)): first,
        frozenset((second, third)): second,
        frozenset((second, fourth)): second,
        frozenset((third, fourth)): third,
    }
    assert Judgment.objects.current().count() == 6
    assert {j.ranking for j in judgments} == {claim.ranking}
    for judgment in judgments:
        shown = claim.ranking.shown
        left = getattr(judgment.comparison, f"{judgment.left}_id")
        right = judgment.comparison.a_id if judgment.left == "b" else judgment.comparison.b_id
        assert shown.index(left) < shown.index(right)


def test_a_prompt_is_handed_out_once_as_a_whole_and_to_as_many_people_as_wanted(ranked):
    ranked.overlap = 2
    ranked.save()
    prompt_with(ranked, 3)

    for annotator in AnnotatorFactory.create_batch(3):
        while claim := next_claim(ranked, annotator):
            rank(claim, [1, 2, 3])

    people = Counter(Judgment.objects.current().values_list("comparison", flat=True))
    assert list(people.values()) == [2, 2, 2]
    assert list(Comparison.objects.values_list("claimed", flat=True)) == [2, 2, 2]


def test_pairs_that_the_import_did_not_make_are_made(ranked):
    a, b, c = prompt_with(ranked, 3, pairs=False)

    rank(next_claim(ranked, AnnotatorFactory.create()), [1, 2, 3])

    assert set(Comparison.objects.values_list("a", "b")) == {(a.pk, b.pk), (a.pk, c.pk), (b.pk, c.pk)}
    assert Judgment.objects.current().count() == 3


@pytest.mark.parametrize(("completions", "ranks_them"), [(2, False), (3, True), (9, True), (10, False)])
def test_only_as_many_are_ranked_as_there_are_digits(ranked, completions, ranks_them):
    prompt_with(ranked, completions)

    claim = next_claim(ranked, AnnotatorFactory.create())

    assert bool(claim.ranking) == ranks_them


def by_key(claim: Claim) -> list[int]:
    """Ranks by the order of primary keys: what two people rank alike, however it was shown to them."""
    return [sorted(claim.ranking.shown).index(pk) + 1 for pk in claim.ranking.shown]


def reversed_ranks(claim: Claim) -> list[int]:
    return [len(claim.ranking.shown) + 1 - rank for rank in by_key(claim)]


@pytest.mark.parametrize("completions", [3, 9])
def test_nine_are_handed_out_ranked_and_changed_in_as_many_queries_as_three(
    ranked, completions, django_assert_num_queries
):
    ranked.overlap, ranked.max_overlap, ranked.blind_share = 2, 3, 0.0
    ranked.save()
    prompt_with(ranked, completions)
    colleague, annotator, keys = AnnotatorFactory.create(), AnnotatorFactory.create(), (uuid4(), uuid4())
    claim = next_claim(ranked, colleague)
    rank(claim, by_key(claim))

    with django_assert_num_queries(16):
        claim = next_claim(ranked, annotator)
    with django_assert_num_queries(14):
        rank(claim, reversed_ranks(claim), key=keys[0])
    with django_assert_num_queries(6):
        rank(claim, reversed_ranks(claim), key=keys[0])
    with django_assert_num_queries(12):
        rank(claim, by_key(claim), key=keys[1], supersedes=keys[0])

    pairs = completions * (completions - 1) // 2
    assert annotator.judgments.filter(is_current=True).count() == pairs
    assert ranked.comparisons.filter(claimed=2).count() == pairs


@pytest.mark.parametrize("completions", [3, 9])
def test_a_flag_on_a_ranking_is_on_each_of_its_comparisons_and_a_second_corrects_all_of_them(
    ranked, completions, django_assert_num_queries
):
    prompt_with(ranked, completions)
    prompt_with(ranked, 3)
    claim = next_claim(ranked, AnnotatorFactory.create())
    shown = ranked.comparisons.filter(prompt=claim.comparison.prompt_id)
    pairs = shown.count()
    comparison = answers.comparison_in(ranked, claim.comparison_id)  # with its dataset, as for the page

    with django_assert_num_queries(10):
        answers.flag(claim.annotator, comparison, "broken", "")
    answers.flag(claim.annotator, comparison, "unsafe", "an address")

    assert Flag.objects.filter(comparison__in=shown, reason="unsafe", note="an address").count() == pairs
    assert Flag.objects.count() == pairs


@pytest.mark.parametrize("completions", [3, 9])
def test_nine_are_skipped_and_given_back_in_as_many_queries_as_three(
    ranked, completions, django_assert_num_queries
):
    prompt_with(ranked, completions)
    skipper, leaver = AnnotatorFactory.create_batch(2)
    claim = next_claim(ranked, skipper)

    with django_assert_num_queries(7):
        answers.skip(skipper, claim.comparison, claim.pk)
    next_claim(ranked, leaver)
    Claim.objects.filter(annotator=leaver).update(expires_at=timezone.now())
    with django_assert_num_queries(5):
        handout.give_back_expired()

    assert ranked.comparisons.exclude(claimed=0).count() == 0
    assert Claim.objects.exclude(slot=None).count() == 0


def test_what_is_settled_or_gold_is_left_out_of_the_ranking(ranked):
    prompt_with(ranked, 4)
    settled, gold = Comparison.objects.all()[:2]
    Decision.objects.create(comparison=settled, outcome="a", method="reviewer")
    Comparison.objects.filter(pk=gold.pk).update(gold_outcome="a", required=0)

    judgments = rank(next_claim(ranked, AnnotatorFactory.create()), [1, 2, 3, 4])

    assert {j.comparison for j in judgments} == set(Comparison.objects.exclude(pk__in=[settled.pk, gold.pk]))


def test_the_same_ranking_twice_is_stored_once_and_a_change_supersedes_all_of_it(ranked):
    prompt_with(ranked, 3)
    claim = next_claim(ranked, AnnotatorFactory.create())
    key = uuid4()

    once = rank(claim, [1, 2, 3], key=key)
    assert rank(claim, [1, 2, 3], key=key) == once
    changed = rank(claim, [3, 2, 1], supersedes=key)

    assert [j.supersedes for j in changed] == once
    assert set(Judgment.objects.current()) == set(changed)


def test_a_page_that_missed_a_change_of_a_ranking_changes_nothing(ranked):
    prompt_with(ranked, 3)
    claim = next_claim(ranked, AnnotatorFactory.create())
    rank(claim, [1, 2, 3])

    with pytest.raises(Refused, match="another window"):
        rank(claim, [3, 2, 1])

    assert Judgment.objects.count() == 3


@pytest.mark.parametrize("outcome", ["both_bad", "cannot_judge"])
def test_all_bad_and_cannot_judge_hold_for_every_pair(ranked, outcome):
    prompt_with(ranked, 3)

    judgments = rank(next_claim(ranked, AnnotatorFactory.create()), [], outcome=outcome)

    assert [j.outcome for j in judgments] == [outcome] * 3


@pytest.mark.parametrize(("ranks", "outcome"), [([1, 2], "ranks"), ([], "left"), ([], "tie")])
def test_an_answer_that_is_no_ranking_of_what_was_shown_stores_nothing(ranked, ranks, outcome):
    prompt_with(ranked, 3)
    claim = next_claim(ranked, AnnotatorFactory.create())

    with pytest.raises(Refused, match="Reload"):
        rank(claim, ranks, outcome=outcome)

    assert not Judgment.objects.exists()


def test_a_skip_gives_back_and_a_heartbeat_renews_all_of_it(ranked):
    prompt_with(ranked, 3)
    annotator = AnnotatorFactory.create()
    claim = next_claim(ranked, annotator)
    soon = timezone.now() + timedelta(seconds=5)
    Claim.objects.update(expires_at=soon)

    assert handout.extend_claims(ranked, annotator, [claim.comparison_id]) == [claim.comparison_id]
    assert not Claim.objects.filter(expires_at=soon).exists()
    answers.skip(annotator, claim.comparison, claim.pk)

    assert set(Claim.objects.values_list("state", flat=True)) == {"skipped"}
    assert set(Comparison.objects.values_list("claimed", flat=True)) == {0}


def test_a_reload_shows_the_same_ranking_and_a_page_that_has_it_gets_another(ranked):
    for _ in range(2):
        prompt_with(ranked, 3)
    annotator = AnnotatorFactory.create()
    claim = next_claim(ranked, annotator)

    assert next_claim(ranked, annotator) == claim
    second = next_claim(ranked, annotator, have=[claim.comparison_id])
    assert second.ranking != claim.ranking
    assert next_claim(ranked, annotator, have=[claim.comparison_id, second.comparison_id]) is None


def test_a_late_ranking_takes_the_places_that_are_free_and_keeps_the_rest_aside(ranked):
    prompt_with(ranked, 3)
    claim = next_claim(ranked, AnnotatorFactory.create())
    Claim.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    ranked.allows_ranking = False
    ranked.save()
    colleagues_claim = next_claim(ranked, AnnotatorFactory.create())

    judgments = rank(claim, [1, 2, 3])

    assert [j.comparison for j in judgments if "surplus" in j.metadata] == [colleagues_claim.comparison]
    assert sum(j.is_current for j in judgments) == 2


def test_each_of_two_completions_comes_before_the_other_equally_often(ranked):
    for _ in range(8):
        prompt_with(ranked, 3)
    annotator = AnnotatorFactory.create()
    before = Counter()
    for _ in range(8):
        claim = next_claim(ranked, annotator)
        rank(claim, [1, 2, 3])
        places = [sorted(claim.ranking.shown).index(pk) for pk in claim.ranking.shown]
        before.update((i, j) for i in range(3) for j in range(3) if places.index(i) < places.index(j))

    assert set(before.values()) == {4}


def test_the_pairs_of_a_ranking_carry_how_likely_it_was_that_any_of_them_was_drawn(ranked):
    prompt_with(ranked, 3)
    prompt_with(ranked, 2)

    claim = next_claim(ranked, AnnotatorFactory.create())

    expected = 3 / 4 if claim.ranking else 1 / 4
    assert set(Claim.objects.values_list("propensity", flat=True)) == {expected}


def test_ranks_that_follow_from_pairs_are_those_that_imply_them(ranked):
    prompt_with(ranked, 4)
    claim = next_claim(ranked, AnnotatorFactory.create())
    judgments = rank(claim, [3, 1, 1, 4])
    outcomes = {(j.comparison.a_id, j.comparison.b_id): j.outcome for j in judgments}

    assert ranks_of(outcomes, claim.ranking.shown) == [3, 1, 1, 4]


def test_an_assisted_ranking_keeps_what_was_suggested_of_each_pair(ranked):
    ranked.blind_share = 0
    ranked.save()
    prompt_with(ranked, 3)
    version = ModelVersionFactory.create(state="active", temperature=1.0)
    for comparison in Comparison.objects.all():
        SuggestionFactory.create(comparison=comparison, version=version, margin=1.0)

    judgments = rank(next_claim(ranked, AnnotatorFactory.create()), [1, 2, 3])

    assert [(j.mode, j.suggested) for j in judgments] == [("assisted", "a")] * 3
