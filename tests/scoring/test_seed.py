import pytest

from scoring import seed
from scoring.formats import Scored


def scorer(good: float, bad: float):
    def score(pairs):
        return [Scored(good if text == seed.GOOD else bad, 1, 1, 0, 0, "fp32") for _, text in pairs]

    return score


@pytest.mark.parametrize("bad", seed.BAD_SCORES)
def test_a_model_that_gives_the_cards_scores_passes(bad):
    seed.check_card_examples(scorer(seed.GOOD_SCORE + 0.004, bad - 0.004))


@pytest.mark.parametrize(("good", "bad"), [(9.06, -10.942), (12.011, -9.0), (-10.942, 12.011)])
def test_a_model_that_scores_the_cards_examples_otherwise_is_told_both_numbers(good, bad):
    with pytest.raises(ValueError, match=f"score {good:.3f} and {bad:.3f}; the card prints 12.011"):
        seed.check_card_examples(scorer(good, bad))
