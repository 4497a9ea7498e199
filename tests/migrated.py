"""A database with every migration applied, made once for each state of the migrations and copied by each run.

To apply them takes half a minute of a core, and each process of a run has a database of its own. What nobody
has used for a week is removed."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from django.db import DatabaseError, connection

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path(tempfile.gettempdir()) / f"workbench-tests-of-{os.getuid()}"
WEEK = 7 * 24 * 3600


def state() -> str:
    """Names what the tables follow from."""
    sources = [*ROOT.glob("workbench/migrations/*.py"), *ROOT.glob("workbench/models/*.py")]
    digest = sha256()
    for path in [ROOT / "requirements/base.lock", *sorted(sources)]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def locked() -> Iterator[None]:
    """Alone among all processes that make or copy one. Of two that start together, one makes it."""
    FOLDER.mkdir(mode=0o700, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def copy_to(name: str) -> bool:
    """Make the database of this name a copy. False where there is none to copy."""
    kept = _kept()
    if not kept.exists():
        return False
    kept.touch()
    if connection.vendor == "sqlite":
        shutil.copyfile(kept, name)
        return True
    copying = f'CREATE DATABASE "{name}" TEMPLATE "{kept.stem}"'
    try:
        _on_the_server(f'DROP DATABASE IF EXISTS "{name}"', copying)
    except DatabaseError:  # the server is another than the one where it was made
        kept.unlink()
        return False
    return True


def keep(name: str) -> None:
    """Keep a copy of the database of this name, to which nobody is connected."""
    kept = _kept()
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(kept.with_suffix(".new"))])
        kept.with_suffix(".new").replace(kept)
    else:
        connection.close()
        # `copy_to` forgets a copy that it could not read, and the server has it still.
        _on_the_server(
            f'DROP DATABASE IF EXISTS "{kept.stem}"', f'CREATE DATABASE "{kept.stem}" TEMPLATE "{name}"'
        )
        kept.touch()
    _remove_old()


def test_name() -> str:
    """The name of the database that a run makes."""
    return connection.settings_dict["TEST"]["NAME"] or f"test_{connection.settings_dict['NAME']}"


def _kept() -> Path:
    """The copy on SQLite; on PostgreSQL an empty file of the name that the copy has on the server."""
    return FOLDER / f"workbench_tests_{state()}.{connection.vendor}"


def _remove_old() -> None:
    for path in FOLDER.glob(f"*.{connection.vendor}"):
        if path.stat().st_mtime < time.time() - WEEK:
            path.unlink()
            if connection.vendor == "postgresql":
                with suppress(DatabaseError):  # somebody copies it
                    _on_the_server(f'DROP DATABASE IF EXISTS "{path.stem}"')


def _on_the_server(*statements: str) -> None:
    with connection.creation._nodb_cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
