import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoring.calibrate import (
    NotEnoughData,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    reliability,
    wilson,
)

TRUE_TEMPERATURE = 2.5


def judged(n: int, seed: int = 0, temperature: float = TRUE_TEMPERATURE, ties: float = 0.0):
    """Margins, and outcomes by people who follow them at a known temperature."""
    generator = np.random.default_rng(seed)
    margins = generator.normal(0, 3, n)
    outcomes = (generator.random(n) < 1 / (1 + np.exp(-margins / temperature))).astype(float)
    outcomes[generator.random(n) < ties] = 0.5
    return margins, outcomes


def test_the_temperature_behind_simulated_judgments_is_found():
    fit = fit_temperature(*judged(20_000))

    assert fit.temperature == pytest.approx(TRUE_TEMPERATURE, rel=0.05)
    assert fit.n == fit.measured_on == 20_000
    assert fit.log_loss_after < fit.log_loss_before
    assert fit.ece_after < 0.015 < fit.ece_before


def test_no_other_temperature_has_less_log_loss():
    data = judged(500)
    best = fit_temperature(*data).temperature

    nearby = [log_loss(*data, best * factor) for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2)]

    assert min(nearby) > log_loss(*data, best)


def test_ties_raise_the_temperature():
    assert (
        fit_temperature(*judged(5_000, ties=0.4)).temperature
        > fit_temperature(*judged(5_000)).temperature * 1.3
    )


def test_figures_are_measured_on_what_was_held_out():
    train, held_out = judged(1_000, seed=1), judged(400, seed=2)

    fit = fit_temperature(*train, held_out=held_out)

    assert (fit.n, fit.measured_on) == (1_000, 400)
    assert fit.temperature == fit_temperature(*train).temperature
    assert fit.log_loss_before == log_loss(*held_out, 1.0)
    assert fit.log_loss_after == log_loss(*held_out, fit.temperature)


@given(swaps=st.lists(st.booleans(), min_size=150, max_size=150))
def test_swapping_sides_changes_nothing(swaps):
    margins, outcomes = judged(150, ties=0.2)
    margins[0] = 0.0
    swapped = np.where(swaps, -margins, margins), np.where(swaps, 1 - outcomes, outcomes)

    as_given, with_sides_swapped = fit_temperature(margins, outcomes), fit_temperature(*swapped)

    assert with_sides_swapped.temperature == pytest.approx(as_given.temperature)
    assert with_sides_swapped.ece_after == pytest.approx(as_given.ece_after)
    assert with_sides_swapped.log_loss_after == pytest.approx(as_given.log_loss_after)


def test_99_judgments_are_not_enough_and_100_are():
    with pytest.raises(NotEnoughData, match="not enough data: 99 votes, calibration needs 100"):
        fit_temperature(*judged(99))

    assert fit_temperature(*judged(100)).n == 100


def test_an_empty_held_out_set_is_not_enough():
    with pytest.raises(NotEnoughData):
        fit_temperature(*judged(100), held_out=([], []))


def test_a_model_that_people_contradict_gets_one_half_everywhere():
    margins, outcomes = judged(400)

    temperature = fit_temperature(margins, 1 - outcomes).temperature

    assert np.abs(margins / temperature).max() < 0.01
    assert math.isfinite(temperature)


def test_a_model_that_is_always_right_gets_a_finite_temperature():
    margins, _ = judged(400)

    fit = fit_temperature(margins, margins > 0)

    assert 0 < fit.temperature < 1
    assert fit.log_loss_after < 0.05


def test_margins_of_zero_fit_any_temperature():
    fit = fit_temperature(np.zeros(100), np.full(100, 0.5))

    assert fit.temperature == 1.0
    assert fit.ece_after == 0.0
    assert fit.log_loss_after == pytest.approx(math.log(2))


def test_log_loss_of_a_hand_worked_case():
    assert log_loss([2.0, -2.0], [1.0, 1.0], 2.0) == pytest.approx(
        (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2
    )


def test_bins_hold_every_judgment_once_and_their_observed_share():
    margins = [0.1, 0.2, -0.1, 5.0, -5.0, 5.0]
    outcomes = [1.0, 0.0, 0.5, 1.0, 0.0, 0.0]

    bins = reliability(margins, outcomes, 1.0)

    assert [bin_.n for bin_ in bins] == [3, 0, 0, 0, 0, 0, 0, 0, 0, 3]
    assert bins[0].observed == pytest.approx(0.5)
    assert bins[-1].observed == pytest.approx(2 / 3)
    assert bins[-1].predicted == pytest.approx(1 / (1 + math.exp(-5)))
    assert bins[-1].low < 2 / 3 < bins[-1].high
    assert math.isnan(bins[1].observed)
    assert expected_calibration_error(margins, outcomes, 1.0) == pytest.approx(
        sum(bin_.n * abs(bin_.predicted - bin_.observed) for bin_ in bins if bin_.n) / 6
    )


def test_the_wilson_interval_is_the_textbooks():
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


@pytest.mark.parametrize(
    ("margins", "outcomes", "reason"),
    [
        ([1.0] * 100, [1.0] * 99, "don't match"),
        ([1.0] * 99 + [math.nan], [1.0] * 100, "margin 99 is not a number"),
        ([1.0] * 100, [1.0] * 99 + [2.0], "an outcome is 1, 0 or 0.5"),
        ([1.0] * 100, [1.0] * 99 + [math.nan], "an outcome is 1, 0 or 0.5"),
    ],
)
def test_numbers_that_cannot_be_are_refused(margins, outcomes, reason):
    with pytest.raises(ValueError, match=reason):
        fit_temperature(margins, outcomes)
