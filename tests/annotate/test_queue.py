"""The order of the queue under each policy, and the stated chance of each pair."""

import random
from collections import Counter
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import (
    AnnotatorFactory,
    ComparisonFactory,
    DatasetFactory,
    JudgmentFactory,
    ModelVersionFactory,
    PromptFactory,
    ScoreFactory,
    SuggestionFactory,
)
from tests.votes import record_judgment
from workbench.models import Annotator, Claim, Comparison, Dataset, Judgment, ModelVersion
from workbench.pipeline.annotate import queue, statements
from workbench.pipeline.annotate.answers import Answer, skip
from workbench.pipeline.annotate.handout import next_claim
from workbench.pipeline.model.promotion import activate
from workbench.pipeline.review import decide
from workbench.pipeline.scoring import suggestions
from workbench.worker.tasks import order_queue, reconcile

pytestmark = pytest.mark.django_db


@pytest.fixture
def model(db) -> ModelVersion:
    return ModelVersionFactory.create(state="active", temperature=1.0)


@pytest.fixture
def ordered(request, dataset, model) -> Dataset:
    dataset.order = getattr(request, "param", "uncertain")
    dataset.save()
    return dataset


def suggested(dataset: Dataset, model: ModelVersion, *margins: float, **fields) -> list[Comparison]:
    """A Comparison with a Suggestion of each margin, and the queue put in order."""
    comparisons = []
    for margin in margins:
        prompt = fields.get("prompt") or PromptFactory.create(dataset=dataset)
        comparison = ComparisonFactory.create(prompt=prompt)
        SuggestionFactory.create(comparison=comparison, version=model, margin=margin)
        comparisons.append(comparison)
    queue.renew_all(dataset)
    return comparisons


def labelled(comparison: Comparison, *outcomes: str) -> None:
    for outcome in outcomes:
        label_source = AnnotatorFactory.create(user=None, source="file", external_id=uuid4().hex)
        JudgmentFactory.create(
            comparison=comparison, annotator=label_source, outcome=outcome, stage="imported"
        )


def handed(dataset: Dataset, annotator: Annotator | None = None) -> list[Comparison]:
    """All that the annotator is handed, in turn."""
    annotator, comparisons = annotator or AnnotatorFactory.create(), []
    while claim := next_claim(dataset, annotator):
        comparisons.append(claim.comparison)
        record_judgment(annotator, claim.comparison, Answer("left", uuid4()))
    return comparisons


def test_what_the_model_is_least_sure_of_comes_first(ordered, model):
    sure, doubtful, middling = suggested(ordered, model, -4.0, 0.1, 1.5)

    assert handed(ordered) == [doubtful, middling, sure]


def test_of_one_prompt_group_only_so_many_come_before_those_of_others(ordered, model):
    ordered.max_per_group = 2
    ordered.save()
    prompt = PromptFactory.create(dataset=ordered)
    close = suggested(ordered, model, 0.1, 0.2, 0.3, 0.4, prompt=prompt)
    (of_another_prompt,) = suggested(ordered, model, 3.0)

    assert handed(ordered) == [*close[:2], of_another_prompt, *close[2:]]


def test_what_has_no_suggestion_comes_after_what_has(ordered, model):
    unscored = ComparisonFactory.create(prompt=PromptFactory.create(dataset=ordered))
    (scored,) = suggested(ordered, model, 5.0)

    assert handed(ordered) == [scored, unscored]


@pytest.mark.parametrize("ordered", ["disagreement"], indirect=True)
def test_labels_that_differ_come_first_then_those_the_model_is_surest_against(ordered, model):
    agreed, against, surely_against, split, bare = suggested(ordered, model, 2.0, 2.0, 5.0, 0.1, 9.0)
    labelled(agreed, "a")
    labelled(against, "b")
    labelled(surely_against, "b")
    labelled(split, "a", "tie")
    queue.renew_all(ordered)

    order = handed(ordered)

    assert order[:3] == [split, surely_against, against]
    assert set(order[3:]) == {agreed, bare}


@pytest.mark.parametrize("ordered", ["disagreement"], indirect=True)
def test_of_what_others_have_begun_a_vote_against_the_model_comes_first(ordered, model):
    ordered.overlap = 2
    ordered.save()
    suggested(ordered, model, *[3.0] * 6)
    first = AnnotatorFactory.create()
    for outcome in "aaaaba":
        claim = next_claim(ordered, first)
        record_judgment(first, claim.comparison, Answer(outcome, uuid4()))

    assert (
        next_claim(ordered, AnnotatorFactory.create()).comparison
        == Judgment.objects.get(outcome="b").comparison
    )


