import json
import math
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from scoring.evaluate import (
    auc,
    by_length,
    compare,
    evaluate,
    holm,
    human_ceiling,
    mcnemar,
    percentile_interval,
    resample,
)

# Eight pairs under four prompts: five right, one wrong, one with equal scores, one tie.
MARGINS = [2.0, 1.0, -1.0, -3.0, 0.5, -0.5, 0.0, 0.1]
OUTCOMES = [1, 1, 0, 0, 1, 1, 1, 0.5]
GROUPS = ["p", "p", "q", "q", "r", "r", "s", "s"]


def mean_interval(values, seed=0):
    """95 % interval of the mean of values that are a group each."""
    totals = resample(np.stack([values, np.ones(len(values))], axis=1), seed=seed)
    return percentile_interval(totals[:, 0] / totals[:, 1], len(values))


def pairs(n, *, accuracy=0.7, groups=None, seed=0):
    """Margins and outcomes of a model with this accuracy."""
    draw = np.random.default_rng(seed)
    outcomes = draw.integers(0, 2, n).astype(float)
    right = draw.random(n) < accuracy
    size = draw.exponential(1, n)
    margins = np.where(right == (outcomes == 1), size, -size)
    return margins, outcomes, draw.integers(0, groups or n, n)


def test_figures_are_those_worked_out_by_hand():
    evaluation = evaluate(MARGINS, OUTCOMES, GROUPS)

    assert (evaluation.n, evaluation.ties, evaluation.decided, evaluation.equal, evaluation.groups) == (
        8,
        1,
        7,
        1,
        4,
    )
    assert evaluation.accuracy == pytest.approx(5.5 / 7)
    losses = [math.log1p(math.exp(-m)) for m in (2, 1, 1, 3, 0.5, -0.5, 0)]
    tie = math.log1p(math.exp(0.1)) - 0.05
    assert evaluation.log_loss == pytest.approx((sum(losses) + tie) / 8)
    wrong_by = [1 / (1 + math.exp(m)) for m in (2, 1, 1, 3, 0.5, -0.5, 0)]
    brier_of_tie = (1 / (1 + math.exp(-0.1)) - 0.5) ** 2
    assert evaluation.brier == pytest.approx((sum(w * w for w in wrong_by) + brier_of_tie) / 8)
    # |margin| of the right ones 2 1 1 3 .5 and half of 0, of the wrong ones .5 and half of 0.
    assert evaluation.auc_right == pytest.approx((5 * 0.5 + 4 + 0.5 + 0.5 * 0.25) / (5.5 * 1.5))
    assert evaluation.auc_decided == pytest.approx(6 / 7)


def test_wilson_is_that_of_statsmodels():
    evaluation = evaluate(*pairs(400))

    k = round(evaluation.accuracy * 400)
    assert evaluation.wilson == pytest.approx(proportion_confint(k, 400, method="wilson"), abs=1e-6)


def test_auc_is_that_of_scikit_learn():
    from sklearn.metrics import roc_auc_score

    margins, outcomes, _ = pairs(300)
    sizes, right = np.abs(margins).round(1), (margins > 0) == (outcomes == 1)

    assert auc(sizes, right) == pytest.approx(roc_auc_score(right, sizes))


def test_auc_of_one_kind_alone_is_not_enough_data():
    assert auc([1.0, 2.0], [1.0, 1.0]) is None


def test_figures_are_given_at_the_temperature_too():
    margins, outcomes, groups = pairs(500)

    evaluation = evaluate(margins, outcomes, groups, temperature=2.0)

    halved = evaluate(margins / 2, outcomes, groups)
    assert evaluation.calibrated_log_loss == pytest.approx(halved.log_loss)
    assert evaluation.calibrated_brier == pytest.approx(halved.brier)
    assert evaluation.calibrated_ece == pytest.approx(halved.ece)
    assert evaluation.accuracy == halved.accuracy


