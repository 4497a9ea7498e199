"""Releases: build, download, load."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack
from uuid import UUID

import httpx2

from preference_workbench import answers, sent, session
from preference_workbench.errors import Damaged, Unreachable
from preference_workbench.runs import Job, Run
from preference_workbench.session import Resource, Session

if TYPE_CHECKING:
    from datasets import DatasetDict  # type: ignore[import-untyped]

MANIFEST = "manifest.json"
READERS = {"jsonl": "json", "parquet": "parquet", "csv": "csv"}
"""Format -> the builder of `datasets` that reads it."""


class Release(answers.ReleaseWithManifest, Resource):
    """A release with its manifest. It never changes."""

    def download(self, folder: str | os.PathLike[str], *, profile: str | None = None) -> Path:
        """Download the files, or those of one profile, and check their sha256; the folder. A download that
        broke off goes on where it stopped, and a file that is there is not sent again. Raises Damaged."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for name, facts in self.manifest["files"].items():
            if profile is None or facts["profile"] in (profile, None):
                self._download(target / Path(name).name, name, facts)
        (target / MANIFEST).write_bytes(self._session.send("GET", f"{self._path}/files/{MANIFEST}").content)
        return target

    def load(
        self,
        profile: str | None = None,
        *,
        format: str | None = None,  # noqa: A002
        folder: str | os.PathLike[str] | None = None,
    ) -> "DatasetDict":
        """The rows by split, as `datasets` has them; needs `datasets`. profile, format: which ones, where the
        release has several. folder: where its files are kept; by default below ~/.cache."""
        from datasets import DatasetDict, load_dataset

        chosen = profile or self.profiles[0]
        kind = format or self.formats[0]
        files = {
            facts["split"]: name
            for name, facts in self.manifest["files"].items()
            if (facts["profile"], facts["format"]) == (chosen, kind) and facts["split"]
        }
        if not files:
            raise ValueError(f"This release has no rows of “{chosen}” as {kind}.")
        at = self.download(folder or _cache() / str(self.id), profile=chosen)
        paths = {split: str(at / Path(name).name) for split, name in files.items()}
        features = _features(self.manifest["profiles"][chosen]["columns"], kind)
        loaded = load_dataset(READERS[kind], data_files=paths, features=features)
        return DatasetDict(loaded)

    def check(self) -> answers.ReleaseCheck:
        """Have the workbench compare its stored files with their hashes."""
        return answers.ReleaseCheck.model_validate(self._session.get(f"{self._path}/check"))

    def changes_since(self, other: "Release") -> answers.ReleaseChange:
        """What changed since another release of the dataset."""
        found = self._session.get(f"{self._path}/changes-since/{other.id}")
        return answers.ReleaseChange.model_validate(found)

    def downloads(self) -> Iterator[answers.DownloadOut]:
        """Who downloaded which file, and when, the oldest first."""
        return map(answers.DownloadOut.model_validate, self._session.pages(f"{self._path}/downloads"))

    def training_outlook(self) -> answers.TrainingOutlook:
        """What a training on the release would learn from. Raises Refused where there can be none."""
        found = self._session.get(f"{self._path}/training-outlook")
        return answers.TrainingOutlook.model_validate(found)

    def push(self, repository: str, *, private: bool = True) -> Run:
        """Push the release to a repository (owner/name) on the hub."""
        body: sent.PushWanted = {"repository": repository, "private": private}
        return Run.model_validate(self._session.post(f"{self._path}/pushes", body), context=self._session)

    def pushes(self) -> list[Run]:
        """The pushes to the hub, the latest first. Their `result` names repository and commit."""
        found = self._session.get(f"{self._path}/pushes")["items"]
        return [Run.model_validate(row, context=self._session) for row in found]

    @property
    def _path(self) -> str:
        return f"/releases/{self.id}"

    def _download(self, target: Path, name: str, facts: Mapping[str, Any]) -> None:
        sha256 = facts["sha256"]
        if target.exists() and _sha256(target) == sha256:
            return
        part = target.with_name(f"{target.name}.part")
        for _ in range(2):  # the second time where the beginning that was there already is another file's
            _fetch(self._session, f"{self._path}/files/{name}", part, facts)
            if _sha256(part) == sha256:
                part.replace(target)
                return
            part.unlink()
        raise Damaged(f"{name} does not have the sha256 of the manifest. Check the release.")


