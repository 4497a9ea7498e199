"""Fetch files of a data set on the hub, pinned to a commit, as uploads: a Run that a worker carries out."""

import hashlib
import re
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from django.conf import settings
from django.core.files import File
from django.db import transaction

from scoring.rows.formats import endings, known_name
from scoring.rows.rows import escaped
from workbench.db.storage import stored
from workbench.models import Dataset, Run, Upload, User
from workbench.models.runs import FetchedFile, RunResult, UploadOrigin
from workbench.pipeline.history.recording import record_run
from workbench.pipeline.hub import hosts
from workbench.pipeline.imports.uploads import printable_name
from workbench.pipeline.outbound.addresses import HostRefused
from workbench.pipeline.runs.progress import Cancelled, Refused

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import DatasetInfo, RepoFile

MOST_LISTED = 500
MOST_READ = 10_000
"""Files of a repository that are looked at."""
MOST_FILES = 50
"""Files of a split that are fetched by one Run."""
MOST_SECONDS = 2 * 3600.0
BLOCK = 2**18
REPORT_SECONDS = 0.5


@dataclass(frozen=True)
class Order:
    """What to fetch. `wanted`: the path of a file, or the name of a split; "" only lists the files."""

    repository: str
    revision: str
    wanted: str


@dataclass(frozen=True)
class Received:
    """A file of the repository in a temporary file."""

    path: str
    size: int
    sha256: str
    file: IO[bytes]


def begin(dataset: Dataset, order: Order, by: User) -> Run:
    """A new Run, to be enqueued, that fetches into the dataset; the last one, while it is open and has the
    same order: a button pressed twice fetches once."""
    with transaction.atomic():
        Dataset.objects.select_for_update().get(pk=dataset.pk)
        for run in Run.objects.of(dataset).of_kind(Run.Kind.FETCH).open():
            if run.params == asdict(order):
                return run
        kind, params = Run.Kind.FETCH, asdict(order)
        return record_run(Run.objects.create(kind=kind, dataset=dataset, params=params, created_by=by))


def carry_out(run: Run, is_stopping: Callable[[], bool] = lambda: False) -> None:
    """List or fetch the files of the Run's order, and end the Run. All files become uploads, or none.

    Raises Refused with a sentence, and Cancelled; nothing is stored then.
    """
    from workbench.pipeline.hub.client import hub_client, in_words

    order = Order(**run.params)

    def report(done: int, total: int) -> None:
        if is_stopping() or not run.update_progress(done, total, run.result):
            raise Cancelled

    try:
        with ExitStack() as stack:
            with hub_client() as hub, in_words(order.repository, order.revision):
                info = hub.dataset_info(order.repository, revision=order.revision)
                if not info.sha:
                    raise Refused(f"{hosts.hub_host()} names no commit of {order.repository}.")
                files = _files_of(hub, order.repository, info.sha)
                run.result = _found(order, info, files)
                if not order.wanted:
                    run.finish(**run.result)
                    return
                chosen = _chosen(order.wanted, files, info)
                progress = Progress(sum(file.size for file in chosen), report)
                received = [
                    _receive(hub, order.repository, info.sha, file, progress, stack) for file in chosen
                ]
            _store(run, order, received)
    except HostRefused as refused:
        run.result = {**run.result, "missing_host": refused.host}
        raise


def _files_of(hub: "HfApi", repository: str, commit: str) -> list["RepoFile"]:
    from huggingface_hub.hf_api import RepoFile

    entries = hub.list_repo_tree(repository, revision=commit, recursive=True, repo_type="dataset")
    return [entry for entry in islice(entries, MOST_READ) if isinstance(entry, RepoFile)]


def _found(order: Order, info: "DatasetInfo", files: Sequence["RepoFile"]) -> RunResult:
    readable = [(file.path, file.size) for file in files if known_name(file.path)]
    return {
        "commit": info.sha or "",
        "revision": order.revision,
        "licence": _licence(info.card_data),
        "listing": readable[:MOST_LISTED],
        "listed": len(readable),
    }


def _licence(card: Any) -> str:
    """The licence that the card states, "" for none: a name, or the name beside "other"."""
    stated = getattr(card, "license", None)
    names = [name for name in (stated if isinstance(stated, list) else [stated]) if isinstance(name, str)]
    if names == ["other"] and isinstance(getattr(card, "license_name", None), str):
        names = [card.license_name]
    licence = ", ".join(escaped(name, 100) for name in names if name != "unknown")
    return licence[:100]


def _chosen(wanted: str, files: Sequence["RepoFile"], info: "DatasetInfo") -> list["RepoFile"]:
    """The file of that path, or the files of that split. Raises Refused."""
    by_path = {file.path: file for file in files}
    shown = f"“{escaped(wanted, 100)}”"
    if wanted in by_path:
        if not known_name(wanted):
            raise Refused(f"{shown} can’t be imported. Supported files: {endings()}.")
        chosen = [by_path[wanted]]
    else:
        chosen = [by_path[path] for path in _paths_of_split(wanted, list(by_path), info.card_data)]
    if not chosen:
        raise Refused(f"The repository has no file and no split {shown} that can be imported.")
    if len(chosen) > MOST_FILES:
        raise Refused(
            f"The split {shown} has {len(chosen)} files, more than {MOST_FILES}. Fetch them one by one."
        )
    limit = settings.UPLOAD_MAX_BYTES
    if (size := sum(file.size for file in chosen)) > limit:
        raise Refused(f"{shown} has {size:,} bytes, more than the limit of {limit:,} (UPLOAD_MAX_BYTES).")
    return chosen


