"""Workbenches with a database and a data folder of their own: the test's, and an empty one."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from tests import migrated
from tests.processes import ROOT, Processes, database_url


@dataclass
class Place:
    """A workbench with a database and a data folder of its own."""

    database: str
    data: Path
    log: Path

    @property
    def environment(self) -> dict[str, str]:
        own = {"DATABASE_URL": self.database, "WORKBENCH_DATA": str(self.data)}
        return Processes("filesystem://", self.log).environment(**own)

    def has_tables(self) -> None:
        """Make the tables of a database that is empty."""
        address = self.database
        name = address.removeprefix("sqlite:///") if "sqlite" in address else address.rpartition("/")[2]
        if not migrated.copy_to(name):
            self.does("migrate", "-v", "0")

    def manage(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def does(self, *command: str) -> str:
        """The output of a command that succeeds."""
        done = self.manage(*command)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return Place(database_url(), Path(settings.DATA_DIR), tmp_path / "here.log")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Place]:
    data = tmp_path / "elsewhere"
    if connection.vendor == "sqlite":
        yield Place(f"sqlite:///{data / 'workbench.sqlite3'}", data, tmp_path / "elsewhere.log")
        return
    name = f"{connection.settings_dict['NAME']}_restored"
    url = database_url().rpartition("/")[0]
    with psycopg.connect(f"{url}/postgres", autocommit=True) as admin:
        admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        admin.execute(f'CREATE DATABASE "{name}"')
        yield Place(f"{url}/{name}", data, tmp_path / "elsewhere.log")
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
