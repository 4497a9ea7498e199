"""A folder of sentence-transformers: check whether one can be used, without loading it.

Nothing here imports torch, so any process may ask for the digest of a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scoring.checkpoint import TOKENIZER_FILES, CheckpointError, sha256_of

POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}
STEPS = ("Transformer", "Pooling", "Normalize")
SETTINGS = ("config.json", "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json")


@dataclass(frozen=True)
class SentenceFolder:
    """`network`: the folder of weights and tokenizer. `pooling`: "mean", "cls" or "max" over tokens.
    `max_length`: tokens that are read of a text, or None for what the tokenizer says. `prefix`: written
    before each text. `sha256`: of weights, tokenizer and settings."""

    path: Path
    network: Path
    pooling: str
    max_length: int | None
    lower_case: bool
    prefix: str
    sha256: str


def open_folder(path: str | Path) -> SentenceFolder:
    """Raises CheckpointError with the first fault. A folder without modules.json is an ordinary network, and
    its tokens are averaged, as sentence-transformers does."""
    path = Path(path)
    if not (path / "config.json").is_file() and not (path / "modules.json").is_file():
        raise CheckpointError(f"{path} is no folder of sentence-transformers: it has no modules.json")
    modules = {_last_name(module["type"]): path / module["path"] for module in _modules(path)}
    if unknown := [name for name in modules if name not in STEPS]:
        raise CheckpointError(f"{path} has a step {unknown[0]}; {', '.join(STEPS)} are known")
    network = modules.get("Transformer", path)
    weights = sorted(network.glob("*.safetensors"))
    if not weights:
        raise CheckpointError(f"{network} has no .safetensors file; save the model as safetensors")
    length = _object(network / "sentence_bert_config.json")
    prompts = _object(path / "config_sentence_transformers.json")
    default = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name"))
    pooling = modules.get("Pooling")
    names = [*weights, *(network / name for name in TOKENIZER_FILES), *(network / name for name in SETTINGS)]
    names += [path / name for name in SETTINGS] + ([pooling / "config.json"] if pooling else [])
    return SentenceFolder(
        path=path,
        network=network,
        pooling=_pooling(_object(pooling / "config.json")) if pooling else "mean",
        max_length=length.get("max_seq_length"),
        lower_case=bool(length.get("do_lower_case")),
        prefix=str(default or ""),
        sha256=_digest(path, names),
    )


def _modules(path: Path) -> list[dict[str, str]]:
    if not (path / "modules.json").is_file():
        return []
    try:
        modules = json.loads((path / "modules.json").read_text())
        return [{"type": str(module["type"]), "path": str(module["path"])} for module in modules]
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path / 'modules.json'} is not valid") from None


def _last_name(dotted: str) -> str:
    return dotted.rpartition(".")[2]


def _object(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text())
    except ValueError:
        raise CheckpointError(f"{file} is not valid JSON") from None
    return content if isinstance(content, dict) else {}


def _pooling(config: Mapping[str, Any]) -> str:
    chosen = [pooling for key, pooling in POOLINGS.items() if config.get(key)]
    others = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    named = config.get("pooling_mode")
    if named in POOLINGS.values():
        return str(named)
    if len(chosen) != 1 or len(others) > 1:
        raise CheckpointError(f"the pooling {named or ', '.join(others) or 'of the folder'} is not known")
    return chosen[0]


def _digest(path: Path, names: list[Path]) -> str:
    lines = [
        f"{file.resolve().relative_to(path.resolve())} {sha256_of(file)}"
        for file in dict.fromkeys(names)
        if file.is_file()
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
