"""Uploaded files: send one or fetch it from the hub, preview it, import it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack
from uuid import UUID

from preference_workbench import answers, sent
from preference_workbench.runs import Job, Run
from preference_workbench.session import Resource, Session


class Upload(answers.UploadOut, Resource):
    """An uploaded file. The options are those of the Import page."""

    def preview(self, **options: Unpack[sent.ImportWanted]) -> answers.PreviewOut:
        """What an import of the first 1,000 rows would store, and the problems. Stores nothing."""
        document = self._session.post(f"/uploads/{self.id}/preview", options)
        return answers.PreviewOut.model_validate(document)

    def load(self, **options: Unpack[sent.ImportWanted]) -> Run:
        """Import the file: all of it or nothing, unless lenient. The `result` of the run has the counts."""
        document = self._session.post(f"/uploads/{self.id}/import", options)
        return Run.model_validate(document, context=self._session)

    def delete(self) -> None:
        """Delete the file and its refused rows; what was imported stays. Raises Problem while a run reads
        it."""
        self._session.send("DELETE", f"/uploads/{self.id}")


class Uploads:
    """The files that were sent to a dataset or fetched for it."""

    def __init__(self, session: Session, dataset: int) -> None:
        self._session = session
        self._path = f"/datasets/{dataset}"

    def __iter__(self) -> Iterator[Upload]:
        """Latest first."""
        return map(self._of, self._session.newest_first(f"{self._path}/uploads"))

    def __getitem__(self, upload: UUID | str) -> Upload:
        """The uploaded file of this id. Raises NotFound."""
        return self._of(self._session.get(f"/uploads/{upload}"))

    def send(self, path: str | os.PathLike[str]) -> Upload:
        """Send a file. Nothing is imported yet."""
        file = Path(path)
        answer = self._session.send("POST", f"{self._path}/uploads", content=file, params={"name": file.name})
        return self._of(answer.json())

    def files_on_hub(self, repository: str, revision: str = "") -> Job[list[str]]:
        """The paths of the files of a data set (owner/name) on the hub that can be imported."""
        return Job(
            self._fetched(repository, "", revision), lambda run: [path for path, _ in run.result["listing"]]
        )

    def fetch(self, repository: str, wanted: str, revision: str = "") -> Job[list[Upload]]:
        """Have a worker fetch files of a data set (owner/name) on the hub. wanted: the path of a file, or the
        name of a split; revision: main by default."""
        return Job(
            self._fetched(repository, wanted, revision),
            lambda run: [self[file["upload"]] for file in run.result["fetched"]],
        )

    def _fetched(self, repository: str, wanted: str, revision: str) -> Run:
        body: sent.FetchWanted = {"repository": repository, "wanted": wanted, "revision": revision}
        return Run.model_validate(self._session.post(f"{self._path}/fetches", body), context=self._session)

    def _of(self, document: dict[str, Any]) -> Upload:
        return Upload.model_validate(document, context=self._session)
