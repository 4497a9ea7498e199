"""What is known of a Dataset's Prompts and Comparisons, as columns of numbers in memory.

A facet counts 200,000 prompts by a dozen facts at once. A database reads its rows for each; numpy counts a
column in a millisecond. A process reads the columns of a Dataset once, and after that only the Prompts of
which a PromptChange says that something changed. The database stays the one truth: the same functions read
one Prompt and all of them, and a process that starts anew has the same columns."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import orjson
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import BooleanField, Exists, ExpressionWrapper, Model, OuterRef, Q, QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.utils import timezone

from workbench.db.bulk import digest_key
from workbench.models import (
    Comparison,
    Completion,
    Dataset,
    Decision,
    Excluded,
    Flag,
    Judgment,
    ModelVersion,
    Outcome,
    Prompt,
    PromptChange,
    PromptTag,
    Score,
    Suggestion,
)
from workbench.models.annotation import ComparisonQuerySet
from workbench.pipeline.text.shapes import EVERY, shape_of_answer, shape_of_prompt
from workbench.pipeline.text.splits import SPLITS, split_of

Array = np.ndarray[Any, np.dtype[Any]]
Places = Array | slice

KEPT = 4
"""Datasets of which a process keeps the columns: about 60 bytes a Prompt and 80 a Comparison."""

OTHERS_KEPT = 4
"""Versions beside the serving one of which the columns of a Dataset keep the margins: 4 bytes a Comparison
each. The one that was asked for longest ago goes first."""

OVERLAP = timedelta(minutes=2)
"""How far back a process reads changes again. A change is written just before its transaction ends, but on
another machine, whose clock may differ."""

MOST_READ_AGAIN = 20_000
"""Changed Prompts beyond which all columns are read anew."""

FORGOTTEN = timedelta(hours=12)
"""Columns that nobody asked for in this time are read anew: changes are kept for a day."""

AT_ONCE = 1000
"""Changed Prompts that are read in one statement."""

ROWS = 5000

BLOCK = 8192
"""Rows of one step of a count. Arrays of 128 KB and more are given back to the system when they are done
with (MALLOC_TRIM_THRESHOLD_), and to get their memory again takes longer than to count."""

FEW_PAIRS = 4

UNDECIDED = ""
METHODS = (UNDECIDED, *Decision.Method.values)
OUTCOMES = ("", *Outcome.values, Decision.DROP)
EXCLUDED = ("", *Excluded.values)
REVIEWED = METHODS.index(Decision.Method.REVIEWER)
SIDES = {"model": (1, 2), "file": (4, 8)}
"""The bits of the column `sides`: somebody prefers a, somebody prefers b; the same of imported labels. By the
reason to review a pair whose margin is for the other side."""

WHY = {
    name: 1 << place
    for place, name in enumerate(
        ("flagged", "people", "mixed", "labels", "model", "file", "changed", "gold", "repeat")
    )
}
"""The reasons to review a pair (pipeline.review.queue.Why), as bits of a column."""


def blocks(length: int) -> Iterator[slice]:
    """Slices of BLOCK rows of a column, and of the rest."""
    return (slice(start, start + BLOCK) for start in range(0, length, BLOCK))


@dataclass
class Words:
    """Words by number: those of a column, in the order of their first use."""

    names: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, word: str) -> int:
        if word not in self.numbers:
            self.numbers[word] = len(self.names)
            self.names.append(word)
        return self.numbers[word]


class Table(dict[str, Array]):
    """Columns of one length, by name."""

    def rows(self, chosen: Array) -> "Table":
        return Table({name: column[chosen] for name, column in self.items()})

    def with_rows(self, more: "Table") -> "Table":
        return Table({name: np.concatenate([column, more[name]]) for name, column in self.items()})

    def in_order_of(self, *names: str) -> "Table":
        return self.rows(np.lexsort([self[name] for name in reversed(names)]))

    def places_of(self, rows: Array) -> Array:
        """The rows that belong to these rows (sorted) of the prompts, of a table in the order of `of`."""
        rows = rows.astype(np.int32)  # else numpy would copy the column to the wider kind
        starts = np.searchsorted(self["of"], rows)
        ends = np.searchsorted(self["of"], rows, side="right")
        return np.concatenate([np.arange(*ends_of) for ends_of in zip(starts, ends, strict=True)])

    def with_other_rows(self, places: Array, fresh: "Table", *names: str) -> "Table":
        """The table with `fresh` rows in the place of these rows. Both tables are in the order of the columns
        `names`. A column that stays the same is not copied."""
        if all(np.array_equal(self[name][places], fresh[name]) for name in names):
            return Table({name: _with_values(column, places, fresh[name]) for name, column in self.items()})
        at = np.searchsorted(np.delete(self[names[0]], places), fresh[names[0]])
        return Table(
            {
                name: np.insert(np.delete(column, places), at, fresh[name].astype(column.dtype))
                for name, column in self.items()
            }
        )


def _with_values(column: Array, places: Array, values: Array) -> Array:
    if np.array_equal(column[places], values, equal_nan=column.dtype.kind == "f"):
        return column
    copy = column.copy()
    copy[places] = values
    return copy


@dataclass(frozen=True)
class Margins:
    """What another version than the serving one says: the score of a minus the score of b for each row of
    the pairs, nan without one. stale: Prompts whose rows are to be read again."""

    values: Array
    stale: frozenset[int] = frozenset()

    def moved(self, before: Array, after: Array, changed: Sequence[int]) -> "Margins":
        """The same for other pairs: by primary key, before and after a change to these Prompts."""
        values = self.values
        if not np.array_equal(before, after):
            in_order = np.argsort(before)
            at, known = _places(before[in_order], after)
            values = np.full(len(after), np.nan, np.float32)
            values[known] = self.values[in_order[at[known]]]
        return Margins(values, self.stale.union(changed))


@dataclass(frozen=True)
class PairBlock:
    """The pairs of some prompts that follow each other. rows: theirs; first: the place of the first pair of
    each prompt. turns: for the first, second, … pair, which of the prompts have one, and its place; empty
    where a prompt has more than FEW_PAIRS."""

    rows: slice
    first: Array
    turns: list[tuple[Places, Places]]

    @classmethod
    def of(cls, rows: slice, first: Array) -> "PairBlock":
        pairs = np.diff(first, append=rows.stop - rows.start)
        most = int(pairs.max())
        if most > FEW_PAIRS:
            return cls(rows, first, [])
        if most == pairs.min():
            return cls(rows, first, [(slice(None), slice(turn, None, most)) for turn in range(most)])
        have = [np.flatnonzero(pairs > turn) for turn in range(most)]
        return cls(rows, first, [(those, first[those] + turn) for turn, those in enumerate(have)])

    def joined(self, bits: Array) -> Array:
        """The bits of each prompt, from those of its pairs. `reduceat` takes four times as long where all
        have few pairs."""
        if not self.turns:
            return np.asarray(np.bitwise_or.reduceat(bits, self.first))
        (_, at), *others = self.turns
        joined = bits[at].copy()
        for those, at in others:
            joined[those] |= bits[at]
        return joined


@dataclass
class Columns:
    """The columns of one Dataset.

    prompts: a row a Prompt, by primary key `pk`. pairs: a row a Comparison, by (`of`, `pk`); `of` is the row
    of its Prompt. many: sources, tags, metadata values and voters have a row for each (`of`, `word`) that
    holds. The words of coded columns are in `words`, by the name of the column. others: the margins of other
    versions, by primary key (see margins_of). codes: what fields say of these rows (see Field.rows)."""

    prompts: Table
    pairs: Table
    many: dict[str, Table]
    words: dict[str, Words]
    others: OrderedDict[int, Margins] = field(default_factory=OrderedDict)
    codes: dict[object, tuple[tuple[Array, ...], Any]] = field(default_factory=dict)

    @cached_property
    def blocks_of_pairs(self) -> list["PairBlock"]:
        """The pairs of BLOCK prompts each."""
        first = np.flatnonzero(np.diff(self.pairs["of"], prepend=-1))
        ends = [*first.tolist()[BLOCK::BLOCK], len(self.pairs["of"])]
        return [
            PairBlock.of(slice(int(first[at]), end), first[at : at + BLOCK] - first[at])
            for at, end in zip(range(0, len(first), BLOCK), ends, strict=False)
        ]

    @classmethod
    def of_tables(
        cls, prompts: Table, pairs: Table, many: dict[str, Table], words: dict[str, Words]
    ) -> "Columns":
        """Sort the rows, and put `of` in the place of the column `prompt` of pairs and many."""
        prompts = prompts.in_order_of("pk")
        for table in (pairs, *many.values()):
            table["of"] = np.searchsorted(prompts["pk"], table.pop("prompt")).astype(np.int32)
        groups, sizes = np.unique(prompts["group"], return_counts=True)
        prompts["alike"] = sizes[np.searchsorted(groups, prompts["group"])].astype(np.int32)
        many = {name: table.in_order_of("of", "word") for name, table in many.items()}
        return cls(prompts, pairs.in_order_of("of", "pk"), many, words)

    def rows_of(self, prompts: Array) -> Array:
        """The row of each of these Prompts, which are all there."""
        return np.asarray(np.searchsorted(self.prompts["pk"], prompts))

    def prompts_of(self, table: Table) -> Array:
        """The primary key of the Prompt of each row of pairs, or of one of the many."""
        return np.asarray(self.prompts["pk"][table["of"]])

    def joined(self, more: "Columns", but: Array | None = None) -> "Columns":
        """These rows and those of other Prompts, without the rows of the Prompts `but`."""

        def kept(columns: Columns, table: Table) -> Table:
            named = Table({name: column for name, column in table.items() if name != "of"})
            named["prompt"] = columns.prompts_of(table)
            return named if but is None or columns is more else named.rows(~np.isin(named["prompt"], but))

        ours = self.prompts if but is None else self.prompts.rows(~np.isin(self.prompts["pk"], but))
        return Columns.of_tables(
            ours.with_rows(more.prompts),
            kept(self, self.pairs).with_rows(kept(more, more.pairs)),
            {n: kept(self, table).with_rows(kept(more, more.many[n])) for n, table in self.many.items()},
            self.words,
        )

    def updated(self, changed: Array, fresh: "Columns") -> "Columns":
        """These columns with the `fresh` rows of the `changed` Prompts (sorted) in the place of theirs. The
        usual change leaves most columns as they are, and these are not copied."""
        if not np.isin(changed, self.prompts["pk"]).all() or not np.array_equal(changed, fresh.prompts["pk"]):
            return self.joined(fresh, but=changed)
        places = self.rows_of(changed)
        if not np.array_equal(fresh.prompts["group"], self.prompts["group"][places]):
            return self.joined(fresh, but=changed)
        fresh.prompts["alike"] = self.prompts["alike"][places]
        for table in (fresh.pairs, *fresh.many.values()):
            table["of"] = places[table["of"]].astype(np.int32)
        return replace(
            self,
            prompts=self.prompts.with_other_rows(places, fresh.prompts, "pk"),
            pairs=self.pairs.with_other_rows(self.pairs.places_of(places), fresh.pairs, "of", "pk"),
            many={
                name: table.with_other_rows(table.places_of(places), fresh.many[name], "of", "word")
                for name, table in self.many.items()
            },
        )


@dataclass
class _Kept:
    """The columns that this process keeps of one Dataset. seen: the PromptChanges that are in them; read_at:
    when these were last looked for; of: what the columns depend on besides the rows."""

    of: tuple[object, ...]
    columns: Columns
    seen: set[int]
    read_at: datetime


_kept: OrderedDict[int, _Kept] = OrderedDict()
_lock = threading.Lock()
_locks: dict[int, threading.Lock] = {}


def columns_of(dataset: Dataset, version: ModelVersion | None) -> Columns:
    """The columns of the Dataset as of now; `version` is the one that serves it. Nobody changes the arrays:
    other threads read them too."""
    with _lock_of(dataset):
        of = _dependence(dataset, version)
        with _lock:
            kept = _kept.pop(dataset.pk, None)
        if kept is None or kept.of != of or timezone.now() - kept.read_at > FORGOTTEN:
            kept = _read_anew(dataset, version, of)
        else:
            kept = _brought_up_to_date(kept, dataset, version)
        with _lock:
            _kept[dataset.pk] = kept
            while len(_kept) > KEPT:
                _kept.popitem(last=False)
        return kept.columns


def _lock_of(dataset: Dataset) -> threading.Lock:
    with _lock:
        return _locks.setdefault(dataset.pk, threading.Lock())


def margins_of(dataset: Dataset, version: ModelVersion | None, columns: Columns) -> Array:
    """The score of a minus the score of b by another version than the serving one, for each row of the pairs;
    nan without one. One query, or none."""
    if version is None:
        return np.full(len(columns.pairs["pk"]), np.nan, np.float32)
    with _lock_of(dataset):
        kept = columns.others.pop(version.pk, None)
        pks = columns.pairs["pk"]
        if kept is None or len(kept.stale) > AT_ONCE:
            comparisons = Comparison.objects.filter(dataset=dataset)
            kept = Margins(_margins(version, comparisons, pks, np.full(len(pks), np.nan, np.float32)))
        elif kept.stale:
            comparisons = Comparison.objects.filter(prompt__in=kept.stale)
            values = kept.values.copy()
            values[np.isin(columns.prompts_of(columns.pairs), list(kept.stale))] = np.nan
            kept = Margins(_margins(version, comparisons, pks, values))
        columns.others[version.pk] = kept
        while len(columns.others) > OTHERS_KEPT:
            columns.others.popitem(last=False)
        return kept.values


def _margins(version: ModelVersion, comparisons: ComparisonQuerySet, pks: Array, values: Array) -> Array:
    """Set the margins of these Comparisons in the values of the pairs with these primary keys."""
    found = Suggestion.objects.filter(version=version, comparison__in=comparisons.order_by().values("pk"))
    rows = _table(
        found.order_by().values_list("comparison", "margin"), tuple, pair=np.int64, margin=np.float32
    )
    in_order = np.argsort(pks)
    at, known = _places(pks[in_order], rows["pair"])
    values[in_order[at[known]]] = rows["margin"][known]
    return values


def is_ready(
    dataset: Dataset, version: ModelVersion | None, others: Collection[ModelVersion | None] = ()
) -> bool:
    """Whether this process has columns of the Dataset, and the margins of these other versions, of which only
    some rows are to be read again, so that a page need not wait for all of them."""
    kept = _kept.get(dataset.pk)
    if kept is None or kept.of != _dependence(dataset, version):
        return False
    if not all(other is None or other == version or other.pk in kept.columns.others for other in others):
        return False
    changes = _changes(dataset, kept.read_at).filter(prompt_id=PromptChange.ALL)
    return kept.seen.issuperset(changes.values_list("pk", flat=True))


def _dependence(dataset: Dataset, version: ModelVersion | None) -> tuple[object, ...]:
    return dataset.created_at, version.pk if version else None, tuple(dataset.facet_keys)


def _read_anew(dataset: Dataset, version: ModelVersion | None, of: tuple[object, ...]) -> _Kept:
    now = timezone.now()
    seen = set(_changes(dataset, now).values_list("pk", flat=True))
    return _Kept(of, read(dataset, version), seen, now)


def _changes(dataset: Dataset, since: datetime) -> QuerySet[PromptChange]:
    return PromptChange.objects.filter(dataset=dataset, at__gte=since - OVERLAP).order_by()


def _brought_up_to_date(kept: _Kept, dataset: Dataset, version: ModelVersion | None) -> _Kept:
    now = timezone.now()
    changes = dict(_changes(dataset, kept.read_at).values_list("pk", "prompt_id"))
    changed = {prompt for pk, prompt in changes.items() if pk not in kept.seen}
    if PromptChange.ALL in changed or len(changed) > MOST_READ_AGAIN:
        return _read_anew(dataset, version, kept.of)
    columns = kept.columns
    if changed:
        prompts = sorted(changed)
        fresh = read(dataset, version, columns.words, prompts)
        before = columns
        columns = before.updated(np.array(prompts, dtype=np.int64), fresh)
        pks = before.pairs["pk"], columns.pairs["pk"]
        columns.others = OrderedDict(
            (key, margins.moved(*pks, prompts)) for key, margins in before.others.items()
        )
    return _Kept(kept.of, columns, set(changes), now)


def read(
    dataset: Dataset,
    version: ModelVersion | None,
    words: dict[str, Words] | None = None,
    only: Sequence[int] | None = None,
) -> Columns:
    """The columns of the Dataset, or of `only` some of its Prompts; Scores and margins are of `version`.

    words: numbers given earlier, which are kept."""
    reader = _Reader(dataset, version, {} if words is None else words, dataset.facet_keys)
    if only is None:
        return reader.read()
    columns = replace(reader, only=only[:AT_ONCE]).read()
    for start in range(AT_ONCE, len(only), AT_ONCE):
        columns = columns.joined(replace(reader, only=only[start : start + AT_ONCE]).read())
    return columns


def read_at(using: str, dataset: Dataset, version: ModelVersion | None, facet_keys: Sequence[str]) -> Columns:
    """The columns as the connection `using` sees them, with the values of these metadata keys."""
    return _Reader(dataset, version, {}, facet_keys, using=using).read()


@dataclass(frozen=True)
class _Reader:
    """Reads the columns of a Dataset, or of `only` some of its Prompts, from the connection `using`."""

    dataset: Dataset
    version: ModelVersion | None
    words: dict[str, Words]
    facet_keys: Sequence[str]
    only: Sequence[int] | None = None
    using: str = DEFAULT_DB_ALIAS

    def read(self) -> Columns:
        prompts = self._prompts()
        answers, sources = self._answers(prompts["pk"])
        prompts |= answers
        many = {"source": sources, "tag": self._tags()}
        many |= {f"meta.{key}": self._metadata(key) for key in self.facet_keys}
        pairs, many["voter"] = self._pairs()
        return Columns.of_tables(prompts, pairs, many, self.words)

    def _of(self, prompt: str = "prompt") -> dict[str, Any]:
        """The condition that a row belongs to what is read; `prompt`: the way from the row to its Prompt."""
        if self.only is None:
            return {f"{prompt}__dataset": self.dataset}
        return {f"{prompt}__in": self.only}

    @property
    def _of_pairs(self) -> dict[str, Any]:
        """The same for rows that belong to a Comparison."""
        if self.only is None:
            return {"comparison__dataset": self.dataset}
        return {"comparison__prompt__in": self.only}

    @property
    def _comparisons(self) -> ComparisonQuerySet:
        found = Comparison.objects.using(self.using)
        return found.filter(**({"dataset": self.dataset} if self.only is None else self._of()))

    def _prompts(self) -> Table:
        languages, runs = self._numbers("language"), self._numbers("import")
        splits: dict[str, int] = {}

        def row(values: tuple[Any, ...]) -> tuple[Any, ...]:
            pk, sha256, characters, turns, language, group, excluded, run, topic, messages, tools = values
            if group not in splits:
                splits[group] = SPLITS.index(split_of(group))
            return (
                pk, digest_key(sha256), characters, turns, languages.number(language), digest_key(group),
                splits[group], EXCLUDED.index(excluded), runs.number(str(run or "")),
                -1 if topic is None else topic, shape_of_prompt(_json(messages), bool(tools)),
            )  # fmt: skip

        found = Prompt.objects.using(self.using).of(self.dataset)
        if self.only is not None:
            found = found.filter(pk__in=self.only)
        with_tools = ExpressionWrapper(Q(tools__isnull=False), output_field=BooleanField())
        chosen = found.order_by("pk").values_list(
            "pk",
            "sha256",
            "characters",
            "turns",
            "language",
            "group",
            "excluded_from",
            "imported_by",
            "topic__number",
            "messages",
            with_tools,
        )
        return _table(
            chosen,
            row,
            pk=np.int64, digest=np.int64, characters=np.int32, turns=np.int32, language=np.int16,
            group=np.int64, split=np.int8, excluded=np.int8, imported_by=np.int16, topic=np.int16,
            shape=np.uint8,
        )  # fmt: skip

    def _answers(self, pks: Array) -> tuple[Table, Table]:
        """(number of answers, how many are unscored, the longest, the shortest, and whether one is empty, of
        each Prompt of `pks`; the sources of its answers)."""
        names = self._numbers("source")
        scored = Exists(Score.objects.filter(completion=OuterRef("pk"), version=self.version))
        found = Completion.objects.using(self.using).filter(**self._of())
        rows = _table(
            found.order_by().values_list("prompt", "source", "characters", scored),
            lambda values: (values[0], names.number(values[1]), values[2], values[3]),
            prompt=np.int64, word=np.int32, characters=np.int32, scored=np.bool_,
        )  # fmt: skip
        of = np.searchsorted(pks, rows["prompt"])
        count = np.bincount(of, minlength=len(pks)).astype(np.int32)
        longest = np.zeros(len(pks), np.int32)
        np.maximum.at(longest, of, rows["characters"])
        shortest = np.full(len(pks), np.iinfo(np.int32).max, np.int32)
        np.minimum.at(shortest, of, rows["characters"])
        unscored = np.bincount(of[~rows["scored"]], minlength=len(pks)).astype(np.int32)
        empty = np.zeros(len(pks), np.bool_)
        without_text = found.empty().order_by().values_list("prompt")
        empty[np.searchsorted(pks, _table(without_text, tuple, prompt=np.int64)["prompt"])] = True
        answers = Table(answers=count, longest=longest, shortest=shortest, unscored=unscored, empty=empty)
        named = rows["word"] != names.number("")
        both = np.stack([rows["prompt"][named], rows["word"][named].astype(np.int64)], axis=1)
        both = np.unique(both, axis=0) if len(both) else both
        return answers, Table(prompt=both[:, 0], word=both[:, 1].astype(np.int32))

    def _tags(self) -> Table:
        found = PromptTag.objects.using(self.using).filter(tag__dataset=self.dataset)
        if self.only is not None:
            found = found.filter(prompt__in=self.only)
        return _many(found.order_by().values_list("prompt", "tag__name"), self._numbers("tag"))

    def _metadata(self, key: str) -> Table:
        found = Prompt.objects.using(self.using).of(self.dataset)
        if self.only is not None:
            found = found.filter(pk__in=self.only)
        rows = found.filter(metadata__has_key=key).order_by()
        values = self._numbers(f"meta.{key}")
        return _table(
            rows.values_list("pk", KeyTextTransform(key, "metadata")),
            lambda row: (row[0], values.number(str(row[1])[:100])),
            prompt=np.int64, word=np.int32,
        )  # fmt: skip

    def _pairs(self) -> tuple[Table, Table]:
        """The pairs, and who has voted on them."""
        pairs = self._bare_pairs()
        for name, kind, empty in _PAIR_FACTS:
            pairs[name] = np.full(len(pairs["pk"]), empty, kind)
        # Not by a join: SQLite would then read every Suggestion of the version.
        found = self._comparisons.order_by().values("pk")
        margins = Suggestion.objects.using(self.using).filter(version=self.version, comparison__in=found)
        _set(pairs, margins.values_list("comparison", "margin"), margin=float)
        decided = Decision.objects.using(self.using).current().filter(**self._of_pairs)
        _set(
            pairs,
            decided.values_list("comparison", "method", "outcome", "votes", "votes_for", "probability"),
            method=METHODS.index, outcome=OUTCOMES.index, label_votes=int, label_votes_for=int,
            probability=lambda value: np.nan if value is None else value,
        )  # fmt: skip
        flags = Flag.objects.using(self.using).open().filter(**self._of_pairs)
        _set(pairs, flags.values_list("comparison", "pk"), flagged=bool)
        voters = self._count_votes(pairs)
        self._find_reasons(pairs)
        return pairs, voters

    def _bare_pairs(self) -> Table:
        """Pairs with what they are made of: the source and length of both answers, and their shape."""
        names = self._numbers("source")
        pairs = _table(
            self._comparisons.order_by("pk").values_list(
                "pk", "prompt", "a", "b", "gold_outcome", "priority", "a__characters", "b__characters",
                "a__source", "b__source",
            ),
            lambda row: (
                *row[:4], row[4] != "", row[5], min(row[6:8]), max(row[6:8]), names.number(row[8]),
                names.number(row[9]),
            ),
            pk=np.int64, prompt=np.int64, a=np.int64, b=np.int64, gold=np.bool_, priority=np.int16,
            shorter=np.int32, longer=np.int32, source_a=np.int32, source_b=np.int32,
        )  # fmt: skip
        answers = Completion.objects.using(self.using).filter(**self._of()).order_by()
        empty = _table(answers.empty().values_list("pk"), tuple, pk=np.int64)["pk"]
        whole = _table(
            answers.filter(conversation__isnull=False).order_by("pk").values_list("pk", "conversation"),
            lambda row: (row[0], shape_of_answer(_json(row[1]))),
            pk=np.int64, shape=np.uint8,
        )  # fmt: skip
        pairs["empty"] = np.isin(pairs["a"], empty) | np.isin(pairs["b"], empty)
        pairs["shape"] = np.full(len(pairs["pk"]), EVERY, np.uint8)
        for side in "ab":
            at, known = _places(whole["pk"], pairs.pop(side))
            pairs["shape"][known] &= whole["shape"][at[known]]
        return pairs

    def _count_votes(self, pairs: Table) -> Table:
        """Give a row for each vote of a person: the Prompt, the pair, and the Annotator as `word`. Set votes:
        current Judgments, imported labels too; all_votes: these and the superseded ones; opinions: the
        current ones but "cannot judge"; lead: those for a minus those for b; sides: who prefers which (see
        SIDES); agreement: the share of the most frequent opinion, where there are two opinions or more; last:
        the day of the latest vote, from 1 on, 0 for none; outdated: the votes are others than those that the
        final label follows from."""
        judgments = Judgment.objects.using(self.using).filter(**self._of_pairs).order_by()
        rows = _table(
            judgments.current().values_list("comparison", "outcome", "stage", "created_at", "annotator"),
            lambda row: (
                row[0], _OPINIONS.get(row[1], NO_OPINION), row[2] == "imported", _day(row[3]), row[4],
            ),
            pair=np.int64, outcome=np.int8, imported=np.bool_, day=np.int32, word=np.int32,
        )  # fmt: skip
        at, known = _places(pairs["pk"], rows["pair"])
        at, rows = at[known], rows.rows(known)
        people = _counts_by_outcome(at[~rows["imported"]], rows["outcome"][~rows["imported"]], pairs)
        labels = _counts_by_outcome(at[rows["imported"]], rows["outcome"][rows["imported"]], pairs)
        counts = people + labels
        tally = counts[:, :-1]
        opinions = tally.sum(axis=1)
        pairs["votes"] = counts.sum(axis=1).astype(np.int16)
        pairs["opinions"] = opinions.astype(np.int16)
        sides = (_OPINIONS[Outcome.A], _OPINIONS[Outcome.B])
        pairs["lead"] = (tally[:, sides[0]] - tally[:, sides[1]]).astype(np.int16)
        for (for_a, for_b), said in zip(SIDES.values(), (people, labels), strict=True):
            pairs["sides"] |= (said[:, sides[0]] > 0) * np.uint8(for_a)
            pairs["sides"] |= (said[:, sides[1]] > 0) * np.uint8(for_b)
        share = tally.max(axis=1) / np.maximum(opinions, 1)
        pairs["agreement"] = np.where(opinions > 1, share, np.nan).astype(np.float32)
        np.maximum.at(pairs["last"], at, rows["day"])
        pairs["why"] |= against(pairs["margin"], pairs["sides"])
        _find_disagreements(pairs, people[:, :-1] > 0, labels[:, :-1] > 0)
        old = _table(
            judgments.for_votes().filter(is_current=False).values_list("comparison"), tuple, pair=np.int64
        )
        old_at, known = _places(pairs["pk"], old["pair"])
        superseded = np.bincount(old_at[known], minlength=len(pairs["pk"]))
        pairs["all_votes"] = (pairs["votes"] + superseded).astype(np.int16)
        # A label of no outcome, or of an excluded pair, has no votes for it.
        for_label = np.zeros(len(pairs["pk"]), np.int64)
        for outcome, number in _OPINIONS.items():
            decided_so = pairs["outcome"] == OUTCOMES.index(outcome)
            for_label[decided_so] = tally[decided_so, number]
        differ = (pairs["label_votes"] != opinions) | (pairs["label_votes_for"] != for_label)
        pairs["outdated"] = differ & (pairs["method"] > 0) & (pairs["method"] != REVIEWED)
        by_people = ~rows["imported"]
        return Table(
            prompt=pairs["prompt"][at[by_people]], pair=rows["pair"][by_people], word=rows["word"][by_people]
        )

    def _find_reasons(self, pairs: Table) -> None:
        """why: the other reasons to review a pair, as bits of WHY; disagreement: whether it is in the queue
        of reviewers."""
        rare = {
            "changed": self._comparisons.changed_after_reveal(),
            "gold": self._comparisons.gold_missed(),
            "repeat": self._comparisons.own_answers_differ(),
        }
        pairs["why"] |= pairs["flagged"] * np.uint16(WHY["flagged"])
        for name, chosen in rare.items():
            keys = _table(chosen.order_by().values_list("pk"), tuple, pk=np.int64)["pk"]
            pairs["why"] |= np.isin(pairs["pk"], keys) * np.uint16(WHY[name])
        gold = np.uint16(WHY["gold"])
        is_open = (pairs["method"] != REVIEWED) & (pairs["why"] & ~gold > 0)
        pairs["disagreement"] = is_open | (pairs["why"] & gold > 0)

    def _numbers(self, name: str) -> Words:
        return self.words.setdefault(name, Words())


_PAIR_FACTS: tuple[tuple[str, Any, object], ...] = (
    ("margin", np.float32, np.nan),
    ("method", np.int8, 0),
    ("outcome", np.int8, 0),
    ("label_votes", np.int16, 0),
    ("label_votes_for", np.int16, 0),
    ("probability", np.float64, np.nan),
    ("flagged", np.bool_, False),
    ("last", np.int32, 0),
    ("why", np.uint16, 0),
    ("sides", np.uint8, 0),
)

_OPINIONS: dict[str, int] = {
    outcome.value: number
    for number, outcome in enumerate((Outcome.A, Outcome.B, Outcome.TIE, Outcome.BOTH_BAD))
}
NO_OPINION = len(_OPINIONS)


def _counts_by_outcome(at: Array, outcomes: Array, pairs: Table) -> Array:
    """Judgments of each pair (rows) by opinion; the last column has those without an opinion."""
    width = NO_OPINION + 1
    counts = np.bincount(at * width + outcomes, minlength=len(pairs["pk"]) * width)
    return counts.reshape(-1, width)


def _find_disagreements(pairs: Table, people: Array, labels: Array) -> None:
    """Set the bits of `why` that follow from the opinions: for each pair and opinion, whether somebody, or a
    label, says so."""
    both = (people | labels).sum(axis=1)
    disagree = {
        "people": people.sum(axis=1) > 1,
        "mixed": people.any(axis=1) & labels.any(axis=1) & (both > 1),
        "labels": labels.sum(axis=1) > 1,
    }
    for name, holds in disagree.items():
        pairs["why"] |= holds * np.uint16(WHY[name])


def against(margin: Array, sides: Array) -> Array:
    """The bits of WHY for pairs on which somebody, or a label, prefers the other side than these margins."""
    why = np.zeros(len(margin), np.uint16)
    for name, (for_a, for_b) in SIDES.items():
        holds = (margin < 0) & (sides & for_a > 0) | (margin > 0) & (sides & for_b > 0)
        why |= holds * np.uint16(WHY[name])
    return why


def _day(moment: datetime) -> int:
    """The day in UTC as a number. SQLite's driver gives a time in UTC that does not say so."""
    return (moment.astimezone(UTC) if moment.tzinfo else moment).toordinal()


