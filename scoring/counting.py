"""A new head over the mean that counts tokens before it has learnt anything else.

Which answer people prefer often goes with its length, and the mean of a text's tokens hardly tells how many
there were: on a few hundred pairs, a training finds that out too late or not at all. Ordinary weights can
count, in two steps:

1. A direction u, found by least squares, is about 1 on the first token of a text and 0 on all others. Three
   units of the last layer's block make that exact in one place of the row: one is above 0 for the first token
   alone, and two take away what stood there (gelu(x) - gelu(-x) = x).
2. One head of the attention that takes the mean (scoring.heads) has logits s on the first token and 0 on the
   others. It gives the first token a share of e^s / (e^s + n - 1) of n tokens; its values sum to minus that.

A linear probe of the mean needs the mean itself, too. The head reads it through a norm, which divides each
row by its own spread, and often through tanh, which bends what is large. So two places of the row are made so
wide that all others are divided by about one number, and are small.

All of it is trained further, and plain `transformers` scores such a checkpoint alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from scoring.encode import Encoded
from scoring.heads import LOUDER, Counting, counting, norm_of_mean

READ = 64
"""Texts by which the first token is told from the others."""
RIDGE = 0.1
PLACE = 0
"""Of the number in a row."""
FIRST, OTHER = 0.8, 0.46
"""First tokens must be above the one and all others below the other: the unit says nothing below one half."""
STEP = 40.0
"""How steep the unit is that tells the first token."""
LOUD = 30.0
"""What that unit adds to the row of the first token."""
OVER_OTHERS = 4.0
"""How much louder the number is than others of the row: the first token's own row is added to it."""
WIDE = (1, 2)
"""The places of a row that are made wide: one far above 0, the other as far below."""
WIDER = 8.0
"""Their spread over that of all others."""


def count_tokens(classifier: PreTrainedModel, texts: Sequence[Encoded]) -> bool:
    """Make what a new head over the mean reads begin with the number of tokens, which falls as it rises.

    READ of the texts are read. False, and nothing is changed, for a family whose layers can't count, and for
    a network in which first tokens don't stand out."""
    place = counting(classifier)
    if place is None or not texts:
        return False
    chosen = _some(texts)
    with torch.no_grad():
        found = _first_token([block for block, _ in _states(classifier, chosen, place.up, place.norm)])
        if found is None:
            return False
        _mark_first(place, *found)
        _count(place, [rows for _, rows in _states(classifier, chosen, place.up, place.norm)])
    return True


def level_rows(classifier: PreTrainedModel, texts: Sequence[Encoded]) -> None:
    """Make the norm of the mean's layer divide every text by about one number, by READ of the texts. Nothing
    is changed for a family that takes the mean otherwise."""
    place = norm_of_mean(classifier)
    if place is None or not texts:
        return
    with torch.no_grad():
        rows = torch.stack([read[0] for read, _ in _states(classifier, _some(texts), *[place.norm] * 2)])
        above, below = WIDE
        wide = WIDER * float(rows.std(1).mean()) * math.sqrt(rows.shape[1] / 2)
        place.product.bias[above] += wide
        place.product.bias[below] -= wide


def _some(texts: Sequence[Encoded]) -> list[Encoded]:
    return [texts[at] for at in np.linspace(0, len(texts) - 1, min(READ, len(texts))).astype(int)]


def _states(
    classifier: PreTrainedModel, texts: Sequence[Encoded], reader: nn.Module, giver: nn.Module
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each text what one part of the network reads, and what another gives: (n, H) both."""
    device, was_training = next(classifier.parameters()).device, classifier.training
    read: list[Tensor] = []
    given: list[Tensor] = []
    hooks = [
        reader.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0])),
        giver.register_forward_hook(lambda _, __, output: given.append(output)),
    ]
    classifier.eval()
    for text in texts:
        inputs = {"input_ids": torch.from_numpy(text.ids).long()[None].to(device)}
        if text.types is not None:
            inputs["token_type_ids"] = torch.from_numpy(text.types).long()[None].to(device)
        classifier(**inputs)
        yield read.pop()[0].double(), given.pop()[0].double()
    classifier.train(was_training)
    for hook in hooks:
        hook.remove()


def _first_token(states: Sequence[Tensor]) -> tuple[Tensor, float] | None:
    """((H,) direction u, offset c) of least squares: u h + c is 1 on first tokens and 0 on all others, which
    weigh as much in all as the first tokens do. None where some token is in doubt."""
    tokens = torch.cat(list(states))
    first = torch.cat([torch.eye(1, len(text), dtype=torch.float64)[0] for text in states]).to(tokens)
    weights = torch.where(first > 0, 0.5 / first.sum(), 0.5 / (1 - first).sum()) * len(first)
    inputs = torch.cat([tokens, torch.ones_like(tokens[:, :1])], 1)
    weighted = (inputs * weights[:, None]).T
    ridge = RIDGE * torch.eye(inputs.shape[1]).to(tokens)
    solved = torch.linalg.solve(weighted @ inputs + ridge, weighted @ first)
    answers = inputs @ solved
    if answers[first > 0].min() < FIRST or answers[first == 0].max() > OTHER:
        return None
    return solved[:-1], float(solved[-1])


def _mark_first(place: Counting, direction: Tensor, offset: float) -> None:
    """Write the units of the block that matter least anew: the row's PLACE is LOUD on the first token, and 0
    on all others, before the norm."""
    up, down = place.up, place.down
    least = down.weight.square().sum(0) * up.weight.square().sum(1)
    tells, plus, minus = torch.argsort(least)[:3].tolist()
    down.weight[PLACE] = 0.0
    down.weight[:, [tells, plus, minus]] = 0.0
    down.bias[PLACE] = 0.0
    up.weight[[tells, plus, minus]] = 0.0
    up.bias[[tells, plus, minus]] = 0.0
    up.weight[tells] = (STEP * direction).to(up.weight)
    up.bias[tells] = STEP * (offset - 0.5)
    up.weight[plus, PLACE], up.weight[minus, PLACE] = 1.0, -1.0
    down.weight[PLACE, tells] = LOUD / (0.5 * STEP)
    down.weight[PLACE, plus], down.weight[PLACE, minus] = -1.0, 1.0
    place.norm.weight[PLACE], place.norm.bias[PLACE] = 1.0, 0.0


def _count(place: Counting, states: Sequence[Tensor]) -> None:
    """Write the head of attention, by the (n, H) rows of some texts that it will read."""
    first = float(torch.stack([rows[0, PLACE] for rows in states]).mean())
    logit = math.log(float(np.median([len(rows) for rows in states])))
    marks = [rows[:, PLACE] / first for rows in states]
    shares = torch.stack([torch.softmax(logit * mark, 0) @ mark for mark in marks])
    sums = torch.stack([rows[0] + LOUDER * rows.mean(0) for rows in states])
    size = OVER_OTHERS * float(sums.std(1).mean()) / (LOUDER * max(float(shares.std()), 1e-3))
    # The query is the same for every token; the product is divided by the root of a head's width.
    place.query.bias[PLACE] = logit * math.sqrt(place.width)
    place.key.weight[PLACE, PLACE] = 1.0 / first
    place.value.weight[PLACE] = 0.0
    place.value.weight[PLACE, PLACE] = -size / first
    place.value.bias[PLACE] = size * float(shares.mean()) - first / LOUDER
    place.dense.weight[PLACE, PLACE] = 1.0 / OVER_OTHERS
