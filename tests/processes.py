"""Real worker and clock processes, on the database of the test and on a real broker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from django.conf import settings
from django.db import connection

from tests import services

ROOT = Path(__file__).resolve().parents[1]


def database_url() -> str:
    """The test's own database, as another process reaches it."""
    config = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{config['NAME']}"
    host, port = config["HOST"] or "127.0.0.1", config["PORT"] or 5432
    return f"postgresql://{config['USER']}:{config['PASSWORD']}@{host}:{port}/{config['NAME']}"


class Processes:
    """Worker and clock processes of one test; only these are ever killed."""

    app = "tests.faults.worker_app"

    def __init__(self, broker_url: str, log: Path) -> None:
        self.broker_url = broker_url
        self.log = log
        self.running: list[subprocess.Popen[bytes]] = []

    def environment(self, **extra: str) -> dict[str, str]:
        return os.environ | {
            "DJANGO_SETTINGS_MODULE": "workbench.settings",
            "DATABASE_URL": database_url(),
            "CELERY_BROKER_URL": self.broker_url,
            "WORKBENCH_DATA": str(settings.DATA_DIR),
            "LEASE_SECONDS": "2",
            "RECONCILE_SECONDS": "1",
            **extra,
        }

    def start(self, *arguments: str, **extra: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", self.app, *arguments],
                cwd=ROOT,
                env=self.environment(**extra),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def worker(self, **extra: str) -> subprocess.Popen[bytes]:
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"]
        return self.start("worker", "--pool", "solo", "--queues", "score,work", *quiet, **extra)

    def clock(self, **extra: str) -> subprocess.Popen[bytes]:
        schedule = str(self.log.parent / "schedule")
        return self.start("beat", "--pidfile=", "-l", "WARNING", "--schedule", schedule, **extra)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.running.remove(process)

    def stop_workers(self) -> None:
        for process in [p for p in self.running if "worker" in p.args]:
            self.kill(process)

    def stop_all(self) -> None:
        for process in list(self.running):
            self.kill(process)


@pytest.fixture(params=["filesystem", pytest.param("redis", marks=pytest.mark.redis)])
def broker_url(request: pytest.FixtureRequest) -> str:
    if request.param == "filesystem":
        return "filesystem://"
    redis.Redis.from_url(services.BROKER_URL).flushdb()
    return services.BROKER_URL


@pytest.fixture
def processes(broker_url: str, tmp_path: Path, transactional_db: None) -> Iterator[Processes]:
    started = Processes(broker_url, tmp_path / "workers.log")
    yield started
    started.stop_all()
    if started.log.exists():
        print(started.log.read_text()[-4000:])  # pytest shows it when the test has failed


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    """Poll until it is true; fails after `seconds`."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not true within {seconds} s"
        time.sleep(0.05)
