"""Where a new head begins: at a straight line over what it reads, above the layer where such a line is best.

The layers of an encoder don't know the same things: lower ones tell how a text is written, upper ones what it
is about (Tenney and others, 1905.05950). Which of the two people went by depends on the pairs, and a few
hundred pairs can't turn one into the other. So the means of the tokens after each layer are probed: a line
over them is fitted to the training pairs, and tested on prompt groups that it was not fitted to. The layers
above the best one are left out. The head then starts at the line over what it reads itself, and all of it is
trained further (linear probing, then fine-tuning: Kumar and others, 2202.10054).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import PreTrainedModel

from scoring.calibrate import log_loss
from scoring.encode import Encoded
from scoring.engine import batches
from scoring.pairs import LabelledPair
from scoring.preflight import EncodedPair

FOLDS = 5
PENALTIES = (0.0001, 0.0005, 0.002, 0.008)
"""Variances of the normal prior of a line's weights, on features of variance 1."""
TOKENS = 2048
"""In one batch."""
LENGTH = 4.0
"""How much louder the length is than one of the other features, which it would drown among."""

Values = npt.NDArray[np.float64]


def best_depth(
    classifier: PreTrainedModel, pairs: Sequence[LabelledPair], encoded: Sequence[EncodedPair]
) -> int | None:
    """The number of layers after which a line over the mean of the tokens, and their number, orders pairs
    best that it was not fitted to, by log-loss. None where the pairs are of one prompt group."""
    targets, groups = targets_of(pairs), [pair.group for pair in pairs]
    folds = folds_of(groups)
    if folds is None:
        return None
    sides = [side for both in encoded for side in both]
    length = np.log([len(side.ids) for side in sides])
    losses = []
    for means in _means(classifier, sides):
        features = _differences(_scaled(np.column_stack([means, length]), last=LENGTH))
        losses.append(min(held_out_loss(features, targets, folds, penalty) for penalty in PENALTIES))
    return 1 + int(np.argmin(losses))


def start_at_line(output: nn.Linear, pairs: Sequence[LabelledPair], rows: Values, *, counted: bool) -> None:
    """Give the one output the weights of the line that fits the training pairs.

    `rows`: (2 N, H) what the output reads of both sides of the N pairs in turn. `counted`: the first feature
    is the number of tokens (scoring.counting)."""
    targets, groups = targets_of(pairs), [pair.group for pair in pairs]
    folds = folds_of(groups)
    if folds is None:
        return
    scale = 1.0 / np.maximum(rows.std(0), 1e-6)
    if counted:
        scale[0] *= LENGTH
    features = _differences(rows * scale)
    penalty = min(PENALTIES, key=lambda penalty: held_out_loss(features, targets, folds, penalty))
    line = fitted(features, targets, penalty) * scale
    with torch.no_grad():
        output.weight.copy_(torch.from_numpy(line)[None].to(output.weight))
        if output.bias is not None:  # pairs don't decide it; the mean score is 0
            output.bias.fill_(-float((rows @ line).mean()))


def targets_of(pairs: Sequence[LabelledPair]) -> Values:
    return np.array([pair.target for pair in pairs])


def folds_of(groups: Sequence[str]) -> npt.NDArray[np.int64] | None:
    """(N,) the fold of each pair: those of one group share a fold. None for a single group."""
    names, places = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        return None
    return np.random.default_rng(0).permutation(len(names))[places] % FOLDS


def held_out_loss(features: Values, targets: Values, folds: npt.NDArray[np.int64], penalty: float) -> float:
    """The mean log-loss in nats of lines on the folds that they were not fitted to."""
    margins = np.zeros(len(targets))
    for fold in np.unique(folds):
        held = folds == fold
        margins[held] = features[held] @ fitted(features[~held], targets[~held], penalty)
    return log_loss(margins, targets, 1.0)


def fitted(features: Values, targets: Values, penalty: float) -> Values:
    """(H,) the most likely weights w, where the margin of a pair is w x (its (H,) features), its outcome
    follows Bradley and Terry, and each weight has a normal prior of variance `penalty`."""
    from scipy.optimize import minimize  # takes a second to import
    from scipy.special import expit

    def loss(weights: Values) -> tuple[float, Values]:
        margins = features @ weights
        total = float(np.logaddexp(0, margins).sum() - targets @ margins + weights @ weights / (2 * penalty))
        return total, features.T @ (expit(margins) - targets) + weights / penalty

    return cast("Values", minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B").x)


def read_by(output: nn.Linear, network: nn.Module, work: Callable[[], Any]) -> torch.Tensor:
    """(B, H) what the output reads while the network does the work. The network may have parts of its own, as
    long as they share the weights."""
    (reader,) = {part for part in network.modules() if getattr(part, "weight", None) is output.weight}
    read: list[torch.Tensor] = []
    hook = reader.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].detach()))
    work()
    hook.remove()
    return torch.cat(read)


def _means(classifier: PreTrainedModel, sides: Sequence[Encoded]) -> Iterator[npt.NDArray[np.float32]]:
    """For each layer the (N, H) means of the tokens after it."""
    found: list[npt.NDArray[np.float32]] = []
    device = next(classifier.parameters()).device
    padding = getattr(classifier.config, "pad_token_id", None) or 0
    was_training = classifier.training
    classifier.eval()
    for part in batches([len(side.ids) for side in sides], TOKENS, padded=True):
        longest = max(len(sides[at].ids) for at in part)
        ids = torch.full((len(part), longest), padding)
        types, mask = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, at in enumerate(part):
            size = len(sides[at].ids)
            ids[row, :size] = torch.from_numpy(sides[at].ids).long()
            mask[row, :size] = 1
            if (given := sides[at].types) is not None:
                types[row, :size] = torch.from_numpy(given).long()
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        if sides[part[0]].types is not None:
            inputs["token_type_ids"] = types.to(device)
        with torch.no_grad():
            _, *states = classifier.base_model(**inputs, output_hidden_states=True).hidden_states
        share = (mask / mask.sum(1, keepdim=True)).to(device)
        for layer, state in enumerate(states):
            means = torch.einsum("bt,bth->bh", share, state).cpu().numpy()
            if layer == len(found):
                found.append(np.empty((len(sides), means.shape[1]), dtype=np.float32))
            found[layer][list(part)] = means
    classifier.train(was_training)
    yield from found


def _scaled(rows: Values, last: float) -> Values:
    scaled: Values = rows / np.maximum(rows.std(0), 1e-6)
    scaled[:, -1] *= last
    return scaled


def _differences(rows: Values) -> Values:
    """(N, H) features of a less those of b, of (2 N, H) rows of both in turn."""
    difference: Values = rows[0::2] - rows[1::2]
    return difference
