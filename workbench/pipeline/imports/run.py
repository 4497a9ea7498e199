"""An import as a Run: a file that was uploaded, stored by a worker, with progress that others see."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import IO, BinaryIO, cast

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import connection

from scoring.rows.drafts import ImportOptions
from workbench.models import Run, Upload
from workbench.pipeline.imports.importing import ImportResult, import_file
from workbench.pipeline.runs.lifecycle import is_called_off
from workbench.pipeline.runs.progress import Cancelled


def rejects_path(run: Run) -> str:
    """Where the bad rows of this Run's file are kept in Django's storage, if it has any."""
    return f"uploads/{run.upload_id}-rejected-{run.pk}.jsonl"


def carry_out(run: Run) -> bool:
    """Import the Run's upload into its dataset and end the Run; True when rows were stored.

    The Run is done in the very transaction that stores the rows: it can't be cancelled, or repeated after a
    crash, once they are there. A file that is refused fails the Run, with the problems in its result.
    """
    upload, dataset = run.upload, run.dataset
    if upload is None or dataset is None:
        run.fail("The file of this import is gone. Upload it again.")
        return False
    options = ImportOptions(**run.params)
    with (
        default_storage.open(upload.path) as file,
        tempfile.TemporaryFile() as rejects,
        ThreadPoolExecutor(1) as outside,
    ):

        def end_run(result: ImportResult) -> bool:
            """End the Run within the transaction that stores the rows; False when somebody has cancelled the
            Run. A dry run stores nothing, so its Run ends after the transaction."""
            return options.dry_run or _finish(run, result, rejects)

        try:
            source = cast("BinaryIO", file.file)
            progress = _Progress(run, outside)
            name = upload.shown_name
            result = import_file(
                source, dataset, options, progress, name=name, rejects=rejects, before_commit=end_run
            )
        except Cancelled:
            _discard(run)
            return False
        finally:
            outside.submit(_close_own_connection)
        if options.dry_run:
            if not _finish(run, result, rejects):
                _discard(run)
        elif not result.accepted:
            _keep(run, rejects)
            run.fail(
                "Nothing was stored: the file has bad rows. Fix them, or skip bad rows.", **result.as_dict()
            )
    return result.accepted and not options.dry_run


def _close_own_connection() -> None:
    connection.close()


class _Progress:
    """Tells the Run how far its import is, in rows read, and then in rows stored.

    What is written inside the import's transaction is seen when it ends, so while rows are stored the beat
    is sent through another connection (which belongs to the thread of `outside`). SQLite has room for one
    writer only, and that is the import: there, progress stands still while rows are stored."""

    def __init__(self, run: Run, outside: ThreadPoolExecutor) -> None:
        self._run = run
        self._outside = outside
        self._total = 1

    def __call__(self, phase: str, done: int, total: int) -> bool:
        begins = phase == "storing" and not done  # said before the transaction is opened
        if phase == "grouping":  # steps of no fixed size: that it goes on is all there is to tell
            phase, done, total = "storing", 0, self._total
        self._total = total
        told = {"phase": phase}
        if phase == "reading" or begins:
            return self._run.update_progress(done, total, told)
        if connection.vendor == "sqlite":
            return True
        return self._outside.submit(self._run.update_progress, done, total, told).result()


def _finish(run: Run, result: ImportResult, rejects: IO[bytes]) -> bool:
    _keep(run, rejects)
    run.update_progress(result.rows, result.rows)
    return run.finish(**result.as_dict())


def _discard(run: Run) -> None:
    """Delete the rows that were kept just before somebody cancelled the Run."""
    if is_called_off(run):
        default_storage.delete(rejects_path(run))


def _keep(run: Run, rejects: IO[bytes]) -> None:
    if rejects.tell():
        rejects.seek(0)
        default_storage.delete(rejects_path(run))
        default_storage.save(rejects_path(run), File(rejects))


def delete_files(upload: Upload) -> None:
    """Delete the file that was sent, and the rows of it that were refused."""
    for run in upload.run_set.all():
        default_storage.delete(rejects_path(run))
    default_storage.delete(upload.path)
