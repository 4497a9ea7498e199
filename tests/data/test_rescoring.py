"""Rescore: workers compute Scores again, and each new one takes the place of the old one."""

from collections.abc import Callable, Sequence

import pytest
from django.urls import reverse

from scoring.formats import Pair, Scored
from tests.data.test_columns import same_as_read_anew
from tests.factories import ComparisonFactory, ModelVersionFactory, ScoreFactory
from workbench.models import Act, Comparison, Dataset, ModelVersion, Run, Score, ScoreBatch, Suggestion, User
from workbench.pipeline.data.acts import do, preview, undo, undoable
from workbench.pipeline.data.rescoring import Rescore
from workbench.pipeline.runs.progress import Refused
from workbench.pipeline.scoring import batches

pytestmark = pytest.mark.django_db


@pytest.fixture
def version() -> ModelVersion:
    return ModelVersionFactory.create(state="active", temperature=1.0)


@pytest.fixture
def pairs(dataset: Dataset, version: ModelVersion) -> list[Comparison]:
    """Three prompts with two answers each, scored 5 and 1 as by a worker that erred."""
    pairs = ComparisonFactory.create_batch(3, prompt__dataset=dataset)
    for pair in pairs:
        ScoreFactory.create(completion=pair.a, version=version, value=5.0)
        ScoreFactory.create(completion=pair.b, version=version, value=1.0)
        Suggestion.objects.create(comparison=pair, version=version, margin=4.0)
    return pairs


def constant(value: float) -> Callable[[Sequence[Pair]], list[Scored]]:
    return lambda pairs: [Scored(value, 1, 1, 0, 0, "fp32") for _ in pairs]


def rescored(dataset: Dataset, pairs: list[Comparison], by: User) -> tuple[Act, Run]:
    act = do(dataset, Rescore(), [pair.prompt_id for pair in pairs], by=by)
    return act, Run.objects.get(pk=act.details["run"])


def carry_out(run: Run, value: float = 2.0) -> Run:
    for _ in batches.score_here(run, constant(value), "worker-1", 60):
        pass
    run.refresh_from_db()
    return run


def values(pair: Comparison) -> list[float]:
    return list(Score.objects.filter(completion__prompt=pair.prompt).values_list("value", flat=True))


def test_a_preview_counts_answers_and_plans_nothing(dataset, alice, pairs):
    extent = preview(dataset, Rescore(), [pair.prompt_id for pair in pairs], by=alice)

    assert (extent.prompts, extent.answers) == (3, 6)
    assert not Run.objects.exists()


def test_only_the_chosen_prompts_are_scored_again_and_the_old_scores_serve_until_then(dataset, alice, pairs):
    act, run = rescored(dataset, pairs[:2], alice)
    assert values(pairs[0]) == [5.0, 1.0]

    carry_out(run)

    assert [values(pair) for pair in pairs] == [[2.0, 2.0], [2.0, 2.0], [5.0, 1.0]]
    assert (act.details["answers"], run.total, run.done) == (4, 4, 4)


def test_the_pick_follows_the_new_scores(dataset, alice, pairs):
    _, run = rescored(dataset, pairs[:1], alice)
    assert same_as_read_anew(dataset)

    carry_out(run)

    assert list(Suggestion.objects.order_by("comparison").values_list("margin", flat=True)) == [0.0, 4.0, 4.0]
    assert same_as_read_anew(dataset)


def test_the_run_says_how_many_scores_changed(dataset, alice, pairs):
    _, run = rescored(dataset, pairs, alice)
    assert carry_out(run, 5.00001).result == {"scored": 6, "failed": 0, "changed": 3}
    assert run.progress == "6 of 6 answers; 3 scores changed"

    _, again = rescored(dataset, pairs, alice)
    assert carry_out(again, 5.00001).progress == "6 of 6 answers; no score changed"


def test_a_batch_that_another_worker_takes_over_computes_no_score_twice(dataset, alice, pairs):
    _, run = rescored(dataset, pairs, alice)
    carry_out(run)
    ScoreBatch.objects.update(state="waiting", attempts=0)
    Run.objects.update(state="waiting")
    asked: list[Pair] = []

    for _ in batches.score_here(Run.objects.get(), lambda pairs: asked.extend(pairs) or [], "worker-2", 60):
        pass

    assert asked == []


