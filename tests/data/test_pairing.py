"""Pair anew: pairs that nobody has begun give way to those of another policy, and undo brings them back."""

from datetime import timedelta
from itertools import combinations
from uuid import uuid4

import pytest
from django.urls import reverse
from django.utils import timezone

from tests.data.test_columns import same_as_read_anew
from tests.factories import (
    CompletionFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    ScoreFactory,
)
from workbench.models import (
    Act,
    Annotator,
    Claim,
    Comparison,
    Completion,
    Dataset,
    Flag,
    Judgment,
    ModelVersion,
    Prompt,
    Suggestion,
)
from workbench.pipeline.annotate.handout import next_claim
from workbench.pipeline.data import more_pairs
from workbench.pipeline.data.acts import do, preview, undo
from workbench.pipeline.data.changes import Exclude, Restore
from workbench.pipeline.data.pairing import PairAnew
from workbench.pipeline.review import decide
from workbench.pipeline.review.gold import mark_gold
from workbench.pipeline.runs.progress import Refused

pytestmark = pytest.mark.django_db

LENGTHS = (3, 1, 4, 2)
"""Scores of the four answers, in the order of their keys."""


@pytest.fixture
def version() -> ModelVersion:
    return ModelVersionFactory.create(state="active", temperature=1.0)


@pytest.fixture
def prompt(dataset: Dataset, version: ModelVersion) -> Prompt:
    """A prompt with four scored answers, every two of them paired."""
    prompt = PromptFactory.create(dataset=dataset)
    for value in LENGTHS:
        answer = CompletionFactory.create(prompt=prompt, text=f"answer {value}", source=str(value))
        ScoreFactory.create(completion=answer, version=version, value=float(value**2))
    in_order = prompt.completions.order_by("sha256")
    for a, b in combinations(in_order, 2):
        Comparison.objects.create(dataset=dataset, prompt=prompt, a=a, b=b)
    return prompt


def pairs(prompt: Prompt) -> list[str]:
    """The pairs of the prompt by the scores of their answers: ["12", "13"]."""
    rows = prompt.comparisons.values_list("a__source", "b__source")
    return sorted("".join(sorted(pair)) for pair in rows)


def pair(prompt: Prompt, one: int, two: int) -> Comparison:
    return prompt.comparisons.get(a__source__in=(one, two), b__source__in=(one, two))


@pytest.mark.parametrize(
    ("policy", "most", "left"),
    [
        ("best-worst", 10, ["14"]),
        ("adjacent", 10, ["12", "23", "34"]),
        ("uncertain", 2, ["12", "23"]),
    ],
)
def test_pairs_by_the_score_of_the_model(dataset, alice, prompt, policy, most, left):
    act = do(dataset, PairAnew(policy, most), [prompt.pk], by=alice)

    assert pairs(prompt) == left
    assert (act.details["made"], act.details["removed"]) == (0, 6 - len(left))


def test_pairs_drawn_by_lot_are_the_same_again(dataset, alice, prompt):
    do(dataset, PairAnew("lot", 2), [prompt.pk], by=alice)

    assert len(pairs(prompt)) == 2
    with pytest.raises(Refused, match="1 prompt with nothing to replace"):
        do(dataset, PairAnew("lot", 2), [prompt.pk], by=alice)


def test_new_pairs_have_a_pick_and_are_in_canonical_order(dataset, alice, prompt, version):
    prompt.comparisons.all().delete()

    act = do(dataset, PairAnew("all", 64), [prompt.pk], by=alice)

    assert pairs(prompt) == ["12", "13", "14", "23", "24", "34"]
    assert act.pair_count == 6
    assert all(pair.a.sha256 < pair.b.sha256 for pair in prompt.comparisons.select_related("a", "b"))
    margins = Suggestion.objects.filter(version=version).values_list("margin", flat=True)
    assert sorted(map(abs, margins)) == [3, 5, 7, 8, 12, 15]


