"""The account that the token acts for: its languages, hours and data."""

from typing import Any, Self, Unpack

from preference_workbench import answers, sent
from preference_workbench.session import Resource


class Me(answers.Account, Resource):
    """The account that the token acts for, and what the token reaches."""

    def update(self, **changes: Unpack[sent.AccountChange]) -> Self:
        """Change the languages that one reads, or whether the annotation page goes straight on after a vote.
        Needs a token for all datasets."""
        document = self._session.send("PATCH", "/account", body=changes).json()
        self.__dict__.update(answers.Account.model_validate(document).__dict__)
        return self

    def hours(self, first: str = "", last: str = "") -> answers.OwnHours:
        """One's own hours and pay by day; whole months, as in 2026-11, this one by default."""
        found = self._session.get("/account/hours", {"first": first, "last": last})
        return answers.OwnHours.model_validate(found)

    def data(self) -> dict[str, Any]:
        """All that is stored of the person. Needs a token for all datasets."""
        return dict(self._session.get("/account/data"))
