from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    DatasetFactory,
    ModelVersionFactory,
    ScoreFactory,
    SuggestionFactory,
)
from tests.planted import has_learnt, judged_blind, labelled, measured, memorised
from workbench.models import Claim, Judgment
from workbench.pipeline.quality import accuracy, columns
from workbench.pipeline.text.splits import split_of

pytestmark = pytest.mark.django_db


def test_a_model_that_memorised_its_training_prompts_shows_what_it_is_worth_on_the_others(dataset):
    planted = memorised(dataset)

    measurement = measured(planted.version, dataset)

    assert measurement.share.value == planted.share == 25 / 40
    assert (measurement.decided, measurement.learnt) == (40, 60)
    low, high = measurement.share.low, measurement.share.high
    assert 0.4 < low < measurement.share.value < high < 0.8


def test_the_same_pairs_in_another_dataset_are_left_out_as_well(dataset):
    planted = memorised(dataset)
    second_dataset = DatasetFactory.create()
    for number, comparison in enumerate(planted.learnt[:30]):
        copy = labelled(second_dataset, comparison.prompt.messages[0]["content"].upper())
        SuggestionFactory.create(comparison=copy, version=planted.version, margin=1.0 - 2 * (number % 2))

    measurement = measured(planted.version, second_dataset)

    assert (measurement.decided, measurement.learnt, measurement.share.value) == (0, 30, None)


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

    measurement = measured(version, dataset, "people")

    assert (measurement.share.value, measurement.decided) == (0.5, 2)
    assert accuracy.opinions_of(dataset).set_aside == {"led": 1, "picked": 1, "asked_after": 0}
    assert accuracy.left_out_in_words(0, accuracy.opinions_of(dataset).set_aside) == (
        "Left out: 1 vote given after the model’s pick was shown, 1 vote on pairs that were not picked at "
        "random."
    )


def test_a_pair_counts_once_by_what_more_than_half_say(dataset):
    version = ModelVersionFactory.create()
    clear, split = (labelled(dataset, f"{n}?") for n in range(2))
    for comparison in (clear, split):
        SuggestionFactory.create(comparison=comparison, version=version, margin=1.0)
    judged_blind(clear)
    judged_blind(clear, "b")
    judged_blind(split, "b")

    both, people = measured(version, dataset), measured(version, dataset, "people")

    assert (both.decided, both.share.value) == (1, 1.0)
    assert accuracy.undecided(*accuracy.opinions_of(dataset).labels()) == {"no majority": 1}
    assert (people.decided, people.share.value) == (1, 0.0)


def test_the_length_rule_is_the_one_that_is_right_more_often_on_training_prompts(dataset):
    version = ModelVersionFactory.create()
    has_learnt(version, [])
    for number in range(60):
        comparison = labelled(dataset, f"{number}?", a=f"short {number}", b=f"much longer than that {number}")
        right = number % 3 > 0
        SuggestionFactory.create(comparison=comparison, version=version, margin=1.0 if right else -1.0)

    measurement = measured(version, dataset)

    assert (measurement.rule, measurement.rule_share.value) == ("shortest", 1.0)
    assert measurement.over_rule.value == pytest.approx(-1 / 3)
    assert accuracy.beats_rule(measurement.over_rule.low, measurement.over_rule.high) is False


def test_the_rule_is_not_chosen_by_prompts_that_are_kept_for_testing(dataset):
    for number in range(120):
        group = labelled(dataset, f"{number}?", a=f"long text {number}", b=f"s{number}").prompt.group
        if split_of(group) != "train":
            Judgment.objects.filter(comparison__prompt__group=group).update(outcome="b")
    opinions = accuracy.opinions_of(dataset)
    target, _ = opinions.labels()

    assert accuracy.length_rule(target, opinions.lengths, opinions.groups) == "longest"
    assert accuracy.length_rule(1 - target, opinions.lengths, opinions.groups) == "shortest"


def test_a_figure_above_the_human_ceiling_carries_a_warning(dataset):
    version = ModelVersionFactory.create()
    people = [AnnotatorFactory.create() for _ in range(3)]
    for number in range(40):
        comparison = labelled(dataset, f"{number}?")
        Judgment.objects.filter(comparison=comparison).delete()
        SuggestionFactory.create(comparison=comparison, version=version, margin=1.0)
        for place, by in enumerate(people):
            judged_blind(comparison, "b" if place == 0 and number % 2 else "a", by)

    share, ceiling = measured(version, dataset).share.value, accuracy.opinions_of(dataset).ceiling()

    assert share == 1.0
    assert 0.8 < ceiling.value < 1.0
    assert "above the human ceiling" in ceiling.warning(share)


def test_a_pair_whose_texts_read_the_same_to_the_model_counts_half_in_every_figure(dataset):
    version = ModelVersionFactory.create()
    differs, reads_same, is_unscored = (labelled(dataset, f"{n}?") for n in range(3))
    SuggestionFactory.create(comparison=differs, version=version, margin=1.0)
    for completion in (reads_same.a, reads_same.b, is_unscored.a):
        ScoreFactory.create(version=version, completion=completion)
    pairs = columns.pairs_of(dataset, "default", lambda rows: None)

    of_report = columns.margins_of(version, dataset, pairs, "default", lambda rows: None)

    of_evaluation = accuracy.margins(version, pairs.pk.tolist())
    assert of_report[:2].tolist() == of_evaluation[:2].tolist() == [1, 0]
    assert np.isnan([of_report[2], of_evaluation[2]]).all()
    assert (measured(version, dataset).share.value, measured(version, dataset).decided) == (0.75, 2)


def test_nothing_counted_is_no_figure(dataset):
    measurement = measured(ModelVersionFactory.create(), dataset)

    assert (measurement.share.value, measurement.decided) == (None, 0)
    assert accuracy.opinions_of(dataset).ceiling() == accuracy.Ceiling(None, None, 0, 1)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.1, True), (-0.1, -0.01, False), (-0.1, 0.1, None), (0.0, 0.1, None), (None, None, None)],
)
def test_a_model_beats_the_length_rule_where_the_whole_interval_says_so(low, high, verdict):
    assert accuracy.beats_rule(low, high) is verdict
