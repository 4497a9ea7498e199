"""History: who did what, of one dataset or of the installation."""

from collections.abc import Iterator
from typing import TypedDict

from preference_workbench import answers
from preference_workbench.session import Params, Session


class Chosen(TypedDict, total=False):
    """What to find. person: in the name of who did it, or to whom it was done; kind: of the rows; first,
    last: days, as in 2026-11-29."""

    person: str
    kind: str
    first: str
    last: str


def history(session: Session, path: str, chosen: Params) -> Iterator[answers.HistoryRow]:
    """The rows at a path, newest first."""
    return map(answers.HistoryRow.model_validate, session.newest_first(path, chosen))