def test_another_active_version_puts_the_queue_in_its_own_order(ordered, model):
    first, second = suggested(ordered, model, 0.1, 3.0)
    better = ModelVersionFactory.create()
    SuggestionFactory.create(comparison=first, version=better, margin=3.0)
    SuggestionFactory.create(comparison=second, version=better, margin=0.1)

    activate(better, reason="Only to test the order.")
    assert list(queue.stale_datasets()) == [ordered]
    order_queue(ordered.pk)

    assert handed(ordered) == [second, first]
    assert not queue.stale_datasets().exists()


def test_scores_that_come_put_their_comparisons_in_order(ordered, model):
    comparison = ComparisonFactory.create(prompt=PromptFactory.create(dataset=ordered))
    for completion, value in ((comparison.a, 2.0), (comparison.b, 1.0)):
        ScoreFactory.create(completion=completion, version=model, value=value)

    suggestions.suggest(model, [comparison.a_id, comparison.b_id])

    comparison.refresh_from_db()
    assert comparison.uncertainty_rank == 0.5


def test_what_comes_while_the_queue_is_put_in_order_asks_for_another(ordered, model, monkeypatch):
    suggested(ordered, model, 1.0)
    renew = queue.renew

    def meanwhile(dataset, groups):
        renew(dataset, groups)
        Dataset.objects.update(queue_stale_since=timezone.now())

    monkeypatch.setattr(queue, "renew", meanwhile)
    queue.renew_all(ordered)

    assert queue.stale_datasets().exists()


def test_the_reconciler_has_every_stale_queue_put_in_order(ordered, model, monkeypatch):
    enqueued = []
    monkeypatch.setattr(
        "workbench.worker.tasks.order_queue.apply_async", lambda args, **_: enqueued.extend(args)
    )

    reconcile()
    order_queue(ordered.pk)
    reconcile()

    assert enqueued == [ordered.pk]


def test_what_a_reviewer_settles_leaves_the_order_and_comes_back_when_undone(ordered, model, rita):
    (comparison,) = suggested(ordered, model, 1.0)

    decision = decide.settle(comparison, rita, "a", seen_token=decide.seen(comparison))
    comparison.refresh_from_db()
    assert comparison.uncertainty_rank is None
    decide.undo(decision, rita)

    comparison.refresh_from_db()
    assert comparison.uncertainty_rank == 0.5


def test_somebody_who_skips_the_whole_head_of_the_order_still_gets_the_rest(ordered, model, monkeypatch):
    monkeypatch.setattr(queue, "WINDOW", 2)
    monkeypatch.setattr(queue, "FAR", 4)
    comparisons = suggested(ordered, model, *[n / 10 for n in range(8)])
    annotator = AnnotatorFactory.create()

    for _ in comparisons:
        claim = next_claim(ordered, annotator)
        skip(annotator, claim.comparison)

    assert next_claim(ordered, annotator) is None
    assert annotator.claims.filter(state="skipped").count() == 8


# How likely


def test_at_random_each_of_those_that_nobody_has_begun_is_as_likely(dataset):
    ComparisonFactory.create_batch(4, prompt__dataset=dataset)

    handed(dataset)

    drawn = Claim.objects.order_by("pk").values_list("strategy", "propensity")
    assert list(drawn) == [("random", 1 / 4), ("random", 1 / 3), ("random", 1 / 2), ("random", 1)]


def test_without_a_random_arm_the_first_was_certain(ordered, model):
    suggested(ordered, model, 1.0, 2.0)

    handed(ordered)

    assert list(Claim.objects.values_list("strategy", "propensity")) == [("uncertain", 1.0)] * 2


