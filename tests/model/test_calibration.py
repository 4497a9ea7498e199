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
from tests.planted import has_learnt
from workbench.models import Annotator
from workbench.pipeline.model.calibration import calibrate, summary
from workbench.pipeline.text.splits import split_of

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

    calibrate(version)
    report = version.calibration

    version.refresh_from_db()
    assert version.temperature == pytest.approx(2.0, rel=0.3)
    assert version.calibrated
    assert report["n"] + report["measured_on"] == 400
    assert report["n"] > report["measured_on"] > 0
    assert sum(bin_["n"] for bin_ in report["bins"]) == report["measured_on"]


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

    with pytest.raises(NotEnoughData, match="0 votes"):
        calibrate(version)


def test_imported_labels_count_only_when_asked_for():
    version = ModelVersionFactory.create()
    source = Annotator.objects.create(source="labels.jsonl")
    judged_by_people_who_follow(2.0, version, stage="imported", mode="", annotator=source)

    with pytest.raises(NotEnoughData):
        calibrate(version)
    calibrate(version, labels=True)
    assert version.calibration["n"] > 100


def test_another_datasets_judgments_do_not_count():
    version = ModelVersionFactory.create()
    judged_by_people_who_follow(2.0, version)

    with pytest.raises(NotEnoughData, match="0 votes"):
        calibrate(version, DatasetFactory.create())


def test_a_model_is_calibrated_and_measured_on_what_it_has_not_learnt():
    """On what taught it, it is always right and sure: a temperature fitted there would be far too small."""
    version = ModelVersionFactory.create()
    dataset = judged_by_people_who_follow(2.0, version, n=400)
    annotator = AnnotatorFactory.create()
    taught = []
    for number in range(400):
        comparison = ComparisonFactory.create(prompt__dataset=dataset)
        SuggestionFactory.create(comparison=comparison, version=version, margin=4.0 * (-1) ** number)
        JudgmentFactory.create(comparison=comparison, annotator=annotator, outcome="ab"[number % 2])
        taught.append(comparison.prompt.messages[0]["content"])
    calibrate(version, dataset)
    flattered = version.calibration
    assert "Its training data is not known" in summary(version)
    has_learnt(version, taught)

    calibrate(version, dataset)
    report = version.calibration

    assert report["temperature"] == pytest.approx(2.0, rel=0.3)
    assert flattered["temperature"] < report["temperature"] / 1.5
    assert (report["learnt"], report["n"] + report["measured_on"]) == (400, 400)
    assert "Left out: 400 on prompts that the model was trained on." in summary(version)


def test_what_chose_the_weights_may_be_fitted_on_and_is_not_measured_on():
    version = ModelVersionFactory.create()
    dataset = judged_by_people_who_follow(2.0, version, n=400)
    texts = {prompt.group: prompt.messages[0]["content"] for prompt in dataset.prompts.all()}
    tested = [text for group, text in texts.items() if split_of(group) == "test"]
    calibrate(version, dataset)
    before = version.calibration["measured_on"]

    has_learnt(version, [], chosen=tested)

    calibrate(version, dataset)
    report = version.calibration
    assert report["measured_on"] == before - len(tested)
    assert report["n"] + report["measured_on"] == 400
