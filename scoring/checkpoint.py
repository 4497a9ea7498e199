"""Model folders: check whether one can be trusted, and fetch one from the hub.

A checkpoint is an ordinary `transformers` folder: config.json, safetensors weights, tokenizer files.
Every file is checked before any of them is loaded. No other file of the folder is ever opened.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoring.config import BERT_PAIR, CHAT, PAIR, TEMPLATES, BadSetting

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "bpe.codes",
    "chat_template.jinja",
    "chat_template.json",
)
"""Every file that can change the tokens of a text."""
CHAT_TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json")
ADAPTER = "adapter_config.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
INDEX = "model.safetensors.index.json"
FETCHED_WEIGHTS = re.compile(r"(?!consolidated)[\w.-]+\.safetensors")
"""Some repositories have the same weights once more, in the form of their maker's own code."""
MAX_JSON_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 16 * 2**20
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
FLOATS = {"F16", "BF16", "F32", "F64"}
# Older versions of `transformers` saved these tables of positions and masks. They are not weights.
TABLES = ("position_ids", "token_type_ids", ".attn.bias", ".attn.masked_bias")
TEMPLATE_KEY = "scoring_template"
"""Key in the config.json of a checkpoint trained here: how its texts are encoded."""
# Counts in config.json of layers, each with tensors of its own.
COUNTS = {"num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers"}
POSITIONS = ("max_position_embeddings", "n_positions", "seq_length", "max_seq_len")
"""Names of the longest input in tokens: most families', GPT-2's, Bloom's, MPT's."""
ASSUMED_POSITIONS = 512
# These families count positions from the padding id on.
OFFSET_FAMILIES = (
    "camembert",
    "mpnet",
    "data2vec-text",
    "ibert",
    "luke",
    "xmod",
    "markuplm",
    "longformer",
    "lilt",
    "esm",
)


class CheckpointError(ValueError):
    """A model folder that can't be used; the message is a sentence for the person who chose it."""


def in_one_line(error: BaseException) -> str:
    """The type and message of a library's error on one line, at most 300 characters of message."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:300]}" if message else type(error).__name__


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model folder that passed every check short of loading.

    `weights_sha256` is the digest of the safetensors file. For several files, and always for
    `tokenizer_sha256`, it is the digest of the lines "name sha256". `parameters` is counted from the
    safetensors headers. `max_positions` is the longest input in tokens; `names_positions`: whether the config
    names it. `stated_template` is the value of TEMPLATE_KEY in config.json, or empty. `chat_template` is the
    file with the model's chat template, or empty.
    """

    path: Path
    weights_sha256: str
    tokenizer_sha256: str
    parameters: int
    architecture: str
    max_positions: int
    stated_template: str = ""
    chat_template: str = ""
    names_positions: bool = True

    def refuse_length(self, max_length: int) -> None:
        """Raise BadSetting for more tokens than the model has positions."""
        if max_length > self.max_positions:
            has = f"the model has {self.max_positions} positions"
            if not self.names_positions:
                has = f"config.json names no number of positions, so {self.max_positions} is the most"
            raise BadSetting(f"max_length is {max_length}, but {has}")


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Verify a model folder. Raises CheckpointError with the first fault."""
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a folder")
    _refuse_other_files(path)
    config = read_json(path, "config.json")
    architecture = _one_output_classifier(config)
    refuse_settings(config)
    weights = _weight_files(path)
    shapes = _shapes(path, weights)
    _refuse_oversized(config, shapes)
    tokenizer = _tokenizer_files(path)
    positions = _max_positions(config)
    return Checkpoint(
        path=path,
        weights_sha256=sha256_of(path / weights[0]) if len(weights) == 1 else _sha256_of_files(path, weights),
        tokenizer_sha256=_sha256_of_files(path, tokenizer),
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        architecture=architecture,
        max_positions=positions or ASSUMED_POSITIONS,
        stated_template=_stated(config),
        chat_template=chat_template_file(path),
        names_positions=positions is not None,
    )


def _refuse_other_files(path: Path) -> None:
    """Refuse a folder with pickles, code, adapters, or symlinks that leave it."""
    root = path.resolve()
    for entry in sorted(path.iterdir()):
        if entry.is_symlink() and not entry.resolve().is_relative_to(root):
            raise CheckpointError(
                f"{entry.name} is a symlink that leaves the folder; put the file itself there"
            )
        if entry.suffix.lower() in PICKLES:
            raise CheckpointError(
                f"{entry.name} is a pickle, which can run code when opened; "
                "remove the file and keep the .safetensors files"
            )
        if entry.suffix == ".py":
            raise CheckpointError(f"{entry.name} is code; models that need their own code are not supported")
        if entry.name == ADAPTER:
            raise CheckpointError(
                "this is an adapter; merge the adapter into its base model first: "
                "python -m scoring merge ADAPTER --base FOLDER -o NEW"
            )


def read_json(path: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file of a model folder. Raises CheckpointError."""
    file = path / name
    if not file.is_file():
        raise CheckpointError(f"{name} is missing")
    if file.stat().st_size > MAX_JSON_BYTES:
        raise CheckpointError(f"{name} is larger than {MAX_JSON_BYTES} bytes")
    try:
        return _json_object(file.read_bytes())
    except ValueError as error:
        raise CheckpointError(f"{name} is not valid: {error}") from None


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _one_output_classifier(config: Mapping[str, Any]) -> str:
    if "auto_map" in config:
        raise CheckpointError("config.json asks for remote code (auto_map), which is never run")
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise CheckpointError("config.json: architectures is not a list of names")
    classifiers = [name for name in architectures if name.endswith("ForSequenceClassification")]
    if not classifiers:
        raise CheckpointError(
            f"the model is {', '.join(architectures) or 'unnamed'}, not a sequence classifier with one output"
        )
    outputs = _number_of_outputs(config)
    if outputs != 1:
        raise CheckpointError(f"the model has {outputs} outputs; a reward model has one")
    return str(classifiers[0])


