"""A request that is sent again with its Idempotency-Key is answered as before, and nothing is done twice."""

import threading
from contextlib import suppress

import pytest
from django.db import connection
from django.forms import BaseForm

from tests.api.conftest import program_with, token_of
from workbench.models import Dataset, KeptAnswer

pytestmark = pytest.mark.django_db


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


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("datasets/{dataset}/settings", [{"overlap": 2}, {"overlap": 3}]),
        ("account", [{"languages": ["pl"]}, {"languages": ["en"]}]),
        ("datasets/{dataset}/people/{member}/facts", [{"skills": ["law"]}, {"skills": ["art"]}]),
    ],
)
def test_of_two_changes_at_once_that_are_based_on_one_state_one_is_taken(
    dataset, alice, path, changes, monkeypatch
):
    member = dataset.members.get(user=alice)
    path = "/api/v1/" + path.format(dataset=dataset.pk, member=member.pk)
    secret = token_of(alice)
    read = path.removesuffix("/facts")
    etag = program_with(secret).get(read)["ETag"]
    both_are_here, is_valid, answers = threading.Barrier(2), BaseForm.is_valid, []

    def wait_for_the_other(form):
        with suppress(threading.BrokenBarrierError):
            both_are_here.wait(0.5)
        return is_valid(form)

    def send(change):
        try:
            client = program_with(secret)
            answers.append(client.patch(path, change, "application/json", headers={"if-match": etag}))
        finally:
            connection.close()

    monkeypatch.setattr(BaseForm, "is_valid", wait_for_the_other)
    threads = [threading.Thread(target=send, args=[change]) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answer.status_code for answer in answers) == [200, 412]
    (taken,) = [answer for answer in answers if answer.status_code == 200]
    now = program_with(secret).get(read)
    assert now["ETag"] == taken["ETag"] != etag


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
