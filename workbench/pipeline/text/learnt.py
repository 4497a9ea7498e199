"""The prompts that a ModelVersion has learnt, and the prompt groups of a Dataset with such a prompt.

A training records digests of its prompts (scoring.learnt). Versions share the sets of digests, and a version
has the sets of its base too. A version has learnt a prompt group when one of its prompts has the same
normalised text as a recorded prompt, is a near-duplicate (pipeline.text.near_duplicates), or is a
conversation that begins like the recorded prompt or the other way round. The groups are found when a set or
a Prompt is stored, and pages only read them."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Max

from scoring.learnt import Record, Text, read
from scoring.messages import reading
from workbench.db.bulk import digest_key, in_chunks
from workbench.models import (
    Dataset,
    Learnt,
    LearntKey,
    LearntMatch,
    LearntText,
    ModelVersion,
    Prompt,
    PromptSet,
)
from workbench.pipeline.text.near_duplicates import ALIKE, keys_of, likeness
from workbench.pipeline.text.splits import split_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Shingles = NDArray[np.uint32]

CHUNK = 500
INSERTED = 2_000

Tick = Callable[[], None]
"""Called now and then; raises to stop the work."""


def _no_tick() -> None:
    pass


@dataclass(frozen=True)
class Seen:
    """The groups of one Dataset that a version has learnt. `known`: whether these are all. `trained`: the
    weights were fitted to the group. `chosen`: the group decided which weights were kept. `by_split`: the
    training split was learnt."""

    known: ModelVersion.Known
    trained: frozenset[int] = frozenset()
    chosen: frozenset[int] = frozenset()
    by_split: bool = False

    def __contains__(self, group: str) -> bool:
        """Whether the weights were fitted to the group, or chosen by the group."""
        return self.taught(group) or _number(group) in self.chosen

    def taught(self, group: str) -> bool:
        """Whether the weights were fitted to the group."""
        return _number(group) in self.trained or (self.by_split and split_of(group) == "train")

    def may_calibrate(self, group: str) -> bool:
        """Whether a temperature may be fitted on the group: the weights were not fitted to the group, and no
        calibrated figure uses the group."""
        if self.taught(group):
            return False
        split = split_of(group)
        return _number(group) in self.chosen or split == ("validation" if self.by_split else "train")

    def measures_calibration(self, group: str) -> bool:
        """Whether figures at the fitted temperature may use the group."""
        return group not in self and not self.may_calibrate(group)


def _number(group: str) -> int:
    """The first 8 bytes of a group's digest. The chance that two of a million groups have the same number is
    1 in 40 million."""
    try:
        return int(group[:16], 16)
    except ValueError:  # the name of a group in a file, which need not be a digest
        return int(hashlib.sha256(group.encode()).hexdigest()[:16], 16)


# --- recording ----------------------------------------------------------------------------------------------


def remember_folder(version: ModelVersion, folder: Path) -> None:
    """Record the prompts that the version has learnt by its checkpoint folder, and the prompts of the version
    here that its training began with. Raises BadRecord."""
    record = read(folder)
    if record is not None:
        remember(version, record, base=None if record.whole else _base_of(folder))


def _base_of(folder: Path) -> ModelVersion | None:
    """The version here with the weights that the training of a folder began with."""
    try:
        weights = json.loads((folder / "training.json").read_text())["base"]["weights"]
        digests = list(weights.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return ModelVersion.objects.filter(weights_sha256=digests[0]).first() if len(digests) == 1 else None


def remember(
    version: ModelVersion,
    record: Record | None,
    tick: Tick = _no_tick,
    *,
    base: ModelVersion | None = None,
) -> None:
    """Record the prompts that the version and its base have learnt, all or none, and find these prompts in
    every Dataset. A record of None means that the prompts are not known."""
    if record is None:
        return
    base = base or version.base
    with transaction.atomic():
        for use, texts in record.texts.items():
            if texts:
                prompts = _prompt_set(texts, record.source, tick)
                Learnt.objects.get_or_create(version=version, prompts=prompts, use=use)
        whole = record.whole
        if base is not None:
            for lesson in base.lessons.all():
                Learnt.objects.get_or_create(version=version, prompts=lesson.prompts, use=lesson.use)
            whole = base.learnt == ModelVersion.Known.YES
        version.learnt_on_record = ModelVersion.Known.YES if whole else ModelVersion.Known.PARTLY
        version.save(update_fields=["learnt_on_record"])
    for dataset in Dataset.objects.not_deleted().order_by("pk"):
        look_through(dataset, tick)


def _prompt_set(texts: Sequence[Text], source: str, tick: Tick) -> PromptSet:
    """The set of these prompts, stored once."""
    digests = sorted({text.digests[0] for text in texts})
    prompts, is_new = PromptSet.objects.get_or_create(
        sha256=hashlib.sha256("\n".join(digests).encode()).hexdigest(),
        defaults={"source": source[:300], "size": len(digests)},
    )
    if is_new:
        keys: dict[int, int | None] = {}
        for chunk in in_chunks(texts, CHUNK):
            tick()
            _add(prompts, chunk, keys)
        rows = (LearntKey(key=key, prompts=prompts, text_id=text) for key, text in keys.items())
        for chunk_rows in in_chunks(rows, INSERTED):
            tick()
            LearntKey.objects.bulk_create(chunk_rows)
    return prompts


def _add(prompts: PromptSet, texts: Sequence[Text], keys: dict[int, int | None]) -> None:
    """Store the shingles of the long texts, and add the keys of all texts to `keys`."""
    shingles = [text.runs for text in texts if text.runs is not None]
    long_texts = LearntText.objects.bulk_create(
        [LearntText(prompts=prompts, shingles=runs.tobytes()) for runs in shingles]
    )
    for long_text, bands in zip(long_texts, keys_of(shingles).tolist() if shingles else [], strict=True):
        for key in bands:
            keys.setdefault(key, long_text.pk)
    keys |= {digest_key(digest): None for text in texts for digest in text.digests}


# --- finding the prompts in Datasets ------------------------------------------------------------------------


def look_through(dataset: Dataset, tick: Tick = _no_tick) -> None:
    """Look for the prompts of every set among the Prompts of the Dataset that are newer than the last
    look."""
    newest = Prompt.objects.of(dataset).aggregate(newest=Max("pk"))["newest"]
    if newest is None or not PromptSet.objects.exists():
        return
    up_to = dict(LearntMatch.objects.filter(dataset=dataset).values_list("prompts", "up_to"))
    sets_by_start: dict[int, list[int]] = defaultdict(list)
    for pk in PromptSet.objects.values_list("pk", flat=True):
        if up_to.get(pk, 0) < newest:
            sets_by_start[up_to.get(pk, 0)].append(pk)
    for start, sets in sorted(sets_by_start.items()):
        _look_between(dataset, sets, start, newest, tick)


def _look_between(dataset: Dataset, sets: list[int], after: int, last: int, tick: Tick) -> None:
    groups: dict[int, set[int]] = {pk: set() for pk in sets}
    rows = Prompt.objects.of(dataset).filter(pk__gt=after, pk__lte=last).order_by("pk")
    for chunk in in_chunks(rows.values_list("group", "messages").iterator(chunk_size=CHUNK), CHUNK):
        tick()
        texts = [Text.of(reading(messages)) for _, messages in chunk]
        for place, pk in _sets_of(texts, sets):
            groups[pk].add(_number(chunk[place][0]))
    with transaction.atomic():
        for pk, numbers in groups.items():
            match, _ = LearntMatch.objects.select_for_update().get_or_create(prompts_id=pk, dataset=dataset)
            match.groups = _packed(numbers | _unpacked(match.groups))
            match.up_to = max(match.up_to, last)
            match.save()


def _packed(numbers: Iterable[int]) -> bytes:
    return b"".join(number.to_bytes(8, "big") for number in sorted(numbers))


def _unpacked(packed: bytes | memoryview) -> set[int]:
    content = bytes(packed)
    return {int.from_bytes(content[start : start + 8], "big") for start in range(0, len(content), 8)}


def _sets_of(texts: Sequence[Text], sets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(place of a text, primary key of a set that has the text or a near-duplicate)."""
    import numpy as np

    exact = [(digest_key(digest), place) for place, text in enumerate(texts) for digest in text.digests]
    places = [place for place, text in enumerate(texts) if text.runs is not None]
    near: list[tuple[int, int]] = []
    if places:
        rows = keys_of([runs for text in texts if (runs := text.runs) is not None]).tolist()
        near = [(key, place) for place, keys in zip(places, rows, strict=True) for key in keys]
    owners: dict[int, list[tuple[int, int | None]]] = {}
    keys = {key for key, _ in exact + near}
    rows_of_keys = LearntKey.objects.filter(key__in=keys, prompts_id__in=sets)
    for key, prompts, text_pk in rows_of_keys.values_list("key", "prompts_id", "text_id"):
        owners.setdefault(key, []).append((prompts, text_pk))
    for key, place in exact:
        yield from ((place, prompts) for prompts, text_pk in owners.get(key, ()) if text_pk is None)
    candidates = {
        (text_pk, place): prompts
        for key, place in near
        for prompts, text_pk in owners.get(key, ())
        if text_pk
    }
    long_texts = LearntText.objects.filter(pk__in={text_pk for text_pk, _ in candidates})
    shingles = dict(long_texts.values_list("pk", "shingles"))
    for (text_pk, place), prompts in candidates.items():
        runs = texts[place].runs
        if runs is not None and text_pk in shingles:
            recorded = np.frombuffer(bytes(shingles[text_pk]), dtype=np.uint32)
            if likeness(runs, recorded) >= ALIKE:
                yield place, prompts


