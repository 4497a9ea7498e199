import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from scoring.checkpoint import CheckpointError, open_checkpoint
from scoring.engine import Engine, batches, load
from scoring.formats import BadText, Pair
from scoring.guard import near_siblings
from tests.scoring.models import SEED_SHAPE, SPECIAL, TINY, Card, save_bert, sentence

LENGTHS = [1, 2, 3, 8, 21, 55, 144, 254, 377, 509, 510, 511, 600]
words = st.integers(1, 40).map(lambda tokens: sentence(tokens, tokens))
texts = st.one_of(words, st.text(min_size=1, max_size=40)).filter(str.strip)


@pytest.fixture(scope="module")
def engine(tiny: Path) -> Engine:
    return load(tiny, precision="fp32")


@pytest.fixture(scope="module")
def card(tiny: Path) -> Card:
    return Card(tiny)


def values(engine: Engine, pairs: list[Pair]) -> list[float]:
    return [scored.value for scored in engine(pairs)]


def spoiled(tiny: Path, path: Path, name: str, value: float) -> Path:
    """A copy of the tiny checkpoint with one tensor filled with `value`."""
    shutil.copytree(tiny, path)
    tensors = load_file(path / "model.safetensors")
    tensors[name] = torch.full_like(tensors[name], value)
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    return path


@pytest.mark.parametrize("max_length", [512, 400])
def test_a_score_is_that_of_the_card_alone_and_in_a_batch_of_mixed_lengths(tiny, card, max_length):
    engine = load(tiny, precision="fp32", max_length=max_length)
    pairs = [(sentence(max(1, 600 - n), n), sentence(n, n)) for n in LENGTHS]
    expected = [card(*pair, max_length=max_length) for pair in pairs]

    alone = [values(engine, [pair])[0] for pair in pairs]

    assert np.ptp(expected) > 0.3  # or the comparison would be one of zeros
    assert alone == pytest.approx(expected, abs=1e-4)
    assert values(engine, pairs) == pytest.approx(expected, abs=1e-4)


def test_the_seeds_full_shape_scores_as_the_card_does(tmp_path):
    path = save_bert(tmp_path / "seed", SEED_SHAPE)
    engine, card = load(path, precision="fp32"), Card(path)
    pairs = [(sentence(n, n), sentence(2 * n, n + 1)) for n in (1, 30, 200)]
    expected = [card(*pair) for pair in pairs]

    assert open_checkpoint(path).parameters == 108_311_041
    assert np.ptp(expected) > 0.01
    assert values(engine, pairs) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: DistilBertForSequenceClassification(
            DistilBertConfig(
                vocab_size=256,
                dim=32,
                n_layers=2,
                n_heads=4,
                hidden_dim=64,
                num_labels=1,
                initializer_range=0.3,
            )
        ),
        lambda: RobertaForSequenceClassification(
            RobertaConfig(
                vocab_size=256,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=64,
                num_labels=1,
                max_position_embeddings=514,
                pad_token_id=0,
                initializer_range=0.3,
            )
        ),
    ],
    ids=["distilbert", "roberta"],
)
def test_other_families_score_as_their_own_code_does(make, tiny, tmp_path):
    torch.manual_seed(0)
    path = Path(shutil.copytree(tiny, tmp_path / "model"))
    make().save_pretrained(path)
    engine, card = load(path, precision="fp32"), Card(path)
    pairs = [(sentence(n, n), sentence(2 * n, n + 1)) for n in (1, 30, 100, 400)]

    assert values(engine, pairs) == pytest.approx([card(*pair) for pair in pairs], abs=1e-4)


@settings(max_examples=40)
@given(pairs=st.lists(st.tuples(texts, texts), min_size=2, max_size=6), data=st.data())
def test_a_score_does_not_depend_on_what_shares_the_batch(engine, pairs, data):
    shuffled = data.draw(st.permutations(pairs))
    try:
        together = dict(zip(pairs, values(engine, pairs), strict=True))
    except BadText:
        return

    assert values(engine, shuffled) == pytest.approx([together[pair] for pair in shuffled], abs=1e-4)
    assert values(engine, [pairs[0]]) == pytest.approx([together[pairs[0]]], abs=1e-4)


