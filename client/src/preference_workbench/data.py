"""Data: find prompts, act on many at once and undo it, saved views, more pairs, similar prompts, topics."""

from collections.abc import Iterator
from typing import Any, Literal, TypedDict, Unpack, cast

from preference_workbench import answers, sent
from preference_workbench.runs import Run
from preference_workbench.session import Resource, Session

PROMPTS = 1_000
"""In one answer."""

ActKind = Literal[
    "tag", "untag", "exclude", "restore", "review", "gold", "overlap", "priority", "rescore", "paired", "copy"
]


class ActOptions(TypedDict, total=False):
    """Which prompts, and the fields of the act, as on the page. Name the prompts by `prompts` (and some of
    their pairs by `pairs`), or by `query`: all that the selection finds, "" = all."""

    prompts: list[int]
    pairs: list[int]
    query: str
    tag: str
    where: str
    excluded_reason: str
    review_note: str
    gold_note: str
    gold_outcome: str
    people: int
    policy: str
    per_prompt: int
    to: int
    to_name: str


class Act(answers.ActOut, Resource):
    """An act of the history of the data."""

    def undo(self) -> answers.UndoneOut:
        """Give back what the act changed, where nothing came after it. Raises Refused where it was undone."""
        return answers.UndoneOut.model_validate(self._session.post(f"/acts/{self.id}/undo"))


class View(answers.ViewOut, Resource):
    """A saved selection; its `query` finds the same prompts again."""

    def delete(self) -> None:
        """Delete the view. Its prompts stay."""
        self._session.post(f"/views/{self.id}/delete")


class Views:
    """The saved views of a dataset: one's own, and the shared ones."""

    def __init__(self, session: Session, path: str) -> None:
        self._session = session
        self._path = path

    def __iter__(self) -> Iterator[View]:
        return map(self._of, self._session.get(self._path)["items"])

    def __getitem__(self, name: str) -> View:
        """The view of this name. Raises KeyError."""
        for view in self:
            if view.name == name:
                return view
        raise KeyError(name)

    def save(self, name: str, query: str, *, shared: bool = False) -> View:
        """Save a selection by a name. shared: everybody who sees the Data page sees it."""
        body: sent.NewView = {"name": name, "query": query, "shared": shared}
        return self._of(self._session.post(self._path, body))

    def _of(self, document: dict[str, Any]) -> View:
        return View.model_validate(document, context=self._session)


class Found:
    """The prompts that a selection finds, in its order. prompts, pairs: how many."""

    def __init__(self, session: Session, path: str, query: str) -> None:
        self._session = session
        self._path = path
        self._query = query
        self._first = self._page(0)
        self.prompts = self._first.prompts
        self.pairs = self._first.pairs

    def __len__(self) -> int:
        return self.prompts

    def __iter__(self) -> Iterator[answers.FoundPrompt]:
        page = self._first
        yield from page.items
        while page.next_start is not None:
            page = self._page(page.next_start)
            yield from page.items

    def _page(self, start: int) -> answers.FoundPrompts:
        found = self._session.get(self._path, {"query": self._query, "start": start, "limit": PROMPTS})
        return answers.FoundPrompts.model_validate(found)


class Data:
    """The Data page of a dataset. A query is written as in the address of the page: source=gpt-4&q=salt."""

    def __init__(self, session: Session, dataset: int) -> None:
        self._session = session
        self._path = f"/datasets/{dataset}"

    def find(self, query: str = "") -> Found:
        """The prompts that a selection finds. Raises Invalid for a query that is none."""
        return Found(self._session, f"{self._path}/find", query)

    def prompt(self, number: int) -> answers.PromptPage:
        """One prompt with its answers, pairs, votes and history, as on its page."""
        return answers.PromptPage.model_validate(self._session.get(f"/prompts/{number}"))

    def facets(self, query: str = "") -> answers.FacetsOut:
        """The fields to choose prompts by, with a count for each value among those that the query finds."""
        return answers.FacetsOut.model_validate(self._session.get(f"{self._path}/facets", {"query": query}))

    def tags(self) -> list[str]:
        """The words that prompts are tagged with."""
        return answers.Tags.model_validate(self._session.get(f"{self._path}/tags")).items

    @property
    def views(self) -> Views:
        return Views(self._session, f"{self._path}/views")

    def preview(self, kind: ActKind, **options: Unpack[ActOptions]) -> answers.ActExtent:
        """What an act would change, and what it would leave with the reason. Changes nothing."""
        document = self._session.post(f"{self._path}/acts/preview", _wanted(kind, options))
        return answers.ActExtent.model_validate(document)

    def act(self, kind: ActKind, **options: Unpack[ActOptions]) -> Act:
        """Do an act to prompts, all of them or none. It can be undone."""
        return self._act(self._session.post(f"{self._path}/acts", _wanted(kind, options)))

    def acts(self) -> Iterator[Act]:
        """Who did what to the data, the oldest first."""
        return map(self._act, self._session.pages(f"{self._path}/acts"))

    def preview_pairs(self, **wanted: Unpack[sent.PairsWanted]) -> answers.PairsPreview:
        """How many more pairs there could be of the answers that there are, and what they would cost."""
        document = self._session.post(f"{self._path}/pairs/preview", wanted)
        return answers.PairsPreview.model_validate(document)

    def make_pairs(self, **wanted: Unpack[sent.PairsWanted]) -> Act | None:
        """Make more pairs of the answers that there are; None where there are no such pairs. Undoing the act
        leaves the pairs that somebody has begun."""
        made = self._session.post(f"{self._path}/pairs", wanted)["act"]
        return None if made is None else self._act(made)

    def similar(
        self, *, prompt: int | None = None, completion: int | None = None, limit: int = 30
    ) -> list[answers.SimilarPrompt]:
        """The prompts most like a prompt or an answer, the nearest first. Raises Refused while the text has
        no vector."""
        asked = {"prompt": prompt, "completion": completion, "limit": limit}
        return answers.SimilarPrompts.model_validate(self._session.get(f"{self._path}/similar", asked)).items

    def topics(self) -> list[answers.TopicOut]:
        """The topics with their figures, by number."""
        return answers.Topics.model_validate(self._session.get(f"{self._path}/topics")).items

    def renew_topics(self) -> Run:
        """Compute the topics now."""
        return Run.model_validate(self._session.post(f"{self._path}/topics"), context=self._session)

    def groups(self) -> Iterator[answers.GroupOut]:
        """Groups of several prompts that are the same or nearly the same, the largest first."""
        return map(answers.GroupOut.model_validate, self._session.pages(f"{self._path}/groups"))

    def _act(self, document: dict[str, Any]) -> Act:
        return Act.model_validate(document, context=self._session)


def _wanted(kind: ActKind, options: ActOptions) -> sent.ActWanted:
    return cast(sent.ActWanted, {**options, "kind": kind})
