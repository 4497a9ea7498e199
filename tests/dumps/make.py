"""A small filled database as SQL, of the schema of this commit: the data that later migrations are tested on.

    python -m tests.dumps.make 0.1.0        writes tests/dumps/0.1.0.sqlite.sql, and with
                                            TEST_DATABASE=postgresql 0.1.0.postgresql.sql

Made once, at a release, and never again: it stands for the databases of that version. Every table of the
workbench has rows; the texts are ours, and the only account has no password."""

import os
import subprocess
import sys
from pathlib import Path

import django
from django.conf import settings

HERE = Path(__file__).parent
SKIPPED = ("SET ", "SELECT pg_catalog.set_config", "\\", "--")
"""Lines of pg_dump that belong to a session or to its own shell."""


def main(version: str) -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from django.db import connection
    from django.test.utils import setup_databases, setup_test_environment, teardown_databases

    setup_test_environment()
    before = setup_databases(verbosity=0, interactive=False)
    try:
        fill()
        path = HERE / f"{version}.{connection.vendor}.sql"
        path.write_text(sqlite_dump() if connection.vendor == "sqlite" else postgresql_dump())
        print(f"Wrote {path.name}: {path.stat().st_size // 1000} kB.")
    finally:
        teardown_databases(before, verbosity=0)


def fill() -> None:
    """Rows in every table of the workbench."""
    from django.apps import apps
    from django.core.management import call_command
    from django.utils import timezone

    from tests.datasets.test_deleting import filled
    from tests.factories import AnnotatorFactory, DatasetFactory, ModelVersionFactory, UserFactory
    from workbench.models import (
        Evaluation,
        Learnt,
        LearntKey,
        LearntText,
        Promotion,
        PromptSet,
        Statistics,
        Worker,
    )

    admin = UserFactory.create(username="alice", is_staff=True)
    admin.set_unusable_password()
    admin.save()
    annotators = [AnnotatorFactory.create(user=admin), AnnotatorFactory.create()]
    version = ModelVersionFactory.create(name="reward-1", state="active")
    lesson = PromptSet.objects.create(sha256="0" * 64, source="Release 1 of Kitchen", size=3)
    filled(DatasetFactory.create(name="Kitchen"), annotators, version, lesson)
    Evaluation.objects.all().delete()
    Statistics.objects.all().delete()
    call_command("evaluate", "longest", on="Kitchen", verbosity=0)
    call_command("statistics", "Kitchen", verbosity=0)
    Promotion.objects.create(version=version, kind="first", by=admin, reason="The first model.")
    Learnt.objects.create(version=version, prompts=lesson, use="trained")
    LearntText.objects.create(prompts=lesson, shingles=bytes(8))
    LearntKey.objects.create(prompts=lesson, key=1)
    now = timezone.now()
    Worker.objects.create(name="host:1", queues="score", started_at=now, last_seen=now)
    empty = [
        model.__name__
        for model in apps.get_app_config("workbench").get_models()
        if not model._default_manager.exists()
    ]
    if empty:
        sys.exit(f"No rows in {', '.join(empty)}: put some into fill().")


def sqlite_dump() -> str:
    from django.db import connection

    connection.ensure_connection()
    return "\n".join(connection.connection.iterdump()) + "\n"


def postgresql_dump() -> str:
    database = settings.DATABASES["default"]
    command = ["pg_dump", "--inserts", "--no-owner", "--no-privileges", "-d", database["NAME"]]
    command += ["-h", database["HOST"], "-p", str(database["PORT"] or 5432), "-U", database["USER"]]
    environment = os.environ | {"PGPASSWORD": database["PASSWORD"] or ""}
    dumped = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    lines = (line for line in dumped.split("\n") if line and not line.startswith(SKIPPED))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1])
