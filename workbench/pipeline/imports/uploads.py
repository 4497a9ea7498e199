"""Uploaded files in Django's storage."""

import hashlib
import io
import uuid
from collections.abc import Sequence

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.db import transaction

from scoring.rows.rows import escaped
from workbench.db.storage import stored
from workbench.models import Dataset, Run, Upload, User
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.runs.progress import Refused
from workbench.upload_handlers import ReceivedFile

SAMPLES = {
    "pairs.jsonl": "better and worse answers",
    "two-answers.csv": "two answers, not yet voted on",
    "ranked-chats.jsonl": "conversations with ranked answers",
}
"""Files in demo/samples to try the import with, and what is in them, in page words."""


def keep(file: ReceivedFile, dataset: Dataset, user: User) -> Upload:
    """Store the file under a name of our own, with its row."""
    return _keep(file, file.digest.hexdigest(), dataset, user)


def keep_sample(name: str, dataset: Dataset, user: User) -> Upload:
    """As `keep`, one of SAMPLES."""
    content = (settings.BASE_DIR / "demo" / "samples" / name).read_bytes()
    return _keep(File(io.BytesIO(content), name), hashlib.sha256(content).hexdigest(), dataset, user)


def _keep(file: "File[bytes]", sha256: str, dataset: Dataset, user: User) -> Upload:
    pk = uuid.uuid4()
    with stored(f"uploads/{pk}", file) as path, transaction.atomic():
        upload = Upload.objects.create(
            pk=pk,
            dataset=dataset,
            shown_name=printable_name(file.name or ""),
            path=path,
            size=file.size or 0,
            sha256=sha256,
            uploaded_by=user,
        )
        record(Kind.UPLOADED, by=user, dataset=dataset, target=upload)
        return upload


def printable_name(name: str) -> str:
    """The sender's name of a file, printable and of at most 100 characters; the ending stays."""
    name = escaped(name, 1000)
    return name if len(name) <= 100 else f"{name[:59]}…{name[-40:]}"


def rejects_path(run: Run) -> str:
    """Where the bad rows of the Run's file are stored, if it has any."""
    return f"uploads/{run.upload_id}-rejected-{run.pk}.jsonl"


def has_rejects(run: Run) -> bool:
    """Whether the Run has ended and has a file of bad rows."""
    return not run.is_open and default_storage.exists(rejects_path(run))


def remove(upload: Upload, by: User) -> None:
    """Delete the uploaded file and the files of its bad rows; what was imported stays. Raises Refused while a
    Run reads the file."""
    with transaction.atomic():
        Dataset.objects.select_for_update(no_key=True).get(pk=upload.dataset_id)  # as a Run begins
        if (run := upload.latest_run) and run.is_open:
            raise Refused(f"{upload} is being read by {run}. Cancel that first.")
        paths = _files_of(upload)
        record(Kind.FILE_REMOVED, by=by, dataset=upload.dataset_id, target=upload)
        upload.delete()
        transaction.on_commit(lambda: _delete(paths))


def delete_files(upload: Upload) -> None:
    """Delete the uploaded file, and the files of its bad rows."""
    _delete(_files_of(upload))


def _files_of(upload: Upload) -> list[str]:
    return [*(rejects_path(run) for run in upload.run_set.all()), upload.path]


def _delete(paths: Sequence[str]) -> None:
    for path in paths:
        default_storage.delete(path)
