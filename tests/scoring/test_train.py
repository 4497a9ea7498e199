import itertools
import json
import math
import os
import pickle
import random
import resource
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from scoring import learnt, shares
from scoring.checkpoint import CheckpointError, open_checkpoint
from scoring.config import PRESETS, Stopped, TrainConfig, TrainingError
from scoring.encode import Encoder
from scoring.engine import load
from scoring.messages import FLATTENING, TURNS
from scoring.model import Padded, quietly
from scoring.normalise import normalised_digest
from scoring.pairs import DataError, LabelledPair, TrainingData
from scoring.preflight import encode_splits
from scoring.train import Run, bradley_terry_loss, preference_loss, train
from scoring.trainable import TrainableBert
from tests.scoring.models import WORDS, Card, save_bert, save_encoder, sentence

torch.set_num_threads(1)  # tiny models lose by more

QUICK = TrainConfig(
    learning_rate=3e-3,
    batch=16,
    steps=60,
    max_length=64,
    evaluations=4,
    patience=None,
    precision="fp32",
    dropout=0.0,
    layer_decay=1.0,
)


def planted(count, *, start=0):
    """Pairs in which people prefer the answer about water; its side and length are random."""
    pairs = []
    for number in range(start, start + count):
        draw = random.Random(number)
        words = [word for word in WORDS if word != "water"]
        better, worse = (draw.choices(words, k=draw.randint(3, 9)) for _ in range(2))
        better[draw.randrange(len(better))] = "water"
        sides = [" ".join(better), " ".join(worse)]
        target = float(draw.random() < 0.5)
        a, b = sides if target else sides[::-1]
        pairs.append(LabelledPair(f"why {sentence(3, number)}", a, b, target, str(number)))
    return pairs


def planted_data(train=400, validation=100, test=200):
    return TrainingData(
        planted(train), planted(validation, start=10_000), planted(test, start=20_000), {"made": "here"}
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def trained(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "model"
    seen = []
    return train(model, planted_data(), out, QUICK, report=seen.append), seen


def test_the_loss_is_minus_the_log_probability_of_the_preference():
    loss = bradley_terry_loss(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0]))

    assert loss.tolist() == pytest.approx([math.log(1 + math.exp(-1)), math.log(1 + math.exp(3))])


def test_a_tie_costs_least_at_equal_rewards():
    rewards = torch.tensor([-1.0, 0.0, 1.0])

    loss = bradley_terry_loss(rewards, torch.zeros(3), 0.5)

    assert loss[1] == pytest.approx(math.log(2))
    assert loss[0] == pytest.approx(loss[2].item())
    assert loss[0] > loss[1]


def test_soft_targets_may_differ_by_pair():
    chosen, rejected = torch.tensor([0.3, -2.0]), torch.tensor([1.0, 0.5])
    target = torch.tensor([0.75, 0.25])

    expected = target * bradley_terry_loss(chosen, rejected) + (1 - target) * bradley_terry_loss(
        rejected, chosen
    )

    assert bradley_terry_loss(chosen, rejected, target).tolist() == pytest.approx(expected.tolist())


def losses(a, b, target, config, strength=0.0):
    tensors = (torch.tensor([value]) for value in (a, b, target, strength))
    return preference_loss(*tensors, config).item()


def test_without_extras_the_loss_is_bradley_and_terrys():
    plain = replace(QUICK, centring=0.0)

    assert losses(2.0, 0.5, 1.0, plain) == pytest.approx(math.log1p(math.exp(-1.5)))
    assert losses(2.0, 0.5, 0.0, plain) == pytest.approx(math.log1p(math.exp(1.5)))


def test_smoothing_strength_and_centring_are_what_their_formulas_say():
    smooth = losses(2.0, 0.5, 1.0, replace(QUICK, centring=0.0, label_smoothing=0.1))
    margin = losses(2.0, 0.5, 1.0, replace(QUICK, centring=0.0, strength=0.5), strength=1.0)
    mirrored = losses(0.5, 2.0, 0.0, replace(QUICK, centring=0.0, strength=0.5), strength=1.0)
    centred = losses(2.0, 0.5, 1.0, replace(QUICK, centring=0.01))

    assert smooth == pytest.approx(0.9 * math.log1p(math.exp(-1.5)) + 0.1 * math.log1p(math.exp(1.5)))
    assert [margin, mirrored] == pytest.approx([math.log1p(math.exp(-1.0))] * 2)
    assert centred == pytest.approx(math.log1p(math.exp(-1.5)) + 0.01 * 2.5**2)


