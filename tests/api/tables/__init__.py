"""What each operation is, by noun: who may use it, and which page it is the other face of."""

import pkgutil
from importlib import import_module
from typing import NamedTuple

ALL_DATASETS = "all datasets"
"""The role of operations for staff with a token for all datasets."""

OWN = "own account"
"""The role of operations for everybody with a token for all datasets."""


class Row(NamedTuple):
    """An operation: the kind of object in its path, the least role that may use it ("" = any account), the
    status for those who may, and a body to send. A body that an operation refuses shows as well as one that
    it takes who may send it."""

    of: str
    role: str
    status: int = 200
    body: object = None


def _all(name: str) -> dict:
    """The rows of this name in all tables."""
    rows = {}
    for module in pkgutil.iter_modules(__path__):
        for key, row in getattr(import_module(f"{__name__}.{module.name}"), name, {}).items():
            assert key not in rows, f"{key} is in two tables"
            rows[key] = row
    return rows


def operations() -> dict[str, Row]:
    """Every operation by its id."""
    return _all("OPERATIONS")


def pages() -> dict[str, str | tuple[str, ...]]:
    """Every page by the name of its URL: the ids of the operations that do and show the same, or why there is
    none."""
    return _all("PAGES")


def operations_of(page: str) -> tuple[str, ...]:
    """The ids of the operations of a page; () where it is none."""
    named = pages()[page]
    if isinstance(named, tuple):
        return named
    return () if " " in named else (named,)
