"""The fastest network for a classifier."""

from __future__ import annotations

import copy

import torch
from torch import nn
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
        return Padded(_rounded(classifier, dtype), by_length=by_length).eval()
    return Padded(classifier, by_length=by_length).eval()


def _rounded(classifier: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A copy in `dtype`. The frequencies of rotary positions stay as they are, as `from_pretrained` leaves
    them: rounded to bf16, distant positions turn by another angle."""
    rounded = nn.Module.to(copy.deepcopy(classifier), dtype)
    for name, module in rounded.named_modules():
        own = classifier.get_submodule(name)
        for key, buffer in own.named_buffers(recurse=False):
            if "inv_freq" in key:
                setattr(module, key, buffer.clone())
    return rounded


def leave_file(network: Network) -> None:
    """Copy the parameters out of the checkpoint's memory-mapped file.

    A single mapped tensor keeps the whole file in memory, and the network has most weights in a layout of its
    own.
    """
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()
