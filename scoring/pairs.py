"""Labelled pairs: the files that training and evaluation read, in every shape a Release writes.

Nothing here imports torch or numpy.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from scoring.formats import BadLine, Message, Pair, bad_pair, flatten_messages, prompt_text, read_rows

Row = Mapping[str, Any]

SPLITS = ("train", "validation", "test")
SALT = "preference-workbench/validation/1"
PROFILES = ("soft-label", "trl-reward", "preference", "trl-chat", "reward-aira", "aira")
"""Of several profiles of one Release, the first of these is read: it says most about each pair."""


class DataError(ValueError):
    """A file or folder that can't be trained or evaluated on; a sentence that names the place."""


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two completions of one prompt, and what people say of them.

    `target` is the chance that a is preferred: 1, 0, 0.5 for a tie, or a posterior. `strength` is how much
    better the preferred one is, on the scale of its source; None where nobody said. Pairs of one `group`
    stay together in a split and are not independent. `part` is a label to report by, such as the subset.
    """

    prompt: str
    a: str
    b: str
    target: float
    group: str
    strength: float | None = None
    part: str | None = None

    @property
    def is_tie(self) -> bool:
        return self.target == 0.5

    @property
    def texts(self) -> tuple[Pair, Pair]:
        return (self.prompt, self.a), (self.prompt, self.b)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Pairs by split, and the sha256 of each file they came from. `made_validation` says that the
    validation split is no file's but was taken from the training pairs, by prompt group."""

    train: Sequence[LabelledPair]
    validation: Sequence[LabelledPair]
    test: Sequence[LabelledPair] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    made_validation: bool = False

    def splits(self) -> dict[str, Sequence[LabelledPair]]:
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def sha256(self) -> str:
        """A hash of what is trained on, in its order, whatever files it came from."""
        digest = hashlib.sha256()
        for split, pairs in self.splits().items():
            for pair in pairs:
                digest.update(repr((split, pair.prompt, pair.a, pair.b, pair.target, pair.strength)).encode())
        return digest.hexdigest()


