"""The use that an import made of each column of a file, and the number of rows in which it has a value."""

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
"""At most this many columns are listed: a file may have a thousand."""

_PROMPT = r"prompt|instruction|question|input|conversations|messages|history|context|info|title|stance"
_ANSWERS = (
    r"completions?|(completion|messages|conversation|human_ref)_[ab]|responses?|response_?[12ab]|output_[12]"
    r"|answers?|answer_?[012ab]|items|summaries|a[12]|text"
)
_LABEL = (
    r"outcome|winner|winner_model_[ab]|winner_tie|labels?|choice|votes|annotator_?\d+|p_a|score_[01]|current"
    r"|preference_strength|(overall|individual)_preference|all_preferences_unprocessed"
)
_ROLES = (
    (r"data|fields", "prompt and answers"),
    (r"(comments?|reason|why|notes?|feedback|explanation|rationale)\.responses", "comment"),
    (r"annotations|.+\.responses", "label"),
    (r".+\.responses\.users", "label source"),
    (r".+\.responses\.status", "whether a label is a vote"),
    (r"predictions|suggestions|.+\.suggestion(\.\w+)?", METADATA),
    (r"drafts|meta|vectors|status|_server_id", "ignored"),
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
"""The use of a column by its name, if the Shape has read it."""
_ROLE_PATTERNS = tuple((re.compile(pattern), role) for pattern, role in _ROLES)
_RATING = re.compile(r"(score|(avg_)?rating)[_-](chosen|rejected)|(chosen|rejected)[_-](score|(avg_)?rating)")


@dataclass(frozen=True, slots=True)
class ColumnUse:
    """One column: its use in words, as in "metadata", and the number of rows in which it has a value."""

    name: str
    became: str
    held: int


class Columns:
    """Counts columns over the rows of a file, and the metadata of its Drafts."""

    def __init__(self) -> None:
        self._rows_by_columns: Counter[tuple[str, ...]] = Counter()
        """Rows by their set of columns, since the last `_add_up`."""
        self._rows: Counter[str] = Counter()
        self._empty: Counter[str] = Counter()
        self._metadata: set[str] = set()

    def count_row(self, row: Row) -> None:
        # Most rows have the same columns with a value in each, so counting the empty ones is faster.
        self._rows_by_columns[tuple(row.values)] += 1
        if len(self._rows_by_columns) > SHOWN:
            self._add_up()
        for name, value in row.values.items():
            if type(value) is str:
                if not value or value.isspace():
                    self._empty[name] += 1
            elif not (holds(value) or value is False or value == 0):
                self._empty[name] += 1

    def _add_up(self) -> None:
        for names, rows in self._rows_by_columns.items():
            for name in names:
                self._rows[name] += rows
        self._rows_by_columns.clear()

    def count_draft(self, draft: Draft) -> None:
        update = self._metadata.update
        update(draft.metadata)
        for completion in draft.completions:
            update(completion.metadata)
        for comparison in draft.comparisons:
            update(comparison.metadata)
            for judgment in comparison.judgments:
                update(judgment.metadata)

    def uses(self, shape: Shape | None) -> tuple[ColumnUse, ...]:
        """The uses of all columns, in the order of the file; () while the Shape is unknown."""
        if shape is None:
            return ()
        self._add_up()
        names = tuple(self._rows)[:SHOWN]
        context = {name: BECOMES[kind] for name, kind in context_columns(names, shape.columns)}
        named = shape.named
        return tuple(ColumnUse(name, self._use(name, named, context), self._filled(name)) for name in names)

    def _filled(self, name: str) -> int:
        """Rows in which the column has a value."""
        return self._rows[name] - self._empty[name]

    def _use(self, name: str, named: Mapping[str, str], context: Mapping[str, str]) -> str:
        if use := named.get(name) or context.get(name):
            return use
        if not self._filled(name):
            return "nothing (empty)"
        if name in self._metadata:
            return f"rating, and {METADATA}" if _RATING.fullmatch(name.lower()) else METADATA
        if named:
            return METADATA
        return next(
            (role for pattern, role in _ROLE_PATTERNS if pattern.fullmatch(name.lower())),
            "read by this format",
        )
