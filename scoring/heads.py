"""What of a classifier is new, what of it is trained, and at which rates.

An encoder of sentences has a pooler over [CLS] that nobody trained, and says what a text means by the mean of
its tokens. `transformers` has no BERT classifier that pools so, but a layer of the ordinary kind can: with
queries and keys of zero its attention is uniform, so that the first row of its output is the mean of all
tokens, normalised. Such a checkpoint scores alike in `transformers`, here and anywhere else.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, cast

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from scoring.checkpoint import CheckpointError
from scoring.config import TrainConfig, TrainingError
from scoring.model import quietly

POOLING = "1_Pooling/config.json"
"""Where sentence-transformers says how it pools."""
LOUDER = 16.0
"""The mean's weight beside the first token's own row, which the layer adds to it."""
OUTPUTS = {"classifier.weight", "classifier.out_proj.weight", "score.weight"}
"""Names of the weights of the one output, by family."""
_IN_LAYER = re.compile(r"(?:^|[._])(?:layers?|groups|h|blocks?)\.(\d+)\.")
_EMBEDDING = re.compile(r"embed|\bwte\b|\bwpe\b|tok_")


def dropout_rates(source: Path) -> list[str]:
    """The settings of the network in a folder that are rates of dropout: each family names its own."""
    with quietly():
        known = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    return [name for name in known.to_dict() if "dropout" in name or name.endswith("_pdrop")]


def has_head(source: Path) -> bool:
    """Whether the folder is a sequence classifier, and no bare encoder."""
    architectures = json.loads((source / "config.json").read_text()).get("architectures") or []
    return any("SequenceClassification" in name for name in architectures)


def has_learnt(source: Path) -> bool:
    """Whether the folder has a head that tells texts apart. One that gives every text 0 has learnt nothing,
    though it lies in the file: it is as new as a missing one."""
    if not has_head(source):
        return False
    outputs = list(_outputs(source))
    return not outputs or any(bool(output.any()) for output in outputs)


def wants_mean(source: Path, config: TrainConfig, classifier: PreTrainedModel) -> bool:
    """Whether a new head should read the mean of the tokens: where the config says so; with "auto", where the
    folder's head does, or where the encoder has no trained pooler: sentence-transformers pools it by the
    mean, its file holds no pooler, or the family's classifier has one of its own."""
    if has_learnt(source):
        return False
    if config.pooling != "auto":
        return config.pooling == "mean"
    if takes_mean(classifier):
        return True
    pooling = source / POOLING
    if pooling.is_file():
        return bool(json.loads(pooling.read_text()).get("pooling_mode_mean_tokens"))
    has_pooler = getattr(classifier.base_model, "pooler", None) is not None
    return not has_pooler or not any("pooler" in name for name in _tensors(source))


def _tensors(source: Path) -> Iterator[str]:
    for file in source.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            yield from tensors.keys()


def _outputs(source: Path) -> Iterator[torch.Tensor]:
    for file in source.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            for name in OUTPUTS & set(tensors.keys()):
                yield tensors.get_tensor(name)


def pool_by_mean(classifier: PreTrainedModel) -> bool:
    """Make the head read the mean of the tokens, and start at zero: every text scores 0. False, and nothing
    is changed, for a family that has no such layers (decoders read their last token)."""
    if getattr(classifier.config, "classifier_pooling", None):  # ModernBERT pools by its config
        classifier.config.classifier_pooling = "mean"
        _zero(cast("nn.Linear", classifier.get_submodule("classifier")))
        return True
    found = _layers(classifier)
    if found is None:
        return False
    layers, names = found
    # The config says how attention is computed, so this layer must see it change.
    layer = copy.deepcopy(layers[-1], {id(classifier.config): classifier.config})
    _make_uniform(layer, names)
    layers.append(layer)
    classifier.config.num_hidden_layers += 1
    dense, head = cast("tuple[nn.Linear, nn.Linear]", _head(classifier))
    with torch.no_grad():
        nn.init.eye_(dense.weight)
        dense.bias.fill_(SHIFT if classifier.config.model_type in RECTIFIED else 0.0)
    _zero(head)
    return True


