"""Strengths of sources against independent implementations, and intervals against a known truth."""

import choix
import numpy as np
import pytest

from workbench.pipeline.sources.bradley_terry import Votes, linked, met, strengths, wins

SIDE, LENGTH = 0, 1
TRUE = np.array([-0.9, -0.1, 0.2, 0.8])


def campaign(seed: int, prompts: int = 120, each: int = 6, left: float = 0.4, longer: float = 0.3) -> Votes:
    """Votes on sources of strengths TRUE, which differ from prompt to prompt. Stronger sources write longer
    answers, and the first of two named sources is mostly on the left."""
    random = np.random.default_rng(seed)
    n = prompts * each
    group = np.repeat(np.arange(prompts), each)
    a = random.integers(len(TRUE), size=n)
    b = (a + random.integers(1, len(TRUE), size=n)) % len(TRUE)
    side = np.where(random.random(n) < np.where(a > b, 0.7, 0.3), 1.0, -1.0)
    length = random.normal(TRUE[a] - TRUE[b], 1)
    of_prompt = random.normal(0, 0.5, (prompts, len(TRUE)))
    log_odds = TRUE[a] - TRUE[b] + of_prompt[group, a] - of_prompt[group, b] + left * side + longer * length
    won = (random.random(n) < 1 / (1 + np.exp(-log_odds))).astype(float)
    return Votes(a, b, won, np.column_stack([side, length]), group)


def design(votes: Votes, controls: list[int]) -> np.ndarray:
    """A column a source but the last, and the controls."""
    features = np.zeros((len(votes), len(TRUE)))
    features[np.arange(len(votes)), votes.a] += 1
    features[np.arange(len(votes)), votes.b] -= 1
    return np.column_stack([features[:, :-1], votes.controls[:, controls]])


def tied(votes: Votes, share: float) -> Votes:
    """The votes, with this share of them a tie."""
    random = np.random.default_rng(0)
    won = np.where(random.random(len(votes)) < share, 0.5, votes.won)
    return Votes(votes.a, votes.b, won, votes.controls, votes.group)


def test_strengths_are_those_of_choix():
    votes = campaign(1)

    fit = strengths(votes, len(TRUE))

    assert fit.values == pytest.approx(choix.ilsr_pairwise_dense(wins(votes, len(TRUE))), abs=1e-4)


def test_strengths_with_ties_are_those_of_choix_with_half_a_win_for_each():
    votes = tied(campaign(2), 0.3)
    table = np.zeros((len(TRUE), len(TRUE)))
    for a, b, won in zip(votes.a, votes.b, votes.won, strict=True):
        table[a, b] += won
        table[b, a] += 1 - won

    fit = strengths(votes, len(TRUE))

    assert (votes.won == 0.5).sum() > 100
    assert fit.values == pytest.approx(choix.ilsr_pairwise_dense(table), abs=1e-4)


@pytest.mark.parametrize("controls", [[SIDE, LENGTH], [LENGTH], []])
def test_strengths_with_controls_are_those_of_a_logit_of_statsmodels(controls):
    from statsmodels.api import Logit

    votes = campaign(3)
    logit = Logit(votes.won, design(votes, controls))
    theirs = logit.fit(disp=0, cov_type="cluster", cov_kwds={"groups": votes.group})
    last = len(TRUE) - 1

    fit = strengths(votes, len(TRUE), controls)

    assert fit.values[:last] - fit.values[last] == pytest.approx(theirs.params[:last], abs=1e-4)
    assert fit.values[len(TRUE) :] == pytest.approx(theirs.params[last:], abs=1e-4)
    against_last = np.eye(len(TRUE) + len(controls))[:last]
    against_last[:, last] = -1
    errors = np.sqrt(np.diag(against_last @ fit.covariance @ against_last.T))
    assert errors == pytest.approx(theirs.bse[:last], abs=1e-4)
    assert np.sqrt(np.diag(fit.covariance))[len(TRUE) :] == pytest.approx(theirs.bse[last:], abs=1e-4)


def test_the_mean_of_all_strengths_is_0():
    assert strengths(campaign(4), len(TRUE), [SIDE, LENGTH]).values[: len(TRUE)].sum() == pytest.approx(0)


