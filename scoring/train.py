"""Train a reward model on labelled pairs, in a loop that can be killed and resumed.

    from scoring.train import train
    trained = train("path/to/model", "path/to/release", "path/to/new-model", PRESETS["recommended"])

A run saves its state in a hidden folder beside `out_dir`. After a kill, the same call continues from the last
state. On the same machine it ends with the weights of an undisturbed run: every step seeds its own dropout,
and the order of pairs depends on the seed alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import PreTrainedModel

from scoring import learnt
from scoring.calibrate import calibrated_losses, log_loss
from scoring.checkpoint import (
    Checkpoint,
    open_checkpoint,
    refuse_pickles,
    sha256_of,
    template_to_train,
)
from scoring.config import PRESETS, Measured, Progress, Report, Stopped, TrainConfig, TrainingError
from scoring.counting import count_tokens, level_rows
from scoring.encode import Encoded, Encoder
from scoring.engine import batches
from scoring.evaluate import right_shares
from scoring.gain import PAYS_TRAINING, why_not_bf16
from scoring.heads import (
    can_count,
    dropout_rates,
    has_layers,
    has_learnt,
    keep_layers,
    layers_of,
    merge_adapters,
    output_of,
    pool_by_mean,
    prepare,
    rates_of,
    reads_mean,
    reads_untrained,
    takes_mean,
    trained_parameters,
    wants_mean,
)
from scoring.model import Network, device_of, inputs_of, one_output_classifier, save_classifier
from scoring.pairs import LabelledPair, TrainingData, read_training_data
from scoring.preflight import EncodedPair, Finding, Preflight, encode_splits, preflight, room_on_disk
from scoring.probe import best_depth, can_be_cut, clearly_exceed, read_by, start_at_probe
from scoring.record import Energy, Record, manifest_of, metrics_of, write_record
from scoring.trainable import trainable
from scoring.unfinished import Diverged, sync, working_folder, write_tensors

__all__ = ["PRESETS", "Progress", "Stopped", "TrainConfig", "Trained", "TrainingError", "train"]

Values = npt.NDArray[np.float64]
EndedBy = Literal["steps", "patience", "time"]
T = TypeVar("T")
PROBED = 1000
"""Pairs that a linear probe is fitted to at most."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a run. `record` is the content of training.json and metrics.json."""

    checkpoint: Checkpoint
    steps: int
    best_step: int
    seconds: float
    record: Record


def bradley_terry_loss(preferred: Tensor, rejected: Tensor, target: Tensor | float = 1.0) -> Tensor:
    """-[p log s(d) + (1 - p) log s(-d)] with d = preferred - rejected and s the logistic function.

    `preferred`, `rejected`: (N,) rewards in logits. `target`: p = P(first preferred), (N,) or one number;
    p = 1 is Bradley and Terry (1952), 0.5 a tie. Returns (N,) losses in nats.
    """
    margin = preferred - rejected
    return binary_cross_entropy_with_logits(
        margin, torch.as_tensor(target, dtype=margin.dtype).expand_as(margin), reduction="none"
    )


def preference_loss(a: Tensor, b: Tensor, target: Tensor, strength: Tensor, config: TrainConfig) -> Tensor:
    """BT(a - m, b; t (1 - 2e) + e) + c (a + b)^2: (N,) losses of (N,) rewards of both sides.

    BT is `bradley_terry_loss`, t the target, e the label smoothing, m = strength sign(t - 1/2) the required
    margin (Llama 2, 2307.09288, eq. 2) of a pair without any doubt, t = 0 or 1. For a t in between m = 0: a
    margin would move the optimum away from logit(t), where the label says it is. Centring by c is needed
    because BT depends on differences alone (Eisenstein and others, 2312.09244, eq. 2).
    """
    is_decided = (target - 0.5).abs() == 0.5
    required_margin = config.strength * strength * torch.sign(target - 0.5) * is_decided
    smoothed = target * (1 - 2 * config.label_smoothing) + config.label_smoothing
    return bradley_terry_loss(a - required_margin, b, smoothed) + config.centring * (a + b).square()


