from collections.abc import Sequence
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.utils import timezone

from scoring.formats import BadText, Pair, Scored, Scorer
from tests.factories import (
    ComparisonFactory,
    CompletionFactory,
    DatasetFactory,
    ModelVersionFactory,
    PromptFactory,
)
from workbench.models import Completion, Dataset, ModelVersion, Run, Score, ScoreBatch, Suggestion
from workbench.pipeline.model.promotion import activate
from workbench.pipeline.runs import lifecycle
from workbench.pipeline.scoring import batches
from workbench.worker import scorers, tasks

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def by_length(pairs: Sequence[Pair]) -> list[Scored]:
    for index, (_, completion) in enumerate(pairs):
        if "poison" in completion:
            raise BadText(index, "it is poison")
        if "crash" in completion:
            raise RuntimeError("the model fell over")
    return [Scored(float(len(completion)), 1, 1, 0, 0, "fp32") for _, completion in pairs]


@pytest.fixture
def version() -> ModelVersion:
    return ModelVersionFactory.create()


def prompts_with_completions(prompts: int, completions: int, dataset: Dataset | None = None) -> Dataset:
    dataset = dataset or DatasetFactory.create()
    for prompt in PromptFactory.create_batch(prompts, dataset=dataset):
        CompletionFactory.create_batch(completions, prompt=prompt)
    return dataset


def finish(run: Run, score=by_length) -> Run:
    for _ in batches.score_here(run, score, "worker-1", 60):
        pass
    run.refresh_from_db()
    return run


def test_every_completion_gets_one_score_and_the_run_ends(version):
    dataset = prompts_with_completions(5, 3)

    run = finish(batches.plan(dataset, version))

    assert Score.objects.filter(version=version).count() == 15
    assert (run.state, run.done, run.total, run.result) == ("done", 15, 15, {"scored": 15, "failed": 0})


def test_planning_twice_plans_nothing_twice(version):
    dataset = prompts_with_completions(2, 2)
    first = batches.plan(dataset, version)

    assert batches.plan(dataset, version) is None
    finish(first)
    assert batches.plan(dataset, version) is None


def test_completions_that_came_after_the_plan_are_planned_by_the_next(version):
    dataset = prompts_with_completions(2, 2)
    batches.plan(dataset, version)
    late = CompletionFactory.create(prompt=dataset.prompts.first())

    run = batches.plan(dataset, version)

    assert [batch.completion_ids for batch in run.batches.all()] == [[late.pk]]


def test_completions_of_a_prompt_stay_in_one_batch(version, monkeypatch):
    monkeypatch.setattr(ScoreBatch, "MAX_SIZE", 4)
    dataset = prompts_with_completions(3, 3)

    run = batches.plan(dataset, version)

    sizes = [batch.size for batch in run.batches.all()]
    assert sizes == [3, 3, 3]


def test_a_prompt_with_more_completions_than_a_batch_holds_is_cut(version, monkeypatch):
    monkeypatch.setattr(ScoreBatch, "MAX_SIZE", 4)
    dataset = prompts_with_completions(1, 10)

    run = batches.plan(dataset, version)

    assert [batch.size for batch in run.batches.all()] == [4, 4, 2]


def calls_of(run: Run) -> tuple[list[list[int]], list[list[int]]]:
    """Score the Run; the completions of each call of the scorer, and of the scorer for those whose siblings
    are elsewhere."""
    together: list[list[int]] = []
    alone: list[list[int]] = []

    def remember(calls):
        def score(pairs):
            calls.append([Completion.objects.get(text=text).pk for _, text in pairs])
            return by_length(pairs)

        return score

    for _ in batches.score_here(run, remember(together), "worker-1", 60, remember(alone)):
        pass
    return together, alone


def test_siblings_are_scored_in_one_call_however_full_it_is(version, monkeypatch):
    monkeypatch.setattr(batches, "SLICE", 4)
    dataset = prompts_with_completions(3, 3)
    prompts_with_completions(1, 6, dataset)

    together, alone = calls_of(batches.plan(dataset, version))

    prompts = dataset.prompts.order_by("pk")
    assert together == [[c.pk for c in prompt.completions.order_by("pk")] for prompt in prompts]
    assert alone == []