def test_the_seed_preset_is_the_card():
    seed = PRESETS["seed"]

    assert (seed.learning_rate, seed.batch, seed.steps, seed.max_length) == (5e-5, 42, 1200, 400)
    assert (seed.warm_up, seed.weight_decay, seed.clip, seed.dropout) == (0.0, 0.0, 1.0, None)
    assert (seed.label_smoothing, seed.strength, seed.centring, seed.precision) == (0.0, 0.0, 0.0, "fp32")


def test_the_rate_of_the_seed_falls_in_a_line_as_that_of_transformers():
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=5e-5)
    schedule = get_linear_schedule_with_warmup(optimizer, 0, 1200)
    expected = []
    for _ in range(5):
        expected.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()

    assert [PRESETS["seed"].rate_at(step, 1200) for step in range(5)] == pytest.approx(expected)


def test_the_rate_rises_over_the_warm_up_and_falls_to_nothing():
    rates = [PRESETS["recommended"].rate_at(step, 100) for step in range(100)]

    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) == rates[10] == pytest.approx(2e-5)
    assert 0 < rates[0] < rates[1]
    assert 0 < rates[-1] < 1e-6


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"learning_rate": 0.0}, "learning_rate can't be 0.0"),
        ({"batch": 0, "warm_up": 1.0}, "batch can't be 0, warm_up can't be 1.0"),
        ({"learning_rate": math.nan}, "learning_rate can't be nan"),
        ({"precision": "fp8"}, "'fp8' is not one of"),
        ({"max_seconds": 0.0, "stop_after": 0}, "stop_after can't be 0, max_seconds can't be 0.0"),
    ],
)
def test_a_config_that_cannot_be_is_refused(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        TrainConfig(**wrong)


def test_packed_training_computes_what_transformers_computes_gradients_too(model):
    with quietly():
        classifier = AutoModelForSequenceClassification.from_pretrained(model).eval()
    encoded = Encoder.open(model, 64)([("why", "rain falls"), ("why", sentence(20)), ("how", "rain falls")])
    texts = [text.ids for text in encoded]

    gradients = []
    for network in (TrainableBert(classifier).eval(), Padded(classifier).eval()):
        classifier.zero_grad()
        network(texts).square().sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in classifier.named_parameters()})

    expected = Padded(classifier).eval()(texts).tolist()
    assert TrainableBert(classifier).eval()(texts).tolist() == pytest.approx(expected, abs=1e-4)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-4)


