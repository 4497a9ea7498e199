"""/healthz and /readyz: whether the process lives, whether it can serve pages, and what needs attention."""

import pytest
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.utils import timezone

from workbench import health
from workbench.models import Worker
from workbench.worker.celery import app

PROBES = ("/healthz", "/readyz")


@pytest.mark.parametrize("path", PROBES)
@pytest.mark.parametrize("https", [True, False])
def test_any_host_is_answered_and_nobody_is_redirected(path, https, db, settings):
    settings.ALLOWED_HOSTS = ["workbench.example"]
    settings.SECURE_SSL_REDIRECT = https

    answer = Client().get(path, HTTP_HOST="10.1.2.3")

    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"


def test_what_waits_for_others_is_a_warning_and_no_failure(db, settings):
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"

    report = Client().get("/readyz").json()

    assert report["ready"] is True
    assert report["failures"] == {}
    assert report["warnings"]["workers"] == "No worker is alive: imports, scores and releases wait."


def test_a_worker_that_is_alive_is_no_warning(db):
    now = timezone.now()
    Worker.objects.create(name="one", queues="score, work", started_at=now, last_seen=now)

    assert "workers" not in Client().get("/readyz").json()["warnings"]


def test_a_broker_that_is_away_is_a_warning(db, settings, monkeypatch):
    settings.CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(app.conf, "broker_url", settings.CELERY_BROKER_URL)
    monkeypatch.setattr(app.conf, "broker_write_url", settings.CELERY_BROKER_URL)

    assert "does not answer" in Client().get("/readyz").json()["warnings"]["broker"]


def test_a_database_that_is_one_migration_behind_is_noticed(transactional_db):
    graph = MigrationExecutor(connection).loader.graph
    newest = next(name for app, name in graph.leaf_nodes() if app == "workbench")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'workbench' AND name = %s", [newest])
    try:
        report = Client().get("/readyz").json()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO django_migrations (app, name, applied) VALUES ('workbench', %s, %s)",
                [newest, timezone.now()],
            )

    assert report["failures"] == {"migrations": "The database lacks migrations: run manage.py migrate."}


def test_a_database_that_does_not_answer_fails(db, monkeypatch):
    def away():
        raise DatabaseError

    monkeypatch.setattr(health.connection, "cursor", away)

    answer = Client().get("/readyz")

    assert answer.status_code == 503
    assert (
        answer.json()["failures"]["database"]
        == "The database does not answer: check that it runs, and DATABASE_URL."
    )


def test_missing_static_files_fail_with_the_command(db, settings, tmp_path):
    settings.STATIC_ROOT = tmp_path
    manifest = {"BACKEND": "workbench.static_files.ManifestStorage"}
    settings.STORAGES = settings.STORAGES | {"staticfiles": manifest}

    report = Client().get("/readyz").json()["failures"]

    assert report["static"] == "Static files are missing: run manage.py collectstatic."


def test_pages_are_served_without_static_files(db, settings, tmp_path):
    settings.STATIC_ROOT = tmp_path
    manifest = {"BACKEND": "workbench.static_files.ManifestStorage"}
    settings.STORAGES = settings.STORAGES | {"staticfiles": manifest}

    assert Client().get("/login/").status_code == 200
    assert Client().get("/nowhere/").status_code in {302, 404}


def test_storage_that_cannot_be_written_fails(db, monkeypatch):
    monkeypatch.setattr(health.os, "access", lambda *_: False)

    assert Client().get("/readyz").json()["failures"]["storage"].startswith("Files cannot be written")


def test_a_bucket_that_does_not_answer_fails(db, monkeypatch):
    class Away:
        def exists(self, name):
            raise ConnectionError

    monkeypatch.setattr(health, "storages", {"default": Away(), "staticfiles": None})
    monkeypatch.setattr(health, "default_storage", Away())

    assert (
        Client().get("/readyz").json()["failures"]["storage"]
        == "The bucket does not answer: ConnectionError."
    )
