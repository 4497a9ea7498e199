"""Agreement against published worked examples, and on public sets with several annotators."""

import gzip
import json

import numpy as np
import pytest

from scoring.evaluate import human_ceiling
from tests.conftest import SHARED
from workbench.pipeline.quality.columns import ORDINAL
from workbench.pipeline.quality.figures import Figure
from workbench.pipeline.quality.voting import Agreement, agreement, ceiling, raw_agreement

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), example C: four observers, twelve units.
# Gwet's Handbook of Inter-Rater Reliability gives AC1 for the same ratings.
EXAMPLE_C = ["123321412...", "1233224125.3", ".33323422 51.".replace(" ", ""), "12332441251."]


def counts_of(ratings: list[str], categories: str) -> np.ndarray:
    units = zip(*ratings, strict=True)
    return np.array([[unit.count(category) for category in categories] for unit in units], dtype=float)


def of(counts: np.ndarray, prompt: np.ndarray | None = None, scale: np.ndarray | None = None) -> Agreement:
    places = np.arange(counts.shape[1]) if scale is None else scale
    return agreement(counts, np.arange(len(counts)) if prompt is None else prompt, places)


def test_krippendorffs_example_with_missing_ratings():
    agreement = of(counts_of(EXAMPLE_C, "12345"))

    assert (agreement.units, agreement.opinions) == (11, 40)
    assert agreement.alpha.value == pytest.approx(0.743, abs=5e-4)
    assert agreement.alpha_ordinal.value == pytest.approx(0.815, abs=5e-4)


def test_krippendorffs_example_of_two_observers_and_two_values():
    agreement = of(counts_of(["0100000010", "1110010000"], "01"))

    assert agreement.alpha.value == pytest.approx(0.095, abs=5e-4)


def test_gwets_example():
    agreement = of(counts_of(EXAMPLE_C, "12345"))

    assert agreement.raw.value == pytest.approx(0.81818, abs=5e-6)
    assert agreement.ac1.value == pytest.approx(0.77544, abs=5e-6)


def test_outcomes_at_one_place_of_the_scale_are_the_same_there():
    apart = np.array([[0, 0, 1, 1]] * 10 + [[2, 0, 0, 0]] * 10, dtype=float)

    agreement = of(apart, scale=ORDINAL)

    assert agreement.alpha.value < agreement.alpha_ordinal.value == pytest.approx(1.0)


def test_where_everybody_always_says_the_same_alpha_is_not_defined():
    agreement = of(np.array([[3.0, 0.0]] * 20))

    assert agreement.raw.value == 1.0
    assert (agreement.alpha.value, agreement.alpha.low) == (None, None)
    assert "not defined" in agreement.alpha.why


@pytest.mark.parametrize(("units", "prompts"), [(9, 9), (40, 4)])
def test_few_units_or_few_prompts_are_not_enough_data(units, prompts):
    agreement = of(np.array([[2.0, 1.0]] * units), prompt=np.arange(units) % prompts)

    assert agreement.raw == Figure(None, None, None, units, prompts, "not enough data")


def test_agreement_is_the_same_when_completions_change_places():
    random = np.random.default_rng(1)
    counts = random.multinomial(3, [0.5, 0.2, 0.2, 0.1], size=60).astype(float)
    swapped = counts.copy()
    swapped[::2, :2] = counts[::2, 1::-1]

    as_counted, as_swapped = of(counts, scale=ORDINAL), of(swapped, scale=ORDINAL)

    assert as_counted.raw.value == pytest.approx(as_swapped.raw.value)


def test_the_interval_of_clustered_opinions_is_wider_than_that_of_independent_ones():
    random = np.random.default_rng(1)
    easy = np.repeat(random.random(30) < 0.5, 20)
    counts = np.where((easy | (random.random(600) < 0.2))[:, None], [[2.0, 0.0]], [[1.0, 1.0]])

    clustered = of(counts, prompt=np.repeat(np.arange(30), 20)).raw
    independent = of(counts).raw

    assert clustered.high - clustered.low > 2 * (independent.high - independent.low)


def test_one_opinion_alone_agrees_with_nobody_and_three_count_as_three_pairs():
    counts = np.array([[2.0, 0.0], [1.0, 1.0], [2.0, 1.0], [0.0, 1.0], [0.0, 0.0]] * 5)

    agreement = of(counts)

    assert agreement.raw.value == pytest.approx((1 + 0 + 1 / 3) / 3)
    assert (agreement.units, agreement.raw) == (15, raw_agreement(counts, np.arange(len(counts))))


def test_two_people_who_agree_in_73_of_100_leave_84_to_a_perfect_model():
    def sides(agree: int) -> np.ndarray:
        return np.array([[2.0, 0.0]] * agree + [[1.0, 1.0]] * (100 - agree))

    of_people, at_chance = (
        ceiling(sides(agree), np.arange(100) < agree, np.arange(100)) for agree in (73, 50)
    )

    assert of_people.agreement.value == 0.73
    assert of_people.share.value == pytest.approx(0.839, abs=5e-4)
    assert of_people.share.low == pytest.approx(human_ceiling(of_people.agreement.low))
    assert (at_chance.share.value, at_chance.agreement.value, at_chance.votes) == (None, 0.5, 1)


@pytest.mark.real_data
def test_alpha_of_pandalm_is_the_known_one():
    rows = json.loads((SHARED / "data/pandalm/testset-v1.json").read_text())
    counts = counts_of(["".join(str(row[f"annotator{n}"]) for row in rows) for n in (1, 2, 3)], "120")
    texts = [f"{row['instruction']}\n{row['input']}" for row in rows]
    prompt = np.unique(texts, return_inverse=True)[1]

    agreement = of(counts, prompt, ORDINAL[:3])

    assert agreement.alpha.value == pytest.approx(0.8642, abs=5e-5)
    assert 1 - agreement.raw.value == pytest.approx(0.0801, abs=5e-5)
    assert agreement.alpha.prompts == 170


@pytest.mark.real_data
def test_alpha_of_ukpconvarg_is_the_known_one():
    with gzip.open(SHARED / "data/ukpconvarg/full_votes.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    choices = [[vote["value"] for vote in row["votes"]] for row in rows]
    counts = np.array(
        [[votes.count(value) for value in ("a1", "a2", "equal")] for votes in choices], dtype=float
    )
    prompt = np.unique([f"{row['title']}\n{row['stance']}" for row in rows], return_inverse=True)[1]

    agreement = of(counts, prompt, ORDINAL[:3])

    assert (agreement.opinions, agreement.alpha.prompts) == (84_445, 32)
    assert agreement.alpha.value == pytest.approx(0.2668, abs=5e-5)
    assert 1 - agreement.raw.value == pytest.approx(0.4762, abs=5e-5)
