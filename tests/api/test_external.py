"""A model that is scored elsewhere: its scores are sent, and it is used like our own."""

import orjson
import pytest

from tests.factories import ComparisonFactory, ModelVersionFactory
from workbench.models import Comparison, Dataset, ModelVersion, Release, Run, Score, Suggestion
from workbench.pipeline.model import margins, training
from workbench.pipeline.model.pairs import of_dataset
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.scoring import batches
from workbench.worker import scorers

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(alice, program):
    alice.is_staff = True
    alice.save()
    return program(alice)


@pytest.fixture
def version() -> ModelVersion:
    return ModelVersionFactory.create(name="ours", kind="external")


@pytest.fixture
def pair(dataset) -> Comparison:
    return ComparisonFactory.create(prompt__dataset=dataset)


def push(client, version, *rows, status=200):
    body = b"\n".join(row if isinstance(row, bytes) else orjson.dumps(row) for row in rows)
    answer = client.post(f"/api/v1/models/{version.pk}/scores", body, "application/x-ndjson")
    assert answer.status_code == status, answer.content
    return answer.json()


def test_it_is_registered_by_its_name_and_revision(client):
    body = {"name": "ours", "revision": "0123456789abcdef" * 4}

    answer = client.post("/api/v1/models/external", body, "application/json")
    again = client.post("/api/v1/models/external", body, "application/json")

    assert (answer.status_code, again.status_code) == (201, 409)
    version = ModelVersion.objects.get(name="ours")
    assert (version.kind, version.revision) == ("external", body["revision"])


def test_scores_are_stored_and_suggestions_follow(client, version, pair):
    pushed = push(
        client, version, {"completion": pair.a_id, "score": 1.5}, {"completion": pair.b_id, "score": 1}
    )

    assert pushed == {"stored": 2, "known": 0}
    assert Suggestion.objects.get(version=version).margin == 0.5


def test_the_same_score_again_is_fine_and_another_is_refused_by_line(client, version, pair):
    first = {"completion": pair.a_id, "score": 1.5}
    push(client, version, first)

    assert push(client, version, first) == {"stored": 0, "known": 1}
    other = {"completion": pair.a_id, "score": 2}
    refused = push(client, version, {"completion": pair.b_id, "score": 1}, other, status=422)

    assert [(fault["line"], fault["code"]) for fault in refused["errors"]] == [(2, "other_score")]
    assert Score.objects.get(version=version).value == 1.5


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (b'{"completion": 1, "score": NaN}', ""),
        (b'{"completion": 1, "score": 1e999}', ""),
        ({"completion": 1, "score": "high"}, "score"),
        ({"completion": 1, "score": True}, "score"),
        ({"completion": 10**12, "score": 1}, "completion"),
        ({"completion": "7", "score": 1}, "completion"),
        ({"completion": 1}, ""),
        ({"completion": 1, "score": 1, "more": 1}, ""),
        (b"[]", ""),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_stored(client, version, pair, row, field):
    good = {"completion": pair.a_id, "score": 1}

    refused = push(client, version, good, row, status=422)

    assert {(fault["line"], fault["field"]) for fault in refused["errors"]} <= {(2, field), (2, "score")}
    assert not Score.objects.filter(version=version).exists()


def test_a_model_of_ours_takes_no_scores(client, pair):
    own = ModelVersion.objects.get(name="longest")

    assert push(client, own, {"completion": pair.a_id, "score": 1}, status=409)["code"] == "refused"


def test_workers_never_score_it(dataset, version, pair):
    ModelVersion.objects.filter(pk=version.pk).update(state="active")

    batches.plan_missing(dataset)

    assert not Run.objects.filter(version=version).exists()
    assert batches.plan(dataset, version) is None
    with pytest.raises(ValueError, match="scored elsewhere"):
        scorers.load_scorer(version)


def test_a_dataset_shows_which_answers_lack_a_score_and_is_taken_over_when_none_does(
    client, dataset, version, pair
):
    ModelVersion.objects.filter(pk=version.pk).update(state="active")
    Dataset.objects.filter(pk=dataset.pk).update(held_by=ModelVersionFactory.create(name="before"))
    path = f"/api/v1/datasets/{dataset.pk}/models/{version.pk}/unscored"
    push(client, version, {"completion": pair.a_id, "score": 1})

    lacking = client.get(path).json()["items"]
    assert [row["id"] for row in lacking] == [pair.b_id]
    push(client, version, {"completion": pair.b_id, "score": 2})

    assert client.get(path).json()["items"] == []
    assert ModelVersion.objects.serving(Dataset.objects.get(pk=dataset.pk)) == version


def test_no_training_begins_with_it(dataset, version, alice, monkeypatch):
    monkeypatch.setattr(training.plan, "outlook", lambda _: None)

    with pytest.raises(Refused, match="scored elsewhere"):
        training.begin(Release(dataset=dataset), version, "quick", by=alice)


def test_its_margins_are_those_that_were_sent(client, dataset, version, pair):
    push(client, version, {"completion": pair.a_id, "score": 1.5}, {"completion": pair.b_id, "score": 1})

    found, _ = margins.complete_margins(version, of_dataset(dataset), lambda _: pytest.fail("loaded"))

    assert set(found) <= {0.5}
