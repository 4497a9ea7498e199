"""What a ModelVersion has learnt, and which prompt groups of a Dataset that is.

A training leaves its prompts as digests (scoring.learnt); they are kept as sets that versions share, a
version has those of its base too. A prompt of any Dataset has been learnt when its text is the same after
normalising, when it is a near-duplicate (pipeline.text.near_duplicates), or when the one is a conversation
that begins like the other. Then its whole group has. Where that is so is worked out when a set or a Prompt
comes, and pages only read it."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Max

from scoring.learnt import Record, Text, read
from scoring.messages import reading
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

Alive = Callable[[], None]


def _alive() -> None:
    pass


@dataclass(frozen=True)
class Seen:
    """The groups of one Dataset that a version has learnt, and whether that is all there is to know."""

    known: ModelVersion.Known
    trained: frozenset[int] = frozenset()
    chosen: frozenset[int] = frozenset()
    by_split: bool = False

    def __contains__(self, group: str) -> bool:
        """Whether the group taught the version, or decided which of its weights were kept."""
        number = _number(group)
        return (
            number in self.trained or number in self.chosen or (self.by_split and split_of(group) == "train")
        )

    def taught(self, group: str) -> bool:
        """Whether the weights were fitted to the group."""
        return _number(group) in self.trained or (self.by_split and split_of(group) == "train")

    def may_calibrate(self, group: str) -> bool:
        """Whether a temperature may be fitted on the group: one that taught nothing, and that no calibrated
        figure is of."""
        if self.taught(group):
            return False
        split = split_of(group)
        return _number(group) in self.chosen or split == ("validation" if self.by_split else "train")

    def measures_calibration(self, group: str) -> bool:
        """Whether figures at the fitted temperature may be of the group."""
        return group not in self and not self.may_calibrate(group)


def _number(group: str) -> int:
    """The first 8 bytes of a group's digest. Of a million groups two are the same with a chance of 1 in 40
    million."""
    try:
        return int(group[:16], 16)
    except ValueError:  # a file may name its groups as it likes
        return int(hashlib.sha256(group.encode()).hexdigest()[:16], 16)


# --- what was learnt is put on record -----------------------------------------------------------------------


def remember_folder(version: ModelVersion, folder: Path) -> None:
    """Put on record what the version's checkpoint folder says that it has learnt, and what is known here of
    the weights that its training began with. Raises BadRecord."""
    record = read(folder)
    if record is not None:
        remember(version, record, base=None if record.whole else _base_of(folder))


def _base_of(folder: Path) -> ModelVersion | None:
    """The version here with the weights that the training of a folder began with."""
    try:
        weights = json.loads((folder / "training.json").read_text())["base"]["weights"]
        known = list(weights.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return ModelVersion.objects.filter(weights_sha256=known[0]).first() if len(known) == 1 else None


def remember(
    version: ModelVersion,
    record: Record | None,
    alive: Alive = _alive,
    *,
    base: ModelVersion | None = None,
) -> None:
    """Put on record what the version has learnt, and all that its base had: for a version whose record is
    None, that is not known. Finds the prompts in every Dataset; written whole or not at all."""
    if record is None:
        return
    base = base or version.base
    with transaction.atomic():
        for use, texts in record.texts.items():
            if texts:
                prompts = _kept(texts, record.source, alive)
                Learnt.objects.get_or_create(version=version, prompts=prompts, use=use)
        whole = record.whole
        if base is not None:
            for lesson in base.lessons.all():
                Learnt.objects.get_or_create(version=version, prompts=lesson.prompts, use=lesson.use)
            whole = base.learnt == ModelVersion.Known.YES
        known = ModelVersion.Known
        version.learnt_on_record = known.YES if whole else known.PARTLY
        version.save(update_fields=["learnt_on_record"])
    for dataset in Dataset.objects.there().order_by("pk"):
        look_through(dataset, alive)


def _kept(texts: Sequence[Text], source: str, alive: Alive) -> PromptSet:
    """The set of these prompts, stored once."""
    digest = hashlib.sha256("\n".join(sorted({text.digests[0] for text in texts})).encode()).hexdigest()
    prompts, new = PromptSet.objects.get_or_create(
        sha256=digest, defaults={"source": source[:300], "size": len({t.digests[0] for t in texts})}
    )
    if new:
        keys: dict[int, int | None] = {}
        for chunk in _chunks(texts, CHUNK):
            alive()
            _add(prompts, chunk, keys)
        rows = (LearntKey(key=key, prompts=prompts, text_id=text) for key, text in keys.items())
        for part in _chunks(rows, INSERTED):
            alive()
            LearntKey.objects.bulk_create(part)
    return prompts


def _add(prompts: PromptSet, texts: Sequence[Text], keys: dict[int, int | None]) -> None:
    """Store the long ones, and note the keys of all."""
    long = [text.runs for text in texts if text.runs is not None]
    stored = LearntText.objects.bulk_create(
        [LearntText(prompts=prompts, shingles=runs.tobytes()) for runs in long]
    )
    for row, of_text in zip(stored, keys_of(long).tolist() if long else [], strict=True):
        for key in of_text:
            keys.setdefault(key, row.pk)
    keys |= {_key(digest): None for text in texts for digest in text.digests}


def _key(digest: str) -> int:
    """A digest as a whole number that a database takes."""
    return int.from_bytes(bytes.fromhex(digest)[:8], "big", signed=True)


def _chunks(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(values)
    while part := list(islice(rest, size)):
        yield part


# --- where it is met ----------------------------------------------------------------------------------------


def look_through(dataset: Dataset, alive: Alive = _alive) -> None:
    """Look for the prompts of every set among the Dataset's Prompts that were not looked at yet."""
    last = Prompt.objects.of(dataset).aggregate(last=Max("pk"))["last"]
    if last is None or not PromptSet.objects.exists():
        return
    done = dict(LearntMatch.objects.filter(dataset=dataset).values_list("prompts", "up_to"))
    behind: dict[int, list[int]] = {}
    for pk in PromptSet.objects.values_list("pk", flat=True):
        if done.get(pk, 0) < last:
            behind.setdefault(done.get(pk, 0), []).append(pk)
    for up_to, sets in sorted(behind.items()):
        _look(dataset, sets, up_to, last, alive)