class Releases:
    """The releases of a dataset."""

    def __init__(self, session: Session, dataset: int) -> None:
        self._session = session
        self._path = f"/datasets/{dataset}/releases"

    def __iter__(self) -> Iterator[Release]:
        """Those that are ready, oldest first."""
        for row in self._session.pages(self._path):
            if row["is_ready"]:
                yield self._read(row["id"])

    def __getitem__(self, number: int) -> Release:
        """The release of this number. Raises KeyError."""
        found = self._session.get(self._path, {"after": number - 1, "limit": 1})["items"]
        if not found or found[0]["number"] != number:
            raise KeyError(number)
        return self._read(found[0]["id"])

    def latest(self) -> Release | None:
        """The newest one that is ready."""
        ready = [row["id"] for row in self._session.pages(self._path) if row["is_ready"]]
        return self._read(ready[-1]) if ready else None

    def kinds(self) -> answers.ReleaseKinds:
        """The purposes, profiles and formats that a release may have."""
        return answers.ReleaseKinds.model_validate(self._session.get("/releases/kinds"))

    def count(self, profile: str = "", **wanted: Unpack[sent.ReleaseWanted]) -> answers.ReleaseCount:
        """What a release would hold, and what it would leave out and why."""
        document = self._session.post(f"{self._path}/count", _recipe(profile, wanted))
        return answers.ReleaseCount.model_validate(document)

    def build(self, profile: str = "", **wanted: Unpack[sent.ReleaseWanted]) -> Job[Release]:
        """Build a release of today's final labels; `wait` for it. Name a profile, or a purpose."""
        document = self._session.post(self._path, _recipe(profile, wanted))
        run = Run.model_validate(document, context=self._session)
        return Job(run, lambda done: self._read(done.release_id))

    def _read(self, release: UUID | str | None) -> Release:
        return Release.model_validate(self._session.get(f"/releases/{release}"), context=self._session)


def _recipe(profile: str, wanted: sent.ReleaseWanted) -> sent.ReleaseWanted:
    profiles = [*([profile] if profile else []), *wanted.get("profiles", [])]
    return {**wanted, "profiles": profiles} if profiles else wanted


def _fetch(at: Session, path: str, part: Path, facts: Mapping[str, Any]) -> None:
    """Download what `part` lacks. An answer that breaks off goes on where it stopped."""
    for tried in range(1, at.tries + 1):
        have = part.stat().st_size if part.exists() else 0
        if have == facts["bytes"] > 0:
            return
        goes_on = {"Range": f"bytes={have}-", "If-Range": f'"{facts["sha256"]}"'}
        headers = goes_on if 0 < have < facts["bytes"] else {}
        # Bytes of the file itself: those of a compressed answer could not go on.
        headers["Accept-Encoding"] = "identity"
        try:
            with at.opened(path, headers=headers) as response, part.open("ab") as file:
                if response.status_code != 206:
                    file.truncate(0)
                for piece in response.iter_bytes():
                    file.write(piece)
            return
        except httpx2.TransportError as error:
            if tried == at.tries:
                raise Unreachable(f"{at.url} breaks off its answers: {error}") from error
            session.sleep(0.1 * tried)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "preference-workbench"


def _features(columns: dict[str, str], kind: str) -> Any:
    """The types of the columns, as the workbench checked them; None where the files say them."""
    if kind != "jsonl":
        return None
    from datasets import Features, Json, List, Value

    text = Value("string")
    message = {"role": text, "content": text}
    turn = {"from": text, "value": text}
    types = {
        "message": message,
        "messages": List(message),
        "turn": turn,
        "turns": List(turn),
        "object": Json(),
        "objects": List(Json()),
    }
    return Features({name: types.get(of) or Value(of) for name, of in columns.items()})
