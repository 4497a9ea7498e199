from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import AnnotatorFactory, DatasetFactory, ModelVersionFactory, SuggestionFactory
from tests.planted import has_learnt, judged_blind, labelled, memorised
from workbench.models import Claim, Judgment
from workbench.pipeline.quality import accuracy
from workbench.pipeline.text.splits import split_of

pytestmark = pytest.mark.django_db


def test_a_model_that_memorised_its_training_prompts_shows_what_it_is_worth_on_the_others(dataset):
    planted = memorised(dataset)

    found = accuracy.of(planted.version, dataset)

    assert found.share.value == planted.share == 25 / 40
    assert (found.n, found.measured.learnt, found.known) == (40, 60, "yes")
    assert found.counted == {"people": 0, "imported": 40}
    assert found.left_out == "Left out: 60 pairs of prompts that the model was trained on."
    low, high = found.share.low, found.share.high
    assert 0.4 < low < found.share.value < high < 0.8


def test_the_same_pairs_in_another_dataset_are_left_out_as_well(dataset):
    planted = memorised(dataset)
    other = DatasetFactory.create()
    for number, comparison in enumerate(planted.learnt[:30]):
        copy = labelled(other, comparison.prompt.messages[0]["content"].upper())
        SuggestionFactory.create(comparison=copy, version=planted.version, margin=1.0 - 2 * (number % 2))

    found = accuracy.of(planted.version, other)

    assert (found.n, found.measured.learnt, found.share.value) == (0, 30, None)


def answered(comparison, *, mode="blind", strategy="random", outcome="a", **fields):
    annotator = AnnotatorFactory.create()
    Claim.objects.create(
        comparison=comparison,
        annotator=annotator,
        state="done",
        slot=comparison.claims.count(),
        left="a",
        mode=mode,
        strategy=strategy,
        expires_at=timezone.now() + timedelta(hours=1),
    )
    return Judgment.objects.create(
        comparison=comparison,
        annotator=annotator,
        outcome=outcome,
        stage=fields.pop("stage", "first"),
        mode=mode,
        **fields,
    )


def test_votes_beside_a_suggestion_and_on_picked_pairs_are_counted_apart(dataset):
    version = ModelVersionFactory.create()
    pairs = [labelled(dataset, f"{n}?") for n in range(4)]
    Judgment.objects.all().delete()
    for comparison in pairs:
        SuggestionFactory.create(comparison=comparison, version=version, margin=1.0)
    answered(pairs[0])
    answered(pairs[1], mode="assisted")
    answered(pairs[2], strategy="uncertain")
    answered(pairs[3], outcome="b")

    found = accuracy.of(version, dataset, "people")

    assert (found.share.value, found.n) == (0.5, 2)
    assert found.set_aside == {"led": 1, "picked": 1, "asked_after": 0}
    assert found.left_out == (
        "Left out: 1 vote given after the model’s pick was shown, 1 vote on pairs that were "
        "not picked at random."
    )


def test_a_pair_counts_once_by_what_more_than_half_say(dataset):
    version = ModelVersionFactory.create()
    clear, split = (labelled(dataset, f"{n}?") for n in range(2))
    for comparison in (clear, split):
        SuggestionFactory.create(comparison=comparison, version=version, margin=1.0)
    judged_blind(clear)
    judged_blind(clear, "b")
    judged_blind(split, "b")

    both, people = accuracy.of(version, dataset), accuracy.of(version, dataset, "people")

    assert (both.n, both.share.value, both.undecided) == (1, 1.0, {"no majority": 1})
    assert both.counted == {"people": 1, "imported": 0}
    assert (people.n, people.share.value) == (1, 0.0)


def test_the_length_rule_is_the_one_that_is_right_more_often_on_training_prompts(dataset):
    version = ModelVersionFactory.create()
    has_learnt(version, [])
    for number in range(60):
        comparison = labelled(dataset, f"{number}?", a=f"short {number}", b=f"much longer than that {number}")
        right = number % 3 > 0
        SuggestionFactory.create(comparison=comparison, version=version, margin=1.0 if right else -1.0)

    measured = accuracy.of(version, dataset).measured

    assert (measured.rule, measured.rule_share.value) == ("shortest", 1.0)
    assert measured.over_rule.value == pytest.approx(-1 / 3)
    assert measured.beats_rule is False


def test_the_rule_is_not_chosen_by_prompts_that_are_kept_for_testing(dataset):
    for number in range(120):
        group = labelled(dataset, f"{number}?", a=f"long text {number}", b=f"s{number}").prompt.group
        if split_of(group) != "train":
            Judgment.objects.filter(comparison__prompt__group=group).update(outcome="b")
    found = accuracy.heard(dataset)
    target, _ = found.said()

    assert accuracy.length_rule(target, found.lengths, found.groups) == "longest"
    assert accuracy.length_rule(1 - target, found.lengths, found.groups) == "shortest"


def test_a_figure_above_the_human_ceiling_carries_a_warning(dataset):
    version = ModelVersionFactory.create()
    people = [AnnotatorFactory.create() for _ in range(3)]
    for number in range(40):
        comparison = labelled(dataset, f"{number}?")
        Judgment.objects.filter(comparison=comparison).delete()
        SuggestionFactory.create(comparison=comparison, version=version, margin=1.0)
        for place, by in enumerate(people):
            judged_blind(comparison, "b" if place == 0 and number % 2 else "a", by)

    found = accuracy.of(version, dataset)

    assert found.share.value == 1.0
    assert 0.8 < found.ceiling.value < 1.0
    assert "above the human ceiling" in found.warning


def test_nothing_counted_is_no_figure(dataset):
    found = accuracy.of(ModelVersionFactory.create(), dataset)

    assert (found.share.value, found.n, found.warning, found.known) == (None, 0, "", "no")