def _json(value: Any) -> Any:
    """JSON as a driver gives it: parsed, or on SQLite as a text."""
    return orjson.loads(value) if isinstance(value, str) else value


def _places(keys: Array, wanted: Array) -> tuple[Array, Array]:
    """(where each wanted key is in the sorted `keys`, whether it is there). A Comparison of this moment may
    have been stored after the pairs were read."""
    at = np.searchsorted(keys, wanted)
    known = at < len(keys)
    known[known] = keys[at[known]] == wanted[known]
    return at, known


def _set(pairs: Table, rows: QuerySet[Model, Any], **columns: Callable[[Any], Any]) -> None:
    """Set columns of the pairs: rows of (primary key of the Comparison, a value for each column)."""
    kinds = {name: pairs[name].dtype for name in columns}
    functions = list(columns.values())
    found = _table(
        rows.order_by(),
        lambda row: (row[0], *(f(value) for f, value in zip(functions, row[1:], strict=True))),
        pair=np.int64,
        **kinds,
    )
    at, known = _places(pairs["pk"], found["pair"])
    for name in columns:
        pairs[name][at[known]] = found[name][known]


def _many(rows: QuerySet[Model, Any], words: Words) -> Table:
    return _table(rows, lambda row: (row[0], words.number(row[1])), prompt=np.int64, word=np.int32)


def _table(
    rows: QuerySet[Any, Any], row: Callable[[tuple[Any, ...]], tuple[Any, ...]], **kinds: Any
) -> Table:
    """The rows as columns. They come in parts, so that no list of a million tuples is ever in memory."""
    sql, parameters = rows.query.get_compiler(rows.db).as_sql()
    kind = np.dtype([(name, np.dtype(of)) for name, of in kinds.items()])
    parts = []
    with connections[rows.db].chunked_cursor() as cursor:
        cursor.execute(sql, parameters)
        while part := cursor.fetchmany(ROWS):
            parts.append(np.fromiter(map(row, part), kind, count=len(part)))
    whole = np.concatenate(parts) if parts else np.empty(0, kind)
    return Table({name: np.ascontiguousarray(whole[name]) for name in kinds})
