"""Labelled pairs for training and evaluation, from every format that an import reads.

scoring.rows turns the rows of a file into Drafts; this module turns Drafts into pairs of texts. Nothing here
imports torch or Django.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scoring.checkpoint import sha256_of
from scoring.formats import Message, Pair, flatten_messages, pair_of_messages
from scoring.groups import grouped
from scoring.normalise import normalised_digest
from scoring.rows.drafts import ComparisonDraft, Draft, ImportOptions, JudgmentDraft, number_of, tree_of
from scoring.rows.formats import PACKINGS, Reading, is_table, known_name, open_rows
from scoring.rows.reading import Reader
from scoring.rows.rows import BadRow, FileFault, Problem, Row, refuse_bad_text
from scoring.rows.shapes import COLUMNS
from scoring.rows.shapes.votes import without_citations

SPLITS = ("train", "validation", "test")
SALT = "preference-workbench/validation/1"
PROFILES = ("soft-label", "trl-reward", "preference", "pairs", "trl-chat", "reward-aira", "aira")
"""Of several profiles of one Release, the first of these is read: it has most about each pair."""

TARGETS = {"a": 1.0, "tie": 0.5, "b": 0.0}
"""P(a preferred) by outcome. Other outcomes have none."""

EMPTY = "pairs with an empty answer"
SAME = "pairs of two equal answers"
NO_LABEL = "pairs without a label"
NO_SIDE = "pairs whose votes all say both bad or can't judge"
NOTHING = "prompts with nothing to compare"
TOO_MANY = "pairs beyond the limit of one prompt"


class DataError(ValueError):
    """A file or folder that can't be used for training or evaluation; the message names the place."""


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two completions of one prompt, with the preference of people.

    `target` = P(a preferred): 1, 0, 0.5 for a tie, or a share of votes. `strength` is how much better the
    preferred completion is, on the scale of its source, or None. Pairs of one `group` stay together in a
    split and are not independent. `part` is a label for slices, such as the subset. `tree` is the
    conversation by the file's own column. `messages` are those of the prompt, `answers` those of a and b.
    """

    prompt: str
    a: str
    b: str
    target: float
    group: str
    strength: float | None = None
    part: str | None = None
    tree: str = ""
    messages: Sequence[Message] = field(default=(), compare=False)
    answers: tuple[Sequence[Message], Sequence[Message]] | None = field(default=None, compare=False)

    @property
    def is_tie(self) -> bool:
        return self.target == 0.5

    @property
    def texts(self) -> tuple[Pair, Pair]:
        """Both sides for a scorer, with their messages where these are known."""
        if not self.messages:
            return (self.prompt, self.a), (self.prompt, self.b)
        a, b = self.answers or (_answer(self.a), _answer(self.b))
        return pair_of_messages(self.messages, a, self.a), pair_of_messages(self.messages, b, self.b)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Pairs by split, and the sha256 of each file.

    `made_validation`: the validation split was taken from the training pairs, by prompt group. `left_out`
    counts rows of the files that are in no split, by reason.
    """

    train: Sequence[LabelledPair]
    validation: Sequence[LabelledPair]
    test: Sequence[LabelledPair] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    made_validation: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)

    def splits(self) -> dict[str, Sequence[LabelledPair]]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def sha256(self) -> str:
        """A digest of the pairs in their order, independent of the files."""
        digest = hashlib.sha256()
        for split, pairs in self.splits().items():
            for pair in pairs:
                digest.update(repr((split, pair.prompt, pair.a, pair.b, pair.target, pair.strength)).encode())
        return digest.hexdigest()


# --- folders ------------------------------------------------------------------------------------------------


