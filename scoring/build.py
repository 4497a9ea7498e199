"""The fastest network for a classifier."""

from __future__ import annotations

import copy

import torch
from transformers import BertForSequenceClassification, PreTrainedModel

from scoring.model import Network, PackedBert, Padded, reads_padding, stretches_positions
from scoring.unpadded import unpadded


def build_network(classifier: PreTrainedModel, dtype: torch.dtype, *, uses_up: bool = False) -> Network:
    """The fastest network equivalent to `classifier`, with matrix products in `dtype`.

    It is in eval mode, on the same device, and may share tensors with `classifier`. `uses_up`: the classifier
    is not needed any more, and a large one gives up its weights as they are laid out anew.
    """
    if isinstance(classifier, BertForSequenceClassification) and classifier.config.hidden_act == "gelu":
        return PackedBert(classifier.float(), dtype).eval()
    if network := unpadded(classifier, dtype, uses_up=uses_up):
        return network
    by_length = reads_padding(classifier) or stretches_positions(classifier)
    if dtype != classifier.dtype:
        return Padded(copy.deepcopy(classifier), by_length=by_length).to(dtype).eval()
    return Padded(classifier, by_length=by_length).eval()


def leave_file(network: Network) -> None:
    """Copy the parameters out of the checkpoint's memory-mapped file.

    A single mapped tensor keeps the whole file in memory, and the network has most weights in a layout of its
    own.
    """
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()
