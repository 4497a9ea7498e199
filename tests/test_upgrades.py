"""A database of each tagged version, filled, is brought up to date: no row is lost, and its pages open."""

import os
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

ROOT = Path(__file__).resolve().parents[1]
DUMPS = ROOT / "tests" / "dumps"

OPEN_EVERYTHING = """
import django; django.setup()
from django.test import Client
from django.urls import reverse
from workbench.models import Dataset, ModelVersion, User
client = Client(SERVER_NAME="localhost")
client.force_login(User.objects.get(username="alice"), backend="workbench.backends.NameOrMail")
dataset = Dataset.objects.get()
pages = ["dataset", "data", "quality", "import", "runs", "people", "model", "releases", "settings", "review"]
urls = [reverse("home"), reverse("versions"), *(reverse(page, args=[dataset.pk]) for page in pages)]
for url in urls:
    status = client.get(url, follow=True).status_code
    assert status == 200, f"{url} answers {status}"
"""


def dumps(vendor: str) -> list[str]:
    return sorted(path.name for path in DUMPS.glob(f"*.{vendor}.sql"))


def rows_of(dump: str) -> Counter[str]:
    """How many rows each table of the workbench has in the dump."""
    return Counter(re.findall(r'^INSERT INTO "?(?:public\.)?(workbench_\w+)', dump, re.MULTILINE))


def manage(database: str, data: Path, *command: str) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"},
        "DATABASE_URL": database,
        "WORKBENCH_DATA": str(data),
        "SECRET_KEY": settings.SECRET_KEY,
        "DEBUG": "1",
        "DJANGO_SETTINGS_MODULE": "workbench.settings",
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def upgraded(database: str, data: Path) -> None:
    manage(database, data, "manage.py", "migrate", "--verbosity", "0")
    manage(database, data, "-c", OPEN_EVERYTHING)


@pytest.mark.parametrize("name", dumps("sqlite"))
def test_a_database_of_an_earlier_version_is_migrated_with_all_its_rows(name, tmp_path):
    dump = (DUMPS / name).read_text()
    file = tmp_path / "workbench.sqlite3"
    with sqlite3.connect(file) as database:
        database.executescript(dump)

    upgraded(f"sqlite:///{file}", tmp_path)

    with sqlite3.connect(file) as database:
        for table, rows in rows_of(dump).items():
            assert database.execute(f'SELECT count(*) FROM "{table}"').fetchone() == (rows,), table


@pytest.mark.skipif(connection.vendor != "postgresql", reason="for the suite on PostgreSQL")
@pytest.mark.parametrize("name", dumps("postgresql"))
def test_a_postgresql_database_of_an_earlier_version_is_migrated_with_all_its_rows(
    name, tmp_path, transactional_db
):
    import psycopg

    dump = (DUMPS / name).read_text()
    at = settings.DATABASES["default"]
    server = {"host": at["HOST"], "port": at["PORT"] or 5432, "user": at["USER"], "password": at["PASSWORD"]}
    new = f"{connection.settings_dict['NAME']}_upgraded"
    with psycopg.connect(**server, dbname="postgres", autocommit=True) as postgres:
        postgres.execute(f'DROP DATABASE IF EXISTS "{new}"')
        postgres.execute(f'CREATE DATABASE "{new}"')
        try:
            with psycopg.connect(**server, dbname=new) as database:
                database.execute(dump)
            secret = f":{server['password']}" if server["password"] else ""
            host = f"{server['host']}:{server['port']}"
            upgraded(f"postgresql://{server['user']}{secret}@{host}/{new}", tmp_path)
            with psycopg.connect(**server, dbname=new) as database:
                for table, rows in rows_of(dump).items():
                    counted = database.execute(f'SELECT count(*) FROM public."{table}"').fetchone()
                    assert counted == (rows,), table
        finally:
            postgres.execute(f'DROP DATABASE "{new}" WITH (FORCE)')


def test_each_version_that_was_dumped_is_there_for_both_databases():
    versions = [{name.rsplit(".", 2)[0] for name in dumps(vendor)} for vendor in ("sqlite", "postgresql")]

    assert versions[0] == versions[1]
    assert versions[0], "no dump of any version"
