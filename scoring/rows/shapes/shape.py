"""A Shape: one way of writing preference data in rows, recognised by its columns."""

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

    - `drafts`: rows to Drafts, and to Problems for bad rows.
    - `needs`: the columns by which a file is recognised.
    - `fits`: recognises a file in place of `needs`, by (columns of the sample, first row).
    - `texts`: columns of text or messages; a Parquet file that declares another type is refused.
    - `reserved`: columns that are never read as context (see rows.context), besides `needs` and `texts`.
    - `by_name`: a row by the names that a column mapping may use, where these are no columns;
      `words`: the only words that the mapping may then have.
    - `ranked`: whether the pairs policy decides which Comparisons there are.
    - `named`: the words of a column mapping, by column; `unfilled` gives a sentence for each mapped column
      that was empty in all rows so far, by word.
    """

    name: str
    title: str
    drafts: Adapter
    needs: tuple[str, ...] = ()
    fits: Callable[[Columns, Values], bool] | None = None
    texts: tuple[str, ...] = ()
    ranked: bool = False
    by_name: Callable[[Values], Values] | None = None
    words: frozenset[str] | None = None
    reserved: frozenset[str] = frozenset()
    unfilled: Callable[[], dict[str, str]] = dict
    named: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> frozenset[str]:
        """Columns that are never read as context."""
        return self.reserved | {*self.needs, *self.texts}

    def matches(self, columns: Columns, first: Values) -> bool:
        return self.fits(columns, first) if self.fits else columns.issuperset(self.needs)


def together(rows: Iterable[Row], key: Callable[[Row], object]) -> Iterator[list[Row]]:
    """Groups of rows with the same key and context, in the order of their first rows.

    The rows are kept on disk: a file may be of any size.
    """
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
    """The Draft with the context of its first row, or a Problem with the context."""
    try:
        return with_context(draft, row)
    except BadRow as bad:
        return bad.at(row)


def per_row(adapt: Callable[[Row, ImportOptions], Draft]) -> Adapter:
    """The Adapter of a function that turns one Row into one Draft or raises BadRow."""

    def drafts(rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
        for row in rows:
            try:
                yield with_context(adapt(row, options), row)
            except BadRow as bad:
                yield bad.at(row)

    return drafts