def test_nothing_depends_on_which_completion_is_called_a():
    margins, outcomes, groups = pairs(200, groups=50)
    swapped = np.random.default_rng(1).random(200) < 0.5

    as_given = evaluate(margins, outcomes, groups, temperature=1.5)
    with_sides_swapped = evaluate(
        np.where(swapped, -margins, margins),
        np.where(swapped, 1 - outcomes, outcomes),
        groups,
        temperature=1.5,
    )

    assert flat(with_sides_swapped) == pytest.approx(flat(as_given))


def flat(evaluation):
    return [number for value in asdict(evaluation).values() for number in np.atleast_1d(value) if value != ()]


def test_a_posterior_counts_for_the_likelier_side():
    evaluation = evaluate([1.0, 1.0, -1.0], [0.9, 0.4, 0.2], ["p", "q", "r"])

    assert (evaluation.ties, evaluation.accuracy) == (0, pytest.approx(2 / 3))


def test_no_pairs_are_not_enough_data():
    evaluation = evaluate([], [], [])

    assert evaluation.n == evaluation.groups == 0
    assert (
        evaluation.accuracy
        is evaluation.wilson
        is evaluation.clustered
        is evaluation.log_loss
        is evaluation.auc_right
        is None
    )


def test_ties_alone_have_a_log_loss_but_no_accuracy():
    evaluation = evaluate([0.0, 0.0], [0.5, 0.5], ["p", "q"])

    assert (evaluation.accuracy, evaluation.clustered) == (None, None)
    assert evaluation.log_loss == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        (([1.0], [1.0, 0.0], ["p"]), "don't match"),
        (([1.0], [1.0], ["p", "q"]), "2 group labels don't match 1 pairs"),
        (([math.nan], [1.0], ["p"]), "margin 0 is not a number"),
        (([1.0], [2.0], ["p"]), "an outcome is 1, 0 or 0.5"),
    ],
)
def test_arrays_that_cannot_be_are_refused(arrays, reason):
    with pytest.raises(ValueError, match=reason):
        evaluate(*arrays)


def test_a_figure_file_can_be_written_of_it():
    margins, outcomes, groups = pairs(100)

    evaluation = evaluate(margins, outcomes, groups, slices={"source": ["x"] * 99 + ["y"]})

    assert json.loads(json.dumps(asdict(evaluation), allow_nan=False))["slices"][1]["accuracy"] is None


def test_slices_give_their_part_and_say_when_there_is_not_enough_data():
    margins, outcomes, groups = pairs(100)
    source = ["forum"] * 60 + ["mail"] * 20 + [None] * 20

    forum, mail = evaluate(margins, outcomes, groups, slices={"source": source}).slices

    alone = evaluate(margins[:60], outcomes[:60], groups[:60])
    assert (forum.name, forum.label, forum.n) == ("source", "forum", 60)
    assert (forum.accuracy, forum.wilson) == (alone.accuracy, alone.wilson)
    assert forum.clustered == pytest.approx(alone.clustered, abs=0.03)
    assert (mail.label, mail.n, mail.accuracy, mail.wilson, mail.clustered) == ("mail", 20, None, None, None)


def test_a_weight_of_two_is_the_pair_twice():
    twice = [0, 0, 1, 2, 2, 3, 4, 5, 6, 7]

    evaluation = evaluate(MARGINS, OUTCOMES, GROUPS, weights=[2, 1, 2, 1, 1, 1, 1, 1])

    repeated = evaluate(*([column[place] for place in twice] for column in (MARGINS, OUTCOMES, GROUPS)))
    assert evaluation.accuracy == pytest.approx(repeated.accuracy)
    assert evaluation.log_loss == pytest.approx(repeated.log_loss)
    assert evaluation.ece == pytest.approx(repeated.ece)
    assert evaluation.auc_right == pytest.approx(repeated.auc_right)
    assert evaluation.clustered == pytest.approx(repeated.clustered)
    assert evaluation.decided == 7