@settings(max_examples=25)
@given(prompt=words, a=words, b=words)
def test_swapping_sides_swaps_the_scores_and_changes_neither(engine, prompt, a, b):
    in_order, reversed_order = (
        values(engine, [(prompt, a), (prompt, b)]),
        values(engine, [(prompt, b), (prompt, a)]),
    )

    assert in_order == reversed_order[::-1]


@settings(max_examples=25)
@given(prompt=words, tokens=st.integers(2, 60), seed=st.integers(0, 9), data=st.data())
def test_a_text_that_begins_another_has_a_score_of_its_own(engine, card, prompt, tokens, seed, data):
    whole = sentence(tokens, seed)
    beginning = " ".join(whole.split()[: data.draw(st.integers(1, tokens - 1))])
    pairs = data.draw(st.permutations([(prompt, beginning), (prompt, whole)]))

    assert values(engine, pairs) == pytest.approx([card(*pair) for pair in pairs], abs=1e-4)


@pytest.mark.parametrize("literal", SPECIAL)
def test_a_special_token_in_the_text_scores_as_its_characters(engine, card, literal):
    pair = ("why", f"rain {literal} falls")

    (value,) = values(engine, [pair])

    assert value == pytest.approx(card(*pair, split_special_tokens=True), abs=1e-4)
    assert abs(value - card(*pair)) > 1e-3


def test_results_stand_in_input_order_across_windows(engine, monkeypatch):
    monkeypatch.setattr("scoring.engine.WINDOW", 7)
    pairs = [(sentence(3, n % 5), sentence(1 + n * 13 % 90, n)) for n in range(40)]

    together = engine(pairs)

    assert [scored.completion_tokens for scored in together] == [1 + n * 13 % 90 for n in range(40)]
    assert [scored.value for scored in together] == pytest.approx(
        [values(engine, [pair])[0] for pair in pairs], abs=1e-4
    )


def test_a_pair_that_comes_twice_is_computed_once(tiny):
    engine = load(tiny, precision="fp32")
    seen: list[int] = []
    engine.networks["fp32"].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))

    first, second, third = values(engine, [("why", "rain"), ("why", "water"), ("why", "rain")])

    assert sum(seen) == 2
    assert first == third != second


def test_a_budget_smaller_than_any_text_still_scores_them_all(tiny, engine):
    pairs = [(sentence(20, n), sentence(n, n)) for n in range(1, 12)]

    assert values(load(tiny, precision="fp32", token_budget=16), pairs) == pytest.approx(
        values(engine, pairs), abs=1e-4
    )


def test_what_was_cut_is_told(engine):
    (scored,) = engine([(sentence(600), sentence(600))])

    assert (scored.prompt_tokens, scored.completion_tokens) == (254, 255)
    assert (scored.prompt_cut, scored.completion_cut) == (346, 345)
    assert scored.precision == "fp32"


def test_nothing_to_score_is_no_error(engine):
    assert engine([]) == []


@pytest.mark.parametrize("pair", [("", "Yes."), ("Why?", "   ")])
def test_an_empty_side_is_refused_with_its_index_also_in_a_later_window(engine, monkeypatch, pair):
    monkeypatch.setattr("scoring.engine.WINDOW", 4)

    with pytest.raises(BadText, match="is empty") as caught:
        engine([("why", "because")] * 9 + [pair])

    assert caught.value.index == 9


blank = st.text(alphabet=" \t\r\n\u00a0\u2003", max_size=4)


