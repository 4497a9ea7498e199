"""The product's web application, which dies in the middle of submits: what a test's web process runs.

DIES_AT is the end of the address of what it dies in. DEATHS is a file with one line for each death that is
still to come. Before one in three submits, the process draws at which statement it will be killed. A submit
has fewer than STATEMENTS, so that some deaths come after the commit, when the vote is stored and no answer
has left.

WITHOUT takes a guard away. key: an answer that comes again is not known; then each death comes after the
commit. 503: while the database is away, the answer is that of a fault of the program.
"""

import fcntl
import os
import random
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workbench.settings")
django.setup()

from django.db import connection  # noqa: E402

from workbench.pipeline.annotate import answers  # noqa: E402
from workbench.views import errors  # noqa: E402
from workbench.wsgi import application as product  # noqa: E402

STATEMENTS = 24
DIES_AT = os.environ.get("DIES_AT", "/judge/")

FIRST = 1
if os.environ.get("WITHOUT") == "key":
    answers._sent_before = lambda answered: {}
    FIRST = STATEMENTS
if os.environ.get("WITHOUT") == "503":
    errors.is_database_away = lambda error: False


def die() -> None:
    """Be killed at once, as one of the deaths to come; go on when there is none left."""
    with Path(os.environ["DEATHS"]).open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        left = file.read().splitlines()
        if left:
            file.seek(0)
            file.truncate()
            file.write("".join(f"{line}\n" for line in left[1:]))
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)


def application(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
    if not str(environ["PATH_INFO"]).endswith(DIES_AT) or random.random() > 1 / 3:
        return product(environ, start_response)
    last, done = random.randint(FIRST, STATEMENTS), 0

    def count(execute: Callable[..., object], sql: object, *rest: object) -> object:
        nonlocal done
        done += 1
        if done == last:
            die()
        return execute(sql, *rest)

    with connection.execute_wrapper(count):
        answer = product(environ, start_response)
    if done < last:
        die()
    return answer
