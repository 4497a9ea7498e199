"""The network: batches of token ids -> one logit a text."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import transformers
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, linear, pad, scaled_dot_product_attention
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertForSequenceClassification,
    PreTrainedModel,
)
from transformers.models.bert.modeling_bert import BertLayer, BertPooler

from scoring.checkpoint import (
    TEMPLATE_KEY,
    TOKENIZER_FILES,
    Checkpoint,
    CheckpointError,
    in_one_line,
    refuse_settings,
)
from scoring.config import BERT_PAIR
from scoring.encode import Encoded, Ids

# oneDNN makes a kernel for each number of rows and keeps a thousand kernels, in hundreds of MB. Rounding the
# number of rows up to a multiple costs less time than making kernels.
ROWS = 64


def load_classifier(
    checkpoint: Checkpoint, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """The one-output classifier of a verified checkpoint: in `dtype`, on `device`, in eval mode. Weights that
    are stored in `dtype` stay in the file, which is mapped into memory.

    Raises CheckpointError if the file lacks a tensor or has one too many. `transformers` would only warn:
    it draws missing weights at random and ignores the others.
    """
    name = checkpoint.path.name
    try:
        with quietly():
            _refuse_larger_than_file(checkpoint)
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                checkpoint.path, dtype=dtype, output_loading_info=True, **LOCAL
            )
    except CheckpointError:
        raise
    except Exception as error:
        # A config decides which code of the library runs, and this code raises errors of any type.
        raise CheckpointError(f"{name} can't be loaded: {in_one_line(error)}") from error
    _refuse_misfits(loading)
    if type(model).__name__ != checkpoint.architecture:
        raise CheckpointError(
            f"config.json says {checkpoint.architecture}; its model_type makes it a {type(model).__name__}"
        )
    _refuse_defaults(model)
    if model.config.num_labels != 1:
        raise CheckpointError(f"the model has {model.config.num_labels} outputs; a reward model has one")
    nn.Module.to(model, device).eval()
    loaded: PreTrainedModel = model
    return loaded


LOCAL = {"use_safetensors": True, "local_files_only": True, "trust_remote_code": False}


def is_stored_in_bf16(checkpoint: Checkpoint) -> bool:
    """Whether all weights of the file are in bf16, so that nothing is lost by computing with them as they
    are."""
    for file in checkpoint.path.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            if any(tensors.get_slice(name).get_dtype() != "BF16" for name in tensors.keys()):  # noqa: SIM118
                return False
    return True


def device_of(name: str) -> torch.device:
    """The device of a name; "auto" is the first GPU, or the processor without one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def one_output_classifier(source: Path, **settings: float) -> PreTrainedModel:
    """A one-output classifier in fp32, from a folder that may lack the head: torch's seed draws it.

    `settings` change the config. Raises CheckpointError for a folder that can't be loaded.
    """
    try:
        with quietly():
            model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
                source, num_labels=1, dtype=torch.float32, **LOCAL, **settings
            )
    except Exception as error:
        # A config decides which code of the library runs, and this code raises errors of any type.
        raise CheckpointError(f"{source} can't be loaded: {in_one_line(error)}") from error
    _refuse_defaults(model)
    return model


def _refuse_defaults(model: PreTrainedModel) -> None:
    """Refuse what config.json leaves to the family, as `refuse_settings` refuses what it says."""
    refuse_settings({"attention_type": getattr(model.config, "attention_type", None)})


def save_classifier(classifier: PreTrainedModel, source: Path, out: Path, template: str = BERT_PAIR) -> None:
    """Write a checkpoint folder: config, weights, and the tokenizer files of `source`. The config states the
    template that the classifier was trained with."""
    setattr(classifier.config, TEMPLATE_KEY, template)
    with quietly():
        classifier.save_pretrained(out)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def _refuse_larger_than_file(checkpoint: Checkpoint) -> None:
    """Build the network on the meta device, and refuse one far larger than the file."""
    config = AutoConfig.from_pretrained(checkpoint.path, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        network = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    # Tables of sines are parameters too, and no file holds these.
    if parameters > 2 * checkpoint.parameters + SLACK:
        raise CheckpointError(
            f"config.json describes a network of {parameters:,} parameters; "
            f"the weights hold {checkpoint.parameters:,}"
        )


SLACK = 1_000_000


def _refuse_misfits(loading: Mapping[str, Iterable[object]]) -> None:
    if missing := sorted(map(str, loading["missing_keys"])):
        raise CheckpointError(f"the weights lack {_first_names(missing)}")
    if unexpected := sorted(map(str, loading["unexpected_keys"])):
        raise CheckpointError(
            f"the weights hold {_first_names(unexpected)}, which the network in config.json has no "
            "place for; the scores would be wrong"
        )
    if mismatched := sorted(map(str, loading.get("mismatched_keys", ()))):
        raise CheckpointError(
            f"the weights have another shape than config.json says: {_first_names(mismatched)}"
        )


def _first_names(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])} ({len(names)} {'tensor' if len(names) == 1 else 'tensors'} in all)"