def read_training_data(
    folder: str | Path,
    *,
    profile: str | None = None,
    validation_share: float = 0.1,
    bad: list[str] | None = None,
) -> TrainingData:
    """The splits of a folder, from any of these:

    - train, validation and test in any format of an import (train.jsonl, train.parquet, train.csv.gz ...);
    - the files of a Release's profile (preference.train.jsonl ...);
    - a folder saved by `datasets.save_to_disk`.

    Without a validation file, whole prompt groups are taken from training by a salted hash, so a group is
    always in the same split. Raises DataError with the file and line of the first bad row; with a list `bad`,
    such rows are left out and described there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    files = _files_of(folder, profile)
    left_out: Counter[str] = Counter()
    # A small Release may have an empty split; only the training split must have pairs.
    held_out = {split: _pairs_in(path, bad, left_out) for split, path in files.items() if split != "train"}
    data = TrainingData(
        train=read_pairs(files["train"], bad=bad, left_out=left_out),
        validation=held_out.get("validation", []),
        test=held_out.get("test", []),
        files={path.name: _sha256(path) for path in files.values()},
        left_out=left_out,
    )
    return data if data.validation else with_validation(data, validation_share)


def with_validation(data: TrainingData, share: float = 0.1) -> TrainingData:
    """The same data with a validation split: whole groups of the training pairs (see scoring.groups)."""
    pairs = grouped(data.train)

    def held_out(pair: LabelledPair) -> bool:
        digest = hashlib.sha256(f"{SALT}:{pair.group}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 < share

    return replace(
        data,
        train=[pair for pair in pairs if not held_out(pair)],
        validation=[pair for pair in pairs if held_out(pair)],
        made_validation=True,
    )


_ENDINGS = ("", *PACKINGS)
_KINDS = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv")
"""Of several files of one split, the first of these kinds is read: it loses least in writing."""


def _files_of(folder: Path, profile: str | None) -> dict[str, Path]:
    profiles: dict[str, dict[str, Path]] = {}
    for name, split, path in sorted(_splits_in(folder), key=lambda entry: _preference(entry[2])):
        profiles.setdefault(name, {}).setdefault(split, path)
    trainable = {name: files for name, files in profiles.items() if "train" in files}
    if not trainable:
        raise DataError(f"{folder} has no train.jsonl or PROFILE.train.jsonl, nor one in another format")
    if profile is not None:
        if profile not in trainable:
            raise DataError(f"{folder} has no {profile}.train.jsonl; it has {', '.join(sorted(trainable))}")
        return trainable[profile]
    if len(trainable) == 1:
        return next(iter(trainable.values()))
    preferred = next((name for name in ("", *PROFILES) if name in trainable), None)
    if preferred is None:
        raise DataError(f"{folder} has several profiles; name one of {', '.join(sorted(trainable))}")
    return trainable[preferred]


def _splits_in(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(profile, split, path) of each file with the name of a split."""
    for path in folder.iterdir():
        if path.is_dir() and path.name in SPLITS and (path / "state.json").is_file():
            yield "", path.name, path
        match = re.fullmatch(r"(?:(.+)\.)?(train|validation|test)\.[^.]+(?:\.gz|\.zst)?", path.name)
        if match and path.is_file() and known_name(path.name):
            yield match[1] or "", match[2], path


def _preference(path: Path) -> tuple[int, int, str]:
    packing = path.suffix if path.suffix in PACKINGS else ""
    kind = Path(path.name.removesuffix(packing)).suffix
    place = _KINDS.index(kind) if kind in _KINDS else len(_KINDS)
    return place, _ENDINGS.index(packing), path.name


def _sha256(path: Path) -> str:
    """The sha256 of a file, or of the lines "name:sha256" of the files in a folder."""
    if not path.is_dir():
        return sha256_of(path)
    lines = [f"{file.name}:{_sha256(file)}" for file in sorted(path.iterdir())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


# --- files --------------------------------------------------------------------------------------------------


def read_pairs(
    path: str | Path,
    *,
    strip_citations: bool = False,
    bad: list[str] | None = None,
    left_out: Counter[str] | None = None,
) -> list[LabelledPair]:
    """All pairs of one file, in any format and shape of an import.

    Content that can't be a labelled pair is counted in `left_out`, by reason. Raises DataError for a file
    without pairs and for the first bad row; with a list `bad`, such rows are left out and described there.
    """
    reasons: Counter[str] = Counter()
    pairs = _pairs_in(Path(path), bad, reasons, strip_citations)
    if not pairs:
        counts = (
            ": " + ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) if reasons else ""
        )
        raise DataError(f"{Path(path).name} has no {'labelled pairs' if reasons else 'rows'}{counts}")
    if left_out is not None:
        left_out += reasons
    return pairs


def _pairs_in(
    path: Path, bad: list[str] | None, left_out: Counter[str], strip_citations: bool = False
) -> list[LabelledPair]:
    sink = _Pairs(strip_citations, left_out)
    # A Release puts a ' before text that a spreadsheet would run as a formula.
    of_release = is_table(path.name) and (path.parent / "manifest.json").is_file()
    with ExitStack() as stack:
        try:
            sink.read(open_rows(path, "", stack, COLUMNS, formula_safe=of_release))
        except FileFault as fault:
            if fault.problem.code != "empty":
                raise DataError(_sentence(path, fault.problem)) from None
        except OSError as error:
            raise DataError(f"{path.name} can't be read: {error}") from None
    problems = sorted(sink.problems, key=lambda problem: problem.line or 0)
    if problems and bad is None:
        more = f" ({len(problems) - 1:,} more rows can't be read)" if problems[1:] else ""
        raise DataError(_sentence(path, problems[0]) + more)
    if bad is not None:
        bad += [_sentence(path, problem) for problem in problems]
    return sink.pairs


def _sentence(path: Path, problem: Problem) -> str:
    line = "" if problem.line is None else f", line {problem.line}"
    column = f", {problem.field}" if problem.field and problem.field not in problem.message else ""
    return f"{path.name}{line}{column}: {problem.message}"


def pair_of_row(row: Mapping[str, Any], *, strip_citations: bool = False) -> LabelledPair:
    """The first pair of one row in any shape. Raises ValueError with the fault of the row."""
    sink = _Pairs(strip_citations, Counter())
    values = dict(row)
    try:
        refuse_bad_text(values)
        sink.read(Reading("row", iter([Row(1, values)]), lambda: 0, 1))
    except FileFault as fault:
        raise ValueError(fault.problem.message) from None
    if sink.problems:
        raise ValueError(sink.problems[0].message)
    if not sink.pairs:
        raise ValueError(f"no labelled pair: {', '.join(sink.left_out) or 'nothing to compare'}")
    return sink.pairs[0]


