"""Records of Argilla: exports of version 2, flat (to_datasets, to_list and to_dict flattened) and nested
(to_json, to_list, to_dict); records of version 1; and records as the server sends them.

A flat record has the lists Q.responses, Q.responses.users and Q.responses.status for each question Q. A
nested record has lost the status of a response: drafts and discarded responses look like votes.
A record of version 1 and of the server has a list of responses, one a person, each with its status and the
values of all questions. A data set that version 1 pushed to a hub has a column Q of such responses for each
question, beside Q-suggestion.
A text classification record of version 1 has one annotation by one agent over its inputs: a preference where
the inputs are a prompt and two answers. Its records for tokens and for texts to be written hold none.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from scoring.rows.context import prepared
from scoring.rows.drafts import Draft, ImportOptions, name_of
from scoring.rows.printed import printed_list
from scoring.rows.rows import BadRow, Problem, Row, Values
from scoring.rows.shapes.moving import NAMED, Answers, Reply, Task, name_as_text, task_drafts
from scoring.rows.shapes.shape import Columns, Shape

STATUS_LOST = (
    "this form of export does not say which responses are drafts or discarded, so all count as votes; "
    "to_datasets says it"
)
NOBODY = "this form of export does not say who answered; these votes have no name"
NOT_ASKED_FOR = (
    "the server left the responses out of these records, so they hold no votes; ask it with include=responses"
)
NO_VOTE = {
    "draft": "a draft is no vote",
    "discarded": "a discarded response is no vote",
    "pending": "a pending response is no vote",
}

_OF_RECORD = frozenset({"id", "status", "_server_id"})
_RESPONSES = ".responses"
_SUGGESTION = ".suggestion"
_ASIDE = re.compile(r"\.responses\.(users|status)$|\.suggestion(\.\w+)?$")
_OLD_ASIDE = re.compile(r"-suggestion(-metadata)?$")
_NESTED = frozenset({"fields", "responses"})
_OF_SERVER = frozenset({"fields", "dataset_id", "inserted_at"})
_OF_SEARCH = frozenset({"record", "query_score"})
_OF_OLD = frozenset({"external_id", "metadata"})
_OF_TASK = frozenset({"annotation", "annotation_agent", "prediction", "prediction_agent"})
_ASIDE_OF_TASK = _OF_TASK | {
    "event_timestamp", "explanation", "id", "inputs", "metadata", "metrics", "multi_label", "search_keywords",
    "status", "text", "tokens", "vectors",
}  # fmt: skip
_FEWEST_INPUTS = 3
"""A prompt and two answers."""
_OF_RESPONSE = frozenset({"user_id", "value", "status"})
_OLD_SUGGESTION = "-suggestion"


def _drafts(rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
    return task_drafts(_tasks(rows), options)


def _tasks(rows: Iterable[Row]) -> Iterator[Task | Problem]:
    for row in rows:
        try:
            yield _task_of(row)
        except BadRow as bad:
            yield bad.at(row)


def _task_of(row: Row) -> Task:
    found = row.values.get("record")
    if row.values.keys() >= _OF_SEARCH and isinstance(found, dict):
        row = replace(row, values=found)
    if "fields" in row.values:
        return _nested(row)
    if row.values.keys() >= _OF_TASK:
        return _classified(row)
    questions = _old_questions(row.values)
    return _old(row, questions) if questions else _flat(row)


def _flat(row: Row) -> Task:
    values = row.values
    questions = [
        name.removesuffix(_RESPONSES)
        for name in values
        if name.endswith(_RESPONSES) and len(name) > len(_RESPONSES)
    ]
    suggested = [name.removesuffix(_SUGGESTION) for name in values if name.endswith(_SUGGESTION)]
    notes: list[str] = []
    replies: dict[str, dict[str, Reply]] = {}
    for question in questions:
        column = question + _RESPONSES
        responses, users, states = (
            _list(values, name) for name in (column, f"{column}.users", f"{column}.status")
        )
        if responses and not states:
            states = [None] * len(responses)
        if not len(responses) == len(users) == len(states):
            message = f"{column}, its users and its status should be as long as each other"
            raise BadRow(column, "unequal_lists", message, responses)
        for response, user, state in zip(responses, users, states, strict=True):
            if _is_vote(state, f"{column}.status", notes):
                _add(replies, user, question, response)
    suggestions = [
        suggestion
        for question in suggested
        if (
            suggestion := _suggestion(
                question,
                _cell(values, question + _SUGGESTION),
                _cell(values, f"{question}{_SUGGESTION}.score"),
                values.get(f"{question}{_SUGGESTION}.agent"),
            )
        )
    ]
    of_questions = {
        name
        for name in values
        if name in _OF_RECORD
        or any(name.startswith(question + _RESPONSES) for question in questions)
        or any(name.startswith(question + _SUGGESTION) for question in suggested)
    }
    data = {name: value for name, value in values.items() if name not in of_questions}
    return _task(replace(row, values=data), values, replies, suggestions, notes)


def _nested(row: Row) -> Task:
    values = row.values
    fields, metadata = _object(values, "fields"), _object(values, "metadata")
    notes: list[str] = []
    if isinstance(values.get("responses"), list):
        replies = _replies_of_people(values["responses"], notes)
    else:
        replies = _replies_by_question(_object(values, "responses"), notes)
    if values.get("responses") is None and values.keys() >= _OF_SERVER:
        notes.append(NOT_ASKED_FOR)
    data = {**fields, **{k: v for k, v in metadata.items() if k not in fields}}
    inner = prepared(replace(row, values=data), frozenset(), lambda note, _line: notes.append(note))
    return _task(inner, values, replies, _suggestions(values.get("suggestions")), notes)


def _classified(row: Row) -> Task:
    """A record of version 1 for the classification of a text. Raises BadRow for one without two answers."""
    values, notes = row.values, list[str]()
    inputs = values.get("inputs")
    if isinstance(inputs, str) and inputs.startswith("{"):
        with suppress(ValueError):
            inputs = json.loads(inputs)
    if not isinstance(inputs, dict) or sum(value is not None for value in inputs.values()) < _FEWEST_INPUTS:
        raise BadRow("inputs" if "inputs" in values else "text", "no_answers", _why_no_preference(values))
    label, person = _one(values.get("annotation")), values.get("annotation_agent")
    replies: dict[str, dict[str, Reply]] = {}
    status = str(values.get("status") or "").strip().casefold().rpartition(".")[2]
    if label is not None and status == "discarded":
        notes.append(NO_VOTE["discarded"])
    elif label is not None:
        if person in (None, ""):
            notes.append(NOBODY)
        _add(replies, person if person not in (None, "") else "no name 1", "annotation", label)
    metadata = values.get("metadata")
    others = {name: value for name, value in values.items() if name not in _ASIDE_OF_TASK}
    data = {**(metadata if isinstance(metadata, dict) else {}), **others, **inputs}
    said = _cell(values, "prediction")
    named = [one for one in said if isinstance(one, dict)] if isinstance(said, list) else []
    best = max(named, key=lambda one: one.get("score") or 0.0, default=None)
    picks = {"prediction": {"value": best.get("label"), "score": best.get("score")}} if best else {}
    for pick in picks.values():
        pick["agent"] = values.get("prediction_agent")
    return _task(replace(row, values=data), values, replies, _suggestions(picks), notes)


def _one(annotation: object) -> object:
    """The label of an annotation; None without one. A record of several labels has a list."""
    listed = annotation if isinstance(annotation, list) else [annotation]
    labels = [label for label in listed if label not in (None, "")]
    if len(labels) > 1:
        raise BadRow("annotation", "unknown_value", "a record with several labels prefers no answer", labels)
    return labels[0] if labels else None


def _why_no_preference(values: Values) -> str:
    kind = "text classification" if "inputs" in values else "text-to-text"
    if "tokens" in values:
        kind = "token classification"
    return (
        f"this is a {kind} record of Argilla 1 without a prompt and two answers in its inputs, so it holds "
        "no preference"
    )


def _replies_by_question(by_question: Values, notes: list[str]) -> dict[str, dict[str, Reply]]:
    """By person and question, from the responses to each question."""
    replies: dict[str, dict[str, Reply]] = {}
    for question, responses in by_question.items():
        if not isinstance(responses, list) or not all(isinstance(response, dict) for response in responses):
            raise BadRow("responses", "not_a_list", f"responses.{question} should be a list of objects")
        nobody = 0
        for response in responses:
            nobody += response.get("user_id") is None
            if _is_vote(response.get("status"), "status", notes):
                _add(replies, _person(response, nobody, notes), question, response.get("value"))
    return replies


def _replies_of_people(responses: list[object], notes: list[str]) -> dict[str, dict[str, Reply]]:
    """By person and question, from a list with one response a person. A discarded one may have no values."""
    replies: dict[str, dict[str, Reply]] = {}
    nobody = 0
    for response in responses:
        if not isinstance(response, dict):
            raise BadRow("responses", "not_a_list", "responses should be a list of objects", response)
        nobody += response.get("user_id") is None
        if not _is_vote(response.get("status"), "responses", notes):
            continue
        for question, answer in _object(response, "values").items():
            value = answer.get("value") if isinstance(answer, dict) else answer
            _add(replies, _person(response, nobody, notes), question, value)
    return replies


def _person(response: Values, nobody: int, notes: list[str]) -> object:
    """Who answered; for the response of nobody, the label source of the file, and a further one for each
    further such response of the record."""
    if response.get("user_id") is not None:
        return response["user_id"]
    notes.append(NOBODY)
    return f"no name {nobody}"


def _suggestions(suggestions: object) -> list[Values]:
    """From an object by question, or a list of objects that name the question or its id."""
    if isinstance(suggestions, dict):
        named = [
            {"question_name": name, **pick} for name, pick in suggestions.items() if isinstance(pick, dict)
        ]
    else:
        listed = suggestions if isinstance(suggestions, list) else []
        named = [pick for pick in listed if isinstance(pick, dict)]
    return [
        {
            "question": str(pick.get("question_name") or pick.get("question_id") or ""),
            "value": pick["value"],
            "score": pick.get("score") or None,
            "agent": pick.get("agent") or None,
        }
        for pick in named
        if pick.get("value") not in (None, "", [])
    ]


def _old_questions(values: Values) -> list[str]:
    """The questions of a data set that version 1 wrote, where the row is of one."""
    return [
        name for name in values if f"{name}{_OLD_SUGGESTION}" in values or _has_responses(_cell(values, name))
    ]


def _has_responses(value: object) -> bool:
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and first.keys() >= _OF_RESPONSE


def _old(row: Row, questions: list[str]) -> Task:
    values, notes = row.values, list[str]()
    responses = {name: _listed(_cell(values, name) or []) for name in questions}
    picks: dict[str, Values] = {}
    for name in questions:
        said = _cell(values, f"{name}{_OLD_SUGGESTION}-metadata")
        pick = _ranks(_cell(values, name + _OLD_SUGGESTION))
        picks[name] = {"value": pick, **(said if isinstance(said, dict) else {})}
    picked = (f"{name}{_OLD_SUGGESTION}{end}" for name in questions for end in ("", "-metadata"))
    aside = {*questions, *_OF_OLD, *picked}
    data = {name: value for name, value in values.items() if name not in aside}
    metadata = values.get("metadata")
    if isinstance(metadata, str) and metadata.startswith("{"):
        with suppress(ValueError):
            metadata = json.loads(metadata)
    if isinstance(metadata, dict):
        data = {**metadata, **data}
    replies = _replies_by_question(responses, notes)
    return _task(replace(row, values=data), values, replies, _suggestions(picks), notes)


def _listed(responses: Any) -> Any:
    """A list of responses; the hub's reader also gives them as an object of lists."""
    if isinstance(responses, dict) and all(isinstance(column, list) for column in responses.values()):
        columns = [responses.get(name) or [] for name in sorted(_OF_RESPONSE)]
        if len({*map(len, columns)}) > 1:
            raise BadRow(
                "responses", "unequal_lists", "user_id, value and status should be as long as each other"
            )
        responses = [dict(zip(sorted(_OF_RESPONSE), row, strict=True)) for row in zip(*columns, strict=True)]
    if not isinstance(responses, list):
        return responses
    return [
        {**response, "value": _ranks(response.get("value"))} if isinstance(response, dict) else response
        for response in responses
    ]


