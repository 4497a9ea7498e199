"""The logs of web and workers say where an error was, and never the text of an item."""

import http.client
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from django.db import IntegrityError
from django.test import Client
from django.urls import reverse

from tests.conftest import client_of
from tests.factories import PromptFactory, RunFactory, UserFactory
from tests.processes import Processes, wait_until
from tests.webserver import ask, web_process
from workbench.logs import LineFormatter
from workbench.models import Run
from workbench.worker import tasks

TEXT = "Why does my sourdough smell of vinegar?"
CODE = "raise IntegrityError(f"
"""The start of the line that fails, as a traceback shows it."""


def fail(*_: object, **__: object) -> None:
    try:
        int(TEXT)
    except ValueError as error:
        error.add_note(f"It was {TEXT}")
        raise IntegrityError(f"duplicate key\nDETAIL:  Key (text)=({TEXT}) already exists.") from error


def says_where_and_no_text(log: str) -> None:
    assert "sourdough" not in log
    assert CODE in log
    assert "int(" in log
    assert "ValueError\n" in log
    assert "IntegrityError\n" in log


@pytest.fixture
def logged() -> Iterator[Callable[[], str]]:
    """What the handler of the settings has written."""
    (handler,) = [one for one in logging.getLogger().handlers if isinstance(one.formatter, LineFormatter)]
    assert isinstance(handler, logging.StreamHandler)
    written = io.StringIO()
    before = handler.setStream(written)
    yield written.getvalue
    handler.setStream(before)


def test_a_page_that_fails_logs_its_traceback_without_the_text(as_user, db, logged, monkeypatch):
    staff = as_user(UserFactory.create(is_staff=True))
    staff.raise_request_exception = False
    monkeypatch.setattr("workbench.access.staff_only", fail)

    answer = staff.get(reverse("versions"))

    assert answer.status_code == 500
    says_where_and_no_text(logged())
    assert f"[{answer['X-Request-ID']}] Internal Server Error: /models/\n" in logged()


def test_a_run_that_fails_logs_its_traceback_without_the_text(db, logged, monkeypatch):
    monkeypatch.setitem(tasks.ACTS, "statistics", fail)
    run = RunFactory.create(kind="statistics", state="waiting")

    tasks.carry_out.apply([run.pk])

    run.refresh_from_db()
    assert run.state == "failed"
    says_where_and_no_text(logged())
    assert "raised unexpected: django.db.utils.IntegrityError\n" in logged()


def test_a_traceback_that_was_written_with_its_message_is_written_anew(logged):
    """A formatter leaves its traceback in the record, for the next handler to take."""
    other = logging.StreamHandler(written := io.StringIO())
    log = logging.getLogger("workbench")
    log.addHandler(other)

    try:
        fail()
    except IntegrityError:
        log.exception("It failed")
    finally:
        log.removeHandler(other)

    assert "sourdough" in written.getvalue()
    says_where_and_no_text(logged())


def test_an_error_that_led_to_another_is_told_unless_it_was_left_out_on_purpose(logged):
    log = logging.getLogger("workbench")
    try:
        try:
            {}[TEXT]
        except KeyError:
            raise LookupError(TEXT) from None
    except LookupError:
        log.exception("On purpose")
    alone = logged()
    try:
        try:
            {}[TEXT]
        except KeyError:
            raise LookupError(TEXT)  # noqa: B904
    except LookupError:
        log.exception("By the way")

    assert "LookupError" in alone
    assert "KeyError" not in alone
    assert "KeyError\n\nwhich led to:\n" in logged().removeprefix(alone)
    assert "sourdough" not in logged()


def test_no_library_writes_to_a_place_of_its_own():
    """Django's handlers write what an error says: to the console with DEBUG=1, and in mails to ADMINS."""
    assert logging.getLogger("django").handlers == []


def test_the_words_of_the_system_are_kept(logged, tmp_path):
    try:
        (tmp_path / "none").read_text()
    except OSError:
        logging.getLogger("workbench").exception("It failed")

    assert logged().endswith("FileNotFoundError: No such file or directory\n")
    assert str(tmp_path) not in logged()


def test_errors_among_the_words_of_celery_are_named_alone(logged):
    logging.getLogger("celery.worker").error("Pool callback raised exception: %r", ValueError(TEXT))

    assert logged().endswith("Pool callback raised exception: 'ValueError'\n")


def test_an_address_that_gunicorn_names_has_no_query(logged):
    logging.getLogger("gunicorn.error").error("Error handling request %s", "/datasets/1/data/?q=sourdough")

    assert logged().endswith("Error handling request /datasets/1/data/\n")


# --- real processes -----------------------------------------------------------------------------------------


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_a_web_process_writes_no_text_of_a_page_or_a_stream_that_fails(tmp_path):
    PromptFactory.create(messages=[{"role": "user", "content": TEXT}])
    staff = client_of(UserFactory.create(is_staff=True))
    log = tmp_path / "web.log"

    with web_process(log, "tests.faults.failing_app") as (port, _):
        status, _, _ = ask(port, reverse("version_add"), Cookie=cookies(staff))
        page = log.read_text()
        with suppress(http.client.IncompleteRead):  # the stream breaks off
            ask(port, reverse("versions"), Cookie=cookies(staff))
        wait_until(lambda: "Error handling request" in log.read_text(), 20)
        wait_until(lambda: log.read_text().count("IntegrityError\n") == 2, 20)

    assert status == 500
    for part in (page, log.read_text().removeprefix(page)):
        says_where_and_no_text(part)


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_a_worker_writes_no_text_of_a_run_that_fails(processes: Processes):
    PromptFactory.create(messages=[{"role": "user", "content": TEXT}])
    run = RunFactory.create(kind="statistics", state="waiting")
    processes.app = "tests.faults.failing_app"
    processes.worker()
    processes.clock()

    wait_until(lambda: Run.objects.filter(pk=run.pk, state="failed").exists())
    wait_until(lambda: "IntegrityError\n" in processes.log.read_text(), 20)

    says_where_and_no_text(processes.log.read_text())


def cookies(client: Client) -> str:
    return "; ".join(f"{name}={cookie.value}" for name, cookie in client.cookies.items())
