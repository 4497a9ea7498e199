"""Training of every family: what is new, what is trained, and at which rates."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import layer_norm
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    BertModel,
)

from scoring.checkpoint import open_checkpoint, template_to_train
from scoring.config import PRESETS, TrainingError
from scoring.encode import Encoder
from scoring.engine import load
from scoring.heads import depths_of, has_head, pool_by_mean, rates_of
from scoring.model import Padded, inputs_of, quietly, save_classifier
from scoring.pairs import LabelledPair
from scoring.proof import prove
from scoring.train import Run, bradley_terry_loss, classifier_of, preference_loss, train, weights_by_length
from scoring.trainable import trainable
from tests.scoring.models import save_bert, save_encoder
from tests.scoring.test_families import RIGHT, save_family
from tests.scoring.test_train import QUICK, planted_data

CPU = torch.device("cpu")
SHORT = replace(QUICK, steps=12, evaluations=2, precision="fp32", dropout=0.0, probe=False)


def encoder_without_pooler(path):
    folder = save_bert(path, kind=BertModel)
    network = BertModel.from_pretrained(folder, add_pooling_layer=False)
    network.save_pretrained(folder)
    return folder


def bare(path, family):
    """A random network of a family without a head, and its tokenizer."""
    folder = save_family(path, family, **RIGHT[family])
    with quietly():
        AutoModelForSequenceClassification.from_pretrained(folder).base_model.save_pretrained(folder)
    return folder


# --- the head -----------------------------------------------------------------------------------------------


def test_an_encoder_without_a_trained_pooler_is_read_by_the_mean_of_its_tokens(tmp_path):
    source = encoder_without_pooler(tmp_path / "encoder")

    classifier = classifier_of(source, SHORT, CPU).eval()

    (ids,) = (encoded.ids for encoded in Encoder.open(source, 64)([("why does rain fall", "warm air rises")]))
    hidden = classifier.bert(
        input_ids=torch.from_numpy(ids).long()[None], output_hidden_states=True
    ).hidden_states
    mean = layer_norm(hidden[-2][0].mean(0), (32,))
    assert torch.nn.functional.cosine_similarity(hidden[-1][0, 0], mean, dim=0) > 0.97
    assert trainable(classifier)([ids, ids]).tolist() == [0.0, 0.0]


def test_a_model_that_pools_by_the_mean_scores_alike_in_plain_transformers(tmp_path):
    source = encoder_without_pooler(tmp_path / "encoder")
    train(source, planted_data(200, 40, 0), tmp_path / "out", replace(SHORT, learning_rate=1e-3))
    texts = [("why does rain fall", "water must come down"), ("why", "warm air rises and cools")]

    with quietly():
        plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    scores = [scored.value for scored in load(tmp_path / "out", max_length=64, precision="fp32")(texts)]

    expected = [
        plain(input_ids=torch.from_numpy(encoded.ids).long()[None]).logits.item()
        for encoded in Encoder.open(tmp_path / "out", 64)(texts)
    ]
    assert scores == pytest.approx(expected, abs=1e-5)
    assert abs(scores[0] - scores[1]) > 1e-4


def test_a_mean_learns_the_planted_rule(tmp_path):
    source = encoder_without_pooler(tmp_path / "encoder")
    config = replace(QUICK, steps=150, learning_rate=2e-3, layer_decay=1.0, head_rate=1.0)

    done = train(source, planted_data(), tmp_path / "out", config)

    assert done.record.metrics["test"]["after"]["accuracy"] > 0.85


def test_the_seed_preset_leaves_a_bare_encoder_its_pooler(tmp_path):
    source = save_encoder(tmp_path / "encoder")

    classifier = classifier_of(source, replace(PRESETS["seed"], max_length=64), CPU)

    assert classifier.config.num_hidden_layers == 2
    assert classifier.classifier.weight.abs().sum() > 0
    assert (PRESETS["seed"].layer_decay, PRESETS["seed"].head_rate, PRESETS["seed"].length_balance) == (
        1,
        1,
        0,
    )


def test_a_head_that_was_trained_is_kept(tmp_path):
    source = save_bert(tmp_path / "model")
    before = BertForSequenceClassification.from_pretrained(source).classifier.weight

    classifier = classifier_of(source, SHORT, CPU)

    assert has_head(source)
    assert torch.equal(classifier.classifier.weight, before)


@pytest.mark.parametrize(
    "family", ["roberta", "xlm-roberta", "electra", "bert", "camembert", "distilbert", "deberta-v2"]
)
def test_encoders_of_other_families_are_pooled_by_the_mean_too(family, tmp_path):
    classifier = AutoModelForSequenceClassification.from_pretrained(
        save_family(tmp_path / "m", family, **RIGHT[family])
    ).eval()
    ids = torch.tensor([[2, 9, 30, 41, 57, 3]])
    mask = torch.ones_like(ids)
    before = classifier.base_model(ids, attention_mask=mask).last_hidden_state[0]

    assert pool_by_mean(classifier)

    after = classifier.base_model(ids, attention_mask=mask).last_hidden_state[0, 0]
    mean = layer_norm(before.mean(0), (32,))
    assert torch.nn.functional.cosine_similarity(after, mean, dim=0) > 0.97
    assert classifier(ids, attention_mask=mask).logits.item() == 0


@pytest.mark.parametrize("family", sorted(RIGHT))
def test_a_new_head_is_trained_on_the_scores_of_plain_transformers(family, tmp_path):
    """Also where two answers share a prompt, and though the head gives every text 0 at first."""
    source = bare(tmp_path / family, family)
    classifier = classifier_of(source, SHORT, CPU).eval()
    network = trainable(classifier).eval()
    for output in (weight for weight in classifier.parameters() if weight.shape[0] == 1 and weight.ndim == 2):
        nn.init.normal_(output)
    encoder = Encoder.open(source, 64, template_to_train(source))
    prompt = "why does rain fall on one side of a mountain"
    texts = encoder([(prompt, "warm air rises"), (prompt, "water must come down again"), ("why", "so")])

    with torch.no_grad():
        scores = network(*inputs_of(texts))
        expected = [float(Padded(classifier).eval()(*inputs_of([text]))) for text in texts]

    assert scores.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert abs(expected[0] - expected[1]) > 1e-2


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "distilbert"])
def test_a_head_over_the_mean_is_trained_without_padding(family, tmp_path):
    assert not trainable(classifier_of(bare(tmp_path / family, family), SHORT, CPU)).padded


@pytest.mark.parametrize("family", ["distilbert", "deberta-v2"])
def test_a_bare_encoder_of_another_family_gets_a_mean_that_learns(family, tmp_path):
    source = bare(tmp_path / "encoder", family)
    seen = []

    done = train(
        source,
        planted_data(300, 60, 0),
        tmp_path / "out",
        replace(SHORT, steps=30, learning_rate=3e-3, batch=32),
        looked=seen.append,
    )

    assert open_checkpoint(tmp_path / "out").path == tmp_path / "out"
    assert AutoConfig.from_pretrained(tmp_path / "out").num_hidden_layers == 3
    losses = [loss for _, loss, _ in done.record.metrics["curve"]]
    assert sum(losses[-5:]) < sum(losses[:5])
    assert not [finding for finding in seen[0].findings if "mean" in finding.text]
    assert prove(tmp_path / "out", 64).template == "pair"


def test_the_negative_half_of_a_mean_passes_a_head_without_tanh(tmp_path):
    classifier = classifier_of(bare(tmp_path / "encoder", "distilbert"), SHORT, CPU).eval()
    with torch.no_grad():
        classifier.classifier.weight[0, 0] = 1.0
    ids = torch.tensor([[2, 9, 30, 41, 57, 3], [2, 99, 130, 141, 157, 3], [2, 77, 78, 79, 80, 3]])
    rows = classifier.base_model(ids).last_hidden_state[:, 0, 0]

    scores = classifier(ids).logits[:, 0]

    assert (rows < 0).any()
    assert torch.allclose(scores - scores[0], rows - rows[0], atol=1e-5)


@pytest.mark.parametrize("family", ["mpnet", "deberta"])
def test_an_encoder_without_a_place_for_the_mean_says_so(family, tmp_path):
    """MPNet adds learnt positions to the attention of every layer, so no layer of it is a mean."""
    source = bare(tmp_path / "encoder", family)
    seen = []

    train(source, planted_data(60, 20, 0), tmp_path / "out", replace(SHORT, steps=1), looked=seen.append)

    assert [
        text for text in (finding.text for finding in seen[0].findings) if "no place for the mean" in text
    ]
    with pytest.raises(TrainingError, match="has its own pooling; choose pooling auto"):
        classifier_of(source, replace(SHORT, pooling="mean"), CPU)


def test_a_bare_decoder_reads_its_last_token_and_warns_of_nothing(tmp_path):
    source = bare(tmp_path / "decoder", "llama")
    seen = []

    train(source, planted_data(60, 20, 0), tmp_path / "out", replace(SHORT, steps=1), looked=seen.append)

    assert not [finding for finding in seen[0].findings if "mean" in finding.text]


# --- every family learns ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family",
    ["bert", "roberta", "distilbert", "electra", "albert", "deberta-v2", "modernbert", "xlm-roberta", "gpt2",
     "llama", "qwen2", "qwen3", "gemma", "mistral", "phi"],
)  # fmt: skip
def test_every_family_learns_with_its_own_head(family, tmp_path):
    source = save_family(tmp_path / "model", family, **RIGHT[family])
    config = replace(SHORT, steps=30, learning_rate=3e-3, batch=32, layers=1)
    if family != "albert":  # transformers has it for all of these but ALBERT
        config = replace(config, checkpointing=True)

    done = train(source, planted_data(300, 60, 0), tmp_path / "out", config)

    losses = [loss for _, loss, _ in done.record.metrics["curve"]]
    assert sum(losses[-5:]) < sum(losses[:5])
    assert done.best_step > 0


# --- what is trained ----------------------------------------------------------------------------------------


def test_only_the_last_layers_and_the_head_change(tmp_path):
    source = save_bert(tmp_path / "model")

    train(source, planted_data(60, 20, 0), tmp_path / "out", replace(SHORT, layers=1))

    before, after = (
        BertForSequenceClassification.from_pretrained(path).state_dict()
        for path in (source, tmp_path / "out")
    )
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    depths = depths_of(BertForSequenceClassification.from_pretrained(source))
    assert {depths[name] for name in changed} == {2, 3}


def test_checkpointing_changes_no_weight(tmp_path):
    source = save_bert(tmp_path / "model")
    dropped = replace(SHORT, dropout=0.1)
    digests = [
        train(source, planted_data(60, 20, 0), tmp_path / name, replace(dropped, checkpointing=on))
        .checkpoint.weights_sha256
        for name, on in (("plain", False), ("twice", True))
    ]  # fmt: skip

    assert digests[0] == digests[1]


def test_adapters_are_merged_into_a_checkpoint_of_the_same_shape(tmp_path):
    source = save_bert(tmp_path / "model")

    done = train(
        source, planted_data(200, 40, 60), tmp_path / "out", replace(SHORT, lora=4, learning_rate=2e-3)
    )

    before, after = (
        BertForSequenceClassification.from_pretrained(path).state_dict()
        for path in (source, tmp_path / "out")
    )
    assert before.keys() == after.keys()
    query = "bert.encoder.layer.0.attention.self.query.weight"
    assert torch.linalg.matrix_rank(after[query] - before[query], rtol=1e-3) <= 4
    assert not torch.equal(after[query], before[query])
    assert done.record.metrics["test"]["after"]["accuracy"] is not None


ADAPTED = {
    "llama": "model.layers.1.self_attn.q_proj.weight",
    "gpt2": "transformer.h.1.attn.c_attn.weight",
}
"""A weight of the last layer."""


@pytest.mark.parametrize("family", ADAPTED)
def test_adapters_of_a_decoder_learn_and_are_merged_into_its_weights(family, tmp_path):
    source = save_family(tmp_path / "model", family, **RIGHT[family])
    config = replace(SHORT, steps=30, learning_rate=3e-3, batch=32, lora=4)
    data = planted_data(300, 60, 0)

    done = train(source, data, tmp_path / "out", config)

    losses = [loss for _, loss, _ in done.record.metrics["curve"]]
    assert sum(losses[-5:]) < sum(losses[:5])
    before, after = (
        AutoModelForSequenceClassification.from_pretrained(path).state_dict()
        for path in (source, tmp_path / "out")
    )
    assert before.keys() == after.keys()
    change = after[ADAPTED[family]] - before[ADAPTED[family]]
    assert 0 < torch.linalg.matrix_rank(change, rtol=1e-3) <= 4
    scorer = load(tmp_path / "out", template="pair", max_length=64, precision="fp32")
    right = np.mean(
        [
            np.subtract(*(score.value for score in scorer(pair.texts))) * (pair.target - 0.5) > 0
            for pair in data.validation
        ]
    )
    assert right == pytest.approx(done.record.metrics["validation"]["after"]["accuracy"])


def test_layers_further_from_the_head_learn_at_lower_rates_and_a_new_head_at_a_higher_one(tmp_path):
    classifier = classifier_of(save_bert(tmp_path / "model"), SHORT, CPU)
    config = replace(SHORT, layer_decay=0.5, head_rate=10.0)

    rates = rates_of(classifier, config, is_new=True)

    assert rates["bert.embeddings.word_embeddings.weight"] == 0.25
    assert rates["bert.encoder.layer.0.output.dense.weight"] == 0.5
    assert rates["bert.encoder.layer.1.output.dense.weight"] == 1.0
    assert rates["classifier.weight"] == rates["bert.pooler.dense.weight"] == 10.0


def test_a_head_that_is_drawn_for_the_training_or_says_nothing_is_new(tmp_path):
    config = replace(SHORT, head_rate=10.0, pooling="first")
    learnt, bare_one = save_bert(tmp_path / "learnt"), save_encoder(tmp_path / "bare")
    silent = with_a_silent_head(save_bert(tmp_path / "silent"))

    for source, rate in ((learnt, 1.0), (bare_one, 10.0), (silent, 10.0)):
        classifier, data = classifier_of(source, config, CPU), planted_data(40, 10, 0)
        run = Run(classifier, {}, source, data, config, tmp_path, "")
        assert max(group["share"] for group in run.optimizer.param_groups) == rate


def with_a_silent_head(folder):
    """The same classifier, that gives every text 0."""
    classifier = BertForSequenceClassification.from_pretrained(folder)
    torch.nn.init.zeros_(classifier.classifier.weight)
    classifier.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("depth", [None, 1])
def test_a_mean_under_a_head_that_says_nothing_is_taken_once(depth, tmp_path):
    """A folder that was saved before the first training is as good a start as the encoder itself."""
    source = encoder_without_pooler(tmp_path / "encoder")
    saved = tmp_path / "saved"
    save_classifier(classifier_of(source, SHORT, CPU), source, saved)
    config = replace(SHORT, depth=depth)

    first, again = (classifier_of(folder, config, CPU).state_dict() for folder in (source, saved))

    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)


# --- the loss -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("target", "optimum"), [(0.51, 0.04), (0.75, 1.0986), (0.5, 0.0), (0.2, -1.3863)])
def test_a_margin_of_strength_leaves_the_optimum_of_an_undecided_pair_where_it_is(target, optimum):
    config = replace(QUICK, centring=0.0, strength=1.0)
    margins = torch.linspace(-4, 4, 80_001)
    zero = torch.zeros_like(margins)

    loss = preference_loss(margins, zero, zero + target, zero + 2.0, config)

    assert margins[loss.argmin()].item() == pytest.approx(optimum, abs=1e-3)


def test_a_margin_of_strength_asks_more_of_a_decided_pair():
    config = replace(QUICK, centring=0.0, strength=1.0, label_smoothing=0.1)
    margins = torch.linspace(-6, 6, 120_001)
    zero = torch.zeros_like(margins)

    first, second = (preference_loss(margins, zero, zero + t, zero + 2.0, config) for t in (1.0, 0.0))

    assert margins[first.argmin()].item() == pytest.approx(2 + 2.1972, abs=1e-3)
    assert margins[second.argmin()].item() == pytest.approx(-2 - 2.1972, abs=1e-3)


def test_balanced_pairs_teach_no_length():
    pairs = [LabelledPair("", "long", "s", 1.0, str(n)) for n in range(3)]
    pairs += [LabelledPair("", "long", "s", 0.0, "3"), LabelledPair("", "ab", "cd", 1.0, "4")]

    weights = torch.tensor(weights_by_length(pairs, 1.0))

    assert weights.tolist() == pytest.approx([2 / 3] * 3 + [2.0, 1.0])
    assert weights_by_length(pairs, 0.0) == [1.0] * 5
    margin = torch.tensor(0.0, requires_grad=True)  # what the longer answer scores more
    signs = torch.tensor([1.0, 1.0, 1.0, -1.0])
    (weights[:4] * bradley_terry_loss(signs * margin, torch.zeros(4))).sum().backward()
    assert margin.grad.item() == pytest.approx(0.0, abs=1e-6)
