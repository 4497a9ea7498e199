"""A panel of the Quality page: a sentence about the data, and rows for a table, a download and a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["text", "count", "decimal", "share", "number", "log_odds", "seconds"]
Row = Mapping[str, object]
"""A cell by the key of its column."""

MOST_DRAWN = 8
"""Rows in a small picture: the table has the others."""


@dataclass(frozen=True)
class Column:
    """A column of a panel's rows. Cells of kind text, count and decimal are plain values or None. Cells of
    the other kinds are StoredFigures or None."""

    key: str
    label: str
    kind: Kind = "text"

    @property
    def is_figure(self) -> bool:
        return self.kind not in ("text", "count", "decimal")


@dataclass(frozen=True)
class Panel:
    """name: of the panel's files. says: the one sentence about the data now; "" where data is lacking, and
    then `lacks` says which figure needs how much more. notes: further sentences, behind the table. warning:
    what a reader has to know beside the sentence. reading: how to read the chart or table. described: the
    chart in words; "" where there is none. single: about single annotators, so for admins only. drawn: how
    many rows are in the chart (0 = all)."""

    name: str
    title: str
    says: str = ""
    columns: tuple[Column, ...] = ()
    rows: Sequence[Row] = field(default_factory=list)
    reading: str = ""
    described: str = ""
    single: bool = False
    drawn: int = 0
    context: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    warning: str = ""
    lacks: str = ""

    @property
    def has_chart(self) -> bool:
        return bool(self.described)

    @property
    def shown_in_chart(self) -> Sequence[Row]:
        return self.rows[: self.drawn or len(self.rows)]
