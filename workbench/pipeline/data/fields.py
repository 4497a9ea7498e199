"""The one list of what Prompts and pairs can be filtered by: on the Data page, in saved views, in the
annotation queue and in Releases.

A field gives each row a number, its code, and each code a value for the address and words for the page. A
field of prompts is true of a Prompt; a field of pairs of one of its pairs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from workbench.models import Decision, Excluded, ModelVersion
from workbench.pipeline.data.columns import METHODS, Array, Columns, blocks
from workbench.pipeline.text.language_names import NAMES
from workbench.pipeline.text.splits import SPLITS


class BadSelection(ValueError):
    """An unknown field or a bad value. The message is a sentence for people."""


NONE = 255
"""The byte for no code, and for a row that is left out."""


@dataclass(frozen=True)
class Rows:
    """What a field says of the rows. of: rows of prompts, or of pairs, or None for all in order; codes: the
    code of each, below 0 for none."""

    codes: Array
    of: Array | None = None

    @cached_property
    def small(self) -> Array | None:
        """The codes in a byte each, NONE for none; None where they are too many. Most are counted ten times
        as fast so."""
        if self.codes.dtype == np.int8:
            return self.codes.view(np.uint8)
        return self.codes.astype(np.uint8) if self.codes.max(initial=-1) < NONE else None


@dataclass(frozen=True)
class Field:
    """One field. `of_pairs`: whether it is about pairs; `several`: whether chosen values must all hold, as
    marks must, or one of them."""

    name: str
    label: str
    of_pairs: bool = False
    needs_all: bool = False

    def values(self, columns: Columns) -> list[tuple[str, str]]:
        """(value in the address, words) of each code."""
        raise NotImplementedError

    def rows(self, columns: Columns, version: ModelVersion | None) -> Rows:
        """What the field says of the rows. Kept beside the columns until one that it is read from changes."""
        key = self.name, version.temperature if version else None
        read_from = self._read_from(columns)
        kept = columns.codes.get(key)
        if kept is None or any(one is not other for one, other in zip(kept[0], read_from, strict=True)):
            kept = columns.codes[key] = read_from, self._rows(version, *read_from)
        rows: Rows = kept[1]
        return rows

    def _read_from(self, columns: Columns) -> tuple[Array, ...]:
        """The columns that the field is read from."""
        raise NotImplementedError

    def _rows(self, version: ModelVersion | None, *read: Array) -> Rows:
        """What these columns say. By default they are the codes, and the rows that these are of."""
        return Rows(*read)

    def holds(self, columns: Columns, version: ModelVersion | None, chosen: Sequence[str]) -> Array:
        """For each row of prompts, or of pairs, whether a chosen value holds. Raises BadSelection."""
        rows = self.rows(columns, version)
        found = np.zeros(len(rows.codes), np.bool_)
        for code, (value, _) in enumerate(self.values(columns)):
            if value in chosen:  # few are: np.isin takes a hundred times as long as a comparison
                found |= rows.codes == code
        for value in set(chosen) - {value for value, _ in self.values(columns)}:
            found |= self.in_range(columns, version, value)
        if rows.of is None:
            return found
        whole = np.zeros(len(columns.prompts["pk"]), np.bool_)
        whole[rows.of[found]] = True
        return whole

    def in_range(self, columns: Columns, version: ModelVersion | None, value: str) -> Array:
        """Rows for a value that no code has: none of them, as words go when their last row does."""
        return np.zeros(len(self.rows(columns, version).codes), np.bool_)


@dataclass(frozen=True)
class Choice(Field):
    """A column of codes, with fixed values."""

    column: str = ""
    choices: tuple[tuple[str, str], ...] = ()

    def values(self, columns: Columns) -> list[tuple[str, str]]:
        return list(self.choices)

    def _read_from(self, columns: Columns) -> tuple[Array, ...]:
        table = columns.pairs if self.of_pairs else columns.prompts
        return (table[self.column],)


@dataclass(frozen=True)
class Number(Field):
    """A number, in ranges: `limits` are the lowest number of each range. The address has a range as
    "100-499", "500-" or "-99", of any two numbers. is_whole: whether all numbers are whole; most: the largest
    there can be."""

    column: str = ""
    limits: tuple[float, ...] = ()
    unit: str = ""
    is_whole: bool = True
    most: float | None = None

    def values(self, columns: Columns) -> list[tuple[str, str]]:
        ends = [*self.limits[1:], None]
        return [self._value(low, high) for low, high in zip(self.limits, ends, strict=True)]

    def _value(self, low: float, end: float | None) -> tuple[str, str]:
        if end is None:
            more = "" if low == self.most else " or more"
            return f"{_plain(low)}-", f"{_plain(low)}{self.unit}{more}"
        high = end - 1 if self.is_whole else end
        if high == low:
            return f"{_plain(low)}-{_plain(low)}", f"{_plain(low)}{self.unit}"
        return f"{_plain(low)}-{_plain(high)}", f"{_plain(low)} to {_plain(high)}{self.unit}"

    def values_in(self, columns: Columns) -> Array:
        """The column."""
        return (columns.pairs if self.of_pairs else columns.prompts)[self.column]

    def numbers(self, values: Array, version: ModelVersion | None) -> Array:
        """The numbers of these values of the column."""
        return values

    def _read_from(self, columns: Columns) -> tuple[Array, ...]:
        return (self.values_in(columns),)

    def _rows(self, version: ModelVersion | None, *read: Array) -> Rows:
        (values,) = read
        codes = np.full(len(values), -1, np.int8)
        for part in blocks(len(values)):
            numbers = self.numbers(values[part], version)
            # A few comparisons are ten times as fast as a search in the limits. No number is at least NaN.
            for limit in self.limits:
                codes[part] += numbers >= limit
        return Rows(codes)

    def in_range(self, columns: Columns, version: ModelVersion | None, value: str) -> Array:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)?-(\d+(?:\.\d+)?)?", value)
        if not match or value == "-":
            raise BadSelection(f'{self.label} takes a range like 100-499, 500- or -99, not "{value}".')
        low, high = (float(part) if part else None for part in match.groups())
        numbers = self.numbers(self.values_in(columns), version)
        found = ~np.isnan(numbers)
        if low is not None:
            found &= numbers >= low
        if high is not None:
            found &= numbers <= high
        return np.asarray(found)


@dataclass(frozen=True)
class Certainty(Number):
    """How sure the model is of its pick, in per cent: the calibrated probability of the side it prefers. No
    number for a model without a temperature."""

    def numbers(self, values: Array, version: ModelVersion | None) -> Array:
        margins = values.astype(np.float64)
        if version is None or version.temperature is None:
            return np.full(len(margins), np.nan)
        return np.asarray(100 / (1 + np.exp(-np.abs(margins) / version.temperature)))


@dataclass(frozen=True)
class Margin(Number):
    """The distance of the two Scores, without its sign."""

    def numbers(self, values: Array, version: ModelVersion | None) -> Array:
        return np.asarray(np.abs(values.astype(np.float64)))


@dataclass(frozen=True)
class Agreement(Number):
    """The share of the most frequent vote or imported label, in per cent; no number below two of them."""

    def numbers(self, values: Array, version: ModelVersion | None) -> Array:
        return values.astype(np.float64) * 100


@dataclass(frozen=True)
class State(Field):
    """How far a pair is on its way to a final label: one state a pair."""

    def values(self, columns: Columns) -> list[tuple[str, str]]:
        return list(STATES)

    def _read_from(self, columns: Columns) -> tuple[Array, ...]:
        return columns.pairs["votes"], columns.pairs["method"]

    def _rows(self, version: ModelVersion | None, *read: Array) -> Rows:
        votes, method = read
        return Rows(np.where(method > 0, method + np.int8(1), (votes > 0).astype(np.int8)))


NOTHING = "none"
"""The value in the address for a Prompt that has no word, where that is a value of its own."""

METHOD_WORDS = {
    Decision.Method.AGREEMENT: "Final label: all agree",
    Decision.Method.MAJORITY: "Final label: by majority",
    Decision.Method.AGGREGATION: "Final label: by skill",
    Decision.Method.REVIEWER: "Final label: by a reviewer",
}
STATES = (
    ("unjudged", "No votes or labels yet"),
    ("open", "Votes or labels, none final"),
    *((method, METHOD_WORDS[Decision.Method(method)]) for method in METHODS if method),
)


@dataclass(frozen=True)
class Words(Field):
    """Words that come with the data: one or several a Prompt."""

    column: str = ""
    shown: Mapping[str, str] | None = None
    nothing: str = ""

    def values(self, columns: Columns) -> list[tuple[str, str]]:
        names = columns.words[self.name].names if self.name in columns.words else []
        return [
            (name, (self.shown or {}).get(name, name)) if name else (self.nothing and NOTHING, self.nothing)
            for name in names
        ]

    def _read_from(self, columns: Columns) -> tuple[Array, ...]:
        if self.column:
            return (columns.prompts[self.column],)
        table = columns.many[self.name]
        return table["word"], table["of"]


@dataclass(frozen=True)
class Between(Field):
    """Pairs of an answer of one source with an answer of another: "rowan vs alder", in either order. Sources
    are many, so no page lists their pairs; the board of sources links to them."""

    SEPARATOR = " vs "

    def values(self, columns: Columns) -> list[tuple[str, str]]:
        return []

    def _read_from(self, columns: Columns) -> tuple[Array, ...]:
        return (columns.pairs["of"],)

    def _rows(self, version: ModelVersion | None, *read: Array) -> Rows:
        (of,) = read
        return Rows(np.full(len(of), -1, np.int8))

    def holds(self, columns: Columns, version: ModelVersion | None, chosen: Sequence[str]) -> Array:
        a, b, numbers = columns.pairs["source_a"], columns.pairs["source_b"], columns.words["source"].numbers
        found = np.zeros(len(a), np.bool_)
        for value in chosen:
            parts = value.split(self.SEPARATOR)
            # The separator may be part of a name.
            for n in range(1, len(parts)):
                names = self.SEPARATOR.join(parts[:n]), self.SEPARATOR.join(parts[n:])
                if names[0] in numbers and names[1] in numbers:
                    one, other = numbers[names[0]], numbers[names[1]]
                    found |= ((a == one) & (b == other)) | ((a == other) & (b == one))
        return found


@dataclass(frozen=True)
class Topics(Field):
    """The topic of each Prompt, by its number."""

    def values(self, columns: Columns) -> list[tuple[str, str]]:
        return [
            (str(number), f"Topic {number}") for number in range(columns.prompts["topic"].max(initial=-1) + 1)
        ]

    def _read_from(self, columns: Columns) -> tuple[Array, ...]:
        return (columns.prompts["topic"],)


@dataclass(frozen=True)
class Mark(Field):
    """A fact that is true of a row or not. On the page, all marks are one facet, and each chosen one must
    hold."""

    def values(self, columns: Columns) -> list[tuple[str, str]]:
        return [("1", self.label)]

    def _read_from(self, columns: Columns) -> tuple[Array, ...]:
        table = columns.pairs if self.of_pairs else columns.prompts
        return (table[self.name],)

    def _rows(self, version: ModelVersion | None, *read: Array) -> Rows:
        (marked,) = read
        return Rows((marked > 0).astype(np.int8) - np.int8(1))


@dataclass(frozen=True)
class Similar(Choice):
    """Whether other Prompts are in the same group."""

    def _rows(self, version: ModelVersion | None, *read: Array) -> Rows:
        (alike,) = read
        return Rows((alike > 1).astype(np.int8))


def _plain(number: float) -> str:
    return f"{number:g}"


CHARACTERS = (0, 100, 500, 2000, 10_000)
FIELDS: tuple[Field, ...] = (
    State("state", "Votes and labels", of_pairs=True),
    Mark("unscored", "An answer without a score"),
    Mark("flagged", "Flagged", of_pairs=True),
    Mark("disagreement", "In a queue of Review", of_pairs=True),
    Mark("gold", "Gold", of_pairs=True),
    Mark("priority", "Put first in the queue", of_pairs=True),
    Mark("empty", "An empty answer"),
    Choice(
        "excluded",
        "Excluded from",
        column="excluded",
        choices=(("", ""), *((value.value, value.label.capitalize()) for value in Excluded)),
    ),
    Words("source", "Answer by"),
    Between("sources", "Pair of sources", of_pairs=True),
    Topics("topic", "Topic"),
    Words("tag", "Tag"),
    Words("language", "Language", column="language", shown=NAMES, nothing="Not sure"),
    Choice("split", "Split", column="split", choices=tuple((split, split.title()) for split in SPLITS)),
    Certainty("confidence", "Model is sure", True, column="margin", limits=(50, 60, 70, 80, 90), unit=" %"),
    Margin("margin", "Model margin", True, column="margin", limits=(0, 0.1, 0.5, 1, 2, 4), is_whole=False),
    Agreement(
        "agreement",
        "Votes and labels agree",
        of_pairs=True,
        column="agreement",
        limits=(0, 51, 67, 80, 100),
        unit=" %",
        most=100,
    ),
    Number("votes", "Votes and labels on a pair", of_pairs=True, column="votes", limits=(0, 1, 2, 3, 5)),
    Number("length", "Prompt length", column="characters", limits=CHARACTERS, unit=" characters"),
    Number("answer", "Longest answer", column="longest", limits=CHARACTERS, unit=" characters"),
    Number("turns", "Turns", column="turns", limits=(0, 1, 2, 3, 5)),
    Number("answers", "Answers", column="answers", limits=(0, 1, 2, 3, 4, 5, 9)),
    Similar(
        "group",
        "Similar prompts",
        column="alike",
        choices=(("alone", "None"), ("similar", "At least one")),
    ),
    Words("import", "Import", column="imported_by", nothing="By a command or a copy"),
)


def fields_of(facet_keys: Sequence[str]) -> dict[str, Field]:
    """All fields by name, with those of the Dataset's chosen metadata keys."""
    fields = {field.name: field for field in FIELDS}
    return fields | {f"meta.{key}": Words(f"meta.{key}", key) for key in facet_keys}
