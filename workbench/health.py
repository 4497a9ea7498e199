"""Whether this process can serve pages (failures), and what else needs attention (warnings)."""

import os
import shutil
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage, storages
from django.core.files.storage.filesystem import FileSystemStorage
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from workbench.models import Worker
from workbench.pipeline import backup
from workbench.static_files import ManifestStorage
from workbench.templatetags.figures import duration
from workbench.worker import enqueue

DISK_BYTES = 2**30
LATE = 2
"""A backup this many times as old as it should become is late."""


def failures() -> dict[str, str]:
    """Name -> fault and remedy, of all that keeps this process from serving pages."""
    faults = database_faults()
    if not static_files_are_there():
        faults["static"] = "Static files are missing: run manage.py collectstatic."
    if reason := _storage():
        faults["storage"] = reason
    return faults


def database_faults() -> dict[str, str]:
    """Name -> fault of the database and its remedy."""
    if reason := _database():
        return {"database": reason}
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return {"migrations": "The database lacks migrations: run manage.py migrate."}
    return {}


def warnings(failing: dict[str, str]) -> dict[str, str]:
    """Name -> fault, of all that pages can be served without."""
    faults = {}
    if not enqueue.reach_broker():
        faults["broker"] = "The broker does not answer: work waits in the database until it does."
    if not failing.keys() & {"database", "migrations"} and not Worker.objects.alive().exists():
        faults["workers"] = "No worker is alive: imports, scores and releases wait."
    if not failing.keys() & {"database", "migrations"} and (reason := _backup()):
        faults["backup"] = reason
    free = shutil.disk_usage(_existing(settings.DATA_DIR)).free
    if free < DISK_BYTES:
        faults["disk"] = f"Only {free // 2**20} MiB are free in the data folder."
    return faults


def _backup() -> str:
    latest = backup.latest()
    if latest is None:
        where = "" if settings.BACKUP_TARGET else ": set BACKUP_TARGET, or run manage.py backup"
        return f"There is no backup yet{where}."
    age = timezone.now() - backup.made_at(latest)
    if age < LATE * timedelta(hours=settings.BACKUP_HOURS):
        return ""
    return f"The last backup is {duration(age)} old."


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        connection.close()
        return "The database does not answer: check that it runs, and DATABASE_URL."
    return ""


def static_files_are_there() -> bool:
    """Whether collectstatic has run where its manifest is needed."""
    return (
        not isinstance(storages["staticfiles"], ManifestStorage)
        or (settings.STATIC_ROOT / "staticfiles.json").exists()
    )


def _storage() -> str:
    if isinstance(storages["default"], FileSystemStorage):
        folder = _existing(Path(default_storage.path("")))
        return "" if os.access(folder, os.W_OK) else "Files cannot be written to the data folder."
    try:
        default_storage.exists("readyz")
    except Exception as error:  # noqa: BLE001  every library of a bucket has errors of its own
        return f"The bucket does not answer: {type(error).__name__}."
    return ""


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists: the first upload makes the folder."""
    return folder if folder.exists() else _existing(folder.parent)
