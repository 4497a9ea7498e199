"""Merge a low-rank adapter (LoRA) into its base, so that the result is a checkpoint like any other."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

from transformers import PreTrainedModel

from scoring.checkpoint import (
    CheckpointError,
    in_one_line,
    open_checkpoint,
    read_header,
    refuse_pickles,
    template_to_train,
)
from scoring.heads import has_head
from scoring.model import one_output_classifier, quietly, save_classifier

WEIGHTS = "adapter_model.safetensors"


def merge(adapter: Path, base: Path, out: Path) -> None:
    """Write a new checkpoint folder: the base with the adapter added to its weights.

    The head is the adapter's if it was trained too, else the base's. `out` appears whole or not at all.
    Raises CheckpointError for a folder that is no adapter, one that does not fit the base, a head that
    neither has, and without the package peft.
    """
    try:
        from peft import PeftModel, get_peft_model_state_dict
    except ImportError:
        raise CheckpointError("merging an adapter needs the package peft: pip install .[lora]") from None
    if out.exists():
        raise CheckpointError(f"{out} exists already; choose a new folder")
    names = _tensors_of(adapter)
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
        whole = Path(scratch) / "merged"
        save_classifier(merged, base, whole, template_to_train(base))
        open_checkpoint(whole)
        os.rename(whole, out)


def _tensors_of(adapter: Path) -> set[str]:
    if not (adapter / "adapter_config.json").is_file() or not (adapter / WEIGHTS).is_file():
        raise CheckpointError(f"{adapter} is no adapter: it needs adapter_config.json and {WEIGHTS}")
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
