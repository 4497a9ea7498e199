"""While the database is away, full or locked, a page says so in one sentence, and the log too."""

import socket
import sqlite3
import time

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.test import Client
from django.urls import reverse

from tests.conftest import client_of
from tests.test_frame import python
from workbench.db.away import is_database_away

SAID = "The database does not answer"
MESSAGES = {
    "away": OperationalError("connection failed: Connection refused"),
    "full": OperationalError("FATAL: sorry, too many clients already"),
    "closed": InterfaceError("connection already closed"),
}


def raising(error: Exception):
    def execute(*_: object) -> None:
        raise error

    return execute


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("path", ["home", "dataset", "annotate_next"])
def test_a_page_answers_503_with_one_sentence_and_logs_one_line(name, path, alice, dataset, caplog):
    client = client_of(alice)
    client.raise_request_exception = False
    caplog.clear()

    with connection.execute_wrapper(raising(MESSAGES[name])):
        answer = client.get(reverse(path, args=[] if path == "home" else [dataset.pk]))

    assert (answer.status_code, answer["Retry-After"], answer["Cache-Control"]) == (503, "10", "no-store")
    assert answer.content.decode().count(SAID) == 1
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "the database is away" in line.getMessage()
    assert line.exc_info is None


def test_an_answer_that_meets_a_dead_database_is_told_to_come_again(bob, dataset):
    client = client_of(bob)
    client.raise_request_exception = False

    with connection.execute_wrapper(raising(MESSAGES["away"])):
        answer = client.post(reverse("judge", args=[dataset.pk]), {"outcome": "a"})

    assert answer.status_code == 503


def test_a_login_page_is_not_an_error_of_the_program_either(db):
    client = Client(raise_request_exception=False)

    with connection.execute_wrapper(raising(MESSAGES["full"])):
        answer = client.post(reverse("login"), {"username": "bob", "password": "correct horse battery"})

    assert answer.status_code == 503


def test_another_error_is_still_500_with_its_traceback(alice, caplog):
    client = client_of(alice)
    client.raise_request_exception = False

    with connection.execute_wrapper(raising(RuntimeError("a fault of ours"))):
        answer = client.get(reverse("home"))

    assert answer.status_code == 500
    assert any(record.exc_info for record in caplog.records)


def sqlite_error(statement: str, tmp_path) -> OperationalError:
    """What SQLite says to the statement while another connection is writing."""
    file = tmp_path / "x.sqlite3"
    with sqlite3.connect(file) as writer, sqlite3.connect(file, timeout=0) as reader:
        writer.execute("BEGIN IMMEDIATE")
        try:
            reader.execute(statement)
        except sqlite3.OperationalError as cause:
            error = OperationalError(*cause.args)
            error.__cause__ = cause
            return error
    raise AssertionError


def test_a_locked_sqlite_counts_as_away_and_a_missing_table_does_not(tmp_path):
    assert is_database_away(sqlite_error("BEGIN IMMEDIATE", tmp_path))
    assert not is_database_away(sqlite_error("SELECT * FROM missing", tmp_path))


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:1/none", "sqlite:////nonexistent/x.sqlite3"])
def test_a_process_without_its_database_answers_503(url):
    code = (
        "import django; django.setup(); from django.test import Client; "
        "c = Client(raise_request_exception=False); c.cookies['sessionid'] = 'a' * 32; "
        "r = c.get('/', HTTP_HOST='localhost'); print(r.status_code, r.get('Retry-After'))"
    )

    result = python(
        "-c", code, DATABASE_URL=url, SECRET_KEY="0123456789" * 6, DJANGO_SETTINGS_MODULE="workbench.settings"
    )

    assert result.stdout.strip() == "503 10", result.stderr
    assert "Traceback" not in result.stderr


def test_a_database_that_takes_connections_and_never_answers_holds_nobody_up():
    code = (
        "import django; django.setup(); from django.test import Client; "
        "c = Client(raise_request_exception=False); c.cookies['sessionid'] = 'a' * 32; "
        "print(c.get('/', HTTP_HOST='localhost').status_code)"
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(10)
        began = time.monotonic()

        result = python(
            "-c", code, DATABASE_URL=f"postgresql://x@127.0.0.1:{listener.getsockname()[1]}/x",
            SECRET_KEY="0123456789" * 6, DJANGO_SETTINGS_MODULE="workbench.settings",
        )  # fmt: skip

    assert result.stdout.strip() == "503", result.stderr
    assert time.monotonic() - began < 25
