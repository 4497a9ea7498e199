"""The second half of the loop with a real training: a rule that is planted in the labels is learnt, the new
model is shown to be better, supersedes the old one, and everything is scored again."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.urls import reverse

from tests.conftest import client_of
from tests.factories import UserFactory
from tests.scoring.models import save_bert, sentence
from workbench.models import Dataset, ModelVersion, Promotion, Run, Score
from workbench.pipeline.model import promotion

pytestmark = pytest.mark.django_db(transaction=True)

PAIRS = 1300


@pytest.fixture
def labelled(tmp_path) -> Path:
    """Of two texts, the one that speaks of water is preferred; length is chance."""
    path = tmp_path / "labelled.jsonl"
    rows = (
        {
            "prompt": f"{sentence(10, n)} {n}",  # as unlike each other as prompts of people are
            "chosen": f"{sentence(2 + n % 5, n)} water {sentence(2, -n)}",
            "rejected": f"{sentence(3 + n % 4, -n)} {sentence(2, 2 * n)}".replace("water", "rain"),
        }
        for n in range(1, PAIRS + 1)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def manage(*arguments: str, **options) -> dict:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=StringIO(), json=True, **options)
    return json.loads(out.getvalue().splitlines()[-1])


def test_a_planted_rule_is_learnt_through_the_product_and_the_model_replaced(labelled, tmp_path, monkeypatch):
    monkeypatch.setattr(promotion, "NEEDED", 60)
    manage("import_dataset", "Weather", str(labelled))
    tiny = save_bert(tmp_path / "tiny")
    manage("model_add", str(tiny), name="untrained", precision="fp32", max_length=48, activate=True)
    untrained = manage("evaluate", "untrained", on="Weather")
    assert 0.35 < untrained["model"]["accuracy"] < 0.65
    call_command("release", "Weather", out=tmp_path / "release", profile=["soft-label"], stdout=StringIO())

    settings = ["learning_rate=3e-3", "batch=16", "steps=70", "dropout=0", "max_length=48", "evaluations=3"]
    trained = manage("train", "Weather", name="rainy", preset="recommended", set=settings)

    (on_test,) = trained["evaluations"]
    assert on_test["accuracy"] > 0.9
    assert ModelVersion.objects.active().name == "untrained"

    # The page shows it before and the gate lets it through; the old Suggestions serve until then.
    staff = client_of(UserFactory.create(is_staff=True))
    dataset = Dataset.objects.get(name="Weather")
    rainy = ModelVersion.objects.get(name="rainy")
    query = f"?new={rainy.pk}&old={ModelVersion.objects.active().pk}"
    page = staff.get(reverse("model_compare", args=[dataset.pk]) + query).content.decode()
    assert "Promote rainy" in page
    promoted = manage("promote", "rainy")
    assert (promoted["kind"], promoted["replaced"]) == ("earned", "untrained")
    assert promoted["gate"]["verdict"] == "promote"
    call_command("score", "Weather", model="rainy", stdout=StringIO())
    assert Score.objects.filter(version=rainy).count() == 2 * PAIRS
    assert rainy.suggestions.count() == PAIRS

    # Where it comes from is known, and the old one is one click away.
    run = Run.objects.get(kind="train")
    assert (rainy.base.name, rainy.release, rainy.trained_by) == ("untrained", dataset.releases.get(), run)
    assert rainy.training["data"]["files"].keys() >= {"soft-label.train.jsonl"}
    manage("rollback")
    assert ModelVersion.objects.active().name == "untrained"
    assert Promotion.objects.count() == 3
    with pytest.raises(CommandError, match="no model to go back to from untrained"):
        manage("rollback")