def _ranks(value: Any) -> Any:
    """A ranking as a list of values with ranks; the hub's reader gives an object of two lists."""
    if isinstance(value, dict) and value.keys() == {"rank", "value"} and isinstance(value["rank"], list):
        return [
            {"rank": rank, "value": name} for rank, name in zip(value["rank"], value["value"], strict=True)
        ]
    return value


def _is_vote(state: object, column: str, notes: list[str]) -> bool:
    """True for a response that was submitted, or whose status is lost. Raises BadRow."""
    if state is None or state == "":
        notes.append(STATUS_LOST)
        return True
    status = str(state).strip().casefold().removeprefix("responsestatus.")
    if status in NO_VOTE:
        notes.append(NO_VOTE[status])
    elif status != "submitted":
        raise BadRow(column, "unknown_value", "status should be submitted, draft or discarded", state)
    return status == "submitted"


def _task(
    row: Row,
    values: Values,
    replies: dict[str, dict[str, Reply]],
    suggestions: list[Values],
    notes: list[str],
) -> Task:
    answers = tuple(Answers(user, by_question) for user, by_question in replies.items())
    is_record = "_server_id" not in values and values.get("external_id") is not None
    number = name_of(values, "external_id" if is_record else "id")
    return Task(row, number, answers, tuple(suggestions), tuple(notes))


