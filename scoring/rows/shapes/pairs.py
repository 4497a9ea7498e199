"""One label a row: a better and a worse completion, in the many spellings of it."""

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
_SOURCES = {
    "better": ("chosen_model", "preferred_model", "chosen-model"),
    "worse": ("rejected_model", "rejected-model"),
}
_RATINGS = (
    ("score_chosen", "score_rejected"),
    ("chosen_avg_rating", "rejected_avg_rating"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
    ("chosen_score", "rejected_score"),
)


def _first(columns: Columns, names: tuple[str, ...]) -> str | None:
    for name in names:
        if name in columns:
            return name
    return None


def _holding(values: Values, names: tuple[str, ...], empty: tuple[object, ...] = (None,)) -> str | None:
    """The first of the columns that holds something in this row, else the first that is there: a table put
    together from several has null where the row's own table had no such column."""
    there = _there(tuple(values), names)
    for name in there:
        if values[name] not in empty:
            return name
    return there[0] if there else None


@lru_cache(maxsize=200)
def _there(columns: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the names that are columns: most rows of a file have the same."""
    return tuple(name for name in names if name in columns)


def prompt_in(values: Values) -> tuple[list[Message], set[str]]:
    """(the prompt, its columns) of a row with a prompt under one of PROMPTS. An `input` beside the prompt
    follows it after a blank line, as in the Alpaca form. Raises BadRow."""
    column = _holding(values, PROMPTS, (None, "", [])) or PROMPTS[0]
    about, value = values.get("input"), values.get(column)
    if column == "input" or not about:
        return prompt_of(value, column), {column, "input"}
    if isinstance(value, str):
        text = as_text(about, "input")
        joined = value if text in value else f"{value}\n\n{text}"
        return prompt_of(joined, column), {column, "input"}
    prompt = prompt_of(value, column)
    if not isinstance(about, str) or not any(about in message_reading(message) for message in prompt):
        message = (
            f"the row has an input beside a conversation in {column}; put the input into the conversation"
        )
        raise BadRow("input", "context", message, about)
    return prompt, {column, "input"}


def _explicit(columns: Columns, first: Values) -> bool:
    return bool(_first(columns, _BETTER) and _first(columns, _WORSE) and _first(columns, PROMPTS))


def _implicit(columns: Columns, first: Values) -> bool:
    return columns.issuperset({"chosen", "rejected"})


def _column(values: Values, names: tuple[str, ...]) -> str:
    column = _holding(values, names)
    if column is None:
        raise BadRow(names[0], "missing", f'the column "{names[0]}" is missing')
    return column


def turns_or_text(value: object, column: str) -> str | list[Message]:
    """An answer, or a conversation that ends with an answer: text, one message, or several. Raises BadRow for
    messages that do not end with an assistant's."""
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not value:
        return as_text(value, column)
    messages = [message_of(message, column) for message in value]
    if messages[-1]["role"] != "assistant":
        raise BadRow(column, "no_answer", f"{column} does not end with an assistant's message", messages[-1])
    return messages


def completion_of(value: object, column: str) -> CompletionDraft:
    """One answer: a text, a message, or several messages."""
    answer = turns_or_text(value, column)
    return CompletionDraft(answer) if isinstance(answer, str) else CompletionDraft.of(answer)


def answers_of(
    values: Values, columns: tuple[str, str], prompt: list[Message] | None = None
) -> tuple[list[Message], tuple[CompletionDraft, CompletionDraft]]:
    """(messages before, the two answers). Where both columns hold whole conversations, the messages before
    are what both begin with, up to the last turn that is not an assistant's; else there are none."""
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
    """True when the messages hold the prompt too: always where no column has it, else where they begin with
    another's turn than the assistant's, or hold the last turn of the prompt."""
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
    """The conversation before the answer, which has to begin or end as the prompt column does, or to hold its
    one text as what a person said: some sets give the first question there, of several."""
    texts, texts_before = [message_reading(m) for m in prompt], [message_reading(m) for m in before]
    is_question = len(texts) == 1 and texts[0] in (message_reading(m) for m in before if m["role"] == "user")
    size = len(texts)
    if texts not in (texts_before[:size], texts_before[-size:]) and not is_question:
        raise BadRow(
            column, "unequal_prefixes", f"{column} differs from the prompt that the answers reply to"
        )
    return before


def _implicit_draft(row: Row, options: ImportOptions) -> Draft:
    """TRL's implicit form: whole conversations as messages, or as Anthropic's transcripts."""
    better, worse = (_column(row.values, (name,)) for name in ("chosen", "rejected"))
    if isinstance(row.values[better], str):
        return _transcript_draft(row)
    before, answers = answers_of(row.values, (better, worse))
    return _draft(row, prompt_of(before, "chosen"), answers, {"chosen", "rejected"})


_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def _transcript_draft(row: Row) -> Draft:
    """Cut at the last role boundary only: the longest common beginning of two texts may end inside the
    answers. The one blank after a colon is the transcript's and not the text's; what it takes to write an
    odd transcript again goes to metadata."""
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
    """(messages, metadata) of a transcript that ends with the role whose answer is wanted."""
    prefix, answer = _cut_transcript(text, column)
    if answer.strip():
        raise BadRow(
            column, "answered", f"{column} ends with an answer; it should end before the answer", answer
        )
    return _messages(prefix)


def _cut_transcript(value: object, column: str) -> tuple[str, str]:
    """(all before the last turn, what follows its colon)."""
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
    """The messages, and the transcript itself as metadata where they would be written differently."""
    messages = turns_of(prefix)
    return messages, {} if transcript(messages) == prefix else {TRANSCRIPT: prefix}


def turns_of(prefix: str) -> list[Message]:
    """The messages that a transcript is read as."""
    _, *parts = _TURN.split(prefix)
    return [
        {"role": _ROLES[role], "content": said.removeprefix(" ")}
        for role, said in zip(parts[::2], parts[1::2], strict=True)
    ]


def transcript(messages: list[Message]) -> str:
    """Messages as Anthropic writes them: the inverse of the import, byte for byte."""
    return "".join(
        f"\n\n{'Assistant' if m['role'] == 'assistant' else 'Human'}: {m['content']}" for m in messages
    )


def contradicted(values: Values) -> str:
    """A note where the ratings of a row say the opposite of its label; "" where they don't, or are none."""
    for high, low in _beside(tuple(values))[2]:
        try:
            better, worse = number_of(values, high), number_of(values, low)
        except BadRow:
            continue  # of a table whose columns somebody named, this one may be anything
        if better is not None and worse is not None and better < worse:
            return CONTRADICTED.format(high, low)
    return ""


CONTRADICTED = "{} is below {}: the rating contradicts the label; the label is kept"


@lru_cache(maxsize=100)
def _beside(columns: tuple[str, ...]) -> tuple[str | None, str | None, tuple[tuple[str, str], ...]]:
    """(source of the better, of the worse, ratings of both) among the columns: most rows of a file have the
    same."""
    names = frozenset(columns)
    ratings = tuple(pair for pair in _RATINGS if not names.isdisjoint(pair))
    return _first(names, _SOURCES["better"]), _first(names, _SOURCES["worse"]), ratings


def _draft(
    row: Row, prompt: list[Message], answers: tuple[CompletionDraft, CompletionDraft], used: set[str]
) -> Draft:
    values = row.values
    better_source, worse_source, rated = _beside(tuple(values))
    used |= {"id", "prompt_id"}
    outcome = "a"
    notes: tuple[str, ...] = ()
    for high, low in rated:
        better, worse = number_of(values, high), number_of(values, low)
        if better is not None and better == worse:
            outcome = "tie"
        elif better is not None and worse is not None and better < worse:
            notes = (CONTRADICTED.format(high, low),)
    better_answer, worse_answer = answers
    if better_source:
        used.add(better_source)
        better_answer = replace(better_answer, source=name_of(values, better_source))
    if worse_source:
        used.add(worse_source)
        worse_answer = replace(worse_answer, source=name_of(values, worse_source))
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
