"""The pages about the hub and a wide mapping in a browser: readable on a phone, and for everybody."""

import hashlib
import uuid

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import reverse

from tests.browser.test_pages import OUT_OF_REACH
from tests.factories import ComparisonFactory, JudgmentFactory, RunFactory
from workbench.models import AllowedHost, Dataset, Release, Upload, User
from workbench.pipeline import releases

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
COLUMNS = ["Question", "Answer A", "Answer B", *(f"Extra column number {n}" for n in range(20))]
WIDE = "\n".join([",".join(COLUMNS), ",".join(f"a value of {name} " * 3 for name in COLUMNS)]).encode()


@pytest.fixture
def addresses(dataset: Dataset, alice: User) -> dict[str, str]:
    """Each state of these pages, by a name."""
    alice.is_staff = True
    alice.save()
    AllowedHost.objects.create(name="huggingface.co", added_by=alice)
    order = {"repository": "acme/kitchen-votes", "revision": "main", "wanted": ""}
    known = {"commit": COMMIT, "revision": "main", "licence": "cc-by-4.0"}
    listing = [(f"data/train-{n:05d}-of-00012.parquet", 2_000_000 * n) for n in range(12)]
    file = {"path": listing[3][0], "bytes": 6_000_000, "sha256": "ab" * 32, "upload": str(uuid.uuid4())}
    missing = {**known, "missing_host": "cas-bridge.xethub.hf.co"}
    runs = {
        "running": {"state": "running", "done": 2400, "total": 6000, "result": known},
        "listed": {"state": "done", "result": {**known, "listing": listing, "listed": 12}},
        "fetched": {"state": "done", "result": {**known, "fetched": [file, file]}},
        "refused": {
            "state": "failed",
            "result": missing,
            "error": "Requests to cas-bridge.xethub.hf.co are not allowed. Staff can allow this host on the "
            "page “Allowed hosts”.",
        },
    }
    fetches = {
        name: RunFactory.create(kind="fetch", dataset=dataset, params=order, created_by=alice, **fields)
        for name, fields in runs.items()
    }
    JudgmentFactory.create(comparison=ComparisonFactory.create(prompt__dataset=dataset))
    release = releases.build(Release(dataset=dataset, profiles=["preference"], formats=["jsonl"]))
    push = {"release": str(release.pk), "repository": "team/kitchen", "private": True}
    for fields in (
        {"state": "done", "result": {"commit": COMMIT, "unchanged": True}},
        {"state": "failed", "error": runs["refused"]["error"], "result": missing},
    ):
        RunFactory.create(kind="push", dataset=dataset, params=push, created_by=alice, **fields)
    pk = uuid.uuid4()
    upload = Upload.objects.create(
        pk=pk,
        dataset=dataset,
        shown_name="wide.csv",
        path=default_storage.save(f"uploads/{pk}", ContentFile(WIDE)),
        size=len(WIDE),
        sha256=hashlib.sha256(WIDE).hexdigest(),
        origin={"hub": "huggingface.co", "path": "wide.csv", **order, **known},
    )
    return {
        "import": reverse("import", args=[dataset.pk]),
        "fetches": reverse("import_hub", args=[dataset.pk]),
        **{name: reverse("import_fetch", args=[run.pk]) for name, run in fetches.items()},
        "hosts": reverse("allowed_hosts") + "?name=cas-bridge.xethub.hf.co",
        "release": reverse("release", args=[release.pk]),
        "push": reverse("release_pushes", args=[release.pk]),
        "mapping": reverse("import_preview", args=[upload.pk]),
    }


@pytest.mark.parametrize(("width", "theme"), [(320, "light"), (390, "dark"), (1440, "light")])
def test_every_state_fits_the_window_and_is_accessible(
    width, theme, addresses, alice, open_as, accessible, picture
):
    page = open_as(alice, viewport={"width": width, "height": 900}, color_scheme=theme)

    for name, address in addresses.items():
        page.goto(address)
        picture(page, f"hub-{name}-{width}-{theme}")
        accessible(page, f"{name} at {width}")
        assert page.evaluate(OUT_OF_REACH) == [], name
