"""Servers of a test's own, which it may kill and restart: Redis and PostgreSQL."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection

from tests import services
from tests.webserver import free_port


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    """Starts a Redis of this test's own, with nothing kept on disk, each time on the same port."""
    services.require(services.redis_server())
    port, servers = free_port(), []

    def start() -> "subprocess.Popen[bytes]":
        command = [shutil.which("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
        server.url = f"redis://127.0.0.1:{port}/0"
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.kill()
        server.wait()


class Server:
    """A PostgreSQL cluster of a test's own, in a folder of its own. It does not run as root, so neither does
    what is called here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()

    def run(self, program: str, *arguments: str) -> None:
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        # Not to a pipe: the server inherits it, and nobody would see its end.
        with (self.folder / "said").open("ab") as log:
            subprocess.run(
                [str(services.postgresql_binaries() / program), "-D", str(self.folder / "data"), *arguments],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                check=True,
                timeout=60,
                **user,
            )

    def create(self) -> None:
        self.run("initdb", "--no-sync", "-U", "tests", "-A", "trust", "-E", "UTF8", "--no-locale")

    def start(self) -> None:
        # A vacuum of the catalogues would have the next connection write a file, also to a full disk.
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c autovacuum=off -k {self.folder}"
        self.run("pg_ctl", "start", "-w", "-l", str(self.folder / "log"), "-o", options)

    def restart(self) -> None:
        """As after a power cut: no connection is ended, nothing is written, the log is replayed."""
        self.run("pg_ctl", "restart", "-w", "-m", "immediate", "-l", str(self.folder / "log"))

    def crash(self) -> None:
        self.run("pg_ctl", "stop", "-m", "immediate")

    @property
    def recoveries(self) -> int:
        return (self.folder / "log").read_text().count("database system was not properly shut down")


@pytest.fixture
def postgresql_folder() -> Iterator[Path]:
    """A folder that the user of a server can reach, too."""
    folder = Path(tempfile.mkdtemp(prefix="workbench-postgresql-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def own_postgresql(transactional_db: None, postgresql_folder: Path) -> Iterator[Server]:
    """A server that the test may restart, with the product's tables, as the database of test and workers."""
    services.require(services.postgresql_server())
    folder = postgresql_folder
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    server = Server(folder)
    settings_before = dict(connection.settings_dict)
    connection.close()
    try:
        server.create()
        server.start()
        server_address = {"HOST": "127.0.0.1", "PORT": server.port}
        own_settings = {**server_address, "USER": "tests", "PASSWORD": "", "NAME": "postgres"}
        connection.settings_dict.update(own_settings)
        call_command("migrate", verbosity=0)
        yield server
    finally:
        connection.close()
        connection.settings_dict.update(settings_before)
        print((folder / "log").read_text()[-4000:] if (folder / "log").exists() else "")
        server.crash()
