"""Profiles of Releases with columns of their own: `all-votes` and `soft-label`."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from scoring.messages import Message
from scoring.rows.conversations import message_of
from scoring.rows.drafts import (
    TRANSCRIPT,
    ComparisonDraft,
    CompletionDraft,
    Draft,
    ImportOptions,
    JudgmentDraft,
    as_text,
    leftovers,
    name_of,
    number_of,
    own_facts,
    prompt_of,
    text_of,
    truth_of,
)
from scoring.rows.rows import BadRow, Problem, Row, Values
from scoring.rows.shapes.pairs import turns_of
from scoring.rows.shapes.shape import Shape, in_context, per_row, together

OUTCOMES = ("a", "b", "tie", "both_bad", "cannot_judge")
CHANGED = "a vote that no longer stands is kept as superseded and does not count"

_OF_PAIR = (
    "pair_id", "id", "prompt", "prompt_id", "messages", "tools", "completion_a", "completion_b", "messages_a",
    "messages_b", "source_a", "source_b", "metadata_a", "metadata_b", "prompt_metadata", "pair_metadata",
)  # fmt: skip
_OF_DECISION = ("decided", "method", "reason", "note", "flags")
_OF_VOTE = ("outcome", "strength", "comment", "annotator", "vote_metadata")


def _every_vote(rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
    """The profile `all-votes`: one vote a row; rows of one pair make one Draft."""
    for group in together(rows, lambda row: row.values.get("pair_id")):
        votes: list[JudgmentDraft] = []
        try:
            pair = _pair(group[0])
        except BadRow as bad:
            yield bad.at(group[0])
            continue
        for row in group:
            try:
                _same_pair(row.values, group[0].values)
                votes.append(_vote(row.values))
            except BadRow as bad:
                yield bad.at(row)
        yield in_context(_with_votes(pair, votes), group[0])


def _same_pair(values: Values, first: Values) -> None:
    for column in ("prompt", "completion_a", "completion_b"):
        if values.get(column) != first.get(column):
            raise BadRow(column, "unequal_pairs", f"{column} differs from the first row of this pair_id")


def _pair(row: Row) -> Draft:
    values = row.values
    messages = _json_of(values, "messages", list)
    prompt = prompt_of(messages or values.get("prompt"), "messages" if messages else "prompt")
    facts = {name: values[name] for name in _OF_DECISION if values.get(name)}
    if flags := _json_of(values, "flags", list):
        facts["flags"] = flags
    metadata = _json_of(values, "pair_metadata", dict) or {}
    if facts:
        metadata = metadata | {"release": facts}
    comparison = ComparisonDraft(0, 1, (), name_of(values, "id"), metadata)
    return Draft(
        row.line,
        prompt,
        (_answer(values, "a"), _answer(values, "b")),
        (comparison,),
        external_id=name_of(values, "prompt_id"),
        metadata=_of_prompt(values, prompt),
        tools=_json_of(values, "tools", (list, dict, str)),
    )


def _of_prompt(values: Values, prompt: list[Message]) -> Values:
    """The metadata of the prompt. A transcript in it must read as the prompt of the row, so no file can put
    another prompt there."""
    metadata = _json_of(values, "prompt_metadata", dict) or {}
    transcript = metadata.get(TRANSCRIPT)
    fits = isinstance(transcript, str) and transcript[:2] == "\n\n" and turns_of(transcript) == prompt
    if transcript is not None and not fits:
        message = f'"{TRANSCRIPT}" in prompt_metadata differs from the prompt of this row'
        raise BadRow("prompt_metadata", "reserved_name", message, transcript)
    return own_facts(metadata, "prompt_metadata")


def _answer(values: Values, side: str) -> CompletionDraft:
    source = name_of(values, f"source_{side}")
    metadata = own_facts(_json_of(values, f"metadata_{side}", dict) or {}, f"metadata_{side}")
    turns = _json_of(values, f"messages_{side}", list)
    if not turns:
        return CompletionDraft(text_of(values, f"completion_{side}"), source, metadata)
    messages = [message_of(message, f"messages_{side}") for message in turns]
    return CompletionDraft.of(messages, source, metadata)


def _json_of(values: Values, column: str, kind: type | tuple[type, ...]) -> Any:
    """The value of a column with JSON text; None for a missing or empty one. Messages are already parsed
    (see rows.context)."""
    text = values.get(column)
    if text is None or text == "":
        return None
    if isinstance(text, kind) and not isinstance(text, str):
        return text
    try:
        value = json.loads(as_text(text, column))
    except ValueError:
        raise BadRow(column, "not_json", f"{column} should hold JSON", text) from None
    if not isinstance(value, kind):
        raise BadRow(
            column,
            "not_json",
            f"{column} should hold {_JSON.get(kind, 'a list, an object or text')} as JSON",
            text,
        )
    return value


_JSON: dict[object, str] = {list: "a list", dict: "an object"}


def _vote(values: Values) -> JudgmentDraft:
    outcome = text_of(values, "outcome")
    if outcome not in OUTCOMES:
        raise BadRow("outcome", "unknown_value", f"outcome should be one of {', '.join(OUTCOMES)}", outcome)
    number = number_of(values, "strength")
    strength = None if number is None or number < 0 else int(number)
    facts = leftovers(values, {*_OF_PAIR, *_OF_DECISION, *_OF_VOTE})
    for column in ("imported", "current"):
        if column in facts:
            facts[column] = truth_of(values, column)
    for column, kind in (("seconds", float), ("guidelines", int), ("judged_at", int)):
        if (number := number_of(values, column)) is not None:
            facts[column] = kind(number)
    metadata = (_json_of(values, "vote_metadata", dict) or {}) | {"release": facts}
    comment = as_text(values.get("comment") or "", "comment")
    return JudgmentDraft(outcome, name_of(values, "annotator"), strength, comment, metadata)


def _with_votes(pair: Draft, votes: list[JudgmentDraft]) -> Draft:
    """The pair with the votes of each annotator: the last that stands supersedes the others."""
    by_annotator: dict[str, list[JudgmentDraft]] = {}
    for vote in sorted(votes, key=lambda vote: vote.metadata["release"].get("judged_at", 0)):
        by_annotator.setdefault(vote.annotator, []).append(vote)
    (comparison,) = pair.comparisons
    judgments = tuple(_last(by_annotator[name]) for name in sorted(by_annotator))
    changed = any(judgment.earlier or not judgment.stands for judgment in judgments)
    comparison = replace(comparison, judgments=judgments)
    return replace(pair, comparisons=(comparison,), notes=(CHANGED,) if changed else ())


def _last(votes: list[JudgmentDraft]) -> JudgmentDraft:
    """An annotator's last vote that stands, or else the last; the other votes become its `earlier`."""
    standing = [vote for vote in votes if vote.metadata["release"].get("current", True)]
    last = (standing or votes)[-1]
    earlier = tuple(vote for vote in votes if vote is not last)
    return replace(last, earlier=earlier, stands=bool(standing))


