"""People who vote over HTTP as the annotation page does: an answer is sent, with one key, until
it is taken."""

import http.client
import json
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlencode
from uuid import uuid4

from django.conf import settings

from tests.conftest import client_of
from tests.factories import UserFactory
from workbench.models import Dataset, Judgment, Member, Role, User

ITEM = re.compile(r'data-comparison="(\d+)" data-claim="(\d+)" data-key="([^"]+)"')
CSRF = "c" * 32


@dataclass
class Voter:
    """One annotator's browser, without the browser."""

    dataset: Dataset
    user: User
    session: str
    acknowledged: dict[int, int] = field(default_factory=dict)
    """Judgment by Comparison, of each vote that the server said it had taken."""
    unanswered: int = 0
    """Submits that got no answer, or 503: not now."""
    errors: list[str] = field(default_factory=list)
    """All other answers: faults of the server, and refusals."""
    given: int = 0
    """Pairs that the person has answered."""
    sends_again: bool = True
    """Until it is taken; else an answer is sent once."""

    def vote(self, port: int, over: threading.Event) -> None:
        """Take and answer pairs until `over`, whatever breaks."""
        while not over.is_set():
            status, page = self._post(port, "next", have="")
            item = ITEM.search(page)
            if status != 200 or item is None:
                over.wait(0.3)
                continue
            comparison, claim, key = item.groups()
            answer = {"user": self.user.pk, "comparison": comparison, "claim": claim, "key": key}
            answer |= {"answer": random.choice(["left", "right"]), "seconds": 1}
            self.given += 1
            while not over.is_set():
                status, page = self._post(port, "judge", **answer)
                if status == 200:
                    self.acknowledged[int(comparison)] = json.loads(page)["judgment"]
                    break
                if status in (0, 503):
                    self.unanswered += 1
                else:
                    self.errors.append(f"{status} {page[:200]}")
                if not self.sends_again:
                    break
                over.wait(0.2)

    def _post(self, port: int, name: str, **fields: object) -> tuple[int, str]:
        """(status, body); status 0 when no answer came."""
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": f"{settings.SESSION_COOKIE_NAME}={self.session}; {settings.CSRF_COOKIE_NAME}={CSRF}",
            "X-CSRFToken": CSRF,
            "X-Requested-With": "fetch",
            "Accept": "application/json" if name == "judge" else "text/html",
        }
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(
                "POST", f"/datasets/{self.dataset.pk}/annotate/{name}/", urlencode(fields), headers
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()


def voters_of(dataset: Dataset, count: int) -> list[Voter]:
    """New annotators, each logged in."""
    voters = []
    for _ in range(count):
        user = UserFactory.create(username=uuid4().hex)
        Member.objects.create(dataset=dataset, user=user, role=Role.ANNOTATOR)
        session = client_of(user).cookies[settings.SESSION_COOKIE_NAME].value
        voters.append(Voter(dataset, user, session))
    return voters


@contextmanager
def voting(voters: list[Voter], port: int) -> Iterator[None]:
    """They vote while the block runs."""
    over = threading.Event()
    threads = [threading.Thread(target=voter.vote, args=[port, over]) for voter in voters]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


@dataclass(frozen=True)
class Toll:
    """What the faults did to the votes, counted from the rows."""

    people: int
    acknowledged: int
    lost: int
    """Acknowledged, and not there."""
    twice: int
    """Votes of somebody on a pair beyond the first."""
    beyond: int
    """Votes on pairs beyond the overlap."""
    unanswered: int
    errors: int


def toll(voters: list[Voter]) -> Toll:
    dataset = voters[0].dataset
    votes = list(Judgment.objects.of(dataset).order_by().values_list("pk", "comparison", "annotator__user"))
    there = {(pk, comparison, user) for pk, comparison, user in votes}
    said = {(pk, c, voter.user.pk) for voter in voters for c, pk in voter.acknowledged.items()}
    on_each: dict[int, int] = {}
    for _, comparison, _ in votes:
        on_each[comparison] = on_each.get(comparison, 0) + 1
    return Toll(
        people=len(voters),
        acknowledged=len(said),
        lost=len(said - there),
        twice=len(votes) - len({(comparison, user) for _, comparison, user in votes}),
        beyond=sum(max(0, number - dataset.overlap) for number in on_each.values()),
        unanswered=sum(voter.unanswered for voter in voters),
        errors=sum(len(voter.errors) for voter in voters),
    )


def is_judged(dataset: Dataset) -> bool:
    """Whether each pair has as many votes as the overlap asks for."""
    time.sleep(0.2)
    return bool(Judgment.objects.of(dataset).count() >= dataset.overlap * dataset.comparisons.count())
