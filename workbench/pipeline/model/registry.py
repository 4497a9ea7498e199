"""The registry of ModelVersions and their checkpoints in Django's storage."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from django.core.files import File
from django.core.files.storage import Storage, default_storage
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError

from scoring.formats import Pair, Scorer
from workbench.db.storage import delete_folder
from workbench.models import ModelVersion, User
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.runs.progress import Refused

SELF_TEST: Sequence[Pair] = (
    ("How do I boil an egg?", "Put it into boiling water for seven minutes, then cool it under the tap."),
    ("How do I boil an egg?", "eggs lol"),
    ("Name a prime number above ten.", "11 is a prime number above ten."),
    ("Name a prime number above ten.", "12, because it can be divided by 2, 3, 4 and 6."),
)
"""Texts whose scores are stored when a version is registered, and computed again when a worker loads it."""
TOLERANCES = {"bf16": 0.2}  # processors round differently in bf16; the others answer in fp32
TOLERANCE = 1e-2


class KnownScore(TypedDict):
    prompt: str
    completion: str
    value: float


def self_test(score: Scorer) -> list[KnownScore]:
    """The scores of SELF_TEST, as stored on a ModelVersion."""
    return [
        {"prompt": prompt, "completion": completion, "value": scored.value}
        for (prompt, completion), scored in zip(SELF_TEST, score(SELF_TEST), strict=True)
    ]


def check_self_test(version: ModelVersion, score: Scorer) -> None:
    """Raise Refused when the loaded model scores differently from the day it was registered: other weights,
    other tokenizer, or token types where there should be none."""
    known_scores: list[KnownScore] = version.self_test
    pairs = [(answer["prompt"], answer["completion"]) for answer in known_scores]
    tolerance = TOLERANCES.get(version.precision, TOLERANCE)
    for answer, scored in zip(known_scores, score(pairs) if pairs else [], strict=True):
        if not abs(scored.value - answer["value"]) <= tolerance:
            raise Refused(
                f"{version} scores a known text {scored.value:.4f}, but scored it {answer['value']:.4f} when "
                "registered. This worker stores no scores for it: its weights or its software differ."
            )


def register(
    *,
    name: str,
    folder: Path,
    files: Sequence[str],
    facts: Mapping[str, object],
    storage: Storage = default_storage,
    by: User | None = None,
) -> tuple[ModelVersion, bool]:
    """Store a checkpoint's files and the ModelVersion that pins them; (version, whether it is new).

    `facts` are fields of ModelVersion. A version with the same weights, tokenizer and encoding is given back
    as it is. Raises Refused when another version has the name."""
    version = ModelVersion(name=name, kind=ModelVersion.Kind.TRANSFORMER, **facts)
    same = ModelVersion.objects.transformers().filter(
        weights_sha256=version.weights_sha256,
        tokenizer_sha256=version.tokenizer_sha256,
        template=version.template,
        max_length=version.max_length,
        precision=version.precision,
    )
    if registered := same.first():
        return registered, False
    try:
        for file in files:
            _store(folder / file, f"{version.checkpoint}/{file}", storage)
    except OSError:
        _delete_unshared_files(version, storage)  # half a checkpoint fills a disk that is full already
        raise
    try:
        with transaction.atomic():
            version.save(force_insert=True)
            record(Kind.MODEL_ADDED, by=by, target=version)
    except IntegrityError:
        raise Refused(f"Another model is named {name}. Give this model another name with --name.") from None
    return version, True


def _store(source: Path, target: str, storage: Storage) -> None:
    # The folder's name is the content's sha256, so a file of this name is the same file.
    if storage.exists(target):
        if storage.size(target) == source.stat().st_size:
            return
        # Left by a killed process. Storage would give the whole file another name beside this one.
        storage.delete(target)
    with source.open("rb") as stream:
        storage.save(target, File(stream))


def rename(version: ModelVersion, name: str, notice: str, by: User) -> None:
    """Give the version this name, and this sentence beside its picks: no Score depends on them. Raises
    Refused, and changes nothing, for a baseline, which is found by its name, and for a name that is taken."""
    if version.kind == ModelVersion.Kind.BASELINE:
        raise Refused(f"{version} is a baseline: the name is that of its rule and cannot be changed.")
    now = {"name": name, "notice": notice}
    changed = [field for field, value in now.items() if getattr(version, field) != value]
    if not changed:
        return
    try:
        with transaction.atomic():
            ModelVersion.objects.filter(pk=version.pk).update(**now)
            record(Kind.MODEL_CHANGED, by=by, target=version, fields=changed)
    except IntegrityError:
        raise Refused(f"Another model is named {name}. Nothing was changed.") from None
    version.name, version.notice = name, notice


def retire(version: ModelVersion, by: User | None = None) -> None:
    """Take a registered version out of use; its Scores stay. Raises Refused for any other state."""
    with transaction.atomic():
        if not version.retire():
            raise Refused(f"{version} is {version.state}. Only a registered model can be retired.")
        record(Kind.MODEL_RETIRED, by=by, target=version)


def delete_unused(version: ModelVersion, storage: Storage = default_storage, by: User | None = None) -> None:
    """Delete a version that nothing rests on, and its files when no other version shares them. Raises Refused
    for the active version, a baseline, and a version with Scores or Judgments."""
    if version.kind == ModelVersion.Kind.BASELINE or version.state == ModelVersion.State.ACTIVE:
        raise Refused(
            f"{version} is {'a baseline' if version.kind == 'baseline' else version.state} and "
            "cannot be deleted."
        )
    try:
        with transaction.atomic():
            record(Kind.MODEL_DELETED, by=by, target=version)
            version.delete()
    except ProtectedError:
        raise Refused(
            f"{version} has scores that other figures rest on, so it cannot be deleted. Retire it instead."
        ) from None
    _delete_unshared_files(version, storage)


def _delete_unshared_files(version: ModelVersion, storage: Storage) -> None:
    """Delete the version's checkpoint when no version in the registry has the same files."""
    sharing = ModelVersion.objects.filter(
        weights_sha256=version.weights_sha256, tokenizer_sha256=version.tokenizer_sha256
    )
    if not sharing.exists():
        delete_folder(version.checkpoint, storage)


def local_checkpoint(version: ModelVersion, cache: Path, storage: Storage = default_storage) -> Path:
    """The folder with the version's checkpoint on this machine: Django's storage itself when that is a local
    folder, else a copy under `cache` that appears whole or not at all."""
    try:
        return Path(storage.path(version.checkpoint))
    except NotImplementedError:
        target = cache / Path(version.checkpoint).name
        if not target.is_dir():
            _download(version.checkpoint, target, storage)
        return target


def _download(checkpoint: str, target: Path, storage: Storage) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        whole = Path(scratch) / "checkpoint"
        whole.mkdir()
        for name in storage.listdir(checkpoint)[1]:
            with storage.open(f"{checkpoint}/{name}") as source, (whole / name).open("wb") as sink:
                sink.writelines(source.chunks())
        try:
            os.rename(whole, target)
        except OSError:
            if not target.is_dir():  # else another worker of this machine was faster
                raise