def test_completions_whose_siblings_are_in_another_call_are_scored_as_such(version, monkeypatch):
    monkeypatch.setattr(ScoreBatch, "MAX_SIZE", 4)
    dataset = prompts_with_completions(1, 5)
    whole = prompts_with_completions(1, 2, dataset).prompts.last()
    cut = [completion.pk for completion in dataset.prompts.first().completions.order_by("pk")]

    together, alone = calls_of(batches.plan(dataset, version))

    assert sorted(pk for call in alone for pk in call) == cut
    assert together == [[completion.pk for completion in whole.completions.order_by("pk")]]

    late = CompletionFactory.create(prompt=whole)
    assert calls_of(batches.plan(dataset, version)) == ([], [[late.pk]])


def test_a_run_counts_completions_as_they_are_scored_and_not_when_their_batch_is_done(version, monkeypatch):
    monkeypatch.setattr(batches, "SLICE", 4)
    dataset = prompts_with_completions(3, 2)
    run = batches.plan(dataset, version)
    seen = []

    def score(pairs):
        run.refresh_from_db()
        seen.append(
            (
                run.progress,
                Completion.objects.filter(prompt__dataset=dataset, scores__version=version).count(),
            )
        )
        return by_length(pairs)

    finish(run, score)

    assert run.batches.count() == 1
    assert seen == [("0 of 6 answers", 0), ("4 of 6 answers", 4)]
    assert run.progress == "6 of 6 answers"


def test_a_run_does_not_count_what_could_not_be_scored_as_scored(version):
    dataset = prompts_with_completions(2, 3)
    CompletionFactory.create(prompt=dataset.prompts.first(), text="poison")

    run = finish(batches.plan(dataset, version))

    assert run.progress == "6 of 7 answers; 1 could not be scored"


def test_a_run_tells_empty_completions_from_those_that_could_not_be_scored():
    run = Run(kind="score", done=4, total=7, result={"scored": 4, "failed": 3, "empty": 2})

    assert run.progress == "4 of 7 answers; 2 empty, so never scored; 1 could not be scored"


def test_what_a_dead_worker_has_scored_of_a_batch_stays_counted_when_the_batch_is_halved(
    version, monkeypatch
):
    monkeypatch.setattr(batches, "SLICE", 2)
    run = batches.plan(prompts_with_completions(4, 2), version)
    batch = run.batches.get()

    def score(pairs):
        if Score.objects.filter(version=version).count() == 4:
            raise RuntimeError("the model fell over")
        return by_length(pairs)

    for _ in range(ScoreBatch.MAX_ATTEMPTS):
        batches.work(batch, score, "worker-1", 60)

    run.refresh_from_db()
    assert [half.scored for half in run.batches.unfinished()] == [4, 0]
    assert run.progress == "4 of 8 answers"
    assert finish(run).progress == "8 of 8 answers"


def test_a_run_gives_a_sign_of_life_at_each_slice(version, monkeypatch):
    monkeypatch.setattr(batches, "SLICE", 1)
    run = batches.plan(prompts_with_completions(2, 1), version)
    heard = []

    def score(pairs):
        heard.append(Run.objects.get(pk=run.pk).heartbeat_at)
        return by_length(pairs)

    finish(run, score)

    assert heard[0] < heard[1]


def test_a_suggestion_is_there_as_soon_as_both_sides_are_scored(version):
    comparison = ComparisonFactory.create(a__text="short", b__text="rather longer")

    finish(batches.plan(comparison.dataset, version))

    suggestion = Suggestion.objects.get(comparison=comparison, version=version)
    assert (suggestion.outcome, suggestion.margin) == ("b", -8.0)


def test_comparisons_made_after_the_scores_get_their_suggestion_when_planned_again(version):
    dataset = prompts_with_completions(1, 1)
    CompletionFactory.create(prompt=dataset.prompts.get(), text="One that is longer than the other.")
    finish(batches.plan(dataset, version))
    a, b = Completion.objects.of(dataset)
    comparison = ComparisonFactory.create(prompt=a.prompt, a=a, b=b)

    batches.plan(dataset, version)

    assert comparison.suggestions.count() == 1


def test_a_text_the_model_names_as_bad_fails_alone_with_its_reason(version):
    dataset = prompts_with_completions(2, 3)
    bad = CompletionFactory.create(prompt=dataset.prompts.first(), text="poison")

    run = finish(batches.plan(dataset, version))

    assert Score.objects.filter(version=version).count() == 6
    failed = run.batches.failed().get()
    assert (failed.completion_ids, failed.error) == ([bad.pk], "it is poison")
    assert run.result == {"scored": 6, "failed": 1}


