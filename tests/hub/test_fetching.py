"""Files of a data set on the hub come in by a worker, pinned to a commit."""

import hashlib
import json
import logging

import pytest
from django.core.files.storage import default_storage
from django.urls import reverse

from tests.hub.standin import LARGE, TOKEN, Hub, Repository
from workbench.db.storage import names_in
from workbench.models import AllowedHost, Prompt, Run, Upload
from workbench.pipeline.hub import fetching
from workbench.worker import tasks

pytestmark = [pytest.mark.django_db, pytest.mark.portable]

ROW = {"prompt": "Name a prime.", "chosen": "Seven.", "rejected": "Nine."}
SMALL = (json.dumps(ROW) + "\n").encode()
BIG = SMALL + b"\n" * LARGE


@pytest.fixture
def repository(hub: Hub) -> Repository:
    repository = Repository(card={"license": "cc-by-4.0"})
    repository.commit(
        {
            "README.md": b"card",
            "train.jsonl": SMALL,
            "data/test-00000-of-00002.jsonl": SMALL,
            "data/test-00001-of-00002.jsonl": BIG,
        }
    )
    hub.repositories["acme/votes"] = repository
    return repository


@pytest.fixture
def fetch(dataset, alice):
    """Order a fetch as the page does, and let a worker take it; the Run afterwards."""

    def fetch(wanted: str = "train.jsonl", repository: str = "acme/votes", revision: str = "main") -> Run:
        run = fetching.begin(dataset, fetching.Order(repository, revision, wanted), alice)
        tasks.carry_out(run.pk)
        run.refresh_from_db()
        return run

    return fetch


def stored(upload: Upload) -> bytes:
    with default_storage.open(upload.path) as file:
        return bytes(file.read())


def test_a_file_comes_in_pinned_with_its_checksum_and_its_licence(fetch, repository, alice):
    run = fetch()

    upload = Upload.objects.get()
    assert (run.state, run.error) == ("done", "")
    assert stored(upload) == SMALL
    assert upload.sha256 == hashlib.sha256(SMALL).hexdigest()
    assert (upload.shown_name, upload.size, upload.uploaded_by) == ("train.jsonl", len(SMALL), alice)
    assert upload.origin["commit"] == repository.branches["main"]
    assert (upload.origin["revision"], upload.origin["path"]) == ("main", "train.jsonl")
    assert upload.origin["licence"] == "cc-by-4.0"


def test_without_a_file_the_files_that_can_be_imported_are_listed(fetch, repository):
    run = fetch("")

    assert run.state == "done"
    assert [path for path, _ in run.result["listing"]] == [
        "train.jsonl", "data/test-00000-of-00002.jsonl", "data/test-00001-of-00002.jsonl",
    ]  # fmt: skip
    assert not Upload.objects.exists()


def test_a_split_by_the_name_of_its_files_brings_all_of_them(fetch, repository):
    fetch("test")

    assert [upload.size for upload in Upload.objects.order_by("size")] == [len(SMALL), len(BIG)]


def test_a_split_of_the_card_has_the_files_that_the_card_names(fetch, repository):
    repository.card["configs"] = [
        {"config_name": "default", "data_files": [{"split": "held_out", "path": "data/test-00000-*"}]}
    ]

    fetch("held_out")

    assert [upload.shown_name for upload in Upload.objects.all()] == ["test-00000-of-00002.jsonl"]


def test_a_commit_is_fetched_as_it_was_after_the_branch_went_on(fetch, repository):
    before = repository.branches["main"]
    repository.commit({"train.jsonl": b"changed"})

    run = fetch(revision=before)

    assert stored(Upload.objects.get()) == SMALL
    assert run.result["commit"] == before


def test_the_token_goes_to_the_hub_and_to_no_host_that_it_redirects_to(fetch, hub, repository):
    fetch("data/test-00001-of-00002.jsonl")

    assert {asked.token for asked in hub.main.asked} == {TOKEN}
    assert {asked.token for asked in hub.cdn.asked} == {None}
    assert Upload.objects.get().size == len(BIG)


