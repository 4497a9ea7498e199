"""One label a row: a better and a worse completion, in the many spellings of it."""

import re
from functools import lru_cache

from scoring.formats import Message
from scoring.rows.drafts import (
    ComparisonDraft,
    CompletionDraft,
    Draft,
    ImportOptions,
    JudgmentDraft,
    as_text,
    instruction_of,
    leftovers,
    message_of,
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


def _first(columns: Columns | Values, names: tuple[str, ...]) -> str | None:
    for name in names:
        if name in columns:
            return name
    return None


def _explicit(columns: Columns, first: Values) -> bool:
    return bool(_first(columns, _BETTER) and _first(columns, _WORSE) and _first(columns, PROMPTS))


def _implicit(columns: Columns, first: Values) -> bool:
    return columns.issuperset({"chosen", "rejected"})


def _column(values: Values, names: tuple[str, ...]) -> str:
    column = _first(values, names)
    if column is None:
        raise BadRow(names[0], "missing", f'the column "{names[0]}" is missing')
    return column


def _answer(value: object, column: str) -> tuple[list[Message], str]:
    """(messages before, text) of an answer given as text, as one message, or as a conversation that ends
    with it."""
    if isinstance(value, str):
        return [], value
    messages = [message_of(m, column) for m in value] if isinstance(value, list) else []
    if isinstance(value, dict):
        messages = [message_of(value, column)]
    if not messages:
        as_text(value, column)
    if messages[-1]["role"] != "assistant":
        raise BadRow(column, "no_answer", f"{column} does not end with an assistant's message", messages[-1])
    return messages[:-1], messages[-1]["content"]


def _explicit_draft(row: Row, options: ImportOptions) -> Draft:
    values = row.values
    asked, better, worse = _column(values, PROMPTS), _column(values, _BETTER), _column(values, _WORSE)
    used = {asked, better, worse}
    if asked == "instruction":
        prompt = instruction_of(values)
        used.add("input")
    else:
        prompt = prompt_of(values[asked], asked)
    (before_better, chosen), (before_worse, rejected) = (
        _answer(values[better], better),
        _answer(values[worse], worse),
    )
    if before_better != before_worse:
        raise BadRow(worse, "unequal_prefixes", f"{better} and {worse} answer different conversations")
    if before_better:
        prompt = _same_prompt(prompt, before_better, asked)
        used.add("messages")
    elif system := values.get("system"):
        prompt = [{"role": "system", "content": as_text(system, "system")}, *prompt]
        used.add("system")
    return _draft(row, prompt, chosen, rejected, used)


def _same_prompt(prompt: list[Message], before: list[Message], column: str) -> list[Message]:
    """The conversation before the answer, which has to end as the prompt column does, or to hold its one
    text as what a person said: some sets give the first question there, of several."""
    asked, said = [m["content"] for m in prompt], [m["content"] for m in before]
    first = len(asked) == 1 and asked[0] in (m["content"] for m in before if m["role"] == "user")
    if said[-len(asked) :] != asked and not first:
        raise BadRow(column, "unequal_prefixes", f"{column} is not what the answers reply to")
    return before


def _implicit_draft(row: Row, options: ImportOptions) -> Draft:
    """TRL's implicit form: whole conversations as messages, or as Anthropic's transcripts."""
    better, worse = (_column(row.values, (name,)) for name in ("chosen", "rejected"))
    if isinstance(row.values[better], str):
        return _transcript_draft(row)
    (before_better, chosen), (before_worse, rejected) = (
        _answer(row.values[column], column) for column in (better, worse)
    )
    if before_better != before_worse:
        raise BadRow("rejected", "unequal_prefixes", "chosen and rejected answer different conversations")
    return _draft(row, prompt_of(before_better, "chosen"), chosen, rejected, {"chosen", "rejected"})


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
    better, worse = (answer.removeprefix(" ") for _, answer in cut)
    draft = _draft(row, prompt_of(messages, "chosen"), better, worse, {"chosen", "rejected"})
    draft.metadata.update(metadata)
    for completion, (_, answer) in zip(draft.completions, cut, strict=True):
        if not answer.startswith(" "):
            completion.metadata["no_blank_after_role"] = True
    return draft


def transcript_of(text: str, column: str) -> tuple[list[Message], Values]:
    """(messages, metadata) of a transcript that ends with the role whose answer is wanted."""
    prefix, answer = _cut_transcript(text, column)
    if answer.strip():
        raise BadRow(column, "answered", f"{column} ends with an answer, not where one is wanted", answer)
    return _messages(prefix)


def _cut_transcript(value: object, column: str) -> tuple[str, str]:
    """(all before the last turn, what follows its colon)."""
    text = as_text(value, column)
    turns = list(_TURN.finditer(text))
    if len(turns) < 2 or turns[0].start() != 0 or turns[-1][1] != "Assistant":
        raise BadRow(
            column,
            "no_roles",
            f'{column} is no transcript of "\\n\\nHuman:" and "\\n\\nAssistant:" turns that ends with the '
            "assistant, and there is no prompt column",
            text,
        )
    return text[: turns[-1].start()], text[turns[-1].end() :]


def _messages(prefix: str) -> tuple[list[Message], Values]:
    """The messages, and the transcript itself as metadata where they would be written differently."""
    _, *parts = _TURN.split(prefix)
    messages = [
        {"role": _ROLES[role], "content": said.removeprefix(" ")}
        for role, said in zip(parts[::2], parts[1::2], strict=True)
    ]
    return messages, {} if transcript(messages) == prefix else {"transcript": prefix}


def transcript(messages: list[Message]) -> str:
    """Messages as Anthropic writes them: the inverse of the import, byte for byte."""
    return "".join(
        f"\n\n{'Assistant' if m['role'] == 'assistant' else 'Human'}: {m['content']}" for m in messages
    )


@lru_cache(maxsize=100)
def _beside(columns: tuple[str, ...]) -> tuple[str | None, str | None, tuple[tuple[str, str], ...]]:
    """(source of the better, of the worse, ratings of both) among the columns: most rows of a file have the
    same."""
    names = frozenset(columns)
    ratings = tuple(pair for pair in _RATINGS if not names.isdisjoint(pair))
    return _first(names, _SOURCES["better"]), _first(names, _SOURCES["worse"]), ratings


def _draft(row: Row, prompt: list[Message], better: str, worse: str, used: set[str]) -> Draft:
    values = row.values
    better_source, worse_source, rated = _beside(tuple(values))
    used |= {name for name in (better_source, worse_source) if name} | {"id", "prompt_id"}
    outcome = "a"
    for high, low in rated:
        ratings = number_of(values, high), number_of(values, low)
        if None not in ratings and ratings[0] == ratings[1]:
            outcome = "tie"
    completions = tuple(
        CompletionDraft(text, name_of(values, column) if column else "")
        for text, column in ((better, better_source), (worse, worse_source))
    )
    row_id = name_of(values, "id")
    comparison = ComparisonDraft(0, 1, (JudgmentDraft(outcome),), row_id, leftovers(values, used))
    return Draft(
        row.line,
        prompt,
        completions,
        (comparison,),
        row_id=row_id,
        external_id=name_of(values, "prompt_id"),
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