def test_a_text_that_breaks_the_model_is_found_by_halving_and_the_rest_is_scored(version):
    dataset = prompts_with_completions(4, 2)
    bad = CompletionFactory.create(prompt=dataset.prompts.first(), text="crash")

    run = finish(batches.plan(dataset, version))

    assert Score.objects.filter(version=version).count() == 8
    failed = run.batches.failed().get()
    assert failed.completion_ids == [bad.pk]
    assert failed.error == "The model stopped at an error (RuntimeError)."
    assert max(run.batches.values_list("attempts", flat=True)) <= ScoreBatch.MAX_ATTEMPTS


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_never_stored(version, value):
    dataset = prompts_with_completions(1, 1)

    run = finish(
        batches.plan(dataset, version), lambda pairs: [Scored(value, 1, 1, 0, 0, "fp32") for _ in pairs]
    )

    assert not Score.objects.filter(version=version).exists()
    assert str(value) in run.batches.failed().get().error


def test_too_few_scores_are_an_error_and_nothing_is_stored_under_a_wrong_text(version):
    dataset = prompts_with_completions(1, 2)

    finish(batches.plan(dataset, version), lambda pairs: by_length(pairs)[:-1])

    assert not Score.objects.filter(version=version).exists()
    assert "for 1 texts" in ScoreBatch.objects.failed().first().error


def test_failed_texts_are_not_planned_again_until_somebody_retries(version):
    dataset = prompts_with_completions(1, 1)
    CompletionFactory.create(prompt=dataset.prompts.first(), text="poison")
    run = finish(batches.plan(dataset, version))
    assert batches.plan(dataset, version) is None

    assert batches.retry_failed(run) == 1
    finish(run, lambda pairs: [Scored(1.0, 1, 1, 0, 0, "fp32") for _ in pairs])

    assert run.state == "done"
    assert Score.objects.filter(version=version).count() == 2


def test_a_run_that_was_opened_again_counts_its_rate_from_there(version):
    dataset = prompts_with_completions(1, 20)
    CompletionFactory.create(prompt=dataset.prompts.get(), text="poison")
    run = finish(batches.plan(dataset, version))

    batches.retry_failed(run)

    run.refresh_from_db()
    assert (run.state, run.done, run.rate, run.time_left) == ("waiting", 20, None, None)
    run.start()
    Run.objects.update(started_at=timezone.now() - timedelta(seconds=10), done=21)
    run.refresh_from_db()
    assert run.rate == pytest.approx(0.1, rel=0.1)


def test_a_leased_batch_belongs_to_one_worker_until_the_lease_ends(version):
    batch = batches.plan(prompts_with_completions(1, 1), version).batches.get()
    same_batch = ScoreBatch.objects.get(pk=batch.pk)

    assert batch.lease("worker-1", 60)
    assert not same_batch.lease("worker-2", 60)
    ScoreBatch.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert same_batch.lease("worker-2", 60)
    assert not batch.renew("worker-1", 60)


def test_a_worker_that_lost_its_lease_stops_and_changes_no_state(version, monkeypatch):
    monkeypatch.setattr(batches, "SLICE", 1)
    batch = batches.plan(prompts_with_completions(3, 1), version).batches.get()

    def overtaken(pairs):
        ScoreBatch.objects.update(worker="worker-2")
        return by_length(pairs)

    assert batches.work(batch, overtaken, "worker-1", 60) is False
    assert Score.objects.filter(version=version).count() == 1
    batch.refresh_from_db()
    assert (batch.state, batch.worker) == ("leased", "worker-2")


def test_a_second_attempt_scores_only_what_the_first_left(version, monkeypatch):
    monkeypatch.setattr(batches, "SLICE", 1)
    run = batches.plan(prompts_with_completions(3, 1), version)
    seen = []

    def dies_at_the_second(pairs):
        if len(seen) == 1:
            seen.append(None)
            raise MemoryError
        seen.append(pairs[0])
        return by_length(pairs)

    finish(run, dies_at_the_second)

    assert len([pair for pair in seen if pair]) == 3
    assert Score.objects.filter(version=version).count() == 3


def test_due_batches_are_rung_once_and_again_when_nobody_came(version):
    run = batches.plan(prompts_with_completions(1, 1), version)
    batch = run.batches.get()

    assert batches.due(MINUTE) == [batch.pk]
    assert batches.due(MINUTE) == []
    ScoreBatch.objects.update(enqueued_at=timezone.now() - timedelta(minutes=5))
    assert batches.due(MINUTE) == [batch.pk]


def test_newer_datasets_are_rung_for_first(version):
    old, new = (batches.plan(prompts_with_completions(1, 1), version) for _ in range(2))

    assert batches.due(MINUTE) == [new.batches.get().pk, old.batches.get().pk]


