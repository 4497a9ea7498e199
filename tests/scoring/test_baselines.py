import pytest

from scoring.baselines import BASELINES, longest, random, shortest
from scoring.formats import BadText


def test_longest_and_shortest_count_characters_and_disagree():
    pairs = [("Why?", "Ja"), ("Why?", "été 🌧")]

    assert [scored.value for scored in longest(pairs)] == [2.0, 5.0]
    assert [scored.value for scored in shortest(pairs)] == [-2.0, -5.0]


def test_random_is_the_same_for_the_same_pair_and_spread_over_the_unit_interval():
    pairs = [("Why?", f"answer {number}") for number in range(2_000)]

    values = [scored.value for scored in random(pairs)]

    assert values == [scored.value for scored in random(pairs)]
    assert 0 <= min(values) < 0.01
    assert 0.99 < max(values) < 1
    assert sum(values) / len(values) == pytest.approx(0.5, abs=0.03)


def test_random_tells_where_the_prompt_ends():
    first, second = random([("ab", "c"), ("a", "bc")])

    assert first.value != second.value


@pytest.mark.parametrize("name", ["longest", "shortest", "random"])
def test_a_baseline_refuses_what_a_model_refuses(name):
    with pytest.raises(BadText, match="the answer is empty"):
        BASELINES[name]([("Why?", "")])
