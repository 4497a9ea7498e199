"""Importing in a browser."""

import hashlib
import uuid

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import reverse
from playwright.sync_api import expect

from workbench.models import Upload

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

TABLE = b"Frage,links,rechts,Urteil\nNenne eine Primzahl.,Neun.,Sieben.,R\n"


def test_columns_are_named_one_after_the_other_and_looked_at_when_asked(open_as, alice, dataset):
    pk = uuid.uuid4()
    upload = Upload.objects.create(
        pk=pk,
        dataset=dataset,
        shown_name="umfrage.csv",
        path=default_storage.save(f"uploads/{pk}", ContentFile(TABLE)),
        size=len(TABLE),
        sha256=hashlib.sha256(TABLE).hexdigest(),
    )
    page = open_as(alice)
    page.goto(reverse("import_preview", args=[upload.pk]))
    named = {
        "prompt": "Frage",
        "a": "links",
        "b": "rechts",
        "outcome": "Urteil",
        "says_a": "L",
        "says_b": "R",
    }

    for word, column in named.items():
        page.locator(f"[name=column_{word}]").fill(column)
    page.get_by_role("button", name="Preview with these columns").click()

    expect(page.get_by_text("Label: right is better")).to_be_visible()
    for word, column in named.items():
        expect(page.locator(f"[name=column_{word}]")).to_have_value(column)
