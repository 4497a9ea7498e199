"""A model that memorised its training prompts shows what it is worth on the others, on every page and in
every command: 24 of 40 right, where counting all would say 84 of 100."""

import json
import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from scoring.formats import Scored
from tests.conftest import output_of
from tests.factories import ModelVersionFactory, SuggestionFactory, UserFactory
from tests.planted import Planted, memorised
from workbench.models import Dataset, Member, ModelVersion, Role, Run, Score
from workbench.pipeline import quality
from workbench.worker import scorers

pytestmark = pytest.mark.django_db

UNSEEN, FLATTERED = (
    re.compile(r"\b60(\.0)?( |\N{NO-BREAK SPACE})?%"),
    re.compile(r"\b84(\.0)?( |\N{NO-BREAK SPACE})?%"),
)


@pytest.fixture
def planted(dataset) -> Planted:
    memory = memorised(dataset, taught=60, untaught=40, right=24, state="active")
    for comparison in (*memory.learnt, *memory.unseen):
        margin = comparison.suggestions.get().margin
        for side, value in ((comparison.a, margin), (comparison.b, 0.0)):
            Score.objects.create(completion=side, version=memory.version, value=value, precision="fp32")
    return memory


@pytest.fixture
def second_version(planted) -> ModelVersion:
    """Another one, right on each second pair."""
    version = ModelVersionFactory.create(name="other", temperature=1.0)
    for number, comparison in enumerate((*planted.learnt, *planted.unseen)):
        SuggestionFactory.create(comparison=comparison, version=version, margin=(-1.0) ** number)
    return version


@pytest.fixture
def admin(dataset, as_user):
    user = UserFactory.create(username="ada", is_staff=True)
    Member.objects.create(dataset=dataset, user=user, role=Role.ADMIN)
    return as_user(user)


@pytest.fixture(autouse=True)
def scored_here(monkeypatch):
    """No weights are loaded: what lacks a Score gets 0."""
    monkeypatch.setattr(
        scorers, "scorer_of", lambda version: lambda texts: [Scored(0.0, 1, 1, 0, 0, "fp32") for _ in texts]
    )


def test_every_page_shows_the_unseen_accuracy_and_none_the_other(planted, second_version, dataset, admin):
    output_of("evaluate", "memory", on="Kitchen")
    output_of("statistics", "Kitchen")
    run = Run.objects.get(kind="evaluate")
    query = f"new={second_version.pk}&old={planted.version.pk}"
    compare = f"{reverse('model_compare', args=[dataset.pk])}?{query}"
    shows = {
        "overview": reverse("dataset", args=[dataset.pk]),
        "quality": reverse("quality", args=[dataset.pk]),
        "model": reverse("model", args=[dataset.pk]),
        "version": reverse("model_version", args=[dataset.pk, planted.version.pk]),
        "compare": compare,
        "run": reverse("run", args=[run.pk]),
    }

    pages = {name: admin.get(url).content.decode() for name, url in shows.items()}

    assert [name for name, page in pages.items() if not UNSEEN.search(page)] == []
    pages["home"] = admin.get(reverse("home")).content.decode()
    pages["models"] = admin.get(reverse("versions")).content.decode()
    assert [name for name, page in pages.items() if FLATTERED.search(page)] == []
    left_out = [name for name in shows if "60 pairs" in pages[name]]
    assert left_out == list(shows)


@pytest.mark.django_db(transaction=True)
def test_statistics_of_a_snapshot_know_what_was_learnt(planted, dataset):
    """Outside a transaction the data are read through a second connection, which is gone by then."""
    [figures] = quality.compute(dataset)["against"]["imported"]

    assert (figures["slices"][0]["accuracy"]["value"], figures["learnt"]) == (planted.share, 60)


def test_the_stored_table_of_quality_has_the_same_figure_and_interval(planted, dataset, admin):
    call_command("evaluate", "memory", on="Kitchen", stdout=StringIO())
    call_command("statistics", "Kitchen", stdout=StringIO())

    table = admin.get(reverse("quality_table", args=[dataset.pk, "imported", "accuracy"])).content.decode()

    value, low, high, n = table.splitlines()[1].split(",")[2:6]
    figures = planted.version.evaluations.get().model_figures
    assert (float(value), int(n)) == (planted.share, 40)
    assert [float(low), float(high)] == [round(end, 6) for end in figures["clustered"]]


def test_every_command_shows_the_unseen_accuracy(planted, second_version):
    evaluated = json.loads(output_of("evaluate", "memory", on="Kitchen", json=True).splitlines()[-1])
    assert (evaluated["model"]["accuracy"], evaluated["learnt"]["pairs"]) == (planted.share, 60)
    shown = output_of("evaluate", "memory", on="Kitchen")
    assert "60 %" in shown
    assert "Left out: 60 pairs of prompts that the model was trained on." in shown

    beside = json.loads(output_of("evaluate", "other", on="Kitchen", json=True).splitlines()[-1])
    assert beside["beside"]["memory"]["accuracy"] == planted.share
    assert beside["differences"]["memory"]["old_accuracy"] == planted.share

    report = json.loads(output_of("statistics", "Kitchen", json=True).splitlines()[-1])
    [figures] = [row for row in report["against"]["imported"] if row["version"] == "memory"]
    assert (figures["slices"][0]["accuracy"]["value"], figures["learnt"]) == (planted.share, 60)
    assert sum(sum(figures["histogram"][side]) for side in "ab") == 40
    assert (
        "memory against imported labels, 40 pairs, without 60 of prompts that the model was trained on"
        in output_of("statistics", "Kitchen")
    )

    with pytest.raises(CommandError, match="Verdict: not enough data"):
        output_of("promote", "other", on="Kitchen", dry_run=True)
    with pytest.raises(CommandError, match="is not changed: not enough data"):
        output_of("models", calibrate="memory", on="Kitchen", labels=True)


def test_the_gate_weighs_only_what_neither_has_learnt(planted, second_version, dataset):
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("promote", "other", on="Kitchen", dry_run=True, json=True, stdout=out)

    gate = json.loads(out.getvalue().splitlines()[-1])

    assert (gate["test"]["n"], gate["test"]["old_accuracy"], gate["test"]["learnt"]) == (
        40,
        planted.share,
        60,
    )
    assert Dataset.objects.get() == dataset
