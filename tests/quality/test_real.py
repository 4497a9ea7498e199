"""Votes of thousands of real people, with a published gold label for most pairs."""

import gzip
import json
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from django.core.management import call_command

from tests.conftest import SHARED
from workbench.models import Dataset, Decision, Judgment, Statistics
from workbench.pipeline.decisions import aggregation
from workbench.pipeline.quality.figures import Figure
from workbench.pipeline.quality.skill import one_coin

pytestmark = pytest.mark.real_data

FILE = SHARED / "data/ukpconvarg/full_votes.jsonl.gz"
PLACE = {"a1": 0, "a2": 1, "equal": 2}


def test_skill_comes_nearer_to_the_gold_labels_than_the_majority_does():
    with gzip.open(FILE, "rt") as file:
        rows = [json.loads(line) for line in file]
    votes = [
        (n, vote["annotator"], PLACE[vote["value"]]) for n, row in enumerate(rows) for vote in row["votes"]
    ]
    item, names, vote = zip(*votes, strict=True)
    annotators, who = np.unique(names, return_inverse=True)
    gold = np.array([PLACE.get(row["gold"], -1) for row in rows])

    skills = one_coin(np.array(item), who, np.array(vote), (len(rows), len(annotators), 4))

    counts = np.bincount(np.array(item) * 3 + np.array(vote), minlength=3 * len(rows)).reshape(-1, 3)
    majority = np.where(2 * counts.max(axis=1) > counts.sum(axis=1), counts.argmax(axis=1), -1)
    by_skill = skills.posterior.argmax(axis=1)
    sided = (gold == 0) | (gold == 1)
    assert (len(annotators), len(votes)) == (3_815, 84_445)
    assert skills.enough
    assert np.mean((by_skill == gold)[gold >= 0]) > 0.88 > 0.83 > np.mean((majority == gold)[gold >= 0])
    assert np.mean((by_skill == gold)[gold == 2]) > 0.62 > np.mean((majority == gold)[gold == 2])
    assert np.mean((by_skill == gold)[sided]) > 0.94 > 0.89 > np.mean((majority == gold)[sided])
    assert skills.posterior[:, 3].max() == 0  # nobody could say "both bad"


@pytest.mark.django_db
def test_every_figure_of_imported_votes_is_there_or_says_why_not(tmp_path):
    part = tmp_path / "votes.jsonl"
    with gzip.open(FILE, "rt") as file:
        part.write_text("".join(islice(file, 0, 16_000, 20)))
    call_command("import_dataset", "Arguments", str(part))
    call_command("score", "Arguments", model="longest", json=True)

    call_command("statistics", "Arguments")
    dataset = Dataset.objects.get(name="Arguments")
    dataset.aggregation = Dataset.Aggregation.SKILL
    aggregation.derive(dataset)

    report = Statistics.objects.get(dataset=dataset).report
    every = report["agreement"]["imported"]["all"]
    assert every["opinions"] == report["data"]["opinions"] == Judgment.objects.current().count()
    assert 0.1 < every["alpha"]["low"] < every["alpha"]["value"] < every["alpha"]["high"] < 0.4
    assert {row["skill"]["n"] >= 10 for row in report["annotators"] if row["skill"]["value"]} <= {True}
    assert list(figures(report))
    # Few votes an annotator in this part of them: the majority decides.
    assert not report["aggregation"]["enough"]
    assert "aggregation" not in Counter(Decision.objects.values_list("method", flat=True))


def figures(value):
    """Every Figure in a report; one without a value says why."""
    if isinstance(value, dict) and {"value", "low", "high", "n"} <= set(value):
        figure = Figure(**value)
        assert (figure.value is None) == bool(figure.why)
        assert figure.value is None or figure.low <= figure.value <= figure.high
        yield figure
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from figures(item)