def test_a_planted_lean_to_the_left_is_found_and_removed():
    """Of two equal sources, one is nearly always on the left, where 73 of 100 choose it."""
    random = np.random.default_rng(5)
    n = 4_000
    left = random.random(n) < 0.9
    won = random.random(n) < np.where(left, 0.73, 0.27)
    side = np.where(left, 1.0, -1.0)[:, None]
    votes = Votes(np.zeros(n, int), np.ones(n, int), won.astype(float), side, np.arange(n))

    raw, controlled = strengths(votes, 2), strengths(votes, 2, [0])

    assert raw.of(0)[1] > 0.3
    assert controlled.of(0)[1] < 0 < controlled.of(0)[2]
    assert 1 / (1 + np.exp(-controlled.values[2])) == pytest.approx(0.73, abs=0.03)


def test_a_planted_liking_for_length_is_found_and_removed():
    random = np.random.default_rng(6)
    n = 4_000
    doublings = random.normal(1, 1, n)
    won = random.random(n) < 1 / (1 + np.exp(-0.5 * doublings))
    votes = Votes(np.zeros(n, int), np.ones(n, int), won.astype(float), doublings[:, None], np.arange(n))

    raw, controlled = strengths(votes, 2), strengths(votes, 2, [0])

    assert raw.of(0)[1] > 0.1
    assert controlled.of(0)[1] < 0 < controlled.of(0)[2]
    assert controlled.of(2)[1] < 0.5 < controlled.of(2)[2]


def test_votes_of_one_prompt_are_worth_less_than_votes_of_many():
    votes = campaign(7, prompts=600, each=1)
    copied = Votes(*(np.repeat(column, 4, axis=0) for column in (
        votes.a, votes.b, votes.won, votes.controls, votes.group
    )))  # fmt: skip

    once, fourfold = strengths(votes, len(TRUE)), strengths(copied, len(TRUE))

    assert np.sqrt(np.diag(fourfold.covariance)) == pytest.approx(np.sqrt(np.diag(once.covariance)), rel=0.02)


def test_a_source_that_won_every_vote_is_linked_with_none():
    table = np.array([[0, 3, 2, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 4], [0, 0, 0, 1, 0]])

    parts, reached = linked(table), met(table)

    assert parts[1] == parts[2] != parts[0]
    assert parts[3] == parts[4] != parts[1]
    assert reached[0] == reached[1] == reached[2] != reached[3]


def test_votes_that_follow_from_the_length_alone_have_no_controlled_strength():
    votes = campaign(8)
    longest = Votes(votes.a, votes.b, (votes.controls[:, 1] > 0).astype(float), votes.controls, votes.group)

    assert strengths(longest, len(TRUE), [SIDE, LENGTH]) is None
    assert strengths(longest, len(TRUE)) is not None


def test_controls_that_follow_from_the_sources_have_no_strength():
    votes = campaign(9)
    same = Votes(votes.a, votes.b, votes.won, (TRUE[votes.a] - TRUE[votes.b])[:, None], votes.group)

    assert strengths(same, len(TRUE), [0]) is None


@pytest.mark.parametrize(("prompts", "each"), [(12, 8), (60, 6)])
def test_an_interval_holds_the_truth_as_often_as_it_says(prompts, each):
    # Effects of prompts draw the strengths together, so the truth is that of a very large campaign.
    truth = strengths(campaign(1_000, prompts=20_000, each=6), len(TRUE), [SIDE, LENGTH]).values
    lead = np.array([0, 0, -1, 1, 0, 0])
    held, ahead = [], []

    for seed in range(200):
        fit = strengths(campaign(seed, prompts, each), len(TRUE), [SIDE, LENGTH])
        held.append([low <= true <= high for true, (_, low, high) in zip(
            truth, map(fit.of, range(len(truth))), strict=True
        )])  # fmt: skip
        _, low, high = fit.interval(lead)
        ahead.append(low <= lead @ truth <= high)

    # Of 200 intervals that hold the truth 95 times in 100, fewer than 180 do so in 1 of 500 tries.
    assert np.mean(held, axis=0).min() >= 0.9
    assert np.mean(ahead) >= 0.9
