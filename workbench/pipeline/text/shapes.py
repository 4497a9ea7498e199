"""What the messages of a pair are like, by which a profile of a Release can hold the pair or not."""

from collections.abc import Sequence
from enum import IntFlag
from functools import reduce
from operator import or_

from scoring.messages import Message, is_plain, says_text_alone


class Shape(IntFlag):
    """Facts of a Prompt or of an answer; those about the other of the two count as true. A pair has the facts
    that its Prompt and both of its answers have."""

    PLAIN = 1
    """Every message is a role and a text, without tools; an answer is one such message."""
    TEXT = 2
    """Texts can hold it all: no tools, calls, results and reasoning; an answer is one message."""
    IN_TURNS = 4
    """User and assistant take turns, from user to user; a system message may come first."""
    TWO_SPEAKERS = 8
    """Only user and assistant speak."""
    ONE_MESSAGE = 16
    """An answer is one message."""
    NO_TOOLS = 32
    """The Prompt came without tools."""


EVERY = reduce(or_, Shape)
_OF_PROMPTS = Shape.IN_TURNS | Shape.TWO_SPEAKERS | Shape.NO_TOOLS


def shape_of_prompt(messages: Sequence[Message], has_tools: bool) -> Shape:
    shape = EVERY
    if has_tools or not all(map(is_plain, messages)):
        shape &= ~Shape.PLAIN
    if has_tools or not all(map(says_text_alone, messages)):
        shape &= ~Shape.TEXT
    roles = [message["role"] for message in messages]
    if not _take_turns(roles):
        shape &= ~Shape.IN_TURNS
    if not {"user", "assistant"}.issuperset(roles):
        shape &= ~Shape.TWO_SPEAKERS
    return shape & ~Shape.NO_TOOLS if has_tools else shape


def _take_turns(roles: Sequence[str]) -> bool:
    turns = roles[1:] if roles[:1] == ["system"] else roles
    return len(turns) % 2 == 1 and all(
        role == ("assistant" if place % 2 else "user") for place, role in enumerate(turns)
    )


def shape_of_answer(conversation: Sequence[Message] | None) -> Shape:
    """`conversation`: the messages of the answer; None = one assistant message of text."""
    if not conversation:
        return EVERY
    shape = _OF_PROMPTS
    if len(conversation) == 1:
        shape |= Shape.ONE_MESSAGE
        if says_text_alone(conversation[0]):
            shape |= Shape.TEXT
    return shape
