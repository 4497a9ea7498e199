"""A new head that starts at a linear probe of the means of the tokens, above the layer where it is best."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, BertForSequenceClassification

from scoring.build import build_network
from scoring.checkpoint import open_checkpoint
from scoring.config import Stopped, TrainingError
from scoring.counting import level_rows
from scoring.encode import Encoder
from scoring.engine import load
from scoring.model import inputs_of, load_classifier, one_output_classifier, quietly, save_classifier
from scoring.pairs import LabelledPair, TrainingData
from scoring.preflight import encode_splits, preflight
from scoring.probe import clearly_exceed, fitted, narrowest_as_good, start_at_probe
from scoring.proof import prove
from scoring.train import Run, classifier_of, depth_for, train
from tests.scoring.models import save_bert, sentence
from tests.scoring.test_families import RIGHT, SMALL, pair_tokenizer
from tests.scoring.test_heads import SHORT, bare

START = replace(SHORT, steps=1, evaluations=1, learning_rate=1e-9, probe=True, patience=None)


def encoder(path: Path, family: str = "bert") -> Path:
    """A random network with weights as small as at the start of a training, so that a token is still what it
    is: the first one stands out."""
    torch.manual_seed(0)
    settings = {**SMALL, **RIGHT.get(family, {}), "hidden_size": 64, "initializer_range": 0.05}
    with quietly():
        network = AutoModel.from_config(AutoConfig.for_model(family, **settings))
        network.save_pretrained(
            path,
            state_dict={name: value for name, value in network.state_dict().items() if "pooler" not in name},
        )
    pair_tokenizer().save_pretrained(path)
    return path


def pairs_where(longer_is_better: bool, count: int, first: int = 0) -> list[LabelledPair]:
    """Pairs of answers of 3 to 40 words, of which one has half as many again as the other, or more."""
    draw, pairs = random.Random(first), []
    for number in range(first, first + count):
        short = draw.randint(3, 26)
        sizes = [short, short + short // 2 + 1]
        draw.shuffle(sizes)
        a, b = (sentence(size, 7 * number + place) for place, size in enumerate(sizes))
        target = float((sizes[0] > sizes[1]) == longer_is_better)
        pairs.append(LabelledPair(sentence(4, number), a, b, target, f"g{number}"))
    return pairs


def data_where(longer_is_better: bool) -> TrainingData:
    train_pairs, validation, test = (
        pairs_where(longer_is_better, count, first) for count, first in ((160, 0), (40, 1000), (80, 2000))
    )
    return TrainingData(train_pairs, validation, test)


def accuracy(folder, pairs: list[LabelledPair]) -> float:
    scored = load(folder, max_length=64, precision="fp32")([text for pair in pairs for text in pair.texts])
    margins = np.array([row.value for row in scored])
    return float(np.mean((margins[::2] > margins[1::2]) == [pair.target > 0.5 for pair in pairs]))


@pytest.mark.parametrize("longer_is_better", [True, False])
def test_the_first_step_begins_at_what_the_means_say_of_the_pairs(longer_is_better, tmp_path):
    data = data_where(longer_is_better)

    train(encoder(tmp_path / "encoder"), data, tmp_path / "out", START)

    assert accuracy(tmp_path / "out", list(data.test)) > 0.95


def test_without_it_a_new_head_says_nothing_at_first(tmp_path):
    data = data_where(True)

    train(
        encoder(tmp_path / "encoder"),
        data,
        tmp_path / "out",
        replace(START, probe=False),
    )

    assert accuracy(tmp_path / "out", list(data.test)) < 0.75


def test_where_length_says_nothing_it_weighs_nothing(tmp_path):
    pairs = pairs_where(True, 80) + pairs_where(False, 80, 5000)
    data = replace(data_where(True), train=pairs)

    train(encoder(tmp_path / "encoder"), data, tmp_path / "out", START)

    head = BertForSequenceClassification.from_pretrained(tmp_path / "out").classifier
    assert abs(head.weight[0, 0].item()) < 0.5


def test_a_head_that_starts_at_a_probe_learns_as_the_last_layer_does(tmp_path):
    source, data = encoder(tmp_path / "encoder"), data_where(True)
    one_group = replace(data, train=[replace(pair, group="one") for pair in data.train])
    config = replace(START, head_rate=10.0)

    for pairs, rate in ((data, 1.0), (one_group, 10.0)):
        classifier = classifier_of(source, config, torch.device("cpu"))
        run = Run(classifier, {}, source, pairs, config, tmp_path, "")
        assert max(group["share"] for group in run.optimizer.param_groups) == rate


def test_the_start_at_a_probe_is_left_only_for_weights_that_are_clearly_better(tmp_path, monkeypatch):
    source, data = encoder(tmp_path / "encoder"), data_where(True)
    classifier = classifier_of(source, START, torch.device("cpu"))
    encoded = encode_splits(Encoder.open(source, 64), data)
    run = Run(classifier, encoded, source, data, START, tmp_path, "")
    run.prepare(preflight(data, encoded["train"], START))
    draw = np.random.default_rng(0)
    start = draw.normal(size=len(data.validation))
    signs = np.sign([pair.target - 0.5 for pair in data.validation])
    chance = 0.5 * draw.normal(size=len(start))

    def loss(margins):
        return np.logaddexp(0, -signs * margins).mean()

    lower_by_chance = next(
        start + turned for turned in (chance, -chance) if loss(start + turned) < loss(start)
    )
    closer_together = start / 4
    assert loss(closer_together) < loss(lower_by_chance)
    better, a_little_less = 8 * (start + 0.5 * signs), start + 0.4 * signs
    assert loss(better) > loss(closer_together)
    found = iter([start, lower_by_chance, closer_together, better, a_little_less])
    monkeypatch.setattr(run, "margins", lambda split, chosen: next(found))

    assert [run.measure().best for _ in range(5)] == [True, False, False, True, False]


@pytest.mark.parametrize(
    ("family", "norm"),
    [
        ("bert", "attention.output.LayerNorm"),
        ("deberta-v2", "attention.output.LayerNorm"),
        ("distilbert", "sa_layer_norm"),
    ],
)
def test_the_norm_of_the_mean_divides_all_texts_by_about_one_number(family, norm, tmp_path):
    """It would hide how far the mean of a text lies from others, which a probe may go by."""
    source = encoder(tmp_path / "encoder", family)
    pairs = data_where(True).train
    with_encoder = Encoder.open(source, 64)
    texts = with_encoder([text for pair in pairs[:20] for text in pair.texts])
    classifier = classifier_of(source, START, torch.device("cpu")).eval()

    def divisors():
        place = [part for name, part in classifier.named_modules() if name.endswith(norm)][-1]
        found = []
        hook = place.register_forward_hook(
            lambda _, inputs, given: found.append(inputs[0][0, 0, 3:].std() / given[0, 0, 3:].std())
        )
        with torch.no_grad():
            for text in texts:
                classifier(input_ids=torch.from_numpy(text.ids).long()[None])
        hook.remove()
        return torch.stack(found)

    before = divisors()
    level_rows(classifier, texts)
    after = divisors()

    assert before.max() / before.min() > 1.1
    assert after.max() / after.min() < 1.05


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("bert", {"pooling": "first"}),
        ("bert", {"pooling": "first", "depth": 1}),
        ("bert", {"layers": 1}),
        ("llama", {}),
        ("modernbert-decoder", {}),
    ],
)
def test_a_head_that_reads_something_else_than_a_trained_mean_starts_without_a_probe(
    family, settings, tmp_path
):
    """Only the layer that was added for the mean may be written anew."""
    of_bert = family == "bert"
    source = encoder(tmp_path / "encoder") if of_bert else save_bare(tmp_path / "encoder", family)
    config = replace(START, **settings)
    classifier = classifier_of(source, config, torch.device("cpu"))

    run = Run(classifier, {}, source, data_where(True), config, tmp_path, "")

    assert run.probed_output is None


def save_bare(path: Path, family: str) -> Path:
    torch.manual_seed(0)
    with quietly():
        AutoModel.from_config(AutoConfig.for_model(family, **SMALL)).save_pretrained(path)
    pair_tokenizer().save_pretrained(path)
    return path


def test_a_network_whose_head_says_nothing_is_probed_as_its_encoder_is(tmp_path):
    source, data = encoder(tmp_path / "encoder"), data_where(True)
    saved = tmp_path / "saved"
    save_classifier(classifier_of(source, START, torch.device("cpu")), source, saved)

    of_encoder = train(source, data, tmp_path / "first", START)
    of_saved = train(saved, data, tmp_path / "second", START)

    assert of_encoder.checkpoint.weights_sha256 == of_saved.checkpoint.weights_sha256


def test_a_head_that_says_nothing_can_be_told_to_read_the_first_token(tmp_path):
    source, data = encoder(tmp_path / "encoder"), data_where(True)
    saved = tmp_path / "saved"
    save_classifier(classifier_of(source, START, torch.device("cpu")), source, saved)

    train(saved, data, tmp_path / "out", replace(START, pooling="first"))

    layers = [
        json.loads((folder / "config.json").read_text())["num_hidden_layers"]
        for folder in (source, saved, tmp_path / "out")
    ]
    assert layers == [2, 3, 2]


@pytest.mark.parametrize(
    ("family", "settings", "counted"),
    [
        ("bert", {}, True),
        ("bert", {"lora": 2}, False),
        ("bert", {"layers": 1}, False),
        ("deberta-v2", {}, False),
    ],
)
def test_a_layer_is_chosen_by_the_length_only_where_the_start_can_count(
    family, settings, counted, tmp_path, monkeypatch
):
    """A layer that tells most beside the length may tell less than others without it."""
    source, data = encoder(tmp_path / "encoder", family), data_where(True)
    config = replace(START, **settings)
    encoded = encode_splits(Encoder.open(source, 64, "pair"), data)["train"]
    asked = []
    monkeypatch.setattr("scoring.train.best_depth", lambda *_, counted: asked.append(counted))

    depth_for(source, data.train, encoded, config, torch.device("cpu"), lambda: None)

    assert asked == [counted]


def test_plain_transformers_scores_such_a_model_alike(tmp_path):
    train(encoder(tmp_path / "encoder"), data_where(True), tmp_path / "out", START)

    assert prove(tmp_path / "out", 64).template == "bert-pair"


def test_the_units_that_count_are_not_rounded_in_bf16(tmp_path, monkeypatch):
    """They write larger numbers than others: nearly all the error of a model that counts was theirs."""
    data = data_where(True)
    train(encoder(tmp_path / "encoder"), data, tmp_path / "out", START)
    classifier = load_classifier(open_checkpoint(tmp_path / "out"))
    encoder_of_it = Encoder.open(tmp_path / "out", 64)
    texts = encoder_of_it([text for pair in data.test for text in pair.texts])

    def error() -> float:
        networks = [build_network(classifier, dtype) for dtype in (torch.bfloat16, torch.float32)]
        with torch.no_grad():
            rounded, exact = (network(*inputs_of(texts)) for network in networks)
        return float((rounded - exact).square().mean().sqrt())

    as_it_is = error()
    monkeypatch.setattr("scoring.model.LOUD", 0)
    assert error() > 4 * as_it_is


@pytest.mark.parametrize("family", ["roberta", "electra", "distilbert"])
def test_other_families_with_such_layers_count_too(family, tmp_path):
    data = data_where(True)

    train(encoder(tmp_path / "encoder", family), data, tmp_path / "out", START)

    assert accuracy(tmp_path / "out", list(data.test)) > 0.95


@pytest.mark.parametrize("family", ["deberta-v2", "modernbert"])
def test_a_family_that_cannot_count_starts_at_a_probe_of_its_mean(family, tmp_path):
    data = words_of_two_kinds()

    train(encoder(tmp_path / "encoder", family), data, tmp_path / "out", START)

    assert accuracy(tmp_path / "out", list(data.test)) > 0.9


def test_a_decoder_starts_as_it_would_without(tmp_path):
    source = bare(tmp_path / "encoder", "llama")
    weights = []

    for name, is_asked in (("with", True), ("without", False)):
        done = train(source, data_where(True), tmp_path / name, replace(START, probe=is_asked))
        weights.append(done.checkpoint.weights_sha256)

    assert weights[0] == weights[1]


def words_of_two_kinds() -> TrainingData:
    """Of two answers of one length, people prefer the one that speaks of rain."""
    draw, pairs = random.Random(1), []
    for number in range(280):
        a, b = (f"{word} {sentence(9, 7 * number + place)}" for place, word in enumerate(("rain", "lease")))
        turned = draw.random() < 0.5
        first, second = (b, a) if turned else (a, b)
        pairs.append(LabelledPair(sentence(4, number), first, second, float(not turned), f"g{number}"))
    return TrainingData(pairs[:160], pairs[160:200], pairs[200:])


def test_layers_above_the_one_that_tells_most_are_left_out(tmp_path):
    source, data = encoder(tmp_path / "encoder", "electra"), words_of_two_kinds()
    classifier = one_output_classifier(source)
    layers = classifier.electra.encoder.layer
    with torch.no_grad():  # from the second layer on, all tokens are alike
        for part in (layers[1].output.dense, layers[1].attention.output.dense):
            part.weight.zero_()
        layers[1].output.LayerNorm.weight.zero_()
    classifier.electra.save_pretrained(source)

    done = train(source, data, tmp_path / "out", START)

    config = json.loads((done.checkpoint.path / "config.json").read_text())
    assert config["num_hidden_layers"] == 2  # one, and the one that takes the mean
    assert accuracy(tmp_path / "out", list(data.test)) > 0.9


def test_the_depth_can_be_named(tmp_path):
    source = encoder(tmp_path / "encoder")

    done = train(source, data_where(True), tmp_path / "out", replace(START, depth=1))

    config = json.loads((done.checkpoint.path / "config.json").read_text())
    assert config["num_hidden_layers"] == 2
    assert prove(tmp_path / "out", 64).template == "bert-pair"


@pytest.mark.parametrize(
    ("make", "depth", "says"),
    [
        (encoder, 9, "depth is 9, but the model has 2 layers"),
        (save_bert, 1, "this model already has a trained head; leave out depth"),
        (lambda path: bare(path, "llama"), 1, "depth does not work for a LlamaForSequenceClassification"),
    ],
)
def test_a_depth_that_a_model_has_not_is_refused(make, depth, says, tmp_path):
    with pytest.raises(TrainingError, match=re.escape(says)):
        train(make(tmp_path / "model"), data_where(True), tmp_path / "out", replace(START, depth=depth))

    assert not (tmp_path / "out").exists()


def test_pairs_of_one_prompt_group_start_as_they_would_without(tmp_path):
    data = data_where(True)
    alike = replace(data, train=[replace(pair, group="one") for pair in data.train])

    train(encoder(tmp_path / "encoder"), alike, tmp_path / "out", START)

    head = BertForSequenceClassification.from_pretrained(tmp_path / "out").classifier
    assert head.weight.abs().max().item() < 1e-3


def test_a_probe_is_the_most_likely_one_under_its_prior():
    draw = np.random.default_rng(0)
    features, targets = draw.normal(size=(60, 3)), draw.uniform(size=60)

    weights = fitted(features, targets, 0.5)

    def loss(weights):
        margins = features @ weights
        return np.sum(np.logaddexp(0, margins) - targets * margins) + weights @ weights / (2 * 0.5)

    for step in np.vstack([np.eye(3), -np.eye(3)]) * 0.01:
        assert loss(weights) < loss(weights + step)


def test_each_weight_may_have_a_prior_of_its_own():
    draw = np.random.default_rng(0)
    features = draw.normal(size=(60, 2))
    targets = np.full(60, 0.5) + 0.4 * np.sign(features.sum(1))

    first, second = fitted(features, targets, np.array([1.0, 1e-6]))

    assert first > 0.5
    assert abs(second) < 1e-3


@pytest.mark.parametrize(("counted", "at_least", "at_most"), [(True, 0.95, 1.0), (False, 0.5, 0.8)])
def test_a_probe_follows_the_length_among_features_that_tell_nothing(counted, at_least, at_most):
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(2 * 400, 300))
    longer = rows[0::2, 0] > rows[1::2, 0]
    pairs = [LabelledPair("", "", "", float(is_longer), f"g{n}") for n, is_longer in enumerate(longer)]
    output = torch.nn.Linear(300, 1)

    start_at_probe(output, pairs[:60], rows[:120], counted=counted)

    with torch.no_grad():
        scores = output(torch.from_numpy(rows[120:]).float())[:, 0].numpy()
    right = np.mean((scores[0::2] > scores[1::2]) == longer[60:])
    assert at_least <= right <= at_most


def test_a_feature_that_moves_by_rounding_alone_weighs_next_to_nothing():
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(2 * 100, 5))
    better = rows[0::2].sum(1) > rows[1::2].sum(1)
    rows[:, 4] = 1.0 + 1e-7 * rows[:, :4].sum(1)
    pairs = [LabelledPair("", "", "", float(is_better), f"g{n}") for n, is_better in enumerate(better)]
    output = torch.nn.Linear(5, 1)

    start_at_probe(output, pairs, rows, counted=False)

    *others, still = output.weight[0].abs().tolist()
    assert still < min(others)


def test_of_priors_that_chance_could_not_tell_apart_the_narrowest_is_taken():
    draw = np.random.default_rng(0)
    best = draw.uniform(size=200)
    by_chance = best + draw.normal(size=200) * 0.1 + 0.002
    worse = best + draw.normal(size=200) * 0.1 + 0.05
    each_of_its_own = [str(number) for number in range(200)]

    assert narrowest_as_good([worse, by_chance, best], each_of_its_own) == 1
    assert narrowest_as_good([worse, worse, best], each_of_its_own) == 2


def test_pairs_of_one_prompt_say_less_of_a_prior_than_as_many_prompts():
    best = np.full(200, 0.6)
    worse = best + np.repeat([0.1, -0.06, 0.1, -0.06, 0.02], 40)

    assert narrowest_as_good([worse, best], [str(number) for number in range(200)]) == 1
    assert narrowest_as_good([worse, best], [str(number // 40) for number in range(200)]) == 0


def test_pairs_of_one_prompt_show_no_difference():
    worse, better = np.full(40, 0.7), np.full(40, 0.6)

    assert clearly_exceed(worse, better, [str(at) for at in range(40)])
    assert not clearly_exceed(worse, better, ["one"] * 40)


def test_a_head_that_was_trained_keeps_its_start(tmp_path):
    source = save_bert(tmp_path / "model")

    train(source, data_where(True), tmp_path / "out", START)

    before, after = (
        BertForSequenceClassification.from_pretrained(folder).classifier.weight
        for folder in (source, tmp_path / "out")
    )
    assert torch.allclose(before, after, atol=1e-6)


def test_a_run_can_be_stopped_while_the_layers_are_probed(tmp_path):
    reports = []

    def stop(progress):
        reports.append((progress.step, progress.steps))
        return False

    with pytest.raises(Stopped, match="stopped before the first of 6 steps"):
        train(
            encoder(tmp_path / "encoder"),
            data_where(True),
            tmp_path / "out",
            replace(START, steps=6),
            report=stop,
        )

    assert reports == [(0, 6)]
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_a_run_can_be_stopped_while_the_head_reads_what_it_starts_at(tmp_path):
    """The second half of the probe: the depth is kept, and the next call goes on from there."""
    source, data = encoder(tmp_path / "encoder"), data_where(True)
    whole = train(source, data, tmp_path / "whole", START)
    found = tmp_path / ".out.training" / "depth.json"

    with pytest.raises(Stopped, match="stopped before the first of 1 steps"):
        train(source, data, tmp_path / "out", START, report=lambda _: not found.exists())
    done = train(source, data, tmp_path / "out", START)

    assert done.checkpoint.weights_sha256 == whole.checkpoint.weights_sha256


@pytest.mark.parametrize(
    ("changed", "kept", "says"),
    [
        ({"max_length": 131}, {}, "max_length is 131, but the model has 130 positions"),
        ({}, {"validation": 0}, "there are no validation pairs"),
        ({}, {"train": 3}, "only 3 pairs to train on; at least 20 are needed"),
    ],
)
def test_what_can_not_be_trained_is_said_before_the_layers_are_probed(changed, kept, says, tmp_path):
    pairs = data_where(True)
    data = replace(pairs, **{split: pairs.splits()[split][:count] for split, count in kept.items()})
    reports = []

    with pytest.raises(TrainingError, match=says):
        train(
            encoder(tmp_path / "encoder"),
            data,
            tmp_path / "out",
            replace(START, **changed),
            report=reports.append,
        )

    assert reports == []


def test_a_command_for_another_run_leaves_what_the_probe_found(tmp_path):
    source, data = encoder(tmp_path / "encoder"), data_where(True)
    config = replace(START, steps=6, save_seconds=0.0)
    with pytest.raises(Stopped):
        train(source, data, tmp_path / "out", config, report=lambda progress: progress.step < 3)
    (found,) = tmp_path.glob(".out.training/depth.json")
    before = found.read_bytes()
    reports = []

    with pytest.raises(TrainingError, match="holds an unfinished run of another model"):
        train(source, data, tmp_path / "out", replace(config, seed=7), report=reports.append)

    assert reports == []
    assert found.read_bytes() == before


def test_a_run_that_goes_on_probes_its_layers_no_second_time(tmp_path):
    """Minutes would be lost, and a report of step 0 would undo the curve of the earlier call."""
    source, data = encoder(tmp_path / "encoder"), data_where(True)
    config = replace(START, steps=6, save_seconds=0.0)
    steps = []

    def stop_at_three(progress):
        return progress.step < 3

    def keep(progress):
        steps.append(progress.step)

    with pytest.raises(Stopped):
        train(source, data, tmp_path / "out", config, report=stop_at_three)
    done = train(source, data, tmp_path / "out", config, report=keep)

    assert min(steps) > 3
    assert done.steps == 6


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path):
    source, data = encoder(tmp_path / "encoder"), data_where(True)
    config = replace(START, steps=6, learning_rate=1e-3, save_seconds=0.0)
    whole = train(source, data, tmp_path / "whole", config)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.step == 3:
            raise Killed

    with pytest.raises(Killed):
        train(source, data, tmp_path / "stopped", config, report=kill)
    stopped = train(source, data, tmp_path / "stopped", config)

    assert stopped.checkpoint.weights_sha256 == whole.checkpoint.weights_sha256
