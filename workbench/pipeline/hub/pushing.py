"""Push a Release to a repository on the hub, as one commit with a tag: a Run that a worker carries out."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction

from scoring.rows.rows import escaped
from workbench.models import Dataset, Release, Run, User
from workbench.pipeline.history.recording import record_run
from workbench.pipeline.outbound.addresses import HostRefused
from workbench.pipeline.releases.building import ReleaseError, copy_to
from workbench.pipeline.releases.manifest import NAME as MANIFEST
from workbench.pipeline.runs.lifecycle import heartbeats
from workbench.pipeline.runs.progress import Cancelled, Progress, Refused, never_stop

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

BRANCH = "main"
BLOCK = 2**20
OF_THE_HUB = frozenset({".gitattributes", "README.md"})
"""Files that a new repository may have."""
NO_TOKEN = "There is no token: set HF_TOKEN for the workers to one that may write to the repository."  # noqa: S105


@dataclass(frozen=True)
class Order:
    release: str
    repository: str
    private: bool


@dataclass(frozen=True)
class Pushed:
    """The commit that holds the files. `unchanged`: it was there before."""

    commit: str
    url: str
    unchanged: bool = False


def begin(release: Release, repository: str, by: User, *, private: bool = True) -> Run:
    """A new Run, to be enqueued, that pushes the release; the open one, if there is one: a button pressed
    twice pushes once."""
    order = Order(str(release.pk), repository, private)
    with transaction.atomic():
        Dataset.objects.select_for_update().get(pk=release.dataset_id)
        for run in pushes_of(release):
            if run.is_open:
                return run
        run = Run.objects.create(
            kind=Run.Kind.PUSH, dataset=release.dataset, params=asdict(order), created_by=by
        )
        return record_run(run)


def pushes_of(release: Release) -> list[Run]:
    """The pushes of a release, the latest first."""
    runs = Run.objects.of(release.dataset).of_kind(Run.Kind.PUSH)
    return list(runs.filter(params__release=str(release.pk)).select_related("created_by"))


def carry_out(run: Run, is_stopping: Callable[[], bool] = lambda: False) -> None:
    """Push the Run's release and finish the Run with the commit. Raises Refused with a sentence, and
    Cancelled; files that arrived stay on the hub without a commit, and are not sent again."""
    from workbench.pipeline.hub.client import hub_client, in_words

    order = Order(**run.params)
    release = Release.objects.ready().filter(pk=order.release).first()
    if release is None:
        raise Refused("The release of this push is gone.")
    if not settings.HUB_TOKEN:
        raise Refused(NO_TOKEN)
    try:
        with tempfile.TemporaryDirectory() as scratch, heartbeats(run) as advance:
            folder = Path(scratch) / "release"
            try:
                copy_to(release, folder)
            except ReleaseError as error:
                raise Refused(str(error)) from None

            def progress(done: int, total: int) -> bool:
                advance()
                return not is_stopping() and run.update_progress(done, total)

            with hub_client() as hub, in_words(order.repository):
                pushed = push(hub, folder, release.number, order.repository, order.private, progress)
    except HostRefused as refused:
        run.result = {**run.result, "missing_host": refused.host}
        raise
    run.finish(repository=order.repository, commit=pushed.commit, url=pushed.url, unchanged=pushed.unchanged)


def push(
    hub: "HfApi",
    folder: Path,
    number: int,
    repository: str,
    private: bool,
    progress: Progress = never_stop,
    *,
    replaces: bool = False,
) -> Pushed:
    """Make the repository hold the files of the folder and no others, by one commit with a tag.

    Nothing is sent where the repository holds them already. `replaces`: files there that are of no release of
    this dataset may go. Raises Refused, Cancelled and errors of huggingface_hub.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    hub.create_repo(repository, repo_type="dataset", private=private or None, exist_ok=True)
    info = hub.dataset_info(repository)
    if private and info.private is False:
        raise Refused(f"{repository} is public. Untick “Private” to push to it all the same.")
    there = _files_of(hub, repository)
    local = {path.name: path for path in sorted(folder.iterdir())}
    gone = there.keys() - local.keys() - {".gitattributes"}
    if not replaces:
        _refuse_foreign(hub, repository, there, local)
    if not gone and all(name in there and _is_same(path, there[name]) for name, path in local.items()):
        commit = info.sha or ""
        hub.create_tag(
            repository, repo_type="dataset", tag=f"release-{number}", revision=commit, exist_ok=True
        )
        return Pushed(commit, f"{hub.endpoint}/datasets/{repository}/commit/{commit}", unchanged=True)
    additions = [CommitOperationAdd(name, path) for name, path in local.items()]
    for done, addition in enumerate(additions):
        if not progress(done, len(additions)):
            raise Cancelled
        # One by one: each is a step of the progress, and no other thread makes requests.
        hub.preupload_lfs_files(
            repository, [addition], repo_type="dataset", revision=BRANCH, num_threads=1, free_memory=False
        )
    if not progress(len(additions), len(additions)):
        raise Cancelled
    commit_info = hub.create_commit(
        repository,
        [*(CommitOperationDelete(name) for name in sorted(gone)), *additions],
        commit_message=f"Release {number}",
        repo_type="dataset",
        revision=BRANCH,
        parent_commit=info.sha,
        num_threads=1,
    )
    hub.create_tag(
        repository, repo_type="dataset", tag=f"release-{number}", revision=commit_info.oid, exist_ok=True
    )
    return Pushed(commit_info.oid, str(commit_info.commit_url))


def _files_of(hub: "HfApi", repository: str) -> dict[str, "RepoFile"]:
    from huggingface_hub.errors import EntryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    try:
        entries = list(hub.list_repo_tree(repository, recursive=True, revision=BRANCH, repo_type="dataset"))
    except EntryNotFoundError:
        return {}  # no commit yet
    return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def _refuse_foreign(
    hub: "HfApi", repository: str, there: Mapping[str, "RepoFile"], local: Mapping[str, Path]
) -> None:
    """Raise Refused if the repository holds files that are no release of this dataset: the push would remove
    them."""
    foreign = sorted(there.keys() - OF_THE_HUB)
    if not foreign:
        return
    ours = json.loads(local[MANIFEST].read_bytes())["dataset"]["name"]
    if MANIFEST not in there or _dataset_of(hub, repository) != ours:
        shown = ", ".join(escaped(name, 60) for name in foreign[:3])
        raise Refused(
            f"{repository} holds files that are no release of this dataset ({shown}). Choose a new one."
        )


def _dataset_of(hub: "HfApi", repository: str) -> str | None:
    """The name of the dataset in the manifest of the repository."""
    from workbench.pipeline.hub.client import opened

    try:
        with opened(hub, repository, MANIFEST, BRANCH) as answer:
            return str(json.loads(answer.read())["dataset"]["name"])
    except (KeyError, TypeError, json.JSONDecodeError):
        return None


def _is_same(path: Path, there: "RepoFile") -> bool:
    digest, expected = hashlib.sha256(), there.lfs.sha256 if there.lfs else there.blob_id
    if not there.lfs:
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest() == expected
