"""Datasets: find, create, settings, guidelines, clone, archive, delete."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, TypedDict, TypeVar, Unpack

from pydantic import BaseModel, PrivateAttr

from preference_workbench import answers, sent, session
from preference_workbench.annotating import Annotating, Item, Qualification
from preference_workbench.data import Data
from preference_workbench.errors import Changed
from preference_workbench.history import Chosen, history
from preference_workbench.models import DatasetModels, Model
from preference_workbench.people import Invitations, People, Tokens
from preference_workbench.pushing import ROWS_A_CHUNK, Pushed, Rows, push
from preference_workbench.releases import Releases
from preference_workbench.review import Review
from preference_workbench.runs import Job, Run, Runs
from preference_workbench.session import Resource, Session
from preference_workbench.uploads import Uploads
from preference_workbench.webhooks import Webhooks

M = TypeVar("M", bound=BaseModel)


class ImportOptions(TypedDict, total=False):
    """How to import, as on the page. columns: of a file, the column of each use."""

    format: str
    pairs: str
    minimum_gap: float | None
    max_pairs: int | None
    source: str
    licence: str
    no_labels: bool
    formula_safe: bool
    strip_citations: bool
    no_near_duplicates: bool
    columns: dict[str, str]


class Settings(answers.Settings, Resource):
    """The settings of a dataset as they were read; `update` changes them."""

    _path: str = PrivateAttr()
    _etag: str = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        by, self._path, self._etag = context
        super().model_post_init(by)

    @classmethod
    def read(cls, by: Session, path: str) -> Self:
        response = by.send("GET", path)
        return cls.model_validate(response.json(), context=(by, path, response.headers["ETag"]))

    def update(self, **changes: Unpack[sent.SettingsChange]) -> Self:
        """Change the settings that are named. Raises Changed where somebody changed any since they were
        read, unless they are now as wanted."""
        try:
            response = self._session.send("PATCH", self._path, body=changes, headers={"If-Match": self._etag})
        except Changed:
            # The first try may have been stored, and its answer lost.
            response = self._session.send("GET", self._path)
            now = response.json()
            if any(now[name] != value for name, value in changes.items()):
                raise
        self.__dict__.update(answers.Settings.model_validate(response.json()).__dict__)
        self._etag = response.headers["ETag"]
        return self


class Dataset(answers.DatasetOut, Resource):
    """A dataset."""

    @property
    def settings(self) -> Settings:
        """The settings as they are now."""
        return Settings.read(self._session, f"{self._path}/settings")

    @property
    def guidelines(self) -> answers.GuidelinesOut:
        """The version of the guidelines that annotators see."""
        return answers.GuidelinesOut.model_validate(self._session.get(f"{self._path}/guidelines"))

    def revise_guidelines(self, text: str, based_on: int | None = None) -> answers.GuidelinesOut:
        """Store the next version of the guidelines. based_on: the number of the version that it goes on from,
        the current one by default; Invalid where somebody stored another meanwhile."""
        number = self.guidelines.number if based_on is None else based_on
        body: sent.GuidelinesText = {"text": text, "based_on": number}
        return answers.GuidelinesOut.model_validate(self._session.post(f"{self._path}/guidelines", body))

    def push(
        self,
        rows: Rows,
        *,
        lenient: bool = False,
        progress: bool = False,
        chunk: int = ROWS_A_CHUNK,
        **options: Unpack[ImportOptions],
    ) -> Pushed:
        """Import rows, or a file by its path, and wait until they are stored.

        Rows are sent in chunks of `chunk`, each all or nothing. A bad row raises RowsRefused with its number;
        chunks before it are stored, and some after it may be: push all rows again once they are right, as
        what is there already adds nothing. lenient: leave bad rows out; they come back as `refused`."""
        return push(
            self._session, self.id, rows, lenient=lenient, progress=progress, chunk=chunk, options=options
        )

    def annotate(self, *, again: bool = False) -> Annotating:
        """The pairs for this account, one after the other, to vote on. again: also what it has skipped."""
        return Annotating(self._session, self.id, again=again)

    def undo(self) -> Item | None:
        """The last vote of this account, open again: vote anew to change it. None where there is none."""
        path = f"{self._path}/annotate"
        found = answers.Reopened.model_validate(self._session.post(f"{path}/reopen"))
        return Item(self._session, path, found.item) if found.item else None

    def own_progress(self) -> answers.OwnProgress:
        """How much this account has voted here."""
        return answers.OwnProgress.model_validate(self._session.get(f"{self._path}/annotate/progress"))

    def own_questions(self) -> Iterator[answers.OwnQuestion]:
        """The flags and comments of this account, and what became of them, newest first. Once it has read
        what became of a pair, its vote on the pair stands."""
        page = pages = 1
        while page <= pages:
            found = self._session.get(f"{self._path}/annotate/questions", {"page": page})
            questions = answers.OwnQuestions.model_validate(found)
            yield from questions.items
            page, pages = page + 1, questions.pages

    def read_examples(self) -> answers.GuidelinesWithExamples:
        """The guidelines with their examples. Who has read an example does not vote on its pair any more."""
        found = self._session.get(f"{self._path}/annotate/guidelines")
        return answers.GuidelinesWithExamples.model_validate(found)

    @property
    def qualification(self) -> Qualification:
        return Qualification(self._session, self.id)

    @property
    def uploads(self) -> Uploads:
        return Uploads(self._session, self.id)

    @property
    def data(self) -> Data:
        return Data(self._session, self.id)

    @property
    def releases(self) -> Releases:
        return Releases(self._session, self.id)

    def prompts(self, after: int = 0) -> Iterator[answers.PromptOut]:
        """The prompts by id, those after one."""
        return self._rows(answers.PromptOut, "prompts", after)

    def completions(self, after: int = 0) -> Iterator[answers.CompletionOut]:
        """The answers by id, those after one."""
        return self._rows(answers.CompletionOut, "completions", after)

    def comparisons(self, after: int = 0) -> Iterator[answers.ComparisonOut]:
        """The pairs with their texts by id, those after one."""
        return self._rows(answers.ComparisonOut, "comparisons", after)

    def scores(self, model: Model | int, after: int = 0) -> Iterator[answers.ScoreOut]:
        """What a model gives the answers."""
        return self._rows(answers.ScoreOut, f"models/{_number(model)}/scores", after)

    def suggestions(self, model: Model | int, after: int = 0) -> Iterator[answers.SuggestionOut]:
        """What a model says of the pairs: the score of a minus that of b."""
        return self._rows(answers.SuggestionOut, f"models/{_number(model)}/suggestions", after)

    def flags(self, after: int = 0) -> Iterator[answers.FlagOut]:
        """The flags, open and closed."""
        return self._rows(answers.FlagOut, "flags", after)

    def judgments(
        self, since: int = 0, *, follow: bool = False, every: float = 5.0
    ) -> Iterator[answers.VoteOut]:
        """The votes and imported labels in the order they came, those after the id `since`. follow: go on
        for ever, and look for new ones every so many seconds."""
        return self._followed(answers.VoteOut, "votes", since, every if follow else None)

    def decisions(
        self, since: int = 0, *, follow: bool = False, every: float = 5.0
    ) -> Iterator[answers.LabelOut]:
        """The final labels in the order they were made, those after the id `since`. follow: as of
        `judgments`."""
        return self._followed(answers.LabelOut, "labels", since, every if follow else None)

    def _rows(self, kind: type[M], name: str, after: int) -> Iterator[M]:
        return map(kind.model_validate, self._session.lines(f"{self._path}/{name}", start=after))

    def _followed(self, kind: type[M], name: str, since: int, every: float | None) -> Iterator[M]:
        while True:
            for row in self._session.lines(f"{self._path}/{name}", "since", since):
                since = row["id"]
                yield kind.model_validate(row)
            if every is None:
                return
            session.sleep(every)

    @property
    def review(self) -> Review:
        return Review(self._session, self.id)

    @property
    def people(self) -> People:
        return People(self._session, self.id)

    @property
    def invitations(self) -> Invitations:
        return Invitations(self._session, self.id)

    @property
    def tokens(self) -> Tokens:
        """The tokens of programs that reach the dataset."""
        return Tokens(self._session, self.id)

    @property
    def models(self) -> DatasetModels:
        return DatasetModels(self._session, self.id)

    def promote(self, model: Model, *, override: bool = False, reason: str = "") -> answers.PromotionOut:
        """Make a model the active one where it passes the gate of this dataset; Refused says why it does not.
        override: against the gate, for a reason that is kept."""
        return self.models.promote(model, override=override, reason=reason)

    def statistics(self) -> answers.StatisticsOut:
        """The stored figures. NotFound before the first vote is counted."""
        return answers.StatisticsOut.model_validate(self._session.get(f"{self._path}/statistics"))

    def quality(self, label_source: str = "people") -> answers.QualityOut:
        """The tables of the stored figures in words, without rows. label_source: people, imported or all.
        NotFound before the first vote is counted."""
        found = self._session.get(f"{self._path}/quality", {"label_source": label_source})
        return answers.QualityOut.model_validate(found)

    def quality_table(self, name: str, label_source: str = "people") -> answers.TableWithRows:
        """One table of the stored figures with its rows, by the name that `quality` has."""
        found = self._session.get(f"{self._path}/quality/{label_source}/{name}")
        return answers.TableWithRows.model_validate(found)

    def sources(self) -> answers.Boards:
        """Who writes the better answers: strengths, wins and votes of the sources. NotFound before the first
        vote is counted."""
        return answers.Boards.model_validate(self._session.get(f"{self._path}/sources"))

    def source_table(self, votes: str = "people") -> answers.TableWithRows:
        """The sources by strength, by one kind of votes: people, random or imported. NotFound where there are
        none."""
        return answers.TableWithRows.model_validate(self._session.get(f"{self._path}/sources/{votes}"))

    def leakage(self) -> answers.LeakageReport:
        """The newest report of prompts that are like test prompts. NotFound while there is none."""
        return answers.LeakageReport.model_validate(self._session.get(f"{self._path}/leakage"))

    def find_leakage(
        self, benchmark: str | os.PathLike[str] | None = None, *, column: str = ""
    ) -> Job[answers.LeakageReport]:
        """Look for prompts that are like test prompts of this dataset or of others. benchmark: a file to
        compare with too, JSON lines or a prompt a line; column: of its prompts, in JSON lines."""
        path = f"{self._path}/leakage"
        if benchmark is None:
            body: sent.LeakageWanted = {"column": column}
            document = self._session.post(path, body)
        else:
            file = Path(benchmark)
            asked = {"name": file.name, "column": column}
            document = self._session.send("POST", f"{path}/benchmark", content=file, params=asked).json()
        run = Run.model_validate(document, context=self._session)
        return Job(run, lambda _: self.leakage())

    def history(self, **chosen: Unpack[Chosen]) -> Iterator[answers.HistoryRow]:
        """What admins, reviewers and commands did here, newest first."""
        return history(self._session, f"{self._path}/history", chosen)

    @property
    def webhooks(self) -> Webhooks:
        return Webhooks(self._session, self.id)

    @property
    def runs(self) -> Runs:
        return Runs(self._session, f"{self._path}/runs")

    def clone(self, name: str) -> "Dataset":
        """A new dataset with the settings, guidelines and people of this one, and none of its data."""
        body: sent.Name = {"name": name}
        return Dataset.model_validate(self._session.post(f"{self._path}/clone", body), context=self._session)

    def archive(self) -> None:
        """Nobody votes in, imports into or changes an archived dataset; it can be read and brought back."""
        self._session.post(f"{self._path}/archive")

    def bring_back(self) -> None:
        """Use an archived dataset again."""
        self._session.post(f"{self._path}/bring-back")

    def delete(self, name: str) -> Run:
        """Delete the dataset and all that is in it. name: the dataset's, to confirm. There is no undo."""
        body: sent.Confirmed = {"name": name}
        return Run.model_validate(self._session.post(f"{self._path}/delete", body), context=self._session)

    @property
    def _path(self) -> str:
        return f"/datasets/{self.id}"


class Datasets:
    """The datasets that the token reaches."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __iter__(self) -> Iterator[Dataset]:
        for row in self._session.pages("/datasets"):
            yield Dataset.model_validate(row, context=self._session)

    def __getitem__(self, name_or_id: str | int) -> Dataset:
        """A dataset by its name or its number. Raises KeyError for a name, NotFound for a number."""
        if isinstance(name_or_id, int):
            row = self._session.get(f"/datasets/{name_or_id}")
            return Dataset.model_validate(row, context=self._session)
        for dataset in self:
            if dataset.name == name_or_id:
                return dataset
        raise KeyError(name_or_id)

    def create(self, name: str, /, **settings: Unpack[sent.SettingsChange]) -> Dataset:
        """A new dataset, with whichever settings differ from the usual. Needs an account of staff."""
        row = self._session.post("/datasets", {**settings, "name": name})
        return Dataset.model_validate(row, context=self._session)


def _number(model: Model | int) -> int:
    return model if isinstance(model, int) else model.id