def test_an_answer_that_failed_is_tried_again_and_counts_once(dataset, alice, version):
    pair = ComparisonFactory.create(prompt__dataset=dataset)
    first = an_earlier_run(dataset, version)
    failed = ScoreBatch.objects.create(
        run=first, version=version, completion_ids=[pair.a_id], size=1, state="failed", error="Too long"
    )

    _, run = rescored(dataset, [pair], alice)
    carry_out(run)

    failed.refresh_from_db()
    assert failed.state == "cancelled"
    assert len(values(pair)) == 2


def an_earlier_run(dataset: Dataset, version: ModelVersion) -> Run:
    return Run.objects.create(
        kind="score", dataset=dataset, version=version, state="done", params={"through": 0}
    )


def test_new_answers_are_planned_while_others_are_scored_again(dataset, alice, pairs, version):
    rescored(dataset, pairs, alice)
    late = ComparisonFactory.create(prompt__dataset=dataset)

    run = batches.plan(dataset, version)

    assert sorted(run.batches.get().completion_ids) == sorted([late.a_id, late.b_id])


def test_undo_stops_what_waits_and_says_what_was_scored_already(dataset, alice, pairs, monkeypatch):
    monkeypatch.setattr(ScoreBatch, "MAX_SIZE", 2)
    act, run = rescored(dataset, pairs, alice)
    next(batches.score_here(run, constant(2.0), "worker-1", 60))

    undone = undo(act, alice)

    assert (undone.prompts, undone.left) == (2, ["2 answers scored again already"])
    run.refresh_from_db()
    assert run.state == "cancelled"
    assert sorted(values(pair)[0] for pair in pairs) == [2.0, 5.0, 5.0]


def test_a_run_that_is_done_cannot_be_undone_and_offers_no_undo(dataset, alice, pairs):
    act, run = rescored(dataset, pairs, alice)
    assert undoable([act]) == {act.pk}
    carry_out(run)

    assert undoable([act]) == set()
    with pytest.raises(Refused, match="All these answers are scored already"):
        undo(act, alice)
    act.refresh_from_db()
    assert act.undone_at is None


def test_siblings_in_bf16_are_compared_with_new_scores_and_not_with_those_replaced(dataset, alice, pairs):
    ModelVersion.objects.update(precision="exact-order", guard=0.5)
    Score.objects.update(precision="bf16")
    _, run = rescored(dataset, pairs[:1], alice)
    asked: list[Pair] = []

    def in_bf16(pairs: Sequence[Pair]) -> list[Scored]:
        asked.extend(pairs)
        return [Scored(float(n), 1, 1, 0, 0, "bf16") for n, _ in enumerate(pairs)]

    for _ in batches.score_here(run, in_bf16, "worker-1", 60):
        pass

    assert len(asked) == 2
    assert sorted(values(pairs[0])) == [0.0, 1.0]


def test_without_a_model_nothing_is_scored(dataset, alice):
    pair = ComparisonFactory.create(prompt__dataset=dataset)

    with pytest.raises(Refused, match="No model serves this dataset"):
        do(dataset, Rescore(), [pair.prompt_id], by=alice)


def test_an_admin_sees_the_number_first_and_the_history_leads_to_the_run(
    dataset, alice, as_user, pairs, django_capture_on_commit_callbacks
):
    client, page = as_user(alice), reverse("data_act", args=[dataset.pk])
    fields = {"kind": "rescore", "prompts": pairs[0].prompt_id}
    assert "Scored again: 1 prompt, 2 answers" in client.post(page, fields).content.decode()
    assert not Act.objects.exists()

    with django_capture_on_commit_callbacks() as callbacks:
        client.post(page, {**fields, "sure": "1"})

    assert len(callbacks) == 1
    history = client.get(reverse("data_history", args=[dataset.pk])).content.decode()
    assert "Scored again 1 prompt: 2 answers by" in history
    assert reverse("run", args=[Run.objects.get().pk]) in history


def test_a_reviewer_may_not_rescore(dataset, rita, as_user, pairs):
    fields = {"kind": "rescore", "prompts": pairs[0].prompt_id}

    assert as_user(rita).post(reverse("data_act", args=[dataset.pk]), fields).status_code == 403