def test_a_host_that_the_hub_redirects_to_is_asked_only_where_staff_allow_it(fetch, hub, repository):
    AllowedHost.objects.filter(name=hub.cdn.name).delete()

    run = fetch("data/test-00001-of-00002.jsonl")

    assert run.state == "failed"
    assert run.error == (
        f"Requests to {hub.cdn.name} are not allowed. Staff can allow this host on the page “Allowed hosts”."
    )
    assert run.result["missing_host"] == hub.cdn.name
    assert hub.cdn.asked == []


def test_a_hub_that_nobody_allowed_is_not_asked(fetch, hub, repository):
    AllowedHost.objects.all().delete()

    run = fetch()

    assert f"Requests to {hub.main.name} are not allowed." in run.error
    assert hub.main.asked == []


def test_a_host_with_a_private_address_is_not_asked_unless_the_operator_names_it(
    fetch, hub, repository, settings
):
    settings.PRIVATE_HOSTS = []

    run = fetch()

    assert f"{hub.main.name} has a private address." in run.error
    assert hub.main.asked == []


@pytest.mark.parametrize(
    "address", ["http://hub.example/large", "https://169.254.169.254/latest/meta-data", "file:///etc/passwd"]
)
def test_a_redirect_leads_to_no_http_no_metadata_and_no_file(fetch, hub, repository, address):
    hub.redirects_to = address
    AllowedHost.objects.create(name="hub.example")
    AllowedHost.objects.create(name="169.254.169.254")

    run = fetch()

    assert run.state == "failed"
    assert not Upload.objects.exists()


def test_http_is_for_development_alone(fetch, hub, repository, settings):
    settings.DEBUG = False

    run = fetch()

    assert run.error == f"{hub.main.name} would be asked by http. Only https is allowed."
    assert hub.main.asked == []


@pytest.mark.parametrize("spoilt", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b.replace(b"S", b"s")])
@pytest.mark.parametrize("wanted", ["train.jsonl", "data/test-00001-of-00002.jsonl"])
def test_a_file_that_is_not_what_the_hub_says_is_not_stored(fetch, hub, repository, spoilt, wanted):
    hub.spoils = spoilt
    before = names_in("uploads")

    run = fetch(wanted)

    assert run.state == "failed"
    assert "than the hub says. Nothing was stored; try again." in run.error
    assert not Upload.objects.exists()
    assert names_in("uploads") == before


def test_a_file_larger_than_the_limit_is_not_begun(fetch, hub, repository, settings):
    settings.UPLOAD_MAX_BYTES = len(SMALL)

    run = fetch("data/test-00001-of-00002.jsonl")

    assert "more than the limit" in run.error
    assert hub.cdn.asked == []


def test_a_fetch_that_takes_too_long_is_given_up(fetch, repository, monkeypatch):
    monkeypatch.setattr(fetching, "MOST_SECONDS", -1.0)

    assert "was given up" in fetch().error


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"repository": "acme/none"}, "has no repository acme/none, or it is private"),
        ({"revision": "v9"}, "acme/votes has no revision v9."),
        ({"wanted": "none.jsonl"}, "has no file and no split “none.jsonl”"),
        ({"wanted": "README.md"}, "“README.md” can’t be imported."),
    ],
)
def test_what_is_not_there_is_said_in_a_sentence(fetch, repository, changes, says):
    run = fetch(**changes)

    assert run.state == "failed"
    assert says in run.error


@pytest.mark.parametrize(("status", "says"), [(403, "HF_TOKEN has no right"), (500, "answered 500")])
def test_a_refusal_of_the_hub_is_passed_on_without_addresses(fetch, hub, repository, status, says):
    hub.refuses = status

    run = fetch()

    assert says in run.error
    assert "http://" not in run.error


def test_a_hub_that_is_away_is_named(fetch, hub, repository):
    hub.main.server_close()
    hub.main.shutdown()

    assert f"{hub.main.name} cannot be reached" in fetch().error


def test_a_cancelled_fetch_stores_nothing(fetch, repository, monkeypatch):
    monkeypatch.setattr(
        Run, "update_progress", lambda run, *_: Run.objects.update(state="cancelled") and False
    )

    run = fetch()

    assert run.state == "cancelled"
    assert not Upload.objects.exists()


