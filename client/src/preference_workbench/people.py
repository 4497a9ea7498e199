"""The people of a dataset: roles, pauses, hours, invitations; and the tokens of programs."""

import os
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Literal, Unpack

from preference_workbench import answers, sent
from preference_workbench.session import Session

Role = Literal["annotator", "reviewer", "admin"]


class People:
    """The members of a dataset. `person` is the number that a member has in the list."""

    def __init__(self, session: Session, dataset: int) -> None:
        self._session = session
        self._path = f"/datasets/{dataset}/people"

    def __iter__(self) -> Iterator[answers.PersonOut]:
        yield from answers.People.model_validate(self._session.get(self._path)).items

    def __getitem__(self, person: int) -> answers.PersonDetails:
        """One member, with figures, pauses and qualification."""
        return answers.PersonDetails.model_validate(self._session.get(f"{self._path}/{person}"))

    def others(self) -> list[answers.FormerVoter]:
        """Those who voted here and are members no more, and label sources."""
        return answers.People.model_validate(self._session.get(self._path)).others

    def former(self, annotator: int) -> answers.PersonDetails:
        """Somebody who voted here and is a member no more, by the number that `others` has."""
        return answers.PersonDetails.model_validate(self._session.get(f"{self._path}/former/{annotator}"))

    def add(self, username: str, role: Role = "annotator") -> answers.PersonOut:
        """Make somebody with an account a member. Invite whoever has none."""
        body: sent.NewPerson = {"username": username, "role": role}
        return answers.PersonOut.model_validate(self._session.post(self._path, body))

    def change_role(self, person: int, role: Role) -> answers.PersonOut:
        """Change what a member may do. A dataset keeps at least one admin."""
        body: sent.RoleChange = {"role": role}
        return answers.PersonOut.model_validate(self._session.post(f"{self._path}/{person}/role", body))

    def change_facts(self, person: int, **facts: Unpack[sent.FactsChange]) -> answers.PersonDetails:
        """Change what a member reads and knows, and which saved views they get first; what is not named
        stays."""
        document = self._session.send("PATCH", f"{self._path}/{person}/facts", body=facts).json()
        return answers.PersonDetails.model_validate(document)

    def pause(self, person: int, reason: str) -> answers.PersonOut:
        """Stop a member from voting here, until an admin lets them go on. The person reads the reason."""
        return answers.PersonOut.model_validate(
            self._session.post(f"{self._path}/{person}/pause", {"reason": reason})
        )

    def resume(self, person: int, reason: str) -> answers.PersonOut:
        """Let a member who is paused or warned go on."""
        return answers.PersonOut.model_validate(
            self._session.post(f"{self._path}/{person}/resume", {"reason": reason})
        )

    def grant(
        self, person: int, kind: Literal["try", "waiver", "needed"], reason: str
    ) -> answers.PersonQualification:
        """Give a member one more try to qualify or a waiver, or take a waiver back: the try is needed."""
        body: sent.Grant = {"kind": kind, "reason": reason}
        document = self._session.post(f"{self._path}/{person}/qualification", body)
        return answers.PersonQualification.model_validate(document)

    def remove(self, person: int) -> None:
        """End a membership. The person's votes stay."""
        self._session.send("DELETE", f"{self._path}/{person}")

    def time(self, first: str = "", last: str = "") -> answers.TimeSheet:
        """Hours and pay by person and day; whole months, as in 2026-11, this one by default."""
        found = self._session.get(f"{self._path}/time", {"first": first, "last": last})
        return answers.TimeSheet.model_validate(found)

    def save_time(self, path: str | os.PathLike[str], first: str = "", last: str = "") -> Path:
        """Write the same as CSV, for pay; the path. The download stands in history."""
        file = Path(path)
        answer = self._session.send("GET", f"{self._path}/time.csv", params={"first": first, "last": last})
        file.write_bytes(answer.content)
        return file

    def correct_time(self, user: int, day: date | str, seconds: int, reason: str) -> answers.TimeLine:
        """Add seconds to a day of somebody, or take them away: below 0. The person reads the reason. user:
        the number of the account, as `time` and the list of people have it; day: in UTC, as in 2026-11-29.
        Raises Refused where more is taken than there is."""
        body: sent.Correction = {"user": user, "day": str(day), "seconds": seconds, "reason": reason}
        return answers.TimeLine.model_validate(self._session.post(f"{self._path}/time", body))


class Invitations:
    """The invitations to a dataset."""

    def __init__(self, session: Session, dataset: int) -> None:
        self._session = session
        self._path = f"/datasets/{dataset}/invitations"

    def __iter__(self) -> Iterator[answers.InvitationOut]:
        return map(answers.InvitationOut.model_validate, self._session.pages(self._path))

    def link(
        self, role: Role = "annotator", *, uses: int = 20, days: int = 14, domain: str = ""
    ) -> answers.InvitationOut:
        """A link for so many people. domain: let in mail addresses of this domain alone."""
        body: sent.LinkWanted = {"role": role, "uses": uses, "days": days, "domain": domain}
        return answers.InvitationOut.model_validate(self._session.post(f"{self._path}/link", body))

    def mail(self, addresses: Sequence[str], role: Role = "annotator", *, days: int = 14) -> answers.Invited:
        """Invite people by mail."""
        body: sent.MailsWanted = {"addresses": list(addresses), "role": role, "days": days}
        return answers.Invited.model_validate(self._session.post(f"{self._path}/mails", body))

    def resend(self, invitation: int) -> None:
        """Have the mail of an invitation sent again."""
        self._session.post(f"/invitations/{invitation}/resend")

    def revoke(self, invitation: int) -> None:
        """End an invitation. Who has come by it stays."""
        self._session.post(f"/invitations/{invitation}/revoke")


class Tokens:
    """The tokens that reach a dataset; without one, all of the workbench, for staff."""

    def __init__(self, session: Session, dataset: int | None = None) -> None:
        self._session = session
        self._path = "/tokens" if dataset is None else f"/datasets/{dataset}/tokens"

    def __iter__(self) -> Iterator[answers.TokenOut]:
        return map(answers.TokenOut.model_validate, self._session.pages(self._path))

    def revoke(self, token: int) -> None:
        """End a token by its number: its next request is refused."""
        self._session.post(f"{self._path}/{token}/revoke")
