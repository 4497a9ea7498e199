"""The whole database as one file, and back."""

import errno
import gzip
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from django.db import connection

from workbench.db.away import is_disk_full


class DumpError(Exception):
    """The database could not be written to a file, or read from one. The message is for people."""


def dump(path: Path) -> None:
    """Write the database, as it is at one moment, to a new file: SQLite by its backup API, PostgreSQL by
    pg_dump. Nobody who reads or writes meanwhile is held up. Raises DumpError."""
    path.touch(0o600)
    if connection.vendor == "postgresql":
        _run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={path}")
        return
    connection.ensure_connection()
    plain = path.with_name(f"{path.name}.plain")
    plain.touch(0o600)
    with closing(sqlite3.connect(plain)) as copy:
        connection.connection.backup(copy)
        (found,) = copy.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise DumpError(f"The database is damaged: {found}")
    with plain.open("rb") as source, gzip.GzipFile(path, "wb", compresslevel=1, mtime=0) as packed:
        shutil.copyfileobj(source, packed, 2**20)
    plain.unlink()


def load(path: Path) -> None:
    """Put the database of the file in the place of this one, all of it or nothing. Raises DumpError, and
    another error when the disk is full."""
    if connection.vendor == "postgresql":
        everything = ("--clean", "--if-exists", "--no-owner", "--no-privileges")
        _run("pg_restore", *everything, "--single-transaction", "--exit-on-error", str(path))
    else:
        connection.ensure_connection()
        plain = path.with_name(f"{path.name}.plain")
        plain.touch(0o600)
        try:
            with gzip.open(path) as packed, plain.open("wb") as file:
                shutil.copyfileobj(packed, file, 2**20)
            with closing(sqlite3.connect(plain)) as copy:
                copy.backup(connection.connection)
        except (gzip.BadGzipFile, EOFError, sqlite3.DatabaseError) as error:
            if is_disk_full(error):
                raise
            raise DumpError(f"The file is no database: {error}.") from None
        finally:
            plain.unlink()
    connection.close()


def _run(program: str, *arguments: str) -> None:
    """Run a client of PostgreSQL on this database. It is told of all but the name by the environment, as
    other users of the machine can read arguments. Raises DumpError, and OSError when the disk is full."""
    from psycopg import pq

    own = connection.get_connection_params()
    names = {o.keyword.decode(): o.envvar.decode() for o in pq.Conninfo.get_defaults() if o.envvar}
    variables = {names[key]: str(value) for key, value in own.items() if key in names}
    try:
        subprocess.run(  # noqa: S603  both programs are named here
            [program, f"--dbname={own['dbname']}", *arguments],
            env=os.environ | variables | {"LC_ALL": "C"},  # its words are read below
            check=True,
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        raise DumpError(f"{program} is missing: install the client of PostgreSQL.") from None
    except subprocess.CalledProcessError as error:
        if os.strerror(errno.ENOSPC) in error.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        raise DumpError(
            f"{program} failed: {(error.stderr.strip() or 'no reason given').splitlines()[0]}"
        ) from None
