"""A release goes to the hub from its page, by a worker."""

from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.urls import reverse

from tests.factories import ComparisonFactory, JudgmentFactory
from tests.hub import standin
from tests.hub.standin import TOKEN, Hub, Repository
from workbench.models import AllowedHost, Dataset, Release, Run
from workbench.pipeline import releases
from workbench.pipeline.hub import pushing
from workbench.worker import tasks

pytestmark = [
    pytest.mark.django_db,
    # huggingface_hub's own way to send a large file
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]


def built(dataset: Dataset, **texts: str) -> Release:
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset, **texts))
    return releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))


@pytest.fixture
def release(dataset) -> Release:
    return built(dataset)


@pytest.fixture
def push(alice):
    """Order a push as the page does, and let a worker take it; the Run afterwards."""

    def push(release: Release, repository: str = "team/kitchen", *, private: bool = True) -> Run:
        run = pushing.begin(release, repository, alice, private=private)
        tasks.carry_out(run.pk)
        run.refresh_from_db()
        return run

    return push


def files_of(release: Release) -> dict[str, bytes]:
    folder = Path(default_storage.path(release.folder))
    return {".gitattributes": b"", **{path.name: path.read_bytes() for path in folder.iterdir()}}


def test_all_files_arrive_in_a_private_repository_by_one_tagged_commit(hub: Hub, release, push):
    run = push(release)

    repository = hub.repositories["team/kitchen"]
    assert (run.state, run.error) == ("done", "")
    assert repository.files == files_of(release)
    assert repository.private
    assert (
        repository.tags == {"release-1": run.result["commit"]} == {"release-1": repository.branches["main"]}
    )
    assert "README.md" in repository.files


def test_large_files_go_to_the_store_of_the_hub_without_the_token(hub, release, push, monkeypatch):
    monkeypatch.setattr(standin, "LARGE", 200)

    push(release)

    assert hub.repositories["team/kitchen"].files == files_of(release)
    assert hub.cdn.asked
    assert {asked.token for asked in hub.cdn.asked} == {None}
    assert {asked.token for asked in hub.main.asked} == {TOKEN}


def test_a_store_that_nobody_allowed_is_named_and_nothing_is_committed(hub, release, push, monkeypatch):
    monkeypatch.setattr(standin, "LARGE", 200)
    AllowedHost.objects.filter(name=hub.cdn.name).delete()

    run = push(release)

    assert f"Requests to {hub.cdn.name} are not allowed." in run.error
    assert run.result["missing_host"] == hub.cdn.name
    assert hub.writes == []


@pytest.mark.parametrize("large", [standin.LARGE, 200])
def test_a_push_of_what_is_there_changes_nothing(hub, release, push, monkeypatch, large):
    monkeypatch.setattr(standin, "LARGE", large)
    first = push(release)

    again = push(release)

    assert again.result["unchanged"]
    assert again.result["commit"] == first.result["commit"]
    assert len(hub.writes) == 1


def test_the_next_release_takes_the_place_of_the_one_before(hub, dataset, release, push):
    first = push(release)
    second = built(dataset)

    run = push(second)

    repository = hub.repositories["team/kitchen"]
    assert repository.files == files_of(second)
    assert repository.tags == {"release-1": first.result["commit"], "release-2": run.result["commit"]}
    assert repository.commits[first.result["commit"]] == files_of(release)


def test_a_repository_with_other_files_is_left_alone(hub, release, push):
    hub.repositories["team/kitchen"] = Repository(private=True)
    hub.repositories["team/kitchen"].commit({"README.md": b"x", "precious.csv": b"1"})

    run = push(release)

    assert run.error == (
        "team/kitchen holds files that are no release of this dataset (precious.csv). Choose a new one."
    )
    assert hub.repositories["team/kitchen"].files == {"README.md": b"x", "precious.csv": b"1"}


