"""Exports of Label Studio: JSON (also all tasks, and snapshots), JSON_MIN, CSV and TSV.

JSON has one task a row, with its annotations. The others have one annotation a row, under the columns of the
task; they leave out skipped tasks, drafts and predictions.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, takewhile

from scoring.rows.context import prepared
from scoring.rows.drafts import Draft, ImportOptions, name_of
from scoring.rows.rows import BadRow, Problem, Row, Values
from scoring.rows.shapes.moving import (
    NAMED,
    Answers,
    Reply,
    Task,
    is_dialogue,
    is_items,
    name_as_text,
    task_drafts,
)
from scoring.rows.shapes.shape import Columns, Shape, together

SKIPPED = "a task that somebody skipped is no vote"
DRAFT = "a draft is no vote"
BUCKETS = "a ranking in several buckets has no order and is no vote"
BY_EMAIL = (
    "this file names people by e-mail; a JSON export of Label Studio has their numbers, and whoever is in "
    "both counts as two people"
)
NO_PERSON = "an annotation does not say who made it, and counts as a person of its own"

_OF_ROW = frozenset(
    {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement"}
)
_ANNOTATIONS = ("annotations", "completions")
"""Label Studio before 1.0 called annotations completions, and did not say who made them."""
_KEPT = ("lead_time", "ground_truth", "created_at", "updated_at")


def _drafts(rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
    return task_drafts(_tasks(rows), options)


def _tasks(rows: Iterable[Row]) -> Iterator[Task | Problem]:
    """The first row decides between one task and one annotation a row."""
    iterator = iter(rows)
    first = next(iterator, None)
    if first is None:
        return
    everything = _again(first, iterator)
    if "data" in first.values or not first.values.keys().isdisjoint(_ANNOTATIONS):
        for row in everything:
            try:
                yield _task(row)
            except BadRow as bad:
                yield bad.at(row)
        return
    for group in together(everything, lambda row: row.values.get("id", row.line)):
        yield from _task_of_rows(group)


def _again(first: Row, rest: Iterator[Row]) -> Iterator[Row]:
    yield first
    yield from rest


# --- one task a row -----------------------------------------------------------------------------------------


def _task(row: Row) -> Task:
    values = row.values
    data = values.get("data")
    if not isinstance(data, dict):
        raise BadRow("data", "not_an_object", "data should hold the columns of the task", data)
    notes: list[str] = []
    inner = prepared(replace(row, values=data), frozenset(), lambda note, _line: notes.append(note))
    answers = []
    predictions = [item for item in _objects(values, "predictions") if isinstance(item, dict)]
    for annotation in chain.from_iterable(_objects(values, column) for column in _ANNOTATIONS):
        if not isinstance(annotation, dict):
            raise BadRow("annotations", "not_a_list", "annotations should hold objects", annotation)
        if isinstance(copied := annotation.get("prediction"), dict) and copied.get("result"):
            predictions.append(copied)
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            notes.append(SKIPPED)
        else:
            answers.append(_answers(annotation, notes))
    if _objects(values, "drafts"):
        notes.append(DRAFT)
    suggestions = {str(p.get("id", n)): _suggestion(p) for n, p in enumerate(predictions)}
    return Task(inner, name_of(values, "id"), tuple(answers), tuple(suggestions.values()), tuple(notes))


def _objects(values: Values, column: str) -> list[object]:
    items = values.get(column) or []
    if not isinstance(items, list):
        raise BadRow(column, "not_a_list", f"{column} should be a list", items)
    return items


def _suggestion(prediction: Values) -> Values:
    return {
        "agent": prediction.get("model_version"),
        "score": prediction.get("score"),
        "result": [
            {key: item.get(key) for key in ("from_name", "value")}
            for item in prediction.get("result") or ()
            if isinstance(item, dict)
        ]
        if isinstance(prediction.get("result"), list)
        else prediction.get("result"),
    }


def _answers(annotation: Values, notes: list[str]) -> Answers:
    by = annotation.get("completed_by")
    if isinstance(by, dict):
        by = by.get("id") if by.get("id") is not None else by.get("email")
    replies: dict[str, Reply] = {}
    for item in _objects(annotation, "result"):
        value = item.get("value") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(value, dict):
            raise BadRow("result", "not_an_object", "result should hold objects with a value", item)
        question = str(item.get("from_name", ""))
        if reply := _reply(value, str(item.get("to_name", "")), notes):
            replies[question] = reply
    metadata = {key: annotation[key] for key in _KEPT if annotation.get(key) not in (None, False)}
    time = str(annotation.get("updated_at") or annotation.get("created_at") or "")
    return Answers(_person(by, annotation, "completed_by", notes), replies, time, metadata)


def _person(by: object, annotation: Values, column: str, notes: list[str]) -> str:
    """The person's number, or the email where the file has no number."""
    if by is None or by == "":
        notes.append(NO_PERSON)
        number = annotation.get("annotation_id", annotation.get("id"))
        return f"annotation {name_of({'id': number}, 'id')}"
    name = name_as_text(by, column)
    if "@" in name:
        notes.append(BY_EMAIL)
    return name