def _paths_of_split(split: str, paths: Sequence[str], card: Any) -> list[str]:
    """The files of a split: by the patterns of the card, else those with its name in their path."""
    readable = [path for path in paths if known_name(path)]
    patterns = list(_patterns_of(split, getattr(card, "configs", None)))
    by_card = [path for path in readable if any(fnmatch(path, pattern) for pattern in patterns)]
    named = re.compile(rf"(^|[/_.\-]){re.escape(split)}([/_.\-]|$)", re.IGNORECASE)
    return by_card or [path for path in readable if named.search(path)]


def _patterns_of(split: str, configs: object) -> Iterator[str]:
    for config in configs if isinstance(configs, list) else ():
        of_config = config.get("data_files") if isinstance(config, dict) else None
        for part in of_config if isinstance(of_config, list) else ():
            if isinstance(part, dict) and part.get("split") == split:
                path = part.get("path")
                yield from (
                    item for item in (path if isinstance(path, list) else [path]) if isinstance(item, str)
                )


class Progress:
    """Counts the bytes of a download. report(kB so far, kB in all) is called now and then; what it raises
    ends the download."""

    def __init__(self, size: int, report: Callable[[int, int], None]) -> None:
        self._size, self._report = size, report
        self._done = 0
        self._began = time.monotonic()
        self._reported = 0.0

    def add(self, size: int) -> None:
        """Raises Refused where the download takes too long."""
        self._done += size
        now = time.monotonic()
        if now - self._began > MOST_SECONDS:
            raise Refused(f"The download took longer than {MOST_SECONDS / 3600:.0f} hours and was given up.")
        if now - self._reported < REPORT_SECONDS and self._done < self._size:
            return
        self._reported = now
        self._report(_kilobytes(self._done), _kilobytes(self._size))


def _kilobytes(size: int) -> int:
    return -(-size // 1000)


def _receive(
    hub: "HfApi", repository: str, commit: str, file: "RepoFile", progress: Progress, stack: ExitStack
) -> Received:
    """Download one file and check its size and digest. Raises Refused."""
    target: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # closed by the stack
    sha256 = download(hub, repository, commit, file, target, progress.add)
    target.seek(0)
    return Received(file.path, file.size, sha256, target)


def download(
    hub: "HfApi",
    repository: str,
    commit: str,
    file: "RepoFile",
    target: IO[bytes],
    add: Callable[[int], None],
    repo_type: str = "dataset",
) -> str:
    """Write one file of a repository, and return its sha256. add: told of each block's bytes; what it raises
    ends the download. Raises Refused for another size or digest than the hub has on record."""
    from workbench.pipeline.hub.client import opened

    sha256, blob = hashlib.sha256(), hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with opened(hub, repository, file.path, commit, repo_type) as response:
        for block in response.iter_raw(BLOCK):
            target.write(block)
            sha256.update(block)
            blob.update(block)
            add(len(block))
            if target.tell() > file.size:
                break
    named = f"“{escaped(file.path, 100)}”"
    if target.tell() != file.size:
        raise Refused(f"{named} arrived with another size than the hub says. Nothing was stored; try again.")
    expected, found = (file.lfs.sha256, sha256) if file.lfs else (file.blob_id, blob)
    if found.hexdigest() != expected:
        raise Refused(
            f"{named} arrived with another checksum than the hub says. Nothing was stored; try again."
        )
    return sha256.hexdigest()


def _store(run: Run, order: Order, received: Iterable[Received]) -> None:
    """Store each file as an upload of the Run's dataset, and finish the Run with them. Raises Cancelled."""
    with ExitStack() as stack:
        uploads = [
            Upload(
                pk=(pk := uuid.uuid4()),
                dataset=run.dataset,
                shown_name=printable_name(one.path.rpartition("/")[2]),
                path=stack.enter_context(stored(f"uploads/{pk}", File(one.file))),
                size=one.size,
                sha256=one.sha256,
                origin=_origin(run, order, one.path),
                uploaded_by=run.created_by,
            )
            for one in received
        ]
        fetched: list[FetchedFile] = [
            {
                "path": upload.origin["path"],
                "bytes": upload.size,
                "sha256": upload.sha256,
                "upload": str(upload.pk),
            }
            for upload in uploads
        ]
        result: RunResult = {**run.result, "fetched": fetched}
        with transaction.atomic():
            Upload.objects.bulk_create(uploads)
            if not run.finish(**result):
                raise Cancelled


def _origin(run: Run, order: Order, path: str) -> UploadOrigin:
    return {
        "hub": hosts.hub_host(),
        "repository": order.repository,
        "revision": order.revision,
        "commit": run.result["commit"],
        "path": path,
        "licence": run.result["licence"],
    }
