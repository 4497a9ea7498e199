"""Webhooks: addresses that hear of what happens in a dataset, and the log of what was sent there."""

from collections.abc import Iterable, Iterator
from typing import Any, Self

from preference_workbench import answers, sent
from preference_workbench.session import Resource, Session


class Webhook(answers.WebhookOut, Resource):
    """An address that is told of what happens in a dataset. secret: what receivers check signatures with, for
    who has just added the webhook or changed its secret; None for others."""

    secret: str | None = None

    def update(self, *, url: str | None = None, events: Iterable[str] | None = None) -> Self:
        """Send to another address, or other events."""
        body: sent.WebhookChange = {"url": url, "events": None if events is None else list(events)}
        return self._changed(body)

    def pause(self) -> Self:
        """Send nothing for now. What happens meanwhile is not sent later."""
        return self._changed({"is_active": False})

    def resume(self) -> Self:
        """Send again."""
        return self._changed({"is_active": True})

    def rotate(self) -> str:
        """Make a new secret. For 24 hours, requests are signed by the old one too."""
        made = answers.WebhookSecret.model_validate(self._session.post(f"{self._path}/secret"))
        self.secret = made.secret
        return made.secret

    def test(self) -> answers.DeliveryOut:
        """Have a test event sent; `deliveries` has what came of it."""
        return answers.DeliveryOut.model_validate(self._session.post(f"{self._path}/test"))

    def deliveries(self, state: str = "") -> Iterator[answers.DeliveryOut]:
        """The log, newest first. state: waiting, delivered or dead."""
        rows = self._session.newest_first(f"{self._path}/deliveries", {"state": state})
        return map(answers.DeliveryOut.model_validate, rows)

    def replay(self, deliveries: Iterable[int] | None = None) -> int:
        """Send deliveries again that have ended, by default all that are dead; how many these are."""
        body: sent.Again = {"deliveries": None if deliveries is None else list(deliveries)}
        return answers.SentAgain.model_validate(self._session.post(f"{self._path}/replay", body)).count

    def delete(self) -> None:
        """Delete the webhook with its log."""
        self._session.send("DELETE", self._path)

    @property
    def _path(self) -> str:
        return f"/webhooks/{self.id}"

    def _changed(self, body: sent.WebhookChange) -> Self:
        document = self._session.send("PATCH", self._path, body=body).json()
        self.__dict__.update(answers.WebhookOut.model_validate(document).__dict__)
        return self


class Webhooks:
    """The webhooks of a dataset."""

    def __init__(self, session: Session, dataset: int) -> None:
        self._session = session
        self._path = f"/datasets/{dataset}/webhooks"

    def __iter__(self) -> Iterator[Webhook]:
        return map(self._of, self._session.get(self._path)["items"])

    def __getitem__(self, number: int) -> Webhook:
        """The webhook of this number. Raises NotFound."""
        return self._of(self._session.get(f"/webhooks/{number}"))

    def add(self, url: str, events: Iterable[str]) -> Webhook:
        """Have events sent to an address. Keep the `secret`: the workbench does not show it again."""
        body: sent.WebhookWanted = {"url": url, "events": list(events)}
        document = self._session.post(self._path, body)
        return self._of({**document["webhook"], "secret": document["secret"]})

    def _of(self, document: dict[str, Any]) -> Webhook:
        return Webhook.model_validate(document, context=self._session)