def test_the_losses_are_those_of_a_plain_loop_that_pads(trained, model):
    """A plain loop: batches padded to max_length, two forward passes, torch's own AdamW."""
    config, data = QUICK, planted_data()
    torch.manual_seed(config.seed)
    with quietly():
        network = AutoModelForSequenceClassification.from_pretrained(
            model, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        ).train()
    no_decay = [parameter for parameter in network.parameters() if parameter.dim() == 1]
    matrices = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": no_decay, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups)
    tokenizer = AutoTokenizer.from_pretrained(model)

    def rewards(texts):
        padded = {"padding": "max_length", "truncation": True, "max_length": 64}
        tokens = tokenizer(
            *zip(*texts, strict=True), return_tensors="pt", return_token_type_ids=False, **padded
        )
        return network(**tokens).logits[:, 0]

    losses = []
    for step in range(8):
        order = np.random.default_rng([config.seed, 0]).permutation(400)[step * 16 : step * 16 + 16]
        batch = [data.train[index] for index in order]
        a, b = rewards([pair.texts[0] for pair in batch]), rewards([pair.texts[1] for pair in batch])
        sign = torch.tensor([2 * pair.target - 1 for pair in batch])
        loss = (-torch.nn.functional.logsigmoid(sign * (a - b)) + 0.01 * (a + b) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = config.rate_at(step, 60)
        optimizer.step()
        losses.append(loss.item())

    ours = [loss for _, loss, _ in trained[0].record.metrics["curve"][:8]]
    assert ours == pytest.approx(losses, rel=1e-3)


def test_dropout_is_on_in_training_and_off_in_scoring(model):
    with quietly():
        classifier = AutoModelForSequenceClassification.from_pretrained(model)
    texts = [Encoder.open(model, 64)([("why", "rain falls")])[0].ids]
    network = TrainableBert(classifier)

    assert network.train()(texts).item() != network.train()(texts).item()
    assert network.eval()(texts).item() == network.eval()(texts).item()


def test_a_pair_has_the_same_ids_in_training_as_in_scoring(model):
    pair = LabelledPair("why does [SEP] rain fall", sentence(40), "water [CLS] " + sentence(50), 1.0, "g")
    data = TrainingData([pair] * 20, planted(5))

    encoded = encode_splits(Encoder.open(model, 32), data)

    scored = load(model, max_length=32, precision="fp32").encoder(pair.texts)
    for in_training, in_scoring in zip(encoded["train"][0], scored, strict=True):
        assert in_training.ids.tolist() == in_scoring.ids.tolist()


def test_a_planted_rule_goes_from_chance_to_over_90_percent(trained, model):
    done, _ = trained

    figures = done.record.metrics["test"]
    assert 0.35 < figures["before"]["accuracy"] < 0.65
    assert figures["after"]["accuracy"] > 0.9
    assert figures["after"]["clustered"][0] > figures["longest"]["accuracy"]
    assert figures["against_before"]["accuracy_interval"][0] > 0


def test_what_is_saved_is_an_ordinary_checkpoint_that_scores_as_it_was_measured(trained):
    done, _ = trained
    path = done.checkpoint.path

    engine, card = load(path, max_length=64, precision="fp32"), Card(path)
    pairs = planted(200, start=20_000)
    scores = np.array([scored.value for scored in engine([text for pair in pairs for text in pair.texts])])
    right = ((scores[0::2] > scores[1::2]) == np.array([pair.target == 1 for pair in pairs])).mean()
    assert open_checkpoint(path) == done.checkpoint
    assert right == pytest.approx(done.record.metrics["test"]["after"]["accuracy"])
    assert scores[0] == pytest.approx(card(*pairs[0].texts[0], max_length=64), abs=1e-4)


def test_the_run_tells_how_it_goes(trained):
    _, seen = trained

    assert [progress.step for progress in seen] == list(range(61))
    measured = [progress.measured for progress in seen if progress.measured]
    assert [row.step for row in measured] == [0, 15, 30, 45, 60]
    assert measured[-1].log_loss < measured[0].log_loss
    assert seen[30].loss < 1
    assert seen[30].eta_seconds > 0


def test_beside_the_weights_stands_where_they_come_from_and_what_they_are_worth(trained):
    done, _ = trained
    manifest, metrics = (
        json.loads((done.checkpoint.path / name).read_text()) for name in ("training.json", "metrics.json")
    )

    assert manifest["config"] == asdict(QUICK) | {"template": "bert-pair"}
    assert manifest["weights_sha256"] == done.checkpoint.weights_sha256
    assert manifest["data"]["files"] == {"made": "here"}
    assert manifest["preflight"]["pairs"] == {"train": 400, "validation": 100, "test": 200}
    assert manifest["packages"]["torch"] == torch.__version__
    assert manifest["energy"] is None
    assert manifest["reading"] == {"flattening": FLATTENING, "turns": TURNS}
    assert len(metrics["curve"]) == 60
    assert metrics["best_step"] == done.best_step


def test_the_model_card_has_our_own_count_and_figures(trained):
    done, _ = trained
    card = (done.checkpoint.path / "README.md").read_text()

    counted = sum(tensor.numel() for tensor in load_file(done.checkpoint.path / "model.safetensors").values())
    accuracy = done.record.metrics["test"]["after"]["accuracy"]
    assert f"**Size:** {counted:,} parameters" in card
    assert f"| this model | {shares.in_words(accuracy)} |" in card
    assert "not measured (codecarbon" in card
    assert "only 400 pairs to train on" in card


def test_the_same_run_twice_gives_the_same_weights_and_another_seed_others(model, tmp_path):
    data = planted_data(60, 20, 0)
    config = replace(QUICK, steps=4, dropout=None)

    first, again, of_another_seed = (
        train(model, data, tmp_path / name, replace(config, seed=seed)).checkpoint.weights_sha256
        for name, seed in (("one", 1), ("two", 1), ("other", 2))
    )

    assert first == again != of_another_seed


def test_small_passes_give_the_weights_of_large_ones(model, tmp_path):
    """The token budget bounds memory; the weights must not depend on it."""
    data = planted_data(60, 20, 0)
    weights = [
        load_file(
            train(
                model, data, tmp_path / str(budget), replace(QUICK, steps=5, token_budget=budget)
            ).checkpoint.path
            / "model.safetensors"
        )
        for budget in (64, 100_000)
    ]

    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-2, atol=1e-3)


