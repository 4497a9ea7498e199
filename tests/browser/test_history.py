"""History in a browser: staff find what one person did, by keyboard alone."""

import pytest
from django.db import transaction
from django.urls import reverse

from tests.factories import ComparisonFactory, ModelVersionFactory, UserFactory
from workbench.models import Dataset, Role, Run
from workbench.pipeline.history.recording import Kind, record

pytestmark = pytest.mark.browser


@pytest.fixture
def busy(dataset, alice, rita, bob) -> Dataset:
    pair, model = (
        ComparisonFactory.create(prompt__dataset=dataset),
        ModelVersionFactory.create(name="Kitchen-2"),
    )
    with transaction.atomic():
        for _ in range(40):
            record(Kind.SETTLED, by=rita, dataset=dataset, target=pair, fields=["outcome", "note"])
        record(Kind.LOGGED_IN, by=alice, target=alice)
        fields = ["pause_alpha", "single_vote_threshold", "description", "aggregation"]
        record(Kind.SETTINGS, by=alice, dataset=dataset, target=dataset, fields=fields)
        record(Kind.ROLE_CHANGED, by=alice, dataset=dataset, target=bob, fields=["role"], word=Role.REVIEWER)
        record(Kind.RUN_STARTED, by=alice, dataset=dataset, word=Run.Kind.IMPORT, count=12_000)
        record(Kind.MODEL_PROMOTED, by=None, target=model)
        record(Kind.DATASET_DELETED, by=alice, dataset=dataset.pk + 100)
    return dataset


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (1440, "dark")])
def test_what_one_person_did_is_found_by_keyboard(width, theme, busy, open_as, picture, accessible):
    sam = UserFactory.create(username="sam", is_staff=True)
    page = open_as(sam, viewport={"width": width, "height": 900}, color_scheme=theme)
    page.goto(reverse("history"))
    picture(page, f"history-{width}-{theme}")
    accessible(page, "all rows")

    page.get_by_label("Person").focus()
    page.keyboard.type("bob")
    page.keyboard.press("Enter")
    page.wait_for_url("**person=bob**")

    assert page.locator("tbody tr").count() == 1
    said = " ".join(page.locator("tbody tr").inner_text().split())
    assert said.endswith("alice Changed a role: bob reviewer; role Kitchen")
    picture(page, f"history-found-{width}-{theme}")
    accessible(page, "found")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_admin_gets_there_from_the_settings(busy, alice, open_as, picture, accessible):
    page = open_as(alice, viewport={"width": 1440, "height": 900})
    page.goto(reverse("settings", args=[busy.pk]))

    page.get_by_role("link", name="History").click()

    assert page.locator("tbody tr").count() == 43
    picture(page, "history-of-a-dataset")
    accessible(page)
