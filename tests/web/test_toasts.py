"""Toasts say what was saved: with an Undo where an act can be taken back, and without a script too."""

import re

import pytest
from django.urls import reverse

from workbench.templatetags.figures import between, percent, with_interval

pytestmark = [pytest.mark.django_db, pytest.mark.portable]


def test_a_toast_says_what_was_saved_and_takes_it_back_by_one_button(dataset, alice, as_user):
    client = as_user(alice)

    said = client.post(reverse("archive", args=[dataset.pk]), follow=True).content.decode()
    (undo,) = re.findall(r'<form method="post" action="([^"]+)">.*?<button class="quiet">Undo</button>', said)
    client.post(undo)

    assert 'id="toasts" role="status" aria-live="polite"' in said
    assert "<span>Kitchen is archived.</span>" in said
    dataset.refresh_from_db()
    assert dataset.archived_at is None


def test_what_cannot_be_taken_back_has_no_undo_and_every_page_has_the_place_for_toasts(
    dataset, alice, as_user
):
    client, settings = as_user(alice), reverse("settings", args=[dataset.pk])

    client.post(reverse("guidelines_revise", args=[dataset.pk]), {"text": "Be kind.", "based_on": 0})
    said = client.get(settings).content.decode()

    assert "<span>Saved. Annotators now see version 1 of the guidelines.</span>" in said
    assert ">Undo<" not in said
    assert 'id="toasts"' in as_user(alice).get(reverse("home")).content.decode()


def test_no_share_on_a_page_ends_a_line_before_its_per_cent_sign():
    assert percent(0.51) == "51\u00a0%"
    assert between((0.4, 0.6)) == "40 to 60\u00a0%"
    assert with_interval({"value": 0.5, "low": 0.4, "high": 0.6}) == "50\u00a0% (40 to 60)"