def _reply(value: Values, about: str, notes: list[str]) -> Reply | None:
    """What one result says; None for one that is no vote and no comment. Raises BadRow."""
    if "selected" in value:
        if value["selected"] not in ("left", "right"):
            raise BadRow("selected", "unknown_value", "selected should be left or right", value["selected"])
        return Reply("side", value["selected"])
    if "choices" in value:
        choices = value["choices"]
        if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], str):
            return Reply("choice", choices[0])
        return Reply("text", json.dumps(choices, ensure_ascii=False, default=str)) if choices else None
    if "ranker" in value:
        return _order(value["ranker"], notes)
    if "rating" in value:
        rating = value["rating"]
        if isinstance(rating, bool) or not isinstance(rating, int | float) or not math.isfinite(rating):
            raise BadRow("rating", "not_a_number", "rating should be a number", rating)
        return Reply("rating", rating, about)
    if "text" in value:
        texts = value["text"] if isinstance(value["text"], list) else [value["text"]]
        return Reply("text", "\n".join(text for text in texts if isinstance(text, str)))
    return None


def _order(ranker: object, notes: list[str]) -> Reply | None:
    """The order of a ranking, best first: item ids, in a list or under the name of the tag."""
    lists = [ids for tag, ids in ranker.items() if tag != "_"] if isinstance(ranker, dict) else [ranker]
    if len(lists) > 1:
        notes.append(BUCKETS)
        return None
    ids = lists[0] if lists else []
    if not isinstance(ids, list) or not all(isinstance(item, str | int) for item in ids):
        raise BadRow("ranker", "not_a_list", "ranker should hold the ids of the items, best first", ranker)
    return Reply("order", [[item] for item in ids]) if ids else None


# --- one annotation a row -----------------------------------------------------------------------------------


def _task_of_rows(group: Sequence[Row]) -> Iterator[Task | Problem]:
    """One Task of the annotations of a task, and the Problems of bad rows."""
    first = group[0]
    names = list(first.values)
    # JSON_MIN writes the data, then the id, then the questions. Tables are sorted by name.
    sorted_by_name = (
        "annotator" not in names or "id" not in names or names.index("annotator") < names.index("id")
    )
    data_names = names if sorted_by_name else list(takewhile(lambda name: name != "id", names))
    opened = {name: _opened(first.values[name]) for name in data_names if name not in _OF_ROW}
    data = {name: value for name, value in opened.items() if not _is_result(value)}
    answers: list[Answers] = []
    notes: list[str] = []
    for row in group:
        values = row.values
        if values.get("annotator") in (None, "") and values.get("annotation_id") in (None, ""):
            continue  # a task without annotations
        questions = [n for n in values if n not in _OF_ROW and (sorted_by_name or n not in data)]
        try:
            replies = {n: reply for n in questions if (reply := _reply_in_cell(_opened(values[n]), notes))}
            metadata = {key: values[key] for key in _KEPT if values.get(key) not in (None, "")}
            time = str(values.get("updated_at") or values.get("created_at") or "")
            person = _person(values.get("annotator"), values, "annotator", notes)
        except BadRow as bad:
            yield bad.at(row)
            continue
        answers.append(Answers(person, replies, time, metadata))
    try:
        task_id = name_of(first.values, "id")
    except BadRow as bad:
        yield bad.at(first)
        return
    yield Task(replace(first, values=data), task_id, tuple(answers), (), tuple(notes), mixed=sorted_by_name)


def _reply_in_cell(value: object, notes: list[str]) -> Reply | None:
    if isinstance(value, str):
        return Reply("word", value) if value.strip() else None
    if not _is_result(value) or not isinstance(value, list):
        return None
    return _reply(value[0], "", notes) if len(value) == 1 else None


def _is_result(value: object) -> bool:
    """True for a list of results, as [{"selected": "left"}]."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(item, dict)
            and (
                "selected" in item
                or isinstance(item.get("ranker"), dict | list)
                or isinstance(item.get("choices"), list)
                or ("rating" in item and not is_items(value))
                or isinstance(item.get("text"), list)
            )
            for item in value
        )
    )


def _opened(value: object) -> object:
    """A list that a cell holds as JSON; another text stays as it is."""
    if not isinstance(value, str) or not value.startswith("[{"):
        return value
    try:
        opened = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return opened if _is_result(opened) or is_items(opened) or is_dialogue(opened) else value


def _fits(columns: Columns, first: Values) -> bool:
    return (
        columns >= {"annotations", "data"}
        or (columns >= {"completions", "data"} and isinstance(first.get("data"), dict))
        or columns >= {"annotator", "annotation_id", "lead_time"}
    )


def _by_name(values: Values) -> Values:
    """The columns of a task and its questions, each with what the first result to it says."""
    data = values.get("data")
    if values.keys().isdisjoint(_ANNOTATIONS) and not isinstance(data, dict):
        return {name: value for name, value in values.items() if name not in _OF_ROW}
    named: Values = {f"data.{name}": value for name, value in data.items()} if isinstance(data, dict) else {}
    annotations = values.get("annotations", values.get("completions"))
    for annotation in annotations if isinstance(annotations, list) else ():
        results = annotation.get("result") if isinstance(annotation, dict) else None
        for item in results if isinstance(results, list) else ():
            if isinstance(item, dict) and isinstance(question := item.get("from_name"), str):
                named.setdefault(f"annotations.{question}", item.get("value"))
    return named


SHAPES = (
    Shape(
        "label-studio",
        "Label Studio: an export as JSON, JSON_MIN, CSV or TSV",
        fits=_fits,
        drafts=_drafts,
        ranked=True,
        by_name=_by_name,
        words=NAMED,
        reserved=frozenset({*_ANNOTATIONS, "data", "drafts", "predictions", *_OF_ROW}),
    ),
)
