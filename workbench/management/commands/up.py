import os
import socket
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from honcho.manager import Manager

from workbench.management.base import WorkbenchCommand

EXAMPLES = """
example:
  manage.py up --port 8000

This suits one machine. For several machines, see docs/how-to/deploy.md.
"""

CELERY = f"{sys.executable} -m celery -A workbench"
MEMORY_GOES_BACK = {"MALLOC_TRIM_THRESHOLD_": "131072"}
"""glibc raises this threshold by itself after large allocations, and then keeps what one large file took."""


class Command(WorkbenchCommand):
    help = "Serve the pages and run the workers, on this machine; Ctrl+C stops everything."
    examples = EXAMPLES

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--host", default="127.0.0.1", help="address to listen on (default: this machine)"
        )
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: 8000)")

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = options["host"], options["port"]
        refuse_port_in_use(host, port)
        manager = Manager()
        environment = MEMORY_GOES_BACK | os.environ
        for name, command in processes(host, port).items():
            manager.add_process(name, command, cwd=str(settings.BASE_DIR), env=environment)
        manager.loop()
        if manager.returncode:
            sys.exit(manager.returncode)


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
    quiet = "--without-gossip --without-mingle --without-heartbeat"
    return {
        "web": (
            f"exec {sys.executable} -m gunicorn workbench.wsgi --bind {host}:{port} "
            "--worker-class workbench.serving.CollectingWorker --threads 6 --log-level warning"
        ),
        "worker": f"exec {CELERY} worker --pool solo --queues work --loglevel WARNING {quiet}",
        "scorer": f"exec nice -n 5 {CELERY} worker --pool solo --queues score --loglevel WARNING {quiet}",
        "trainer": f"exec nice -n 10 {CELERY} worker --pool solo --queues train --loglevel WARNING {quiet}",
        "clock": f"exec {CELERY} beat --loglevel WARNING --pidfile=",
    }
