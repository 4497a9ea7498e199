"""Exports of Argilla 2: flat (to_datasets, to_list and to_dict flattened) and nested (to_json,
to_list, to_dict).

A flat record has the lists Q.responses, Q.responses.users and Q.responses.status for each question Q. A
nested record has lost the status of a response: drafts and discarded responses look like votes.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from scoring.rows.context import prepared
from scoring.rows.drafts import Draft, ImportOptions, name_of
from scoring.rows.printed import printed_list
from scoring.rows.rows import BadRow, Problem, Row, Values
from scoring.rows.shapes.moving import Answers, Reply, Task, name_as_text, task_drafts
from scoring.rows.shapes.shape import Columns, Shape

STATUS_LOST = (
    "this form of export does not say which responses are drafts or discarded, so all count as votes; "
    "to_datasets says it"
)
NO_VOTE = {
    "draft": "a draft is no vote",
    "discarded": "a discarded response is no vote",
    "pending": "a pending response is no vote",
}

_OF_RECORD = frozenset({"id", "status", "_server_id"})
_RESPONSES = ".responses"
_SUGGESTION = ".suggestion"
_NESTED = frozenset({"fields", "responses"})


def _drafts(rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
    return task_drafts(_tasks(rows), options)


def _tasks(rows: Iterable[Row]) -> Iterator[Task | Problem]:
    for row in rows:
        try:
            yield _nested(row) if "fields" in row.values else _flat(row)
        except BadRow as bad:
            yield bad.at(row)


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
            notes.append(STATUS_LOST)
            states = ["submitted"] * len(responses)
        if not len(responses) == len(users) == len(states):
            message = f"{column}, its users and its status should be as long as each other"
            raise BadRow(column, "unequal_lists", message, responses)
        for response, user, state in zip(responses, users, states, strict=True):
            if state == "submitted":
                _add(replies, user, question, response)
            elif isinstance(state, str) and state in NO_VOTE:
                notes.append(NO_VOTE[state])
            else:
                raise BadRow(
                    f"{column}.status",
                    "unknown_value",
                    "status should be submitted, draft or discarded",
                    state,
                )
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
    parts = {name: _object(values, name) for name in ("fields", "metadata", "responses", "suggestions")}
    notes: list[str] = []
    replies: dict[str, dict[str, Reply]] = {}
    for question, responses in parts["responses"].items():
        if not isinstance(responses, list) or not all(isinstance(response, dict) for response in responses):
            raise BadRow("responses", "not_a_list", f"responses.{question} should be a list of objects")
        for response in responses:
            state = response.get("status")
            if isinstance(state, str) and state in NO_VOTE:
                notes.append(NO_VOTE[state])
                continue
            if state is None:
                notes.append(STATUS_LOST)
            _add(replies, response.get("user_id"), question, response.get("value"))
    suggestions = [
        suggestion
        for question, picked in parts["suggestions"].items()
        if isinstance(picked, dict)
        and (
            suggestion := _suggestion(question, picked.get("value"), picked.get("score"), picked.get("agent"))
        )
    ]
    data = {**parts["fields"], **{k: v for k, v in parts["metadata"].items() if k not in parts["fields"]}}
    inner = prepared(replace(row, values=data), frozenset(), lambda note, _line: notes.append(note))
    return _task(inner, values, replies, suggestions, notes)


def _task(
    row: Row,
    values: Values,
    replies: dict[str, dict[str, Reply]],
    suggestions: list[Values],
    notes: list[str],
) -> Task:
    answers = tuple(Answers(user, by_question) for user, by_question in replies.items())
    return Task(row, name_of(values, "id"), answers, tuple(suggestions), tuple(notes), listed=True)


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
        return Reply("order", [[item] for item in value])
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return _ranked(value, question)
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
    return Reply("order", [tiers[rank] for rank in sorted(tiers)], "ranks")


def _suggestion(question: str, value: object, score: object, agent: object) -> Values | None:
    """What a model chose, as metadata. A number without an agent stands for "none"."""
    number = isinstance(value, int | float) or (isinstance(value, str) and value.lstrip("-").isdecimal())
    if value is None or value in ("", []) or (number and agent in (None, "")):
        return None
    return {"question": question, "value": value, "score": score or None, "agent": agent or None}


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
    return columns >= _NESTED or any(
        name.endswith((_RESPONSES, f"{_RESPONSES}.users")) and len(name) > len(_RESPONSES) for name in columns
    )


SHAPES = (
    Shape(
        "argilla",
        "Argilla 2: an export by to_datasets, to_json, to_list or to_dict",
        fits=_fits,
        drafts=_drafts,
        ranked=True,
        reserved=_OF_RECORD | _NESTED | {"metadata", "suggestions", "vectors"},
    ),
)