def refuse_settings(config: Mapping[str, Any]) -> None:
    """Refuse settings that make `transformers` compute something other than the weights in the file."""
    for key in ("quantization_config", "compression_config"):
        if config.get(key):
            raise CheckpointError(f"config.json has a {key}; quantised weights are not supported")
    for key in ("attn_implementation", "_attn_implementation", "experts_implementation"):
        if config.get(key) not in (None, "eager", "sdpa"):
            raise CheckpointError(
                f"config.json asks for {key} {config[key]!r}; remove the line: "
                "only PyTorch's own attention is supported"
            )
    if config.get("attention_type") == "block_sparse":
        raise CheckpointError(
            "config.json says attention_type block_sparse, which makes a score depend on the texts before; "
            "such models are not supported"
        )
    if config.get("is_decoder"):
        raise CheckpointError(
            "config.json says is_decoder, which makes an encoder such as BERT read in one direction alone; "
            "such encoders are not supported, while decoders such as Llama are"
        )


def _stated(config: Mapping[str, Any]) -> str:
    stated = config.get(TEMPLATE_KEY) or ""
    if stated and stated not in TEMPLATES:
        raise CheckpointError(
            f"config.json says {TEMPLATE_KEY} {stated!r}, which is not one of {', '.join(TEMPLATES)}"
        )
    return str(stated)


def stated_template(path: Path) -> str:
    """The value of TEMPLATE_KEY in the config.json of a model folder, or "". Raises CheckpointError."""
    return _stated(read_json(path, "config.json"))


def chat_template_file(path: Path) -> str:
    """The file with the chat template of a model folder, or ""."""
    name = next((name for name in CHAT_TEMPLATES if (path / name).exists()), "")
    if not name and (path / "tokenizer_config.json").is_file():
        settings = read_json(path, "tokenizer_config.json")
        name = "tokenizer_config.json" if settings.get("chat_template") else ""
    return name


def refuse_pickles(path: Path) -> None:
    """Raise CheckpointError for what is no folder, and for a folder with a pickle in it."""
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a folder")
    if pickles := [file.name for file in path.iterdir() if file.suffix.lower() in PICKLES]:
        raise CheckpointError(f"{pickles[0]} is a pickle, which can run code when opened; remove the file")


def template_to_train(path: Path) -> str:
    """The template of a folder to train, a classifier or a bare encoder: what its config states, the chat
    template that comes with it, the seed's for a BERT, or the tokenizer's pair. Raises CheckpointError."""
    config = read_json(path, "config.json")
    if stated := _stated(config):
        return stated
    if chat_template_file(path):
        return CHAT
    return BERT_PAIR if config.get("model_type") == "bert" else PAIR


def _number_of_outputs(config: Mapping[str, Any]) -> int:
    """num_labels, else the number of label names, else two, as in `transformers`."""
    if "num_labels" in config:
        outputs = config["num_labels"]
        return outputs if isinstance(outputs, int) else -1
    labels = config.get("id2label")
    return len(labels) if isinstance(labels, dict) else 2


