"""ModelVersions that are scored elsewhere: register one, and store the Scores that a program sends."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson
from django.db import IntegrityError, transaction

from workbench.db.bulk import in_chunks
from workbench.models import Completion, Dataset, ModelVersion, PromptChange, Score, User
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.scoring import batches, suggestions

CHUNK = 1_000
MOST_FAULTS = 100
PRECISION = "fp64"
"""Scores are stored as they were sent."""


@dataclass(frozen=True)
class LineFault:
    """What is wrong with a line."""

    line: int
    field: str
    code: str
    message: str


class BadLines(Exception):
    """Some lines are no Scores that can be stored. Nothing was stored."""

    def __init__(self, faults: list[LineFault]) -> None:
        super().__init__(f"Line {faults[0].line}: {faults[0].message} Nothing was stored.")
        self.faults = faults


@dataclass(frozen=True)
class Pushed:
    """Scores that were stored, and those that were there already with the same value."""

    stored: int
    known: int


def register(name: str, revision: str, notice: str, by: User) -> ModelVersion:
    """A version that is scored elsewhere, pinned by the revision of its weights. Raises Refused for a name
    that another version has."""
    kind = ModelVersion.Kind.EXTERNAL
    try:
        with transaction.atomic():
            version = ModelVersion.objects.create(
                name=name, kind=kind, revision=revision, notice=notice, precision=PRECISION
            )
            record(Kind.MODEL_ADDED, by=by, target=version)
    except IntegrityError:
        raise Refused(f"Another model is named {name}. Choose another name.") from None
    return version


@transaction.atomic
def push(version: ModelVersion, lines: Iterable[bytes], by: User) -> Pushed:
    """Store the Scores of these JSON lines, {"completion": 7, "score": 0.5}, with the Suggestions that follow
    from them: all of them, or none. A Score is never overwritten. Raises BadLines, and Refused for a version
    that workers score."""
    if not version.is_external:
        raise Refused(f"{version} is scored here, so it takes no scores from elsewhere.")
    faults: list[LineFault] = []
    pushed = Pushed(0, 0)
    datasets: Counter[int] = Counter()
    for chunk in in_chunks(enumerate(lines, 1), CHUNK):
        rows: dict[int, tuple[int, float]] = {}
        for number, line in chunk:
            if line.strip():
                _read(number, line, rows, faults)
        stored, known = _store(version, rows, faults, datasets)
        pushed = Pushed(pushed.stored + stored, pushed.known + known)
        if len(faults) >= MOST_FAULTS:
            break
    if faults:
        raise BadLines(sorted(faults, key=lambda fault: fault.line)[:MOST_FAULTS])
    for dataset in Dataset.objects.filter(pk__in=datasets):
        batches.hand_over(dataset)
        if count := datasets[dataset.pk]:
            record(Kind.SCORES_PUSHED, by=by, dataset=dataset, target=version, count=count)
    return pushed


def _read(number: int, line: bytes, rows: dict[int, tuple[int, float]], faults: list[LineFault]) -> None:
    """Add the line to the rows, (line, score) by completion, or to the faults."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict) or set(row) != {"completion", "score"}:
        message = "A line is an object with the id of an answer and its score, and nothing else."
        faults.append(LineFault(number, "", "wrong_form", message))
        return
    completion, score = row["completion"], row["score"]
    if type(completion) is not int or not 0 < completion < 2**63:
        faults.append(LineFault(number, "completion", "wrong_form", "This is no id of an answer."))
    elif type(score) not in (int, float) or not math.isfinite(score):
        faults.append(LineFault(number, "score", "wrong_form", "The score is a finite number."))
    elif completion in rows and rows[completion][1] != score:
        faults.append(_other(number, rows[completion][1]))
    else:
        rows.setdefault(completion, (number, float(score)))


def _store(
    version: ModelVersion,
    rows: Mapping[int, tuple[int, float]],
    faults: list[LineFault],
    datasets: Counter[int],
) -> tuple[int, int]:
    """(stored, known). Adds to the faults, and to the number of new Scores of each dataset, 0 included."""
    there = dict(Completion.objects.filter(pk__in=rows).values_list("pk", "prompt__dataset"))
    message = "There is no answer with this id."
    faults += [
        LineFault(line, "completion", "unknown", message)
        for completion, (line, _) in rows.items()
        if completion not in there
    ]
    before = set(version.scores.filter(completion__in=there).values_list("completion", flat=True))
    for completion, dataset in there.items():
        datasets[dataset] += completion not in before
    new = [
        Score(completion_id=completion, version=version, value=rows[completion][1], precision=PRECISION)
        for completion in there
    ]
    # Another push may store the same Scores meanwhile: the values are compared after the write.
    Score.objects.bulk_create(new, ignore_conflicts=True)
    stored = dict(version.scores.filter(completion__in=there).values_list("completion", "value"))
    faults += [
        _other(rows[completion][0], value)
        for completion, value in stored.items()
        if value != rows[completion][1]
    ]
    if not faults:
        PromptChange.objects.note_completions(there)
        suggestions.suggest(version, list(there))
    return len(stored) - len(before), len(before)


def _other(line: int, value: float) -> LineFault:
    return LineFault(line, "score", "other_score", f"This answer has the score {value:g} already.")
