"""Find Prompts and pairs by a selection: words to search for, and chosen values of fields. All chosen values
of one field are alternatives, but marks, which must all hold; the fields combine. A Prompt is found when it
fits, and one of its pairs fits all that is asked of pairs; its other pairs are not found."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import fields as dataclass_fields
from functools import cached_property
from urllib.parse import parse_qsl, urlencode

import numpy as np

from workbench.models import Dataset, ModelVersion, Run, Topic
from workbench.pipeline.data import search
from workbench.pipeline.data.columns import Array, Columns, PairBlock, blocks, columns_of, read_at
from workbench.pipeline.data.fields import NONE, BadSelection, Field, Mark, Rows, Topics, Words, fields_of

SORTS = {
    "": "Oldest first",
    "newest": "Newest first",
    "unsure": "Model least sure first",
    "sure": "Model surest first",
    "split": "Least agreed first",
    "votes": "Most votes and labels first",
    "long": "Longest prompt first",
    "short": "Shortest prompt first",
    "answer": "Longest answer first",
    "answers": "Most answers first",
}
"""The orders of a list of prompts, by their value in the address."""

_SORT_COLUMNS = {
    "long": ("characters", -1),
    "short": ("characters", 1),
    "answer": ("longest", -1),
    "answers": ("answers", -1),
}

NOT_FIELDS = ("q", "sort", "page", "prompt")
"""Names in an address of the Data page that are no fields."""

LONGEST = 500
"""Characters of the words to search for."""

FEW = 16
"""Codes up to which one comparison for each counts faster than a histogram."""

MOST_VALUES = 12
"""Values of a facet that a page shows; the most frequent, and the chosen ones."""


@dataclass(frozen=True)
class Selection:
    """What was chosen: `chosen` has the values by the name of a field, in the order of the fields."""

    text: str = ""
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sort: str = ""

    @classmethod
    def parse(cls, query: str, facet_keys: Sequence[str]) -> "Selection":
        """The selection of an address. Raises BadSelection for an unknown name."""
        values: dict[str, list[str]] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            values.setdefault(name, []).append(value)
        fields = fields_of(facet_keys)
        for name in values:
            if name not in fields and name not in NOT_FIELDS:
                raise BadSelection(f"There is no filter called {name[:50]}.")
        chosen = {name: tuple(dict.fromkeys(filter(None, values.get(name, [])))) for name in fields}
        chosen = {name: kept for name, kept in chosen.items() if kept}
        text = values.get("q", [""])[-1].strip()
        if len(text) > LONGEST or "\0" in text:
            raise BadSelection(f"Search for at most {LONGEST} characters that can be read.")
        sort = values.get("sort", [""])[-1]
        if sort not in SORTS:
            raise BadSelection(f"There is no order called {sort[:50]}.")
        return cls(text, chosen, sort)

    @property
    def query(self) -> str:
        """The selection as an address: the same selection always gives the same text."""
        pairs = [(name, value) for name, values in self.chosen.items() for value in sorted(values)]
        return urlencode([*([("q", self.text)] if self.text else []), *sorted(pairs)])

    @property
    def in_words(self) -> str:
        """The selection for people: the words searched for, and each field with its chosen values."""
        fields = fields_of(metadata_keys(self.query))
        chosen = [f"{fields[name].label}: {', '.join(values)}" for name, values in self.chosen.items()]
        return "; ".join([*([f"“{self.text}”"] if self.text else []), *chosen])

    @property
    def is_all(self) -> bool:
        return not self.text and not self.chosen

    def with_value(self, name: str, value: str) -> "Selection":
        """The selection with the value added; without it, where it was chosen."""
        values = self.chosen.get(name, ())
        kept = tuple(v for v in values if v != value) if value in values else (*values, value)
        chosen = {**self.chosen, name: kept}
        return Selection(self.text, {name: values for name, values in chosen.items() if values}, self.sort)

    def with_only(self, name: str, value: str) -> "Selection":
        """The selection with this value of the field, and no other value of it."""
        return Selection(self.text, {**self.chosen, name: (value,)}, self.sort)


@dataclass(frozen=True)
class Value:
    """A value of a facet: how many prompts have it among those found by all other fields."""

    name: str
    value: str
    words: str
    count: int
    chosen: bool


@dataclass(frozen=True)
class Facet:
    """A field with its values. All marks are values of one facet."""

    name: str
    label: str
    values: list[Value]

    @property
    def most(self) -> int:
        return max((value.count for value in self.values), default=0)


@dataclass
class Found:
    """What a selection finds. prompts, pairs: primary keys, in the order of the selection."""

    dataset: Dataset
    selection: Selection
    version: ModelVersion | None
    columns: Columns
    fields: Mapping[str, Field]
    of_prompts: dict[str, Array]
    of_pairs: dict[str, Array]
    searched: search.Found | None = None
    _of_pairs: dict[frozenset[str], Array] = field(default_factory=dict)

    @cached_property
    def pair_rows(self) -> Array:
        """Whether each pair is found."""
        return self._pairs(self.of_prompts, self.of_pairs)

    @cached_property
    def prompt_rows(self) -> Array:
        """Whether each prompt is found."""
        return self._prompts(self.of_prompts, self.of_pairs)

    def _pairs(self, of_prompts: Mapping[str, Array], of_pairs: Mapping[str, Array]) -> Array:
        of = self.columns.pairs["of"]
        key = frozenset(of_prompts)
        if of_prompts and key not in self._of_pairs:  # all fields but one have mostly the same of prompts
            self._of_pairs[key] = _all(of_prompts.values(), len(self.columns.prompts["pk"])).take(of)
        found = _all(of_pairs.values(), len(of))
        return found & self._of_pairs[key] if of_prompts else found

    def _prompts(self, of_prompts: Mapping[str, Array], of_pairs: Mapping[str, Array]) -> Array:
        if not of_pairs:
            return _all(of_prompts.values(), len(self.columns.prompts["pk"]))
        found = np.zeros(len(self.columns.prompts["pk"]), np.bool_)
        found[self.columns.pairs["of"][self._pairs(of_prompts, of_pairs)]] = True
        return found

    @cached_property
    def prompts(self) -> Array:
        """Primary keys of the found prompts, in the order of the selection."""
        rows = np.flatnonzero(self.prompt_rows)
        order = self._order(rows)
        pks: Array = self.columns.prompts["pk"][rows if order is None else rows[order]]
        return pks

    @cached_property
    def pairs(self) -> Array:
        """Primary keys of the found pairs."""
        pks: Array = self.columns.pairs["pk"][self.pair_rows]
        return pks

    def _order(self, rows: Array) -> Array | None:
        prompts, pairs = self.columns.prompts, self.columns.pairs
        sort = self.selection.sort
        if not sort:
            return None
        if sort == "newest":
            return np.arange(len(rows))[::-1]
        if sort in _SORT_COLUMNS:
            name, sign = _SORT_COLUMNS[sort]
            return np.argsort(sign * prompts[name][rows].astype(np.int64), kind="stable")
        reduced = {
            "unsure": (np.abs(pairs["margin"]), np.minimum, np.inf, 1),
            "sure": (np.abs(pairs["margin"]), np.maximum, -np.inf, -1),
            "split": (pairs["agreement"], np.minimum, np.inf, 1),
            "votes": (pairs["votes"].astype(np.float32), np.maximum, -np.inf, -1),
        }
        numbers, reduce, nothing, sign = reduced[sort]
        chosen = self.pair_rows & ~np.isnan(numbers)
        of_prompt = np.full(len(prompts["pk"]), nothing, np.float32)
        reduce.at(of_prompt, pairs["of"][chosen], numbers[chosen])
        return np.argsort(sign * of_prompt[rows], kind="stable")

    @cached_property
    def facets(self) -> list[Facet]:
        """Each field with counts. The counts of a field are of the prompts that all other fields find, so
        that a further value of it can be chosen; of a mark, of those that it would leave."""
        facets, marks = [], []
        found = self._size
        for name, one in self.fields.items():
            counts = self._counts(one, is_of_all=isinstance(one, Mark) or name not in self.selection.chosen)
            chosen = self.selection.chosen.get(name, ())
            named = self._named(one)
            values = [
                Value(name, value, named.get(value, words), int(count), value in chosen)
                for (value, words), count in zip(one.values(self.columns), counts, strict=True)
                if value and (count or value in chosen)
            ]
            known = {value for value, _ in one.values(self.columns)}
            values += [Value(name, value, value, found, True) for value in chosen if value not in known]
            if isinstance(one, Mark):
                marks += values
            elif values:
                facets.append(Facet(name, one.label, _most_frequent(values, one)))
        return [Facet("marks", "Marks", marks), *facets] if marks else facets

    def among(self, pairs: Array) -> "FoundPairs":
        """The same with facets that count pairs, of those for which `pairs` is true."""
        values = {one.name: getattr(self, one.name) for one in dataclass_fields(Found)}
        return FoundPairs(**values, asked=pairs)

    @property
    def _size(self) -> int:
        return int(np.count_nonzero(self.prompt_rows))

    def _without(self, name: str) -> tuple[Mapping[str, Array], Mapping[str, Array]]:
        """`of_prompts` and `of_pairs` of all other fields."""
        return (
            {key: rows for key, rows in self.of_prompts.items() if key != name},
            {key: rows for key, rows in self.of_pairs.items() if key != name},
        )

    def _counts(self, one: Field, *, is_of_all: bool) -> Array:
        """The number of prompts with each code of the field, of those that all fields find, or all others."""
        of_prompts, of_pairs = (self.of_prompts, self.of_pairs) if is_of_all else self._without(one.name)
        kinds = len(one.values(self.columns))
        if not kinds:
            return np.zeros(0, np.int64)
        rows = one.rows(self.columns, self.version)
        if not one.of_pairs:
            found = self.prompt_rows if is_of_all else self._prompts(of_prompts, of_pairs)
            return _counted(rows, found, kinds)
        found = self.pair_rows if is_of_all else self._pairs(of_prompts, of_pairs)
        return _counted_once(rows, found, kinds, self.columns.blocks_of_pairs)

    def _named(self, one: Field) -> Mapping[str, str]:
        """Words for values that are numbers of rows: imports and topics."""
        if one.name == "import":
            return _names_of_imports(self.dataset)
        if isinstance(one, Topics):
            topics = Topic.objects.filter(dataset=self.dataset).values_list("number", "name")
            return {str(number): name for number, name in topics}
        return {}

    def grid(self) -> list[list[int]]:
        """Pairs found, by how far people agree (rows, the most agreed first) and how sure the model is
        (columns, the least sure first)."""
        sure = self.sure.rows(self.columns, self.version).codes
        agreed = self.fields["agreement"].rows(self.columns, self.version).codes
        width, height = (
            len(self.sure.values(self.columns)),
            len(self.fields["agreement"].values(self.columns)),
        )
        counts = np.zeros(width * height, np.int64)
        for part in blocks(len(sure)):
            known = self.pair_rows[part] & (sure[part] >= 0) & (agreed[part] >= 0)
            cells = agreed[part][known].astype(np.int64) * width + sure[part][known]
            counts += np.bincount(cells, minlength=width * height)
        return [[int(n) for n in row] for row in counts.reshape(height, width)[::-1]]

    @cached_property
    def sure(self) -> Field:
        """How sure the model is: in per cent where it is calibrated, else by its margin."""
        calibrated = self.version is not None and self.version.temperature is not None
        return self.fields["confidence" if calibrated else "margin"]


@dataclass
class FoundPairs(Found):
    """The same where facets count pairs, of those that are `asked` for."""

    asked: Array = field(default_factory=lambda: np.empty(0, np.bool_))

    @property
    def _size(self) -> int:
        return int(np.count_nonzero(self.pair_rows & self.asked))

    def _counts(self, one: Field, *, is_of_all: bool) -> Array:
        found = self.asked & (self.pair_rows if is_of_all else self._pairs(*self._without(one.name)))
        rows, kinds = one.rows(self.columns, self.version), len(one.values(self.columns))
        if one.of_pairs:
            return _counted(rows, found, kinds)
        of_prompt = np.bincount(self.columns.pairs["of"][found], minlength=len(self.columns.prompts["pk"]))
        known = rows.codes >= 0
        weights = of_prompt[known] if rows.of is None else of_prompt[rows.of[known]]
        return np.bincount(rows.codes[known], weights, minlength=kinds).astype(np.int64)


def find(
    dataset: Dataset,
    selection: Selection,
    version: ModelVersion | None,
    columns: Columns | None = None,
    *,
    needs_all: bool = False,
) -> Found:
    """What the selection finds in the Dataset now; `version` is the one that serves it; `columns`: those of
    the Dataset, where the caller has them. Raises BadSelection, and search.BadQuery for words that can't be
    searched for; with `needs_all` also where new prompts can't be searched yet."""
    columns = columns or columns_of(dataset, version)
    searched = search.find(dataset, selection.text, needs_all=needs_all) if selection.text else None
    fields = fields_of(dataset.facet_keys)
    return _found(dataset, selection, version, columns, fields, searched)


