"""The shapes of preference data that an import knows; those with the most specific columns come first.

A new shape is a function from a Row to a Draft, an entry in its module's SHAPES, an example in
docs/how-to/imports.md and a test.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from scoring.rows.rows import FileFault, Row, escaped
from scoring.rows.shapes import (
    arenas,
    argilla,
    label_studio,
    mapped,
    moving,
    pairs,
    rankings,
    releases,
    trees,
    votes,
)
from scoring.rows.shapes.shape import Shape

__all__ = ["COLUMNS", "SHAPES", "mapped", "recognise", "takes_names"]

_MOVING = (*label_studio.SHAPES, *argilla.SHAPES)
_FAMILIES = (label_studio, argilla, releases, trees, votes, arenas, rankings, pairs)
SHAPES: dict[str, Shape] = {shape.name: shape for family in _FAMILIES for shape in family.SHAPES}

COLUMNS = {name.lower(): name for shape in SHAPES.values() for name in ("id", *shape.needs, *shape.texts)}
"""Known column names by their lower case, for the headers of CSV files."""


def takes_names(named: Mapping[str, str], sample: Sequence[Row], name: str = "auto") -> Shape | None:
    """The Shape of another tool's export that reads the sample by itself, and takes these words of a column
    mapping; None for any other sample or mapping."""
    if not named.keys() <= moving.NAMED:
        return None
    columns = frozenset(column for row in sample for column in row.values)
    fitting = (shape for shape in _MOVING if shape.name == name or shape.matches(columns, sample[0].values))
    return next(fitting, None)


def recognise(sample: Sequence[Row], name: str = "auto", header_line: int | None = None) -> Shape:
    """The Shape called `name`; for "auto" the first Shape that fits the sample.

    Raises FileFault with the columns of the sample if none fits.
    """
    if name != "auto":
        return SHAPES[name]
    columns = frozenset(column for row in sample for column in row.values)
    for shape in SHAPES.values():
        if shape.matches(columns, sample[0].values):
            return shape
    names = ", ".join(escaped(column, 40) for column in Counter(c for r in sample for c in r.values))
    raise FileFault(
        "unknown_columns",
        f"no known format has these columns: {names[:300]}. The simplest needs prompt, chosen and rejected. "
        f"Map the columns yourself, or use one of {', '.join(SHAPES)}",
        header_line or sample[0].line,
    )
