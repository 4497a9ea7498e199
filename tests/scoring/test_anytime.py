"""The interval that may be looked at after every vote."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import nct, norm, t

from scoring.anytime import (
    LEVEL,
    MARGIN,
    PRIORS,
    GroupTotals,
    evidence,
    interval,
    level_of,
    p_value,
    weigh,
)


def of_pairs(gains: np.ndarray, groups: np.ndarray | None = None) -> GroupTotals:
    return GroupTotals.of(gains, np.arange(len(gains)) if groups is None else groups)


def rejects(totals: GroupTotals, difference: float) -> bool:
    return evidence(totals, difference) > -math.log(LEVEL)


def drawn(seed: int, n: int, difference: float = 0.0, disagree: float = 0.2) -> np.ndarray:
    up = np.random.default_rng(seed).random(n)
    return np.where(up < (disagree + difference) / 2, 1.0, np.where(up < disagree, -1.0, 0.0))


def test_e_is_the_bayes_factor_of_the_t_statistic():
    """Likelihood of Student's t under a normal prior on the effect, over that under no effect."""
    values = np.random.default_rng(1).normal(0.3, 1.0, 20)
    n, statistic = 20, math.sqrt(20) * values.mean() / values.std(ddof=1)
    expected = sum(
        weight
        * quad(
            lambda effect, c=c: (
                norm.pdf(effect, 0, c**-0.5) * nct.pdf(statistic, n - 1, math.sqrt(n) * effect)
            ),
            -6,
            6,
        )[0]
        / t.pdf(statistic, n - 1)
        for c, weight in PRIORS
    )

    assert p_value(of_pairs(values)) == pytest.approx(min(1.0, 1 / expected), rel=1e-6)


def test_the_interval_is_all_differences_that_are_not_rejected():
    groups = np.random.default_rng(2).integers(0, 80, 400)
    totals = of_pairs(drawn(3, 400, 0.08), groups)

    low, high = interval(totals)

    assert low < totals.difference < high
    assert rejects(totals, low - 1e-6)
    assert not rejects(totals, low + 1e-6)
    flipped = of_pairs(-drawn(3, 400, 0.08), groups)
    assert interval(flipped) == pytest.approx((-high, -low))


def test_without_a_difference_few_runs_ever_say_better_at_any_look():
    ever = [
        any(rejects(of_pairs(gains[:n]), 0.0) for n in range(300, 2_001, 100))
        for gains in (drawn(seed, 2_000) for seed in range(400))
    ]

    assert np.mean(ever) <= LEVEL / 2


def test_a_difference_of_five_points_is_mostly_seen_by_2000_pairs():
    assert np.mean([rejects(of_pairs(drawn(seed, 2_000, 0.05)), 0.0) for seed in range(100)]) > 0.8


def test_pairs_of_one_prompt_are_one_unit():
    gains = drawn(5, 300, 0.1)
    copied = np.repeat(gains, 5)

    apart, together = of_pairs(copied), of_pairs(copied, np.repeat(np.arange(300), 5))

    assert interval(together) == pytest.approx(interval(of_pairs(gains)))
    assert p_value(apart) < p_value(together)


def test_a_few_large_prompts_that_agree_decide():
    groups = np.repeat(np.arange(12), 160)
    gains = drawn(7, len(groups), 0.1, 0.3)

    assert interval(of_pairs(gains, groups))[0] > 0
    assert interval(of_pairs(gains[:320], groups[:320])) is None


def test_models_that_never_disagree_are_no_better_and_no_worse():
    totals = of_pairs(np.zeros(400))

    assert interval(totals) == (0.0, 0.0)
    assert p_value(totals) == 1.0
    assert weigh(totals, 0.0, LEVEL).met is False
    assert weigh(totals, -MARGIN, LEVEL).met is True


def test_levels_of_all_candidates_together_stay_below_five_per_cent():
    assert level_of(1) == LEVEL
    assert sum(level_of(k) / 2 for k in range(1, 10_001)) == pytest.approx(0.05, abs=1e-5)
    first, tenth = (interval(of_pairs(drawn(1, 1_000)), level_of(k)) for k in (1, 10))
    assert tenth[0] < first[0] < first[1] < tenth[1]


def test_nothing_is_decided_below_the_pairs_that_are_needed_and_the_rest_is_named():
    totals = of_pairs(np.ones(100))

    assert weigh(totals, 0.0, LEVEL).met is True
    few = weigh(totals, 0.0, LEVEL, needed=300)
    assert (few.met, few.more_pairs) == (None, 200)


@pytest.mark.parametrize("difference", [0.02, 0.0, -0.02])
def test_as_many_pairs_as_it_names_decide(difference):
    gains = np.array(
        [1.0] * round(600 * (0.1 + difference / 2)) + [-1.0] * round(600 * (0.1 - difference / 2))
    )
    gains = np.concatenate([gains, np.zeros(600 - len(gains))])
    found = weigh(of_pairs(gains), 0.0, LEVEL)

    factor = (600 + found.more_pairs) / 600
    assert found.met is None
    assert weigh(of_pairs(gains).grown(factor * 1.01), 0.0, LEVEL).met is (difference > 0)
    assert weigh(of_pairs(gains).grown(0.97 * factor), 0.0, LEVEL).met is None
