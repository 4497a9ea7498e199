"""A reward model in seconds: a linear head fitted to pairs on a frozen encoder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import BertForSequenceClassification

from scoring.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from scoring.encode import Encoder
from scoring.engine import batches
from scoring.formats import Pair
from scoring.learnt import Record, texts_of, write
from scoring.model import PackedBert, one_output_classifier, save_classifier
from scoring.probe import fitted
from scoring.train import bradley_terry_loss

Triple = tuple[str, str, str]
"""(prompt text, preferred completion, rejected completion)."""


@dataclass(frozen=True, slots=True)
class HeadFit:
    """A fitted head: its checkpoint, and loss and accuracy on the pairs it was fitted to."""

    checkpoint: Checkpoint
    pairs: int
    loss: float
    accuracy: float


def fit_head(
    source_dir: str | Path,
    pairs: Sequence[Triple],
    out_dir: str | Path,
    *,
    seed: int = 0,
    max_length: int = 512,
    l2: float = 0.3,
    token_budget: int = 4096,
) -> HeadFit:
    """Fit a one-output head to pairs on a frozen encoder, and save an ordinary checkpoint.

    The loss is mean(-log s(w . d / spread)) + l2 |w|^2, with s the logistic function, d (N, H) the
    differences of pooled features, and spread (H,) their RMS. So l2 means the same for every encoder. The
    loss is convex: `seed` only decides a pooler without weights in the source. `out_dir` appears whole or not
    at all. Raises ValueError without pairs, and CheckpointError for a bad source or an existing `out_dir`.
    """
    source, out = Path(source_dir), Path(out_dir)
    if not pairs:
        raise ValueError("there are no pairs to train a head on")
    if out.exists():
        raise CheckpointError(f"{out} exists already; choose a new folder")
    torch.manual_seed(seed)
    classifier = _classifier_on(source)
    texts = [(prompt, text) for prompt, *both in pairs for text in both]
    features = pooled(classifier, Encoder.open(source, max_length), texts, token_budget)
    difference = features[0::2] - features[1::2]  # (N, H)
    spread = difference.square().mean(0).sqrt().clamp(min=1e-6)
    variance = 1 / (2 * len(pairs) * l2)
    line = fitted((difference / spread).double().numpy(), np.ones(len(pairs)), variance)
    weight = torch.from_numpy(line).float() / spread
    margin = difference @ weight
    head = classifier.get_submodule("classifier")
    head.load_state_dict({"weight": weight[None], "bias": -(features @ weight).mean()[None]})
    record = Record({"trained": texts_of(prompt for prompt, *_ in pairs)}, source="labelled pairs")
    _save(classifier, source, out, record)
    loss = bradley_terry_loss(margin, torch.zeros_like(margin)).mean()
    return HeadFit(open_checkpoint(out), len(pairs), float(loss), float((margin > 0).float().mean()))


def _classifier_on(source: Path) -> BertForSequenceClassification:
    model = one_output_classifier(source)
    if not isinstance(model, BertForSequenceClassification):
        raise CheckpointError(f"{source} is a {type(model).__name__}; only a BERT encoder can get a head")
    model.eval()
    return model


def pooled(
    classifier: BertForSequenceClassification, encode: Encoder, texts: Sequence[Pair], budget: int
) -> Tensor:
    """(N, H) pooled features of N pairs, in input order: the input of the head."""
    ids = [encoded.ids for encoded in encode(texts)]
    network = PackedBert(classifier, torch.float32).eval()
    features = torch.empty(len(ids), classifier.config.hidden_size)
    with torch.no_grad():
        for batch in batches([len(text) for text in ids], budget, padded=False):
            features[batch] = network.pooled([ids[index] for index in batch])
    return features


def _save(classifier: BertForSequenceClassification, source: Path, out: Path, learnt: Record) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        whole = Path(scratch) / "checkpoint"
        save_classifier(classifier, source, whole)
        write(whole, learnt)
        os.rename(whole, out)