def takes_mean(classifier: PreTrainedModel) -> bool:
    """Whether the last layer takes the mean of the tokens, and has learnt nothing else."""
    found = _layers(classifier)
    if found is None:
        return False
    layers, names = found
    parts = [cast("nn.Linear", layers[-1].get_submodule(name)) for name in (names.query, names.key)]
    return not any(bool(part.weight.any()) for part in parts)


def reads_mean(classifier: PreTrainedModel) -> bool:
    """Whether the head reads the mean of the tokens, by a layer that takes it or by a setting of its family,
    and has learnt nothing yet."""
    return takes_mean(classifier) or getattr(classifier.config, "classifier_pooling", None) == "mean"


def keep_layers(classifier: PreTrainedModel, count: int) -> None:
    """Leave out the layers above the first `count`. Raises TrainingError for a family whose layers are not
    stacked so, and for a network of fewer."""
    found = _layers(classifier)
    if found is None:
        raise TrainingError(f"depth does not work for a {type(classifier).__name__}")
    layers, _ = found
    if count > len(layers):
        raise TrainingError(f"depth is {count}, but the model has {len(layers)} layers")
    del layers[count:]
    classifier.config.num_hidden_layers = count


def has_layers(classifier: PreTrainedModel) -> bool:
    """Whether the classifier is an encoder of which layers can be left out."""
    return _layers(classifier) is not None


def can_count(classifier: PreTrainedModel) -> bool:
    """Whether the layers of the classifier's family can count tokens (scoring.counting)."""
    found = _layers(classifier)
    return found is not None and found[1].up is not None


def output_of(classifier: PreTrainedModel) -> nn.Linear | None:
    """The layer of an encoder that gives the one output; None for decoders, which read their last token."""
    for name in ("classifier.out_proj", "classifier"):
        output = _part(classifier, name)
        if isinstance(output, nn.Linear):
            return output
    return None


class Counting(NamedTuple):
    """What must be written so that a new head over the mean counts tokens (scoring.counting): the block
    after the attention of the last trained layer, the attention of the layer that takes the mean, with the
    width of one of its heads, and the two parts of the head."""

    up: nn.Linear
    down: nn.Linear
    norm: nn.LayerNorm
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    width: int
    dense: nn.Linear
    output: nn.Linear


def counting(classifier: PreTrainedModel) -> Counting | None:
    """None for a classifier without a new head over the mean, with adapters around its layers, and for
    DeBERTa, whose attention sees positions beside the keys."""
    found, head = _layers(classifier), _head(classifier)
    up_name = found and found[1].up
    if found is None or head is None or up_name is None:
        return None
    (*_, last, mean), names = found
    block = [last.get_submodule(name) for name in (up_name, names.down, names.down_norm)]
    attention = [mean.get_submodule(name) for name in (names.query, names.key, names.value)]
    if not all(isinstance(part, nn.Linear) for part in (*block[:2], *attention)):
        return None
    up, down, query, key, value, dense, output = cast("list[nn.Linear]", [*block[:2], *attention, *head])
    if any(bool(part.weight.any()) for part in (query, key, output)):
        return None
    width = query.out_features // classifier.config.num_attention_heads
    return Counting(up, down, cast("nn.LayerNorm", block[2]), query, key, value, width, dense, output)


class Norm(NamedTuple):
    """The norm of the layer that takes the mean, and the product before it."""

    product: nn.Linear
    norm: nn.Module


def norm_of_mean(classifier: PreTrainedModel) -> Norm | None:
    """None for a family that takes the mean otherwise, and with adapters around its layers."""
    found = _layers(classifier)
    if found is None:
        return None
    layers, names = found
    product, norm = (layers[-1].get_submodule(name) for name in (names.mix, names.mix_norm))
    return Norm(product, norm) if isinstance(product, nn.Linear) else None