def _weight_files(path: Path) -> list[str]:
    if (path / INDEX).exists():
        return _shards(path)
    names = sorted(file.name for file in path.glob("*.safetensors"))
    if not names:
        raise CheckpointError("there is no .safetensors file in the folder")
    if names != ["model.safetensors"]:
        raise CheckpointError(
            f"found {', '.join(names)}; expected model.safetensors alone, or {INDEX} to list the files"
        )
    return names


def _shards(path: Path) -> list[str]:
    weight_map = read_json(path, INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{INDEX} has no weight_map")
    names = set(weight_map.values())
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name):
            raise CheckpointError(f"{INDEX} names a shard outside the folder: {name!r}")
        if not (path / name).is_file():
            raise CheckpointError(f"{INDEX} names {name}, which is missing")
    if stray := {file.name for file in path.glob("*.safetensors")} - names:
        raise CheckpointError(
            f"found {', '.join(sorted(stray))}, which {INDEX} does not name; "
            "its tensors would be left out of the scores, so remove the file if it does not belong there"
        )
    return sorted(names)


def _shapes(path: Path, files: Iterable[str]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name in files:
        try:
            shapes |= read_header(path / name)
        except CheckpointError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{name} is damaged: {error}") from None
    return shapes


def read_header(file: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape of a safetensors file, from its header alone.

    The file must have eight bytes of header length, a JSON header, then tensors without gap or overlap.
    Raises ValueError, or KeyError or TypeError for a header of another form. Allocates at most 16 MiB,
    whatever the header claims.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        if len(prefix) < 8:
            raise ValueError("shorter than a safetensors header")
        (length,) = struct.unpack("<Q", prefix)
        if length > min(MAX_HEADER_BYTES, size - 8):
            raise ValueError(f"its header claims {length} bytes, the file has {size}")
        header = _json_object(stream.read(length))
    header.pop("__metadata__", None)
    if not header:
        raise ValueError("it holds no tensors")
    _check_layout(header, size - 8 - length)
    _refuse_quantised(file, header)
    return {name: tuple(tensor["shape"]) for name, tensor in header.items()}


def _check_layout(header: Mapping[str, Any], data_bytes: int) -> None:
    end = 0
    for name, tensor in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        shape, (start, stop) = tensor["shape"], tensor["data_offsets"]
        if any(type(number) is not int or number < 0 for number in (*shape, start, stop)):
            raise ValueError(f"tensor {name} has a shape or offset that is not a count")
        if tensor["dtype"] not in ITEM_BYTES:
            raise ValueError(f"tensor {name} has the unknown type {tensor['dtype']!r}")
        if start != end or stop - start != math.prod(shape) * ITEM_BYTES[tensor["dtype"]]:
            raise ValueError(f"tensor {name} does not lie where the header says")
        end = stop
    if end != data_bytes:
        raise ValueError(f"its tensors need {end} bytes, the file holds {data_bytes}; is it cut short?")


def _refuse_quantised(file: Path, header: Mapping[str, Any]) -> None:
    """Refuse integer weights: their scales are not read here, so the scores would be wrong."""
    for name, tensor in header.items():
        if tensor["dtype"] not in FLOATS and not name.endswith(TABLES):
            raise CheckpointError(
                f"{file.name} holds {name} as {tensor['dtype']}; quantised weights are not supported: "
                "save the model in float32, float16 or bfloat16"
            )


def _refuse_oversized(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a config that describes a larger network than the file holds."""
    largest = max((max(shape, default=1) for shape in shapes.values()), default=1)
    for key in COUNTS & config.keys():
        value = config[key]
        if type(value) is not int or value > len(shapes):
            raise CheckpointError(
                f"config.json asks for {value} layers; the weights hold {len(shapes)} tensors"
            )
    for key in ("hidden_size", "vocab_size", "intermediate_size"):
        value = config.get(key, 1)
        if type(value) is not int or not 0 < value <= largest:
            raise CheckpointError(f"config.json says {key} {value}, which does not match the weights")
    vocabulary, padding = config.get("vocab_size"), config.get("pad_token_id")
    if padding is None:
        return
    if type(padding) is not int or padding < 0 or (vocabulary is not None and padding >= vocabulary):
        raise CheckpointError(f"config.json says pad_token_id {padding!r}, which is not a token of the model")


def _max_positions(config: Mapping[str, Any]) -> int | None:
    """The longest input in tokens; None if the config does not name it. RoBERTa's family counts positions
    from the padding id on: two fewer."""
    if isinstance(config.get("text_config"), dict) or not set(POSITIONS) & config.keys():
        config = _text_config(config)
    name = next((name for name in POSITIONS if config.get(name) is not None), None)
    if name is None:
        return None
    positions = config[name]
    if type(positions) is not int or positions < 1:
        raise CheckpointError(f"config.json says {name} {positions!r}, which is not a count")
    family = str(config.get("model_type"))
    padding = config.get("pad_token_id", 1)
    if "roberta" in family or family in OFFSET_FAMILIES:
        return positions - (1 + (1 if padding is None else padding))
    return positions


def _text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config with the defaults of `transformers`, which a file may leave out; of a network for texts and
    images, what it says of texts. The config itself where the library can't read it: loading says why."""
    from transformers import AutoConfig  # takes a second to import

    from scoring.model import quietly

    try:
        with quietly():
            text: dict[str, Any] = AutoConfig.for_model(**config).get_text_config().to_dict()
    except Exception:  # noqa: BLE001
        # A config decides which code of the library runs, and this code raises errors of any type.
        return config
    return text


def _tokenizer_files(path: Path) -> list[str]:
    names = [name for name in TOKENIZER_FILES if (path / name).is_file()]
    if not set(names) & set(VOCABULARIES):
        raise CheckpointError(f"the tokenizer is missing: none of {', '.join(VOCABULARIES)} is in the folder")
    if "tokenizer_config.json" in names and "auto_map" in read_json(path, "tokenizer_config.json"):
        raise CheckpointError("tokenizer_config.json asks for remote code (auto_map), which is never run")
    return names


def sha256_of(file: Path) -> str:
    """The sha256 of a file, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sha256_of_files(path: Path, names: Iterable[str]) -> str:
    lines = "".join(f"{name} {sha256_of(path / name)}\n" for name in sorted(names))
    return hashlib.sha256(lines.encode()).hexdigest()


def files_of(checkpoint: Checkpoint) -> list[str]:
    """Names of the checkpoint's files. Any other file in the folder does not belong to it."""
    path = checkpoint.path
    index = [INDEX] if (path / INDEX).exists() else []
    return ["config.json", *index, *_weight_files(path), *_tokenizer_files(path)]


def fetch(repo_id: str, revision: str, target_dir: str | Path | None = None) -> Path:
    """Download config.json, safetensors and tokenizer files of a pinned model; return their folder.

    `revision` must be a full commit hash: a branch can change under a registered model. Without
    `target_dir` the folder is in the user's Hugging Face cache. Raises CheckpointError. The files are not
    checked yet: `open_checkpoint` does that.
    """
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise CheckpointError(
            f"{revision!r} is not a full commit hash of 40 hex digits, and a branch can change"
        )
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo_id):
        raise CheckpointError(f"{repo_id!r} is not the name of a model on the hub, such as owner/name")
    target = Path(target_dir) if target_dir else _hub_folder(repo_id, revision)
    _download(repo_id, revision, target)
    return target


def _hub_folder(repo_id: str, revision: str) -> Path:
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "preference-workbench" / repo_id.replace("/", "--") / revision


def _download(repo_id: str, revision: str, target: Path) -> None:
    import huggingface_hub.errors as hub
    from huggingface_hub import HfApi, snapshot_download

    try:
        # Without this request, snapshot_download returns an incomplete folder when the hub is away.
        files = [file.rfilename for file in HfApi().model_info(repo_id, revision=revision).siblings or []]
        weights = [name for name in files if FETCHED_WEIGHTS.fullmatch(name)]
        if not weights:
            raise CheckpointError(f"{repo_id} has no .safetensors file at {revision}")
        patterns = ["config.json", ADAPTER, INDEX, *TOKENIZER_FILES, *weights]
        snapshot_download(repo_id, revision=revision, local_dir=target, allow_patterns=patterns)
    except hub.GatedRepoError:
        raise CheckpointError(f"{repo_id} is gated: accept its terms on the hub and set HF_TOKEN") from None
    except hub.RevisionNotFoundError:
        raise CheckpointError(f"{repo_id} has no revision {revision}") from None
    except hub.RepositoryNotFoundError:
        raise CheckpointError(f"there is no model {repo_id} on the hub, or the model is private") from None
    except CheckpointError:
        raise
    except Exception as error:
        # Each version of huggingface-hub uses another HTTP library, with errors of its own.
        raise CheckpointError(f"{repo_id} could not be fetched from the model hub: {error}") from error
