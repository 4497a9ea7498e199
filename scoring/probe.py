"""Start a new head at a linear probe, on the layer whose means predict the pairs best.

The layers of an encoder don't know the same things: lower ones tell how a text is written, upper ones what it
is about (Tenney and others, 1905.05950). Which of the two people went by depends on the pairs, and a few
hundred pairs can't turn one into the other. So each layer gets a linear probe: a linear model of the means of
the tokens after it, fitted to the training pairs and tested on prompt groups that it was not fitted to. The
layers above the best one are left out. The head then starts with the weights of a probe of what it reads
itself, and all of it is trained further (linear probing, then fine-tuning: Kumar and others, 2202.10054).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import PreTrainedModel

from scoring.calibrate import losses
from scoring.encode import Encoded
from scoring.engine import batches
from scoring.model import Padded, inputs_of
from scoring.pairs import LabelledPair
from scoring.preflight import EncodedPair

FOLDS = 5
REPEATS = 4
"""Cuts into folds whose losses are averaged: by one cut, chance chooses the layer."""
VARIANCES = (0.00001, 0.0001, 0.0005, 0.002, 0.008)
"""Of the normal prior of a probe's weights, on features of variance 1."""
OF_LENGTH = 1.0
"""Prior variance of the length's weight: wide, so that length counts where other weights shrink to none."""
Values = npt.NDArray[np.float64]
STILL = 1e-3
"""Below this share of its mean, a feature's spread is rounding error and is not scaled up."""


def best_depth(
    classifier: PreTrainedModel,
    pairs: Sequence[LabelledPair],
    encoded: Sequence[EncodedPair],
    token_budget: int,
    may_go_on: Callable[[], object],
    *,
    counted: bool,
) -> int | None:
    """The number of layers after which a probe orders pairs best that it was not fitted to, by log-loss. None
    where the pairs are of one prompt group.

    The probe reads the mean of the tokens and, if it is to be `counted` (scoring.counting), their number.
    `token_budget`: tokens in one forward pass. `may_go_on` is called before each pass and each
    layer, and may raise.
    """
    if not can_be_cut(pairs):
        return None
    cuts, targets = cuts_of([pair.group for pair in pairs]), targets_of(pairs)
    sides = [side for both in encoded for side in both]
    length = np.log([len(side.ids) for side in sides])
    found = []
    for means in _means(classifier, sides, token_budget, may_go_on):
        may_go_on()
        features, _ = _features(np.column_stack([length, means]) if counted else means.astype(np.float64))
        priors = [prior(features, variance, counted=counted) for variance in VARIANCES]
        found.append(min(held_out_losses(features, targets, cuts, each).mean() for each in priors))
    return 1 + int(np.argmin(found))


def start_at_probe(output: nn.Linear, pairs: Sequence[LabelledPair], rows: Values, *, counted: bool) -> None:
    """Give the one output the weights of the probe that fits the training pairs, which `can_be_cut`.

    `rows`: (2 N, H) what the output reads of both sides of the N pairs in turn. `counted`: the first feature
    is the number of tokens (scoring.counting)."""
    groups = [pair.group for pair in pairs]
    cuts, targets = cuts_of(groups), targets_of(pairs)
    features, spread = _features(rows)
    priors = [prior(features, variance, counted=counted) for variance in VARIANCES]
    candidates = [held_out_losses(features, targets, cuts, each) for each in priors]
    weights = fitted(features, targets, priors[narrowest_as_good(candidates, groups)]) / spread
    with torch.no_grad():
        output.weight.copy_(torch.from_numpy(weights)[None].to(output.weight))
        if output.bias is not None:  # pairs don't decide it; the mean score is 0
            output.bias.fill_(-float((rows @ weights).mean()))


def targets_of(pairs: Sequence[LabelledPair]) -> Values:
    return np.array([pair.target for pair in pairs])


def can_be_cut(pairs: Sequence[LabelledPair]) -> bool:
    """Whether the pairs have two prompt groups or more, so that a probe can be tested on some."""
    return len({pair.group for pair in pairs}) > 1


def cuts_of(groups: Sequence[str]) -> list[npt.NDArray[np.int64]]:
    """REPEATS times the (N,) fold of each pair: those of one group share a fold."""
    names, places = np.unique(groups, return_inverse=True)
    return [np.random.default_rng(cut).permutation(len(names))[places] % FOLDS for cut in range(REPEATS)]