def pairs_at(using: str, dataset: Dataset, query: str, version: ModelVersion | None) -> Array:
    """Primary keys of the pairs that the selection finds as the connection `using` sees the Dataset, with the
    metadata keys that the selection names, whether or not they are filters now. Raises as `find` does."""
    keys = metadata_keys(query)
    selection = Selection.parse(query, keys)
    searched = search.find(dataset, selection.text, using, needs_all=True) if selection.text else None
    columns = read_at(using, dataset, version, keys)
    return _found(dataset, selection, version, columns, fields_of(keys), searched).pairs


def metadata_keys(query: str) -> list[str]:
    """The metadata keys that a selection names."""
    names = dict.fromkeys(name for name, _ in parse_qsl(query, keep_blank_values=True))
    return [name.removeprefix("meta.") for name in names if name.startswith("meta.")]


def _found(
    dataset: Dataset,
    selection: Selection,
    version: ModelVersion | None,
    columns: Columns,
    fields: Mapping[str, Field],
    searched: search.Found | None,
) -> Found:
    found = Found(dataset, selection, version, columns, fields, {}, {}, searched)
    for name, chosen in selection.chosen.items():
        one = fields[name]
        holds = one.holds(columns, version, chosen)
        (found.of_pairs if one.of_pairs else found.of_prompts)[name] = holds
    if searched:
        found.of_prompts["q"] = np.isin(columns.prompts["pk"], searched.keys)
    return found