# --- Drafts to pairs ----------------------------------------------------------------------------------------


class _Pairs:
    """The sink of a Reader: takes the pairs of each Draft."""

    def __init__(self, strip_citations: bool, left_out: Counter[str]) -> None:
        self.pairs: list[LabelledPair] = []
        self.problems: list[Problem] = []
        self.left_out = left_out
        self._strip_citations = strip_citations
        self._reader = Reader(self, ImportOptions(), lambda *_: None)

    def read(self, reading: Reading) -> None:
        """Raises FileFault."""
        self._reader.read(reading)
        if self._reader.pairs_left_out:
            self.left_out[TOO_MANY] += self._reader.pairs_left_out

    def add(self, draft: Draft) -> None:
        """Raises BadRow for a label with a bad number."""
        pairs = [pair for _, pair in pairs_of(draft, self._reader.format, self.left_out)]
        if self._strip_citations:
            pairs = [
                replace(p, a=without_citations(p.a)[0], b=without_citations(p.b)[0], answers=None)
                for p in pairs
            ]
        self.pairs += pairs

    def refuse(self, problem: Problem) -> None:
        self.problems.append(replace(problem, raw=""))


def pairs_of(
    draft: Draft, shape: str, left_out: Counter[str]
) -> Iterator[tuple[ComparisonDraft, LabelledPair]]:
    """The comparisons of a Draft of `shape`, each with its labelled pair of texts for a scorer.

    Comparisons that can't be a labelled pair are counted in `left_out`. Raises BadRow.
    """
    if not draft.comparisons:
        left_out[NOTHING] += 1
        return
    prompt = flatten_messages(draft.messages)
    prompt_digest, tree = normalised_digest(prompt), tree_of(draft)
    for comparison in draft.comparisons:
        sides = [draft.completions[at] for at in (comparison.first, comparison.second)]
        a, b = (side.text for side in sides)
        target = target_of(comparison, shape)
        if reason := why_not(a, b, target, comparison):
            left_out[reason] += 1
            continue
        metadata = {**draft.metadata, **comparison.metadata}
        strength, part = _strength(comparison, metadata, shape), _part(metadata, shape)
        group = prompt_digest if metadata.get("group") is None else str(metadata["group"])
        first, second = (side.messages or _answer(side.text) for side in sides)
        pair = LabelledPair(prompt, a, b, target or 0.0, group, strength, part, tree)
        yield comparison, replace(pair, messages=draft.messages, answers=(first, second))


def _answer(text: str) -> list[Message]:
    return [{"role": "assistant", "content": text}]


def target_of(comparison: ComparisonDraft, shape: str) -> float | None:
    """P(first preferred): (votes for it + ties / 2) / (votes for a side + ties); None without such votes."""
    if shape == "soft-label":
        return float(comparison.metadata["p_a"])
    votes = [TARGETS[vote.outcome] for vote in comparison.judgments if vote.outcome in TARGETS]
    return sum(votes) / len(votes) if votes else None


def why_not(a: str, b: str, target: float | None, comparison: ComparisonDraft) -> str:
    """Why the pair can't be a labelled pair of two texts; "" if it can."""
    if not a.strip() or not b.strip():
        return EMPTY
    if target is None:
        return NO_SIDE if comparison.judgments else NO_LABEL
    return SAME if a == b else ""


_STRENGTHS = {"soft-label": "strength", "preference": "margin", "transcripts": "margin"}
"""The column with the strength of the preference, by shape."""


def _strength(comparison: ComparisonDraft, metadata: Mapping[str, Any], shape: str) -> float | None:
    """The row's strength, else the mean strength of the votes for the majority's side. Raises BadRow."""
    column = _STRENGTHS.get(shape, "")
    number = number_of(metadata, column) if column else None
    if number is not None:
        if column == "strength" and number < 0:
            raise BadRow(column, "unknown_value", f"{column} is {number:g}; it should be 0 or more", number)
        return number
    sizes = {
        side: [_size(vote) for vote in comparison.judgments if vote.outcome == side]
        for side in ("a", "b", "tie")
    }
    majority = [size for size in max(sizes.values(), key=len) if size is not None]
    return sum(majority) / len(majority) if majority else None


def _size(vote: JudgmentDraft) -> float | None:
    if vote.strength is not None:
        return float(vote.strength)
    size = number_of(vote.metadata, "strength")  # WebGPT: the size of the score
    return None if size is None else min(1.0, size)


def _part(metadata: Mapping[str, Any], shape: str) -> str | None:
    names = ("subset", "method", "dataset") if shape == "webgpt" else ("subset", "method")
    part = next((metadata[name] for name in names if metadata.get(name) is not None), None)
    return None if part is None else str(part)