@contextmanager
def quietly() -> Iterator[None]:
    """Silence the progress bars and warnings of `transformers`."""
    verbosity = transformers.utils.logging.get_verbosity()
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
        if bars:
            transformers.utils.logging.enable_progress_bar()


class Network(nn.Module):
    """N encoded texts of any length -> (N,) logits in fp32.

    Call it with the ids of N texts, with their token types unless all are zero, and with their borders: how
    many tokens of each are before its answer. `padded`: whether every text of a batch costs as much as the
    longest. `shares`: whether texts with the same tokens before the border cost these only once.
    """

    padded: bool
    shares = False
    by_length = False
    """Whether only texts of one length go through it together, as it reads padding."""


Types = Sequence[Ids] | None
"""Token types of N texts; None: all are zero."""
Borders = Sequence[int] | None
"""Tokens before the answer of N texts; None: not known."""


def inputs_of(texts: Sequence[Encoded]) -> tuple[list[Ids], Types, Borders]:
    """The arguments of a Network for N texts of one encoder."""
    types = [text.types for text in texts if text.types is not None]
    return [text.ids for text in texts], types or None, [text.border for text in texts]


def padding_id(classifier: PreTrainedModel) -> int | None:
    """The padding token; None without one. A config for texts and images has one for texts inside."""
    padding: int | None = getattr(classifier.config.get_text_config(), "pad_token_id", None)
    return padding


class Padded(Network):
    """Any one-output classifier of `transformers`, with batches padded to the longest text.

    `by_length`: only texts of one length go through it together, as it reads padding.
    """

    padded = True

    def __init__(self, classifier: PreTrainedModel, *, by_length: bool = False) -> None:
        super().__init__()
        self.classifier = classifier
        padding = padding_id(classifier)
        self.pad_id = padding or 0
        self.by_length = by_length
        # A decoder scores at the last token before the padding; without a padding token it cannot find it.
        self.one_by_one = padding is None

    def inputs(self, texts: Sequence[Ids], types: Types = None) -> dict[str, Tensor]:
        """(N, L) ids, attention mask and token types on the network's device. Without types, all are zero."""
        length = max(map(len, texts))
        mask = np.zeros((len(texts), length), dtype=np.int64)
        for row, text in enumerate(texts):
            mask[row, : len(text)] = 1
        arrays = {"input_ids": _rows(texts, length, self.pad_id), "attention_mask": mask}
        if types is not None:
            arrays["token_type_ids"] = _rows(types, length, 0)
        device = next(self.parameters()).device
        return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}

    def forward(self, texts: Sequence[Ids], types: Types = None, borders: Borders = None) -> Tensor:
        """N texts of any length -> (N,) logits in fp32."""
        parts = self._parts(texts)
        logits = torch.cat(
            [
                self.classifier(
                    **self.inputs(
                        [texts[place] for place in part], types and [types[place] for place in part]
                    )
                ).logits
                for part in parts
            ]
        )  # (N, 1)
        in_order = torch.empty_like(logits)
        in_order[[place for part in parts for place in part]] = logits
        return in_order.squeeze(-1).float()

    def _parts(self, texts: Sequence[Ids]) -> list[list[int]]:
        """Places of the texts that go through the classifier together."""
        places = range(len(texts))
        if self.one_by_one:
            return [[place] for place in places]
        if not self.by_length:
            return [list(places)]
        lengths: dict[int, list[int]] = {}
        for place in places:
            lengths.setdefault(len(texts[place]), []).append(place)
        return list(lengths.values())


