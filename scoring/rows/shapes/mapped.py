"""Any table, by columns that somebody named: which of them holds the prompt, the completions, the label."""

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
    kind_of,
    leftovers,
    name_of,
    number_of,
    prompt_of,
    ranked_comparisons,
    truth_of,
    whole_number_of,
)
from scoring.rows.rows import BadRow, FileFault, Problem, Row, Values, escaped
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
"""What a column can be named as; a column inside an object is named with dots, as in question.text."""

OUTCOME_WORDS = {
    "says_a": "a",
    "says_b": "b",
    "says_tie": "tie",
    "says_both_bad": "both_bad",
}
"""What stands in the outcome column for each outcome, if not its own name."""

_KINDS = (("chosen", "rejected"), ("a", "b"), ("completion",))
_OPTIONAL = {"score_a": "score_b", "score_b": "score_a"}


def mapped(columns: Mapping[str, str], file_columns: Sequence[str]) -> Shape:
    """The Shape of a table whose columns are named by word; `file_columns` are all its columns. Capitals do
    not matter. Raises FileFault where words lack, or columns."""
    kinds = [kind for kind in _KINDS if set(kind) & columns.keys()]
    if "prompt" not in columns or len(kinds) != 1 or not columns.keys() >= set(kinds[0]):
        raise FileFault(
            "columns_incomplete",
            "name the column of the prompt, and those of chosen and rejected, of a and b, or of completion",
        )
    for word, other in _OPTIONAL.items():
        if word in columns and other not in columns:
            raise FileFault("columns_incomplete", f"{word} is named, but {other} is not")
    table = _Table(columns, file_columns)
    # In our order: a database gives back what was saved in its own.
    title = ", ".join(f"{word} = {escaped(columns[word], 40)}" for word in COLUMN_WORDS if word in columns)
    ranked = kinds[0] == ("completion",)
    adapter = table.completions if ranked else table.last_votes if "time" in columns else per_row(table.pair)
    return Shape(
        "columns",
        f"named columns: {title}",
        drafts=adapter,
        ranked=ranked,
        own=frozenset(table.used),
        unfilled=table.unfilled,
        named=table.named(),
    )


def fits(columns: Mapping[str, str], file_columns: Sequence[str]) -> bool:
    """True when a table with the columns `file_columns` has all that are named."""
    if not columns:
        return False
    have = {name.casefold() for name in file_columns}
    return all(
        path.casefold() in have or path.partition(".")[0].casefold() in have
        for word, path in columns.items()
        if word in COLUMN_WORDS
    )


def _stepped(value: Any, step: str) -> Any:
    """What stands one step further: under a name, or at a place of a list, from 0."""
    if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
        return value[int(step)]
    return value.get(step) if isinstance(value, dict) else None


def _missing(path: Sequence[str], values: Values) -> str:
    """Where the path ends in this row, for people."""
    value: Any = values
    for n, step in enumerate(path):
        further = _stepped(value, step)
        if further is None:
            parent = escaped(".".join(path[:n]), 80)
            if isinstance(value, list):
                return f"; {parent} is a list: name an item of it, as in {parent}.0"
            if isinstance(value, dict):
                there = ", ".join(escaped(name, 40) for name in list(value)[:10])
                return f'; {parent} has no "{escaped(step, 40)}", only {there}{_like(step, value)}'
            return f"; {parent} is {kind_of(value)} and has no parts"
        value = further
    return ""


def _like(name: str, candidates: Iterable[str]) -> str:
    folded = {candidate.casefold(): candidate for candidate in candidates}
    close = get_close_matches(name.casefold(), folded, 1)
    return f'; did you mean "{escaped(folded[close[0]], 40)}"?' if close else ""


