"""The network for training: packed as in scoring, with gradients and dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint
from transformers import BertForSequenceClassification, PreTrainedModel
from transformers.models.bert.modeling_bert import BertLayer, BertPooler

from scoring.encode import Ids
from scoring.model import Borders, Network, Padded, Spans, Types, attend_by_products, runs_of
from scoring.unpadded import unpadded


def trainable(classifier: PreTrainedModel, *, checkpointing: bool = False) -> Network:
    """The network that trains exactly the parameters of `classifier`: N texts -> (N,) rewards.

    A BERT on a CPU and families that allow it run without padding. Other models are padded to the longest
    text of a batch. With `checkpointing`, only the input of each layer is kept for the gradient, and the rest
    computed again (Chen and others, 1604.06174): the same weights, less memory, a third more time.
    """
    on_cpu = next(classifier.parameters()).device.type == "cpu"
    if on_cpu and isinstance(classifier, BertForSequenceClassification):
        return TrainableBert(classifier, checkpointing=checkpointing)
    if checkpointing:
        # transformers 6 keeps the second name alone.
        enable = getattr(classifier, "activation_checkpointing_enable", None)
        (enable or classifier.gradient_checkpointing_enable)()
        return Padded(classifier)  # computing again, in the backward pass, knows no layout
    return unpadded(classifier) or Padded(classifier)


class TrainableBert(Network):
    """A BERT classifier over packed tokens, equivalent to `transformers` without the padding.

    As in scoring, attention stays within each text, and the last layer is computed for [CLS] alone.
    """

    padded = False

    def __init__(self, classifier: BertForSequenceClassification, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.classifier = classifier
        self.checkpointing = checkpointing

    def forward(self, texts: Sequence[Ids], types: Types = None, borders: Borders = None) -> Tensor:
        """N texts of any length -> (N,) logits."""
        bert = self.classifier.bert
        *layers, last = cast("list[BertLayer]", list(bert.encoder.layer))
        spans = Spans.of([len(text) for text in texts], self.classifier.classifier.weight.device)
        hidden = self.embed(texts, types)  # (T, H)
        for layer in layers:
            if self.checkpointing and self.training:
                hidden = cast("Tensor", checkpoint(self.layer, layer, hidden, spans, use_reentrant=False))
            else:
                hidden = self.layer(layer, hidden, spans)
        first = hidden[spans.starts]  # (N, H)
        first = _finish(last, first, self.attend(last, first, hidden, spans))
        pooled = torch.tanh(cast("BertPooler", bert.pooler).dense(first))
        logits: Tensor = self.classifier.classifier(self.classifier.dropout(pooled))  # (N, 1)
        return logits.squeeze(-1).float()

    def layer(self, layer: BertLayer, hidden: Tensor, spans: Spans) -> Tensor:
        """(T, H) -> (T, H)."""
        return _finish(layer, hidden, self.attend(layer, hidden, hidden, spans))

    def embed(self, texts: Sequence[Ids], types: Types) -> Tensor:
        """(T, H). Without types, every token has type 0, as in the seed's training."""
        tables = self.classifier.bert.embeddings
        ids = torch.from_numpy(np.concatenate(texts)).long()  # (T,)
        positions = torch.from_numpy(np.concatenate([np.arange(len(text)) for text in texts]))
        hidden = tables.word_embeddings(ids) + tables.position_embeddings(positions)
        of_types: Tensor = tables.token_type_embeddings.weight
        kinds = of_types[0] if types is None else of_types[torch.from_numpy(np.concatenate(types)).long()]
        normed: Tensor = tables.dropout(tables.LayerNorm(hidden + kinds))
        return normed

    def attend(self, layer: BertLayer, queries: Tensor, hidden: Tensor, spans: Spans) -> Tensor:
        """softmax(q k' / sqrt(d)) v within each text: rows of `queries`, (T, H) or (N, H), mixed."""
        attention = layer.attention.self
        heads, size = attention.num_attention_heads, attention.attention_head_size
        rate = attention.dropout.p if self.training else 0.0
        query, key, value = (
            rows.unflatten(-1, (heads, size))
            for rows in (attention.query(queries), attention.key(hidden), attention.value(hidden))
        )
        # With dropout, a CPU's kernel computes the same products, with more copies between them.
        attended = (
            attend_by_products(q, k, v, rate) if rate else scaled_dot_product_attention(q, k, v)
            for q, k, v in runs_of(query, key, value, spans)
        )
        return torch.cat([part.transpose(1, 2).flatten(0, 1).flatten(1) for part in attended])


def _finish(layer: BertLayer, hidden: Tensor, attended: Tensor) -> Tensor:
    """The rest of the layer after attention, (rows, H) of each -> (rows, H)."""
    mixed: Tensor = layer.attention.output(attended, hidden)
    output: Tensor = layer.output(layer.intermediate(mixed), mixed)
    return output
