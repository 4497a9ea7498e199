import os
import socket
import sys
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from threading import Thread

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from honcho.manager import Manager

from workbench import health
from workbench.management.base import WorkbenchCommand
from workbench.management.screen import Screen

CELERY = f"{sys.executable} -m celery --quiet -A workbench"
MEMORY_GOES_BACK = {"MALLOC_TRIM_THRESHOLD_": "131072"}
"""glibc raises this threshold after large allocations, and then keeps the memory of one large file."""


class Command(WorkbenchCommand):
    help = "Serve the pages and run the workers, on this machine; Ctrl+C stops everything."
    examples = """
example:
  manage.py up --port 8000

Logs are in var/log; warnings and errors are on the screen as well. This suits one machine. For several
machines, see docs/how-to/deploy.md.
"""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--host", default="127.0.0.1", help="address to listen on (default: this machine)"
        )
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: 8000)")

    def execute(self, *args: object, **options: object) -> str | None:
        faults = health.failures()
        if sentences := [faults[name] for name in ("database", "migrations", "static") if name in faults]:
            raise CommandError(" ".join(sentences))
        return super().execute(*args, **options)

    def handle(self, *, host: str, port: int, **options: object) -> None:
        refuse_port_in_use(host, port)
        serve(host, port, f"The workbench is on http://{host}:{port}")


def serve(host: str, port: int, greeting: str) -> None:
    """Run all processes until Ctrl+C, or until a process ends. Show the greeting once pages are served."""
    commands = processes(host, port)
    screen = Screen(
        settings.DATA_DIR / "log",
        commands,
        # Not before all are started: honcho forks, and a process with threads should not.
        on_started=lambda: Thread(target=_greet, args=(screen, host, port, greeting), daemon=True).start(),
    )
    manager = Manager(screen)
    environment = MEMORY_GOES_BACK | os.environ
    for name, command in commands.items():
        manager.add_process(name, command, cwd=str(settings.BASE_DIR), env=environment)
    with closing(screen):
        manager.loop()
    if manager.returncode:
        sys.exit(manager.returncode)


def _greet(screen: Screen, host: str, port: int, greeting: str) -> None:
    while not screen.is_stopping:
        if _answers(host, port):
            screen.show(f"\nLogs are in {screen.place}. Ctrl+C stops everything.\n\n{greeting}")
            return
        time.sleep(0.1)


def _answers(host: str, port: int) -> bool:
    try:
        with closing(HTTPConnection(host, port, timeout=10)) as connection:
            connection.request("GET", "/healthz")
            connection.getresponse()
    except (OSError, HTTPException):
        return False
    return True


def refuse_port_in_use(host: str, port: int) -> None:
    with socket.socket() as probe:
        # As the web server does, so that a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise CommandError(
                f"Port {port} of {host} can't be used: {reason}. Choose another port with --port."
            ) from None


def processes(host: str, port: int) -> dict[str, str]:
    """Name -> shell command of each process. Workers are of the solo pool: torch threads do not survive a
    fork, and their parallelism lies in the batch. "worker" does what somebody waits for (imports, Releases,
    statistics) and loads no model; scoring and training, which take hours, have processes of their own at a
    lower priority."""
    level = settings.LOG_LEVEL
    worker = f"worker --pool solo --loglevel {level} --without-gossip --without-mingle --without-heartbeat"
    return {
        "web": (
            f"exec {sys.executable} -m gunicorn workbench.wsgi --bind {host}:{port} "
            "--worker-class workbench.serving.CollectingWorker --threads 6"
        ),
        "worker": f"exec {CELERY} {worker} --queues work",
        "scorer": f"exec nice -n 5 {CELERY} {worker} --queues score",
        "trainer": f"exec nice -n 10 {CELERY} {worker} --queues train",
        "clock": f"exec {CELERY} beat --loglevel {level} --pidfile=",
    }