def test_a_preview_says_how_many_come_and_go_and_changes_nothing(dataset, alice, prompt):
    pair(prompt, 1, 4).delete()

    extent = preview(dataset, PairAnew("best-worst", 1), [prompt.pk], by=alice)

    assert (extent.prompts, extent.pairs, extent.removed) == (1, 1, 5)
    assert len(pairs(prompt)) == 5


def vote(of: Comparison, annotator: Annotator) -> None:
    JudgmentFactory.create(comparison=of, annotator=annotator)


def label(of: Comparison, annotator: Annotator) -> None:
    source = Annotator.objects.create(source="crowd")
    Judgment.objects.create(comparison=of, annotator=source, outcome="a", stage="imported")


def hold(of: Comparison, annotator: Annotator) -> None:
    Claim.objects.create(
        comparison=of, annotator=annotator, slot=0, left="a", mode="blind",
        expires_at=timezone.now() + timedelta(minutes=20),
    )  # fmt: skip


def settle(of: Comparison, annotator: Annotator) -> None:
    decide.settle(of, annotator.user, "a", seen_token=decide.seen(of))


def raise_a_flag(of: Comparison, annotator: Annotator) -> None:
    Flag.objects.create(comparison=of, annotator=annotator, reason="unsafe")


def make_gold(of: Comparison, annotator: Annotator) -> None:
    mark_gold(of, "a")


@pytest.mark.parametrize("begin", [vote, label, hold, settle, raise_a_flag, make_gold])
def test_a_pair_that_somebody_has_begun_stays(dataset, alice, bob, prompt, begin):
    begin(pair(prompt, 1, 2), Annotator.objects.for_user(bob))

    act = do(dataset, PairAnew("best-worst", 1), [prompt.pk], by=alice)

    assert pairs(prompt) == ["12", "14"]
    assert act.details["left"] == ["1 pair begun by somebody"]


def test_undo_brings_the_former_pairs_back_as_they_were(dataset, alice, prompt):
    prompt.comparisons.update(required=3, priority=2, metadata={"from": "file"}, external_id="x")
    before = list(prompt.comparisons.order_by("pk").values())
    act = do(dataset, PairAnew("lot", 1), [prompt.pk], by=alice)
    assert len(pairs(prompt)) == 1

    undone = undo(act, alice)

    after = list(prompt.comparisons.order_by("pk").values())
    for row in (*before, *after):
        del row["uncertainty_rank"], row["disagreement_rank"]
    assert after == before
    assert (undone.prompts, undone.left) == (1, [])


def test_former_pairs_have_their_pick_again(dataset, alice, prompt, version):
    act = do(dataset, PairAnew("best-worst", 1), [prompt.pk], by=alice)
    undo(act, alice)

    assert Suggestion.objects.filter(comparison__prompt=prompt, version=version).count() == 5


def test_undo_leaves_new_pairs_that_somebody_has_begun_and_says_how_many(dataset, alice, bob, prompt):
    prompt.comparisons.all().delete()
    act = do(dataset, PairAnew("adjacent", 5), [prompt.pk], by=alice)
    vote(pair(prompt, 2, 3), Annotator.objects.for_user(bob))

    undone = undo(act, alice)

    assert pairs(prompt) == ["23"]
    assert undone.left == ["1 pair begun by somebody"]


def test_a_former_pair_that_somebody_has_made_again_comes_back_once(dataset, alice, prompt):
    act = do(dataset, PairAnew("best-worst", 1), [prompt.pk], by=alice)
    more_pairs.make(dataset, more_pairs.Wanted(per_prompt=2), None, alice, uuid4())

    undo(act, alice)

    assert pairs(prompt) == ["12", "13", "14", "23", "24", "34"]


def test_a_former_pair_of_an_answer_that_is_gone_stays_away(dataset, alice, prompt):
    act = do(dataset, PairAnew("best-worst", 1), [prompt.pk], by=alice)
    Completion.objects.get(source="2").delete()

    undo(act, alice)

    assert pairs(prompt) == ["13", "14", "34"]


