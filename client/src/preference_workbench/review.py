"""Review: the cases that wait for a reviewer."""

from collections.abc import Iterator

from preference_workbench import answers, sent
from preference_workbench.session import Params, Resource, Session


class Case(answers.ReviewCase, Resource):
    """One pair with its votes, flags, model picks and final labels. Its answers are `a` and `b`."""

    def settle(
        self, outcome: str, reason: str = "", note: str = "", *, blind_outcome: str = ""
    ) -> answers.CaseDecision:
        """Give the pair its final label: a, b, tie, both_bad or drop. reason: model_wrong, slip, ambiguous,
        guideline_gap or bad_data; the last two want a note. Raises Refused where somebody voted, flagged or
        settled since the case was read."""
        body: sent.Settling = {
            "outcome": outcome,
            "seen": self.seen,
            "reason": reason,
            "note": note,
            "blind_outcome": blind_outcome,
        }
        return answers.CaseDecision.model_validate(self._session.post(f"{self._path}/settle", body))

    def unsettle(self, decision: int) -> None:
        """Undo a reviewer's decision: what stood before it stands again."""
        body: sent.Unsettling = {"decision": decision}
        self._session.post(f"{self._path}/unsettle", body)

    def gold(self, outcome: str, note: str = "") -> None:
        """Use the pair as a check with this known answer; "" = stop using it. note: why it is right."""
        body: sent.KnownAnswer = {"outcome": outcome, "note": note}
        self._session.post(f"{self._path}/gold", body)

    def reply(self, annotator: int, text: str, *, closes_flag: bool = False) -> answers.Written:
        """Reply to whoever flagged the pair or commented on it."""
        body: sent.ReplyText = {"annotator": annotator, "text": text, "closes_flag": closes_flag}
        return answers.Written.model_validate(self._session.post(f"{self._path}/reply", body))

    def undo_reply(self, reply: int) -> answers.Written:
        """Put back the reply that was there before, by the number of the newer one."""
        return answers.Written.model_validate(self._session.post(f"/replies/{reply}/undo"))

    def make_example(self, text: str) -> answers.Written:
        """Show the pair as an example in the guidelines, with why its label is right; "" takes it back."""
        body: sent.ExampleText = {"text": text}
        return answers.Written.model_validate(self._session.post(f"{self._path}/example", body))

    def undo_example(self, example: int) -> answers.Written:
        """Put back the example that was there before, by the number of the newer one."""
        return answers.Written.model_validate(self._session.post(f"/examples/{example}/undo"))

    @property
    def _path(self) -> str:
        return f"/review/{self.comparison}"


class Review:
    """The cases of a dataset that wait for a reviewer."""

    def __init__(self, session: Session, dataset: int) -> None:
        self._session = session
        self._path = f"/datasets/{dataset}/review"

    def __iter__(self) -> Iterator[Case]:
        return self.cases()

    def __getitem__(self, comparison: int) -> Case:
        """Any pair, whether it waits or not."""
        return Case.model_validate(self._session.get(f"/review/{comparison}"), context=self._session)

    def cases(self, queue: str = "", *, where: str = "", q: str = "", order: str = "") -> Iterator[Case]:
        """The cases in order. queue: people, labels, model or all; where: a selection as the Data page writes
        it; q: words to search for; order: value, surest, oldest or newest."""
        for row in self.rows(queue, where=where, q=q, order=order):
            yield self[row.comparison]

    def rows(
        self, queue: str = "", *, where: str = "", q: str = "", order: str = ""
    ) -> Iterator[answers.ReviewRow]:
        """The lines of the queue, without texts: see `cases`."""
        asked: Params = {"queue": queue, "where": where, "q": q, "order": order, "limit": 100}
        goes_on: Params = {}
        while True:
            page = answers.ReviewRows.model_validate(self._session.get(self._path, {**asked, **goes_on}))
            yield from page.items
            if not page.after:
                return
            goes_on = {"after": page.after, "as_of": page.as_of, "version": page.version}

    def counts(self) -> answers.ReviewCounts:
        """How many cases each queue has, and each further filter leaves."""
        return answers.ReviewCounts.model_validate(self._session.get(f"{self._path}/counts"))

    def gaps(self) -> Iterator[answers.Gap]:
        """The pairs that reviewers settled for a gap of the guidelines."""
        return map(answers.Gap.model_validate, self._session.pages(f"{self._path}/gaps"))