def _object(values: Values, column: str) -> Values:
    value = values.get(column) or {}
    if not isinstance(value, dict):
        raise BadRow(column, "not_an_object", f"{column} should be an object", value)
    return value


def _add(replies: dict[str, dict[str, Reply]], user: object, question: str, value: object) -> None:
    """Add one response to the replies of its user. Raises BadRow."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return
    person = name_as_text(user, "users")
    replies.setdefault(person, {})[question] = _reply(value, question)


def _reply(value: object, question: str) -> Reply:
    if isinstance(value, str):
        return Reply("word", value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Reply("rating", value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return Reply("order", [[item] for item in value], "list")
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        has_ranks = any(not item.keys().isdisjoint({"value", "rank"}) for item in value)
        return _ranked(value, question) if has_ranks else Reply("marks", value)
    raise BadRow(
        question, "unknown_value", "a response should be a label, a text, a number or a ranking", value
    )


def _ranked(value: list[Values], question: str) -> Reply:
    """A ranking with its ranks: [{"value": ..., "rank": 1}], equal ranks together."""
    tiers: dict[int, list[object]] = {}
    for item in value:
        rank, name = item.get("rank"), item.get("value")
        if isinstance(rank, bool) or not isinstance(rank, int) or not isinstance(name, str):
            raise BadRow(question, "unknown_value", "a ranking should have a value and a rank", item)
        tiers.setdefault(rank, []).append(name)
    return Reply("order", [tiers[rank] for rank in sorted(tiers)])


def _suggestion(question: str, value: object, score: object, agent: object) -> Values | None:
    """What a model chose, as metadata. A number without an agent stands for "none"."""
    number = isinstance(value, int | float) or (isinstance(value, str) and value.lstrip("-").isdecimal())
    if value is None or value in ("", []) or (number and agent in (None, "")):
        return None
    if isinstance(score, str):
        score = _number(score)
    return {"question": question, "value": value, "score": score or None, "agent": agent or None}


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _cell(values: Values, column: str) -> object:
    """The value of a column; a list that a table shows as text is read."""
    value = values.get(column)
    if isinstance(value, str) and value.startswith("["):
        return printed_list(value) or value
    return value


def _list(values: Values, column: str) -> list[object]:
    value = values.get(column)
    if value in (None, ""):
        return []
    if isinstance(value, str) and (read := printed_list(value)) is not None:
        return read
    if not isinstance(value, list):
        raise BadRow(column, "not_a_list", f"{column} should be a list", value)
    return value


def _fits(columns: Columns, first: Values) -> bool:
    return (
        any(columns >= form for form in (_NESTED, _OF_SERVER, _OF_SEARCH, _OF_TASK))
        or any(
            name.endswith((_RESPONSES, f"{_RESPONSES}.users")) and len(name) > len(_RESPONSES)
            for name in columns
        )
        or (columns >= _OF_OLD and bool(_old_questions(first)))
    )


def _by_name(values: Values) -> Values:
    """The fields of a record and its questions, without what accompanies an answer."""
    if values.keys() >= _OF_SEARCH and isinstance(values["record"], dict):
        values = values["record"]
    if values.keys() >= _OF_TASK:
        inputs = values.get("inputs")
        named = (
            {f"inputs.{name}": value for name, value in inputs.items()} if isinstance(inputs, dict) else {}
        )
        return {**named, "annotation": values.get("annotation")}
    if "fields" in values:
        responses = values.get("responses")
        if isinstance(responses, list):
            answers = [answer.get("values") for answer in responses if isinstance(answer, dict)]
            responses = {
                name: value for one in answers if isinstance(one, dict) for name, value in one.items()
            }
        parts = {"fields": values.get("fields"), "responses": responses}
        return {
            f"{part}.{name}": value
            for part, named in parts.items()
            if isinstance(named, dict)
            for name, value in named.items()
        }
    return {
        name: value
        for name, value in values.items()
        if name not in _OF_RECORD and not _ASIDE.search(name) and not _OLD_ASIDE.search(name)
    }


SHAPES = (
    Shape(
        "argilla",
        "Argilla: an export of version 1 or 2, or records of its server",
        fits=_fits,
        drafts=_drafts,
        ranked=True,
        by_name=_by_name,
        words=NAMED,
        reserved=_OF_RECORD | _NESTED | _OF_OLD | _OF_SEARCH | {"suggestions", "vectors"},
    ),
)
