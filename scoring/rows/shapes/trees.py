"""Conversation trees of OpenAssistant. The replies to a message are ranked; 0 is best."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from scoring.formats import Message
from scoring.rows.conversations import message_of
from scoring.rows.drafts import (
    CompletionDraft,
    Draft,
    ImportOptions,
    leftovers,
    name_of,
    number_of,
    prompt_of,
    ranked_comparisons,
    text_of,
)
from scoring.rows.rows import BadRow, Problem, Row, Values
from scoring.rows.shapes.shape import Columns, Shape, in_context


def _nested(rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
    """One tree a row, replies inside their message."""
    for row in rows:
        try:
            root = row.values.get("prompt")
            if not isinstance(root, dict):
                raise BadRow("prompt", "not_a_message", "prompt should be a message with its replies", root)
            tree_id = name_of(row.values, "message_tree_id")
            drafts = list(_drafts(row.line, root, [], tree_id, options))
        except BadRow as bad:
            yield bad.at(row)
        else:
            yield from (in_context(draft, row) for draft in drafts)


def _flat(rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
    """One message a row; the rows of one tree stand together, a message after the one it replies to."""
    for tree_id, tree in groupby(rows, key=lambda row: row.values.get("message_tree_id")):
        nodes: dict[str, Values] = {}
        roots: list[tuple[Row, Values]] = []
        for row in tree:
            node = {**row.values, "replies": []}
            try:
                message_id, parent = name_of(row.values, "message_id"), name_of(row.values, "parent_id")
            except BadRow as bad:
                yield bad.at(row)
                continue
            nodes[message_id] = node
            if not parent:
                roots.append((row, node))
            elif parent in nodes:
                nodes[parent]["replies"].append(node)
            else:
                message = "the message that this row replies to is not earlier in the same tree"
                yield BadRow("parent_id", "no_parent", message, parent).at(row)
        for row, root in roots:
            try:
                drafts = list(_drafts(row.line, root, [], str(tree_id), options))
            except BadRow as bad:
                yield bad.at(Row(row.line, root))
            else:
                yield from (in_context(draft, row) for draft in drafts)


def _drafts(
    line: int, root: Values, before: list[Message], tree_id: str, options: ImportOptions
) -> Iterator[Draft]:
    """A Draft for each message with two or more ranked replies. No recursion: trees can be deep."""
    waiting: list[tuple[Values, list[Message]]] = [(root, before)]
    while waiting:
        node, path = waiting.pop()
        path = [*path, _message(node)]
        replies = node.get("replies") or []
        if not isinstance(replies, list) or not all(isinstance(reply, dict) for reply in replies):
            raise BadRow("replies", "not_a_list", "replies should be a list of messages", replies)
        ranks = [number_of(reply, "rank") for reply in replies]
        if sum(rank is not None for rank in ranks) >= 2:
            ranked = [(r, rank) for r, rank in zip(replies, ranks, strict=True) if rank is not None]
            yield Draft(
                line,
                prompt_of(path, "text"),
                tuple(_completion(reply) for reply, _ in ranked),
                ranked_comparisons([rank for _, rank in ranked], options, lower_is_better=True),
                external_id=name_of(node, "message_id"),
                metadata=leftovers(node, {"text", "replies", "message_id"}) | {"tree": tree_id},
            )
        waiting.extend((reply, path) for reply in reversed(replies))


def _message(node: Values) -> Message:
    return message_of({"role": node.get("role"), "content": node.get("text")}, "text")


def _completion(reply: Values) -> CompletionDraft:
    metadata: dict[str, Any] = leftovers(reply, {"text", "replies", "model_name"})
    return CompletionDraft(text_of(reply, "text"), name_of(reply, "model_name"), metadata)


def _is_nested(columns: Columns, first: Values) -> bool:
    return columns.issuperset({"message_tree_id", "prompt"}) and isinstance(first.get("prompt"), dict)


SHAPES = (
    Shape(
        "oasst-trees",
        "OpenAssistant trees: message_tree_id, prompt with replies[]",
        fits=_is_nested,
        drafts=_nested,
        ranked=True,
    ),
    Shape(
        "oasst-messages",
        "OpenAssistant messages: message_id, parent_id, message_tree_id, text, role, rank",
        needs=("message_id", "parent_id", "message_tree_id", "text", "role", "rank"),
        drafts=_flat,
        texts=("text",),
        ranked=True,
    ),
)