def test_a_bare_encoder_gets_a_head_drawn_from_the_seed(tmp_path):
    encoder = save_encoder(tmp_path / "encoder")

    done = train(encoder, planted_data(60, 20, 0), tmp_path / "out", replace(QUICK, steps=2))

    assert done.checkpoint.architecture == "BertForSequenceClassification"
    assert "test" not in done.record.metrics


def test_a_checkpoint_says_which_prompts_it_has_learnt_and_what_its_base_had(model, tmp_path):
    """Training and validation prompts, and those on the record of the base, but none of the test split."""
    encoder = save_encoder(tmp_path / "encoder")
    two_steps = replace(QUICK, steps=2, evaluations=1)
    train(encoder, planted_data(40, 20, 20), tmp_path / "first", two_steps)
    further = TrainingData(planted(40, start=500), planted(20, start=700))
    train(tmp_path / "first", further, tmp_path / "second", two_steps)
    train(model, planted_data(40, 20, 0), tmp_path / "other", two_steps)

    first, second, unrecorded = (learnt.read(tmp_path / name) for name in ("first", "second", "other"))

    def digests(pairs):
        return {normalised_digest(pair.prompt) for pair in pairs}

    def of(record, use):
        return {digest for text in record.texts[use] for digest in text.digests}

    assert of(first, "trained") == digests(planted(40))
    assert of(first, "chosen") == digests(planted(20, start=10_000))
    assert of(second, "trained") == digests([*planted(40), *planted(40, start=500)])
    assert (first.whole, second.whole, unrecorded.whole) == (True, True, False)


def test_the_best_weights_are_kept_not_the_last(model, tmp_path):
    """Training labels are the opposite of validation labels, so every step makes the model worse."""
    upside_down = [replace(pair, target=1 - pair.target) for pair in planted(200)]
    data = TrainingData(upside_down, planted(100, start=10_000))

    done = train(model, data, tmp_path / "out", replace(QUICK, steps=40, evaluations=20, patience=2))

    measured = done.record.metrics["measured"]
    assert done.best_step == min(measured, key=lambda row: row["log_loss"])["step"]
    assert done.steps < 40
    after = done.record.metrics["validation"]["after"]["log_loss"]
    assert after == pytest.approx(min(row["log_loss"] for row in measured), abs=1e-5)


def test_a_run_that_is_told_to_stop_goes_on_to_the_same_weights(trained, model, tmp_path):
    out = tmp_path / "model"

    for last in (0, 7, 33):
        with pytest.raises(Stopped):
            train(model, planted_data(), out, QUICK, report=lambda progress, last=last: progress.step < last)
        assert os.listdir(tmp_path) == [".model.training"]
    done = train(model, planted_data(), out, QUICK)

    assert done.checkpoint.weights_sha256 == trained[0].checkpoint.weights_sha256
    assert done.record.metrics["curve"] == trained[0].record.metrics["curve"]
    assert done.record.manifest["resumed"]
    assert os.listdir(tmp_path) == ["model"]


# Importing torch takes longer than the run, so one process does it and forks those that are killed.
KILLER = """
import itertools, os, pickle, signal, sys
import torch
torch.set_num_threads(1)
from scoring.train import train
model, data, config, out, points = pickle.load(open(sys.argv[1], "rb"))
for point in points:
    def report(progress):
        if progress.step == point:
            os.kill(os.getpid(), signal.SIGKILL)
    if not (child := os.fork()):
        train(model, data, out, config, report=report, clock=itertools.count().__next__)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, point
    assert os.listdir(os.path.dirname(out)) == [".model.training"], point
"""


