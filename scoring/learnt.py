"""Which prompts a checkpoint has learnt, as a file beside its weights: digests and no texts, so that whoever
registers the checkpoint can leave these prompts out of every figure. Nothing here imports torch."""

from __future__ import annotations

import base64
import gzip
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scoring.likeness import ALIKE, likeness, signature
from scoring.normalise import normalised_digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scoring.pairs import TrainingData

FILE = "learnt.jsonl.gz"
FORMAT = 1
OPENING_WORDS = 5
"""A first turn of fewer words ("Hello") says nothing of what a conversation is about."""

Use = Literal["trained", "chosen"]
"""The weights were fitted to it, or it decided which weights were kept."""

_OPENING = re.compile(
    r"((?:System: .*?\n\n)?)User: (.*?)\n\n(?:Assistant|User|Tool|Function)(?: \([^\n]*?\))?: ", re.DOTALL
)


class BadRecord(ValueError):
    """A record that cannot be read; the message is a sentence."""


@dataclass(frozen=True)
class Text:
    """A prompt without its words. `digests`: of its text, and of the opening of a conversation, which all
    that begin likewise share; `runs`: what near-duplicates are found by (see scoring.likeness), or None."""

    digests: tuple[str, ...]
    runs: NDArray[np.uint32] | None

    @classmethod
    def of(cls, prompt: str) -> Text:
        """Of the text that a scorer is given (see scoring.formats.flatten_messages)."""
        texts = [prompt, *([opening] if (opening := opening_of(prompt)) else [])]
        return cls(tuple(dict.fromkeys(map(normalised_digest, texts))), signature(prompt))


@dataclass(frozen=True)
class Record:
    """Texts by what they were used for. `whole`: what the base had learnt is among them, or it had learnt
    nothing of this kind; False where that is not on record."""

    texts: Mapping[Use, Sequence[Text]] = field(default_factory=dict)
    whole: bool = True
    source: str = ""


class Known:
    """The texts of a record, to be met again: equal, near-duplicates, or beginning alike."""

    def __init__(self, record: Record) -> None:
        self._digests: set[str] = set()
        self._long: list[NDArray[np.uint32]] = []
        self._by_run: dict[int, list[int]] = {}
        for texts in record.texts.values():
            for text in texts:
                self._digests |= set(text.digests)
                if text.runs is not None:
                    for run in _first(text.runs):
                        self._by_run.setdefault(run, []).append(len(self._long))
                    self._long.append(text.runs)

    def __contains__(self, prompt: str) -> bool:
        text = Text.of(prompt)
        if not self._digests.isdisjoint(text.digests):
            return True
        runs = text.runs
        if runs is None:
            return False
        met = {place for run in _first(runs) for place in self._by_run.get(run, ())}
        return any(likeness(runs, self._long[place]) >= ALIKE for place in met)


def _first(runs: NDArray[np.uint32]) -> list[int]:
    """So many of the sorted runs that two texts that are alike have one of them in common."""
    kept: list[int] = runs[: len(runs) - math.ceil(ALIKE * len(runs)) + 1].tolist()
    return kept


def opening_of(prompt: str) -> str:
    """The system's and the first user's turn of a conversation of several turns, as a prompt of its own; ""
    for a prompt of one turn, and for an opening of fewer than five words."""
    found = _OPENING.match(prompt)
    if found is None or len(found[2].split()) < OPENING_WORDS:
        return ""
    return f"{found[1]}User: {found[2]}" if found[1] else found[2]


def texts_of(prompts: Iterable[str]) -> list[Text]:
    """Each prompt once, in the order of its digest."""
    found = {text.digests[0]: text for text in map(Text.of, dict.fromkeys(prompts))}
    return [found[digest] for digest in sorted(found)]


def of_training(data: TrainingData, *, base: Record | None, source: str = "") -> Record:
    """What comes of a training on the data, begun with weights that have learnt what `base` says (None: that
    is not on record)."""
    own: dict[Use, list[Text]] = {
        "trained": texts_of(pair.prompt for pair in data.train),
        "chosen": texts_of(pair.prompt for pair in data.validation),
    }
    known = base.texts if base else {}
    joined: dict[Use, Sequence[Text]] = {use: [*known.get(use, ()), *texts] for use, texts in own.items()}
    return Record(joined, whole=base is not None and base.whole, source=source)


def write(folder: Path, record: Record) -> None:
    """The record as a file in the checkpoint's folder."""
    with gzip.open(folder / FILE, "wt", encoding="utf-8") as file:
        file.write(json.dumps({"format": FORMAT, "whole": record.whole, "source": record.source}) + "\n")
        for use, texts in record.texts.items():
            for text in texts:
                runs = None if text.runs is None else base64.b64encode(text.runs.tobytes()).decode()
                file.write(json.dumps({"use": use, "digests": text.digests, "runs": runs}) + "\n")


def read(folder: Path) -> Record | None:
    """The record of a checkpoint's folder; None where it has none. Raises BadRecord."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            head = json.loads(file.readline())
            if head.get("format") != FORMAT:
                raise BadRecord(f"{FILE} has format {head.get('format')}, which this version can't read")
            found: dict[Use, list[Text]] = {"trained": [], "chosen": []}
            for use, text in _texts(map(json.loads, file)):
                found[use].append(text)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise (
            error if isinstance(error, BadRecord) else BadRecord(f"{FILE} can't be read: {error}")
        ) from None
    return Record(found, whole=bool(head["whole"]), source=str(head.get("source", "")))


def _texts(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[Use, Text]]:
    import numpy as np

    for row in rows:
        runs = np.frombuffer(base64.b64decode(row["runs"]), dtype=np.uint32) if row["runs"] else None
        yield row["use"], Text(tuple(map(str, row["digests"])), runs)