# --- asking -------------------------------------------------------------------------------------------------


def seen(version: ModelVersion, dataset: Dataset) -> Seen:
    """The groups of the dataset that the version has learnt, new prompts included."""
    lessons = list(version.lessons.values_list("use", "prompts"))
    if not lessons:
        # Trained here before trainings were recorded, on the training split of its Release's Dataset.
        release = version.release
        return Seen(version.learnt, by_split=release is not None and release.dataset_id == dataset.pk)
    look_through(dataset)
    packed = dict(LearntMatch.objects.filter(dataset=dataset).values_list("prompts", "groups"))
    numbers: dict[str, set[int]] = {use: set() for use in Learnt.Use.values}
    for use, prompts in lessons:
        numbers[use] |= _unpacked(packed.get(prompts, b""))
    return Seen(version.learnt, frozenset(numbers["trained"]), frozenset(numbers["chosen"]))


def seen_of_texts(version: ModelVersion, texts: Mapping[str, Sequence[Text]]) -> Seen:
    """The groups of a file that the version has learnt; `texts` has the texts of each group."""
    lessons: dict[int, set[str]] = {}
    for use, prompts in version.lessons.values_list("use", "prompts"):
        lessons.setdefault(prompts, set()).add(use)
    numbers: dict[str, set[int]] = {use: set() for use in Learnt.Use.values}
    rows = [(group, text) for group, texts_of_group in texts.items() for text in texts_of_group]
    for chunk in in_chunks(rows, CHUNK) if lessons else ():
        for place, prompts in _sets_of([text for _, text in chunk], list(lessons)):
            for use in lessons[prompts]:
                numbers[use].add(_number(chunk[place][0]))
    return Seen(version.learnt, frozenset(numbers["trained"]), frozenset(numbers["chosen"]))


UNKNOWN = {
    ModelVersion.Known.YES: "",
    ModelVersion.Known.PARTLY: "the training data of its base model is not known",
    ModelVersion.Known.NO: "its training data is not known",
}


def warnings(versions: Iterable[ModelVersion]) -> list[str]:
    """A sentence for each version whose training data is not fully known."""
    return [f"{version}: {unknown}." for version in versions if (unknown := UNKNOWN[version.learnt])]


def warning(known: str) -> str:
    """A sentence where the training data of a version is not fully known, else ""."""
    unknown = UNKNOWN[ModelVersion.Known(known)]
    return f"{unknown.capitalize()}, so some prompts may not be new to the model." if unknown else ""