@settings(max_examples=40)
@given(fine=st.integers(0, 9), after=st.integers(0, 3), blank=blank, side=st.integers(0, 1))
def test_an_empty_side_anywhere_is_named_and_nothing_is_scored(engine, fine, after, blank, side):
    pair = ("why", blank) if side else (blank, "because")
    pairs = [("why", "because")] * fine + [pair] + [("why", "rain")] * after

    with pytest.raises(BadText, match="the answer is empty" if side else "the prompt is empty") as caught:
        engine(pairs)

    assert caught.value.index == fine


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_answer_that_is_no_number_is_an_error_naming_the_text(tiny, tmp_path, monkeypatch, value):
    monkeypatch.setattr("scoring.engine.WINDOW", 4)
    path = spoiled(tiny, tmp_path / "model", "classifier.bias", value)

    with pytest.raises(BadText, match="not a score") as caught:
        load(path, precision="fp32")([("why", "because")])

    assert caught.value.index == 0


def test_the_one_text_with_a_broken_answer_is_the_one_named(tiny, tmp_path):
    path = Path(shutil.copytree(tiny, tmp_path / "model"))
    tensors = load_file(path / "model.safetensors")
    rain = Card(tiny).tokenizer.convert_tokens_to_ids("rain")
    tensors["bert.embeddings.word_embeddings.weight"][rain] = math.nan
    save_file(tensors, path / "model.safetensors", {"format": "pt"})

    with pytest.raises(BadText, match="the model answered nan, which is not a score") as caught:
        load(path, precision="fp32")([("why", sentence(2)), ("why", "the rain"), ("why", "the water")])

    assert caught.value.index == 1


def test_a_network_in_training_mode_refuses_to_score(tiny):
    engine = load(tiny, precision="fp32")
    engine.networks["fp32"].train()

    with pytest.raises(RuntimeError, match="training mode"):
        engine([("why", "because")])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"max_length": 513}, "max_length is 513, but the model has 512 positions"),
        ({"max_length": 4}, "leaves no room"),
        ({"template": "roberta-pair"}, "template 'roberta-pair' is not one of bert-pair, pair, chat"),
        ({"precision": "int8"}, "precision 'int8' is not one of"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(tiny, arguments, reason):
    with pytest.raises(ValueError, match=reason):
        load(tiny, **arguments)


def test_weights_that_do_not_fill_the_network_are_refused(tiny, tmp_path):
    path = Path(shutil.copytree(tiny, tmp_path / "model"))
    tensors = load_file(path / "model.safetensors")
    del tensors["classifier.weight"]
    save_file(tensors, path / "model.safetensors", {"format": "pt"})

    with pytest.raises(CheckpointError, match=r"the weights lack classifier.weight"):
        load(path)


def test_weights_of_another_shape_are_refused(tiny, tmp_path):
    path = Path(shutil.copytree(tiny, tmp_path / "model"))
    tensors = load_file(path / "model.safetensors")
    tensors["classifier.weight"] = torch.zeros(2, TINY.hidden_size)
    save_file(tensors, path / "model.safetensors", {"format": "pt"})

    with pytest.raises(CheckpointError, match="can't be loaded"):
        load(path)


@given(lengths=st.lists(st.integers(1, 512), max_size=60), budget=st.integers(1, 2000), padded=st.booleans())
def test_batches_hold_every_text_once_within_the_budget(lengths, budget, padded):
    planned = list(batches(lengths, budget, padded=padded))

    assert sorted(index for batch in planned for index in batch) == list(range(len(lengths)))
    for batch in planned:
        members = [lengths[index] for index in batch]
        used = max(members) * len(members) if padded else sum(members)
        assert used <= budget or len(batch) == 1


@given(
    values=st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=25),
    groups=st.integers(1, 4),
    guard=st.integers(0, 6).map(float),
)
def test_near_siblings_are_those_within_the_guard_of_another(values, groups, guard):
    prompts = [index % groups for index in range(len(values))]

    expected = [
        i
        for i in range(len(values))
        if any(
            i != j and prompts[i] == prompts[j] and abs(values[i] - values[j]) <= guard
            for j in range(len(values))
        )
    ]

    assert near_siblings(prompts, np.array(values), guard) == expected
