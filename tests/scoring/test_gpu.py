"""On a GPU: the same scores, the same order, a batch that does not fit, and a training.

.venv/bin/python -m pytest -m gpu
GPU_TESTS_ON=cpu .venv/bin/python -m pytest -m gpu      the same, as far as a processor can show it
"""

import os
from itertools import combinations

import numpy as np
import pytest
import torch

from scoring import engine as engines
from scoring.engine import load
from scoring.train import train
from tests.scoring.models import save_bert, sentence
from tests.scoring.test_families import GROUPED, mixed_pairs, save_family
from tests.scoring.test_train import QUICK, planted_data

FAMILIES = {"roberta": {}, "deberta-v2": {}, "gpt2": {}, "llama": GROUPED, "qwen3": GROUPED}
PROMPTS = ["why does rain fall", "what comes down must go up", "who may take over"]

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def device() -> str:
    if rehearsed := os.environ.get("GPU_TESTS_ON"):
        return rehearsed
    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    return "cuda"


@pytest.fixture
def bert(tmp_path):
    return save_bert(tmp_path / "bert")


def siblings(count: int) -> list[tuple[str, str]]:
    return [(PROMPTS[n % len(PROMPTS)], sentence(1 + 5 * n % 37, n)) for n in range(count)]


def test_a_bert_scores_as_on_the_processor(device, bert):
    pairs = siblings(90)

    there = load(bert, precision="fp32", device=device).values(pairs, "fp32")
    here = load(bert, precision="fp32", device="cpu").values(pairs, "fp32")

    assert np.abs(there - here).max() <= 1e-4 * here.std()


@pytest.mark.parametrize("family", FAMILIES)
def test_another_family_scores_as_on_the_processor(device, tmp_path, family):
    path = save_family(tmp_path / family, family, **FAMILIES[family])
    pairs = mixed_pairs(64)
    options = {"precision": "fp32", "max_length": 64, "template": "pair"}

    there = load(path, device=device, **options).values(pairs, "fp32")
    here = load(path, device="cpu", **options).values(pairs, "fp32")

    assert np.abs(there - here).max() <= 1e-4 * here.std()


def test_siblings_stand_in_the_order_of_fp32_though_most_are_scored_in_bf16(device, bert, monkeypatch):
    monkeypatch.setattr("scoring.gain.bf16_gain", lambda *_: 2.0)
    pairs = siblings(300)

    scores = load(bert, precision="exact-order", device=device)(pairs)
    exact = load(bert, precision="fp32", device="cpu").values(pairs, "fp32")

    assert {scored.precision for scored in scores} == {"bf16", "fp32"}
    for i, j in combinations(range(len(pairs)), 2):
        if pairs[i][0] == pairs[j][0] and abs(exact[i] - exact[j]) > 1e-5:
            assert (scores[i].value < scores[j].value) == (exact[i] < exact[j])


def test_a_batch_that_does_not_fit_is_halved_and_scored(device, bert, monkeypatch):
    if device == "cpu":
        pytest.skip("a processor's memory has no limit to set")
    pairs = [(sentence(60, n), sentence(60, n + 1)) for n in range(2_000)]
    expected = load(bert, precision="fp32", device="cpu").values(pairs, "fp32")
    engine = load(bert, precision="fp32", device=device, token_budget=1_000_000)
    sizes = []
    run = engines.run
    monkeypatch.setattr(
        "scoring.engine.run", lambda network, texts: sizes.append(len(texts)) or run(network, texts)
    )
    total = torch.cuda.get_device_properties(0).total_memory
    room = torch.cuda.memory_reserved() + 60 * 2**20
    torch.cuda.set_per_process_memory_fraction(room / total)

    try:
        values = engine.values(pairs, "fp32")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert len(sizes) > len(set(sizes)), "every batch fitted, so this shows nothing"
    assert np.abs(values - expected).max() <= 1e-4 * expected.std()


def test_a_training_takes_the_same_way_as_on_the_processor_and_learns_the_rule(device, bert, tmp_path):
    data = planted_data()

    there = train(bert, data, tmp_path / "there", QUICK, device=device)
    here = train(bert, data, tmp_path / "here", QUICK, device="cpu")

    assert there.steps == here.steps
    scores = load(tmp_path / "there", precision="fp32", device="cpu")
    right = [
        (a.value > b.value) == (pair.target > 0.5)
        for pair in data.test
        for a, b in [scores(list(pair.texts))]
    ]
    assert np.mean(right) > 0.9
