"""Take a backup: the database at one moment, and every file that it names."""

import os
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from django.core.files.storage import FileSystemStorage, Storage, default_storage
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from workbench.db.dump import DumpError, dump
from workbench.db.storage import paths_below
from workbench.pipeline.backup.target import Backup, Content, Target
from workbench.pipeline.runs.progress import Cancelled, Progress, Refused, never_stop

SPARED = timedelta(days=1)
"""Age below which a content that no backup holds is not deleted: it may be of a backup under way."""


def take(
    target: Target, scratch: Path, progress: Progress = never_stop, storage: Storage = default_storage
) -> Backup:
    """Take a backup, and give what it holds. `scratch` is a folder with room for a copy of the database.

    Files never change under their names, and are stored before the rows that name them. So the files are
    copied first, which takes long; then the database; then the files that have come meanwhile. What is
    deleted while the database is copied is in the backup.

    `progress` counts files. Raises Refused where the database can't be copied, and Cancelled; neither leaves
    a backup behind."""
    earlier = target.names()
    known = target.read(earlier[0]).files if earlier else {}
    files: dict[str, Content] = {}
    for _ in range(2):  # the second round is short, and leaves little to come before the database
        _copy_files(files, target, known, storage, progress)
    made_at = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="backup-", dir=scratch) as folder:
        path = Path(folder) / "database"
        try:
            dump(path)
        except DumpError as error:
            raise Refused(str(error)) from None
        with path.open("rb") as file:
            content = target.add(file)
    _copy_files(files, target, known, storage, progress)
    backup = Backup(made_at.isoformat(), connection.vendor, content, latest_migrations(), files)
    if isinstance(target.storage, FileSystemStorage):
        os.sync()  # a manifest never reaches the disk before what it names
    target.write(backup)
    return backup


def _copy_files(
    files: dict[str, Content], target: Target, known: dict[str, Content], storage: Storage, progress: Progress
) -> None:
    """Copy the files that `files` lacks, and add them to it. Those of the last backup are not read again."""
    missing = [path for path in paths_below("", storage) if path not in files]
    total = len(files) + len(missing)
    for name in missing:
        try:
            kept = known.get(name)
            if kept is None or kept.bytes != storage.size(name) or not target.has(kept):
                with storage.open(name) as file:
                    kept = target.add(file)
        except FileNotFoundError:
            continue  # deleted since it was listed, and so before the database is copied
        files[name] = kept
        if not progress(len(files), total):
            raise Cancelled


def latest_migrations() -> dict[str, str]:
    """The latest applied migration of each app."""
    return dict(sorted(MigrationRecorder(connection).applied_migrations()))


def forget_old(target: Target, keep: int) -> int:
    """Delete all backups but the `keep` latest, and the contents that only they hold. Gives the number of
    deleted backups."""
    kept, old = target.names()[:keep], target.names()[keep:]
    held = {content.name for name in kept for content in target.read(name).contents}
    for name in old:
        target.storage.delete(f"{name}.json")
    for name in [path for path in paths_below("content", target.storage) if path not in held]:
        if target.storage.get_modified_time(name) < timezone.now() - SPARED:
            target.storage.delete(name)
    return len(old)
