"""What a Shape is: a way that people write preference data, told by its columns."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby

from scoring.rows.context import with_context
from scoring.rows.drafts import Draft, ImportOptions, iso
from scoring.rows.rows import BadRow, Problem, Row, Values

Columns = frozenset[str]
Adapter = Callable[[Iterable[Row], ImportOptions], Iterator[Draft | Problem]]


@dataclass(frozen=True)
class Shape:
    """One shape of preference data.

    It is told by the columns it `needs`, or where these say too little by `fits`, which sees the columns of
    the first rows and the first row. `texts` are columns that have to hold text or messages, which a Parquet
    file declares. What it needs or names as texts or `own` is never read as context (see
    rows.context). `drafts` makes Drafts of rows, and Problems of those it can't take. `ranked` when the
    pairs policy decides on what becomes of them. `unfilled` says what to tell of each named column that held
    nothing in the rows read until then; `named` is what each column was named as.
    """

    name: str
    title: str
    drafts: Adapter
    needs: tuple[str, ...] = ()
    fits: Callable[[Columns, Values], bool] | None = None
    texts: tuple[str, ...] = ()
    ranked: bool = False
    own: frozenset[str] = frozenset()
    unfilled: Callable[[], dict[str, str]] = dict
    named: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> frozenset[str]:
        """Columns that are this Shape's own, whatever they would be elsewhere."""
        return self.own | {*self.needs, *self.texts}

    def matches(self, columns: Columns, first: Values) -> bool:
        return self.fits(columns, first) if self.fits else columns.issuperset(self.needs)


def together(rows: Iterable[Row], key: Callable[[Row], object]) -> Iterator[list[Row]]:
    """Rows with the same key, however far apart they stand, in the order in which the keys begin. They wait
    on disk: the file may be of any size."""
    with closing(sqlite3.connect("", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=OFF")
        db.execute("CREATE TABLE first (key BLOB PRIMARY KEY, n INT) WITHOUT ROWID")
        db.execute("CREATE TABLE row (first INT, n INT, line INT, columns TEXT, raw BLOB, context TEXT)")
        db.execute("BEGIN")
        for n, row in enumerate(rows):
            group_key = json.dumps([key(row), row.context], sort_keys=True, default=str)
            digest = hashlib.blake2b(group_key.encode(), digest_size=16).digest()
            db.execute("INSERT OR IGNORE INTO first VALUES (?, ?)", (digest, n))
            values, context = json.dumps(row.values, default=iso), json.dumps(row.context)
            db.execute(
                "INSERT INTO row SELECT n, ?, ?, ?, ?, ? FROM first WHERE key = ?",
                (n, row.line, values, row.raw, context, digest),
            )
        stored = db.execute("SELECT first, line, columns, raw, context FROM row ORDER BY first, n")
        for _, group in groupby(stored, key=lambda columns: columns[0]):
            yield [
                Row(line, json.loads(values), raw, json.loads(context))
                for _, line, values, raw, context in group
            ]


def in_context(draft: Draft, row: Row) -> Draft | Problem:
    """The Draft with the context of its (first) row, or what is wrong with that."""
    try:
        return with_context(draft, row)
    except BadRow as bad:
        return bad.at(row)


def per_row(adapt: Callable[[Row, ImportOptions], Draft]) -> Adapter:
    """An Adapter of a function that makes one Draft of one Row or raises BadRow."""

    def drafts(rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
        for row in rows:
            try:
                yield with_context(adapt(row, options), row)
            except BadRow as bad:
                yield bad.at(row)

    return drafts
