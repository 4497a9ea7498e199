"""Restore a backup into an empty workbench."""

import tempfile
from pathlib import Path

from django.core.files.base import File
from django.core.files.storage import Storage, default_storage
from django.db import connection, transaction
from django.db.migrations.loader import MigrationLoader

from workbench.db.dump import DumpError, load
from workbench.models import AuditEvent, Dataset, User
from workbench.pipeline.backup.target import Backup, Content, Target, content_of
from workbench.pipeline.history.recording import Kind, record
from workbench.pipeline.runs.progress import Cancelled, Progress, Refused, never_stop

VENDORS = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def restore(
    target: Target,
    name: str,
    scratch: Path,
    progress: Progress = never_stop,
    storage: Storage = default_storage,
) -> Backup:
    """Put the backup's files and then its database in the place of an empty workbench's, each checked by its
    digest. `scratch` is a folder with room for a copy of the database; `progress` counts files.

    The database comes last and as a whole. So after an error, or a kill at any moment, this workbench is
    still empty, and the same call goes on. Raises Refused where the backup can't be used here, is damaged, or
    the workbench is not empty."""
    backup = target.read(name)
    _check(backup)
    for done, (path, content) in enumerate(sorted(backup.files.items()), 1):
        _put(target, path, content, scratch, storage)
        if not progress(done, len(backup.files)):
            raise Cancelled
    with tempfile.TemporaryDirectory(prefix="restore-", dir=scratch) as folder:
        try:
            load(_fetched(target, backup.dump, Path(folder)))
        except DumpError as error:
            raise Refused(str(error)) from None
    # A backup of a version without history has no table for it.
    if AuditEvent._meta.db_table in connection.introspection.table_names():
        with transaction.atomic():
            record(Kind.RESTORED, by=None)
    return backup


def _check(backup: Backup) -> None:
    """Raises Refused where the backup can't be restored here."""
    if backup.database != connection.vendor:
        theirs, ours = VENDORS[backup.database], VENDORS[connection.vendor]
        raise Refused(f"The backup is of {theirs}, and the database here is {ours}: set DATABASE_URL.")
    known = MigrationLoader(None).disk_migrations
    if unknown := [key for key in backup.migrations.items() if key not in known]:
        names = ", ".join(".".join(key) for key in unknown)
        raise Refused(f"The backup was made by a later version of the workbench ({names}): install that one.")
    tables = set(connection.introspection.table_names())
    if any(model._meta.db_table in tables and model._default_manager.exists() for model in (User, Dataset)):
        raise Refused("This workbench is not empty. Restore into a new database, or delete this one first.")


def _put(target: Target, path: str, content: Content, scratch: Path, storage: Storage) -> None:
    """Store a file under its former name, unless it is there."""
    if storage.exists(path):
        with storage.open(path) as file:
            if content_of(file) == content:
                return
        storage.delete(path)  # half of it, from a restore that was stopped
    with (
        tempfile.TemporaryDirectory(prefix="restore-", dir=scratch) as folder,
        _fetched(target, content, Path(folder)).open("rb") as file,
    ):
        stored = storage.save(path, File(file))
    if stored != path:
        storage.delete(stored)
        raise Refused(f"{path} could not be stored under its name.")


def _fetched(target: Target, content: Content, folder: Path) -> Path:
    """The content as a file that is known to be whole."""
    path = folder / content.sha256
    with path.open("xb") as file:
        file.writelines(target.blocks(content))
    return path
