"""No byte is read of a body that its view does not take, or of a stranger's file."""

import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from workbench.bodies import LONG_TEXT, MEGABYTE
from workbench.models import Upload

FILE = b'{"prompt": "p", "chosen": "a", "rejected": "b"}\n'


class Unread(io.BytesIO):
    """A body of which no byte may be read."""

    def read(self, *args):
        raise AssertionError("the body was read")

    readline = read


def post(client: Client, path: str, length: int, content_type: str = "multipart/form-data; boundary=x"):
    body = {"wsgi.input": Unread(), "CONTENT_LENGTH": str(length), "CONTENT_TYPE": content_type}
    return client.generic("POST", path, **body)


def test_a_stranger_s_file_is_not_read(dataset):
    client = Client(enforce_csrf_checks=True)

    answer = post(client, reverse("import", args=[dataset.pk]), 600 * MEGABYTE)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/login/")


@pytest.mark.parametrize("who", ["bob", "rita"])
def test_the_file_of_a_member_who_may_not_import_is_not_read(who, request, dataset, as_user):
    answer = post(as_user(request.getfixturevalue(who)), reverse("import", args=[dataset.pk]), 600 * MEGABYTE)

    assert answer.status_code == 403


def test_the_file_of_somebody_else_is_not_read(charlie, dataset, as_user):
    assert post(as_user(charlie), reverse("import", args=[dataset.pk]), 600 * MEGABYTE).status_code == 404


@pytest.mark.parametrize("path", ["/login/", "/logout/", "/password/", "/admin/login/", "/nowhere/"])
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_a_large_body_of_a_stranger_is_not_read(path, kind, db):
    answer = post(Client(enforce_csrf_checks=True), path, MEGABYTE + 1, kind)

    assert answer.status_code == 413
    assert "Nothing was saved" in answer.content.decode()


def test_a_long_text_may_have_ten_megabytes_where_it_is_sent_and_one_elsewhere(dataset, alice, as_user):
    client = as_user(alice)
    guidelines = reverse("guidelines_revise", args=[dataset.pk])

    assert client.post(guidelines, {"text": "a" * 2 * MEGABYTE, "based_on": 0}).status_code == 302
    assert dataset.current_guidelines.text == "a" * 2 * MEGABYTE
    assert post(client, guidelines, LONG_TEXT + 1).status_code == 413
    assert post(client, reverse("settings", args=[dataset.pk]), MEGABYTE + 1).status_code == 413


def test_the_ten_megabytes_are_for_people_who_have_logged_in(dataset):
    assert post(Client(), reverse("guidelines_revise", args=[dataset.pk]), 2 * MEGABYTE).status_code == 413


def test_a_small_file_is_stored_nowhere_but_by_an_import(dataset, alice, as_user, tmp_path, settings):
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
    file = SimpleUploadedFile("x.jsonl", FILE)

    answer = as_user(alice).post(reverse("settings", args=[dataset.pk]), {"file": file})

    assert answer.status_code == 400
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_somebody_who_may_import_is_taken(dataset, alice, as_user):
    client = as_user(alice)

    answer = client.post(reverse("import", args=[dataset.pk]), {"file": SimpleUploadedFile("x.jsonl", FILE)})

    assert answer.status_code == 302
    assert Upload.objects.get().size == len(FILE)


@pytest.mark.parametrize("length", ["", "0", "abc", "-1"])
def test_an_odd_length_is_no_error(length, db):
    answer = Client().generic("POST", "/login/", CONTENT_LENGTH=length, CONTENT_TYPE="text/plain")

    assert answer.status_code < 500


def test_pages_of_people_who_have_logged_in_are_kept_by_no_cache(dataset, alice, as_user):
    client = as_user(alice)

    for url in ("home", "versions", "password_change"):
        assert client.get(reverse(url))["Cache-Control"] == "private, no-store"
    for url in ("dataset", "data", "settings", "people", "runs", "review", "quality", "import", "releases"):
        cached = client.get(reverse(url, args=[dataset.pk]))["Cache-Control"]
        assert cached == "private, no-store", url