def prior(features: Values, variance: float, *, counted: bool) -> Values:
    """(H,) the variance of each weight's prior. `counted`: the first feature is the length."""
    variances = np.full(features.shape[1], variance)
    if counted:
        variances[0] = OF_LENGTH
    return variances


def held_out_losses(
    features: Values, targets: Values, cuts: Sequence[npt.NDArray[np.int64]], variances: Values
) -> Values:
    """(N,) the log-loss of each pair in nats by probes that were not fitted to its fold, averaged over the
    cuts."""
    total = np.zeros(len(targets))
    for folds in cuts:
        margins = np.zeros(len(targets))
        for fold in np.unique(folds):
            held = folds == fold
            margins[held] = features[held] @ fitted(features[~held], targets[~held], variances)
        total += losses(margins, targets)
    return total / len(cuts)


def narrowest_as_good(candidates: Sequence[Values], groups: Sequence[str]) -> int:
    """The place of the first of some priors, from narrow to wide, whose losses don't clearly exceed those of
    the best. `candidates`: the (N,) losses of each."""
    best = min(candidates, key=lambda found: float(found.mean()))
    return next(place for place, found in enumerate(candidates) if not clearly_exceed(found, best, groups))


def clearly_exceed(found: Values, other: Values, groups: Sequence[str]) -> bool:
    """Whether the mean of (N,) losses exceeds that of others by more than one standard error of the
    difference: after Breiman and others, Classification and regression trees, 1984, section 3.4.3, who take
    the error of the best one itself. Pairs of one group count as one draw: one alone has no error to go by,
    and shows nothing."""
    excess = found - other
    names, places = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return False
    of_groups = np.bincount(places, excess - excess.mean())
    variance = np.square(of_groups).sum() * len(names) / (len(names) - 1)
    return bool(excess.mean() > np.sqrt(variance) / len(excess))


def fitted(features: Values, targets: Values, variances: float | Values) -> Values:
    """(H,) the most likely weights w, where the margin of a pair is w x (its (H,) features), its outcome
    follows Bradley and Terry, and each weight has a normal prior of the given variance."""
    from scipy.optimize import minimize  # takes a second to import
    from scipy.special import expit

    # In units of the prior's spread all weights are of one size, and few steps are needed.
    spread = np.sqrt(np.broadcast_to(variances, features.shape[1]))
    scaled = features * spread

    def loss(weights: Values) -> tuple[float, Values]:
        margins = scaled @ weights
        total = float(losses(margins, targets).sum() + weights @ weights / 2)
        return total, scaled.T @ (expit(margins) - targets) + weights

    found = minimize(loss, np.zeros(len(spread)), jac=True, method="L-BFGS-B").x
    return cast("Values", found * spread)


def read_by(output: nn.Linear, network: nn.Module, work: Callable[[], Any]) -> torch.Tensor:
    """(B, H) what the output reads while the network does the work. The network may have parts of its own, as
    long as they share the weights."""
    (reader,) = {part for part in network.modules() if getattr(part, "weight", None) is output.weight}
    read: list[torch.Tensor] = []
    hook = reader.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].detach()))
    work()
    hook.remove()
    return torch.cat(read)


def _means(
    classifier: PreTrainedModel,
    sides: Sequence[Encoded],
    token_budget: int,
    may_go_on: Callable[[], object],
) -> Iterator[npt.NDArray[np.float32]]:
    """For each layer the (N, H) means of the tokens after it."""
    found: list[npt.NDArray[np.float32]] = []
    padded = Padded(classifier)
    was_training = classifier.training
    classifier.eval()
    for part in batches([len(side.ids) for side in sides], token_budget, padded=True):
        may_go_on()
        ids, types, _ = inputs_of([sides[at] for at in part])
        inputs = padded.inputs(ids, types)
        with torch.no_grad():
            _, *states = classifier.base_model(**inputs, output_hidden_states=True).hidden_states
        mask = inputs["attention_mask"]
        share = mask / mask.sum(1, keepdim=True)
        for layer, state in enumerate(states):
            means = torch.einsum("bt,bth->bh", share, state).cpu().numpy()
            if layer == len(found):
                found.append(np.empty((len(sides), means.shape[1]), dtype=np.float32))
            found[layer][list(part)] = means
    classifier.train(was_training)
    yield from found


def _features(rows: Values) -> tuple[Values, Values]:
    """((N, H) features of a less those of b, (H,) what they were divided by), of (2 N, H) rows of both in
    turn."""
    spread: Values = np.maximum(rows.std(0), STILL * np.abs(rows.mean(0)) + 1e-6)
    return (rows[0::2] - rows[1::2]) / spread, spread