def _rows(texts: Sequence[Ids], length: int, filler: int) -> npt.NDArray[np.int64]:
    rows = np.full((len(texts), length), filler, dtype=np.int64)
    for row, text in enumerate(texts):
        rows[row, : len(text)] = text
    return rows


@contextmanager
def telling(classifier: PreTrainedModel) -> Iterator[None]:
    """Meanwhile, the one output has random weights of variance 1. A new head starts at zero and gives every
    text 0, whatever the layers below it do, so a trial of these would find no fault."""
    inside = f"{classifier.base_model_prefix}."  # where experts have gates of one output
    outputs = [
        weight
        for name, weight in classifier.named_parameters()
        if weight.ndim == 2 and len(weight) == 1 and not name.startswith(inside)
    ]
    own = [output.data for output in outputs]
    draw = np.random.default_rng(0)
    for output in outputs:
        output.data = torch.from_numpy(draw.standard_normal(output.shape)).to(output)
    try:
        yield
    finally:
        for output, data in zip(outputs, own, strict=True):
            output.data = data


def tokens_known(classifier: PreTrainedModel) -> int:
    """The rows of its table of tokens. Raises CheckpointError for a network without such a table."""
    try:
        return len(cast("nn.Embedding", classifier.get_input_embeddings()).weight)
    except (AttributeError, NotImplementedError):
        raise CheckpointError(
            f"a {type(classifier).__name__} has no table of tokens; such models are not supported"
        ) from None


