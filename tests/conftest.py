"""The fixed cast: Alice administers the Dataset, Rita reviews, Bob annotates, Charlie is a stranger."""

import os
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from io import StringIO
from pathlib import Path

import pytest
from celery import Task
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import setup_databases, teardown_databases
from factory.django import DjangoModelFactory
from pytest_django import DjangoDbBlocker

from tests import factories, migrated
from tests.factories import DatasetFactory, UserFactory
from workbench import mails
from workbench.models import Dataset, Member, Role, User
from workbench.pipeline.data import columns
from workbench.pipeline.people import logins
from workbench.worker import enqueue

SHARED = Path(__file__).resolve().parents[2] / "shared"


SLOW = set((Path(__file__).parent / "slow.txt").read_text().split())
"""Files and functions that take over 0.3 s in all."""
DATABASE_FIXTURES = {"db", "transactional_db", "live_server"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests of real data without their folder of ../shared. On PostgreSQL leave out the tests without a
    database and those marked portable, which run on SQLite."""
    for item in items:
        if not SLOW.isdisjoint((item.nodeid.partition("::")[0], item.nodeid.partition("[")[0])):
            item.add_marker("slow")
        if item.get_closest_marker("browser") and not item.nodeid.startswith("tests/browser/"):
            raise pytest.UsageError(f"{item.nodeid} belongs in tests/browser, where its stage looks for it")
        for name in ("services", "long"):
            if item.get_closest_marker(name) and f"mark.{name}" not in _text_of(item.path):
                raise pytest.UsageError(
                    f"the file of {item.nodeid} must name the marker {name} for its stage"
                )
        marker = item.get_closest_marker("real_data")
        folders = (marker.args or ("data",)) if marker else ()
        if lacking := [name for name in folders if not (SHARED / name).is_dir()]:
            item.add_marker(pytest.mark.skip(reason=f"no folder ../shared/{lacking[0]} beside the project"))
    if os.environ.get("TEST_DATABASE") == "postgresql":
        left_out = [item for item in items if not _depends_on_the_database(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if _depends_on_the_database(item)]


@cache
def _text_of(file: Path) -> str:
    return file.read_text()


def _depends_on_the_database(item: pytest.Item) -> bool:
    uses = item.get_closest_marker("django_db") or not DATABASE_FIXTURES.isdisjoint(item.fixturenames)
    return bool(uses) and item.get_closest_marker("portable") is None


@pytest.fixture(scope="session")
def django_db_setup(
    request: pytest.FixtureRequest,
    django_test_environment: None,
    django_db_blocker: DjangoDbBlocker,
    django_db_modify_db_settings: None,
) -> Iterator[None]:
    """The databases of this run, copied from one where all migrations are applied if there is one."""
    verbosity = request.config.option.verbose
    with django_db_blocker.unblock():
        with migrated.locked():
            is_copied = migrated.copy_to(name := migrated.test_name())
            made = setup_databases(verbosity, interactive=False, keepdb=is_copied)
            if not is_copied:
                migrated.keep(name)
        yield
        teardown_databases(made, verbosity)


@pytest.fixture
def dataset(db: None) -> Dataset:
    return DatasetFactory.create(name="Kitchen")


def _member(dataset: Dataset, name: str, role: Role) -> User:
    user = UserFactory.create(username=name)
    Member.objects.create(dataset=dataset, user=user, role=role)
    return user


@pytest.fixture
def alice(dataset: Dataset) -> User:
    return _member(dataset, "alice", Role.ADMIN)


@pytest.fixture
def rita(dataset: Dataset) -> User:
    return _member(dataset, "rita", Role.REVIEWER)


@pytest.fixture
def bob(dataset: Dataset) -> User:
    return _member(dataset, "bob", Role.ANNOTATOR)


@pytest.fixture
def charlie(db: None) -> User:
    return UserFactory.create(username="charlie")


def client_of(user: User) -> Client:
    """A logged-in client. force_login spares each test the password hash."""
    client = Client()
    client.force_login(user, backend="workbench.backends.NameOrMail")
    logins.noted(client.session.session_key)  # as after a login: the first request writes nothing more
    return client


@pytest.fixture
def as_user():
    return client_of


@pytest.fixture(autouse=True)
def names_and_texts_are_counted_anew():
    """Else a test's texts would depend on the tests before it in its process, and so would their splits."""
    for made_by in vars(factories).values():
        if isinstance(made_by, type) and issubclass(made_by, DjangoModelFactory):
            made_by.reset_sequence(force=True)


@pytest.fixture(autouse=True)
def nothing_is_known_of_the_broker(monkeypatch):
    """Each test begins like a process that has just started."""
    monkeypatch.setattr(enqueue._LastLook, "at", None)
    monkeypatch.setattr(enqueue._LastLook, "answered", True)


@pytest.fixture(autouse=True)
def no_mail_of_a_test_arrives_in_the_next(monkeypatch):
    with ThreadPoolExecutor(4) as senders:
        monkeypatch.setattr(mails, "_senders", senders)
        yield


@pytest.fixture(autouse=True)
def no_columns_are_kept(monkeypatch):
    """The next test may have a Dataset of the same primary key."""
    monkeypatch.setattr(columns, "_kept", OrderedDict())


@pytest.fixture
def messages(monkeypatch):
    """(task, id) of each message that would have been sent to workers."""
    sent: list[tuple[Task, object]] = []
    monkeypatch.setattr(enqueue, "send", lambda task, pk, **_: sent.append((task, pk)))
    return sent


pytest_plugins = ["tests.pages", "tests.processes"]


MADE_BY_MIGRATIONS = {"django_content_type", "auth_permission"}


@pytest.fixture(scope="session", autouse=True)
def a_flush_deletes_the_rows_of_a_test():
    """After each test that commits, Django empties all tables and has every permission made anew, which takes
    longer than most tests; TRUNCATE of all tables takes PostgreSQL a second. What migrations made is kept, or
    made again."""
    register = import_module("workbench.migrations.0002_register_baselines").register

    def sql_flush(self, style, tables, *, reset_sequences=False, allow_cascade=False):
        assert not reset_sequences
        emptied = [table for table in tables if table not in MADE_BY_MIGRATIONS]
        return [f"DELETE FROM {self.quote_name(table)}" for table in emptied]

    def restore(*_):
        register(apps, None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(connection.ops), "sql_flush", sql_flush)
        patch.setattr("django.core.management.commands.flush.emit_post_migrate_signal", restore)
        yield


def output_of(*command: str, **options) -> str:
    """What a command prints, to both streams."""
    out = StringIO()
    call_command(*command, stdout=out, stderr=out, **options)
    return out.getvalue()
