"""Any table, by a column mapping: the columns of the prompt, the completions and the label."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import Any

from scoring.formats import Message
from scoring.rows.context import with_context
from scoring.rows.drafts import (
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
    ranked_comparisons,
    truth_of,
    whole_number_of,
)
from scoring.rows.rows import BadRow, FileFault, Problem, Row, Values, escaped, kind_of
from scoring.rows.shapes.pairs import answers_of, completion_of, contradicted, same_prompt
from scoring.rows.shapes.shape import Shape, in_context, per_row, together

COLUMN_WORDS = {
    "prompt": "the prompt, as text or messages",
    "system": "a system message before it",
    "chosen": "the better answer",
    "rejected": "the worse one",
    "a": "one of two answers",
    "b": "the other",
    "outcome": "which of a and b is better",
    "score_a": "a number for a: the higher is better",
    "score_b": "a number for b",
    "completion": "one answer a row, several rows a prompt",
    "score": "a number for it: the higher is better",
    "rank": "its rank: 1 is best",
    "source": "who wrote the answer",
    "source_a": "who wrote a, or the better one",
    "source_b": "who wrote b, or the worse one",
    "annotator": "who voted",
    "strength": "how much better, 0 to 3",
    "comment": "why",
    "current": "whether the vote still counts: true or false",
    "time": "when the vote was given: an annotator's last vote counts",
    "id": "an id of the row",
    "prompt_id": "an id of the prompt",
}
"""The words of a column mapping. A path with dots names a column inside an object, as in question.text."""

OUTCOME_WORDS = {
    "says_a": "a",
    "says_b": "b",
    "says_tie": "tie",
    "says_both_bad": "both_bad",
}
"""Words for the values of the outcome column, by the outcome they stand for."""

KINDS = (("chosen", "rejected"), ("a", "b"), ("completion",))
"""The words of the answers, by the three kinds of tables."""
OPTIONAL = {"score_a": "score_b", "score_b": "score_a"}
"""Words that may be left out, with the word that each needs."""
_OF_A_KIND = (
    {*KINDS[0], "source_a", "source_b", "annotator", "strength", "comment", "current", "time", "id"},
    {*KINDS[1], "source_a", "source_b", "annotator", "strength", "comment", "current", "time", "id",
     "outcome", "score_a", "score_b"},
    {*KINDS[2], "score", "rank", "source"},
)  # fmt: skip
_OF_ALL = {"prompt", "system", "prompt_id"}


def belongs(word: str, kind: tuple[str, ...]) -> bool:
    """True if a table of this kind has a use for the word."""
    return word in _OF_ALL or word in _OF_A_KIND[KINDS.index(kind)]


def mapped(columns: Mapping[str, str], file_columns: Sequence[str]) -> Shape:
    """The Shape of a table with a column mapping; `columns` is word -> path, in any case.

    Raises FileFault for an incomplete mapping, or a path whose column is not in `file_columns`.
    """
    kinds = [kind for kind in KINDS if set(kind) & columns.keys()]
    if "prompt" not in columns or len(kinds) != 1 or not columns.keys() >= set(kinds[0]):
        raise FileFault(
            "columns_incomplete",
            "name the column of the prompt, and those of chosen and rejected, of a and b, or of completion",
        )
    for word, paired_word in OPTIONAL.items():
        if word in columns and paired_word not in columns:
            raise FileFault("columns_incomplete", f"{word} is named, but {paired_word} is not")
    table = _Table(columns, file_columns)
    # A database may give a saved mapping back in another order.
    title = ", ".join(f"{word} = {escaped(columns[word], 40)}" for word in COLUMN_WORDS if word in columns)
    ranked = kinds[0] == ("completion",)
    adapter = table.completions if ranked else table.last_votes if "time" in columns else per_row(table.pair)
    return Shape(
        "columns",
        f"named columns: {title}",
        drafts=adapter,
        ranked=ranked,
        reserved=frozenset(table.used),
        unfilled=table.unfilled,
        named=table.named(),
    )


def fits(columns: Mapping[str, str], file_columns: Sequence[str]) -> bool:
    """True if a table with the columns `file_columns` has all columns of the mapping."""
    if not columns:
        return False
    have = {name.casefold() for name in file_columns}
    return all(
        path.casefold() in have or path.partition(".")[0].casefold() in have
        for word, path in columns.items()
        if word in COLUMN_WORDS
    )


def _at_step(value: object, step: str) -> Any:
    """The value under a key of an object, or at a place of a list, from 0; None without one."""
    if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
        return value[int(step)]
    return value.get(step) if isinstance(value, dict) else None


def _missing(path: Sequence[str], values: Values) -> str:
    """A sentence on where the path ends in this row; "" for a path with a value."""
    value: Any = values
    for n, step in enumerate(path):
        inner = _at_step(value, step)
        if inner is None:
            parent = escaped(".".join(path[:n]), 80)
            if isinstance(value, list):
                return f"; {parent} is a list: name an item of it, as in {parent}.0"
            if isinstance(value, dict):
                names = ", ".join(escaped(name, 40) for name in list(value)[:10])
                return f'; {parent} has no "{escaped(step, 40)}", only {names}{_like(step, value)}'
            return f"; {parent} is {kind_of(value)} and has no parts"
        value = inner
    return ""


def _like(name: str, candidates: Iterable[str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in candidates}
    close = get_close_matches(name.casefold(), folded, 1)
    return f'; did you mean "{escaped(folded[close[0]], 40)}"?' if close else ""


class _Table:
    """The adapters of a table with a column mapping."""

    def __init__(self, columns: Mapping[str, str], file_columns: Sequence[str]) -> None:
        spelled = {name.casefold(): name for name in file_columns}
        self._paths: dict[str, tuple[str, ...]] = {}
        for word, path in columns.items():
            if word not in COLUMN_WORDS:
                continue
            first, *steps = [path] if path.casefold() in spelled else path.split(".")
            if first.casefold() not in spelled:
                names = ", ".join(escaped(name, 40) for name in file_columns)
                raise FileFault(
                    "no_such_column",
                    f'there is no column "{escaped(first, 40)}" for {word}; the file has '
                    f"{names[:300]}{_like(first, file_columns)}",
                )
            self._paths[word] = (spelled[first.casefold()], *steps)
        self.used = {path[0] for path in self._paths.values()}
        self._filled: set[str] = set()
        self._missed: dict[str, str] = {}
        # In a Release, "current" says whether the vote counts. In another file it may be anything.
        self._maybe_current = "current" not in self._paths and "annotator" in self._paths
        self._outcomes = {
            value.strip().casefold(): outcome
            for word, outcome in OUTCOME_WORDS.items()
            for value in columns.get(word, outcome).split("|")
        }

    def pair(self, row: Row, options: ImportOptions) -> Draft:
        """Two completions a row, with a label or without."""
        try:
            return self._pair(row, self._cells(row.values))
        except BadRow as bad:
            raise self._named(bad) from None

    def last_votes(self, rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
        """As `pair`; only an annotator's last vote on two completions counts, by its time."""
        for group in together(rows, lambda row: self._vote_key(self._cells(row.values))):
            drafts: list[tuple[tuple[float, str], Draft]] = []
            for row in group:
                try:
                    draft = with_context(self.pair(row, options), row)
                    drafts.append((_moment(self._cells(row.values).get("time")), draft))
                except BadRow as bad:
                    yield bad.at(row)
            voting = [n for n, (_, draft) in enumerate(drafts) if draft.comparisons[0].judgments]
            last = max(voting, key=lambda n: drafts[n][0], default=None)
            for n, (_, draft) in enumerate(drafts):
                yield draft if n == last or n not in voting else _without_vote(draft)

    def _vote_key(self, cells: Values) -> object:
        """The annotator and the pair. The completions are sorted: a tool may show them in either order."""
        words = ("a", "b") if "a" in self._paths else KINDS[0]
        texts = [json.dumps(cells.get(word), sort_keys=True, default=str) for word in words]
        return [cells.get("prompt"), cells.get("system"), sorted(texts), cells.get("annotator")]

    def _pair(self, row: Row, cells: Values) -> Draft:
        first, second = ("chosen", "rejected") if "chosen" in self._paths else ("a", "b")
        for word in (first, second):
            self._refuse_missing(cells, word)
        prompt = self._prompt(cells)
        before, answers = answers_of(cells, (first, second), prompt)
        if before:
            prompt = same_prompt(prompt, before, self._column("prompt"))
        completions = tuple(
            replace(answer, source=name_of(cells, source))
            for answer, source in zip(answers, ("source_a", "source_b"), strict=True)
        )
        outcome = "a" if first == "chosen" else self._outcome(cells)
        judgments = () if outcome is None else (self._judgment(outcome, cells),)
        metadata = leftovers(row.values, self.used)
        draft = Draft(
            row.line,
            prompt,
            completions,
            (ComparisonDraft(0, 1, judgments, name_of(cells, "id"), metadata),),
            row_id=name_of(cells, "id"),
            external_id=name_of(cells, "prompt_id"),
        )
        if first == "chosen" and (note := contradicted(row.values)):
            draft = replace(draft, notes=(note,))
        return draft if not judgments or self._stands(row.values, cells) else _without_vote(draft)

    def _stands(self, values: Values, cells: Values) -> bool:
        if "current" in self._paths:
            return "current" not in cells or truth_of(cells, "current")
        return not (self._maybe_current and str(values.get("current")).lower() == "false")

    def completions(self, rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
        """One completion a row; rows of one prompt make one Draft."""
        for group in together(rows, self._prompt_key):
            good: list[tuple[Row, Values, list[Message], CompletionDraft]] = []
            values: list[float | None] = []
            for row in group:
                cells = self._cells(row.values)
                try:
                    self._refuse_missing(cells, "completion")
                    completion = replace(
                        completion_of(cells["completion"], "completion"),
                        source=name_of(cells, "source"),
                        metadata=leftovers(row.values, self.used),
                    )
                    number = number_of(cells, "rank" if "rank" in self._paths else "score")
                    good.append((row, cells, self._prompt(cells), completion))
                    values.append(number)
                except BadRow as bad:
                    yield self._named(bad).at(row)
            if good:
                first, cells, prompt, _ = good[0]
                draft = Draft(
                    first.line,
                    prompt,
                    tuple(completion for *_, completion in good),
                    ranked_comparisons(values, options, lower_is_better="rank" in self._paths),
                    external_id=name_of(cells, "prompt_id"),
                )
                yield in_context(draft, first)

    def _prompt_key(self, row: Row) -> list[object]:
        cells = self._cells(row.values)
        return [cells.get("prompt"), cells.get("system")]

    def _cells(self, values: Values) -> Values:
        """The values of the mapped columns, by word; null values are left out."""
        cells = {}
        for word, path in self._paths.items():
            value: Any = values
            for step in path:
                value = _at_step(value, step)
            if value is not None:
                cells[word] = value
                if value != "":
                    self._filled.add(word)
            elif word not in self._filled and word not in self._missed and values.get(path[0]) is not None:
                self._missed[word] = _missing(path, values)
        return cells

    def unfilled(self) -> dict[str, str]:
        """A sentence for each mapped column that was empty in all rows so far, by word."""
        return {
            word: f'the column "{self._column(word)}" for {word} is empty in every row'
            f"{self._missed.get(word, '')}"
            for word in self._paths
            if word not in self._filled
        }

    def named(self) -> dict[str, str]:
        """The words of each mapped column."""
        words: dict[str, list[str]] = {}
        for word, path in self._paths.items():
            words.setdefault(path[0], []).append(word)
        return {column: ", ".join(names).replace("_", " ") for column, names in words.items()}

    def _prompt(self, cells: Values) -> list[Message]:
        prompt = prompt_of(cells.get("prompt", ""), self._column("prompt"))
        system = cells.get("system")
        if not system:
            return prompt
        return [{"role": "system", "content": as_text(system, self._column("system"))}, *prompt]

    def _refuse_missing(self, cells: Values, word: str) -> None:
        if word not in cells:
            column = self._column(word)
            raise BadRow(column, "missing", f"{escaped(column, 40)}, the column for {word}, is missing")

    def _column(self, word: str) -> str:
        return ".".join(self._paths[word])

    def _outcome(self, cells: Values) -> str | None:
        """The outcome by the outcome column or the scores; None without either."""
        value = cells.get("outcome", "")
        if value != "":
            whole = isinstance(value, float) and value.is_integer()
            outcome = self._outcomes.get(str(int(value) if whole else value).strip().casefold())
            if outcome is None:
                expected = ", ".join(self._outcomes)
                message = f"{self._column('outcome')} should be one of {escaped(expected, 200)}"
                raise BadRow(self._column("outcome"), "unknown_value", message, value)
            return outcome
        scores = number_of(cells, "score_a"), number_of(cells, "score_b")
        if scores[0] is None or scores[1] is None:
            return None
        return "tie" if scores[0] == scores[1] else "a" if scores[0] > scores[1] else "b"

    def _judgment(self, outcome: str, cells: Values) -> JudgmentDraft:
        strength = whole_number_of(cells, "strength", set(range(4)), or_none=True)
        comment = as_text(cells.get("comment", ""), "comment")
        return JudgmentDraft(outcome, name_of(cells, "annotator"), strength, comment)

    def _named(self, bad: BadRow) -> BadRow:
        """The fault under the name of the column in the file."""
        if bad.field not in self._paths:
            return bad
        return BadRow(self._column(bad.field), bad.code, bad.message, bad.value)


NO_LONGER_STANDS = "a vote that no longer stands was left out"


def _without_vote(draft: Draft) -> Draft:
    """The Draft without its vote, with a note."""
    (comparison,) = draft.comparisons
    notes = (*draft.notes, NO_LONGER_STANDS)
    return replace(draft, comparisons=(replace(comparison, judgments=()),), notes=notes)


def _moment(value: object) -> tuple[float, str]:
    """A sort key of a time: a number, or ISO 8601 as seconds since 1970, else its text."""
    if isinstance(value, datetime | date):
        value = value.isoformat()
    try:
        return float(str(value)), ""
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return 0.0, str(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), ""