def killed_at(points, model, config, tmp_path):
    """The output folder of a run that was killed at the report of each of these steps and resumed."""
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "model"
    (tmp_path / "arguments").write_bytes(pickle.dumps((model, planted_data(), config, out, points)))
    killer = [sys.executable, "-c", KILLER, str(tmp_path / "arguments")]
    done = subprocess.run(killer, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.long
def test_a_run_killed_at_ten_points_ends_with_the_same_weights(trained, model, tmp_path):
    config = replace(QUICK, save_seconds=0.0)
    out = killed_at([0, 1, 2, 9, 15, 16, 31, 44, 59, 60], model, config, tmp_path)

    finished = train(model, planted_data(), out, config)

    assert finished.checkpoint.weights_sha256 == trained[0].checkpoint.weights_sha256
    assert os.listdir(tmp_path / "out") == ["model"]


def test_a_run_killed_while_it_saves_goes_on_from_the_state_before(trained, model, tmp_path, monkeypatch):
    import scoring.train

    config = replace(QUICK, save_seconds=0.0)
    whole = scoring.train.write_tensors

    class Killed(BaseException):
        pass

    for after in (1, 8, 20):
        left = after

        def dying(path, tensors):
            nonlocal left
            left -= 1
            if not left:
                path.with_name(f".{path.name}").write_bytes(b"half")
                raise Killed
            whole(path, tensors)

        monkeypatch.setattr(scoring.train, "write_tensors", dying)
        with pytest.raises(Killed):
            train(model, planted_data(), tmp_path / "model", config)
    monkeypatch.setattr(scoring.train, "write_tensors", whole)
    done = train(model, planted_data(), tmp_path / "model", config)

    assert done.checkpoint.weights_sha256 == trained[0].checkpoint.weights_sha256


LIMITED = replace(QUICK, max_seconds=10.0, save_seconds=0.0)


def ticking():
    """A clock with one second for each step and each measurement."""
    return itertools.count().__next__


def standing():
    return 0


@pytest.fixture(scope="module")
def limited(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("limited") / "model"
    return train(model, planted_data(), out, LIMITED, clock=ticking())


def test_a_run_with_a_limit_of_time_ends_within_it_and_says_so(limited):
    manifest, metrics = limited.record.manifest, limited.record.metrics

    # One second for the first measurement, eight for steps, one to measure the last of them.
    assert (manifest["steps"], manifest["planned_steps"], manifest["ended_by"]) == (8, 60, "time")
    assert manifest["seconds"] == limited.seconds == 10.0
    assert [row["step"] for row in metrics["measured"]] == [0, 8]
    card = (limited.checkpoint.path / "README.md").read_text()
    assert "**Training steps:** 8 of 60 planned (stopped at the limit of 10 seconds);" in card


def test_what_a_limit_of_time_came_to_can_be_trained_again_without_a_clock(limited, model, tmp_path):
    again = train(model, planted_data(), tmp_path / "model", replace(QUICK, stop_after=limited.steps))

    assert again.checkpoint.weights_sha256 == limited.checkpoint.weights_sha256
    assert again.record.manifest["ended_by"] == "steps"


@pytest.mark.long
def test_a_limited_run_that_is_killed_ends_at_the_same_step_with_the_same_weights(limited, model, tmp_path):
    out = killed_at([0, 3, 7, 8], model, LIMITED, tmp_path)

    # The last process never sees the time pass: that it was up had been settled before.
    finished = train(model, planted_data(), out, LIMITED, clock=standing)

    assert finished.checkpoint.weights_sha256 == limited.checkpoint.weights_sha256
    assert (finished.steps, finished.record.manifest["ended_by"]) == (8, "time")


def test_that_time_is_up_is_settled_before_anything_else_can_happen(limited, model, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    measure = Run.measure

    def dying(run):
        if run.state.step == limited.steps:
            raise Killed
        return measure(run)

    monkeypatch.setattr(Run, "measure", dying)
    with pytest.raises(Killed):
        train(model, planted_data(), tmp_path / "model", LIMITED, clock=ticking())
    monkeypatch.setattr(Run, "measure", measure)
    finished = train(model, planted_data(), tmp_path / "model", LIMITED, clock=standing)

    assert finished.checkpoint.weights_sha256 == limited.checkpoint.weights_sha256
    assert [row["step"] for row in finished.record.metrics["measured"]] == [0, 8]


def test_the_quick_preset_differs_from_the_recommended_in_what_takes_time_alone():
    same = {
        "preset": "recommended",
        "max_seconds": None,
        "evaluations": 10,
        "validation_pairs": 2000,
        "probe": True,
    }

    assert PRESETS["quick"].max_seconds == 90
    assert replace(PRESETS["quick"], **same) == PRESETS["recommended"]


def test_threads_that_wait_for_each_other_leave_the_processor_to_others():
    """Busy waiting, the default of OpenMP, starves other processes on a shared machine."""
    code = "import os, scoring; print(os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    for variables, expected in ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"):
        child = subprocess.run(
            [sys.executable, "-c", code],
            env=environment | variables, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert child.stdout.strip() == expected


def test_another_config_does_not_go_on_from_a_state_that_is_not_its_own(model, tmp_path):
    data = planted_data(60, 20, 0)
    with pytest.raises(Stopped):
        train(model, data, tmp_path / "out", QUICK, report=lambda progress: progress.step < 2)

    with pytest.raises(TrainingError, match="unfinished run of another model, data, config or version"):
        train(model, data, tmp_path / "out", replace(QUICK, steps=3))

    assert train(model, data, tmp_path / "out", replace(QUICK, steps=3), restart=True).steps == 3


def test_two_runs_to_one_folder_do_not_meet(model, tmp_path):
    data = planted_data(60, 20, 0)

    def second(progress):
        with pytest.raises(TrainingError, match="another process is training"):
            train(model, data, tmp_path / "out", replace(QUICK, steps=2))

    train(model, data, tmp_path / "out", replace(QUICK, steps=2), report=second)


def test_a_loss_that_is_no_number_is_an_error_that_leaves_nothing(model, tmp_path):
    with pytest.raises(TrainingError, match=r"try a lower rate|answers nan"):
        train(model, planted_data(60, 20, 0), tmp_path / "out", replace(QUICK, learning_rate=1e30))

    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("bytes_left", [3_000, 200_000])
def test_a_full_disk_is_an_error_that_names_the_place_and_leaves_no_model(model, tmp_path, bytes_left):
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, unlimited[1]))
    try:
        with pytest.raises(TrainingError, match=f"{tmp_path} can't be written"):
            train(model, planted_data(60, 20, 0), tmp_path / "out", QUICK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    assert os.listdir(tmp_path) == []


def test_a_disk_too_small_is_told_before_time_is_spent(model, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 0))

    with pytest.raises(TrainingError, match=r"has 0.0 GB free; training this model needs"):
        train(model, planted_data(60, 20, 0), tmp_path / "out", QUICK)


def test_an_existing_folder_is_left_alone(model, tmp_path):
    (tmp_path / "out").mkdir()

    with pytest.raises(TrainingError, match="exists"):
        train(model, planted_data(60, 20, 0), tmp_path / "out", QUICK)


def test_a_text_that_no_model_can_score_is_named_by_split_and_place(model, tmp_path):
    data = TrainingData([*planted(30), LabelledPair("p", "x", "​", 1.0, "g")], planted(9))

    with pytest.raises(DataError, match="train pair 31: the answer has no character"):
        train(model, data, tmp_path / "out", QUICK)

    assert os.listdir(tmp_path) == []


def test_a_pickle_is_not_opened(model, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"")

    with pytest.raises(CheckpointError, match="is a pickle"):
        train(tmp_path / "model", planted_data(60, 20, 0), tmp_path / "out", QUICK)


def test_training_leaves_the_random_numbers_of_its_host_alone(model, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    train(model, planted_data(60, 20, 0), tmp_path / "out", replace(QUICK, steps=1))

    assert torch.rand(1) == expected
