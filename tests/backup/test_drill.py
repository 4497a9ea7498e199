"""The drill: a backup taken while people work, restored into an empty place by the documented commands."""

import json
import threading
from collections.abc import Iterator
from datetime import datetime

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection

from tests.backup.places import elsewhere, here
from tests.factories import ComparisonFactory, DatasetFactory, JudgmentFactory
from tests.webserver import ask, web
from workbench.models import Judgment, Release, Run
from workbench.pipeline import releases

__all__ = ["elsewhere", "here"]

pytestmark = pytest.mark.django_db(transaction=True)

CONTENT = b'{"prompt": "Why?", "chosen": "So.", "rejected": "No."}\n'


@pytest.fixture
def release(dataset) -> Release:
    for _ in range(5):
        JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset))
    return releases.build(Release(dataset=dataset, profiles=["preference"]))


@pytest.fixture
def voting() -> Iterator[list[int]]:
    """Votes that keep coming: the primary keys of those acknowledged so far."""
    busy = DatasetFactory.create(name="Busy")
    acknowledged: list[int] = []
    over = threading.Event()

    def vote() -> None:
        while not over.is_set():
            comparison = ComparisonFactory.create(prompt__dataset=busy)
            acknowledged.append(JudgmentFactory.create(comparison=comparison).pk)
        connection.close()

    thread = threading.Thread(target=vote)
    thread.start()
    yield acknowledged
    over.set()
    thread.join()


def test_all_that_was_saved_before_a_backup_is_there_after_a_restore(
    here, elsewhere, release, voting, tmp_path
):
    kept = default_storage.save("uploads/kept.jsonl", ContentFile(CONTENT))
    saved_before = len(voting)

    taken = json.loads(here.does("backup", str(tmp_path / "target"), "--json").splitlines()[-1])
    made_at = datetime.fromisoformat(taken["made_at"])
    before = set(Judgment.objects.filter(created_at__lt=made_at).values_list("pk", flat=True))
    elsewhere.does("restore", str(tmp_path / "target"))
    elsewhere.does("migrate", "-v", "0")
    elsewhere.does("collectstatic", "--no-input", "-v", "0")

    assert before.issuperset(voting[:saved_before])
    votes = "from workbench.models import Judgment; print(*Judgment.objects.values_list('pk', flat=True))"
    restored = set(map(int, elsewhere.does("shell", "-v", "0", "-c", votes).split()))
    assert before <= restored
    assert (elsewhere.data / "files" / kept).read_bytes() == CONTENT
    said = elsewhere.does("release_verify", release.dataset.name)
    assert "every file is unchanged, and the database gives the same bytes today" in said
    with web(tmp_path / "web.log", **elsewhere.environment) as port:
        status, body, _ = ask(port, "/readyz")
        assert (status, json.loads(body)["failures"]) == (200, {})
        assert ask(port, "/login/")[0] == 200


def test_a_backup_that_a_command_took_is_known_to_the_pages(here, release, tmp_path):
    here.does("backup", str(tmp_path / "target"))

    run = Run.objects.of_kind(Run.Kind.BACKUP).get()
    assert run.state == Run.State.DONE
    assert [path.stem for path in (tmp_path / "target").glob("*.json")] == [run.result["backup"]]
