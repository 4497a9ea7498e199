"""The first sight of a newcomer: `make demo`, and every page of the demo."""

import json
from io import StringIO

import pytest
from django.core.management import call_command
from django.urls import reverse

from tests.conftest import client_of
from tests.factories import UserFactory
from workbench.models import Dataset, ModelVersion, Release

TABS = [
    "dataset",
    "data",
    "similar",
    "topics",
    "groups",
    "review",
    "quality",
    "import",
    "runs",
    "people",
    "model",
    "releases",
]


@pytest.fixture
def scratch(tmp_path, settings):
    settings.DATA_DIR = tmp_path
    settings.STATIC_ROOT = tmp_path / "static"


@pytest.mark.portable
@pytest.mark.usefixtures("scratch")
@pytest.mark.django_db(transaction=True)
def test_the_demo_is_prepared_its_figures_are_computed_and_each_page_opens():
    out = StringIO()
    call_command("demo", no_serve=True, stdout=out, stderr=StringIO())
    facts = json.loads(out.getvalue().splitlines()[-1])
    assert (facts["prompts"], facts["completions"], facts["comparisons"]) == (72, 218, 241)
    assert facts["scores"] == 4 * 218
    assert facts["judgments"] == 241 + 140
    assert ModelVersion.objects.active().calibrated
    assert "made up" in Dataset.objects.get().description
    assert facts["release_rows"] == Release.objects.get().rows == 234

    call_command("statistics", "Demo", json=True, stdout=(output := StringIO()))
    report = json.loads(output.getvalue(), parse_constant=pytest.fail)  # NaN is no JSON
    (figures,) = [row for row in report["against"]["all"] if row["version"] == "demo-minilm"]
    assert figures["learnt"] > 0

    call_command("evaluate", "demo-minilm", on="Demo", json=True, stdout=(output := StringIO()))
    evaluated = json.loads(output.getvalue().splitlines()[-1])
    of_all = figures["slices"][0]
    for name, figures in (("accuracy", evaluated["model"]), ("random", evaluated["beside"]["random"])):
        on_quality = [of_all[name][key] for key in ("value", "low", "high")]
        assert on_quality == pytest.approx([figures["accuracy"], *figures["clustered"]], abs=1e-6)

    staff = client_of(UserFactory.create(is_staff=True, is_superuser=True))
    dataset = Dataset.objects.get()
    urls = [reverse(tab, args=[dataset.pk]) for tab in (*TABS, "settings", "annotate")]
    urls += [reverse("home"), reverse("versions")]
    urls += [reverse("model_version", args=[dataset.pk, ModelVersion.objects.active().pk])]
    urls += [reverse("release", args=[Release.objects.get().pk])]
    assert {url: staff.get(url).status_code for url in urls} == dict.fromkeys(urls, 200)
