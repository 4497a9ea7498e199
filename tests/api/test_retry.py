"""A request that is sent again with its Idempotency-Key is answered as before, and nothing is done twice."""

import threading
from contextlib import suppress
from inspect import getclosurevars

import orjson
import pytest
from django.apps import apps
from django.db import connection
from django.forms import BaseForm
from django.http import HttpResponse
from django.urls import resolve

from tests.api.conftest import program_with, token_of
from tests.api.tables import operations
from tests.api.test_access import ADDRESSES, OBJECTS
from tests.factories import ComparisonFactory, DatasetFactory, ModelVersionFactory, UserFactory
from tests.web.test_access import webhook_of
from workbench.api import programs
from workbench.api.document import document
from workbench.models import Dataset, KeptAnswer
from workbench.pipeline.webhooks import targets

pytestmark = pytest.mark.django_db
TABLE = operations()
GUARDED = {
    operation["operationId"]: method
    for methods in document()["paths"].values()
    for method, operation in methods.items()
    if any(parameter["name"] == "If-Match" for parameter in operation["parameters"])
}
"""The operations that take If-Match, with their methods."""
SHOWN_ONCE = {"rotate_webhook_secret", "create_invitation_link"}
"""Operations whose answer holds a secret, which is not kept."""


def create(client, key: str, name: str = "New"):
    return client.post(
        "/api/v1/datasets", {"name": name}, "application/json", headers={"idempotency-key": key}
    )


@pytest.fixture
def staff(alice):
    alice.is_staff = True
    alice.save()
    return alice


def test_the_same_request_again_gets_the_same_answer(staff, program):
    client = program(staff)
    first = create(client, "k1")

    again = create(client, "k1")

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again["Location"] == first["Location"]
    assert again["Idempotency-Replayed"] == "true"
    assert Dataset.objects.filter(name="New").count() == 1


def test_another_request_with_the_same_key_is_refused(staff, program):
    client = program(staff)
    create(client, "k1")

    other = create(client, "k1", name="Other")

    assert other.status_code == 422
    assert other.json()["code"] == "key_of_another"
    assert not Dataset.objects.filter(name="Other").exists()


def test_two_programs_may_choose_the_same_key(staff):
    create(program_with(token_of(staff)), "k1")

    other = create(program_with(token_of(staff)), "k1", name="Other")

    assert other.status_code == 201


def test_a_refused_request_may_be_sent_again_with_its_key(staff, program, dataset):
    client = program(staff)
    assert create(client, "k1", name=dataset.name).status_code == 422
    dataset.delete()

    assert create(client, "k1", name=dataset.name).status_code == 201


def test_an_error_of_the_server_keeps_no_answer_and_undoes_the_effect(staff, program, monkeypatch):
    client = program(staff)
    client.raise_request_exception = False
    monkeypatch.setattr("workbench.api.datasets.created", lambda *_: 1 / 0)

    assert create(client, "k1").status_code == 500

    assert not Dataset.objects.filter(name="New").exists()
    assert not KeptAnswer.objects.exists()


POSTS = [name for name, (method, _) in ADDRESSES.items() if method == "POST"]


def rows_of_each_table() -> dict[str, int]:
    """Without the answers that are kept."""
    models = [model for model in apps.get_models() if model is not KeptAnswer]
    return {model._meta.label: model._default_manager.count() for model in models}


def put_a_note_in_place_of(method: str, path: str, monkeypatch) -> None:
    """Have the operation do something that shows, whatever is sent to it: a dataset a time."""

    def note(request, **_):
        made = DatasetFactory.create()
        return HttpResponse(b'{"id": %d}' % made.pk, status=201, content_type="application/json")

    of_path = getclosurevars(resolve(path, programs.ADDRESSES).func).nonlocals["self"].operations
    (operation,) = [one for one in of_path if method in one.methods]
    monkeypatch.setattr(operation, "view_func", note)
    monkeypatch.setattr(operation, "_get_values", lambda *_: {})


@pytest.mark.parametrize("operation", POSTS)
def test_every_post_is_done_once_by_its_key(operation, dataset, staff, program, messages, monkeypatch):
    """An operation that refuses the body of the table does nothing in any case: a note is in its place."""
    row, (_, path) = TABLE[operation], ADDRESSES[operation]
    path = path.format(**OBJECTS[row.of](dataset))
    client = program(staff)
    if row.status >= 400:
        put_a_note_in_place_of("POST", path, monkeypatch)

    def send(body: bytes):
        return client.generic("POST", path, body, "application/json", headers={"idempotency-key": "k"})

    sent = b"" if row.body is None else orjson.dumps(row.body)
    first = send(sent)
    assert first.status_code == (201 if row.status >= 400 else row.status), first.content
    done = rows_of_each_table()
    again = send(sent)

    if operation in SHOWN_ONCE:
        assert (again.status_code, again.json()["code"]) == (409, "shown_once")
    else:
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.get("Location") == first.get("Location")
        assert again["Idempotency-Replayed"] == "true"
    assert rows_of_each_table() == done

    other = send(b'{"other": "body"}')
    assert (other.status_code, other.json()["code"]) == (422, "key_of_another")
    assert rows_of_each_table() == done


def test_a_key_of_endless_length_is_refused(staff, program):
    assert create(program(staff), "k" * 201).status_code == 422