def test_votes_on_pairs_that_a_score_chose_stand_for_no_others(dataset, alice, bob, prompt):
    prompt.comparisons.all().delete()
    do(dataset, PairAnew("best-worst", 1), [prompt.pk], by=alice)

    claim = next_claim(dataset, Annotator.objects.for_user(bob))

    assert (claim.strategy, claim.propensity) == ("chosen", None)


def test_new_pairs_of_an_excluded_prompt_wait_until_it_is_back(dataset, alice, bob, prompt):
    prompt.comparisons.all().delete()
    do(dataset, Exclude("both", "Spam"), [prompt.pk], by=alice)
    act = do(dataset, PairAnew("all", 64), [prompt.pk], by=alice)
    assert next_claim(dataset, Annotator.objects.for_user(bob)) is None

    undo(act, alice)
    do(dataset, PairAnew("all", 64), [prompt.pk], by=alice)
    do(dataset, Restore(), [prompt.pk], by=alice)

    assert next_claim(dataset, Annotator.objects.for_user(bob))


def test_former_pairs_of_a_prompt_excluded_meanwhile_wait_as_well(dataset, alice, bob, prompt):
    act = do(dataset, PairAnew("best-worst", 1), [prompt.pk], by=alice)
    do(dataset, Exclude("both", "Spam"), [prompt.pk], by=alice)

    undo(act, alice)

    assert set(prompt.comparisons.values_list("required", flat=True)) == {0}
    do(dataset, Restore(), [prompt.pk], by=alice)
    assert set(prompt.comparisons.values_list("required", flat=True)) == {None}


def test_empty_and_unscored_answers_are_not_paired_by_score(dataset, alice, prompt):
    Completion.objects.filter(source="4").update(text="")
    Completion.objects.get(source="3").scores.all().delete()

    do(dataset, PairAnew("best-worst", 1), [prompt.pk], by=alice)

    assert pairs(prompt) == ["12"]


def test_a_prompt_without_two_scored_answers_is_left_as_it_is(dataset, alice, prompt):
    Completion.objects.exclude(source="4").update(text="")

    with pytest.raises(Refused, match="1 prompt without two scored answers"):
        do(dataset, PairAnew("best-worst", 1), [prompt.pk], by=alice)


def test_without_a_model_pairs_by_score_are_refused(dataset, alice, prompt, version):
    ModelVersion.objects.update(state="registered")

    with pytest.raises(Refused, match="Choose pairs that need no score"):
        do(dataset, PairAnew("uncertain", 1), [prompt.pk], by=alice)


def test_the_columns_of_the_data_page_follow_the_act_and_its_undo(dataset, alice, prompt):
    assert same_as_read_anew(dataset)
    act = do(dataset, PairAnew("best-worst", 1), [prompt.pk], by=alice)
    assert same_as_read_anew(dataset)
    undo(act, alice)
    assert same_as_read_anew(dataset)


def test_an_admin_sees_the_numbers_first_and_then_replaces_the_pairs(dataset, alice, as_user, prompt):
    client, page = as_user(alice), reverse("data_act", args=[dataset.pk])
    fields = {"kind": "paired", "policy": "adjacent", "per_prompt": "10", "prompts": prompt.pk}
    pair(prompt, 1, 2).delete()

    shown = client.post(page, fields).content.decode()
    assert "Paired anew: 1 prompt, 1 new pair, 3 removed" in shown
    assert "Pair 1 prompt anew</button>" in shown
    assert not Act.objects.exists()

    done = client.post(page, {**fields, "sure": "1"}, follow=True).content.decode()
    assert "neighbours by the model’s score: 1 new pair, 3 removed." in done


def test_a_reviewer_may_not_replace_pairs(dataset, rita, as_user, prompt):
    fields = {"kind": "paired", "policy": "all", "per_prompt": "10", "prompts": prompt.pk}

    assert as_user(rita).post(reverse("data_act", args=[dataset.pk]), fields).status_code == 403
