"""The way in: one workbench, by one token."""

from collections.abc import Iterator
from types import TracebackType
from typing import Self, Unpack

from preference_workbench import answers
from preference_workbench.datasets import Datasets
from preference_workbench.history import Chosen, history
from preference_workbench.models import Models
from preference_workbench.own import Me
from preference_workbench.people import Tokens
from preference_workbench.runs import Run
from preference_workbench.session import Session
from preference_workbench.system import Hosts


class Workbench:
    """A workbench by its address and a token of it. Any number of threads may share one.

    tries: how often a request is sent at most, where it got no answer or was told to wait; timeout: seconds
    to wait for an answer."""

    def __init__(self, url: str, token: str, *, tries: int = 6, timeout: float = 60.0) -> None:
        self.session = Session(url, token, tries=tries, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Workbench({self.session.url!r})"

    def close(self) -> None:
        self.session.close()

    @property
    def me(self) -> Me:
        """Who the token acts for, and what it reaches."""
        return Me.model_validate(self.session.get("/account"), context=self.session)

    @property
    def datasets(self) -> Datasets:
        return Datasets(self.session)

    @property
    def models(self) -> Models:
        return Models(self.session)

    @property
    def tokens(self) -> Tokens:
        """All tokens. Needs staff."""
        return Tokens(self.session)

    @property
    def hosts(self) -> Hosts:
        """The hosts that workers may send requests to. Needs staff."""
        return Hosts(self.session)

    def system(self) -> answers.SystemOut:
        """What needs attention, and how workers, queues, disk and backups are. Needs staff."""
        return answers.SystemOut.model_validate(self.session.get("/system"))

    def history(self, **chosen: Unpack[Chosen]) -> Iterator[answers.HistoryRow]:
        """All that was done in the installation, newest first. Needs staff."""
        return history(self.session, "/history", chosen)

    def run(self, number: int) -> Run:
        """A run by its number."""
        return Run.model_validate(self.session.get(f"/runs/{number}"), context=self.session)
