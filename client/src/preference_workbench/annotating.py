"""Vote as an annotator: one pair or ranking after the other."""

import time
from collections.abc import Iterator, Sequence

from preference_workbench import answers, sent
from preference_workbench.errors import CannotVote
from preference_workbench.session import Session


class Shown:
    """The texts of a pair or ranking, as the page shows them."""

    def __init__(self, shown: answers.ShownItem) -> None:
        self.shown = shown
        self._shown_at = time.monotonic()

    @property
    def prompt(self) -> str:
        """The text of the prompt; of several turns, each after its role."""
        texts = [(turn.role, "\n".join(part.text for part in turn.parts)) for turn in self.shown.turns]
        return texts[0][1] if len(texts) == 1 else "\n\n".join(f"{role}: {text}" for role, text in texts)

    @property
    def left(self) -> str:
        """The text of the first answer."""
        return self.shown.sides[0].text

    @property
    def right(self) -> str:
        """The text of the second answer."""
        return self.shown.sides[1].text

    @property
    def texts(self) -> list[str]:
        """The text of each answer, in the order shown."""
        return [side.text for side in self.shown.sides]

    def _seconds(self, stated: float | None) -> float:
        """Those that are stated, by default those since the texts came."""
        return time.monotonic() - self._shown_at if stated is None else stated


class Item(Shown):
    """A pair, or a ranking of three or more answers, held for this account."""

    def __init__(
        self, session: Session, path: str, shown: answers.ShownItem, guidelines: int | None = None
    ) -> None:
        super().__init__(shown)
        self._session = session
        self._path = path
        self._guidelines = guidelines
        self.is_open = True

    def __repr__(self) -> str:
        return f"Item({self.comparison})"

    @property
    def comparison(self) -> int:
        return self.shown.comparison

    @property
    def earlier(self) -> answers.ShownVote | None:
        """The vote that a new one takes the place of; after `undo`."""
        return self.shown.vote

    def vote(self, answer: str, *, comment: str = "", seconds: float | None = None) -> answers.Voted:
        """Store a vote: left, right, tie, both_bad or cannot_judge; "left:2" = much better. seconds: how long
        it took; by default since the item came."""
        body: sent.Vote = {
            "comparison": self.shown.comparison,
            "claim": self.shown.claim,
            "key": str(self.shown.key),
            "answer": answer,
            "supersedes": self.earlier.supersedes if self.earlier else None,
            "guidelines": self._guidelines,
            "seconds": self._seconds(seconds),
            "comment": comment,
        }
        voted = answers.Voted.model_validate(self._session.post(f"{self._path}/judge", body))
        self.is_open = False
        return voted

    def rank(self, ranks: Sequence[int], *, comment: str = "") -> answers.Voted:
        """Store a ranking: the rank of each answer in the order shown, 1 = best."""
        return self.vote("ranks:" + ",".join(map(str, ranks)), comment=comment)

    def skip(self) -> None:
        """Give the item back: others get it first."""
        body: sent.Shown = {"comparison": self.shown.comparison, "claim": self.shown.claim}
        self._session.post(f"{self._path}/skip", body)
        self.is_open = False

    def flag(self, reason: str, note: str = "") -> None:
        """Flag the item for a reviewer: broken, unsafe, identity, prompt, language or other. A flag is not a
        vote: vote or skip as well."""
        body: sent.FlagSent = {
            "comparison": self.shown.comparison,
            "claim": self.shown.claim,
            "reason": reason,
            "note": note,
        }
        self._session.post(f"{self._path}/flag", body)

    def hold(self) -> bool:
        """Hold the item for as long again; False where it went to somebody else."""
        body: sent.HeldSent = {"have": [self.shown.comparison]}
        return bool(self._session.post(f"{self._path}/hold", body)["held"])


class Annotating:
    """The items for this account, one after the other. `ended` says why there are no more. An item that is
    neither voted on nor skipped stays held, and the next one comes."""

    def __init__(self, session: Session, dataset: int, *, again: bool) -> None:
        self._session = session
        self._path = f"/datasets/{dataset}/annotate"
        self._again = again
        self._given: list[Item] = []
        self.ended: answers.NothingLeft | None = None

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        self._given = [item for item in self._given if item.is_open]
        body: sent.Wanted = {"have": [item.comparison for item in self._given], "again": self._again}
        found = answers.NextItem.model_validate(self._session.post(f"{self._path}/claim", body))
        if found.item is None:
            self.ended = found.nothing_left
            if self.ended and self.ended.reason in ("paused", "must_qualify"):
                raise CannotVote(self.ended.detail)
            raise StopIteration
        self._given.append(Item(self._session, self._path, found.item, found.guidelines))
        return self._given[-1]


class KnownPair(Shown):
    """A pair of a try to qualify: its right answer is known, and told after the answer."""

    def __init__(self, session: Session, path: str, pair: answers.QualificationPair) -> None:
        super().__init__(pair.item)
        self._session = session
        self._path = path
        self.pair = pair.pair
        self.position = pair.position
        self.pairs = pair.pairs

    def answer(self, answer: str, *, seconds: float | None = None) -> answers.QualificationResult:
        """Answer left, right, tie or both_bad; which answer is right, and why."""
        body: sent.QualificationSent = {
            "pair": self.pair,
            "answer": answer,
            "seconds": self._seconds(seconds),
        }
        return answers.QualificationResult.model_validate(self._session.post(f"{self._path}/answer", body))


class Qualification:
    """The qualification of this account for a dataset: pairs with a known answer, before the first vote."""

    def __init__(self, session: Session, dataset: int) -> None:
        self._session = session
        self._path = f"/datasets/{dataset}/qualification"

    def standing(self) -> answers.QualificationStanding:
        """Whether the account must qualify, and how its last try went."""
        return answers.QualificationStanding.model_validate(self._session.get(self._path))

    def __iter__(self) -> Iterator[KnownPair]:
        """The pairs of one try, a new one or the open one: answer each. None where no try is due."""
        if self.standing().state not in ("due", "open"):
            return
        while True:
            now = answers.QualificationNow.model_validate(self._session.post(f"{self._path}/start"))
            if now.pair is None:
                return
            yield KnownPair(self._session, self._path, now.pair)
            if now.pair.position >= now.pair.pairs:
                return
