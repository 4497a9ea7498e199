"""Sending a Release to the hub by command, against the hub of tests/hub."""

import json
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from tests.factories import ComparisonFactory, JudgmentFactory
from tests.hub.standin import TOKEN, Hub, Repository, running_hub
from workbench.models import Release
from workbench.pipeline import releases

pytestmark = pytest.mark.django_db


@pytest.fixture
def hub(monkeypatch):
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.main.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield hub


@pytest.fixture
def release(dataset) -> Release:
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset))
    return releases.build(Release(dataset=dataset, profiles=["preference"]))


def test_all_files_go_in_one_commit_that_is_tagged_and_old_ones_leave(hub: Hub, release, capsys):
    repository = hub.repositories["team/kitchen"] = Repository()
    repository.commit({"old.jsonl": b"{}", ".gitattributes": b""})

    call_command("release_push", "Kitchen", 1, "team/kitchen", json=True)

    folder = Path(default_storage.path(release.folder))
    assert repository.files == {
        ".gitattributes": b"",
        **{path.name: path.read_bytes() for path in folder.iterdir()},
    }
    assert repository.tags == {"release-1": repository.branches["main"]}
    assert {asked.token for asked in hub.main.asked} == {TOKEN}
    assert json.loads(capsys.readouterr().out)["url"].endswith(repository.branches["main"])


def test_without_a_token_nothing_is_sent(release, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")

    with pytest.raises(CommandError, match="Set HF_TOKEN"):
        call_command("release_push", "Kitchen", 1, "team/kitchen")

    assert not hub.main.asked


def test_what_the_hub_says_when_it_refuses_is_passed_on(release, hub):
    hub.refuses = 403

    with pytest.raises(CommandError, match=r"(?s)The hub refused the upload: .*You may not"):
        call_command("release_push", "Kitchen", 1, "team/kitchen")


@pytest.mark.parametrize(("number", "repository"), [(2, "team/kitchen"), (1, "kitchen")])
def test_a_release_or_repository_that_cannot_be_meant_is_refused(release, hub, number, repository):
    with pytest.raises(CommandError, match=r"has no release 2|is not a repository"):
        call_command("release_push", "Kitchen", number, repository)

    assert not hub.main.asked