def test_a_fetch_of_a_worker_that_ends_waits_for_another(fetch, repository, monkeypatch):
    monkeypatch.setattr(tasks, "is_stopping", lambda: True)

    run = fetch()

    assert (run.state, run.attempts) == ("waiting", 0)
    assert not Upload.objects.exists()


def test_neither_the_token_nor_a_signed_address_is_logged(fetch, hub, repository, caplog):
    caplog.set_level(logging.INFO)

    fetch("data/test-00001-of-00002.jsonl")

    assert TOKEN not in caplog.text
    assert "Signature" not in caplog.text


# By the page


@pytest.mark.django_db(transaction=True)  # progress is told through a connection of its own
def test_an_admin_names_a_repository_and_imports_what_came(
    hub, repository, dataset, as_user, alice, messages
):
    client = as_user(alice)

    answer = client.post(
        reverse("import_hub", args=[dataset.pk]),
        {"repository": f"{hub.main.url}/datasets/acme/votes/blob/main/train.jsonl"},
    )
    run = Run.objects.get()
    assert run.params == {"repository": "acme/votes", "revision": "main", "wanted": "train.jsonl"}
    tasks.carry_out(run.pk)
    shown = client.get(answer["Location"]).content.decode()
    assert repository.branches["main"] in shown
    upload = Upload.objects.get()
    preview = client.get(reverse("import_preview", args=[upload.pk])).content.decode()
    assert 'value="cc-by-4.0"' in preview
    assert f"{repository.branches['main'][:12]}</code>" in preview
    client.post(reverse("import_preview", args=[upload.pk]), {"licence": "cc-by-4.0"})
    tasks.carry_out(Run.objects.get(kind="import").pk)

    assert Prompt.objects.get().dataset == dataset
    assert Run.objects.get(kind="import").params["licence"] == "cc-by-4.0"


def test_a_page_that_waits_for_one_file_goes_on_to_its_preview(fetch, repository, as_user, alice):
    run = fetch()

    answer = as_user(alice).get(reverse("import_fetch", args=[run.pk]), headers={"HX-Request": "true"})

    assert answer["HX-Redirect"] == reverse("import_preview", args=[Upload.objects.get().pk])


def test_a_listed_file_is_fetched_at_the_commit_of_the_list(fetch, repository, as_user, alice, messages):
    listed = fetch("")

    page = as_user(alice).get(reverse("import_fetch", args=[listed.pk])).content.decode()

    assert f'name="revision" value="{repository.branches["main"]}"' in page
    assert 'aria-label="Fetch train.jsonl"' in page


def test_the_files_of_a_repository_are_offered_where_the_wanted_one_is_not_there(
    fetch, repository, as_user, alice
):
    run = fetch("tran.jsonl")

    page = as_user(alice).get(reverse("import_fetch", args=[run.pk])).content.decode()

    assert "no file and no split “tran.jsonl”" in page
    assert 'aria-label="Fetch train.jsonl"' in page


def test_a_button_pressed_twice_fetches_once(repository, dataset, as_user, alice, messages):
    for _ in range(2):
        as_user(alice).post(reverse("import_hub", args=[dataset.pk]), {"repository": "acme/votes"})

    assert Run.objects.count() == 1


@pytest.mark.parametrize("name", ["../etc", "acme/votes/x", "https://hub.example/acme", "acme votes", ""])
def test_what_is_no_repository_is_refused_by_the_page(dataset, as_user, alice, name):
    answer = as_user(alice).post(reverse("import_hub", args=[dataset.pk]), {"repository": name})

    assert answer.status_code == 400
    assert not Run.objects.exists()


def test_staff_are_led_to_the_host_that_is_missing(fetch, hub, repository, as_user, alice):
    alice.is_staff = True
    alice.save()
    AllowedHost.objects.filter(name=hub.cdn.name).delete()
    run = fetch("data/test-00001-of-00002.jsonl")

    url = reverse("import_fetch", args=[run.pk])

    assert f"Allow {hub.cdn.name}</a>" in as_user(alice).get(url).content.decode()
    AllowedHost.objects.create(name=hub.cdn.name)
    page = as_user(alice).get(url).content.decode()
    assert f"Allow {hub.cdn.name}" not in page
    assert f"{hub.cdn.name} is allowed now: try again." in page
