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


def test_on_a_phone_the_name_of_the_file_stays_in_sight_while_its_removal_is_confirmed(
    open_as, dataset, alice
):
    name = f"answers-of-our-second-round-of-votes-{'long' * 10}.jsonl"
    dataset.uploads.create(shown_name=name, path="a", size=1, sha256="", uploaded_by=alice)
    page = open_as(alice, viewport={"width": 390, "height": 844})
    page.goto(reverse("import", args=[dataset.pk]))

    page.get_by_label(f"Remove {name}").click()

    expect(page.get_by_role("link", name=name)).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Remove file")).to_be_in_viewport(ratio=1)
    scrolled = page.locator(".table-scroll", has_text=name).evaluate(
        "box => [box.scrollWidth, box.clientWidth]"
    )
    assert scrolled[0] <= scrolled[1]
