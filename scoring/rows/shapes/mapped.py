"""Any table, by columns that somebody named: which of them holds the prompt, the completions, the label."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from scoring.formats import Message
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
    whole_number_of,
)
from scoring.rows.rows import BadRow, FileFault, Problem, Row, Values, escaped
from scoring.rows.shapes.pairs import answers_of, completion_of, same_prompt
from scoring.rows.shapes.shape import Shape, per_row, together

COLUMN_WORDS = {
    "prompt": "the prompt, as text or messages",
    "system": "a system message before it",
    "chosen": "the better completion",
    "rejected": "the worse one",
    "a": "one of two completions",
    "b": "the other",
    "outcome": "which of a and b is better",
    "score_a": "a number for a: the higher is better",
    "score_b": "a number for b",
    "completion": "one completion a row, several rows a prompt",
    "score": "a number for it: the higher is better",
    "rank": "its rank: 1 is best",
    "source": "who wrote the completion",
    "source_a": "who wrote a, or the better one",
    "source_b": "who wrote b, or the worse one",
    "annotator": "who judged",
    "strength": "how much better, 0 to 3",
    "comment": "why",
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


def mapped(columns: Mapping[str, str], known: Sequence[str]) -> Shape:
    """The Shape of a table with these columns, by word, where `known` are the columns it has. Capitals do
    not matter. Raises FileFault where words lack, or columns."""
    kinds = [kind for kind in _KINDS if set(kind) & columns.keys()]
    if "prompt" not in columns or len(kinds) != 1 or not columns.keys() >= set(kinds[0]):
        raise FileFault(
            "columns_incomplete",
            "name the column of the prompt, and either of chosen and rejected, of a and b, or of completion",
        )
    for word, other in _OPTIONAL.items():
        if word in columns and other not in columns:
            raise FileFault("columns_incomplete", f"{word} is named, but not {other}")
    table = _Table(columns, known)
    # In our order: a database gives back what was saved in its own.
    title = ", ".join(f"{word} = {escaped(columns[word], 40)}" for word in COLUMN_WORDS if word in columns)
    ranked = kinds[0] == ("completion",)
    adapter = table.completions if ranked else per_row(table.pair)
    return Shape("columns", f"named columns: {title}", drafts=adapter, ranked=ranked)


def fits(columns: Mapping[str, str], known: Sequence[str]) -> bool:
    """True when a table with the columns `known` has all that are named."""
    if not columns:
        return False
    have = {name.casefold() for name in known}
    return all(
        path.casefold() in have or path.partition(".")[0].casefold() in have
        for word, path in columns.items()
        if word in COLUMN_WORDS
    )


class _Table:
    """Adapters for a table by its named columns."""

    def __init__(self, columns: Mapping[str, str], known: Sequence[str]) -> None:
        spelled = {name.casefold(): name for name in known}
        self._paths: dict[str, tuple[str, ...]] = {}
        for word, path in columns.items():
            if word not in COLUMN_WORDS:
                continue
            first, *rest = [path] if path.casefold() in spelled else path.split(".")
            if first.casefold() not in spelled:
                found = ", ".join(escaped(name, 40) for name in known)
                raise FileFault(
                    "no_such_column",
                    f'there is no column "{escaped(first, 40)}" for {word}; there are: {found[:300]}',
                )
            self._paths[word] = (spelled[first.casefold()], *rest)
        self._used = {path[0] for path in self._paths.values()}
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
        rest = leftovers(row.values, self._used)
        return Draft(
            row.line,
            prompt,
            completions,
            (ComparisonDraft(0, 1, judgments, name_of(cells, "id"), rest),),
            row_id=name_of(cells, "id"),
            external_id=name_of(cells, "prompt_id"),
        )

    def completions(self, rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
        """One completion a row; those of one prompt belong together wherever they stand."""
        for group in together(rows, lambda row: self._cells(row.values).get("prompt")):
            good: list[tuple[Row, Values, list[Message], CompletionDraft]] = []
            values: list[float | None] = []
            for row in group:
                cells = self._cells(row.values)
                try:
                    self._refuse_missing(cells, "completion")
                    completion = replace(
                        completion_of(cells["completion"], "completion"),
                        source=name_of(cells, "source"),
                        metadata=leftovers(row.values, self._used),
                    )
                    number = number_of(cells, "rank" if "rank" in self._paths else "score")
                    good.append((row, cells, self._prompt(cells), completion))
                    values.append(number)
                except BadRow as bad:
                    yield self._named(bad).at(row)
            if good:
                first, cells, prompt, _ = good[0]
                yield Draft(
                    first.line,
                    prompt,
                    tuple(completion for *_, completion in good),
                    ranked_comparisons(values, options, lower_is_better="rank" in self._paths),
                    external_id=name_of(cells, "prompt_id"),
                )

    def _cells(self, values: Values) -> Values:
        """What the named columns hold, by word; without those that hold nothing."""
        cells = {}
        for word, path in self._paths.items():
            value: Any = values
            for step in path:
                value = value.get(step) if isinstance(value, dict) else None
            if value is not None:
                cells[word] = value
        return cells

    def _prompt(self, cells: Values) -> list[Message]:
        prompt = prompt_of(cells.get("prompt", ""), self._column("prompt"))
        system = cells.get("system")
        if not system:
            return prompt
        return [{"role": "system", "content": as_text(system, self._column("system"))}, *prompt]

    def _refuse_missing(self, cells: Values, word: str) -> None:
        if word not in cells:
            column = self._column(word)
            raise BadRow(column, "missing", f"{escaped(column, 40)} is missing, which holds {word}")

    def _column(self, word: str) -> str:
        return ".".join(self._paths[word])

    def _outcome(self, cells: Values) -> str | None:
        """The outcome of a row, None where it says nothing."""
        said = cells.get("outcome", "")
        if said != "":
            whole = isinstance(said, float) and said.is_integer()
            outcome = self._outcomes.get(str(int(said) if whole else said).strip().casefold())
            if outcome is None:
                expected = ", ".join(self._outcomes)
                message = f"{self._column('outcome')} should be one of {escaped(expected, 200)}"
                raise BadRow(self._column("outcome"), "unknown_value", message, said)
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