def _shares(row: Row, options: ImportOptions) -> Draft:
    """The profile `soft-label`: the outcome with the largest share is the label; shares become metadata."""
    values = row.values
    share, tie = (_share(values, column) for column in ("p_a", "p_tie"))
    likelihood = {"a": share - tie / 2, "b": 1 - share - tie / 2, "tie": tie}
    best = max(likelihood, key=likelihood.__getitem__)
    if abs(likelihood["a"] - likelihood["b"]) < 1e-9 and best != "tie":
        best = "tie"
    used = {"prompt", "completion_a", "completion_b"}
    metadata = {
        name: number if (number := _number(values, name)) is not None else values[name]
        for name in leftovers(values, used)
    }
    completions = tuple(CompletionDraft(text_of(values, f"completion_{side}")) for side in "ab")
    comparison = ComparisonDraft(0, 1, (JudgmentDraft(best),), metadata=metadata)
    return Draft(row.line, prompt_of(values.get("prompt"), "prompt"), completions, (comparison,))


_NUMBERS = frozenset({"p_a", "p_tie", "n", "strength"})


def _number(values: Values, column: str) -> float | int | None:
    """The number in a column of the profile, which CSV has as text; None for other columns."""
    if column not in _NUMBERS or (number := number_of(values, column)) is None:
        return None
    return int(number) if column == "n" else number


def _share(values: Values, column: str) -> float:
    share = number_of(values, column)
    if share is None and column == "p_tie":
        return 0.0
    if share is None or not 0 <= share <= 1:
        raise BadRow(column, "unknown_value", f"{column} should be a number from 0 to 1", values.get(column))
    return share


SHAPES = (
    Shape(
        "all-votes",
        "a release of every vote: pair_id, prompt, completion_a, completion_b, outcome, annotator, current",
        needs=("pair_id", "prompt", "completion_a", "completion_b", "outcome", "annotator", "current"),
        drafts=_every_vote,
        texts=("prompt", "completion_a", "completion_b"),
        reserved=frozenset(_OF_PAIR),
    ),
    Shape(
        "soft-label",
        "a release of vote shares: prompt, completion_a, completion_b, p_a (the share of votes for a)",
        needs=("prompt", "completion_a", "completion_b", "p_a"),
        drafts=per_row(_shares),
        texts=("prompt", "completion_a", "completion_b"),
    ),
)
