import math
import random

import pytest

from scoring.calibrate import NotEnoughData
from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    SuggestionFactory,
)
from workbench.models import Annotator
from workbench.pipeline.calibration import calibrate

pytestmark = pytest.mark.django_db


def judged_by_people_who_follow(temperature: float, version, n: int = 200, **judgment):
    """Blind Judgments drawn from sigmoid(margin / temperature)."""
    drawn = random.Random(0)
    dataset = DatasetFactory.create()
    annotator = judgment.pop("annotator", None) or AnnotatorFactory.create()
    for _ in range(n):
        margin = drawn.gauss(0, 4)
        outcome = "a" if drawn.random() < 1 / (1 + math.exp(-margin / temperature)) else "b"
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        SuggestionFactory.create(comparison=comparison, version=version, margin=margin)
        fields = {"mode": "blind", "outcome": outcome, "annotator": annotator} | judgment
        JudgmentFactory.create(comparison=comparison, **fields)
    return dataset


def test_a_version_learns_how_far_its_margins_can_be_trusted():
    version = ModelVersionFactory.create()
    judged_by_people_who_follow(2.0, version, n=400)

    report = calibrate(version)

    version.refresh_from_db()
    assert version.temperature == pytest.approx(2.0, rel=0.3)
    assert version.calibrated
    assert report["n"] + report["measured_on"] == 400
    assert report["n"] > report["measured_on"] > 0
    assert sum(found["n"] for found in report["bins"]) == report["measured_on"]


def test_under_a_hundred_judgments_nothing_is_fitted_and_nothing_changes():
    version = ModelVersionFactory.create()
    judged_by_people_who_follow(2.0, version, n=60)

    with pytest.raises(NotEnoughData, match="not enough data"):
        calibrate(version)

    version.refresh_from_db()
    assert not version.calibrated


@pytest.mark.parametrize("influenced", [{"mode": "assisted"}, {"mode": "blind", "stage": "revealed"}])
def test_answers_given_after_seeing_the_suggestion_do_not_count(influenced):
    version = ModelVersionFactory.create()
    judged_by_people_who_follow(2.0, version, **influenced)

    with pytest.raises(NotEnoughData, match="0 judgments"):
        calibrate(version)


def test_imported_labels_count_only_when_asked_for():
    version = ModelVersionFactory.create()
    source = Annotator.objects.create(source="labels.jsonl")
    judged_by_people_who_follow(2.0, version, stage="imported", mode="", annotator=source)

    with pytest.raises(NotEnoughData):
        calibrate(version)
    assert calibrate(version, labels=True)["n"] > 100


def test_another_datasets_judgments_do_not_count():
    version = ModelVersionFactory.create()
    judged_by_people_who_follow(2.0, version)

    with pytest.raises(NotEnoughData, match="0 judgments"):
        calibrate(version, DatasetFactory.create())