def train(
    model_dir: str | Path,
    data: str | Path | TrainingData,
    out_dir: str | Path,
    config: TrainConfig = PRESETS["recommended"],
    *,
    report: Report | None = None,
    looked: Callable[[Preflight], object] | None = None,
    device: str = "auto",
    restart: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train a one-output classifier, or a bare encoder with a new head, and save the best weights.

    `data` is a folder of splits (see scoring.pairs) or the pairs themselves. `out_dir` appears whole or not
    at all: a checkpoint for `transformers`, with training.json, metrics.json and a model card. `looked` gets
    the preflight before the first step. A stopped or killed run of the same model, pairs and config is
    continued; `restart` discards it. `clock` returns seconds.

    Raises CheckpointError, DataError or TrainingError (also for errors of the preflight) with a sentence for
    people, and Stopped if `report` returned False.
    """
    source, out = Path(model_dir), Path(out_dir)
    if out.exists():
        raise TrainingError(f"{out} exists already; choose a new folder")
    pairs = data if isinstance(data, TrainingData) else read_training_data(data)
    refuse_pickles(source)
    template = config.template or template_to_train(source)
    config = replace(config, template=template)
    looked = looked or (lambda _: None)
    encoded = encode_splits(Encoder.open(source, config.max_length, template), pairs)
    checked = preflight(pairs, encoded["train"], config)
    if checked.errors:  # before a probe, which takes minutes
        looked(checked)
        raise TrainingError("; ".join(checked.errors))
    with torch.random.fork_rng(), working_folder(out, restart) as work:
        identity = identity_of(source, pairs, config, device_of(device))
        refuse_other_run(work, identity)
        if config.probe and config.depth is None:
            may_go_on = partial(raise_if_stopped, report, config, len(pairs.train))
            find = partial(
                depth_for, source, pairs.train, encoded["train"], config, device_of(device), may_go_on
            )
            config = replace(config, depth=_kept(work / "depth.json", identity, find))
        torch.manual_seed(config.seed)  # before the model: a missing head is drawn with it
        classifier = classifier_of(source, config, device_of(device))
        run = Run(classifier, encoded, source, pairs, config, work, identity, report, clock)
        looked(run.prepare(checked))
        energy = Energy()
        try:
            run.resume()
            run.train()
            return run.finish(out, energy)
        finally:
            energy.stop()


def classifier_of(source: Path, config: TrainConfig, device: torch.device) -> PreTrainedModel:
    """The network to train, in fp32. A missing head is drawn with torch's seed."""
    model, of_mean = _opened(source, config)
    if config.depth is not None:
        if has_learnt(source):
            raise TrainingError("this model already has a trained head; leave out depth")
        keep_layers(model, config.depth)
    if of_mean and not pool_by_mean(model) and config.pooling == "mean":
        raise TrainingError(f"a {type(model).__name__} has its own pooling; choose pooling auto")
    if config.checkpointing and not model.supports_gradient_checkpointing:
        raise TrainingError(f"a {type(model).__name__} can't be trained with checkpointing")
    nn.Module.to(model, device)
    return prepare(model, config)


def _opened(source: Path, config: TrainConfig) -> tuple[PreTrainedModel, bool]:
    """(the network of a folder, whether its new head should read the mean). A layer that takes the mean for a
    head that has learnt nothing is left out: it is added again, above the layers that are kept, if wanted."""
    refuse_pickles(source)
    changed = {} if config.dropout is None else dict.fromkeys(dropout_rates(source), config.dropout)
    model = one_output_classifier(source, **changed)
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", config.max_length)
    if config.max_length > positions:
        raise TrainingError(f"max_length is {config.max_length}, but the model has {positions} positions")
    of_mean = wants_mean(source, config, model)
    if takes_mean(model) and not has_learnt(source):
        keep_layers(model, layers_of(model) - 1)
    return model, of_mean


def depth_for(
    source: Path,
    pairs: Sequence[LabelledPair],
    encoded: Sequence[EncodedPair],
    config: TrainConfig,
    device: torch.device,
    may_go_on: Callable[[], object],
) -> int | None:
    """The layers to keep below a new head over the mean, by some of the training pairs; None for all.
    `may_go_on` is called now and then, and may raise."""
    model, of_mean = _opened(source, config)
    if not of_mean or not has_layers(model):
        return None
    nn.Module.to(model, device)
    chosen = probed_pairs(len(pairs), config)
    return best_depth(
        model,
        [pairs[at] for at in chosen],
        [encoded[at] for at in chosen],
        config.token_budget,
        may_go_on,
        counted=can_count(model) and config.lora is None and config.layers != 1,
    )


def raise_if_stopped(report: Report | None, config: TrainConfig, pairs: int) -> None:
    """Tell `report` that no step is done yet. Raises Stopped if it returns False."""
    steps = config.steps_for(pairs)
    if report is not None and report(Progress(0, steps, None, config.rate_at(0, steps), None, None)) is False:
        raise Stopped(f"stopped before the first of {steps} steps")


def refuse_other_run(work: Path, identity: str) -> None:
    """Raise TrainingError if the folder has the state of another run."""
    for state in work.glob("state-*"):
        if json.loads((state / "state.json").read_text())["identity"] != identity:
            raise TrainingError(
                f"{work} holds an unfinished run of another model, data, config or version; "
                "finish that run, or discard it with --restart"
            )


def _kept(file: Path, identity: str, find: Callable[[], int | None]) -> int | None:
    """The depth that an earlier call of the same run found, or else finds now."""
    if file.exists():
        kept = json.loads(file.read_text())
        if kept["identity"] == identity:
            depth: int | None = kept["depth"]
            return depth
    depth = find()
    scratch = file.with_suffix(".new")
    scratch.write_text(json.dumps({"identity": identity, "depth": depth}))
    os.replace(scratch, file)
    return depth


def identity_of(source: Path, data: TrainingData, config: TrainConfig, device: torch.device) -> str:
    """A digest of config, pairs, weights, kind of device and fields of a state. A run continues only a state
    with its own digest."""
    settings = asdict(replace(config, save_seconds=0.0))
    weights = hashlib.sha256()
    for file in sorted(source.glob("*.safetensors")):
        weights.update(bytes.fromhex(sha256_of(file)))
    state = [of_state.name for of_state in fields(State)]  # other versions may have kept others
    facts = [settings, data.sha256(), weights.hexdigest(), device.type, state]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def probed_pairs(count: int, config: TrainConfig) -> list[int]:
    """Indices of the training pairs that are probed, drawn by the seed."""
    drawn: list[int] = np.random.default_rng(config.seed).permutation(count)[:PROBED].tolist()
    return sorted(drawn)


def longest_first(sides: Sequence[Encoded]) -> list[int]:
    """The places of the texts, by falling length."""
    return sorted(range(len(sides)), key=lambda place: -len(sides[place].ids))


def learnt_by(source: Path) -> learnt.Record | None:
    """The prompts that the initial weights have learnt; None if that is not on record.

    An encoder without a head, or with one that gives every text 0, has learnt no preferences.
    """
    record = learnt.read(source)
    if record is not None:
        return record
    return None if has_learnt(source) else learnt.Record()


@dataclass
class State:
    """The state of a run besides its tensors, with the names of metrics.json."""

    step: int = 0
    seconds: float = 0.0
    curve: list[list[float]] = field(default_factory=list)  # [step, loss, learning rate] of each step
    measured: list[dict[str, Any]] = field(default_factory=list)  # Measured of each measurement
    first_losses: list[float] = field(default_factory=list)  # of each watched pair by the probe, calibrated
    losses: list[float] = field(default_factory=list)  # of each measurement; calibrated after a probe
    resumed: bool = False
    out_of_time_at: int | None = None  # the last step, if the time limit ended the run

    @property
    def best_step(self) -> int:
        return max((row["step"] for row in self.measured if row["best"]), default=0)

    def stale(self) -> int:
        """Measurements since the lowest loss."""
        return len(self.losses) - 1 - self.losses.index(min(self.losses))

    def best_loss(self) -> float:
        """Of the best weights so far."""
        of_best = [loss for loss, row in zip(self.losses, self.measured, strict=True) if row["best"]]
        return min(of_best, default=math.inf)


class Run:
    """One training run: its model, its pairs and its state."""

    def __init__(
        self,
        classifier: PreTrainedModel,
        encoded: Mapping[str, Sequence[EncodedPair]],
        source: Path,
        data: TrainingData,
        config: TrainConfig,
        work: Path,
        identity: str,
        report: Report | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.classifier, self.encoded, self.source = classifier, encoded, source
        self.data, self.config, self.work, self.identity = data, config, work, identity
        self.report, self.clock = report, clock
        self.network: Network = trainable(classifier, checkpointing=config.checkpointing)
        self.parameters = trained_parameters(classifier)
        is_new = not has_learnt(source)
        # Counting writes the block below the layer of the mean, which is not saved where it is frozen.
        may_start = config.probe and is_new and can_be_cut(data.train) and config.layers != 1
        self.probed_output = output_of(classifier) if may_start and reads_mean(classifier) else None
        """The output that starts with the weights of a linear probe of the mean, if it does."""
        rates = rates_of(classifier, config, is_new=is_new and self.probed_output is None)
        self.optimizer = _optimizer(self.parameters, rates, config)
        self.device = next(classifier.parameters()).device
        self.autocast = config.precision == "bf16" or (
            config.precision == "auto" and not why_not_bf16(classifier, PAYS_TRAINING)
        )
        self.steps = config.steps_for(len(data.train))
        self.state = State()

    def prepare(self, checked: Preflight) -> Preflight:
        """Give the preflight of the pairs with a warning about the network, if there is one. Raises
        TrainingError for a disk that is too small."""
        self.preflight = checked
        if note := reads_untrained(self.source, self.config, self.classifier):
            findings = (*self.preflight.findings, Finding("warning", note))
            self.preflight = replace(self.preflight, findings=findings)
        if full := room_on_disk(self.work, sum(p.numel() for p in self.classifier.parameters())):
            raise TrainingError(full)
        draw = np.random.default_rng(self.config.seed)
        count = min(len(self.data.validation), self.config.validation_pairs)
        self.watched = np.sort(draw.permutation(len(self.data.validation))[:count])
        self.targets, self.strengths = (
            torch.tensor(values, device=self.device, dtype=torch.float32)
            for values in (
                [pair.target for pair in self.data.train],
                [pair.strength or 0.0 for pair in self.data.train],
            )
        )
        self.weights_of_pairs = torch.tensor(
            weights_by_length(self.data.train, self.config.length_balance),
            device=self.device,
            dtype=torch.float32,
        )
        return self.preflight

    def start_at_probe(self, output: nn.Linear) -> None:
        """Fit a linear probe to what the output reads, and give the output its weights. Raises Stopped."""
        chosen = probed_pairs(len(self.data.train), self.config)
        sides = [side for index in chosen for side in self.encoded["train"][index]]
        counted = count_tokens(self.classifier, sides)
        level_rows(self.classifier, sides)
        rows = np.empty((len(chosen), 2, output.in_features))
        place_of = {index: place for place, index in enumerate(chosen)}
        self.network.eval()
        for part in self.micro_batches(chosen):
            both = [self.encoded["train"][index] for index in part]
            order = longest_first([side for pair in both for side in pair])
            raise_if_stopped(self.report, self.config, len(self.data.train))
            with torch.no_grad():
                read = read_by(output, self.network, partial(self.rewards, both))
            in_turn = read[torch.as_tensor(np.argsort(order), device=self.device)].double().cpu().numpy()
            rows[[place_of[index] for index in part]] = in_turn.reshape(len(part), 2, -1)
        pairs = [self.data.train[index] for index in chosen]
        start_at_probe(output, pairs, rows.reshape(2 * len(chosen), -1), counted=counted)

    def train(self) -> None:
        """Step until the last step, the end of patience, or the time limit."""
        if not self.state.measured:
            if self.probed_output is not None:
                self.start_at_probe(self.probed_output)
            self.tell(None, self.timed(self.measure))
        every = max(1, self.steps // self.config.evaluations)
        saved = self.clock()
        while self.ended_by is None:
            started = self.clock()
            loss = self.timed(lambda: self.step(self.state.step))
            self.state.step += 1
            step = self.state.step
            self.state.curve.append([step, loss, self.config.rate_at(step - 1, self.steps)])
            self.check_time()
            due = step % every == 0 or step in (self.steps, self.config.stop_after, self.state.out_of_time_at)
            measured = self.timed(self.measure) if due else None
            self.tell(self.clock() - started, measured)
            if measured or self.clock() - saved > self.config.save_seconds:
                self.save()
                saved = self.clock()
        if self.state.measured[-1]["step"] < self.state.step:
            # The run was killed at its time limit, before the last measurement.
            self.tell(None, self.timed(self.measure))

    def timed(self, work: Callable[[], T]) -> T:
        """The result of `work`; its seconds count for the run."""
        started = self.clock()
        result = work()
        self.state.seconds += self.clock() - started
        return result

    @property
    def ended_by(self) -> EndedBy | None:
        """Why the run has ended; None while it has further steps."""
        state = self.state
        if state.step >= self.steps or state.step == self.config.stop_after:
            return "steps"
        if state.stale() >= (self.config.patience or math.inf):
            return "patience"
        return "time" if state.out_of_time_at is not None else None

    def check_time(self) -> None:
        """End the run at this step if a further step of mean length would exceed the limit.

        The decision is saved at once, with the weights of this step. So a run that is killed later ends at
        this step too, on any machine.
        """
        spent, limit = self.state.seconds, self.config.max_seconds
        if limit and self.ended_by is None and spent + spent / self.state.step > limit:
            self.state.out_of_time_at = self.state.step
            self.save()

    def step(self, number: int) -> float:
        """One optimiser step on one batch, in micro-batches; returns the mean loss."""
        batch = self.batch(number)
        torch.manual_seed((self.config.seed * 1_000_003 + number + 1) % 2**63)
        self.network.train()
        rate = self.config.rate_at(number, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        total = 0.0
        for part in self.micro_batches(batch):
            a, b = self.rewards([self.encoded["train"][index] for index in part])
            where = torch.as_tensor(part, device=self.device)
            of_pairs = preference_loss(a, b, self.targets[where], self.strengths[where], self.config)
            loss = (of_pairs * self.weights_of_pairs[where]).sum() / len(batch)
            loss.backward()
            total += float(loss.detach())
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip)
        if not math.isfinite(total) or not bool(torch.isfinite(norm)):
            raise Diverged(
                f"the loss is {total} at step {number + 1} (learning rate {rate:.2g}); try a lower rate"
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total

    def batch(self, number: int) -> list[int]:
        """Indices of the pairs of a step. Each epoch is a shuffled pass over all pairs, cut into batches."""
        count = len(self.data.train)
        places = np.arange(number * self.config.batch, (number + 1) * self.config.batch)
        orders = {
            epoch: np.random.default_rng([self.config.seed, epoch]).permutation(count)
            for epoch in np.unique(places // count).tolist()
        }
        return [int(orders[place // count][place % count]) for place in places.tolist()]

    def micro_batches(self, batch: Sequence[int], split: str = "train") -> Iterator[list[int]]:
        """Parts of the batch within the token budget, of similar length; a pair's sides stay together."""
        lengths = [[len(side.ids) for side in self.encoded[split][index]] for index in batch]
        padded = self.network.padded
        costs = [2 * max(both) if padded else sum(both) for both in lengths]
        for part in batches(costs, self.config.token_budget, padded=padded):
            yield [batch[place] for place in part]

    def rewards(self, pairs: Sequence[EncodedPair]) -> tuple[Tensor, Tensor]:
        """(N,) rewards of both sides, from one forward pass."""
        sides = [side for both in pairs for side in both]
        order = longest_first(sides)
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=self.autocast and self.network.training
        ):
            sorted_rewards = self.network(*inputs_of([sides[place] for place in order]))
        rewards = sorted_rewards.float()[torch.as_tensor(np.argsort(order), device=self.device)]
        return rewards[0::2], rewards[1::2]

    def margins(self, split: str, chosen: Sequence[int] | None = None) -> Values:
        """(N,) reward of a - reward of b for pairs of a split, in fp32."""
        indices = list(range(len(self.encoded[split]))) if chosen is None else list(chosen)
        place_of = {index: place for place, index in enumerate(indices)}
        margins = np.empty(len(indices))
        self.network.eval()
        with torch.no_grad():
            for part in self.micro_batches(indices, split):
                a, b = self.rewards([self.encoded[split][index] for index in part])
                margins[[place_of[index] for index in part]] = (a - b).double().cpu().numpy()
        return margins

    def measure(self) -> Measured:
        """Score the validation pairs, and save the weights if they are the best so far. The weights of a
        probe are left only for others that beat them by more than a standard error, each at its best
        temperature. On few pairs worse weights often look better, and log-loss falls wherever scores just
        move closer together.
        """
        chosen = self.watched.tolist()
        pairs = [self.data.validation[index] for index in chosen]
        margins = self.margins("validation", chosen)
        if not np.isfinite(margins).all():
            raise Diverged(
                f"the model answers {margins.min()} after step {self.state.step}; try a lower rate"
            )
        outcomes = np.array([pair.target for pair in pairs])
        loss = log_loss(margins, outcomes, 1.0)
        decided = outcomes != 0.5
        right = right_shares(margins, outcomes)
        compared, beats_probe = loss, True
        if self.probed_output is not None:
            of_pairs = calibrated_losses(margins, outcomes)
            compared = float(of_pairs.mean())
            if not self.state.measured:
                self.state.first_losses = of_pairs.tolist()
            else:
                groups = [pair.group for pair in pairs]
                beats_probe = clearly_exceed(np.array(self.state.first_losses), of_pairs, groups)
        best = beats_probe and compared < self.state.best_loss()
        measured = Measured(
            self.state.step, loss, float(right[decided].mean()) if decided.any() else None, best
        )
        if best:
            write_tensors(self.work / f"best-{self.state.step}.safetensors", self.weights())
        self.state.measured.append(asdict(measured))
        self.state.losses.append(compared)
        return measured

    def tell(self, seconds: float | None, measured: Measured | None) -> None:
        """Call `report`. If it returns False, save the state and raise Stopped."""
        if self.report is None:
            return
        step, curve = self.state.step, self.state.curve
        seconds_per_step = self.state.seconds / step if step else None
        progress = Progress(
            step=step,
            steps=self.steps,
            loss=curve[-1][1] if curve else None,
            learning_rate=self.config.rate_at(max(0, step - 1), self.steps),
            pairs_per_second=self.config.batch / seconds if seconds and not measured else None,
            eta_seconds=seconds_per_step * (self.steps - step) if seconds_per_step else None,
            measured=measured,
        )
        if self.report(progress) is False:
            self.save()
            raise Stopped(f"stopped after step {step} of {self.steps}")

    def weights(self) -> dict[str, Tensor]:
        return {name: parameter.detach().cpu().contiguous() for name, parameter in self.parameters.items()}

    def save(self) -> None:
        """Write the state as a folder, renamed when it is whole; then delete older states."""
        tensors = {f"weight.{name}": tensor for name, tensor in self.weights().items()}
        for name, parameter in self.parameters.items():
            for key in ("exp_avg", "exp_avg_sq"):
                if parameter in self.optimizer.state:
                    tensors[f"{key}.{name}"] = self.optimizer.state[parameter][key].cpu()
        scratch, whole = self.work / "saving", self.work / f"state-{self.state.step:08}"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        write_tensors(scratch / "tensors.safetensors", tensors)
        facts = {"identity": self.identity, "state": asdict(self.state)}
        (scratch / "state.json").write_text(json.dumps(facts))
        shutil.rmtree(whole, ignore_errors=True)
        os.rename(scratch, whole)
        for old in self.work.glob("state-*"):
            if old != whole:
                shutil.rmtree(old)
        for old in self.work.glob("best-*"):
            if old.name != f"best-{self.state.best_step}.safetensors":
                old.unlink()

    def resume(self) -> None:
        """Continue from the newest whole state, if any."""
        states = sorted(self.work.glob("state-*"))
        if not states:
            return
        facts = json.loads((states[-1] / "state.json").read_text())
        self.state = State(**facts["state"])
        self.state.resumed = True
        tensors = load_file(states[-1] / "tensors.safetensors")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"weight.{name}"])
                if f"exp_avg.{name}" in tensors:
                    self.optimizer.state[parameter] = {
                        "step": torch.tensor(float(self.state.step)),
                        "exp_avg": tensors[f"exp_avg.{name}"].to(self.device),
                        "exp_avg_sq": tensors[f"exp_avg_sq.{name}"].to(self.device),
                    }

    def finish(self, out: Path, energy: Energy) -> Trained:
        """Measure the initial and the best weights on all held-out pairs, and save the checkpoint."""
        held_out = [split for split in ("validation", "test") if self.encoded[split]]
        torch.manual_seed(self.config.seed)
        self.put(trained_parameters(classifier_of(self.source, self.config, self.device)))
        before = {split: self.margins(split) for split in held_out}
        self.put(load_file(self.work / f"best-{self.state.best_step}.safetensors"))
        after = {split: self.margins(split) for split in held_out}
        whole = self.work / "checkpoint"
        shutil.rmtree(whole, ignore_errors=True)
        merge_adapters(self.classifier)
        save_classifier(self.classifier, self.source, whole, str(self.config.template))
        checkpoint = open_checkpoint(whole)
        state = asdict(self.state)
        record = Record(
            manifest_of(
                checkpoint,
                self.source,
                self.data,
                self.config,
                self.preflight,
                {**state, "ended_by": self.ended_by, "planned": self.steps},
                energy.stop(),
                "bf16 autocast, weights in fp32" if self.autocast else "fp32",
                f"{self.device.type}, {torch.get_num_threads()} threads",
            ),
            metrics_of(self.data, {"before": before, "after": after}, state, self.state.best_step),
        )
        write_record(whole, record)
        source = ", ".join(self.data.files) or "pairs in memory"
        learnt.write(whole, learnt.of_training(self.data, base=learnt_by(self.source), source=source))
        for file in whole.iterdir():
            sync(file)
        os.rename(whole, out)
        checkpoint = replace(checkpoint, path=out)
        return Trained(checkpoint, self.state.step, self.state.best_step, self.state.seconds, record)

    def put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])


def weights_by_length(pairs: Sequence[LabelledPair], balance: float) -> list[float]:
    """The weight of each pair in the loss, with mean 1.

    With `balance` 1, pairs that prefer the longer answer weigh as much in all as pairs that prefer the
    shorter one, so that length alone lowers no loss; with 0 every pair has weight 1. Ties, pairs of equal
    length and sets with one kind of pair alone keep their weight.
    """
    longer = np.array([np.sign(len(pair.a) - len(pair.b)) * np.sign(pair.target - 0.5) for pair in pairs])
    weights = np.ones(len(pairs))
    kinds = [longer > 0, longer < 0]
    if balance and all(kind.any() for kind in kinds):
        both = sum(int(kind.sum()) for kind in kinds)
        for kind in kinds:
            weights[kind] = 1 - balance + balance * both / (2 * int(kind.sum()))
    return [float(weight) for weight in weights]


def _optimizer(
    parameters: Mapping[str, nn.Parameter], shares: Mapping[str, float], config: TrainConfig
) -> torch.optim.AdamW:
    """AdamW without decay of biases and norms, the parameters of one dimension. `shares`: of the run's
    learning rate, by name."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault((shares[name], parameter.dim() > 1), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": params, "weight_decay": config.weight_decay if matrices else 0.0, "share": share}
            for (share, matrices), params in groups.items()
        ],
        lr=config.learning_rate,
        fused=True,
    )
