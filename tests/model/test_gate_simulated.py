"""The gate sees the true difference of two models, although the queue picks what the old one is unsure of and
people are shown what it suggests."""

import pytest

from tests.simulated import campaign
from workbench.models import Claim, Judgment
from workbench.pipeline.model.pairs import WHAT_TO_DO

pytestmark = [pytest.mark.django_db, pytest.mark.long]


def test_the_gate_holds_the_truth_where_the_queue_picks_and_suggestions_lead():
    """benchmarks/bench_statistics.py --only gate has twelve such campaigns, and larger ones."""
    found = campaign(1, pairs=1_200, votes=400)

    drawn = Claim.objects.filter(strategy="random", mode="blind").count()
    aside, interval = found.gate.set_aside, found.gate.paired.accuracy_interval
    assert found.gate.counted == {"people": drawn, "imported": 0}
    assert drawn + aside["led"] + aside["picked"] == Judgment.objects.count() == 400
    assert min(drawn, aside["led"], aside["picked"]) > 20
    assert found.estimate is not None
    assert interval is not None
    # Within four standard errors; what every label says is led by the old model's suggestions.
    assert abs(found.estimate - found.truth) < interval[1] - interval[0]
    assert found.every_label < found.truth - 0.02
    assert found.verdict == "not enough data"


def test_where_the_queue_picks_everything_nothing_is_believed():
    found = campaign(2, pairs=200, votes=40, queue="uncertain", blind=1.0)

    assert (found.estimate, found.verdict) == (None, "not enough data")
    assert found.gate.set_aside["picked"] == 40
    assert WHAT_TO_DO.startswith("Collect more votes on random pairs")
