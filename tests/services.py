"""Services for tests: a PostgreSQL, broker or browser that answers, and programs that a test can start."""

import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis


def _own_database(url: str) -> str:
    """Another database of Redis for each process of tests: each empties its own."""
    address = urlsplit(url)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    number = int(address.path.strip("/") or 0) + int(worker)
    return address._replace(path=f"/{number}").geturl()


DATABASE_URL = os.environ.get("TEST_DATABASE_URL") or "postgresql://root@127.0.0.1:5432/postgres"
BROKER_URL = _own_database(os.environ.get("TEST_BROKER_URL") or "redis://127.0.0.1:6379/9")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def require(lacking: str | None) -> None:
    """Skip a test without its service; with CI=true, where all services are installed, fail the test."""
    if lacking:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(lacking)


def gpu() -> str | None:
    """None where there is one for CUDA, else why not."""
    return None if shutil.which("nvidia-smi") else "this machine has no nvidia-smi"


def postgresql() -> str | None:
    """None when it answers, else why not."""
    try:
        psycopg.connect(DATABASE_URL, connect_timeout=3).close()
    except psycopg.Error as error:
        return f"no PostgreSQL at {urlsplit(DATABASE_URL).hostname}: {str(error).splitlines()[0]}"
    return None


def postgresql_binaries() -> Path | None:
    """The folder of initdb and pg_ctl, of the newest version there is."""
    on_path = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    programs = [*([Path(on_path)] if on_path else []), *debian]
    return programs[-1].parent if programs else None


def postgresql_server() -> str | None:
    """None when a server of a test's own can be started, else why not."""
    return None if postgresql_binaries() else "no initdb on the PATH or in /usr/lib/postgresql"


def broker() -> str | None:
    try:
        redis.Redis.from_url(BROKER_URL, socket_connect_timeout=3).ping()
    except redis.RedisError as error:
        return f"no Redis at {urlsplit(BROKER_URL).hostname}: {error}"
    return None


def compose_command() -> list[str] | None:
    """What runs Docker Compose; None when nothing does: a docker client may lack the plugin."""
    for command in (["docker-compose"], ["docker", "compose"]):
        if shutil.which(command[0]):
            version = subprocess.run([*command, "version"], capture_output=True, check=False)
            if version.returncode == 0:
                return command
    return None


def compose() -> str | None:
    return None if compose_command() else "neither docker-compose nor docker compose answers"


def redis_server() -> str | None:
    """None when a Redis of a test's own can be started, else why not."""
    return None if shutil.which("redis-server") else "no redis-server on the PATH"


def nginx_path() -> str | None:
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


def nginx() -> str | None:
    return None if nginx_path() else "no nginx on the PATH or in /usr/sbin"


def browser_path() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def browser() -> str | None:
    return None if browser_path() else f"none of {', '.join(BROWSERS)} is on the PATH"
