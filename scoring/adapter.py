"""Merge a low-rank adapter (LoRA) into its base, so that the result is a checkpoint like any other."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from scoring.checkpoint import (
    ADAPTER,
    VOCABULARIES,
    CheckpointError,
    fetch,
    in_one_line,
    open_checkpoint,
    read_header,
    read_json,
    refuse_pickles,
    stated_template,
)
from scoring.heads import has_head
from scoring.model import one_output_classifier, quietly, save_classifier

WEIGHTS = "adapter_model.safetensors"
NAME_THE_BASE = "name the base: python -m scoring merge ADAPTER --base FOLDER -o NEW"


def base_named(folder: Path) -> tuple[str, str] | None:
    """(folder or repository that an adapter names as its base, revision or ""); None for a folder that is no
    adapter. Raises CheckpointError for an adapter of another kind."""
    if not (folder / ADAPTER).is_file():
        return None
    settings = _settings_of(folder)
    return str(settings.get("base_model_name_or_path") or ""), str(settings.get("revision") or "")


@contextmanager
def opened(folder: Path, *, is_fetched: bool = False) -> Iterator[Path]:
    """The folder; for an adapter a checkpoint with it merged into its base, while the block runs. The base is
    a model of the hub at a full commit hash or, unless the adapter `is_fetched` from there, a folder of this
    machine. Weights that were loaded in the block stay usable after it. Raises CheckpointError as `merge`
    does, and for a base that is not there."""
    named = base_named(folder)
    if named is None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as scratch:
        base = _fetched_base(*named) if is_fetched else _base_here(*named)
        merge(folder, base, merged := Path(scratch) / folder.name)
        yield merged


def _base_here(name: str, revision: str) -> Path:
    if name and Path(name).is_dir():
        return Path(name)
    if revision:
        return fetch(name, revision)
    raise CheckpointError(f"this is an adapter, and its base {name!r} is no folder here; {NAME_THE_BASE}")


def _fetched_base(name: str, revision: str) -> Path:
    if revision:
        return fetch(name, revision)
    raise CheckpointError(f"this is an adapter that names no commit of its base {name!r}; {NAME_THE_BASE}")


def merge(adapter: Path, base: Path, out: Path) -> None:
    """Write a new checkpoint folder: the base with the adapter added to its weights, in fp32.

    The head is the adapter's if it was trained too, else the base's, and so is the tokenizer. `out` appears
    whole or not at all. Raises CheckpointError for a folder that is no adapter, one that does not fit the
    base, a head that neither has, and without the package peft.
    """
    try:
        from peft import PeftModel, get_peft_model_state_dict
    except ImportError:
        raise CheckpointError("merging an adapter needs the package peft: pip install .[lora]") from None
    if out.exists():
        raise CheckpointError(f"{out} exists already; choose a new folder")
    names = _tensors_of(adapter)
    _settings_of(adapter)
    refuse_pickles(base)
    classifier = one_output_classifier(base)
    _refuse_without_head(classifier, base, names)
    try:
        with quietly(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names; they are compared below
            model = PeftModel.from_pretrained(classifier, str(adapter))
            unlike = names ^ set(get_peft_model_state_dict(model))
            merged = model.merge_and_unload(safe_merge=True)
    except Exception as error:
        # The library raises errors of any type for a file that does not fit.
        raise CheckpointError(f"{adapter.name} does not fit {base.name}: {in_one_line(error)}") from error
    if unlike:
        raise CheckpointError(
            f"{adapter.name} does not fit {base.name}: {min(unlike)} has no place there, or is missing"
        )
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        merged_folder = Path(scratch) / "merged"
        # What the base does not state stays open: whoever registers the result is asked where it matters.
        tokenizer = adapter if any((adapter / name).is_file() for name in VOCABULARIES) else base
        save_classifier(merged, tokenizer, merged_folder, stated_template(base))
        open_checkpoint(merged_folder)
        os.rename(merged_folder, out)


def _settings_of(adapter: Path) -> dict[str, Any]:
    """adapter_config.json. Raises CheckpointError for another kind of adapter, and for settings by which
    peft would import a module that the file names."""
    settings = read_json(adapter, ADAPTER)
    if settings.get("peft_type") != "LORA":
        raise CheckpointError(
            f"{ADAPTER} says peft_type {settings.get('peft_type')!r}; "
            "only low-rank adapters (LORA) can be merged"
        )
    if settings.get("megatron_config"):
        raise CheckpointError(f"{ADAPTER} asks for megatron_config, which is not supported")
    return settings


def _tensors_of(adapter: Path) -> set[str]:
    if not (adapter / ADAPTER).is_file() or not (adapter / WEIGHTS).is_file():
        raise CheckpointError(f"{adapter} is no adapter: it needs {ADAPTER} and {WEIGHTS}")
    refuse_pickles(adapter)
    try:
        return set(read_header(adapter / WEIGHTS))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{WEIGHTS} of {adapter.name} can't be read: {in_one_line(error)}") from error


def _refuse_without_head(classifier: PreTrainedModel, base: Path, names: set[str]) -> None:
    if has_head(base):
        return
    inside = f"{classifier.base_model_prefix}."
    head = {name for name, _ in classifier.named_parameters() if not name.startswith(inside)}
    if lacking := head - {name.removeprefix("base_model.model.") for name in names}:
        raise CheckpointError(
            f"neither {base.name} nor the adapter has {min(lacking)}, so the scores would be random"
        )