def test_the_releases_of_another_dataset_are_left_alone(hub, release, push):
    other = Repository(private=True)
    other.commit({"manifest.json": b'{"dataset": {"name": "Garden"}}', "train.jsonl": b"{}"})
    hub.repositories["team/kitchen"] = other

    assert "no release of this dataset" in push(release).error


def test_a_public_repository_is_not_taken_for_a_private_one(hub, release, push):
    hub.repositories["team/kitchen"] = Repository()
    hub.repositories["team/kitchen"].commit({".gitattributes": b""})

    assert push(release).error == "team/kitchen is public. Untick “Private” to push to it all the same."
    assert push(release, private=False).state == "done"


def test_a_repository_of_others_is_refused_in_a_sentence(hub, release, push):
    run = push(release, "others/kitchen")

    assert run.error == f"{hub.main.name} refused: HF_TOKEN has no right to do this with others/kitchen."


def test_without_a_token_nothing_is_asked(hub, release, push, settings):
    settings.HUB_TOKEN = ""

    run = push(release)

    assert (
        run.error
        == "There is no token: set HF_TOKEN for the workers to one that may write to the repository."
    )
    assert hub.main.asked == []


def test_a_token_that_is_wrong_is_refused_in_a_sentence(hub, release, push, settings):
    settings.HUB_TOKEN = "hf_wrong"

    run = push(release)

    assert "HF_TOKEN has no right" in run.error
    assert "hf_wrong" not in run.error


def test_a_cancelled_push_commits_nothing(hub, release, push, monkeypatch):
    monkeypatch.setattr(
        Run, "update_progress", lambda run, *_: Run.objects.update(state="cancelled") and False
    )

    run = push(release)

    assert run.state == "cancelled"
    assert hub.writes == []


def test_two_people_who_push_at_once_overwrite_nobody(hub, release, push, monkeypatch):
    push(release)
    second = built(release.dataset)
    repository = hub.repositories["team/kitchen"]
    real = Repository.commit

    def commit_behind_ours(run: Run, done: int, *_: object) -> bool:
        if not done:
            real(repository, {**repository.files, "theirs.txt": b"x"})
        return True

    monkeypatch.setattr(Run, "update_progress", commit_behind_ours)

    run = push(second)

    assert run.error == f"{hub.main.name} answered 412: A commit has happened since."
    assert "theirs.txt" in repository.files


# By the page


def test_an_admin_pushes_and_sees_the_commit(hub, release, as_user, alice, messages):
    client = as_user(alice)

    client.post(reverse("release_push", args=[release.pk]), {"repository": "team/kitchen", "private": "on"})
    run = Run.objects.get(kind="push")
    tasks.carry_out(run.pk)

    page = client.get(reverse("release", args=[release.pk])).content.decode()
    assert f'title="{hub.repositories["team/kitchen"].branches["main"]}"' in page
    assert hub.repositories["team/kitchen"].private
    assert TOKEN not in page


def test_a_repository_is_private_unless_somebody_unticks_it(release, as_user, alice):
    page = as_user(alice).get(reverse("release", args=[release.pk])).content.decode()

    assert '<input type="checkbox" name="private" id="id_private" checked>' in page


def test_a_button_pressed_twice_pushes_once(hub, release, as_user, alice, messages):
    for _ in range(2):
        as_user(alice).post(reverse("release_push", args=[release.pk]), {"repository": "team/kitchen"})

    assert Run.objects.filter(kind="push").count() == 1


def test_what_is_no_repository_is_refused_by_the_page(release, as_user, alice):
    answer = as_user(alice).post(reverse("release_push", args=[release.pk]), {"repository": "kitchen"})

    assert answer.status_code == 400
    assert "Write owner/name." in answer.content.decode()


def test_the_release_of_an_archived_dataset_is_not_pushed(release, as_user, alice, dataset):
    release.dataset.archived_at = release.created_at
    release.dataset.save()

    answer = as_user(alice).post(reverse("release_push", args=[release.pk]), {"repository": "team/kitchen"})

    assert answer.status_code == 423
