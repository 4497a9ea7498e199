"""Two models that are scored elsewhere go the whole way by the API alone: their scores are sent, one serves,
the other is calibrated, measured, compared, promoted and taken back."""

import math
import random
from dataclasses import dataclass

import orjson
import pytest
from django.urls import reverse

from tests.factories import AnnotatorFactory, ComparisonFactory, JudgmentFactory, PromptFactory
from workbench.models import AuditEvent, Comparison, Judgment, ModelVersion, Suggestion
from workbench.pipeline.model import promotion
from workbench.worker import tasks

pytestmark = pytest.mark.django_db

PAIRS = 500
TEMPERATURE = 2.0
"""People follow the new model with the probability sigmoid(margin / TEMPERATURE)."""


@dataclass
class Voted:
    pair: Comparison
    new: float
    old: float
    outcome: str


@pytest.fixture
def voted(dataset) -> list[Voted]:
    """Pairs with the margin of each model and a blind vote. The old model guesses."""
    drawn, bob, found = random.Random(0), AnnotatorFactory.create(), []
    for number in range(PAIRS):
        prompt = PromptFactory.create(dataset=dataset, messages=[{"role": "user", "content": f"{number}?"}])
        new, old = drawn.gauss(0, 4), drawn.choice([-1.0, 1.0])
        outcome = "a" if drawn.random() < 1 / (1 + math.exp(-new / TEMPERATURE)) else "b"
        pair = ComparisonFactory.create(prompt=prompt)
        JudgmentFactory.create(comparison=pair, annotator=bob, mode="blind", outcome=outcome)
        found.append(Voted(pair, new, old, outcome))
    return found


def is_right(row: Voted, name: str) -> bool:
    return bool((getattr(row, name) > 0) == (row.outcome == "a"))


def right(rows: list[Voted], name: str) -> float:
    """The share of pairs where the sign of the margin is the vote."""
    return sum(is_right(row, name) for row in rows) / len(rows)


def test_a_model_that_is_scored_elsewhere_goes_the_whole_way(
    dataset, alice, program, as_user, voted, monkeypatch, django_capture_on_commit_callbacks
):
    monkeypatch.setattr(promotion, "NEEDED", 60)
    alice.is_staff = True
    alice.save()
    client = program(alice)

    def get(path: str):
        answer = client.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.content
        return answer.json()

    def post(path: str, status: int = 200, **body: object):
        answer = client.post(f"/api/v1/{path}", body, "application/json")
        assert answer.status_code == status, answer.content
        return answer.json()

    def send_scores(model: int, margins: list[float]):
        lines = [
            orjson.dumps({"completion": completion, "score": score})
            for row, margin in zip(voted, margins, strict=True)
            for completion, score in ((row.pair.a_id, margin), (row.pair.b_id, 0.0))
        ]
        body = b"\n".join(lines)
        answer = client.post(f"/api/v1/models/{model}/scores", body, "application/octet-stream")
        assert answer.json() == {"stored": 2 * PAIRS, "known": 0}

    old = post("models/external", 201, name="before", revision="0123456")["id"]
    new = post("models/external", 201, name="ours", revision="89abcdef")["id"]
    send_scores(old, [row.old for row in voted])
    post(f"models/{old}/activate", reason="The first.")
    send_scores(new, [row.new for row in voted])

    # Calibrated: the temperature that the votes were drawn with.
    refused = post(f"models/{new}/promote", 409, dataset=dataset.pk)
    assert "calibrated" in refused["detail"]
    calibrated = post(f"models/{new}/calibrate", dataset=dataset.pk)
    assert calibrated["temperature"] == pytest.approx(TEMPERATURE, rel=0.3)
    assert calibrated["calibration"]["n"] + calibrated["calibration"]["measured_on"] == PAIRS

    # Measured: on all pairs, as it has learnt none; its accuracy is that counted here by hand.
    with django_capture_on_commit_callbacks():
        run = post(f"datasets/{dataset.pk}/models/{new}/evaluate", 202)
    tasks.carry_out(run["id"])
    assert get(f"runs/{run['id']}")["state"] == "done"
    (evaluation,) = get(f"datasets/{dataset.pk}/models/{new}")["evaluations"]
    assert (evaluation["split"], evaluation["pairs"]) == ("unseen", PAIRS)
    figures = evaluation["figures"]
    assert figures["model"]["accuracy"] == pytest.approx(right(voted, "new"))
    assert figures["beside"]["before"]["accuracy"] == pytest.approx(right(voted, "old"))

    # Compared, and promoted, as the gate finds it better.
    comparing = get(f"datasets/{dataset.pk}/models/{new}/compared-with/{old}")
    (compared,) = comparing["compared"]
    gained = [row for row in voted if is_right(row, "new") and not is_right(row, "old")]
    lost = [row for row in voted if is_right(row, "old") and not is_right(row, "new")]
    assert (compared["n"], compared["n01"], compared["n10"]) == (PAIRS, len(gained), len(lost))
    assert comparing["gate"]["verdict"] == "promote"
    promoted = post(f"models/{new}/promote", dataset=dataset.pk)
    assert (promoted["version"], promoted["kind"], promoted["supersedes_id"]) == ("ours", "earned", old)

    # Its suggestions are those that follow from the scores, by the API and on the pages.
    shown = get(f"datasets/{dataset.pk}/models/{new}/suggestions?limit=1000")["items"]
    assert {row["comparison_id"]: row["margin"] for row in shown} == {
        row.pair.pk: pytest.approx(row.new) for row in voted
    }
    assert get(f"datasets/{dataset.pk}/models")["active_id"] == new
    page = as_user(alice)
    for name, keys in (
        ("model", [dataset.pk]),
        ("model_version", [dataset.pk, new]),
        ("prompt", [voted[0].pair.prompt_id]),
    ):
        assert "ours" in page.get(reverse(name, args=keys)).content.decode()

    # Taken back: the one before serves at once.
    restored = post("models/roll-back", reason="A trial.")
    assert (restored["version"], restored["kind"]) == ("before", "rollback")
    assert ModelVersion.objects.active().pk == old
    assert Suggestion.objects.filter(version=new).count() == PAIRS
    assert Judgment.objects.count() == PAIRS
    sent = AuditEvent.objects.filter(kind="scores_pushed").order_by("pk")
    assert list(sent.values_list("actor", "dataset", "count")) == [(alice.pk, dataset.pk, 2 * PAIRS)] * 2
