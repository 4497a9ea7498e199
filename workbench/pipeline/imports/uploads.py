"""Uploaded files in Django's storage."""

import uuid

from django.core.files.storage import default_storage

from scoring.rows.rows import escaped
from workbench.db.storage import stored
from workbench.models import Dataset, Run, Upload, User
from workbench.upload_handlers import ReceivedFile


def keep(file: ReceivedFile, dataset: Dataset, user: User) -> Upload:
    """Store the file under a name of our own, with its row."""
    pk = uuid.uuid4()
    with stored(f"uploads/{pk}", file) as path:
        return Upload.objects.create(
            pk=pk,
            dataset=dataset,
            shown_name=printable_name(file.name or ""),
            path=path,
            size=file.size or 0,
            sha256=file.digest.hexdigest(),
            uploaded_by=user,
        )


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


def delete_files(upload: Upload) -> None:
    """Delete the uploaded file, and the files of its bad rows."""
    for run in upload.run_set.all():
        default_storage.delete(rejects_path(run))
    default_storage.delete(upload.path)