def test_inverse_chances_of_being_picked_undo_the_picking():
    margins, outcomes, groups = pairs(40_000, accuracy=0.8)
    right = (margins > 0) == (outcomes == 1)
    chance = np.where(right, 0.2, 0.8)  # whoever picks pairs looks for mistakes
    picked = np.random.default_rng(2).random(len(right)) < chance

    evaluation = evaluate(margins[picked], outcomes[picked], groups[picked], weights=1 / chance[picked])

    assert evaluate(margins[picked], outcomes[picked], groups[picked]).accuracy < 0.55
    assert evaluation.accuracy == pytest.approx(0.8, abs=0.02)
    low, high = evaluation.wilson
    assert low < 0.8 < high


def test_the_clustered_interval_covers_where_wilson_does_not():
    """Twenty prompts with ten equal pairs each: 200 pairs have the information of twenty."""
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    clustered = wilson = 0
    for trial in range(300):
        right = np.repeat(draw.random(20) < 0.7, 10)
        evaluation = evaluate(np.where(right, 1.0, -1.0), np.ones(200), groups, seed=trial)
        clustered += evaluation.clustered[0] <= 0.7 <= evaluation.clustered[1]
        wilson += evaluation.wilson[0] <= 0.7 <= evaluation.wilson[1]

    assert 0.92 <= clustered / 300 <= 0.99
    assert wilson / 300 < 0.6


def test_few_groups_are_covered_too():
    draw = np.random.default_rng(0)
    covered = 0
    for trial in range(400):
        low, high = mean_interval(draw.normal(0, 1, 6), seed=trial)
        covered += low <= 0 <= high

    # The plain percentile interval covers 86 % here.
    assert covered / 400 > 0.91


def test_bundled_groups_give_the_interval_of_the_normal_law():
    values = np.random.default_rng(0).normal(5, 2, 20_000)

    low, high = mean_interval(values)

    assert (high - low) / 2 == pytest.approx(1.96 * 2 / math.sqrt(20_000), rel=0.08)
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.003)


def test_200_000_pairs_take_seconds():
    margins, outcomes, groups = pairs(200_000, groups=60_000)

    started = time.perf_counter()
    evaluate(margins, outcomes, groups)

    assert time.perf_counter() - started < 10


def test_an_interval_is_the_same_every_time():
    margins, outcomes, groups = pairs(100, groups=30)

    assert evaluate(margins, outcomes, groups).clustered == evaluate(margins, outcomes, groups).clustered
    assert (
        evaluate(margins, outcomes, groups, seed=1).clustered != evaluate(margins, outcomes, groups).clustered
    )


def test_one_group_is_not_enough_for_an_interval():
    assert evaluate([1.0, -1.0], [1, 1], ["p", "p"]).clustered is None
    assert evaluate([], [], []).clustered is None


def test_a_statistic_of_sums_can_be_bounded():
    """A ratio of means over groups with two correlated sums."""
    draw = np.random.default_rng(0)
    size = draw.integers(1, 9, 300).astype(float)
    sums = np.stack([3 * size + draw.normal(0, 0.1, 300), size], axis=1)

    totals = resample(sums)

    low, high = percentile_interval(totals[:, 0] / totals[:, 1], 300)
    assert low < 3 < high
    assert high - low < 0.02


def test_mcnemar_is_exact():
    for n01, n10 in ((0, 0), (3, 9), (20, 5), (1, 0)):
        expected = mcnemar_of_statsmodels([[7, n10], [n01, 4]], exact=True).pvalue if n01 + n10 else 1.0

        assert mcnemar(n01, n10) == pytest.approx(expected)


