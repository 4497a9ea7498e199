"""The gate sees the true difference of two models, although the queue picks what the old one is unsure of and
people are shown what it suggests."""

import pytest

from tests.simulated import campaign
from workbench.models import Claim, Judgment
from workbench.pipeline.model.pairs import WHAT_TO_DO

pytestmark = [pytest.mark.django_db, pytest.mark.long]


def test_the_gate_holds_the_truth_where_the_queue_picks_and_suggestions_lead():
    """benchmarks/bench_statistics.py --only gate has twelve such campaigns, and larger ones."""
    outcome = campaign(1, pairs=1_200, votes=400)

    drawn = Claim.objects.filter(strategy="random", mode="blind").count()
    aside, interval = outcome.gate.set_aside, outcome.gate.paired.accuracy_interval
    assert outcome.gate.counted == {"people": drawn, "imported": 0}
    assert drawn + aside["led"] + aside["picked"] == Judgment.objects.count() == 400
    assert min(drawn, aside["led"], aside["picked"]) > 20
    assert outcome.estimate is not None
    assert interval is not None
    # Within four standard errors; what every label says is led by the old model's suggestions.
    assert abs(outcome.estimate - outcome.truth) < interval[1] - interval[0]
    assert outcome.every_label < outcome.truth - 0.02
    assert outcome.verdict == "not enough data"


def test_where_the_queue_picks_everything_nothing_is_believed():
    outcome = campaign(2, pairs=200, votes=40, queue="uncertain", blind=1.0)

    assert (outcome.estimate, outcome.verdict) == (None, "not enough data")
    assert outcome.gate.set_aside["picked"] == 40
    assert WHAT_TO_DO.startswith("Collect more votes on random pairs")