@pytest.mark.parametrize("ordered", ["mixture"], indirect=True)
def test_the_propensity_is_how_often_each_is_drawn(ordered, model):
    """Against 300 draws from the same queue, by chi-squared at p = 0.001 with three degrees of freedom."""
    comparisons = suggested(ordered, model, 0.1, 1.0, 2.0, 3.0)
    labelled(comparisons[3], "b")
    queue.renew_all(ordered)
    random.seed(7)
    annotator, drawn, stated = AnnotatorFactory.create(), Counter(), {}

    for _ in range(300):
        for comparison in comparisons:
            Comparison.objects.filter(pk=comparison.pk).update(random_rank=random.random())
        with transaction.atomic():
            drawn_claim = queue.lock_next(ordered, annotator, again=False, start=random.random(), needs=None)
        drawn[drawn_claim.comparison.pk] += 1
        stated.setdefault(drawn_claim.comparison.pk, drawn_claim.chance_of([drawn_claim.comparison.pk]))

    random_share = ordered.random_share / 4
    assert stated == pytest.approx(
        dict(zip([c.pk for c in comparisons],
                 [random_share + 0.35, random_share, random_share, random_share + 0.35], strict=True))
    )  # fmt: skip
    assert sum((drawn[pk] - 300 * p) ** 2 / (300 * p) for pk, p in stated.items()) < 16.27


@pytest.mark.parametrize("ordered", ["mixture"], indirect=True)
def test_an_arm_that_has_nothing_leaves_its_share_to_chance(ordered, model):
    ComparisonFactory.create_batch(2, prompt__dataset=ordered)

    handed(ordered)

    strategies, chances = zip(
        *Claim.objects.order_by("pk").values_list("strategy", "propensity"), strict=True
    )
    assert strategies == ("random", "random")
    assert chances == pytest.approx((0.5, 1.0))


@pytest.mark.parametrize("ordered", ["mixture"], indirect=True)
def test_all_who_judge_a_comparison_carry_how_it_was_begun(ordered, model):
    ordered.overlap = 2
    ordered.save()
    suggested(ordered, model, 0.5, 2.0, 3.0)

    handed(ordered)
    handed(ordered)

    assert Claim.objects.count() == 6
    for comparison in Comparison.objects.all():
        assert len(set(comparison.claims.values_list("strategy", "propensity"))) == 1


def test_a_mixture_without_enough_chance_is_refused_by_the_database(dataset):
    dataset.random_share = 0.2

    with pytest.raises(IntegrityError), transaction.atomic():
        dataset.save()


@pytest.mark.parametrize("policy", Dataset.Order.values)
@pytest.mark.parametrize("overlap", [1, 5])
def test_the_next_takes_at_most_15_queries_under_every_order(policy, overlap, model):
    dataset = DatasetFactory.create(order=policy, overlap=overlap, gold_share=0.1, repeat_share=0.1)
    comparisons = suggested(dataset, model, *[n / 7 for n in range(1, 13)])
    for comparison in comparisons[:5]:
        labelled(comparison, "b")
    queue.renew_all(dataset)
    annotator = AnnotatorFactory.create()
    counts = []

    for _ in range(6):
        with CaptureQueriesContext(connection) as captured:
            claim = next_claim(dataset, annotator)
        counts.append(len([q for q in captured if "SAVEPOINT" not in q["sql"]]))
        record_judgment(annotator, claim.comparison, Answer("tie", uuid4()))

    assert max(counts) <= 15


def plan_of(sql: str, params: object) -> str:
    """What the database is going to do."""
    is_sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        if not is_sqlite:  # a table as small as a test's it would read from end to end and sort, and rightly
            for way in ("seqscan", "bitmapscan", "sort"):
                cursor.execute(f"SET LOCAL enable_{way} = off")
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' * is_sqlite}{sql}", params)
        return "\n".join(str(column) for row in cursor.fetchall() for column in row)


@pytest.mark.parametrize("policy", ["random", "mixture"])
def test_every_part_of_the_queue_is_read_by_an_index_and_sorted_by_none(policy):
    dataset = DatasetFactory.create(order=policy, overlap=4)

    of_all = statements._windows(tuple(dataset.strategies), dataset.initial_overlap, 32, needs=None)
    by_needs = statements._windows_of_needs(tuple(dataset.strategies), dataset.initial_overlap, 32)
    plans = [plan_of(*window.sql(dataset.pk, 0.5)) for _, window in of_all]
    plans += [plan_of(*window.sql(dataset.pk, 0.5, 1)) for _, window in by_needs]
    for plan in plans:
        assert "comparison_" in plan
        assert "TEMP B-TREE" not in plan
        assert "Sort" not in plan


def test_comparisons_of_a_prompt_group_are_found_by_its_prompts_and_not_among_all_of_the_dataset():
    dataset = DatasetFactory.create()
    of_group = queue._of_groups(dataset, Q(group="some")).order_by()

    plan = plan_of(*of_group.query.sql_with_params())

    assert "workbench_comparison_prompt_id" in plan
    assert "workbench_comparison_dataset_id" not in plan
