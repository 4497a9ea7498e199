"""One label a row: a better and a worse completion, under any of their usual names."""

import re
from dataclasses import replace
from functools import lru_cache

from scoring.messages import Message, message_reading
from scoring.rows.conversations import answer_begins, message_of
from scoring.rows.drafts import (
    NO_BLANK_AFTER_ROLE,
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
    prompt_of,
)
from scoring.rows.rows import BadRow, Row, Values
from scoring.rows.shapes.shape import Columns, Shape, per_row

_BETTER = (
    "chosen", "preferred", "prefered_completions", "prefered_completion", "preferred_completions",
    "preferred_completion", "chosen_response",
)  # fmt: skip
_WORSE = ("rejected", "rejected_completions", "rejected_completion", "rejected_response")
PROMPTS = ("prompt", "instruction", "question", "input", "conversations", "messages")
_SOURCES = (("chosen_model", "preferred_model", "chosen-model"), ("rejected_model", "rejected-model"))
_RATINGS = (
    ("score_chosen", "score_rejected"),
    ("chosen_avg_rating", "rejected_avg_rating"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
    ("chosen_score", "rejected_score"),
)


def _filled(values: Values, names: tuple[str, ...], empty: tuple[object, ...] = (None,)) -> str | None:
    """The first of the columns with a value in this row, else the first column that exists: a table joined
    from several has null in the columns of the other tables."""
    columns = _in_order(names, tuple(values))
    return next((name for name in columns if values[name] not in empty), next(iter(columns), None))


@lru_cache(maxsize=300)
def _in_order(names: tuple[str, ...], columns: tuple[str, ...]) -> tuple[str, ...]:
    """The names that are columns. Most rows of a file have the same columns, so the result is cached."""
    return tuple(name for name in names if name in columns)


def prompt_in(values: Values) -> tuple[list[Message], set[str]]:
    """(the prompt, its columns) of a row with a prompt under one of PROMPTS.

    As in the Alpaca form, an `input` follows the prompt after a blank line. Raises BadRow.
    """
    column = _filled(values, PROMPTS, (None, "", [])) or PROMPTS[0]
    alpaca_input, value = values.get("input"), values.get(column)
    if column == "input" or not alpaca_input:
        return prompt_of(value, column), {column, "input"}
    if isinstance(value, str):
        text = as_text(alpaca_input, "input")
        joined = value if text in value else f"{value}\n\n{text}"
        return prompt_of(joined, column), {column, "input"}
    prompt = prompt_of(value, column)
    if not isinstance(alpaca_input, str) or not any(alpaca_input in message_reading(m) for m in prompt):
        message = (
            f"the row has an input beside a conversation in {column}; put the input into the conversation"
        )
        raise BadRow("input", "context", message, alpaca_input)
    return prompt, {column, "input"}


def _explicit(columns: Columns, first: Values) -> bool:
    return not any(columns.isdisjoint(names) for names in (_BETTER, _WORSE, PROMPTS))


def _implicit(columns: Columns, first: Values) -> bool:
    return columns.issuperset({"chosen", "rejected"})


def _column(values: Values, names: tuple[str, ...]) -> str:
    column = _filled(values, names)
    if column is None:
        raise BadRow(names[0], "missing", f'the column "{names[0]}" is missing')
    return column


def turns_or_text(value: object, column: str) -> str | list[Message]:
    """An answer, or a conversation that ends with one: text, one message, or several. Raises BadRow unless
    the last message is an assistant's."""
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not value:
        return as_text(value, column)
    messages = [message_of(message, column) for message in value]
    if messages[-1]["role"] != "assistant":
        raise BadRow(column, "no_answer", f"{column} does not end with an assistant's message", messages[-1])
    return messages


def completion_of(value: object, column: str) -> CompletionDraft:
    """One answer, from a text, a message, or several messages. Raises BadRow."""
    answer = turns_or_text(value, column)
    return CompletionDraft(answer) if isinstance(answer, str) else CompletionDraft.of(answer)


def answers_of(
    values: Values, columns: tuple[str, str], prompt: list[Message] | None = None
) -> tuple[list[Message], tuple[CompletionDraft, CompletionDraft]]:
    """(messages before the answers, the two answers) of two columns. Raises BadRow.

    There are messages before the answers only if both columns hold whole conversations (see answer_begins).
    """
    better, worse = values[columns[0]], values[columns[1]]
    if isinstance(better, str) and isinstance(worse, str):
        return [], (CompletionDraft(better), CompletionDraft(worse))
    better, worse = turns_or_text(better, columns[0]), turns_or_text(worse, columns[1])
    whole = _is_whole(better, prompt)
    if whole != _is_whole(worse, prompt):
        raise _unequal(columns)
    cut = 0
    if isinstance(better, list) and isinstance(worse, list) and whole:
        cut = answer_begins(better, worse)
        if not cut:
            raise _unequal(columns)
    first, second = (
        CompletionDraft(answer) if isinstance(answer, str) else CompletionDraft.of(answer[cut:])
        for answer in (better, worse)
    )
    return (better[:cut] if isinstance(better, list) else []), (first, second)


def _unequal(columns: tuple[str, str]) -> BadRow:
    better, worse = columns
    return BadRow(worse, "unequal_prefixes", f"{better} and {worse} answer different conversations")


def _is_whole(answer: str | list[Message], prompt: list[Message] | None) -> bool:
    """True if the messages contain the prompt: there is no prompt column, the first turn is not an
    assistant's, or a user's turn reads as the last turn of the prompt."""
    if isinstance(answer, str):
        return False
    if prompt is None or answer[0]["role"] != "assistant":
        return True
    question = message_reading(prompt[-1])
    return any(message["role"] == "user" and message_reading(message) == question for message in answer)


def _explicit_draft(row: Row, options: ImportOptions) -> Draft:
    values = row.values
    better, worse = _column(values, _BETTER), _column(values, _WORSE)
    prompt, used = prompt_in(values)
    prompt_column = next(iter(used - {"input"}), "input")
    used |= {better, worse}
    before, answers = answers_of(values, (better, worse), prompt)
    if before:
        prompt = same_prompt(prompt, before, prompt_column)
        used.add("messages")
    return _draft(row, prompt, answers, used)


def same_prompt(prompt: list[Message], before: list[Message], column: str) -> list[Message]:
    """`before`, the messages before the answer. Raises BadRow if they don't fit the prompt column.

    They fit if they begin or end with its messages, or if its only text is one of their user turns: some sets
    give only the first of several questions there.
    """
    texts, texts_before = [message_reading(m) for m in prompt], [message_reading(m) for m in before]
    is_question = len(texts) == 1 and texts[0] in (message_reading(m) for m in before if m["role"] == "user")
    size = len(texts)
    if texts not in (texts_before[:size], texts_before[-size:]) and not is_question:
        raise BadRow(
            column, "unequal_prefixes", f"{column} differs from the prompt that the answers reply to"
        )
    return before


def _implicit_draft(row: Row, options: ImportOptions) -> Draft:
    """TRL's implicit prompt: whole conversations as messages, or as Anthropic's transcripts."""
    better, worse = (_column(row.values, (name,)) for name in ("chosen", "rejected"))
    if isinstance(row.values[better], str):
        return _transcript_draft(row)
    before, answers = answers_of(row.values, (better, worse))
    return _draft(row, prompt_of(before, "chosen"), answers, {"chosen", "rejected"})


_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def _transcript_draft(row: Row) -> Draft:
    """Two transcripts, cut at the last turn: the longest common beginning may end inside the answers.

    The blank after a colon belongs to the transcript. Metadata keeps what a Release needs to write an odd
    transcript again, byte for byte.
    """
    cut = [_cut_transcript(row.values[column], column) for column in ("chosen", "rejected")]
    if cut[0][0] != cut[1][0]:
        raise BadRow("rejected", "unequal_prefixes", "chosen and rejected answer different conversations")
    messages, metadata = _messages(cut[0][0])
    better, worse = (CompletionDraft(answer.removeprefix(" ")) for _, answer in cut)
    draft = _draft(row, prompt_of(messages, "chosen"), (better, worse), {"chosen", "rejected"})
    draft.metadata.update(metadata)
    for completion, (_, answer) in zip(draft.completions, cut, strict=True):
        if not answer.startswith(" "):
            completion.metadata[NO_BLANK_AFTER_ROLE] = True
    return draft


def transcript_of(text: str, column: str) -> tuple[list[Message], Values]:
    """(messages, metadata) of a transcript that ends with "\n\nAssistant:". Raises BadRow."""
    prefix, answer = _cut_transcript(text, column)
    if answer.strip():
        raise BadRow(
            column, "answered", f"{column} ends with an answer; it should end before the answer", answer
        )
    return _messages(prefix)


def _cut_transcript(value: object, column: str) -> tuple[str, str]:
    """(the text before the last turn, the text after its colon)."""
    text = as_text(value, column)
    turns = list(_TURN.finditer(text))
    if len(turns) < 2 or turns[0].start() != 0 or turns[-1][1] != "Assistant":
        raise BadRow(
            column,
            "no_roles",
            f'there is no prompt column, and {column} is not a transcript of "\\n\\nHuman:" and '
            '"\\n\\nAssistant:" turns that ends with the assistant',
            text,
        )
    return text[: turns[-1].start()], text[turns[-1].end() :]


def _messages(prefix: str) -> tuple[list[Message], Values]:
    """(messages, metadata); the metadata holds the transcript if `transcript` would write another one."""
    messages = turns_of(prefix)
    return messages, {} if transcript(messages) == prefix else {TRANSCRIPT: prefix}


def turns_of(prefix: str) -> list[Message]:
    """The messages of a transcript without its last turn."""
    _, *parts = _TURN.split(prefix)
    return [
        {"role": _ROLES[role], "content": text.removeprefix(" ")}
        for role, text in zip(parts[::2], parts[1::2], strict=True)
    ]


def transcript(messages: list[Message]) -> str:
    """Messages as an Anthropic transcript, byte for byte as `turns_of` reads it."""
    return "".join(
        f"\n\n{'Assistant' if m['role'] == 'assistant' else 'Human'}: {m['content']}" for m in messages
    )


def contradicted(values: Values) -> str:
    """A note if the ratings of a row contradict its label, else ""."""
    for high, low in _sources_and_ratings(tuple(values))[2]:
        try:
            better, worse = number_of(values, high), number_of(values, low)
        except BadRow:
            continue  # with a column mapping, a column of this name may hold anything
        if better is not None and worse is not None and better < worse:
            return CONTRADICTED.format(high, low)
    return ""


CONTRADICTED = "{} is below {}: the rating contradicts the label; the label is kept"


@lru_cache(maxsize=100)
def _sources_and_ratings(
    columns: tuple[str, ...],
) -> tuple[str | None, str | None, tuple[tuple[str, str], ...]]:
    """(source column of the better answer, of the worse answer, pairs of rating columns)."""
    better, worse = (next((n for n in names if n in columns), None) for names in _SOURCES)
    return better, worse, tuple(pair for pair in _RATINGS if not set(pair).isdisjoint(columns))


def _draft(
    row: Row, prompt: list[Message], answers: tuple[CompletionDraft, CompletionDraft], used: set[str]
) -> Draft:
    values = row.values
    better_source, worse_source, ratings = _sources_and_ratings(tuple(values))
    used |= {"id", "prompt_id"}
    outcome = "a"
    notes: tuple[str, ...] = ()
    for high, low in ratings:
        better, worse = number_of(values, high), number_of(values, low)
        if better is not None and better == worse:
            outcome = "tie"
        elif better is not None and worse is not None and better < worse:
            notes = (CONTRADICTED.format(high, low),)
    used |= {source for source in (better_source, worse_source) if source}
    better_answer, worse_answer = (
        replace(answer, source=name_of(values, source)) if source else answer
        for answer, source in zip(answers, (better_source, worse_source), strict=True)
    )
    row_id = name_of(values, "id")
    comparison = ComparisonDraft(0, 1, (JudgmentDraft(outcome),), row_id, leftovers(values, used))
    return Draft(
        row.line,
        prompt,
        (better_answer, worse_answer),
        (comparison,),
        row_id=row_id,
        external_id=name_of(values, "prompt_id"),
        notes=notes,
    )


SHAPES = (
    Shape(
        "preference",
        "prompt, chosen, rejected (and other spellings), one label a row",
        fits=_explicit,
        drafts=per_row(_explicit_draft),
        texts=(*PROMPTS[:4], *_BETTER, *_WORSE),
    ),
    Shape(
        "transcripts",
        "chosen, rejected as whole conversations (Anthropic HH-RLHF, TRL implicit)",
        fits=_implicit,
        drafts=per_row(_implicit_draft),
        texts=("chosen", "rejected"),
    ),
)
