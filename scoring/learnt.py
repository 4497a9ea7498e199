"""The prompts that a checkpoint has learnt, as a file of digests beside its weights.

Whoever registers the checkpoint can leave these prompts out of every figure. The file holds no texts.
Nothing here imports torch.
"""

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
"""A shorter first turn ("Hello") does not tell two conversations apart."""

Use = Literal["trained", "chosen"]
"""trained: the weights were fitted to the prompt. chosen: the prompt decided which weights were kept."""

_OPENING = re.compile(
    r"((?:System: .*?\n\n)?)User: (.*?)\n\n(?:Assistant|User|Tool|Function)(?: \([^\n]*?\))?: ", re.DOTALL
)


class BadRecord(ValueError):
    """A record that cannot be read."""


@dataclass(frozen=True)
class Text:
    """A prompt without its words.

    `digests`: of the text, and of the opening of a conversation, which all its continuations share. `runs`:
    the signature of scoring.likeness, which finds near-duplicates; None for a short text.
    """

    digests: tuple[str, ...]
    runs: NDArray[np.uint32] | None

    @classmethod
    def of(cls, prompt: str) -> Text:
        """`prompt` is the text for a scorer (see scoring.formats.flatten_messages)."""
        texts = [prompt, *([opening] if (opening := opening_of(prompt)) else [])]
        return cls(tuple(dict.fromkeys(map(normalised_digest, texts))), signature(prompt))


@dataclass(frozen=True)
class Record:
    """Texts by use. `whole`: whether everything that the base model had learnt is among them."""

    texts: Mapping[Use, Sequence[Text]] = field(default_factory=dict)
    whole: bool = True
    source: str = ""


class Known:
    """An index of a record's texts. `prompt in known`: equal, a near-duplicate, or the same opening."""

    def __init__(self, record: Record) -> None:
        self._digests: set[str] = set()
        self._long: list[NDArray[np.uint32]] = []
        self._by_run: dict[int, list[int]] = {}
        for texts in record.texts.values():
            for text in texts:
                self._digests |= set(text.digests)
                if text.runs is not None:
                    for run in _indexed(text.runs):
                        self._by_run.setdefault(run, []).append(len(self._long))
                    self._long.append(text.runs)

    def __contains__(self, prompt: str) -> bool:
        text = Text.of(prompt)
        if not self._digests.isdisjoint(text.digests):
            return True
        runs = text.runs
        if runs is None:
            return False
        candidates = {place for run in _indexed(runs) for place in self._by_run.get(run, ())}
        return any(likeness(runs, self._long[place]) >= ALIKE for place in candidates)


def _indexed(runs: NDArray[np.uint32]) -> list[int]:
    """The first n - ceil(ALIKE n) + 1 of n sorted runs: two near-duplicates share one of them."""
    indexed: list[int] = runs[: len(runs) - math.ceil(ALIKE * len(runs)) + 1].tolist()
    return indexed


def opening_of(prompt: str) -> str:
    """The system turn and first user turn of a conversation, as a prompt.

    "" for a prompt of one turn, and for an opening of fewer than five words.
    """
    match = _OPENING.match(prompt)
    if match is None or len(match[2].split()) < OPENING_WORDS:
        return ""
    system, question = match.groups()
    return f"{system}User: {question}" if system else question


def texts_of(prompts: Iterable[str]) -> list[Text]:
    """Each prompt once, sorted by digest."""
    texts = {text.digests[0]: text for text in map(Text.of, dict.fromkeys(prompts))}
    return [texts[digest] for digest in sorted(texts)]


def of_training(data: TrainingData, *, base: Record | None, source: str = "") -> Record:
    """The record of a training run. `base` is the record of its initial weights, None for no record."""
    new_texts: dict[Use, list[Text]] = {
        "trained": texts_of(pair.prompt for pair in data.train),
        "chosen": texts_of(pair.prompt for pair in data.validation),
    }
    base_texts = base.texts if base else {}
    joined: dict[Use, Sequence[Text]] = {
        use: [*base_texts.get(use, ()), *texts] for use, texts in new_texts.items()
    }
    return Record(joined, whole=base is not None and base.whole, source=source)


def write(folder: Path, record: Record) -> None:
    """Write the record into a checkpoint's folder."""
    with gzip.open(folder / FILE, "wt", encoding="utf-8") as file:
        file.write(json.dumps({"format": FORMAT, "whole": record.whole, "source": record.source}) + "\n")
        for use, texts in record.texts.items():
            for text in texts:
                runs = None if text.runs is None else base64.b64encode(text.runs.tobytes()).decode()
                file.write(json.dumps({"use": use, "digests": text.digests, "runs": runs}) + "\n")


def read(folder: Path) -> Record | None:
    """The record in a checkpoint's folder, None without one. Raises BadRecord."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            head = json.loads(file.readline())
            if head.get("format") != FORMAT:
                raise BadRecord(f"{FILE} has format {head.get('format')}, which this version can't read")
            texts: dict[Use, list[Text]] = {"trained": [], "chosen": []}
            for use, text in _texts(map(json.loads, file)):
                texts[use].append(text)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise (
            error if isinstance(error, BadRecord) else BadRecord(f"{FILE} can't be read: {error}")
        ) from None
    return Record(texts, whole=bool(head["whole"]), source=str(head.get("source", "")))


def _texts(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[Use, Text]]:
    import numpy as np

    for row in rows:
        runs = np.frombuffer(base64.b64decode(row["runs"]), dtype=np.uint32) if row["runs"] else None
        yield row["use"], Text(tuple(map(str, row["digests"])), runs)
