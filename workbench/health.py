"""Whether this process can serve pages (failures), and what around it needs a look (warnings)."""

import os
import shutil
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage, storages
from django.core.files.storage.filesystem import FileSystemStorage
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from workbench.models import Worker
from workbench.static_files import ManifestStorage
from workbench.worker import enqueue

DISK_BYTES = 2**30


def failures() -> dict[str, str]:
    """Name -> what is wrong and what to do, of all that keeps this process from serving pages."""
    found = database_faults()
    if not static_files_are_there():
        found["static"] = "Static files are missing: run manage.py collectstatic."
    if reason := _storage():
        found["storage"] = reason
    return found


def database_faults() -> dict[str, str]:
    """What is wrong with the database, and what to do."""
    if reason := _database():
        return {"database": reason}
    return {} if _migrated() else {"migrations": "The database lacks migrations: run manage.py migrate."}


def warnings(failing: dict[str, str]) -> dict[str, str]:
    """Name -> what is wrong, of all that pages can be served without."""
    found = {}
    if not enqueue.reach_broker():
        found["broker"] = "The broker does not answer: work waits in the database until it does."
    if not failing.keys() & {"database", "migrations"} and not Worker.objects.alive().exists():
        found["workers"] = "No worker is alive: imports, scores and releases wait."
    free = shutil.disk_usage(_existing(settings.DATA_DIR)).free
    if free < DISK_BYTES:
        found["disk"] = f"Only {free // 2**20} MiB are free in the data folder."
    return found


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        connection.close()
        return "The database does not answer: check that it runs, and DATABASE_URL."
    return ""


def _migrated() -> bool:
    executor = MigrationExecutor(connection)
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


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
    """The folder, or the nearest above it that is there: the first upload makes it."""
    return folder if folder.exists() else _existing(folder.parent)
