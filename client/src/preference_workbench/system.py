"""The installation, for staff: the hosts that workers may send requests to."""

from collections.abc import Iterator

from preference_workbench import answers, sent
from preference_workbench.session import Session


class Hosts:
    """The hosts that workers may send requests to."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __iter__(self) -> Iterator[answers.HostOut]:
        return map(answers.HostOut.model_validate, self._session.pages("/hosts"))

    def allow(self, name: str) -> answers.HostOut:
        """Allow workers to send requests to a host. name: as in huggingface.co; with its port unless that is
        443."""
        body: sent.HostWanted = {"name": name}
        return answers.HostOut.model_validate(self._session.post("/hosts", body))

    def remove(self, host: int) -> None:
        """Allow no more requests to a host, by its number."""
        self._session.send("DELETE", f"/hosts/{host}")