def read_training_data(
    folder: str | Path,
    *,
    profile: str | None = None,
    validation_share: float = 0.1,
    bad: list[str] | None = None,
) -> TrainingData:
    """The splits of a folder: train.jsonl, validation.jsonl, test.jsonl, or the same of a Release's
    profile (preference.train.jsonl ...), plain or .gz.

    Without a validation file, whole prompt groups are taken from training by a salted hash, so that a
    group is on the same side every time. Raises DataError naming the file and line of the first row
    that can't be read; with a list `bad`, such rows are left out and described there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    found = _files_of(folder, profile)
    # A Release of few pairs may have a split without any; only training needs some.
    read = {split: _pairs_of(path, False, bad) for split, path in found.items() if split != "train"}
    data = TrainingData(
        train=read_pairs(found["train"], bad=bad),
        validation=read.get("validation", []),
        test=read.get("test", []),
        files={path.name: file_sha256(path) for path in found.values()},
    )
    return data if data.validation else with_validation(data, validation_share)


def with_validation(data: TrainingData, share: float = 0.1) -> TrainingData:
    """The same data with a validation split taken from the training pairs, whole groups at a time."""

    def held_out(pair: LabelledPair) -> bool:
        digest = hashlib.sha256(f"{SALT}:{pair.group}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 < share

    return replace(
        data,
        train=[pair for pair in data.train if not held_out(pair)],
        validation=[pair for pair in data.train if held_out(pair)],
        made_validation=True,
    )


def _files_of(folder: Path, profile: str | None) -> dict[str, Path]:
    profiles: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := re.fullmatch(r"(?:(.+)\.)?(train|validation|test)\.jsonl(?:\.gz)?", path.name):
            profiles.setdefault(match[1] or "", {}).setdefault(match[2], path)
    trainable = {name: files for name, files in profiles.items() if "train" in files}
    if not trainable:
        raise DataError(f"{folder} has no train.jsonl and no PROFILE.train.jsonl")
    if profile is not None:
        if profile not in trainable:
            raise DataError(f"{folder} has no {profile}.train.jsonl; it has {', '.join(sorted(trainable))}")
        return trainable[profile]
    if len(trainable) == 1:
        return next(iter(trainable.values()))
    known = next((name for name in ("", *PROFILES) if name in trainable), None)
    if known is None:
        raise DataError(f"{folder} has several profiles, name one of {', '.join(sorted(trainable))}")
    return trainable[known]


def read_pairs(
    path: str | Path, *, strip_citations: bool = False, bad: list[str] | None = None
) -> list[LabelledPair]:
    """All pairs of one JSONL file (plain or .gz), its shape recognised by the columns of each row.

    Raises DataError for a file without rows, and for the first row that can't be read; with a list
    `bad`, such rows are left out and described there.
    """
    pairs = _pairs_of(Path(path), strip_citations, bad)
    if not pairs:
        raise DataError(f"{Path(path).name} has no rows")
    return pairs


def _pairs_of(path: Path, strip_citations: bool, bad: list[str] | None) -> list[LabelledPair]:
    pairs = []
    try:
        with _opened(path) as file:
            for line, row in read_rows(file):
                try:
                    pairs.append(pair_of_row(row, strip_citations=strip_citations))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    if bad is None:
                        raise BadLine(line, str(error)) from None
                    bad.append(f"{path.name}, line {line}: {error}")
    except BadLine as error:
        raise DataError(f"{path.name}, {error}") from None
    except (OSError, EOFError) as error:
        raise DataError(f"{path.name} can't be read: {error}") from None
    return pairs


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield cast("BinaryIO", file)


def file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def prompt_group(prompt: str) -> str:
    """Prompts that differ in case, width of characters or white space only are of one group."""
    words = unicodedata.normalize("NFKC", prompt).casefold().split()
    return hashlib.sha256(" ".join(words).encode()).hexdigest()


_BETTER = (
    "chosen", "preferred", "prefered_completions", "prefered_completion", "preferred_completions",
    "preferred_completion", "chosen_response",
)  # fmt: skip
_WORSE = ("rejected", "rejected_completions", "rejected_completion", "rejected_response")
_PROMPTS = ("prompt", "instruction", "question", "messages", "conversations")
_CITATION = re.compile(r"\[[0-9]+(?:, ?[0-9]+)*\]")
_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


def pair_of_row(row: Row, *, strip_citations: bool = False) -> LabelledPair:
    """One row in any of the shapes. Raises ValueError naming the column at fault.

    Two completions and the chance that the first is preferred (completion_a, completion_b, p_a); a
    preferred and a rejected one, beside their prompt or with it inside (transcripts, messages); or
    WebGPT's answer_0 and answer_1 with scores, both 0 for a tie. A prompt of messages becomes the text
    that scoring makes of it.
    """
    read = _shape_of(row)
    pair = read(row)
    if strip_citations:
        pair = replace(pair, a=_CITATION.sub("", pair.a), b=_CITATION.sub("", pair.b))
    for prompt, completion in pair.texts:
        if reason := bad_pair(prompt, completion):
            raise ValueError(reason)
    group = row.get("group")
    return replace(pair, group=prompt_group(pair.prompt) if group is None else str(group))


def _shape_of(row: Row) -> Callable[[Row], LabelledPair]:
    if row.keys() >= {"prompt", "completion_a", "completion_b", "p_a"}:
        return _soft
    if row.keys() >= {"question", "answer_0", "answer_1", "score_0", "score_1"}:
        return _webgpt
    if _first(row, _BETTER) and _first(row, _WORSE):
        return _explicit if _first(row, _PROMPTS) else _implicit
    raise ValueError(f"no pair of completions among the columns {', '.join(row) or '(none)'}")


def _soft(row: Row) -> LabelledPair:
    return LabelledPair(
        prompt_text(row["prompt"]),
        _text(row, "completion_a"),
        _text(row, "completion_b"),
        _number(row, "p_a", 0, 1),
        "",
        strength=_number(row, "strength", 0, None) if row.get("strength") is not None else None,
        part=_part(row),
    )


def _webgpt(row: Row) -> LabelledPair:
    question = row["question"]
    if not isinstance(question, dict) or not isinstance(question.get("full_text"), str):
        raise ValueError("the question has no full_text")
    first, second = (_number(row, f"score_{side}", -1, 1) for side in (0, 1))
    target = 0.5 if first == second else float(first > second)
    part = question.get("dataset")
    return LabelledPair(
        question["full_text"],
        _text(row, "answer_0"),
        _text(row, "answer_1"),
        target,
        "",
        strength=min(1.0, abs(first)),
        part=None if part is None else str(part),
    )


def _explicit(row: Row) -> LabelledPair:
    asked = _first(row, _PROMPTS) or ""
    prompt = _prompt(row[asked])
    (before, better), (before_worse, worse) = _answers(row)
    if before != before_worse:
        raise ValueError("the preferred and the rejected completion answer different conversations")
    if before:
        prompt = flatten_messages(before)
    elif asked == "instruction" and isinstance(row.get("input"), str) and row["input"]:
        prompt = f"{prompt}\n\n{row['input']}"
    return _preference(row, prompt, better, worse)


def _implicit(row: Row) -> LabelledPair:
    (before, better), (before_worse, worse) = _answers(row, transcripts=True)
    if before != before_worse:
        raise ValueError("the preferred and the rejected completion answer different conversations")
    return _preference(row, flatten_messages(before), better, worse)


def _preference(row: Row, prompt: str, better: str, worse: str) -> LabelledPair:
    strength = _number(row, "margin", None, None) if row.get("margin") is not None else None
    return LabelledPair(prompt, better, worse, 1.0, "", strength, _part(row))


def _answers(row: Row, *, transcripts: bool = False) -> list[tuple[list[Message], str]]:
    return [
        _answer(row[column], column, transcripts)
        for column in (_first(row, _BETTER) or "", _first(row, _WORSE) or "")
    ]


def _answer(value: object, column: str, transcripts: bool) -> tuple[list[Message], str]:
    """(messages before, text) of an answer that is text, one message, or a conversation ending in it."""
    if isinstance(value, str):
        return _cut_transcript(value, column) if transcripts else ([], value)
    messages = [_message(each) for each in (value if isinstance(value, list) else [value])]
    if not messages or messages[-1]["role"] != "assistant":
        raise ValueError(f"{column} does not end with an assistant's message")
    return messages[:-1], messages[-1]["content"]


def _cut_transcript(text: str, column: str) -> tuple[list[Message], str]:
    """Cut at the last role boundary: the longest common beginning may end inside the answers."""
    turns = list(_TURN.finditer(text))
    if not turns or turns[-1][1] != "Assistant":
        raise ValueError(f'{column} has no "\\n\\nAssistant:" before its last turn')
    ends = [turn.start() for turn in turns[1:]] + [len(text)]
    messages = [
        {"role": "user" if turn[1] == "Human" else "assistant", "content": _said(text[turn.end() : end])}
        for turn, end in zip(turns, ends, strict=True)
    ]
    return messages[:-1], messages[-1]["content"]


def _said(text: str) -> str:
    return text.removeprefix(" ")


def _prompt(value: object) -> str:
    if isinstance(value, list):
        return flatten_messages([_message(each) for each in value])
    return prompt_text(value)


def _message(value: object) -> Message:
    if not isinstance(value, dict):
        raise ValueError(f"a message is an object, not {type(value).__name__}")
    if "from" in value:
        role, content = _ROLES.get(value["from"], value["from"]), value.get("value")
    else:
        role, content = value.get("role"), value.get("content")
    if not isinstance(role, str) or not isinstance(content, str):
        raise ValueError("a message has no role or no content of text")
    return {"role": role, "content": content}


def _first(row: Row, names: Iterable[str]) -> str | None:
    return next((name for name in names if name in row), None)


def _part(row: Row) -> str | None:
    part = row.get("subset", row.get("method"))
    return None if part is None else str(part)


def _text(row: Row, column: str) -> str:
    if not isinstance(row[column], str):
        raise ValueError(f"{column} is not text but {type(row[column]).__name__}")
    return cast("str", row[column])


def _number(row: Row, column: str, low: float | None, high: float | None) -> float:
    value = row[column]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{column} is not a number")
    if (low is not None and value < low) or (high is not None and value > high):
        upwards = f"from {low} to {high}" if high is not None else f"{low} or more"
        raise ValueError(f"{column} is {value}, not {upwards}")
    return float(value)
