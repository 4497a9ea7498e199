"""Whether bf16 pays is measured with the model's own shapes, once."""

import json

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from scoring import gain

SHAPES = [(384, 1536), (1536, 384)]
CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "preference-workbench" / "bf16-gain.json"


@pytest.fixture
def seconds(monkeypatch):
    """What a product takes by its type; the list of the types that were timed."""
    timed = []

    def product(layer, rows):
        timed.append(rows.dtype)
        return {torch.float32: 3.0, torch.bfloat16: 1.5}[rows.dtype]

    monkeypatch.setattr(gain, "_seconds", product)
    return timed


def test_the_gain_is_the_ratio_of_measured_seconds(cache, seconds):
    assert gain.bf16_gain(CPU, SHAPES) == 2.0
    assert seconds.count(torch.float32) == seconds.count(torch.bfloat16) == gain.TURNS * len(SHAPES)


def test_it_is_measured_once_for_a_processor_a_torch_and_the_shapes(cache, seconds, monkeypatch):
    gain.bf16_gain(CPU, SHAPES)
    seconds.clear()

    assert gain.bf16_gain(CPU, SHAPES) == 2.0
    assert seconds == []

    gain.bf16_gain(CPU, SHAPES[:1])
    monkeypatch.setattr(torch, "__version__", "9.0")
    gain.bf16_gain(CPU, SHAPES)
    assert len(seconds) == 2 * gain.TURNS * 3
    assert len(json.loads(cache.read_text())) == 3


@pytest.mark.parametrize("content", ["", "[]", '{"', "\x00"])
def test_a_broken_file_only_costs_another_measurement(cache, seconds, content):
    cache.parent.mkdir()
    cache.write_text(content)

    assert gain.bf16_gain(CPU, SHAPES) == 2.0
    assert gain.bf16_gain(CPU, SHAPES) == 2.0
    assert len(seconds) == 2 * gain.TURNS * len(SHAPES)


def test_where_nothing_can_be_written_it_is_measured_each_time(tmp_path, monkeypatch, seconds):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert gain.bf16_gain(CPU, SHAPES) == 2.0


def test_a_network_too_small_for_a_difference_is_not_measured(seconds):
    assert gain.bf16_gain(CPU, [(32, 64)]) == 1.0
    assert seconds == []


def test_the_shapes_are_those_with_most_of_the_arithmetic():
    config = BertConfig(
        vocab_size=50, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, intermediate_size=128
    )

    assert gain.shapes_of(BertForSequenceClassification(config)) == [(64, 64), (64, 128), (128, 64)]


def test_real_products_of_both_types_are_timed():
    assert 0.05 < gain.measure(CPU, [(256, 256)]) < 50