@pytest.mark.parametrize(
    "p_values", [[0.01, 0.04, 0.03, 0.005], [0.02], [0.5, 0.5, 0.9], [0.001, 1, 0, 0.02]]
)
def test_holm_is_that_of_statsmodels(p_values):
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_two_models_are_compared_on_the_pairs_on_which_they_differ():
    new = [1.0, 1.0, 1.0, -1.0, 0.0, 1.0]
    old = [1.0, -1.0, -1.0, 1.0, 1.0, 1.0]

    comparison = compare(new, old, [1, 1, 1, 1, 1, 0.5], range(6))

    assert (comparison.n, comparison.ties, comparison.n01, comparison.n10) == (5, 1, 2, 2)
    assert comparison.p == 1.0
    assert (comparison.new_accuracy, comparison.old_accuracy) == (pytest.approx(0.7), pytest.approx(0.6))
    assert comparison.accuracy_difference == pytest.approx(0.1)


def test_a_model_that_answers_the_same_to_everything_loses_significantly():
    margins, outcomes, groups = pairs(200, accuracy=0.8)

    comparison = compare(np.zeros(200), margins, outcomes, groups)

    assert comparison.new_accuracy == 0.5
    assert comparison.p < 1e-6
    assert comparison.accuracy_interval[1] < 0


def test_a_better_model_is_seen_and_a_worse_slice_too():
    old, outcomes, groups = pairs(1000, accuracy=0.6)
    better, _, _ = pairs(1000, accuracy=0.9)
    source = np.where(np.arange(1000) < 700, "forum", "mail")
    new = np.where(source == "forum", np.abs(better) * np.sign(outcomes - 0.5), -np.abs(better))

    comparison = compare(new, old, outcomes, groups, slices={"source": source})

    forum, mail = comparison.slices
    assert comparison.accuracy_interval[0] > 0
    assert forum.difference > 0.3
    assert forum.holm_p < 0.001
    assert (mail.n, mail.holm_p >= mail.p) == (300, True)
    assert mail.clustered[0] < mail.difference < mail.clustered[1]


def test_two_equal_models_seldom_differ():
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(100), 3)
    found_different = 0
    for seed in range(200):
        new, old = np.where(draw.random((2, 300)) < 0.7, 1.0, -1.0)
        low, high = compare(new, old, np.ones(300), groups, seed=seed).accuracy_interval
        found_different += not low <= 0 <= high

    assert found_different / 200 < 0.1


def test_temperatures_matter_to_log_loss_alone():
    margins, outcomes, groups = pairs(300)

    comparison = compare(3 * margins, margins, outcomes, groups, temperatures=(3.0, 1.0))

    assert comparison.log_loss_difference == pytest.approx(0)
    assert comparison.accuracy_difference == 0
    assert compare(3 * margins, margins, outcomes, groups).log_loss_difference > 0


@pytest.mark.parametrize(
    ("agreement", "votes", "ceiling"),
    [(0.73, 1, 0.839), (0.73, 3, 0.931), (0.66, 1, 0.783), (0.63, 1, 0.755), (1.0, 1, 1.0), (0.4, 1, 0.5)],
)
def test_the_ceiling_is_what_a_perfect_model_would_show(agreement, votes, ceiling):
    assert human_ceiling(agreement, votes) == pytest.approx(ceiling, abs=0.0006)


def test_the_ceiling_is_what_simulated_people_allow():
    draw = np.random.default_rng(0)
    first, second = draw.random((2, 200_000)) < 0.15  # two people who err independently

    assert human_ceiling(float((first == second).mean())) == pytest.approx(0.85, abs=0.005)


def test_length_slices_look_at_the_preferred_side():
    labels = by_length([100, 10, 100, 96, 0], [50, 50, 20, 100, 0], [1, 1, 0.5, 0, 1])

    assert labels == [
        "preferred is longer",
        "preferred is shorter",
        None,
        "alike in length",
        "alike in length",
    ]


def test_it_is_imported_without_torch():
    script = "import sys, scoring.evaluate; sys.exit(bool({'torch', 'django', 'pandas'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0