def reads_untrained(source: Path, config: TrainConfig, classifier: PreTrainedModel) -> str | None:
    """A sentence if a new head should read the mean of the tokens and its family can't; None otherwise.
    Decoders read their last token, which has seen all others."""
    pools = getattr(classifier.config, "classifier_pooling", None) or _layers(classifier)
    if pools or hasattr(classifier, "score") or not wants_mean(source, config, classifier):
        return None
    return (
        f"a {type(classifier).__name__} has no place for the mean of the tokens: its new head reads what the "
        "heads of its family read, often the first token, which nobody has trained for that"
    )


class _Names(NamedTuple):
    """The parts of an encoder layer."""

    query: str
    key: str
    value: str
    mix: str
    mix_norm: str
    down: str
    down_norm: str
    up: str | None  # None: the layer can't count (scoring.counting)


_AROUND = ("attention.output.dense", "attention.output.LayerNorm", "output.dense", "output.LayerNorm")
LAYERS = (
    _Names(
        "attention.self.query", "attention.self.key", "attention.self.value", *_AROUND, "intermediate.dense"
    ),
    # DeBERTa 2: its relative positions are products with queries and keys, so these too are zero.
    _Names(
        "attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj", *_AROUND, None
    ),
    # DistilBERT.
    _Names(
        "attention.q_lin",
        "attention.k_lin",
        "attention.v_lin",
        "attention.out_lin",
        "sa_layer_norm",
        "ffn.lin2",
        "output_layer_norm",
        "ffn.lin1",
    ),
)
"""Layers that can take the mean. MPNet's can't: it adds learnt positions to the attention of every layer."""
HEADS = (
    ("pooler.dense", "classifier"),
    ("pre_classifier", "classifier"),
    ("classifier.dense", "classifier.out_proj"),
)
"""(dense layer over the first row, the one output). BERT's pooler is in its base model."""
RECTIFIED = {"electra", "deberta-v2", "distilbert"}
"""Families whose dense layer is followed by GELU or ReLU, and not by tanh."""
SHIFT = 4.0
"""Added before a GELU or ReLU, so that it keeps the negative half of a normalised row."""


def _layers(classifier: PreTrainedModel) -> tuple[nn.ModuleList, _Names] | None:
    """The layers of an encoder with the names of their parts; None for a family without such layers or
    head."""
    for inner in ("encoder", "transformer"):
        layers = getattr(getattr(classifier.base_model, inner, None), "layer", None)
        if isinstance(layers, nn.ModuleList) and _head(classifier):
            for names in LAYERS:
                if all(_part(layers[-1], name) for name in names if name):
                    return layers, names
    return None


def _make_uniform(layer: nn.Module, names: _Names) -> None:
    """A layer whose first row is the normalised mean of the tokens; the block after the attention adds
    nothing yet."""
    with torch.no_grad():
        for name in (names.query, names.key, names.down):
            _zero(cast("nn.Linear", layer.get_submodule(name)))
        for name, size in ((names.value, 1.0), (names.mix, LOUDER)):
            linear = cast("nn.Linear", layer.get_submodule(name))
            nn.init.eye_(linear.weight).mul_(size)
            linear.bias.zero_()
        for name in (names.mix_norm, names.down_norm):
            norm = cast("nn.LayerNorm", layer.get_submodule(name))
            norm.weight.fill_(1.0)
            norm.bias.zero_()


def _head(classifier: PreTrainedModel) -> tuple[nn.Module, nn.Module] | None:
    """(dense layer over the first row, the one output); None for another kind of head."""
    body = f"{classifier.base_model_prefix}."
    for dense, output in ((f"{body}pooler.dense", "classifier"), *HEADS):
        found = _part(classifier, dense), _part(classifier, output)
        if all(found):
            return cast("tuple[nn.Module, nn.Module]", found)
    return None


