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


def test_columns_are_named_one_after_the_other_and_looked_at_when_asked(open_as, alice, dataset, accessible):
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
    uses = {
        "Frage": "Prompt",
        "links": "Answer A",
        "rechts": "Answer B",
        "Urteil": "Which of A and B is better",
    }

    accessible(page)
    for column, use in uses.items():
        page.get_by_label(column, exact=True).select_option(label=use)
    page.get_by_label("A is better").fill("L")
    page.get_by_label("B is better").fill("R")
    page.get_by_role("button", name="Preview with these columns").click()

    expect(page.get_by_text("Label: right is better")).to_be_visible()
    for column, use in uses.items():
        expect(page.get_by_label(column, exact=True).locator("option:checked")).to_have_text(use)
    expect(page.get_by_label("B is better")).to_have_value("R")