def reads_padding(classifier: PreTrainedModel) -> bool:
    """Whether the score of a text changes with padding behind it: the network mixes neighbours without a
    mask, or reads its last position. True also for a network that can't score random tokens (some ask for a
    token that ends each text), and for one that keeps a number of tokens which depends on the padded length.
    Raises CheckpointError for a network without a table of tokens."""
    network = Padded(classifier).eval()
    if network.one_by_one:
        return False
    rows = tokens_known(classifier)
    if getattr(classifier.config, "keep_window_size", None):
        return True
    draw = np.random.default_rng(0)
    texts = [draw.integers(rows // 2, rows, length, dtype=np.int32) for length in (9, 21, 14)]
    try:
        with torch.no_grad(), telling(classifier):
            alone = torch.cat([network([text]) for text in texts])
            together = network(texts)
    except Exception:  # noqa: BLE001 - any code of the library may run here
        return True
    return bool((alone - together).abs().max() > 1e-5 * alone.abs().max().clamp(min=1.0))


def stretches_positions(classifier: PreTrainedModel) -> bool:
    """Whether a long text in a batch moves the positions of the others, as dynamic and "longrope" rotary
    positions do."""
    configs = (classifier.config, classifier.config.get_text_config())
    described = [getattr(one, name, None) for one in configs for name in ("rope_parameters", "rope_scaling")]
    while described:
        one = described.pop()
        if isinstance(one, dict):
            if one.get("rope_type", one.get("type")) in ("dynamic", "longrope"):
                return True
            described += one.values()
    return False


@dataclass(frozen=True, slots=True)
class Spans:
    """The positions of N texts in T tokens laid end to end."""

    lengths: list[int]
    starts: Tensor  # (N,) the first token of each text, its [CLS]
    offsets: Tensor  # (N + 1,)

    @classmethod
    def of(cls, lengths: list[int], device: torch.device) -> Spans:
        offsets = torch.tensor([0, *lengths]).cumsum(0).to(device)
        return cls(lengths, offsets[:-1], offsets)

    def runs(self) -> Iterator[tuple[int, int]]:
        """(texts, length) of each run of neighbours of one length. A run is a batch without padding."""
        for length, run in groupby(self.lengths):
            yield len(list(run)), length


LOUD = 16
"""Units of a block that are computed in fp32 where all others are in bf16: a hundredth of a small network."""


class PackedBert(Network):
    """A BERT classifier without padding: all tokens of a batch lie end to end.

    Attention stays within each text. Matrix products run in `dtype`. Sums and layer norms stay in fp32: this
    removes two thirds of the error of bf16 at no measurable cost. The last layer is computed for [CLS] alone,
    the only row that the head reads.
    """

    padded = False

    def __init__(self, classifier: BertForSequenceClassification, dtype: torch.dtype) -> None:
        super().__init__()
        *layers, last = cast("list[BertLayer]", list(classifier.bert.encoder.layer))
        self.embeddings = classifier.bert.embeddings
        self.layers = nn.ModuleList(PackedLayer(layer, dtype) for layer in layers)
        self.last = FirstRowLayer(last, dtype)
        self.pooler = cast("BertPooler", classifier.bert.pooler).dense
        self.classifier = classifier.classifier

    def forward(self, texts: Sequence[Ids], types: Types = None, borders: Borders = None) -> Tensor:
        """N texts of any length -> (N,) logits in fp32."""
        logits: Tensor = self.classifier(self.pooled(texts, types))  # (N, 1)
        return logits.squeeze(-1)

    def pooled(self, texts: Sequence[Ids], types: Types = None) -> Tensor:
        """(N, H) in fp32: the input of the head for N texts."""
        spans = Spans.of([len(text) for text in texts], self.classifier.weight.device)
        hidden = self.embed(texts, types)  # (T, H)
        for layer in self.layers:
            hidden = layer(hidden, spans)
        return torch.tanh(self.pooler(self.last(hidden, spans)))

    def embed(self, texts: Sequence[Ids], types: Types = None) -> Tensor:
        """(T, H) in fp32. Without types, every token has type 0, as in the seed's training.

        On a CPU, T is rounded up to a multiple of ROWS; no text reads the added rows.
        """
        device = self.classifier.weight.device
        filler = np.zeros(-sum(map(len, texts)) % ROWS if device.type == "cpu" else 0, dtype=np.int32)
        ids = torch.from_numpy(np.concatenate([*texts, filler])).to(device)  # (T,)
        places = [np.arange(len(text)) for text in texts]
        positions = torch.from_numpy(np.concatenate([*places, filler])).to(device)
        tables = self.embeddings
        hidden = tables.word_embeddings(ids) + tables.position_embeddings(positions)
        normed: Tensor = tables.LayerNorm(hidden + self._types(types, filler))
        return normed

    def _types(self, types: Types, filler: Ids) -> Tensor:
        """(T, H) or (H,): the embeddings of the token types."""
        table: Tensor = self.embeddings.token_type_embeddings.weight
        if types is None:
            return table[0]
        return table[torch.from_numpy(np.concatenate([*types, filler])).to(table.device)]


class PackedLayer(nn.Module):
    """One encoder layer over packed tokens: (T, H) in fp32 -> (T, H) in fp32, products in `dtype`."""

    def __init__(self, layer: BertLayer, dtype: torch.dtype) -> None:
        super().__init__()
        attention, out = layer.attention.self, layer.attention.output
        up, down = layer.intermediate.dense, layer.output.dense
        self.heads, self.head_size = attention.num_attention_heads, attention.attention_head_size
        self.dtype = dtype
        self.mix = Dense.joining([out.dense], dtype)
        self.up = Dense.joining([up], dtype, activate=True)
        self.mix_norm, self.down_norm = out.LayerNorm, layer.output.LayerNorm
        self.loud = None if dtype == torch.float32 else LoudUnits(up, down)
        weight = down.weight.detach()
        if self.loud is not None:
            weight = weight.index_fill(1, self.loud.places, 0.0)
        self.down = Dense(weight.to(dtype), down.bias.detach().to(dtype), activate=False)
        self.project(attention.query, attention.key, attention.value)

    def project(self, query: nn.Linear, key: nn.Linear, value: nn.Linear) -> None:
        self.query_key_value = Dense.joining([query, key, value], self.dtype)

    def forward(self, hidden: Tensor, spans: Spans) -> Tensor:
        query, key, value = self.by_head(self.query_key_value(hidden.to(self.dtype)))
        return self.finish(hidden, attend(query, key, value, spans, spans.offsets))

    def by_head(self, rows: Tensor) -> tuple[Tensor, ...]:
        """(rows, n H) -> n of (rows, heads, H / heads)."""
        parts: tuple[Tensor, ...] = rows.unflatten(-1, (-1, self.heads, self.head_size)).unbind(1)
        return parts

    def finish(self, hidden: Tensor, attended: Tensor) -> Tensor:
        """The rest of the layer after attention, (rows, H) of each -> (rows, H)."""
        hidden = self.mix_norm(self.mix(attended) + hidden)
        added = self.down(self.up(hidden.to(self.dtype))) + hidden
        if self.loud is not None:
            added += self.loud(hidden)
        normed: Tensor = self.down_norm(added)
        return normed


class LoudUnits(nn.Module):
    """What the LOUD units of a block that say most add to a row: (rows, H) -> (rows, H), in fp32.

    A few units write numbers far above all others, and bf16 rounds these most (features of such a size are
    why Dettmers and others, LLM.int8, 2208.07339, keep some products in higher precision). Here a few count
    tokens (scoring.counting): their rounding made nearly all the error of a model that counts. A unit says as
    much as its widest weight out times the norm of its weights in.
    """

    up: Tensor  # (LOUD, H)
    up_bias: Tensor  # (LOUD,)
    down: Tensor  # (H, LOUD)

    def __init__(self, up: nn.Linear, down: nn.Linear) -> None:
        super().__init__()
        says = down.weight.detach().abs().amax(0) * up.weight.detach().norm(dim=1)
        self.places = torch.topk(says, min(LOUD, len(says))).indices
        self.register_buffer("up", up.weight.detach()[self.places].clone())
        self.register_buffer("up_bias", up.bias.detach()[self.places].clone())
        self.register_buffer("down", down.weight.detach()[:, self.places].clone())

    def forward(self, hidden: Tensor) -> Tensor:
        return linear(gelu(linear(hidden, self.up, self.up_bias)), self.down)


class FirstRowLayer(PackedLayer):
    """An encoder layer's output at the first token of each text alone: (T, H) -> (N, H).

    These rows lead straight to the logit: rounding them made a third of all error. So all is in fp32 on a
    CPU, and still less work than keys and values of all tokens in bf16: as q' (K x) = (K' q)' x, a query
    meets the tokens' rows by the weights of the keys, and as sum(p V x) = V sum(p x), the weights of the
    values meet a mean of rows. A bias of the keys adds the same to all tokens. A GPU has no kernel for
    attention to rows so wide: there, keys and values are computed in `dtype`.
    """

    key: Tensor  # (heads, H / heads, H)
    value: Tensor  # (heads, H / heads, H)
    value_bias: Tensor  # (H,)

    def __init__(self, layer: BertLayer, dtype: torch.dtype) -> None:
        self.token_dtype = dtype
        super().__init__(layer, torch.float32)

    def project(self, query: nn.Linear, key: nn.Linear, value: nn.Linear) -> None:
        self.query = Dense.joining([query], self.dtype)
        self.by_rows = key.weight.device.type == "cpu"
        if not self.by_rows:
            self.key_value = Dense.joining([key, value], self.token_dtype)
            return
        for name, weight in (("key", key.weight), ("value", value.weight)):
            self.register_buffer(name, weight.detach().to(self.dtype).unflatten(0, (self.heads, -1)).clone())
        self.register_buffer("value_bias", value.bias.detach().to(self.dtype).clone())

    def forward(self, hidden: Tensor, spans: Spans) -> Tensor:
        first = hidden[spans.starts]
        (query,) = self.by_head(self.query(first))
        if self.by_rows:
            return self.finish(first, self._attend_by_rows(query, hidden, spans))
        key, value = self.by_head(self.key_value(hidden.to(self.token_dtype)).to(self.dtype))
        rows = torch.arange(len(first) + 1, device=first.device)
        return self.finish(first, attend(query, key, value, spans, rows))

    def _attend_by_rows(self, query: Tensor, hidden: Tensor, spans: Spans) -> Tensor:
        """`query`: (N, heads, d) -> (N, H)."""
        asked = torch.einsum("nhd,hdi->nhi", query, self.key) * self.head_size**-0.5
        means = torch.empty_like(asked)
        text = token = 0
        for texts, length in spans.runs():
            rows = hidden[token : token + texts * length].unflatten(0, (texts, length))
            shares = torch.softmax(asked[text : text + texts] @ rows.transpose(1, 2), dim=-1)
            means[text : text + texts] = shares @ rows
            text, token = text + texts, token + texts * length
        return torch.einsum("nhi,hdi->nhd", means, self.value).flatten(1) + self.value_bias


class Dense(nn.Module):
    """x W' + b, then GELU with `activate`, with weights in the processor's own layout.

    oneDNN's layout makes fp32 products a fifth faster than a plain weight, and fuses GELU. `torch.compile`
    with freezing calls the same operations.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, *, activate: bool) -> None:
        super().__init__()
        self.activation = "gelu" if activate else "none"
        self.packed = weight.device.type == "cpu" and can_prepack(weight.dtype)
        if self.packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, 4096)  # noqa: SLF001
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    @classmethod
    def joining(cls, linears: Sequence[nn.Linear], dtype: torch.dtype, *, activate: bool = False) -> Dense:
        """One product for several linear layers of one input; their outputs are concatenated."""
        weight = torch.cat([part.weight.detach() for part in linears])
        bias = torch.cat([part.bias.detach() for part in linears])
        return cls(weight.to(dtype), bias.to(dtype), activate=activate)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, in) -> (rows, out), both in the dtype of the weights."""
        weight, bias = self.get_buffer("weight"), cast("Tensor | None", self.bias)
        if self.packed:
            filler = -len(x) % ROWS
            product: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
                pad(x, (0, 0, 0, filler)) if filler else x, weight, bias, self.activation, [], "none"
            )
            return product[: len(x)]
        product = linear(x, weight, bias)
        return gelu(product) if self.activation == "gelu" else product


def can_prepack(dtype: torch.dtype) -> bool:
    """Whether this build of torch has oneDNN's prepacked products for this processor."""
    return (
        platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and (dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001
    )


def attend(query: Tensor, key: Tensor, value: Tensor, spans: Spans, query_offsets: Tensor) -> Tensor:
    """softmax(q k' / sqrt(d)) v within each text.

    `key`, `value`: (T, heads, d). `query`: (T, heads, d), or (N, heads, d) with one row a text;
    `query_offsets`: (N + 1,), where each text's rows begin. Returns query's rows, (rows, heads * d).
    """
    if query.device.type == "cuda":
        return attend_jagged(query, key, value, spans, query_offsets)
    return attend_runs(query, key, value, spans)


def attend_runs(query: Tensor, key: Tensor, value: Tensor, spans: Spans) -> Tensor:
    """Attention for one run of equally long texts at a time: on a CPU, a call costs little."""
    kernel = scaled_dot_product_attention if query.dtype == torch.float32 else attend_by_products
    mixed = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    row = 0
    for q, k, v in runs_of(query, key, value, spans):
        rows = len(q) * q.shape[2]
        mixed[row : row + rows].unflatten(0, (len(q), -1)).copy_(kernel(q, k, v).transpose(1, 2))
        row += rows
    mixed[row:] = 0
    return mixed.flatten(1)


def runs_of(query: Tensor, key: Tensor, value: Tensor, spans: Spans) -> Iterator[tuple[Tensor, ...]]:
    """(q, k, v) of each run of n equally long texts: (n, heads, length, d), or length 1 for q."""
    whole = len(query) == len(key)
    row = token = 0
    for texts, length in spans.runs():
        rows, tokens = texts * length if whole else texts, texts * length
        parts = query[row : row + rows], key[token : token + tokens], value[token : token + tokens]
        yield tuple(part.unflatten(0, (texts, -1)).transpose(1, 2) for part in parts)
        row, token = row + rows, token + tokens


def attend_by_products(query: Tensor, key: Tensor, value: Tensor, dropout_rate: float = 0.0) -> Tensor:
    """Attention as two products: in bf16 on a CPU, 1.5 times as fast as the flash kernel."""
    weights = torch.softmax((query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2), dim=-1)
    return (dropout(weights, dropout_rate) if dropout_rate else weights) @ value


def attend_jagged(query: Tensor, key: Tensor, value: Tensor, spans: Spans, query_offsets: Tensor) -> Tensor:
    """Attention of all texts in one variable-length kernel, for GPUs."""
    longest, shortest = max(spans.lengths), min(spans.lengths)

    def jagged(rows: Tensor, offsets: Tensor, low: int, high: int) -> Tensor:
        # A GPU's kernel can read a slice of the fused product; a CPU's kernel cannot.
        rows = rows if rows.is_cuda else rows.contiguous()
        nested = torch.nested.nested_tensor_from_jagged(rows, offsets, min_seqlen=low, max_seqlen=high)
        return nested.transpose(1, 2)  # (N, heads, jagged, d)

    one_row = len(query) != len(key)
    q = jagged(query, query_offsets, 1 if one_row else shortest, 1 if one_row else longest)
    k = jagged(key, spans.offsets, shortest, longest)
    v = jagged(value, spans.offsets, shortest, longest)
    return scaled_dot_product_attention(q, k, v).transpose(1, 2).values().flatten(1)
