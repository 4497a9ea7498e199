"""An import as a Run: a page begins it, a worker carries it out, and pages show its progress."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import IO, BinaryIO, cast

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import connection, transaction

from scoring.rows.drafts import ImportOptions
from workbench.models import Dataset, Run, Upload, User
from workbench.models.runs import RunResult
from workbench.pipeline.history.recording import Kind, record, record_run
from workbench.pipeline.imports.importing import ImportResult, import_file
from workbench.pipeline.imports.uploads import keep, rejects_path
from workbench.pipeline.runs.lifecycle import is_called_off
from workbench.pipeline.runs.progress import Cancelled, Refused
from workbench.upload_handlers import ReceivedFile


@transaction.atomic
def begin(upload: Upload, options: ImportOptions, by: User) -> Run | None:
    """A new Run, to be enqueued, that imports the upload, or with `dry_run` only checks it; None while the
    last Run is open: a button pressed twice imports once."""
    Dataset.objects.select_for_update().get(pk=upload.dataset_id)
    latest = upload.latest_run
    if latest and latest.is_open:
        return None
    return _new(upload, options, by)


def _new(upload: Upload, options: ImportOptions, by: User) -> Run:
    run = Run.objects.create(
        kind=Run.Kind.IMPORT,
        dataset=upload.dataset,
        upload=upload,
        params=asdict(options),
        created_by=by,
    )
    return record_run(run)


def begin_with(file: ReceivedFile, dataset: Dataset, options: ImportOptions, by: User) -> Run:
    """A new Run, to be enqueued, that imports the file that was sent. The file is stored as an upload."""
    upload = None
    try:
        with transaction.atomic():
            upload = keep(file, dataset, by)
            return _new(upload, options, by)
    except BaseException:
        if upload:
            default_storage.delete(upload.path)
        raise


def carry_out(run: Run) -> bool:
    """Import the Run's upload into its dataset and end the Run; True when rows were stored.

    The Run ends in the transaction that stores the rows. So nobody can cancel the Run, and no crash makes a
    worker repeat it, once the rows are there. A file that is refused fails the Run, with the problems in its
    result. A dry run stores no rows, so its Run ends after the transaction, which is rolled back.
    """
    upload, dataset = run.upload, run.dataset
    if upload is None or dataset is None:
        raise Refused("The file of this import is gone. Upload it again.")
    options = ImportOptions(**run.params)
    with (
        default_storage.open(upload.path) as file,
        tempfile.TemporaryFile() as rejects,
        ThreadPoolExecutor(1) as other_thread,
    ):

        def end_run(result: ImportResult) -> bool:
            """False when somebody has cancelled the Run: the rows are rolled back with it."""
            if options.dry_run:
                return True
            record(Kind.IMPORTED, by=run.created_by, dataset=dataset, target=upload, count=result.rows)
            return _finish(run, result, rejects)

        try:
            source = cast("BinaryIO", file.file)
            progress = _Progress(run, other_thread)
            name = upload.shown_name
            result = import_file(
                source,
                dataset,
                options,
                progress,
                name=name,
                rejects=rejects,
                run=run.pk,
                before_commit=end_run,
            )
        except Cancelled:
            _delete_rejects_of_cancelled(run)
            return False
        finally:
            # The connection belongs to the thread, so the thread has to close it.
            other_thread.submit(lambda: connection.close())
        if options.dry_run:
            if not _finish(run, result, rejects):
                _delete_rejects_of_cancelled(run)
        elif not result.accepted:
            _store_rejects(run, rejects)
            run.fail(
                "Nothing was stored: the file has bad rows. Fix them, or skip bad rows.",
                **cast("RunResult", result.as_dict()),
            )
    return result.accepted and not options.dry_run


class _Progress:
    """Writes the progress of an import to its Run: in rows read, and then in rows stored.

    Nobody sees the writes of the import's transaction before its end. So while rows are stored, progress is
    written through the connection of `other_thread`. SQLite allows one writer, the import, so there progress
    stands still while rows are stored."""

    def __init__(self, run: Run, other_thread: ThreadPoolExecutor) -> None:
        self._run = run
        self._other_thread = other_thread
        self._total = 1

    def __call__(self, phase: str, done: int, total: int) -> bool:
        before_transaction = phase == "storing" and not done
        if phase == "grouping":  # in steps of no fixed size, so only the heartbeat matters
            phase, done, total = "storing", 0, self._total
        self._total = total
        details: RunResult = {"phase": phase}
        if phase == "reading" or before_transaction:
            return self._run.update_progress(done, total, details)
        if connection.vendor == "sqlite":
            return True
        return self._other_thread.submit(self._run.update_progress, done, total, details).result()


def _finish(run: Run, result: ImportResult, rejects: IO[bytes]) -> bool:
    _store_rejects(run, rejects)
    run.update_progress(result.rows, result.rows)
    return run.finish(**cast("RunResult", result.as_dict()))


def _store_rejects(run: Run, rejects: IO[bytes]) -> None:
    if rejects.tell():
        rejects.seek(0)
        default_storage.delete(rejects_path(run))
        default_storage.save(rejects_path(run), File(rejects))


def _delete_rejects_of_cancelled(run: Run) -> None:
    """Delete bad rows that were stored just before somebody cancelled the Run."""
    if is_called_off(run):
        default_storage.delete(rejects_path(run))