@pytest.mark.django_db(transaction=True)
def test_of_two_requests_at_once_one_is_done(staff):
    secret = token_of(staff)
    answers = []

    def send():
        try:
            answers.append(create(program_with(secret), "k1"))
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    assert Dataset.objects.filter(name="New").count() == 1


def test_a_change_that_is_based_on_an_old_state_is_refused(dataset, alice, program):
    client, path = program(alice), f"/api/v1/datasets/{dataset.pk}/settings"
    etag = client.get(path)["ETag"]
    client.patch(path, {"overlap": 2}, "application/json")

    stale = client.patch(path, {"overlap": 3}, "application/json", headers={"if-match": etag})

    assert stale.status_code == 412
    dataset.refresh_from_db()
    assert dataset.overlap == 2


def test_every_change_of_a_thing_is_guarded():
    changes = {name for name, (method, _) in ADDRESSES.items() if method == "PATCH"}
    assert set(GUARDED) == changes | {"change_person_role", "set_gold"}


@pytest.mark.parametrize("operation", GUARDED)
def test_a_guarded_operation_refuses_an_old_state_and_takes_this_one(operation, dataset, staff, program):
    row, (method, path) = TABLE[operation], ADDRESSES[operation]
    path = path.format(**OBJECTS[row.of](dataset))
    read = path.removesuffix("/facts").removesuffix("/role").removesuffix("/gold")
    client = program(staff)

    def send(etag: str):
        headers = {"if-match": etag}
        return client.generic(method, path, orjson.dumps(row.body), "application/json", headers=headers)

    etag = client.get(read)["ETag"]
    old = send('"of-before"')
    assert (old.status_code, old.json()["code"]) == (412, "changed_meanwhile")
    assert client.get(read)["ETag"] == etag

    taken = send(etag)
    now = client.get(read)["ETag"]
    assert taken.status_code == row.status
    assert taken.get("ETag", now) == now != etag
    assert send(etag).status_code == 412


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("datasets/{dataset}/settings", [{"overlap": 2}, {"overlap": 3}]),
        ("account", [{"languages": ["pl"]}, {"languages": ["en"]}]),
        ("datasets/{dataset}/people/{member}/facts", [{"skills": ["law"]}, {"skills": ["art"]}]),
        ("datasets/{dataset}/people/{member}/role", [{"role": "admin"}, {"role": "reviewer"}]),
        ("models/{model}", [{"notice": "Ours."}, {"notice": "Theirs."}]),
        ("review/{pair}/gold", [{"outcome": "a"}, {"outcome": "b"}]),
        ("webhooks/{webhook}", [{"url": "https://a.example/"}, {"url": "https://b.example/"}]),
    ],
)
def test_of_two_changes_at_once_that_are_based_on_one_state_one_is_taken(
    dataset, staff, path, changes, monkeypatch
):
    path = "/api/v1/" + path.format(
        dataset=dataset.pk,
        member=dataset.members.create(user=UserFactory.create(), role="annotator").pk,
        model=ModelVersionFactory.create().pk,
        pair=ComparisonFactory.create(prompt__dataset=dataset).pk,
        webhook=webhook_of(dataset).pk,
    )
    secret = token_of(staff)
    read = path.removesuffix("/facts").removesuffix("/role").removesuffix("/gold")
    etag = program_with(secret).get(read)["ETag"]
    both_are_here, is_valid, answers = threading.Barrier(2), BaseForm.is_valid, []

    def wait_for_the_other(form):
        with suppress(threading.BrokenBarrierError):
            both_are_here.wait(0.5)
        return is_valid(form)

    def look_up_with_the_other(url):
        both_are_here.wait(5)
        return url

    def send(change):
        try:
            client = program_with(secret)
            post = client.post if path.endswith(("/role", "/gold")) else client.patch
            answers.append(post(path, change, "application/json", headers={"if-match": etag}))
        finally:
            connection.close()

    monkeypatch.setattr(BaseForm, "is_valid", wait_for_the_other)
    monkeypatch.setattr(targets, "checked", look_up_with_the_other)
    threads = [threading.Thread(target=send, args=[change]) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (taken,) = [answer for answer in answers if answer.status_code in (200, 204)]
    assert [answer.status_code for answer in answers if answer is not taken] == [412]
    now = program_with(secret).get(read)["ETag"]
    assert taken.get("ETag", now) == now != etag


def test_a_change_that_is_based_on_this_state_is_taken(dataset, alice, program):
    client, path = program(alice), f"/api/v1/datasets/{dataset.pk}/settings"
    etag = client.get(path)["ETag"]

    answer = client.patch(path, {"overlap": 3}, "application/json", headers={"if-match": etag})

    assert answer.status_code == 200
    assert answer.json()["overlap"] == 3


def test_a_wrong_setting_is_named_with_the_sentence_of_the_page(dataset, alice, program):
    path = f"/api/v1/datasets/{dataset.pk}/settings"

    answer = program(alice).patch(path, {"overlap": 0}, "application/json")

    assert answer.status_code == 422
    assert answer["Content-Type"] == "application/problem+json"
    (fault,) = answer.json()["errors"]
    assert fault["field"] == "overlap"


def test_settings_that_are_not_sent_stay_as_they_are(dataset, alice, program):
    client, path = program(alice), f"/api/v1/datasets/{dataset.pk}/settings"
    before = client.get(path).json()

    after = client.patch(path, {"overlap": 3}, "application/json").json()

    assert after == before | {"overlap": 3}
