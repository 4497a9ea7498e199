"""What each column of a file became, and in how many rows it held something."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from scoring.rows.context import BECOMES, context_columns, holds
from scoring.rows.drafts import Draft
from scoring.rows.rows import Row
from scoring.rows.shapes.shape import Shape

METADATA = "metadata"
SHOWN = 200
"""Columns that are listed: a file may have thousands."""

_PROMPT = r"prompt|instruction|question|input|conversations|messages|history|context|info|title|stance"
_ANSWERS = (
    r"completions?|(completion|messages|conversation|human_ref)_[ab]|responses?|response_?[12ab]|output_[12]"
    r"|answers?|answer_[01]|summaries|a[12]|text"
)
_LABEL = (
    r"outcome|winner|winner_model_[ab]|winner_tie|labels?|choice|votes|annotator_?\d+|p_a|score_[01]|current"
    r"|preference_strength|(overall|individual)_preference|all_preferences_unprocessed"
)
_ROLES = (
    (_PROMPT, "prompt"),
    (r"chosen(_response)?|prefer?red(_completions?)?", "better answer"),
    (r"rejected(_completions?|_response)?", "worse answer"),
    (_ANSWERS, "answers"),
    (
        r"(chosen|rejected|preferred|response)[_-]model|model_[ab]|models|source(_[ab])?",
        "source of answers",
    ),
    (_LABEL, "label"),
    (r"annotator|judge|worker", "label source"),
    (r"ranks?|scores?|ratings?|rewards?|helpfulness", "rating"),
    (r"comment|note|reason", "comment"),
    (r"metadata_[ab]|\w+_metadata|quotes_[01]", METADATA),
    (r"tokens_[01]", "ignored"),
    (r"\w*id|idx|a[12]_id|c_root_id_[ab]|parent_id|topic", "id"),
    (r"turn", "turn of the answer"),
    (r"role", "role of a message"),
)
"""What a column of that name is where a Shape has read it."""
_KNOWN = tuple((re.compile(pattern), role) for pattern, role in _ROLES)
_RATING = re.compile(r"(score|(avg_)?rating)[_-](chosen|rejected)|(chosen|rejected)[_-](score|(avg_)?rating)")


@dataclass(frozen=True, slots=True)
class ColumnUse:
    """One column: what it `became`, in words, and the number of rows in which it `held` something."""

    name: str
    became: str
    held: int


class Columns:
    """Counts the columns of rows as they pass, and sees what of them the Drafts keep as metadata."""

    def __init__(self) -> None:
        self._rows: Counter[tuple[str, ...]] = Counter()
        """How many of the rows have each set of columns, since these were last added to `_there`."""
        self._there: Counter[str] = Counter()
        self._empty: Counter[str] = Counter()
        self._kept: set[str] = set()

    def saw(self, row: Row) -> None:
        # Most rows have the same columns and hold something in each: only what is empty is counted here.
        self._rows[tuple(row.values)] += 1
        if len(self._rows) > SHOWN:
            self._add_up()
        for name, value in row.values.items():
            if type(value) is str:
                if not value or value.isspace():
                    self._empty[name] += 1
            elif not (holds(value) or value is False or value == 0):
                self._empty[name] += 1

    def _add_up(self) -> None:
        for names, rows in self._rows.items():
            for name in names:
                self._there[name] += rows
        self._rows.clear()

    def made(self, draft: Draft) -> None:
        kept = self._kept
        kept.update(draft.metadata)
        for completion in draft.completions:
            if completion.metadata:
                kept.update(completion.metadata)
        for comparison in draft.comparisons:
            if comparison.metadata:
                kept.update(comparison.metadata)
            for judgment in comparison.judgments:
                if judgment.metadata:
                    kept.update(judgment.metadata)

    def uses(self, shape: Shape | None) -> tuple[ColumnUse, ...]:
        """Of each column, in the order of the file."""
        if shape is None:
            return ()
        self._add_up()
        names = tuple(self._there)[:SHOWN]
        context = {name: BECOMES[word] for name, word in context_columns(names, shape.columns)}
        named = shape.named
        return tuple(ColumnUse(name, self._became(name, named, context), self._held(name)) for name in names)

    def _held(self, name: str) -> int:
        return self._there[name] - self._empty[name]

    def _became(self, name: str, named: Mapping[str, str], context: Mapping[str, str]) -> str:
        if became := named.get(name) or context.get(name):
            return became
        if not self._held(name):
            return "nothing (empty)"
        if name in self._kept:
            return f"rating, and {METADATA}" if _RATING.fullmatch(name.lower()) else METADATA
        if named:
            return METADATA
        return next(
            (role for pattern, role in _KNOWN if pattern.fullmatch(name.lower())), "read by this format"
        )