def _all(conditions: Iterable[Array], length: int) -> Array:
    holds = np.ones(length, np.bool_)
    for condition in conditions:
        holds &= condition
    return holds


def _counted(rows: Rows, found: Array, kinds: int) -> Array:
    """How many of the rows that are found have each code."""
    codes = rows.small
    if codes is None:
        kept = rows.codes[found if rows.of is None else found.take(rows.of)]
        return np.bincount(kept[kept >= 0], minlength=kinds)
    counts = np.zeros(kinds, np.int64)
    left_out = _left_out(found)
    for part in blocks(len(codes)):
        kept = codes[part] | (left_out[part] if rows.of is None else left_out.take(rows.of[part]))
        if kinds > FEW:
            counts += np.bincount(kept, minlength=NONE + 1)[:kinds]
            continue
        for code in range(kinds):
            counts[code] += np.count_nonzero(kept == code)
    return counts


def _counted_once(rows: Rows, found: Array, kinds: int, blocks_of_pairs: Sequence[PairBlock]) -> Array:
    """How many prompts have each code, by the pairs that are found: a prompt of many pairs counts once."""
    codes, left_out = rows.codes.view(np.uint8), _left_out(found)  # int8 in each field of pairs
    counts = np.zeros(kinds, np.int64)
    # A bit for each code, and none for what has none or is left out: it is shifted out of the number. The
    # pairs of a prompt follow each other, so that its bits can be joined.
    kind = np.min_scalar_type((1 << kinds) - 1)
    for block in blocks_of_pairs:
        kept = codes[block.rows] | left_out[block.rows]
        bits = block.joined(np.left_shift(kind.type(1), kept, dtype=kind))
        for code in range(kinds):
            counts[code] += np.count_nonzero(bits & kind.type(1 << code))
    return counts


def _left_out(found: Array) -> Array:
    """0 for each row that is found, else NONE."""
    return np.asarray(found.view(np.uint8) - np.uint8(1))


def _most_frequent(values: list[Value], one: Field) -> list[Value]:
    if not isinstance(one, Words):
        return values
    ordered = sorted(values, key=lambda value: (-value.chosen, -value.count, value.words))
    return ordered[:MOST_VALUES]


def _names_of_imports(dataset: Dataset) -> dict[str, str]:
    runs = Run.objects.of(dataset).filter(kind=Run.Kind.IMPORT).select_related("upload")
    return {
        str(run.pk): run.upload.shown_name if run.upload else f"Import of {run.created_at:%d %b %Y}"
        for run in runs
    }