def test_a_cancelled_run_is_rung_for_no_more(version):
    run = batches.plan(prompts_with_completions(1, 1), version)

    assert lifecycle.cancel(run)

    assert batches.due(MINUTE) == []
    assert run.batches.get().state == "cancelled"
    assert not lifecycle.cancel(run)


def test_a_batch_whose_worker_keeps_dying_is_split_and_its_last_text_fails_with_a_reason(version):
    run = batches.plan(prompts_with_completions(1, 2), version)
    for _ in range(20):
        for batch in run.batches.unfinished():
            batch.lease("doomed", -1)
        for batch_id in batches.out_of_attempts():
            batches.split(batch_id)

    run.refresh_from_db()
    assert run.state == "done"
    assert [batch.size for batch in run.batches.failed()] == [1, 1]
    assert "No worker finished it in 3 attempts" in run.batches.failed().first().error


def test_a_late_message_gives_a_worn_out_batch_no_further_attempt(version):
    run = batches.plan(prompts_with_completions(1, 1), version)
    batch = run.batches.get()
    for _ in range(ScoreBatch.MAX_ATTEMPTS):
        assert batch.lease("doomed", -1)

    assert batches.due(MINUTE) == []
    assert batches.work(batch, by_length, "worker-1", 60) is False
    finish(run)

    assert run.result == {"scored": 0, "failed": 1}
    assert run.batches.get().attempts == ScoreBatch.MAX_ATTEMPTS


def test_the_score_keeps_what_was_cut_and_the_precision_used(version):
    dataset = prompts_with_completions(1, 1)

    finish(batches.plan(dataset, version), lambda pairs: [Scored(1.5, 400, 100, 7, 3, "bf16") for _ in pairs])

    score = Score.objects.get(version=version)
    assert (score.value, score.prompt_cut, score.completion_cut, score.precision) == (1.5, 7, 3, "bf16")


def test_a_batch_is_rung_for_again_as_soon_as_its_lease_has_run_out(version):
    batch = batches.plan(prompts_with_completions(1, 1), version).batches.get()
    batches.due(MINUTE)
    batch.lease("doomed", -1)
    ScoreBatch.objects.update(enqueued_at=timezone.now() - timedelta(seconds=5))

    assert batches.due(MINUTE) == [batch.pk]
    assert batches.due(MINUTE) == []


def test_no_more_messages_are_under_way_than_workers_could_want(version, monkeypatch):
    monkeypatch.setattr(batches, "ENQUEUE_AT_MOST", 2)
    monkeypatch.setattr(ScoreBatch, "MAX_SIZE", 1)
    run = batches.plan(prompts_with_completions(5, 1), version)

    first = batches.due(MINUTE)

    assert len(first) == 2
    assert batches.due(MINUTE) == []
    batches.work(run.batches.get(pk=first[0]), by_length, "worker-1", 60)
    assert len(batches.due(MINUTE)) == 1


def test_what_wants_scores_is_planned_once_and_asks_again_when_more_comes(version):
    activate(version)
    dataset = prompts_with_completions(1, 2)
    Dataset.objects.update(needs_scoring=True)

    for wanting in Dataset.objects.needing_scores():
        batches.plan_missing(wanting)

    assert Run.objects.filter(dataset=dataset, version=version).count() == 1
    assert not Dataset.objects.needing_scores().exists()


def test_activating_a_version_makes_every_dataset_want_its_scores_newest_first(version):
    old, new = prompts_with_completions(1, 1), prompts_with_completions(1, 1)

    activate(version)

    assert list(Dataset.objects.needing_scores()) == [new, old]


def test_a_database_that_goes_away_again_and_again_costs_a_batch_no_attempt(version, monkeypatch):
    run = batches.plan(prompts_with_completions(1, 2), version)
    batch, plain, failures = run.batches.get(), batches.work, iter(range(5))

    def work(batch: ScoreBatch, score: Scorer, worker: str, *arguments: object) -> bool:
        if next(failures, None) is None:
            return plain(batch, score, worker, *arguments)
        batch.lease(worker, 3600)
        raise OperationalError("the database system is shutting down")

    monkeypatch.setattr(batches, "work", work)
    monkeypatch.setattr(scorers, "load_scorer", lambda version: by_length)
    monkeypatch.setattr(tasks.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(tasks.connection, "close", lambda: None)  # the test is in a transaction

    tasks.score_batch(batch.pk)

    batch.refresh_from_db()
    assert (batch.state, batch.attempts) == ("done", 1)
