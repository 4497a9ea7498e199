"""An unexpected error may name the text of an item: no page, answer or log repeats its words."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.api.conftest import program_with, token_of
from tests.factories import CompletionFactory, ModelVersionFactory, RunFactory, UserFactory
from workbench.logs import LineFormatter
from workbench.models import Dataset, Release, Run, ScoreBatch, User
from workbench.pipeline import imports
from workbench.pipeline.model.adding import Order
from workbench.pipeline.runs.lifecycle import FAILED
from workbench.pipeline.scoring import batches
from workbench.worker import tasks

pytestmark = pytest.mark.django_db

SECRET = "secret text of an item"


def fail(*_: object, **__: object) -> None:
    raise ValueError(SECRET)


class Failing:
    """A client of the hub that fails at whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        return fail


@contextmanager
def failing_hub() -> Iterator[Failing]:
    yield Failing()


PIPELINE = "workbench.pipeline"
WHERE = {
    Run.Kind.IMPORT: f"{PIPELINE}.imports.run.import_file",
    Run.Kind.RELEASE: f"{PIPELINE}.releases.building.build",
    Run.Kind.LEAKAGE: f"{PIPELINE}.text.leakage.within",
    Run.Kind.TRAIN: f"{PIPELINE}.model.training.sweep",
    Run.Kind.EVALUATE: f"{PIPELINE}.model.evaluation.of_dataset",
    Run.Kind.STATISTICS: f"{PIPELINE}.quality.compute",
    Run.Kind.DECIDE: f"{PIPELINE}.decisions.aggregation.derive",
    Run.Kind.DELETE: f"{PIPELINE}.datasets.deleting.delete_at_once",
    Run.Kind.VECTORS: "workbench.worker.encoders.load_encoder",
    Run.Kind.TOPICS: f"{PIPELINE}.vectors.store.rows",
    Run.Kind.FETCH: f"{PIPELINE}.hub.client.hub_client",
    Run.Kind.PUSH: f"{PIPELINE}.hub.pushing.Order",
    Run.Kind.BACKUP: f"{PIPELINE}.backup.open_target",
    Run.Kind.REGISTER: "workbench.worker.training.inspect",
}
"""A function that the act of each kind calls."""
PARAMS: dict[str, dict[str, Any]] = {
    Run.Kind.LEAKAGE: {"files": [], "column": ""},
    Run.Kind.TRAIN: {"preset": "quick", "base": None},
    Run.Kind.FETCH: {"repository": "owner/name", "revision": "main", "wanted": ""},
}


@pytest.fixture
def stella(dataset) -> User:
    stella = UserFactory.create(username="stella", is_staff=True)
    dataset.members.create(user=stella, role="admin")
    return stella


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What the handler of the settings has written."""
    (handler,) = [one for one in logging.getLogger().handlers if isinstance(one.formatter, LineFormatter)]
    assert isinstance(handler, logging.StreamHandler)
    written = io.StringIO()
    before = handler.setStream(written)
    yield written
    handler.setStream(before)


def run_of(kind: Run.Kind, dataset: Dataset, folder: Path) -> Run:
    """A Run that comes as far as the function in WHERE."""
    params = {
        Run.Kind.DELETE: {"dataset": dataset.pk, "name": dataset.name, "goes": {}},
        Run.Kind.REGISTER: asdict(Order("new", 256, "fp32", folder=str(folder))) | {"release": None},
    }
    run = RunFactory.create(dataset=dataset, kind=kind, params=(PARAMS | params).get(kind, {}))
    if kind == Run.Kind.IMPORT:
        run.upload = imports.keep_sample("pairs.jsonl", dataset, UserFactory.create())
    if kind == Run.Kind.EVALUATE:
        run.version = ModelVersionFactory.create()
    if kind == Run.Kind.RELEASE:
        Release.objects.create(dataset=dataset, number=1, run=run)
    run.save()
    return run


def shown(run: Run, stella: User, client: Client) -> str:
    """All that is said of the Run, on pages and by the API."""
    pages = [
        reverse("run", args=[run.pk]), reverse("runs", args=[run.dataset_id]), reverse("system")
    ]  # fmt: skip
    answers = [f"/api/v1/runs/{run.pk}", f"/api/v1/datasets/{run.dataset_id}/runs", "/api/v1/system"]
    program = program_with(token_of(stella))
    said = [*(client.get(page) for page in pages), *(program.get(answer) for answer in answers)]
    assert {answer.status_code for answer in said} == {200}
    return "".join(answer.content.decode() for answer in said)


def test_each_kind_of_run_has_a_sentence_for_an_unexpected_error():
    assert set(FAILED) == set(Run.Kind) == {*WHERE, Run.Kind.SCORE}


@pytest.mark.parametrize("kind", WHERE)
def test_an_unexpected_error_is_told_by_its_type_alone(
    kind, dataset, stella, as_user, logged, monkeypatch, settings, tmp_path
):
    settings.BACKUP_TARGET = str(tmp_path)
    run = run_of(kind, dataset, tmp_path)
    monkeypatch.setattr(WHERE[kind], failing_hub if kind == Run.Kind.FETCH else fail)

    tasks.carry_out.apply([run.pk])

    run.refresh_from_db()
    assert (run.state, run.error) == ("failed", FAILED[kind].format(error="ValueError"))
    said = shown(run, stella, as_user(stella))
    assert "ValueError" in said
    assert SECRET not in said
    assert "raise ValueError(SECRET)" in logged.getvalue()
    assert SECRET not in logged.getvalue()


@pytest.mark.parametrize("loads", [True, False])
def test_a_model_that_fails_is_told_by_the_type_of_its_error_alone(
    loads, dataset, stella, as_user, logged, monkeypatch
):
    CompletionFactory.create(prompt__dataset=dataset)
    run = batches.plan(dataset, ModelVersionFactory.create())
    monkeypatch.setattr("workbench.worker.scorers.load_scorer", (lambda version: fail) if loads else fail)

    for _ in range(ScoreBatch.MAX_ATTEMPTS):
        tasks.score_batch(run.batches.get().pk)

    run.refresh_from_db()
    said = shown(run, stella, as_user(stella))
    assert "ValueError" in said
    assert SECRET not in said
    assert SECRET not in str([*Run.objects.values(), *ScoreBatch.objects.values()])
    assert "raise ValueError(SECRET)" in logged.getvalue()
    assert SECRET not in logged.getvalue()