def _look(dataset: Dataset, sets: list[int], after: int, last: int, alive: Alive) -> None:
    groups: dict[int, set[int]] = {pk: set() for pk in sets}
    rows = Prompt.objects.of(dataset).filter(pk__gt=after, pk__lte=last).order_by("pk")
    stream = rows.values_list("group", "messages").iterator(chunk_size=CHUNK)
    while chunk := list(islice(stream, CHUNK)):
        alive()
        texts = [Text.of(reading(messages)) for _, messages in chunk]
        for place, found in _sets_of(texts, sets):
            groups[found].add(_number(chunk[place][0]))
    with transaction.atomic():
        for pk, new in groups.items():
            match, _ = LearntMatch.objects.select_for_update().get_or_create(prompts_id=pk, dataset=dataset)
            match.groups = _packed(new | _unpacked(match.groups))
            match.up_to = max(match.up_to, last)
            match.save()


def _packed(numbers: Iterable[int]) -> bytes:
    return b"".join(number.to_bytes(8, "big") for number in sorted(numbers))


def _unpacked(packed: bytes | memoryview) -> set[int]:
    held = bytes(packed)
    return {int.from_bytes(held[at : at + 8], "big") for at in range(0, len(held), 8)}


def _sets_of(texts: Sequence[Text], sets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(place of a text, primary key of a set that it has been met in)."""
    import numpy as np

    exact = [(_key(digest), place) for place, text in enumerate(texts) for digest in text.digests]
    places = [place for place, text in enumerate(texts) if text.runs is not None]
    near: list[tuple[int, int]] = []
    if places:
        rows = keys_of([runs for text in texts if (runs := text.runs) is not None]).tolist()
        near = [(key, place) for place, keys in zip(places, rows, strict=True) for key in keys]
    owners: dict[int, list[tuple[int, int | None]]] = {}
    for key, found, text in _keys({key for key, _ in exact + near}, sets):
        owners.setdefault(key, []).append((found, text))
    for key, place in exact:
        yield from ((place, found) for found, text in owners.get(key, ()) if text is None)
    met = {(text, place): found for key, place in near for found, text in owners.get(key, ()) if text}
    shingles = dict(LearntText.objects.filter(pk__in={text for text, _ in met}).values_list("pk", "shingles"))
    for (text, place), found in met.items():
        runs = texts[place].runs
        if runs is not None and text in shingles:
            stored = np.frombuffer(bytes(shingles[text]), dtype=np.uint32)
            if likeness(runs, stored) >= ALIKE:
                yield place, found


def _keys(keys: Iterable[int], sets: Sequence[int]) -> list[tuple[int, int, int | None]]:
    found = LearntKey.objects.filter(key__in=list(keys), prompts_id__in=sets)
    return list(found.values_list("key", "prompts_id", "text_id"))


# --- what a figure must leave out ---------------------------------------------------------------------------


def seen(version: ModelVersion, dataset: Dataset) -> Seen:
    """What the version has learnt of the dataset. Prompts that came since anybody looked are looked at."""
    lessons = list(version.lessons.values_list("use", "prompts"))
    if not lessons:
        # Trained here before there was a record: the training split of its Release's Dataset taught it.
        release = version.release
        return Seen(version.learnt, by_split=release is not None and release.dataset_id == dataset.pk)
    look_through(dataset)
    packed = dict(LearntMatch.objects.filter(dataset=dataset).values_list("prompts", "groups"))
    found: dict[str, set[int]] = {use: set() for use in Learnt.Use.values}
    for use, prompts in lessons:
        found[use] |= _unpacked(packed.get(prompts, b""))
    return Seen(version.learnt, frozenset(found["trained"]), frozenset(found["chosen"]))


def seen_of_texts(version: ModelVersion, texts: Mapping[str, Sequence[Text]]) -> Seen:
    """The same of prompts that are in no Dataset: the groups of a file, with their texts."""
    lessons: dict[int, set[str]] = {}
    for use, prompts in version.lessons.values_list("use", "prompts"):
        lessons.setdefault(prompts, set()).add(use)
    found: dict[str, set[int]] = {use: set() for use in Learnt.Use.values}
    given = [(group, text) for group, of_group in texts.items() for text in of_group]
    for chunk in _chunks(given, CHUNK) if lessons else ():
        for place, prompts in _sets_of([text for _, text in chunk], list(lessons)):
            for use in lessons[prompts]:
                found[use].add(_number(chunk[place][0]))
    return Seen(version.learnt, frozenset(found["trained"]), frozenset(found["chosen"]))


UNKNOWN = {
    ModelVersion.Known.YES: "",
    ModelVersion.Known.PARTLY: "the training data of its base model is not known",
    ModelVersion.Known.NO: "its training data is not known",
}


def beware(known: str) -> str:
    """A sentence where it is not known what a version has learnt, else ""."""
    unknown = UNKNOWN[ModelVersion.Known(known)]
    return f"{unknown.capitalize()}, so some prompts may not be new to the model." if unknown else ""