def _part(module: nn.Module, name: str) -> nn.Module | None:
    try:
        return module.get_submodule(name)
    except AttributeError:
        return None


def _zero(linear: nn.Linear) -> None:
    with torch.no_grad():
        linear.weight.zero_()
        if linear.bias is not None:
            linear.bias.zero_()


# --- what is trained ----------------------------------------------------------------------------------------


def prepare(classifier: PreTrainedModel, config: TrainConfig) -> PreTrainedModel:
    """Freeze what the config leaves alone, and add low-rank adapters (Hu and others, LoRA, 2106.09685) where
    it names a rank. Returns the same classifier. Raises TrainingError without the package peft."""
    depths = depths_of(classifier)
    lowest = 0 if config.layers is None else layers_of(classifier) - config.layers + 1
    for name, parameter in classifier.named_parameters():
        parameter.requires_grad_(depths[name] >= lowest)
    if config.lora is not None:
        _add_adapters(classifier, config.lora, lowest)
    return classifier


def _add_adapters(classifier: PreTrainedModel, rank: int, lowest: int) -> None:
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError:
        raise TrainingError("training adapters needs the package peft: pip install .[lora]") from None
    depths, count = depths_of(classifier), layers_of(classifier)
    products = {
        name: module
        for name, module in classifier.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and max(1, lowest) <= depths[f"{name}.weight"] <= count
    }
    settings = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=list(products),
        # The weights of GPT-2 are (in, out), those of nn.Linear (out, in).
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in products.values()),
    )
    LoraModel(classifier, settings, "default")
    for name, parameter in classifier.named_parameters():
        if depths.get(name, 0) > count:
            parameter.requires_grad_(True)


def merge_adapters(classifier: PreTrainedModel) -> None:
    """Add low-rank adapters, if there are any, to the weights that they adapt, and take them away."""
    for name, module in list(classifier.named_modules()):
        if hasattr(module, "base_layer") and hasattr(module, "merge"):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(classifier.get_submodule(parent), child, module.base_layer)


def trained_parameters(classifier: PreTrainedModel) -> dict[str, nn.Parameter]:
    """The parameters that a run changes, by name."""
    return {name: p for name, p in classifier.named_parameters() if p.requires_grad}


def rates_of(classifier: PreTrainedModel, config: TrainConfig, *, is_new: bool) -> dict[str, float]:
    """The learning rate of each parameter as a share of the run's: `layer_decay` less for each layer below
    the last (Howard and Ruder, 1801.06146), and `head_rate` for a head that starts at nothing (`is_new`). One
    that says something learns as the last layer does."""
    count = layers_of(classifier)
    depths = depths_of(classifier)
    head_rate = config.head_rate if is_new else 1.0
    return {
        name: head_rate if depth > count else config.layer_decay ** (count - depth)
        for name, depth in depths.items()
    }


def depths_of(classifier: PreTrainedModel) -> dict[str, int]:
    """The place of each parameter, by name: 0 for embeddings, 1 to n for the n layers, n + 1 for the head and
    its pooler. A norm after the last layer belongs to that layer."""
    count, body = layers_of(classifier), f"{classifier.base_model_prefix}."

    def depth(name: str) -> int:
        if found := _IN_LAYER.search(name):
            return min(count, int(found[1]) + 1)
        if _EMBEDDING.search(name):
            return 0
        return count if name.startswith(body) and "pooler" not in name else count + 1

    return {name: depth(name) for name, _ in classifier.named_parameters()}


def layers_of(classifier: PreTrainedModel) -> int:
    """The number of layers with weights of their own: ALBERT's share theirs. Raises CheckpointError for a
    network that does not say."""
    config = classifier.config.get_text_config()
    count = getattr(config, "num_hidden_groups", None) or getattr(config, "num_hidden_layers", None)
    if not isinstance(count, int):
        raise CheckpointError(f"a {type(classifier).__name__} does not say how many layers it has")
    return count
