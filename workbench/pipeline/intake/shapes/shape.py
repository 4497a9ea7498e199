"""What a Shape is: a way that people write preference data, told by its columns."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from workbench.pipeline.intake.drafts import Draft, ImportOptions
from workbench.pipeline.intake.rows import BadRow, Problem, Row, Values

Columns = frozenset[str]
Adapter = Callable[[Iterable[Row], ImportOptions], Iterator[Draft | Problem]]


@dataclass(frozen=True)
class Shape:
    """One shape of preference data.

    It is told by the columns it `needs`, or where these say too little by `fits`, which sees the columns of
    the first rows and the first row. `texts` are columns that have to hold text or messages, which a Parquet
    file declares. `drafts` makes Drafts of rows, and Problems of those it can't take. `ranked` when the
    pairs policy decides on what becomes of them.
    """

    name: str
    title: str
    drafts: Adapter
    needs: tuple[str, ...] = ()
    fits: Callable[[Columns, Values], bool] | None = None
    texts: tuple[str, ...] = ()
    ranked: bool = False

    def matches(self, columns: Columns, first: Values) -> bool:
        return self.fits(columns, first) if self.fits else columns.issuperset(self.needs)


def per_row(adapt: Callable[[Row, ImportOptions], Draft]) -> Adapter:
    """An Adapter of a function that makes one Draft of one Row or raises BadRow."""

    def drafts(rows: Iterable[Row], options: ImportOptions) -> Iterator[Draft | Problem]:
        for row in rows:
            try:
                yield adapt(row, options)
            except BadRow as bad:
                yield bad.at(row)

    return drafts