class _Table:
    """Adapters for a table by its named columns."""

    def __init__(self, columns: Mapping[str, str], file_columns: Sequence[str]) -> None:
        spelled = {name.casefold(): name for name in file_columns}
        self._paths: dict[str, tuple[str, ...]] = {}
        for word, path in columns.items():
            if word not in COLUMN_WORDS:
                continue
            first, *rest = [path] if path.casefold() in spelled else path.split(".")
            if first.casefold() not in spelled:
                names = ", ".join(escaped(name, 40) for name in file_columns)
                raise FileFault(
                    "no_such_column",
                    f'there is no column "{escaped(first, 40)}" for {word}; the file has '
                    f"{names[:300]}{_like(first, file_columns)}",
                )
            self._paths[word] = (spelled[first.casefold()], *rest)
        self.used = {path[0] for path in self._paths.values()}
        self._filled: set[str] = set()
        self._missed: dict[str, str] = {}
        # As our own Releases name it; in another file it may be anything, and then says nothing.
        self._maybe_current = "current" not in self._paths and "annotator" in self._paths
        self._outcomes = {
            said.strip().casefold(): outcome
            for word, outcome in OUTCOME_WORDS.items()
            for said in columns.get(word, outcome).split("|")
        }

    def pair(self, row: Row, options: ImportOptions) -> Draft:
        """Two completions a row, with a label or without."""
        try:
            return self._pair(row, self._cells(row.values))
        except BadRow as bad:
            raise self._named(bad) from None

    def last_votes(self, rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
        """As `pair`, and of several votes of one annotator on the same two completions the last alone,
        wherever they stand."""
        for group in together(rows, lambda row: self._annotator_of(self._cells(row.values))):
            drafts: list[tuple[Any, Draft]] = []
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

    def _annotator_of(self, cells: Values) -> object:
        """Who judged what; the two completions in one order, as a tool may show them in either."""
        texts = [json.dumps(cells.get(word), sort_keys=True, default=str) for word in ("a", "b")]
        ends = texts if "a" in self._paths else [json.dumps(cells.get(w), default=str) for w in _KINDS[0]]
        return [cells.get("prompt"), cells.get("system"), sorted(ends), cells.get("annotator")]

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
        rest = leftovers(row.values, self.used)
        draft = Draft(
            row.line,
            prompt,
            completions,
            (ComparisonDraft(0, 1, judgments, name_of(cells, "id"), rest),),
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
        """One completion a row; those of one prompt belong together wherever they stand."""
        for group in together(rows, self._asked):
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

    def _asked(self, row: Row) -> list[Any]:
        cells = self._cells(row.values)
        return [cells.get("prompt"), cells.get("system")]

    def _cells(self, values: Values) -> Values:
        """What the named columns hold, by word; without those that hold nothing."""
        cells = {}
        for word, path in self._paths.items():
            value: Any = values
            for step in path:
                value = _stepped(value, step)
            if value is not None:
                cells[word] = value
                if value != "":
                    self._filled.add(word)
            elif word not in self._filled and word not in self._missed and values.get(path[0]) is not None:
                self._missed[word] = _missing(path, values)
        return cells

    def unfilled(self) -> dict[str, str]:
        """What to say of each named column that held nothing in any row, by its word."""
        return {
            word: f'the column "{self._column(word)}" for {word} is empty in every row'
            f"{self._missed.get(word, '')}"
            for word in self._paths
            if word not in self._filled
        }

    def named(self) -> dict[str, str]:
        """The words of each column that is used."""
        words: dict[str, list[str]] = {}
        for word, path in self._paths.items():
            words.setdefault(path[0], []).append(word)
        return {column: ", ".join(of).replace("_", " ") for column, of in words.items()}

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
        """The outcome of a row, None where it says nothing."""
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
        """The same, under the name that the file has for the column."""
        if bad.field not in self._paths:
            return bad
        return BadRow(self._column(bad.field), bad.code, bad.message, bad.value)


NO_LONGER_STANDS = "a vote that no longer stands was left out"


def _without_vote(draft: Draft) -> Draft:
    """The pair alone, of a vote that another took the place of."""
    (comparison,) = draft.comparisons
    notes = (*draft.notes, NO_LONGER_STANDS)
    return replace(draft, comparisons=(replace(comparison, judgments=()),), notes=notes)


def _moment(value: object) -> tuple[float, str]:
    """A time that sorts: a number of seconds, a moment of ISO 8601, or else its text."""
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
